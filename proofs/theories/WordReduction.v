(** The exponential of refattn/oracle/extended/words.py, operation
  by operation in binary64: its constants, and Tang's reduction of
    the argument. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats Slices ErrorFree WordProducts.
Open Scope R_scope.

Local Notation f := fp64.
Local Notation fl := (nearest fp64).
Local Notation two_sum := (two_sum fp64).
Local Notation ordered_sum := (ordered_sum fp64).
Local Notation two_product := (two_product fp64).
Local Notation fused := (fused fp64).
Local Notation multiply := (multiply fp64).
Local Notation multiply_add := (multiply_add fp64).
Local Notation two_words := (two_words fp64).
Local Notation holds := (holds fp64).

Definition u := unit_roundoff fp64.
Definition lost := smallest_subnormal fp64 / 2.
Lemma u_value : u = / 9007199254740992.
Proof. unfold u, unit_roundoff. simpl. reflexivity. Qed.

Lemma negative_power n : bpow radix2 (- Z.of_nat n) = / 2 ^ n.
Proof. rewrite bpow_opp, <- IZR_Zpower by lia. f_equal. now rewrite pow_IZR. Qed.

Lemma lost_value : 0 < lost <= / 2 ^ 250.
Proof.
  unfold lost, smallest_subnormal. pose proof (bpow_gt_0 radix2 (lowest f)). split; [lra|].
  assert (bpow radix2 (lowest f) <= bpow radix2 (- Z.of_nat 250)) by (apply bpow_le; vm_compute; discriminate).
  rewrite negative_power in *. lra.
Qed.

(** The constants of words.py and what is supposed of them: finite facts, which tests/theorems/test_words.py checks. *)
Record constants := {
  steps_in_one : R;
  step1 : R; step2 : R; step3 : R;                     (* ln 2 / 512 *)
  sixth : R; sixth_low : R;
  fourth : R; fourth_low : R;                          (* 1 / 24 *)
  c5 : R; c6 : R; c7 : R; c8 : R;                      (* 1 / 120 to 1 / 40320 *)
  power : Z -> R; power_low : Z -> R }.

Definition step : R := ln 2 / 512.

Record constants_ok (c : constants) : Prop := {
  steps_ok : Rabs (steps_in_one c * step - 1) <= / 2 ^ 52;
  step1_ok : exists m, step1 c = IZR m * bpow radix2 (-41);
  step1_size : / 739 <= step1 c <= 1354 / 1000000;
  step2_ok : holds (step2 c) /\ Rabs (step2 c) <= / 2 ^ 41;
  step3_size : Rabs (step3 c) <= / 2 ^ 94;
  step_ok : Rabs (step - (step1 c + step2 c + step3 c)) <= / 2 ^ 140;
  sixth_words : two_words (sixth c) (sixth_low c);
  sixth_ok : Rabs (sixth c + sixth_low c - / 6) <= / 2 ^ 107;
  fourth_words : two_words (fourth c) (fourth_low c);
  fourth_ok : Rabs (fourth c + fourth_low c - / 24) <= / 2 ^ 108;
  c5_ok : Rabs (c5 c - / 120) <= / 2 ^ 59;
  c6_ok : Rabs (c6 c - / 720) <= / 2 ^ 62;
  c7_ok : Rabs (c7 c - / 5040) <= / 2 ^ 64;
  c8_ok : Rabs (c8 c - / 40320) <= / 2 ^ 67;
  power_words : forall i, (0 <= i < 512)%Z -> two_words (power c i) (power_low c i) /\ 1 <= power c i <= 2;
  power_ok : forall i, (0 <= i < 512)%Z ->
    Rabs (power c i + power_low c i - exp (IZR i * step)) <= / 2 ^ 106 * power c i }.

Section Exponential.
Variable c : constants.
Hypothesis C : constants_ok c.
Local Notation V := fp64_valid.

(** The argument less [k] steps. *)
Definition reduced (k high middle low : R) : R * R :=
  let r := fused (- k) (step1 c) high in
  let (product, error) := two_product (- k) (step2 c) in
  let (r, one) := two_sum r middle in
  let (r, two) := two_sum r product in
  two_sum r (fl (fl (one + two) + fl (error + fl (low - fl (k * step3 c))))).

Lemma step_size : / 740 <= step <= 13541 / 10000000.
Proof.
  pose proof (step1_size c C). destruct (step2_ok c C) as (_ & A). pose proof (step3_size c C) as B.
  pose proof (step_ok c C) as D. apply Rabs_le_inv in A, B, D. lra.
Qed.

Lemma rounded64 x : Rabs (fl x - x) <= u * Rabs x + lost.
Proof. exact (rounded_near f V x). Qed.

(** The number of steps. *)
Lemma steps_of high : Rabs high <= 660 ->
  exists m, leading f 0 (fl (high * steps_in_one c)) = IZR m /\ Rabs (IZR m) <= 2 ^ 19 /\
    Rabs (high * steps_in_one c - IZR m) <= / 2 + / 2 ^ 30.
Proof.
  intros H. pose proof (steps_ok c C) as S. pose proof step_size as T. pose proof u_value as U.
  pose proof lost_value as L. apply Rabs_le_inv in S.
  assert (S0 : 0 < steps_in_one c <= 7401 / 10).
  { split; [apply Rmult_lt_reg_r with step; lra|]. apply Rmult_le_reg_r with step; [lra|].
    apply Rle_trans with (1 + / 2 ^ 52); [lra|]. apply Rle_trans with (7401 / 10 * / 740); [lra|].
    apply Rmult_le_compat_l; lra. }
  assert (X : Rabs (high * steps_in_one c) <= 660 * (7401 / 10)).
  { rewrite Rabs_mult. apply Rmult_le_compat; try apply Rabs_pos; [exact H|]. rewrite Rabs_pos_eq; lra. }
  pose proof (rounded64 (high * steps_in_one c)) as R. set (y := high * steps_in_one c) in *.
  rewrite U in R. apply Rabs_le_inv in R. set (x := fl y) in *.
  assert (B : / 9007199254740992 * Rabs y <= / 2 ^ 31) by lra.
  assert (L2 : / 2 ^ 250 <= / 2 ^ 31) by lra.
  assert (X2 : Rabs x <= 488467).
  { apply Rabs_le. apply Rabs_le_inv in X. lra. }
  destruct (leading_exact f V 0 ltac:(vm_compute; discriminate) x) as (m & E & D & _).
  - apply held. exact V.
  - eapply Rle_lt_trans; [exact X2|]. simpl. lra.
  - exists m. unfold times_unit in E. simpl bpow in E, D. rewrite Rmult_1_r in E. rewrite E in *.
    apply Rabs_le_inv in D. apply Rabs_le_inv in X2. split; [reflexivity|]. split; apply Rabs_le; lra.
Qed.

(** What is left of the argument's first word is not rounded. *)
Lemma reduction_exact high m : holds high -> Rabs high <= 660 -> Rabs (IZR m) <= 2 ^ 19 ->
  Rabs (high * steps_in_one c - IZR m) <= / 2 + / 2 ^ 30 ->
  fused (- IZR m) (step1 c) high = high - IZR m * step1 c /\ Rabs (high - IZR m * step1 c) <= 678 / 1000000.
Proof.
  intros Hold H M D. pose proof (steps_ok c C) as S. pose proof step_size as T.
  assert (B1 : Rabs (high - IZR m * step) <= (/ 2 + / 2 ^ 30) * step + 660 * / 2 ^ 52).
  { replace (high - IZR m * step) with ((high * steps_in_one c - IZR m) * step + - (high * (steps_in_one c * step - 1)))
      by ring. eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp, !Rabs_mult, (Rabs_pos_eq step) by lra.
    apply Rplus_le_compat; [apply Rmult_le_compat_r; lra|].
    apply Rmult_le_compat; try apply Rabs_pos; assumption. }
  assert (B2 : Rabs (IZR m * (step - step1 c)) <= 2 ^ 19 * (/ 2 ^ 41 + / 2 ^ 90)).
  { rewrite Rabs_mult. apply Rmult_le_compat; try apply Rabs_pos; [exact M|].
    destruct (step2_ok c C) as (_ & A). pose proof (step3_size c C) as B. pose proof (step_ok c C) as E.
    apply Rabs_le_inv in A, B, E. apply Rabs_le. lra. }
  assert (B3 : Rabs (high - IZR m * step1 c) <= 678 / 1000000).
  { replace (high - IZR m * step1 c) with ((high - IZR m * step) + IZR m * (step - step1 c)) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. lra. }
  split; [|exact B3]. unfold fused, ErrorFree.fused.
  replace (- IZR m * step1 c + high) with (high - IZR m * step1 c) by ring.
  apply held_is_rounded. destruct (Z.eq_dec m 0) as [->|N].
  { replace (high - 0 * step1 c) with high by ring. exact Hold. }
  assert (M1 : 1 <= Rabs (IZR m)) by (rewrite <- abs_IZR; apply IZR_le; lia).
  assert (Large : bpow radix2 (-11) <= Rabs high).
  { simpl. replace high with ((high - IZR m * step) + IZR m * step) by ring.
    pose proof (Rabs_triang (high - IZR m * step + IZR m * step) (- (high - IZR m * step))) as Q.
    rewrite Rabs_Ropp in Q.
    replace (high - IZR m * step + IZR m * step + - (high - IZR m * step)) with (IZR m * step) in Q by ring.
    rewrite Rabs_mult, (Rabs_pos_eq step) in Q by lra.
    assert (1 * step <= Rabs (IZR m) * step) by (apply Rmult_le_compat_r; lra). lra. }
  destruct (step1_ok c C) as (s & Es).
  assert (G : exists n, high = IZR n * bpow radix2 (-63)).
  { unfold Formats.holds, generic_format, F2R in Hold. cbn [Fnum Fexp] in Hold.
    set (e := cexp radix2 (exponents f) high) in *. set (n := Ztrunc (scaled_mantissa radix2 (exponents f) high)) in *.
    assert (Le : (-63 <= e)%Z).
    { unfold e, cexp, exponents, FLT_exp. pose proof (mag_ge_bpow radix2 high (-10) Large). simpl precision. lia. }
    exists (n * 2 ^ (e + 63))%Z. rewrite mult_IZR, (IZR_Zpower radix2) by lia. rewrite Hold at 1.
    rewrite Rmult_assoc, <- bpow_plus. do 2 f_equal. lia. }
  destruct G as (n & En).
  assert (X : high - IZR m * step1 c = times_unit (-63) (n - m * s * 2 ^ 22)).
  { unfold times_unit. rewrite minus_IZR, !mult_IZR, Rmult_minus_distr_r, <- En, Es.
    replace (bpow radix2 (-41)) with (IZR (2 ^ 22) * bpow radix2 (-63)) by (simpl; lra). ring. }
  rewrite X in *. apply holds_multiple; [exact V|vm_compute; discriminate|]. apply le_IZR. rewrite abs_IZR.
  unfold times_unit in B3. rewrite Rabs_mult, (Rabs_pos_eq (bpow _ _)) in B3 by apply bpow_ge_0.
  apply Rmult_le_reg_r with (bpow radix2 (-63)); [apply bpow_gt_0|]. eapply Rle_trans; [exact B3|]. simpl. lra.
Qed.

Lemma reduced_near m high middle low : holds high -> holds middle -> holds low -> holds (IZR m) ->
  Rabs high <= 660 -> Rabs middle <= / 2 ^ 30 -> Rabs low <= / 2 ^ 80 -> Rabs (IZR m) <= 2 ^ 19 ->
  Rabs (high * steps_in_one c - IZR m) <= / 2 + / 2 ^ 30 ->
  let (r, r_low) := reduced (IZR m) high middle low in
  two_words r r_low /\ Rabs r <= 68 / 100000 /\
  Rabs (r + r_low - (high + middle + low - IZR m * step)) <= / 2 ^ 113.
Proof.
  intros HH HM HL Hm H M L K D. destruct (reduction_exact high m HH H K D) as (E & B).
  destruct (step2_ok c C) as (H2 & S2). pose proof (step3_size c C) as S3. pose proof (step_ok c C) as S.
  pose proof u_value as U. pose proof lost_value as L0. unfold reduced. rewrite E.
  assert (HR : holds (high - IZR m * step1 c)) by (rewrite <- E; apply held, V).
  set (r0 := high - IZR m * step1 c) in *.
  assert (HK : holds (- IZR m)) by now apply holds_opp.
  destruct (two_product_lost f V (- IZR m) (step2 c) HK H2) as (P & PE). fold lost in PE.
  pose proof (rounded64 (- IZR m * step2 c)) as PN. rewrite <- P in PN.
  assert (HP : holds (fst (two_product (- IZR m) (step2 c)))) by (rewrite P; apply held, V).
  assert (HE : holds (snd (two_product (- IZR m) (step2 c)))) by apply held, V.
  clear P. destruct (two_product (- IZR m) (step2 c)) as [p e]. cbn [fst snd] in *.
  assert (X2 : Rabs (- IZR m * step2 c) <= 2 ^ 19 * / 2 ^ 41).
  { rewrite Rabs_mult, Rabs_Ropp. apply Rmult_le_compat; try apply Rabs_pos; assumption. }
  assert (X3 : Rabs (IZR m * step3 c) <= 2 ^ 19 * / 2 ^ 94).
  { rewrite Rabs_mult. apply Rmult_le_compat; try apply Rabs_pos; assumption. }
  assert (X4 : Rabs (IZR m * (step - (step1 c + step2 c + step3 c))) <= 2 ^ 19 * / 2 ^ 140).
  { rewrite Rabs_mult. apply Rmult_le_compat; try apply Rabs_pos; assumption. }
  destruct (two_sum_split f V r0 middle HR HM) as (r1 & e1 & -> & _ & E1 & HR1 & HE1 & _ & L1). fold u in L1.
  destruct (two_sum_split f V r1 p HR1 HP) as (r2 & e2 & -> & _ & E2 & HR2 & HE2 & _ & L2). fold u in L2.
  pose proof (rounded64 (IZR m * step3 c)) as R3. set (t1 := fl (IZR m * step3 c)) in *.
  assert (HT1 : holds (- t1)) by (apply holds_opp, held, V).
  pose proof (sum_relative f V low (- t1) HL HT1) as R4. fold u in R4. change (low + - t1) with (low - t1) in R4.
  set (t2 := fl (low - t1)) in *. assert (HT2 : holds t2) by apply held, V.
  pose proof (sum_relative f V e t2 HE HT2) as R5. fold u in R5. set (t3 := fl (e + t2)) in *.
  assert (HT3 : holds t3) by apply held, V.
  pose proof (sum_relative f V e1 e2 HE1 HE2) as R6. fold u in R6. set (t4 := fl (e1 + e2)) in *.
  assert (HT4 : holds t4) by apply held, V.
  pose proof (sum_relative f V t4 t3 HT4 HT3) as R7. fold u in R7. set (t5 := fl (t4 + t3)) in *.
  assert (HT5 : holds t5) by apply held, V.
  destruct (two_sum_split f V r2 t5 HR2 HT5) as (r & rl & -> & _ & E8 & HR8 & HE8 & L8 & _). fold u in L8.
  rewrite U in *.
  (* sizes, one after the other *)
  pose proof (Rabs_triang r0 middle) as Q1. assert (B1 : Rabs e1 <= / 2 ^ 63) by lra.
  assert (P1 : Rabs p <= / 2 ^ 21).
  { replace p with ((p - - IZR m * step2 c) + - IZR m * step2 c) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra. }
  assert (PE1 : Rabs e <= / 2 ^ 74).
  { replace e with ((p + e - - IZR m * step2 c) + - (p - - IZR m * step2 c)) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. lra. }
  assert (A1 : Rabs (r1 + p) <= 6785 / 10000000).
  { apply Rabs_le_inv in B, M, B1, P1. apply Rabs_le. lra. }
  assert (B2 : Rabs e2 <= / 2 ^ 63) by lra.
  assert (T1 : Rabs t1 <= / 2 ^ 74).
  { replace t1 with ((t1 - IZR m * step3 c) + IZR m * step3 c) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra. }
  pose proof (Rabs_triang low (- t1)) as Q2. rewrite Rabs_Ropp in Q2. change (low + - t1) with (low - t1) in Q2.
  assert (T2 : Rabs (t2 - (low - t1)) <= / 2 ^ 126) by lra.
  assert (T2' : Rabs t2 <= / 2 ^ 73).
  { replace t2 with ((t2 - (low - t1)) + (low - t1)) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra. }
  pose proof (Rabs_triang e t2) as Q3. assert (T3 : Rabs (t3 - (e + t2)) <= / 2 ^ 125) by lra.
  assert (T3' : Rabs t3 <= / 2 ^ 72).
  { replace t3 with ((t3 - (e + t2)) + (e + t2)) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra. }
  pose proof (Rabs_triang e1 e2) as Q4. assert (T4 : Rabs (t4 - (e1 + e2)) <= / 2 ^ 115) by lra.
  assert (T4' : Rabs t4 <= 3 / 2 * / 2 ^ 62).
  { replace t4 with ((t4 - (e1 + e2)) + (e1 + e2)) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra. }
  pose proof (Rabs_triang t4 t3) as Q5. assert (T5 : Rabs (t5 - (t4 + t3)) <= / 2 ^ 114) by lra.
  split; [split; [exact HR8|split; [exact HE8|fold u; rewrite U; exact L8]]|].
  assert (Z : Rabs (r + rl - (high + middle + low - IZR m * step)) <= / 2 ^ 113).
  { replace (r + rl - (high + middle + low - IZR m * step)) with
      ((p + e - - IZR m * step2 c) + (t5 - (t4 + t3)) + (t4 - (e1 + e2)) + (t3 - (e + t2)) + (t2 - (low - t1))
        + - (t1 - IZR m * step3 c) + IZR m * (step - (step1 c + step2 c + step3 c))) by (unfold r0 in *; lra).
    assert (R3' : Rabs (t1 - IZR m * step3 c) <= / 2 ^ 127) by lra.

    apply Rabs_le_inv in PE, T2, T3, T4, T5, R3', X4. apply Rabs_le. lra. }
  split; [|exact Z].
  assert (Y : Rabs (r + rl) <= 679 / 1000000).
  { replace (r + rl) with (r1 + p - e2 + (t5 - (t4 + t3)) + t4 + t3) by lra.
    apply Rabs_le_inv in A1, B2, T5, T4', T3'. apply Rabs_le. lra. }
  pose proof (Rabs_triang (r + rl) (- rl)) as Q6. rewrite Rabs_Ropp in Q6.
  replace (r + rl + - rl) with r in Q6 by ring. lra.
Qed.
End Exponential.
