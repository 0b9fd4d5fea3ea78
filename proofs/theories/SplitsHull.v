(** Combined outputs against the hull of the values.

    Where one quotient by the sum of the weights ends the combination, products and sum of weights share the weights.
    Where weights are taken relative to the combined log-sum-exp instead, the sum of weights enters through its
    logarithm, rounded, and every exponential is taken twice: so much more can an output lie outside the hull. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth Perturbed Splits.
Import ListNotations.
Open Scope R_scope.

(** What the two sums' log-errors differ by. *)
Definition split_apart (weight rounding : R) : R := 2 * weight + rounding.

Section Hull.
Context {I K : Type}.
Variable part_of : K -> part I.
Variables weight unit eta eta_weight : R.
Hypothesis weight_nonneg : 0 <= weight.
Hypothesis unit_nonneg : 0 <= unit.
Hypothesis eta_nonneg : 0 <= eta.
Hypothesis eta_weight_nonneg : 0 <= eta_weight.

Notation o k := (out (part_of k)).
Notation weighs := (weighs part_of (fun _ => weight) eta_weight).
Notation multiplies := (multiplies part_of unit eta).

Definition apart_lost (rho' L : R) (k : K) : R :=
  eta_weight * (exp (2 * weight + rho') + L) * Rabs (o k) * exp unit + eta * L.

(** What the two combinations have in common: the weights W, of which [kept L] is the sum. *)
Lemma quotient_products W Y reference ks N :
  (forall k, In k ks -> weighs W reference k /\ multiplies Y W k) -> added unit eta Y ks N ->
  perturbed ks (fun k => W k * o k) (fun _ => unit + additions ks * unit)
    (added_lost unit eta (fun _ => eta) 1 ks) N.
Proof.
  intros HK A. rewrite <- (Rmult_1_r N).
  pose proof (added_perturbed (fun k : K => [k]) unit eta unit_nonneg eta_nonneg (fun k => W k * o k) (fun _ => unit)
    (fun _ => eta) Y 1 ks N Rlt_0_1 (fun _ => eta_nonneg) A) as P.
  replace ks with (flat_map (fun k : K => [k]) ks) at 1 by (clear; induction ks; simpl; congruence).
  apply P. intros k Hk. destruct (HK k Hk) as (_ & t & h & Ht & Hh & E). rewrite Rmult_1_r, E.
  exact (perturbed_leaf k (fun k => W k * o k) (fun _ => unit) eta t h Ht Hh).
Qed.

Lemma log_sum_exp_product W W' Y reference L s' rho' k : 0 < L -> Rabs (s' - (reference + ln L)) <= rho' ->
  weighs W reference k -> weighs W' s' k -> multiplies Y W' k ->
  perturbed [k] (fun k => W k * o k) (fun _ => 2 * weight + rho' + unit) (apart_lost rho' L k) (Y k * L).
Proof.
  intros PL Es (t & h & Ht & Hh & E) (t' & h' & Ht' & Hh' & E') (t2 & h2 & Ht2 & Hh2 & E2).
  set (d := reference + ln L - s'). set (c := d + t' - t).
  assert (Hd : Rabs d <= rho') by (unfold d; rewrite Rabs_minus_sym; exact Es).
  assert (Hc : Rabs c <= 2 * weight + rho').
  { unfold c, Rminus. eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp.
    pose proof (Rabs_triang d t'). lra. }
  assert (EW : exp (lse (part_of k) - s') * exp t' * L = (W k - h) * exp c).
  { rewrite E. replace (_ + h - h) with (exp (lse (part_of k) - reference) * exp t) by ring.
    rewrite <- (exp_ln L PL) at 1. rewrite <- !exp_plus. f_equal. unfold c, d. ring. }
  replace (Y k * L) with (W k * o k * exp (c + t2) + ((h' * L - h * exp c) * o k * exp t2 + h2 * L)).
  2:{ rewrite E2, E', exp_plus.
      replace ((W k * o k * (exp c * exp t2) + ((h' * L - h * exp c) * o k * exp t2 + h2 * L))) with
        (((W k - h) * exp c + h' * L) * o k * exp t2 + h2 * L) by ring.
      rewrite <- EW. ring. }
  apply (perturbed_leaf k (fun k => W k * o k)).
  - eapply Rle_trans; [apply Rabs_triang|]. lra.
  - pose proof (exp_pos c) as P. pose proof (exp_pos t2) as P2. apply Rabs_le_inv in Hc.
    assert (C : exp c <= exp (2 * weight + rho')) by (apply exp_le; lra).
    assert (B : Rabs (h' * L - h * exp c) <= eta_weight * (exp (2 * weight + rho') + L)).
    { unfold Rminus. eapply Rle_trans; [apply Rabs_triang|].
      rewrite Rabs_Ropp, !Rabs_mult, (Rabs_pos_eq L), (Rabs_pos_eq (exp c)) by lra.
      assert (Rabs h' * L <= eta_weight * L) by (apply Rmult_le_compat_r; lra).
      assert (Rabs h * exp c <= eta_weight * exp (2 * weight + rho'))
        by (apply Rmult_le_compat; auto using Rabs_pos; lra). lra. }
    unfold apart_lost. eapply Rle_trans; [apply Rabs_triang|]. apply Rplus_le_compat.
    + rewrite !Rabs_mult, (Rabs_pos_eq (exp t2)) by lra. apply Rmult_le_compat; [|lra| |].
      * apply Rmult_le_pos; apply Rabs_pos.
      * apply Rmult_le_compat_r; [apply Rabs_pos|exact B].
      * apply exp_le. apply Rabs_le_inv in Ht2. lra.
    + rewrite Rabs_mult, (Rabs_pos_eq L) by lra. apply Rmult_le_compat_r; lra.
Qed.

(** The output, times the sum L of the weights W, as a perturbed sum of W O: theorem hull applies, with this and the
    errors of L for what the two sums do not share. *)
Theorem log_sum_exp_products W W' Y reference ks L o' s' rho' : 0 < L -> Rabs (s' - (reference + ln L)) <= rho' ->
  (forall k, In k ks -> weighs W reference k /\ weighs W' s' k /\ multiplies Y W' k) -> added unit eta Y ks o' ->
  perturbed ks (fun k => W k * o k) (fun _ => split_apart weight rho' + unit + additions ks * unit)
    (added_lost unit eta (apart_lost rho' L) L ks) (o' * L).
Proof.
  intros PL Es HK A.
  assert (N : forall k, 0 <= apart_lost rho' L k).
  { intros k. unfold apart_lost. pose proof (exp_pos (2 * weight + rho')). pose proof (exp_pos unit).
    pose proof (Rabs_pos (o k)). apply Rplus_le_le_0_compat; [|apply Rmult_le_pos; lra].
    apply Rmult_le_pos; [apply Rmult_le_pos; [apply Rmult_le_pos|]|]; lra. }
  pose proof (added_perturbed (fun k : K => [k]) unit eta unit_nonneg eta_nonneg (fun k => W k * o k)
    (fun _ => 2 * weight + rho' + unit) (apart_lost rho' L) Y L ks o' PL N A) as P.
  replace ks with (flat_map (fun k : K => [k]) ks) at 1 by (clear; induction ks; simpl; congruence).
  apply P. intros k Hk. destruct (HK k Hk) as (U & U' & M).
  now apply (log_sum_exp_product W W' Y reference L s' rho' k).
Qed.
End Hull.
