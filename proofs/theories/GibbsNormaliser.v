(** A bound on the normaliser before any data is seen: from counts and ln n, whatever the range of the scores. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth Perturbed Schedule ScheduleCost ScheduleSubtract ScheduleAnyOrder Gibbs.
Import ListNotations.
Open Scope R_scope.

(** Relative error of the sum of n <= keys + 1 weights, of which one is 1; nats >= ln (keys + 1). *)
Definition gibbs_normaliser (keys changes nats argument_unit unit eps eta_weight eta_sum : R) : R :=
  let cost := (1 + changes) * eps + additions keys changes unit in
  (1 + growth cost) / (1 - argument_unit * nats / (1 - argument_unit)) - 1
  + underflow keys changes (keys + 1) eta_weight eta_sum cost.

Section Normaliser.
Context {I : Type} (w : I -> nat) (x : I -> R) (E : operations I).
Variables (argument_unit eps unit eta_weight eta_sum nats : R) (keys changes : nat).
Let one := fun _ : I => 1.
Let G := subtract x argument_unit 0.
Hypothesis within : operations_within w one G E eps unit 0 eta_weight eta_sum.
Hypothesis argument_in : 0 <= argument_unit < 1.

Let C := (1 + INR changes) * eps + additions (INR keys) (INR changes) unit.
Let distance (m : R) (i : I) := m - x i.

Lemma weights_as_distances m xs : sumf (weighted x one m) xs = total_weight (distance m) xs.
Proof.
  apply sumf_ext. intros i _. unfold weighted, one, distance. rewrite Rmult_1_r. f_equal. ring.
Qed.

(** THEOREM (range-free normaliser). *)
Theorem normaliser_range_free s r top :
  wf x 0 s -> computed x one G E s r -> counted w keys changes s ->
  In top (leaves s) -> x top = shift s ->
  ln (INR (length (leaves s))) <= nats -> argument_unit * nats / (1 - argument_unit) < 1 ->
  let l := sumf (weighted x one (shift s)) (leaves s) in
  Rabs (r - l) <=
    gibbs_normaliser (INR keys) (INR changes) nats argument_unit unit eps eta_weight eta_sum * l.
Proof.
  intros W K Hc Ht Et HK Hk l.
  assert (Seen : seen one G s <= INR keys + 1).
  { unfold seen, one, G. simpl. rewrite sumf_const, Rmult_0_r, exp_0, Rabs_R1. destruct Hc as [HL _].
    apply le_INR in HL. rewrite plus_INR in HL. simpl (INR 1) in HL. lra. }
  assert (GOK : argument_ok x 0 G) by (apply subtract_ok; lra).
  pose proof (any_order w x one 0 G E eps unit 0 eta_weight eta_sum keys changes GOK within s r _ W K Hc Seen) as P.
  assert (EC : path_cost keys changes eps unit 0 = C) by (unfold path_cost, C; ring). rewrite EC in P.
  assert (D : forall i, In i (leaves s) -> 0 <= distance (shift s) i).
  { intros i Hi. pose proof (wf_below x 0 s W i Hi). unfold distance. lra. }
  assert (L1 : 1 <= total_weight (distance (shift s)) (leaves s)).
  { apply (total_weight_ge_1 _ _ top Ht). unfold distance. lra. }
  assert (N : leaves s <> []) by (intros N; rewrite N in Ht; destruct Ht).
  pose proof (weights_with_rounded_arguments _ _ _ _ N D L1 argument_in HK Hk) as B.
  assert (El : total_weight (distance (shift s)) (leaves s) = l) by (symmetry; apply weights_as_distances).
  rewrite El in B, L1. eapply Rle_trans; [exact (perturbed_error _ _ _ _ _ P)|].
  unfold gibbs_normaliser. fold C. rewrite Rmult_plus_distr_r. apply Rplus_le_compat.
  - assert (S : sumf (fun i => Rabs (weighted x one (shift s) i) * growth (C + total G i (shift s))) (leaves s)
                = exp C * sumf (fun i => exp (- distance (shift s) i) * exp (argument_unit * distance (shift s) i))
                    (leaves s) - l).
    { unfold l. rewrite <- sumf_scal_l, <- sumf_minus. apply sumf_ext. intros i _.
      unfold weighted, one, growth, G, distance. simpl. rewrite Rmult_1_r, Rabs_pos_eq by (left; apply exp_pos).
      replace (- (shift s - x i)) with (x i - shift s) by ring.
      replace (shift s - x i + 2 * 0) with (shift s - x i) by ring. rewrite exp_plus. ring. }
    rewrite S. unfold growth. replace (1 + (exp C - 1)) with (exp C) by ring.
    replace ((exp C / (1 - argument_unit * nats / (1 - argument_unit)) - 1) * l)
      with (exp C * (l / (1 - argument_unit * nats / (1 - argument_unit))) - l) by (unfold Rdiv; ring).
    apply Rplus_le_compat_r. apply Rmult_le_compat_l; [left; apply exp_pos|exact B].
  - set (U := underflow _ _ _ _ _ _). assert (0 <= U); [|nra].
    pose proof (lost_within w one G E eps unit 0 eta_weight eta_sum keys changes within s _ Hc Seen) as L.
    rewrite EC in L. fold U in L.
    pose proof (lost_nonneg one G E (within_ok _ _ _ _ _ _ _ _ _ within) s). lra.
Qed.
End Normaliser.
