(** Rational twins of the schedules' bounds (refattn/bounds/theorems/schedule.py), and their grid. *)
From Coq Require Import Reals QArith Qround Qreals Lra Lia List String ZArith.
From refattn Require Import LogMetric Growth Rationals Gibbs.
From refattn Require ScheduleCost GibbsNormaliser.
Import ListNotations.
Open Scope Q_scope.

Definition additions (keys changes unit : Q) : Q := (keys + 1 + changes) * unit.

Definition underflow (keys changes seen eta_weight eta_sum cost : Q) : Q :=
  ((1 + changes) * seen * eta_weight + (2 * keys + 1 + changes) * eta_sum)
  * (1 + growthQ (cost + (1 + changes) * eta_weight)).

Definition log_at_most (keys : Q) : Q := (7 # 10) * inject_Z (Z.log2_up (Qceiling keys)).

Definition gibbs_normaliser (keys changes nats argument_unit unit exponential eta_weight eta_sum : Q) : Q :=
  let cost := (1 + changes) * exponential + additions keys changes unit in
  (1 + growthQ cost) / (1 - argument_unit * nats / (1 - argument_unit)) - 1
  + underflow keys changes (keys + 1) eta_weight eta_sum cost.

Open Scope R_scope.

Theorem additions_dominates (keys changes unit : Q) :
  ScheduleCost.additions (Q2R keys) (Q2R changes) (Q2R unit) <= Q2R (additions keys changes unit).
Proof.
  right. unfold additions, ScheduleCost.additions. now rewrite Q2R_mult, !Q2R_plus, Q2R_1.
Qed.

Lemma additions_equal (keys changes unit : Q) :
  Q2R (additions keys changes unit) = ScheduleCost.additions (Q2R keys) (Q2R changes) (Q2R unit).
Proof. unfold additions, ScheduleCost.additions. now rewrite Q2R_mult, !Q2R_plus, Q2R_1. Qed.

Theorem underflow_dominates (keys changes seen eta_weight eta_sum cost : Q) :
  0 <= Q2R keys -> 0 <= Q2R changes -> 0 <= Q2R seen -> 0 <= Q2R eta_weight -> 0 <= Q2R eta_sum -> 0 <= Q2R cost ->
  Q2R cost + (1 + Q2R changes) * Q2R eta_weight < 2 ->
  ScheduleCost.underflow (Q2R keys) (Q2R changes) (Q2R seen) (Q2R eta_weight) (Q2R eta_sum) (Q2R cost)
    <= Q2R (underflow keys changes seen eta_weight eta_sum cost).
Proof.
  intros K C S W E T H. unfold underflow, ScheduleCost.underflow.
  assert (G : Q2R (cost + (1 + changes) * eta_weight)%Q = Q2R cost + (1 + Q2R changes) * Q2R eta_weight)
    by now rewrite Q2R_plus, Q2R_mult, Q2R_plus, Q2R_1.
  assert (P : 0 <= (1 + Q2R changes) * Q2R eta_weight) by (apply Rmult_le_pos; lra).
  pose proof (growthQ_dominates (cost + (1 + changes) * eta_weight)%Q) as D. rewrite G in D.
  rewrite !Q2R_mult, !Q2R_plus, !Q2R_mult, !Q2R_plus, !Q2R_mult, Q2R_1, Q2R_2.
  apply Rmult_le_compat_l; [|lra].
  apply Rplus_le_le_0_compat; [|apply Rmult_le_pos; lra].
  apply Rmult_le_pos; [apply Rmult_le_pos; lra|exact W].
Qed.

Theorem log_at_most_bounds n : (1 <= n)%nat -> ln (INR n) <= Q2R (log_at_most (inject_Z (Z.of_nat n))).
Proof.
  intros Hn. unfold log_at_most. rewrite Qceiling_Z, Q2R_mult, Q2R_inject.
  replace (Q2R (7 # 10)) with (7 / 10) by (unfold Q2R; simpl; lra).
  set (L := Z.log2_up (Z.of_nat n)). assert (L0 : (0 <= L)%Z) by apply Z.log2_up_nonneg.
  assert (HL : (Z.of_nat n <= 2 ^ L)%Z).
  { destruct (Z.eq_dec (Z.of_nat n) 1) as [E|E].
    - rewrite E. assert (0 < 2 ^ L)%Z by (apply Z.pow_pos_nonneg; lia). lia.
    - apply Z.log2_up_spec. lia. }
  pose proof (ln_le_doublings n (Z.to_nat L) Hn) as B.
  rewrite !INR_IZR_INZ, Z2Nat.id in B by exact L0. rewrite Rmult_comm, INR_IZR_INZ. apply B.
  rewrite pow_IZR, Z2Nat.id by exact L0. now apply IZR_le.
Qed.

Theorem gibbs_normaliser_dominates (keys changes nats argument_unit unit exponential eta_weight eta_sum : Q) :
  let cost := (1 + Q2R changes) * Q2R exponential + (Q2R keys + 1 + Q2R changes) * Q2R unit in
  0 <= Q2R keys -> 0 <= Q2R changes -> 0 <= Q2R unit -> 0 <= Q2R exponential ->
  0 <= Q2R eta_weight -> 0 <= Q2R eta_sum -> Q2R argument_unit < 1 ->
  Q2R argument_unit * Q2R nats / (1 - Q2R argument_unit) < 1 ->
  cost + (1 + Q2R changes) * Q2R eta_weight < 2 ->
  GibbsNormaliser.gibbs_normaliser (Q2R keys) (Q2R changes) (Q2R nats) (Q2R argument_unit) (Q2R unit)
      (Q2R exponential) (Q2R eta_weight) (Q2R eta_sum)
    <= Q2R (gibbs_normaliser keys changes nats argument_unit unit exponential eta_weight eta_sum).
Proof.
  intros cost K C U X W E A S H. unfold gibbs_normaliser, GibbsNormaliser.gibbs_normaliser. cbv zeta.
  set (costQ := ((1 + changes) * exponential + additions keys changes unit)%Q).
  assert (Ec : Q2R costQ = cost).
  { unfold costQ, cost. rewrite Q2R_plus, Q2R_mult, Q2R_plus, Q2R_1, additions_equal. reflexivity. }
  assert (c0 : 0 <= cost).
  { unfold cost. apply Rplus_le_le_0_compat; apply Rmult_le_pos; lra. }
  assert (w0 : 0 <= (1 + Q2R changes) * Q2R eta_weight) by (apply Rmult_le_pos; lra).
  assert (Ed : Q2R (1 - argument_unit * nats / (1 - argument_unit))%Q
               = 1 - Q2R argument_unit * Q2R nats / (1 - Q2R argument_unit)).
  { assert (Q2R (1 - argument_unit)%Q = 1 - Q2R argument_unit) as E1 by (rewrite Q2R_minus, Q2R_1; reflexivity).
    rewrite Q2R_minus, Q2R_1, Q2R_over, E1, Q2R_mult by (rewrite E1; lra). reflexivity. }
  rewrite Q2R_plus, Q2R_minus, Q2R_1, Q2R_over, Ed, Q2R_plus, Q2R_1 by (rewrite Ed; lra).
  change (ScheduleCost.additions (Q2R keys) (Q2R changes) (Q2R unit)) with ((Q2R keys + 1 + Q2R changes) * Q2R unit).
  fold cost. rewrite <- Ec. apply Rplus_le_compat.
  - apply Rplus_le_compat_r. unfold Rdiv at 1 3. apply Rmult_le_compat_r; [left; apply Rinv_0_lt_compat; lra|].
    apply Rplus_le_compat_l. apply growthQ_dominates. rewrite Ec. lra.
  - replace (Q2R keys + 1) with (Q2R (keys + 1)%Q) by (rewrite Q2R_plus, Q2R_1; reflexivity).
    apply underflow_dominates; rewrite ?Ec, ?Q2R_plus, ?Q2R_1; lra.
Qed.

Open Scope Q_scope.

(** Real kernels and odd numbers: (keys, changes). *)
Definition counts : list (Q * Q) :=
  [(1, 0); (2, 0); (3, 1); (16, 0); (64, 0); (65, 1); (100, 6); (1000, 15); (1024, 15); (4096, 63); (65536, 1023);
   (131072, 2047); (7, 5); (1 # 3, 2 # 7); (0, 0); (0, 3)].
Definition units : list Q := [1 # 2 ^ 24; 1 # 2 ^ 53; 1 # 2 ^ 23; 3 # 100000007; 1 # 999983000].
Definition lost : list (Q * Q) :=
  [(1 # 2 ^ 150, 1 # 2 ^ 150); (1 # 2 ^ 126, 1 # 2 ^ 25); (1 # 1000003, 5 # 999983); (0, 1 # 2 ^ 14); (1 # 2 ^ 14, 0)].
Definition costs : list Q := [0; 1 # 2 ^ 10; 1 # 7; 3 # 2].

Definition grid_schedule : list (string * list (Z * Z) * (Z * Z)) :=
  (flat_map (fun '(n, c) => map (fun unit => line "additions" [n; c; unit] (additions n c unit)) units) counts
  ++ flat_map (fun '(n, c) => map (fun '(ew, es) =>
       line "underflow" [n; c; n + (22 # 7); ew; es; 1 # 101] (underflow n c (n + (22 # 7)) ew es (1 # 101))) lost)
       counts
  ++ flat_map (fun cost => map (fun '(ew, es) =>
       line "underflow" [65; 3; 5 # 3; ew; es; cost] (underflow 65 3 (5 # 3) ew es cost)) lost) costs
  ++ map (fun n => line "log_at_most" [n] (log_at_most n))
       (map inject_Z [1; 2; 3; 4; 5; 7; 8; 9; 15; 16; 17; 31; 32; 33; 63; 64; 65; 100; 127; 128; 129; 1000; 1023; 1024;
          1025; 4096; 4097; 65536; 65537; 131072; 131073; 1000003]%Z)
  ++ flat_map (fun '(n, c) => map (fun '(ew, es) =>
       line "gibbs_normaliser" [n; c; log_at_most (n + 1); 1 # 2 ^ 24; 1 # 2 ^ 24; 3 # 2 ^ 24; ew; es]
         (gibbs_normaliser n c (log_at_most (n + 1)) (1 # 2 ^ 24) (1 # 2 ^ 24) (3 # 2 ^ 24) ew es)) lost) counts
  ++ flat_map (fun unit => map (fun '(ew, es) =>
       line "gibbs_normaliser" [17; 4; 11 # 3; 1 # 256; unit; 2 # 1000003; ew; es]
         (gibbs_normaliser 17 4 (11 # 3) (1 # 256) unit (2 # 1000003) ew es)) lost) units)%list.
