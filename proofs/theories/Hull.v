(** However wrong the weights are, the output stays near the convex hull of the values.

    Numerator and normaliser add up the same computed weights P_i >= 0; only what happens to a weight after the two
    have parted (its cast, its product with a value, the additions) moves their quotient out of the hull. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth Perturbed Normaliser.
Import ListNotations.
Open Scope R_scope.

(** apart: log-errors that numerator and normaliser do not share; size: the largest |v|; lost, lost_sum: their absolute
    errors; least: what the computed normaliser is at least. *)
Definition hull_error (apart size lost lost_sum least : R) : R :=
  growth apart * size + ((1 + growth apart) * size * lost_sum + lost) / least.

(** A key whose weight is 1 to within e^cost makes the sum at least e^-cost. *)
Definition least_normaliser (cost lost_sum : R) : R := / (1 + growth cost) - lost_sum.

(** How far a point lies outside [lo, hi]. *)
Definition outside (lo hi x : R) : R := Rmax 0 (Rmax (lo - x) (x - hi)).

Lemma outside_le lo hi x y e : lo <= y <= hi -> Rabs (x - y) <= e -> outside lo hi x <= e.
Proof.
  intros Hy He. apply Rabs_le_inv in He. unfold outside. repeat apply Rmax_lub; try lra.
Qed.

(** What the bound is used for: nothing in or near the hull is further from O than this. *)
Theorem hull_distance lo hi x O e : lo <= O <= hi -> outside lo hi x <= e ->
  Rabs (x - O) <= Rmax (hi - O) (O - lo) + e.
Proof.
  unfold outside. intros HO H.
  pose proof (Rmax_l 0 (Rmax (lo - x) (x - hi))). pose proof (Rmax_r 0 (Rmax (lo - x) (x - hi))).
  pose proof (Rmax_l (lo - x) (x - hi)). pose proof (Rmax_r (lo - x) (x - hi)).
  pose proof (Rmax_l (hi - O) (O - lo)). pose proof (Rmax_r (hi - O) (O - lo)).
  apply Rabs_le. lra.
Qed.

Lemma weighted_mean_in_hull {I} (ps : list I) (w v : I -> R) lo hi :
  (forall i, In i ps -> 0 <= w i) -> (forall i, In i ps -> lo <= v i <= hi) -> 0 < sumf w ps ->
  lo <= sumf (fun i => w i * v i) ps / sumf w ps <= hi.
Proof.
  intros Hw Hv HS. split.
  - apply Rmult_le_reg_r with (sumf w ps); [exact HS|]. unfold Rdiv. rewrite Rmult_assoc, Rinv_l, Rmult_1_r by lra.
    rewrite Rmult_comm, <- sumf_scal. apply sumf_le. intros i Hi. specialize (Hw i Hi). specialize (Hv i Hi). nra.
  - apply Rmult_le_reg_r with (sumf w ps); [exact HS|]. unfold Rdiv. rewrite Rmult_assoc, Rinv_l, Rmult_1_r by lra.
    rewrite (Rmult_comm hi), <- sumf_scal. apply sumf_le. intros i Hi. specialize (Hw i Hi). specialize (Hv i Hi). nra.
Qed.

(** The two lists of factors e^(y_i), e^(x_i) of the same keys, side by side. *)
Lemma paired {I} (xs : list I) (ps qs : list (I * R)) (Y X : I -> R) :
  map fst ps = xs -> map fst qs = xs ->
  (forall q, In q ps -> Rabs (snd q) <= Y (fst q)) -> (forall q, In q qs -> Rabs (snd q) <= X (fst q)) ->
  exists zs : list (I * (R * R)), map fst zs = xs /\
    (forall z, In z zs -> In (fst z) xs /\ Rabs (fst (snd z)) <= Y (fst z) /\ Rabs (snd (snd z)) <= X (fst z)) /\
    (forall a : I -> R, sumf (scaled a) ps = sumf (fun z => a (fst z) * exp (fst (snd z))) zs) /\
    (forall a : I -> R, sumf (scaled a) qs = sumf (fun z => a (fst z) * exp (snd (snd z))) zs).
Proof.
  revert ps qs. induction xs as [|i xs IH]; intros [|[j y] ps] [|[k x] qs] Ep Eq Bp Bq; try discriminate.
  - exists []. split; [reflexivity|]. split; [intros ? []|split; reflexivity].
  - simpl in Ep, Eq. injection Ep as -> Ep. injection Eq as -> Eq.
    destruct (IH ps qs Ep Eq) as (zs & F & Z & Sy & Sx); [intros; apply Bp; now right|intros; apply Bq; now right|].
    exists ((i, (y, x)) :: zs). split; [|split; [|split]].
    + simpl. now rewrite F.
    + intros z [<-|Hz].
      * simpl. repeat split; [now left|apply (Bp (i, y)); now left|apply (Bq (i, x)); now left].
      * destruct (Z z Hz) as (Z1 & Z2 & Z3). repeat split; auto. now right.
    + intros a. simpl. rewrite Sy. reflexivity.
    + intros a. simpl. rewrite Sx. reflexivity.
Qed.

Section Hull.
Context {I : Type} (xs : list I) (P v Y X : I -> R).
Variables (lo hi size apart Hn Hl n l least : R).
Hypothesis weights : forall i, In i xs -> 0 <= P i.
Hypothesis values : forall i, In i xs -> lo <= v i <= hi /\ Rabs (v i) <= size.
Hypothesis parted : forall i, In i xs -> Y i + X i <= apart.
Hypothesis size_nonneg : 0 <= size.
Hypothesis apart_nonneg : 0 <= apart.
Hypothesis numerator : perturbed xs (fun i => P i * v i) Y Hn n.
Hypothesis normaliser : perturbed xs P X Hl l.
Hypothesis least_pos : 0 < least.
Hypothesis at_least : least <= l.
Hypothesis seen : exists i, In i xs /\ 0 < P i.

Theorem hull : outside lo hi (n / l) <= hull_error apart size Hn Hl least.
Proof.
  destruct numerator as (ps & Ep & Bp & An). destruct normaliser as (qs & Eq & Bq & Al).
  destruct (paired xs ps qs Y X Ep Eq Bp Bq) as (zs & F & Z & Sy & Sx). rewrite Sy in An. rewrite Sx in Al.
  set (w := fun z : I * (R * R) => P (fst z) * exp (snd (snd z))) in *. set (S := sumf w zs) in *.
  assert (Hw : forall z, In z zs -> 0 <= w z).
  { intros z Hz. apply Rmult_le_pos; [apply weights; now apply Z|left; apply exp_pos]. }
  pose proof (Rabs_le_inv _ _ Al) as Al'.
  assert (S0 : 0 < S).
  { destruct seen as (i & Hi & Pi). rewrite <- F in Hi. apply in_map_iff in Hi. destruct Hi as (z & Ez & Hz).
    apply Rlt_le_trans with (w z); [|now apply sumf_in_le].
    unfold w. rewrite Ez. apply Rmult_lt_0_compat; [exact Pi|apply exp_pos]. }
  set (Q := sumf (fun z => w z * v (fst z)) zs / S).
  assert (HQ : lo <= Q <= hi).
  { apply (weighted_mean_in_hull zs w (fun z => v (fst z))); [exact Hw| |exact S0].
    intros z Hz. apply values. now apply Z. }
  assert (Qs : Rabs Q <= size).
  { apply Rabs_le. apply (weighted_mean_in_hull zs w (fun z => v (fst z))); [exact Hw| |exact S0].
    intros z Hz. apply Rabs_le_inv. apply values. now apply Z. }
  apply outside_le with Q; [exact HQ|]. set (g := growth apart).
  assert (G0 : 0 <= g) by (now apply growth_nonneg).
  set (N := sumf (fun z => P (fst z) * v (fst z) * exp (fst (snd z))) zs) in *.
  assert (B : Rabs (N - Q * S) <= g * size * S).
  { replace (Q * S) with (sumf (fun z => w z * v (fst z)) zs) by (unfold Q; field; lra).
    unfold N. rewrite <- sumf_minus. eapply Rle_trans; [apply sumf_abs|].
    replace (g * size * S) with (S * (g * size)) by ring. unfold S. rewrite <- sumf_scal.
    apply sumf_le. intros z Hz. destruct (Z z Hz) as (Z1 & Z2 & Z3).
    replace (P (fst z) * v (fst z) * exp (fst (snd z)) - w z * v (fst z))
      with (w z * (v (fst z) * (exp (fst (snd z) - snd (snd z)) - 1))).
    2:{ unfold w. unfold Rminus. rewrite exp_plus, exp_Ropp. field. apply Rgt_not_eq, exp_pos. }
    rewrite Rabs_mult, (Rabs_pos_eq (w z)) by auto. apply Rmult_le_compat_l; [auto|].
    rewrite Rabs_mult, Rmult_comm. apply Rmult_le_compat; try apply Rabs_pos; [|now apply values].
    apply abs_expm1. specialize (parted (fst z) Z1). unfold Rminus.
    eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. lra. }
  pose proof (Rabs_pos (n - N)). pose proof (Rabs_pos (l - S)).
  assert (l0 : 0 < l) by lra. assert (L1 : / l <= / least) by (now apply Rinv_le_contravar).
  assert (I0 : 0 < / l) by (now apply Rinv_0_lt_compat).
  replace (n / l - Q) with (((N - Q * S) + (n - N) + - (Q * (l - S))) * / l) by (field; lra).
  assert (B1 : Rabs (N - Q * S + (n - N) + - (Q * (l - S))) <= g * size * l + ((1 + g) * size * Hl + Hn)).
  { eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp, Rabs_mult.
    pose proof (Rabs_triang (N - Q * S) (n - N)).
    assert (Rabs Q * Rabs (l - S) <= size * Hl) by (apply Rmult_le_compat; auto using Rabs_pos).
    assert (g * size * S <= g * size * (l + Hl)) by (apply Rmult_le_compat_l; [now apply Rmult_le_pos|lra]). lra. }
  rewrite Rabs_mult, (Rabs_pos_eq (/ l)) by lra.
  apply Rle_trans with ((g * size * l + ((1 + g) * size * Hl + Hn)) * / l); [now apply Rmult_le_compat_r; [lra|]|].
  unfold hull_error. fold g. rewrite Rmult_plus_distr_r. apply Rplus_le_compat.
  - right. field. lra.
  - unfold Rdiv. apply Rmult_le_compat_l; [|exact L1].
    assert (0 <= (1 + g) * size * Hl) by (apply Rmult_le_pos; [apply Rmult_le_pos; lra|lra]). lra.
Qed.
End Hull.

(** The key that the reference was taken from has a weight of e^0 in the kernel's own coordinates. *)
Theorem normaliser_at_least {I} (xs : list I) (p T : I -> R) Hl l top :
  (forall i, In i xs -> 0 <= p i) -> perturbed xs p T Hl l -> In top xs -> 1 <= p top ->
  least_normaliser (T top) Hl <= l.
Proof.
  intros Hp Hl' Ht H1. destruct (perturbed_between xs p T Hl l Hp Hl') as [B _]. unfold least_normaliser, growth.
  replace (1 + (exp (T top) - 1)) with (exp (T top)) by ring. rewrite <- exp_Ropp.
  assert (p top * exp (- T top) <= sumf (fun i => p i * exp (- T i)) xs).
  { apply (sumf_in_le _ (fun i => p i * exp (- T i))); [|exact Ht].
    intros i Hi. apply Rmult_le_pos; [auto|left; apply exp_pos]. }
  pose proof (exp_pos (- T top)). nra.
Qed.

(** Parts that were normalised on their own and are weighted anew: their errors add up in the log metric. *)
Theorem hull_of_parts first second size :
  growth second * ((1 + growth first) * size) + growth first * size = growth (first + second) * size.
Proof. rewrite growth_plus. unfold growth. ring. Qed.

(** A sink is a key whose value is 0: it puts 0 into the hull. *)
Theorem sink_in_hull lo hi : Rmin 0 lo <= 0 <= Rmax 0 hi.
Proof. split; [apply Rmin_l|apply Rmax_l]. Qed.
