(** Underflow in a combination of parts, in units of the exact normaliser. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth Perturbed Normaliser Splits SplitsRounding.
Import ListNotations.
Open Scope R_scope.

(** e^s of a part is at most the normaliser of all keys, but for errors: what is lost beside a weight of 1 is small
    beside the normaliser. *)
Theorem reference_size {I} (q : part I) (rest : list I) (p v Tn Td : I -> R) Hn Hd rho :
  stands q p v Tn Td Hn Hd rho -> (forall i, In i (keys q ++ rest) -> 0 <= p i) ->
  let all := keys q ++ rest in
  0 < sumf p all -> exp (lse q) <= (sumf p all * (1 + excess all p Td) + Hd) * exp rho.
Proof.
  intros (l & Hl & _ & P & B) Hp all Hall.
  assert (E : exp (lse q) <= l * exp rho).
  { rewrite <- (exp_ln l Hl) at 1. rewrite <- exp_plus. apply exp_le. apply Rabs_le_inv in B. lra. }
  eapply Rle_trans; [exact E|]. apply Rmult_le_compat_r; [left; apply exp_pos|].
  assert (Hq : forall i, In i (keys q) -> 0 <= p i) by (intros; apply Hp; apply in_or_app; now left).
  destruct (perturbed_between (keys q) p Td Hd l Hq P) as [_ U].
  rewrite <- grown_sum by exact Hall. unfold all. rewrite sumf_app.
  assert (0 <= sumf (fun i => p i * exp (Td i)) rest); [|lra].
  apply sumf_nonneg. intros i Hi. apply Rmult_le_pos; [apply Hp, in_or_app; now right|left; apply exp_pos].
Qed.

Section Lost.
Context {I K : Type}.
Variable part_of : K -> part I.
Variables Hn Hd : K -> R.
Variables rho weight : K -> R.
Variables unit eta unit_total eta_total kept eta_weight : R.
Hypothesis unit_nonneg : 0 <= unit.
Hypothesis eta_nonneg : 0 <= eta.
Hypothesis unit_total_nonneg : 0 <= unit_total.
Hypothesis eta_total_nonneg : 0 <= eta_total.
Hypothesis eta_weight_nonneg : 0 <= eta_weight.
Hypothesis kept_nonneg : 0 <= kept.

(** The parts' own absolute parts, and what the combination adds to the sum of products. *)
Theorem weighted_lost_bound reference ks : 0 <= additions ks ->
  weighted_lost part_of Hn rho weight unit eta eta_weight reference ks <=
  sumf (fun k => Hn k * exp (rho k + weight k + unit)) ks * exp (additions ks * unit) +
  exp reference * split_lost (INR (length ks)) (sumf (fun k => Rabs (out (part_of k))) ks) eta_weight eta
    ((additions ks + 1) * unit).
Proof.
  intros A. set (V := sumf (fun k => Rabs (out (part_of k))) ks). unfold weighted_lost, added_lost, product_lost.
  assert (EG : 1 + growth ((additions ks + 1) * unit) = exp unit * exp (additions ks * unit)).
  { unfold growth. rewrite Rmult_plus_distr_r, Rmult_1_l, exp_plus. ring. }
  assert (ES : sumf (fun k => (eta_weight * Rabs (out (part_of k)) * exp unit + eta) * exp reference) ks =
    (eta_weight * V * exp unit + INR (length ks) * eta) * exp reference).
  { rewrite sumf_scal, (sumf_plus K (fun k => eta_weight * Rabs (out (part_of k)) * exp unit)), sumf_const.
    now rewrite sumf_scal, sumf_scal_l. }
  rewrite (sumf_plus K (fun k => Hn k * exp (rho k + weight k + unit))), ES.
  unfold split_lost. rewrite EG. set (S := sumf _ ks). set (E := exp (additions ks * unit)).
  assert (HV : 0 <= V) by (apply sumf_nonneg; intros; apply Rabs_pos).
  pose proof (exp_pos reference) as ER. assert (EU : 1 <= exp unit) by now apply exp_ge_1.
  assert (PE : 0 < E) by apply exp_pos.
  replace ((S + _ + _) * E) with (S * E +
    (eta_weight * V * exp unit + (INR (length ks) + additions ks) * eta) * (exp reference * E)) by ring.
  apply Rplus_le_compat_l.
  replace (exp reference * (_ * (_ * _))) with
    ((eta_weight * V * exp unit + 2 * INR (length ks) * eta * exp unit) * (exp reference * E)) by ring.
  apply Rmult_le_compat_r; [apply Rmult_le_pos; lra|]. apply Rplus_le_compat_l.
  assert (N : INR (length ks) + additions ks <= 2 * INR (length ks)) by (unfold additions; lra).
  assert (0 <= 2 * INR (length ks) * eta) by (apply Rmult_le_pos; [unfold additions in A; lra|lra]). nra.
Qed.

(** The same of the sum of weights. *)
Theorem total_lost_bound reference ks : 0 <= additions ks ->
  total_lost Hd rho weight unit_total eta_total kept eta_weight reference ks <=
  sumf (fun k => Hd k * exp (rho k + weight k)) ks * exp (additions ks * unit_total + kept) +
  exp reference * split_lost (INR (length ks)) (INR (length ks)) eta_weight eta_total
    (additions ks * unit_total + kept).
Proof.
  intros A. unfold total_lost, added_lost, weight_lost, split_lost. rewrite Rplus_0_r.
  rewrite (sumf_plus K (fun k => Hd k * exp (rho k + weight k))), sumf_const.
  assert (EG : 1 + growth (additions ks * unit_total + kept) = exp (additions ks * unit_total) * exp kept)
    by (unfold growth; rewrite exp_plus; ring).
  rewrite EG.
  rewrite exp_plus. pose proof (exp_pos reference) as ER. set (S := sumf _ ks).
  set (E := exp (additions ks * unit_total)). set (F := exp kept).
  assert (PE : 0 < E) by apply exp_pos. assert (PF : 0 < F) by apply exp_pos.
  replace ((S + _ + _) * E * F) with (S * (E * F) + (INR (length ks) * eta_weight + additions ks * eta_total) *
    exp reference * (E * F)) by ring.
  apply Rplus_le_compat_l.
  replace (exp reference * (_ * (_ * _))) with
    ((eta_weight * INR (length ks) + 2 * INR (length ks) * eta_total) * exp reference * (E * F)) by ring.
  apply Rmult_le_compat_r; [apply Rmult_le_pos; lra|]. apply Rmult_le_compat_r; [lra|].
  unfold additions in *. nra.
Qed.
End Lost.
