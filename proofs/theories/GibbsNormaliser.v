(** A bound on the normaliser before any data is seen: from counts and ln n, whatever the range of the scores. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth Perturbed Schedule ScheduleCost ScheduleSubtract
  ScheduleAnyOrder Gibbs.
Import ListNotations.
Open Scope R_scope.

(** Relative error of the sum of n <= keys + 1 weights, of which one is 1; nats >= ln (keys + 1). *)
Definition gibbs_normaliser (keys changes nats argument_unit unit eps eta_weight eta_sum : R) : R :=
  let cost := (1 + changes) * eps + additions keys changes unit in
  (1 + growth cost) / (1 - argument_unit * nats / (1 - argument_unit)) - 1
  + underflow keys changes (keys + 1) eta_weight eta_sum cost.

(** THEOREM (range-free, from the perturbed form alone). *)
Theorem perturbed_range_free {I} (x : I -> R) (xs : list I) m top cost argument_unit nats H r :
  perturbed xs (weighted x (fun _ => 1) m) (fun i => cost + argument_unit * (m - x i)) H r ->
  (forall i, In i xs -> x i <= m) -> In top xs -> x top = m -> 0 <= argument_unit < 1 -> 0 <= H ->
  ln (INR (length xs)) <= nats -> argument_unit * nats / (1 - argument_unit) < 1 ->
  let l := sumf (weighted x (fun _ => 1) m) xs in
  1 <= l /\
  Rabs (r - l) <= ((1 + growth cost) / (1 - argument_unit * nats / (1 - argument_unit)) - 1 + H) * l.
Proof.
  intros P B Ht Et U H0 HK Hk l. set (d := fun i => m - x i).
  assert (D : forall i, In i xs -> 0 <= d i) by (intros i Hi; specialize (B i Hi); unfold d; lra).
  assert (El : total_weight d xs = l).
  { apply sumf_ext. intros i _. unfold weighted, d. rewrite Rmult_1_r. f_equal. ring. }
  assert (L1 : 1 <= l) by (rewrite <- El; apply (total_weight_ge_1 _ _ top Ht); unfold d; lra).
  assert (N : xs <> []) by (intros N; rewrite N in Ht; destruct Ht).
  split; [exact L1|]. rewrite <- El in L1.
  pose proof (weights_with_rounded_arguments d xs argument_unit nats N D L1 U HK Hk) as W. rewrite El in W.
  eapply Rle_trans; [exact (perturbed_error _ _ _ _ _ P)|]. rewrite Rmult_plus_distr_r. rewrite El in L1.
  apply Rplus_le_compat; [|nra]. unfold growth in *. replace (1 + (exp cost - 1)) with (exp cost) by ring.
  assert (S : sumf (fun i => Rabs (weighted x (fun _ => 1) m i) * (exp (cost + argument_unit * (m - x i)) - 1)) xs
              = exp cost * sumf (fun i => exp (- d i) * exp (argument_unit * d i)) xs - l).
  { unfold l. rewrite <- sumf_scal_l, <- sumf_minus. apply sumf_ext. intros i _.
    unfold weighted, d. rewrite Rmult_1_r, Rabs_pos_eq by (left; apply exp_pos).
    replace (- (m - x i)) with (x i - m) by ring. rewrite exp_plus. ring. }
  rewrite S. set (k := argument_unit * nats / (1 - argument_unit)) in *.
  replace ((exp cost / (1 - k) - 1) * l) with (exp cost * (l / (1 - k)) - l) by (unfold Rdiv; ring).
  apply Rplus_le_compat_r. apply Rmult_le_compat_l; [left; apply exp_pos|exact W].
Qed.

(** THEOREM (range-free normaliser): any schedule of at most [keys] keys and a sink. *)
Theorem normaliser_range_free {I} (w : I -> nat) (x : I -> R) (E : operations I)
  (argument_unit eps unit eta_weight eta_sum nats : R) (keys changes : nat) s r top :
  operations_within w (fun _ => 1) (subtract x argument_unit 0) E eps unit 0 eta_weight eta_sum ->
  0 <= argument_unit < 1 -> wf x 0 s -> computed x (fun _ => 1) (subtract x argument_unit 0) E s r ->
  counted w keys changes s -> In top (leaves s) -> x top = shift s ->
  ln (INR (length (leaves s))) <= nats -> argument_unit * nats / (1 - argument_unit) < 1 ->
  let l := sumf (weighted x (fun _ => 1) (shift s)) (leaves s) in
  Rabs (r - l) <= gibbs_normaliser (INR keys) (INR changes) nats argument_unit unit eps eta_weight eta_sum * l.
Proof.
  intros within U W K Hc Ht Et HK Hk. set (one := fun _ : I => 1). set (G := subtract x argument_unit 0) in *.
  assert (Seen : seen one G s <= INR keys + 1).
  { unfold seen, one, G. simpl. rewrite sumf_const, Rmult_0_r, exp_0, Rabs_R1. destruct Hc as [HL _].
    apply le_INR in HL. rewrite plus_INR in HL. simpl (INR 1) in HL. lra. }
  assert (GOK : argument_ok x 0 G) by (apply subtract_ok; lra).
  pose proof (any_order w x one 0 G E eps unit 0 eta_weight eta_sum keys changes GOK within s r _ W K Hc Seen) as P.
  pose proof (lost_within w one G E eps unit 0 eta_weight eta_sum keys changes within s _ Hc Seen) as L0.
  pose proof (lost_nonneg one G E (within_ok _ _ _ _ _ _ _ _ _ within) s) as L1.
  unfold gibbs_normaliser. set (C := (1 + INR changes) * eps + additions (INR keys) (INR changes) unit).
  replace (path_cost keys changes eps unit 0) with C in * by (unfold path_cost, C; ring).
  apply (perturbed_range_free x (leaves s) (shift s) top C argument_unit nats _ r); auto; try lra.
  - eapply perturbed_weaken; [|apply Rle_refl|exact P]. intros i _. unfold G. simpl. lra.
  - intros i Hi. pose proof (wf_below x 0 s W i Hi). lra.
Qed.
