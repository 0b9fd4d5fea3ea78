(** A computed sum as the exact sum with each term multiplied by e^t, and an absolute part.

    [perturbed xs a T H r]: r = sum_i a_i e^(t_i) + h for some |t_i| <= T_i, |h| <= H.  What a
    kernel adds up is of this form, whatever its order of summation; what is made of the sum
    (quotients, logarithms, products) is bounded from this form alone. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth.
Import ListNotations.
Open Scope R_scope.

Definition scaled {I} (a : I -> R) (p : I * R) : R := a (fst p) * exp (snd p).

Definition perturbed {I} (xs : list I) (a T : I -> R) (H r : R) : Prop :=
  exists ps : list (I * R),
    map fst ps = xs /\ (forall p, In p ps -> Rabs (snd p) <= T (fst p)) /\
    Rabs (r - sumf (scaled a) ps) <= H.

Lemma perturbed_weaken {I} (xs : list I) a T T' H H' r :
  (forall i, In i xs -> T i <= T' i) -> H <= H' -> perturbed xs a T H r -> perturbed xs a T' H' r.
Proof.
  intros HT HH (ps & E & B & A). exists ps. split; [exact E|]. split; [|lra].
  intros p Hp. eapply Rle_trans; [now apply B|]. apply HT. rewrite <- E. now apply in_map.
Qed.

Lemma perturbed_leaf {I} (i : I) a T H t h :
  Rabs t <= T i -> Rabs h <= H -> perturbed [i] a T H (a i * exp t + h).
Proof.
  intros Ht Hh. exists [(i, t)]. split; [reflexivity|]. split.
  - intros p [<-|[]]. exact Ht.
  - simpl. unfold scaled; simpl. replace (_ - _) with h by ring. exact Hh.
Qed.

Definition moved {I} (t : R) (p : I * R) : I * R := (fst p, snd p + t).

Lemma sumf_moved {I} (a : I -> R) t ps : sumf (scaled a) (map (moved t) ps) = sumf (scaled a) ps * exp t.
Proof.
  rewrite sumf_map, <- sumf_scal. apply sumf_ext. intros p _.
  unfold scaled, moved; simpl. rewrite exp_plus. ring.
Qed.

(** One more rounding, product or quotient: e^t on the whole, and an absolute error. *)
Lemma perturbed_scale {I} (xs : list I) a T H r c t h eta :
  perturbed xs a T H r -> Rabs t <= c -> Rabs h <= eta ->
  perturbed xs a (fun i => T i + c) (H * exp c + eta) (r * exp t + h).
Proof.
  intros (ps & E & B & A) Ht Hh. exists (map (moved t) ps). split; [|split].
  - rewrite map_map. exact E.
  - intros p Hp. apply in_map_iff in Hp. destruct Hp as (q & <- & Hq). simpl.
    eapply Rle_trans; [apply Rabs_triang|]. specialize (B q Hq). lra.
  - rewrite sumf_moved.
    replace (r * exp t + h - sumf (scaled a) ps * exp t) with ((r - sumf (scaled a) ps) * exp t + h) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. apply Rplus_le_compat; [|exact Hh].
    rewrite Rabs_mult, (Rabs_pos_eq (exp t)) by (left; apply exp_pos).
    apply Rmult_le_compat; [apply Rabs_pos|left; apply exp_pos|exact A|].
    apply exp_le. apply Rabs_le_inv in Ht. lra.
Qed.

Lemma perturbed_app {I} (xs ys : list I) a T H H' r r' :
  perturbed xs a T H r -> perturbed ys a T H' r' -> perturbed (xs ++ ys) a T (H + H') (r + r').
Proof.
  intros (ps & E & B & A) (qs & E' & B' & A'). exists (ps ++ qs). split; [|split].
  - now rewrite map_app, E, E'.
  - intros p Hp. apply in_app_or in Hp. destruct Hp; auto.
  - rewrite sumf_app.
    replace (r + r' - (_ + _)) with ((r - sumf (scaled a) ps) + (r' - sumf (scaled a) qs)) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. lra.
Qed.

(** The same terms seen from another reference point: a_i = b_i e^(d_i) c. *)
Lemma perturbed_terms {I} (xs : list I) a b d T H r c :
  (forall i, In i xs -> exists e, Rabs e <= d i /\ a i = b i * exp e * c) -> 0 < c ->
  perturbed xs a T H r -> perturbed xs b (fun i => T i + d i) (H / c) (r / c).
Proof.
  intros HA Hc (ps & E & B & A).
  assert (X : forall ps0, (forall p, In p ps0 -> In (fst p) xs /\ Rabs (snd p) <= T (fst p)) ->
    exists qs : list (I * R), map fst qs = map fst ps0 /\
      (forall p, In p qs -> Rabs (snd p) <= T (fst p) + d (fst p)) /\
      sumf (scaled a) ps0 = sumf (scaled b) qs * c).
  { induction ps0 as [|p ps0 IH]; intros HP.
    - exists []. simpl. repeat split; [intros p []|ring].
    - destruct IH as (qs & F & G & S); [intros; apply HP; now right|].
      destruct (HP p (or_introl eq_refl)) as [Hi Ht]. destruct (HA (fst p) Hi) as (e & He & Ea).
      exists ((fst p, snd p + e) :: qs). split; [|split].
      + simpl. now rewrite F.
      + intros q [<-|Hq]; [|now apply G]. simpl. eapply Rle_trans; [apply Rabs_triang|]. lra.
      + simpl. rewrite S. unfold scaled at 1 3; simpl. rewrite Ea, exp_plus. ring. }
  destruct (X ps) as (qs & F & G & S).
  { intros p Hp. split; [rewrite <- E; now apply in_map|now apply B]. }
  exists qs. split; [now rewrite F|]. split; [exact G|].
  rewrite S in A. replace (r / c - sumf (scaled b) qs) with ((r - sumf (scaled b) qs * c) / c) by (field; lra).
  unfold Rdiv. rewrite Rabs_mult, (Rabs_pos_eq (/ c)) by (left; apply Rinv_0_lt_compat; exact Hc).
  apply Rmult_le_compat_r; [left; apply Rinv_0_lt_compat; exact Hc|exact A].
Qed.

(** Forward error: sum |a_i| (e^(T_i) - 1), and the absolute part. *)
Theorem perturbed_error {I} (xs : list I) a T H r : perturbed xs a T H r ->
  Rabs (r - sumf a xs) <= sumf (fun i => Rabs (a i) * growth (T i)) xs + H.
Proof.
  intros (ps & E & B & A).
  replace (r - sumf a xs) with ((sumf (scaled a) ps - sumf a xs) + (r - sumf (scaled a) ps)) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. apply Rplus_le_compat; [|exact A].
  rewrite <- E, !sumf_map, <- sumf_minus. eapply Rle_trans; [apply sumf_abs|].
  apply sumf_le. intros p Hp. unfold scaled.
  replace (a (fst p) * exp (snd p) - a (fst p)) with (a (fst p) * (exp (snd p) - 1)) by ring.
  rewrite Rabs_mult. apply Rmult_le_compat_l; [apply Rabs_pos|]. apply abs_expm1. now apply B.
Qed.
