(** Parts of the keys, combined through their outputs and log-sum-exps (split-KV, ring and cascade attention).

    A part returns its normalised output O = N / l and s = ln l + rho.  Whatever l is, e^s O = N e^rho: the error of the
    part's own normaliser cancels, and what remains is the rounding rho of its log-sum-exp. What a combination returns
    is a part again, so that trees of combinations need no proof of their own.  A part without visible keys has
    s = -inf: its weight is exactly 0, and it is no leaf of any sum. *)
From Coq Require Import Reals List Permutation Lra.
From refattn Require Import Sums LogMetric Growth Perturbed.
Import ListNotations.
Open Scope R_scope.

Record part (I : Type) := { keys : list I; out : R; lse : R }.
Arguments keys {I}. Arguments out {I}. Arguments lse {I}.

(** [stands q p v Tn Td Hn Hd rho]: some l has been the normaliser of part q, with p the exact weights and v the values:
    O l is known as a perturbed sum of p v, l as one of p, and s as ln l to within rho. *)
Definition stands {I} (q : part I) (p v Tn Td : I -> R) (Hn Hd rho : R) : Prop :=
  exists l, 0 < l /\ perturbed (keys q) (fun i => p i * v i) Tn Hn (out q * l) /\
    perturbed (keys q) p Td Hd l /\ Rabs (lse q - ln l) <= rho.

Lemma perturbed_permutation {I} (xs ys : list I) a T H r :
  Permutation xs ys -> perturbed xs a T H r -> perturbed ys a T H r.
Proof.
  intros P (ps & E & B & A). rewrite <- E in P.
  destruct (Permutation_map_inv _ _ (Permutation_sym P)) as (qs & F & Q). exists qs.
  split; [now symmetry|]. split.
  - intros q Hq. apply B. eapply Permutation_in; [apply Permutation_sym, Q|exact Hq].
  - assert (S : sumf (scaled a) ps = sumf (scaled a) qs); [|now rewrite <- S].
    clear -Q. induction Q; simpl; lra.
Qed.

Section Added.
Context {I K : Type}.
Variable terms : K -> list I.
Variables unit eta : R.
Hypothesis unit_nonneg : 0 <= unit.
Hypothesis eta_nonneg : 0 <= eta.

(** [added x qs r]: r is a sum of the x q, q in qs, in any order, with a log-error of at most unit and an absolute one
    of at most eta for each addition. *)
Inductive added (x : K -> R) : list (K) -> R -> Prop :=
| added_one q : added x [q] (x q)
| added_both qs qs' r r' t h : added x qs r -> added x qs' r' -> Rabs t <= unit -> Rabs h <= eta ->
    added x (qs ++ qs') ((r + r') * exp t + h)
| added_order qs qs' r : Permutation qs qs' -> added x qs r -> added x qs' r.

Definition additions (qs : list (K)) : R := INR (length qs) - 1.

(** Absolute part of a sum of parts whose own absolute parts are H. *)
Definition added_lost (H : K -> R) (c : R) (qs : list (K)) : R :=
  (sumf H qs + additions qs * (eta * c)) * exp (additions qs * unit).

Lemma added_nonempty x qs r : added x qs r -> 0 <= additions qs.
Proof.
  unfold additions. induction 1 as [q|qs qs' r r' t h _ IH _ IH' _ _|qs qs' r P _ IH].
  - simpl. lra.
  - rewrite app_length, plus_INR. lra.
  - now rewrite <- (Permutation_length P).
Qed.

Lemma sumf_permutation {A} (f : A -> R) xs ys : Permutation xs ys -> sumf f xs = sumf f ys.
Proof. induction 1; simpl; lra. Qed.

Lemma added_lost_app H c qs qs' : (forall q, 0 <= H q) -> 0 <= c -> 0 <= additions qs -> 0 <= additions qs' ->
  (added_lost H c qs + added_lost H c qs') * exp unit + eta * c <= added_lost H c (qs ++ qs').
Proof.
  intros HH Hc A A'. unfold added_lost.
  assert (N : additions (qs ++ qs') = additions qs + additions qs' + 1).
  { unfold additions. rewrite app_length, plus_INR. lra. }
  rewrite N, sumf_app. set (a := additions qs) in *. set (b := additions qs') in *.
  assert (P : 0 <= eta * c) by now apply Rmult_le_pos.
  assert (S : 0 <= sumf H qs) by now apply sumf_nonneg. assert (S' : 0 <= sumf H qs') by now apply sumf_nonneg.
  rewrite Rmult_plus_distr_r, !Rmult_assoc, <- !exp_plus. set (E := exp ((a + b + 1) * unit)).
  assert (E1 : exp (a * unit + unit) <= E) by (apply exp_le; nra).
  assert (E2 : exp (b * unit + unit) <= E) by (apply exp_le; nra).
  assert (E3 : 1 <= E) by (apply exp_ge_1; nra).
  assert (L1 : (sumf H qs + a * (eta * c)) * exp (a * unit + unit) <= (sumf H qs + a * (eta * c)) * E)
    by (apply Rmult_le_compat_l; nra).
  assert (L2 : (sumf H qs' + b * (eta * c)) * exp (b * unit + unit) <= (sumf H qs' + b * (eta * c)) * E)
    by (apply Rmult_le_compat_l; nra).
  nra.
Qed.

(** A sum of perturbed sums, each known up to the common factor c. *)
Lemma added_perturbed (a T : I -> R) (H x : K -> R) c qs r : 0 < c -> (forall q, 0 <= H q) ->
  added x qs r -> (forall q, In q qs -> perturbed (terms q) a T (H q) (x q * c)) ->
  perturbed (flat_map terms qs) a (fun i => T i + additions qs * unit) (added_lost H c qs) (r * c).
Proof.
  intros Hc HH. induction 1 as [q|qs qs' r r' t h L IH L' IH' Ht Hh|qs qs' r P _ IH]; intros B.
  - simpl. rewrite app_nil_r. eapply perturbed_weaken; [| |apply B; now left].
    + intros i _. unfold additions; simpl. lra.
    + unfold added_lost, additions; simpl. replace (1 - 1) with 0 by ring. rewrite !Rmult_0_l, exp_0. lra.
  - pose proof (added_nonempty _ _ _ L) as A. pose proof (added_nonempty _ _ _ L') as A'.
    assert (N : additions (qs ++ qs') = additions qs + additions qs' + 1).
    { unfold additions. rewrite app_length, plus_INR. lra. }
    rewrite flat_map_app. replace (((r + r') * exp t + h) * c) with ((r * c + r' * c) * exp t + h * c) by ring.
    assert (J : perturbed (flat_map terms qs ++ flat_map terms qs') a
      (fun i => T i + (additions qs + additions qs') * unit) (added_lost H c qs + added_lost H c qs') (r * c + r' * c)).
    { apply perturbed_app.
      - eapply perturbed_weaken; [|apply Rle_refl|apply IH; intros; apply B; apply in_or_app; now left].
        intros i _. cbv beta. nra.
      - eapply perturbed_weaken; [|apply Rle_refl|apply IH'; intros; apply B; apply in_or_app; now right].
        intros i _. cbv beta. nra. }
    assert (S : Rabs (h * c) <= eta * c).
    { rewrite Rabs_mult, (Rabs_pos_eq c) by lra. apply Rmult_le_compat_r; lra. }
    eapply perturbed_weaken; [| |exact (perturbed_scale _ _ _ _ _ _ _ _ _ J Ht S)].
    + intros i _. cbv beta. rewrite N. lra.
    + apply added_lost_app; auto; lra.
  - assert (N : additions qs' = additions qs) by (unfold additions; now rewrite (Permutation_length P)).
    assert (E : added_lost H c qs' = added_lost H c qs).
    { unfold added_lost. now rewrite N, (sumf_permutation H _ _ P). }
    rewrite E, N. apply perturbed_permutation with (flat_map terms qs).
    + now apply Permutation_flat_map.
    + apply IH. intros q Hq. apply B. eapply Permutation_in; eassumption.
Qed.
End Added.

(** ** One combination *)
Section Combination.
Context {I K : Type}.
Variable part_of : K -> part I.
Variables p v Tn Td : I -> R.
Variables Hn Hd : K -> R.
Variables rho weight : K -> R.          (* rounding of a part's log-sum-exp; log-error of exp(s - reference) *)
Variable shared : I -> R.               (* both, for each key of the part *)
Variables unit eta : R.                 (* one product, sum or quotient of outputs *)
Variables unit_total eta_total : R.     (* one sum of weights *)
Variables kept eta_weight : R.          (* keeping the finished sum of weights; an exponential that underflows *)
Hypothesis unit_nonneg : 0 <= unit.
Hypothesis eta_nonneg : 0 <= eta.
Hypothesis unit_total_nonneg : 0 <= unit_total.
Hypothesis eta_total_nonneg : 0 <= eta_total.
Hypothesis eta_weight_nonneg : 0 <= eta_weight.
Hypothesis Hn_nonneg : forall k, 0 <= Hn k.
Hypothesis Hd_nonneg : forall k, 0 <= Hd k.

Notation o k := (out (part_of k)).
Notation s k := (lse (part_of k)).
Notation xs := (fun k => keys (part_of k)).
Hypothesis shared_ge : forall k i, In i (xs k) -> rho k + weight k <= shared i.

Definition known (k : K) : Prop := stands (part_of k) p v Tn Td (Hn k) (Hd k) (rho k).

(** W k is exp(s k - reference), with its errors. *)
Definition weighs (W : K -> R) (reference : R) (k : K) : Prop :=
  exists t h, Rabs t <= weight k /\ Rabs h <= eta_weight /\ W k = exp (s k - reference) * exp t + h.

(** Y k is W k O k, rounded. *)
Definition multiplies (Y W : K -> R) (k : K) : Prop :=
  exists t h, Rabs t <= unit /\ Rabs h <= eta /\ Y k = W k * o k * exp t + h.

Lemma exp_lse k l : 0 < l -> Rabs (s k - ln l) <= rho k -> exists d, Rabs d <= rho k /\ exp (s k) = l * exp d.
Proof.
  intros Hl B. exists (s k - ln l). split; [exact B|].
  replace (exp (s k)) with (exp (ln l + (s k - ln l))) by (f_equal; ring). now rewrite exp_plus, exp_ln.
Qed.

Lemma exp_reference reference k : exp (s k - reference) * exp reference = exp (s k).
Proof. rewrite <- exp_plus. f_equal. ring. Qed.

Lemma two_errors k d t : Rabs d <= rho k -> Rabs t <= weight k -> Rabs (d + t) <= rho k + weight k.
Proof. intros. eapply Rle_trans; [apply Rabs_triang|]. lra. Qed.

(** Absolute parts of a weight, and of its product with O, as multiples of e^reference. *)
Definition weight_lost (c : R) (k : K) : R := Hd k * exp (rho k + weight k) + eta_weight * c.
Definition product_lost (c : R) (k : K) : R :=
  Hn k * exp (rho k + weight k + unit) + (eta_weight * Rabs (o k) * exp unit + eta) * c.

Lemma weight_perturbed W reference k : weighs W reference k ->
  known k ->
  perturbed (xs k) p (fun i => Td i + shared i) (weight_lost (exp reference) k) (W k * exp reference).
Proof.
  intros (t & h & Ht & Hh & E) (l & Hl & _ & P & B). destruct (exp_lse k l Hl B) as (d & Hd' & Es).
  rewrite E, Rmult_plus_distr_r, (Rmult_comm _ (exp t)), Rmult_assoc, exp_reference, Es.
  replace (exp t * (l * exp d) + h * exp reference) with (l * exp (d + t) + h * exp reference)
    by (rewrite exp_plus; ring).
  apply perturbed_weaken with (fun i => Td i + (rho k + weight k)) (weight_lost (exp reference) k);
    [intros i Hi; specialize (shared_ge k i Hi); lra|apply Rle_refl|].
  apply perturbed_scale; [exact P|now apply two_errors|].
  rewrite Rabs_mult, (Rabs_pos_eq (exp reference)) by (left; apply exp_pos).
  apply Rmult_le_compat_r; [left; apply exp_pos|exact Hh].
Qed.

(** The part's own normaliser l cancels: e^s O = N e^rho. *)
Lemma product_perturbed Y W reference k : weighs W reference k -> multiplies Y W k ->
  known k ->
  perturbed (xs k) (fun i => p i * v i) (fun i => Tn i + (shared i + unit)) (product_lost (exp reference) k)
    (Y k * exp reference).
Proof.
  intros (t & h & Ht & Hh & E) (t2 & h2 & Ht2 & Hh2 & E2) (l & Hl & P & _ & B).
  destruct (exp_lse k l Hl B) as (d & Hd' & Es).
  replace (Y k * exp reference) with
    (o k * l * exp (d + t + t2) + (h * o k * exp t2 + h2) * exp reference).
  2:{ rewrite E2, E, !exp_plus, <- (exp_reference reference k) in *.
      replace (exp (s k - reference)) with (l * exp d * / exp reference).
      - field. pose proof (exp_pos reference). lra.
      - rewrite <- Es. field. pose proof (exp_pos reference). lra. }
  apply perturbed_weaken with (fun i => Tn i + (rho k + weight k + unit)) (product_lost (exp reference) k);
    [intros i Hi; specialize (shared_ge k i Hi); lra|apply Rle_refl|].
  apply perturbed_scale; [exact P| |].
  - eapply Rle_trans; [apply Rabs_triang|]. pose proof (two_errors k d t Hd' Ht). lra.
  - rewrite Rabs_mult, (Rabs_pos_eq (exp reference)) by (left; apply exp_pos).
    apply Rmult_le_compat_r; [left; apply exp_pos|]. eapply Rle_trans; [apply Rabs_triang|].
    apply Rplus_le_compat; [|exact Hh2]. rewrite !Rabs_mult, (Rabs_pos_eq (exp t2)) by (left; apply exp_pos).
    apply Rmult_le_compat; [|left; apply exp_pos| |].
    + apply Rmult_le_pos; apply Rabs_pos.
    + apply Rmult_le_compat_r; [apply Rabs_pos|exact Hh].
    + apply exp_le. apply Rabs_le_inv in Ht2. lra.
Qed.

Lemma weight_lost_nonneg c k : 0 <= c -> 0 <= weight_lost c k.
Proof.
  intros Hc. unfold weight_lost. pose proof (exp_pos (rho k + weight k)). specialize (Hd_nonneg k).
  apply Rplus_le_le_0_compat; apply Rmult_le_pos; lra.
Qed.

Lemma product_lost_nonneg c k : 0 <= c -> 0 <= product_lost c k.
Proof.
  intros Hc. unfold product_lost. pose proof (exp_pos (rho k + weight k + unit)). pose proof (exp_pos unit).
  pose proof (Rabs_pos (o k)). specialize (Hn_nonneg k).
  apply Rplus_le_le_0_compat; apply Rmult_le_pos; try lra.
  apply Rplus_le_le_0_compat; [|lra]. apply Rmult_le_pos; [apply Rmult_le_pos|]; lra.
Qed.

(** Absolute parts of the sum of all weights and of the sum of all products. *)
Definition total_lost (reference : R) (ks : list K) : R :=
  added_lost unit_total eta_total (weight_lost (exp reference)) (exp reference) ks * exp kept + 0.
Definition weighted_lost (reference : R) (ks : list K) : R :=
  added_lost unit eta (product_lost (exp reference)) (exp reference) ks.

(** Both sums, in any order. *)
Lemma total_perturbed W reference ks L0 L :
  (forall k, In k ks -> known k /\ weighs W reference k) ->
  added unit_total eta_total W ks L0 -> rerr kept L L0 ->
  perturbed (flat_map xs ks) p (fun i => Td i + shared i + additions ks * unit_total + kept)
    (total_lost reference ks) (L * exp reference).
Proof.
  intros HK HA (t & Ht & ->). assert (E : 0 < exp reference) by apply exp_pos.
  replace (L0 * exp t * exp reference) with (L0 * exp reference * exp t + 0) by ring.
  apply perturbed_scale; [|exact Ht|rewrite Rabs_R0; lra].
  apply (added_perturbed xs unit_total eta_total unit_total_nonneg eta_total_nonneg p _ _ W _ ks L0 E); [|exact HA|].
  - intros k. apply weight_lost_nonneg. lra.
  - intros k Hk. destruct (HK k Hk) as (S & U). now apply weight_perturbed.
Qed.

Lemma weighted_perturbed Y W reference ks N :
  (forall k, In k ks -> known k /\ weighs W reference k /\ multiplies Y W k) ->
  added unit eta Y ks N ->
  perturbed (flat_map xs ks) (fun i => p i * v i) (fun i => Tn i + (shared i + unit) + additions ks * unit)
    (weighted_lost reference ks) (N * exp reference).
Proof.
  intros HK HA. assert (E : 0 < exp reference) by apply exp_pos.
  apply (added_perturbed xs unit eta unit_nonneg eta_nonneg _ _ _ Y _ ks N E); [|exact HA|].
  - intros k. apply product_lost_nonneg. lra.
  - intros k Hk. destruct (HK k Hk) as (S & U & M). exact (product_perturbed Y W reference k U M S).
Qed.

(** Weights exp(s - M) for any reference M (the largest s), and one quotient at the end. *)
Theorem combine_by_quotient W Y reference ks L0 L N o' s' rho' t h :
  (forall k, In k ks -> known k /\ weighs W reference k /\ multiplies Y W k) ->
  added unit_total eta_total W ks L0 -> rerr kept L L0 -> added unit eta Y ks N -> 0 < L ->
  Rabs t <= unit -> Rabs h <= eta -> o' = N / L * exp t + h ->
  Rabs (s' - (reference + ln L)) <= rho' ->
  stands {| keys := flat_map xs ks; out := o'; lse := s' |} p v
    (fun i => Tn i + (shared i + unit) + additions ks * unit + unit)
    (fun i => Td i + shared i + additions ks * unit_total + kept)
    (weighted_lost reference ks * exp unit + eta * (L * exp reference))
    (total_lost reference ks) rho'.
Proof.
  intros HK HL HR HN PL Ht Hh Eo Es. pose proof (exp_pos reference) as P.
  assert (PP : 0 < L * exp reference) by (now apply Rmult_lt_0_compat).
  exists (L * exp reference). split; [exact PP|]. cbn [keys out lse]. split; [|split].
  - replace (o' * (L * exp reference)) with (N * exp reference * exp t + h * (L * exp reference))
      by (rewrite Eo; field; lra).
    apply perturbed_scale; [|exact Ht|].
    + exact (weighted_perturbed Y W reference ks N HK HN).
    + rewrite Rabs_mult, (Rabs_pos_eq (L * _)) by lra. apply Rmult_le_compat_r; lra.
  - apply (total_perturbed W reference ks L0); [|exact HL|exact HR].
    intros k Hk. destruct (HK k Hk) as (S & U & _). now split.
  - rewrite ln_mult, ln_exp by assumption. now rewrite Rplus_comm.
Qed.

(** Weights exp(s - s') for the combined log-sum-exp s', and no quotient: then the rounding of s' enters the output. *)
Theorem combine_by_log_sum_exp W W' Y reference ks L0 L o' s' rho' :
  (forall k, In k ks -> known k /\ weighs W reference k) ->
  (forall k, In k ks -> weighs W' s' k /\ multiplies Y W' k) ->
  added unit_total eta_total W ks L0 -> rerr kept L L0 -> added unit eta Y ks o' -> 0 < L ->
  Rabs (s' - (reference + ln L)) <= rho' ->
  stands {| keys := flat_map xs ks; out := o'; lse := s' |} p v
    (fun i => Tn i + (shared i + unit) + additions ks * unit + rho')
    (fun i => Td i + shared i + additions ks * unit_total + kept)
    (weighted_lost s' ks * exp rho' + 0)
    (total_lost reference ks) rho'.
Proof.
  intros HK HY HL HR HN PL Es. pose proof (exp_pos reference) as P.
  assert (PP : 0 < L * exp reference) by (now apply Rmult_lt_0_compat).
  assert (El : ln (L * exp reference) = reference + ln L) by (rewrite ln_mult, ln_exp by assumption; ring).
  exists (L * exp reference). split; [exact PP|]. cbn [keys out lse]. split; [|split].
  - replace (o' * (L * exp reference)) with (o' * exp s' * exp (reference + ln L - s') + 0).
    2:{ rewrite Rplus_0_r, Rmult_assoc, <- exp_plus. f_equal.
        replace (s' + (reference + ln L - s')) with (reference + ln L) by ring.
        now rewrite exp_plus, exp_ln, Rmult_comm by assumption. }
    apply perturbed_scale.
    + apply (weighted_perturbed Y W' s' ks o'); [|exact HN].
      intros k Hk. destruct (HK k Hk) as (S & _). destruct (HY k Hk) as (U & M). now split.
    + rewrite Rabs_minus_sym. exact Es.
    + rewrite Rabs_R0. lra.
  - exact (total_perturbed W reference ks L0 L HK HL HR).
  - now rewrite El.
Qed.
End Combination.
