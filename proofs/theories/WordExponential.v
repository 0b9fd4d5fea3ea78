(** The exponential of refattn/oracle/words.py, operation by operation in binary64: Tang's reduction in two words. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats Slices ErrorFree WordProducts ExpSeries.
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

(** The constants of words.py and what is supposed of them: finite facts, which tests/test_theorem_words.py checks. *)
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

(** exp(r) - 1. *)
Definition polynomial (r r_low : R) : R * R :=
  let tail := fused (fused (fused (c8 c) r (c7 c)) r (c6 c)) r (c5 c) in
  let (p, p_low) := two_sum (fourth c) (fused tail r (fourth_low c)) in
  let (p, p_low) := multiply_add p p_low r r_low (sixth c) (sixth_low c) in
  let (p, p_low) := multiply_add p p_low r r_low (/ 2) 0 in
  let (p, p_low) := multiply_add p p_low r r_low 1 0 in
  multiply p p_low r r_low.

Definition rebuilt (p p_low : R) (place : Z) : R * R :=
  let (p, p_low) := multiply p p_low (power c place) (power_low c place) in
  let (total, rest) := ordered_sum (power c place) p in
  ordered_sum total (fl (rest + fl (power_low c place + p_low))).

(** Two words, and the power of two that they are multiplied by. *)
Definition exponential (high middle low : R) : R * R * Z :=
  let k := leading f 0 (fl (high * steps_in_one c)) in
  let (r, r_low) := reduced k high middle low in
  let (p, p_low) := polynomial r r_low in
  let steps := Ztrunc k in
  (rebuilt p p_low (steps mod 512)%Z, (steps / 512)%Z).

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

(** One step of Horner's in one word: x (r + r_low), of which the last word is left out. *)
Lemma horner x t d size r rl : Rabs (x - t) <= d -> Rabs t <= size -> Rabs r <= 68 / 100000 ->
  Rabs rl <= / 9007199254740992 * Rabs r ->
  Rabs (x * r - t * (r + rl)) <= d * (68 / 100000) + size * (76 / 10 ^ 21).
Proof.
  intros D S R L. replace (x * r - t * (r + rl)) with ((x - t) * r + - (t * rl)) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp, !Rabs_mult.
  apply Rplus_le_compat; apply Rmult_le_compat; try apply Rabs_pos; try assumption. lra.
Qed.

(** And in two words. *)
Lemma horner_words x t z d : Rabs (x - t) <= d -> Rabs z <= 6801 / 10000000 ->
  Rabs (x * z - t * z) <= d * (6801 / 10000000).
Proof.
  intros D Z. replace (x * z - t * z) with ((x - t) * z) by ring. rewrite Rabs_mult.
  apply Rmult_le_compat; try apply Rabs_pos; assumption.
Qed.

Lemma bounded_product t z s : Rabs t <= s -> Rabs z <= 6801 / 10000000 -> Rabs (t * z) <= s * (6801 / 10000000).
Proof. intros T Z. rewrite Rabs_mult. apply Rmult_le_compat; try apply Rabs_pos; assumption. Qed.

Lemma first_word p pl t d s : two_words p pl -> Rabs (p + pl - t) <= d -> Rabs t <= s ->
  Rabs p <= (s + d) * (1 + / 2 ^ 52).
Proof.
  intros (_ & _ & L) D S. fold u in L. rewrite u_value in L.
  pose proof (Rabs_triang (p + pl) (- pl)) as Q. rewrite Rabs_Ropp in Q. replace (p + pl + - pl) with p in Q by ring.
  pose proof (Rabs_triang (p + pl - t) t) as W. replace (p + pl - t + t) with (p + pl) in W by ring.
  pose proof (Rabs_pos p). lra.
Qed.

Lemma two_words_0 x : holds x -> two_words x 0.
Proof.
  intros H. split; [exact H|]. split; [apply holds_0|]. rewrite Rabs_R0.
  apply Rmult_le_pos; [left; apply bpow_gt_0|apply Rabs_pos].
Qed.

Lemma half_held : holds (/ 2).
Proof. change (/ 2) with (bpow radix2 (-1)). apply (holds_power f V). vm_compute. discriminate. Qed.

Lemma polynomial_near r rl : two_words r rl -> Rabs r <= 68 / 100000 ->
  let (p, p_low) := polynomial r rl in
  two_words p p_low /\ Rabs p <= 7 / 10000 /\ Rabs (p + p_low - (exp (r + rl) - 1)) <= 13 / 10 ^ 34.
Proof.
  intros T B. pose proof T as (HR & HRL & L). fold u in L. pose proof u_value as U. pose proof lost_value as L0.
  rewrite U in L. set (z := r + rl).
  assert (BL : Rabs rl <= 76 / 10 ^ 21) by lra.
  assert (BZ : Rabs z <= 6801 / 10000000).
  { unfold z. eapply Rle_trans; [apply Rabs_triang|]. lra. }
  destruct (sixth_words c C) as (H3 & H3l & L3). destruct (fourth_words c C) as (H4 & H4l & L4). fold u in L3, L4.
  rewrite U in L3, L4. pose proof (sixth_ok c C) as K3. pose proof (fourth_ok c C) as K4.
  pose proof (c5_ok c C) as K5. pose proof (c6_ok c C) as K6. pose proof (c7_ok c C) as K7. pose proof (c8_ok c C) as K8.
  unfold polynomial.
  set (t7 := / 5040 + / 40320 * z). set (t6 := / 720 + t7 * z). set (t5 := / 120 + t6 * z). set (t4 := / 24 + t5 * z).
  set (t3 := / 6 + t4 * z). set (t2 := / 2 + t3 * z). set (t1 := 1 + t2 * z).
  assert (S8 : Rabs (/ 40320) <= / 40320) by (rewrite Rabs_pos_eq; lra).
  pose proof (bounded_product _ z _ S8 BZ) as M7.
  assert (S7 : Rabs t7 <= / 5000) by (apply Rabs_le_inv in M7; apply Rabs_le; unfold t7; lra).
  pose proof (bounded_product _ z _ S7 BZ) as M6.
  assert (S6 : Rabs t6 <= / 719) by (apply Rabs_le_inv in M6; apply Rabs_le; unfold t6; lra).
  pose proof (bounded_product _ z _ S6 BZ) as M5.
  assert (S5 : Rabs t5 <= / 119) by (apply Rabs_le_inv in M5; apply Rabs_le; unfold t5; lra).
  pose proof (bounded_product _ z _ S5 BZ) as M4.
  assert (S4 : Rabs t4 <= 41673 / 1000000) by (apply Rabs_le_inv in M4; apply Rabs_le; unfold t4; lra).
  pose proof (bounded_product _ z _ S4 BZ) as M3.
  assert (S3 : Rabs t3 <= 1668 / 10000) by (apply Rabs_le_inv in M3; apply Rabs_le; unfold t3; lra).
  pose proof (bounded_product _ z _ S3 BZ) as M2.
  assert (S2 : Rabs t2 <= 5002 / 10000) by (apply Rabs_le_inv in M2; apply Rabs_le; unfold t2; lra).
  pose proof (bounded_product _ z _ S2 BZ) as M1.
  assert (S1 : Rabs t1 <= 10004 / 10000) by (apply Rabs_le_inv in M1; apply Rabs_le; unfold t1; lra).
  (* three multiplications in one word *)
  assert (One : forall x t d s k v e, Rabs (x - t) <= d -> Rabs t <= s -> Rabs (k - v) <= e ->
    Rabs (fused x r k - (v + t * z)) <=
      (d * (68 / 100000) + s * (76 / 10 ^ 21) + e) * (1 + / 2 ^ 53) + / 2 ^ 53 * Rabs (v + t * z) + lost).
  { intros x t d s k v e X S K. pose proof (horner x t d s r rl X S B L) as H. fold z in H.
    pose proof (rounded64 (x * r + k)) as R. rewrite U in R. unfold fused, ErrorFree.fused.
    set (y := fl (x * r + k)) in *. set (w := v + t * z) in *.
    assert (E : Rabs (x * r + k - w) <= d * (68 / 100000) + s * (76 / 10 ^ 21) + e).
    { replace (x * r + k - w) with ((x * r - t * z) + (k - v)) by (unfold w; ring).
      eapply Rle_trans; [apply Rabs_triang|]. lra. }
    pose proof (Rabs_triang (x * r + k - w) w) as Q. replace (x * r + k - w + w) with (x * r + k) in Q by ring.
    replace (y - w) with ((y - (x * r + k)) + (x * r + k - w)) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. lra. }
  pose proof (One _ _ _ _ _ _ _ K8 S8 K7) as E7. fold t7 in E7. set (a7 := fused (c8 c) r (c7 c)) in *.
  assert (D7 : Rabs (a7 - t7) <= / 2 ^ 63) by lra.
  pose proof (One _ _ _ _ _ _ _ D7 S7 K6) as E6. fold t6 in E6. set (a6 := fused a7 r (c6 c)) in *.
  assert (D6 : Rabs (a6 - t6) <= / 2 ^ 61) by lra.
  pose proof (One _ _ _ _ _ _ _ D6 S6 K5) as E5. fold t5 in E5. set (a5 := fused a6 r (c5 c)) in *.
  assert (D5 : Rabs (a5 - t5) <= / 2 ^ 58) by lra.
  (* the fourth power's factor, in two words *)
  assert (K4' : Rabs (fourth_low c - (/ 24 - fourth c)) <= / 2 ^ 108).
  { replace (fourth_low c - (/ 24 - fourth c)) with (fourth c + fourth_low c - / 24) by ring. exact K4. }
  pose proof (One _ _ _ _ _ _ _ D5 S5 K4') as E4. set (q := fused a5 r (fourth_low c)) in *.
  assert (HQ : holds q) by apply held, V.
  assert (F4 : Rabs (/ 24 - fourth c) <= / 2 ^ 56).
  { assert (Rabs (fourth c) <= / 20).
    { pose proof (Rabs_triang (fourth c + fourth_low c - / 24) (/ 24 - fourth_low c)) as Q.
      replace (fourth c + fourth_low c - / 24 + (/ 24 - fourth_low c)) with (fourth c) in Q by ring.
      pose proof (Rabs_triang (/ 24) (- fourth_low c)) as Q'. rewrite Rabs_Ropp, (Rabs_pos_eq (/ 24)) in Q' by lra.
      change (/ 24 + - fourth_low c) with (/ 24 - fourth_low c) in Q'. lra. }
    replace (/ 24 - fourth c) with (fourth_low c - (fourth c + fourth_low c - / 24)) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. lra. }
  pose proof (Rabs_triang (/ 24 - fourth c) (t5 * z)) as Q4.
  assert (D4 : Rabs (fourth c + q - t4) <= 4 / 10 ^ 21).
  { replace (fourth c + q - t4) with (q - (/ 24 - fourth c + t5 * z)) by (unfold t4; ring). lra. }
  destruct (two_sum_split f V (fourth c) q H4 HQ) as (p4 & p4l & -> & _ & X4 & HP4 & HP4l & Y4 & _).
  assert (W4 : two_words p4 p4l) by (repeat split; assumption).
  replace (fourth c + q - t4) with (p4 + p4l - t4) in D4 by lra.
  pose proof (first_word _ _ _ _ _ W4 D4 S4) as B4.
  (* three times in two words *)
  assert (Size : forall p s, Rabs p <= s -> Rabs (p * r) <= s * (68 / 100000)).
  { intros p s P. rewrite Rabs_mult. apply Rmult_le_compat; try apply Rabs_pos; assumption. }
  assert (Wide : (8 <= precision f)%Z) by (vm_compute; discriminate).
  assert (L1 : 16 * lost <= / 2 ^ 106 * / 7) by lra.
  assert (UU : unit_roundoff f * unit_roundoff f = / 2 ^ 106) by (fold u; rewrite U; lra).
  assert (C3 : / 7 <= Rabs (sixth c) <= 1667 / 10000).
  { apply Rabs_le_inv in K3. assert (Rabs (sixth_low c) <= / 1000).
    { destruct (Rle_or_lt (Rabs (sixth_low c)) (/ 1000)) as [?|N]; [assumption|].
      assert (Rabs (sixth c) <= / 6 + / 2 ^ 107 + Rabs (sixth_low c)); [|lra].
      pose proof (Rabs_triang (sixth c + sixth_low c) (- sixth_low c)) as Q. rewrite Rabs_Ropp in Q.
      replace (sixth c + sixth_low c + - sixth_low c) with (sixth c) in Q by ring.
      rewrite (Rabs_pos_eq (sixth c + sixth_low c)) in Q by lra. lra. }
    assert (0 <= sixth c) by (apply Rabs_le_inv in H; lra).
    rewrite (Rabs_pos_eq (sixth c)) in * by assumption.
    assert (Rabs (sixth_low c) <= / 2 ^ 50) by (apply Rabs_le_inv in H; lra). apply Rabs_le_inv in H1. lra. }
  pose proof (multiply_add_error f V Wide p4 p4l r rl (sixth c) (sixth_low c) W4 T (sixth_words c C)) as A3.
  rewrite UU in A3. specialize (A3 ltac:(pose proof (Size _ _ B4); lra) ltac:(fold lost; lra)).
  destruct (multiply_add p4 p4l r rl (sixth c) (sixth_low c)) as [p3 p3l]. destruct A3 as (W3 & A3). fold z in A3.
  assert (D3 : Rabs (p3 + p3l - t3) <= 28 / 10 ^ 25).
  { pose proof (horner_words _ _ _ _ D4 BZ) as H.
    replace (p3 + p3l - t3) with ((p3 + p3l - ((p4 + p4l) * z + (sixth c + sixth_low c)))
      + (((p4 + p4l) * z - t4 * z) + (sixth c + sixth_low c - / 6))) by (unfold t3; ring).
    eapply Rle_trans; [apply Rabs_triang|].
    pose proof (Rabs_triang ((p4 + p4l) * z - t4 * z) (sixth c + sixth_low c - / 6)). lra. }
  pose proof (first_word _ _ _ _ _ W3 D3 S3) as B3.
  pose proof (multiply_add_error f V Wide p3 p3l r rl (/ 2) 0 W3 T (two_words_0 _ half_held)) as A2.
  rewrite UU, (Rabs_pos_eq (/ 2)) in A2 by lra.
  specialize (A2 ltac:(pose proof (Size _ _ B3); lra) ltac:(fold lost; lra)).
  destruct (multiply_add p3 p3l r rl (/ 2) 0) as [p2 p2l]. destruct A2 as (W2 & A2). fold z in A2.
  assert (D2 : Rabs (p2 + p2l - t2) <= 20 / 10 ^ 28).
  { pose proof (horner_words _ _ _ _ D3 BZ) as H.
    replace (p2 + p2l - t2) with ((p2 + p2l - ((p3 + p3l) * z + (/ 2 + 0))) + ((p3 + p3l) * z - t3 * z))
      by (unfold t2; ring).
    eapply Rle_trans; [apply Rabs_triang|]. lra. }
  pose proof (first_word _ _ _ _ _ W2 D2 S2) as B2.
  pose proof (multiply_add_error f V Wide p2 p2l r rl 1 0 W2 T (two_words_0 _ (holds_1 f V))) as A1.
  rewrite UU, (Rabs_pos_eq 1) in A1 by lra.
  specialize (A1 ltac:(pose proof (Size _ _ B2); lra) ltac:(fold lost; lra)).
  destruct (multiply_add p2 p2l r rl 1 0) as [p1 p1l]. destruct A1 as (W1 & A1). fold z in A1.
  assert (D1 : Rabs (p1 + p1l - t1) <= 15 / 10 ^ 31).
  { pose proof (horner_words _ _ _ _ D2 BZ) as H.
    replace (p1 + p1l - t1) with ((p1 + p1l - ((p2 + p2l) * z + (1 + 0))) + ((p2 + p2l) * z - t2 * z))
      by (unfold t1; ring).
    eapply Rle_trans; [apply Rabs_triang|]. lra. }
  pose proof (first_word _ _ _ _ _ W1 D1 S1) as B1.
  pose proof (multiply_words f V Wide p1 p1l r rl W1 T) as A0. fold lost in A0.
  destruct (multiply p1 p1l r rl) as [p pl]. destruct A0 as (W0 & A0). fold z in A0.
  assert (U3 : 6 * (unit_roundoff f * unit_roundoff f) + 2 * (unit_roundoff f * unit_roundoff f * unit_roundoff f)
    <= 7 * / 2 ^ 106) by (fold u; rewrite U; lra).
  assert (A0' : Rabs (p + pl - (p1 + p1l) * z) <= 7 * / 2 ^ 106 * (7 / 10000) + 5 * lost).
  { eapply Rle_trans; [exact A0|]. apply Rplus_le_compat_r. apply Rmult_le_compat; [|apply Rabs_pos|exact U3|].
    - fold u. rewrite U. lra.
    - pose proof (Size _ _ B1). lra. }
  assert (Small : Rabs z <= / 2) by lra.
  pose proof (eight_terms z Small) as H8.
  assert (Z9 : Rabs z ^ 9 <= (6801 / 10000000) ^ 9) by (apply pow_incr; split; [apply Rabs_pos|exact BZ]).
  replace (z * (1 + z * (/ 2 + z * (/ 6 + z * (/ 24 + z * (/ 120 + z * (/ 720 + z * (/ 5040 + z * / 40320))))))))
    with (t1 * z) in H8 by (unfold t1, t2, t3, t4, t5, t6, t7; ring).
  assert (D0 : Rabs (p + pl - (exp z - 1)) <= 13 / 10 ^ 34).
  { pose proof (horner_words _ _ _ _ D1 BZ) as H.
    replace (p + pl - (exp z - 1)) with ((p + pl - (p1 + p1l) * z) + (((p1 + p1l) * z - t1 * z)
      + - (exp z - 1 - t1 * z))) by ring.
    eapply Rle_trans; [apply Rabs_triang|].
    pose proof (Rabs_triang ((p1 + p1l) * z - t1 * z) (- (exp z - 1 - t1 * z))) as Q. rewrite Rabs_Ropp in Q. lra. }
  split; [exact W0|]. split; [|exact D0].
  assert (A : Rabs (p + pl - t1 * z) <= / 10 ^ 30).
  { pose proof (horner_words _ _ _ _ D1 BZ) as H.
    replace (p + pl - t1 * z) with ((p + pl - (p1 + p1l) * z) + ((p1 + p1l) * z - t1 * z)) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. lra. }
  pose proof (first_word _ _ _ _ _ W0 A (bounded_product _ z _ S1 BZ)). lra.
Qed.

(** Times the table's entry: [value] is exp(r), computed less 1 in the words p + p_low. *)
Lemma rebuilt_near p pl place value : (0 <= place < 512)%Z -> two_words p pl -> Rabs p <= 7 / 10000 ->
  Rabs (value - 1) <= 69 / 100000 -> Rabs (p + pl - (value - 1)) <= 16 / 10 ^ 34 ->
  let (x, y) := rebuilt p pl place in
  two_words x y /\
  Rabs (x + y - exp (IZR place * step) * value) <= 5 * / 2 ^ 106 * (exp (IZR place * step) * value).
Proof.
  intros I W P B D. destruct (power_words c C place I) as (WT & T1). pose proof (power_ok c C place I) as TE.
  pose proof u_value as U. pose proof lost_value as L0. pose proof WT as (HT & HTL & LT). fold u in LT.
  set (t := power c place) in *. set (tl := power_low c place) in *. set (e := exp (IZR place * step)) in *.
  rewrite U in LT. rewrite (Rabs_pos_eq t) in LT by lra.
  assert (Wide : (8 <= precision f)%Z) by (vm_compute; discriminate).
  unfold rebuilt. fold t tl. pose proof (multiply_words f V Wide p pl t tl W WT) as M. fold lost in M.
  destruct (multiply p pl t tl) as [q ql]. destruct M as (WQ & M). pose proof WQ as (HQ & HQL & LQ). fold u in LQ.
  assert (PT : Rabs (p * t) <= 7 / 10000 * t).
  { rewrite Rabs_mult, (Rabs_pos_eq t) by lra. apply Rmult_le_compat_r; lra. }
  assert (M' : Rabs (q + ql - (p + pl) * (t + tl)) <= / 2 ^ 112 * t).
  { eapply Rle_trans; [exact M|].
    assert (U3 : (6 * (unit_roundoff f * unit_roundoff f) + 2 * (unit_roundoff f * unit_roundoff f * unit_roundoff f))
      * Rabs (p * t) <= 7 * / 2 ^ 106 * (7 / 10000 * t)).
    { apply Rmult_le_compat; [|apply Rabs_pos| |exact PT]; fold u; rewrite U; lra. }
    lra. }
  rewrite U in LQ.
  assert (TL : Rabs (t + tl - t) <= / 2 ^ 53 * t).
  { replace (t + tl - t) with tl by ring. lra. }
  assert (VB : 9993 / 10000 <= value <= 10007 / 10000) by (apply Rabs_le_inv in B; lra).
  assert (TT : 0 <= t + tl <= 10001 / 10000 * t) by (apply Rabs_le_inv in TL; lra).
  assert (PP : Rabs ((p + pl - (value - 1)) * (t + tl)) <= 16 / 10 ^ 34 * (10001 / 10000 * t)).
  { rewrite Rabs_mult. apply Rmult_le_compat; try apply Rabs_pos; [exact D|]. rewrite Rabs_pos_eq; lra. }
  assert (EV : Rabs ((t + tl - e) * value) <= / 2 ^ 106 * t * (10007 / 10000)).
  { rewrite Rabs_mult. apply Rmult_le_compat; try apply Rabs_pos; [exact TE|]. rewrite Rabs_pos_eq; lra. }
  assert (QV : Rabs ((value - 1) * (t + tl)) <= 69 / 100000 * (10001 / 10000 * t)).
  { rewrite Rabs_mult. apply Rmult_le_compat; try apply Rabs_pos; [exact B|]. rewrite Rabs_pos_eq; lra. }
  (* what is added to the table's entry is small *)
  assert (Q1 : Rabs (q + ql) <= 7 / 10000 * t).
  { replace (q + ql) with ((q + ql - (p + pl) * (t + tl)) + ((p + pl - (value - 1)) * (t + tl) + (value - 1) * (t + tl)))
      by ring. eapply Rle_trans; [apply Rabs_triang|].
    pose proof (Rabs_triang ((p + pl - (value - 1)) * (t + tl)) ((value - 1) * (t + tl))). lra. }
  assert (Q2 : Rabs q <= 71 / 100000 * t).
  { pose proof (Rabs_triang (q + ql) (- ql)) as R. rewrite Rabs_Ropp in R. replace (q + ql + - ql) with q in R by ring.
    lra. }
  destruct (ordered_sum_split f V t q HT HQ) as (a & r & -> & _ & RR & HA & HR & _ & LR);
    [left; rewrite (Rabs_pos_eq t); lra|]. fold u in LR. rewrite U in LR.
  pose proof (Rabs_triang t q) as TQ. rewrite (Rabs_pos_eq t) in TQ by lra.
  pose proof (sum_relative f V tl ql HTL HQL) as F1. fold u in F1. rewrite U in F1. set (s := fl (tl + ql)) in *.
  assert (HS : holds s) by apply held, V.
  pose proof (sum_relative f V r s HR HS) as F2. fold u in F2. rewrite U in F2. set (w := fl (r + s)) in *.
  assert (HW : holds w) by apply held, V.
  pose proof (Rabs_triang tl ql) as S1.
  assert (E1 : Rabs (s - (tl + ql)) <= 10008 / 10000 * / 2 ^ 106 * t) by lra.
  assert (S2 : Rabs s <= 1001 / 1000 * / 2 ^ 53 * t).
  { replace s with ((s - (tl + ql)) + (tl + ql)) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra. }
  pose proof (Rabs_triang r s) as S3.
  assert (E2 : Rabs (w - (r + s)) <= 2002 / 1000 * / 2 ^ 106 * t) by lra.
  assert (A1 : 999 / 1000 * t <= Rabs a).
  { pose proof (Rabs_triang a (r - q)) as R. replace (a + (r - q)) with t in R by lra.
    pose proof (Rabs_triang r (- q)) as R'. rewrite Rabs_Ropp in R'. change (r + - q) with (r - q) in R'.
    rewrite (Rabs_pos_eq t) in R by lra. lra. }
  assert (W1 : Rabs w <= Rabs a).
  { pose proof (Rabs_triang (w - (r + s)) (r + s)) as R. replace (w - (r + s) + (r + s)) with w in R by ring. lra. }
  destruct (ordered_sum_split f V a w HA HW (or_introl W1)) as (x & y & -> & _ & Y & HX & HY & L & _).
  split; [repeat split; assumption|].
  assert (ET : (1 - / 2 ^ 50) * t <= e).
  { apply Rabs_le_inv in TE, TL. lra. }
  assert (EF : (1 - / 2 ^ 50) * t * (9993 / 10000) <= e * value).
  { apply Rmult_le_compat; lra. }
  apply Rle_trans with (496 / 100 * / 2 ^ 106 * t); [|lra].
  replace (x + y - e * value) with
    ((w - (r + s)) + (s - (tl + ql)) + (q + ql - (p + pl) * (t + tl)) + (p + pl - (value - 1)) * (t + tl)
      + (t + tl - e) * value) by (replace y with (a + w - x) by lra; replace r with (t + q - a) by lra; ring).
  apply Rabs_le_inv in E1, E2, M', PP, EV. apply Rabs_le. lra.
Qed.

Lemma exp_near a b : Rabs (a - b) <= / 2 ^ 113 -> Rabs b <= 6802 / 10000000 ->
  Rabs (exp a - exp b) <= 11 / 10 * / 2 ^ 112.
Proof.
  intros H B. assert (S : Rabs (a - b) <= / 2) by lra. pose proof (series_rest _ S 0) as R. simpl in R.
  assert (S' : Rabs b <= / 2) by lra. pose proof (series_rest _ S' 0) as R'. simpl in R'.
  assert (E : Rabs (exp (a - b) - 1) <= 2 * Rabs (a - b)).
  { replace (/ 1 * 1) with 1 in R by lra. replace (/ 1 * ((a - b) * 1)) with (a - b) in R by (field). exact R. }
  assert (E' : Rabs (exp b - 1) <= 2 * Rabs b).
  { replace (/ 1 * 1) with 1 in R' by lra. replace (/ 1 * (b * 1)) with b in R' by (field). exact R'. }
  replace (exp a) with (exp b * exp (a - b)) by (rewrite <- exp_plus; f_equal; ring).
  replace (exp b * exp (a - b) - exp b) with (exp b * (exp (a - b) - 1)) by ring.
  rewrite Rabs_mult, (Rabs_pos_eq (exp b)) by (left; apply exp_pos). apply Rabs_le_inv in E'.
  apply Rle_trans with (11 / 10 * (2 * / 2 ^ 113)); [|lra].
  apply Rmult_le_compat; [left; apply exp_pos|apply Rabs_pos|lra|lra].
Qed.

(** The relative error of the exponential: words.EXPONENTIAL_ERROR. *)
Theorem exponential_near high middle low : holds high -> holds middle -> holds low ->
  Rabs high <= 660 -> Rabs middle <= / 2 ^ 30 -> Rabs low <= / 2 ^ 80 ->
  let '(x, y, n) := exponential high middle low in
  two_words x y /\
  Rabs ((x + y) * bpow radix2 n - exp (high + middle + low)) <= 5 * / 2 ^ 106 * exp (high + middle + low).
Proof.
  intros HH HM HL H M L. unfold exponential.
  destruct (steps_of high H) as (m & E & K & D). assert (Hm : holds (IZR m)) by (rewrite <- E; apply held, V).
  rewrite E, Ztrunc_IZR. pose proof (reduced_near m high middle low HH HM HL Hm H M L K D) as R.
  destruct (reduced (IZR m) high middle low) as [r rl]. destruct R as (W & B & Z).
  pose proof (polynomial_near r rl W B) as P. destruct (polynomial r rl) as [p pl]. destruct P as (WP & BP & PE).
  set (z := high + middle + low - IZR m * step) in *.
  pose proof W as (_ & _ & LW). fold u in LW. rewrite u_value in LW. pose proof (Rabs_triang r rl) as Q.
  assert (BZ : Rabs z <= 6802 / 10000000).
  { replace z with ((r + rl) - (r + rl - z)) by ring. eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. lra. }
  pose proof (exp_near _ _ Z BZ) as X.
  assert (I : (0 <= m mod 512 < 512)%Z) by (apply Z.mod_pos_bound; lia).
  assert (PE' : Rabs (p + pl - (exp z - 1)) <= 16 / 10 ^ 34).
  { replace (p + pl - (exp z - 1)) with ((p + pl - (exp (r + rl) - 1)) + (exp (r + rl) - exp z)) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. lra. }
  assert (VE : Rabs (exp z - 1) <= 69 / 100000).
  { assert (S : Rabs z <= / 2) by lra. pose proof (series_rest _ S 1) as T. simpl in T.
    replace (exp z - (/ 1 * 1 + / 1 * (z * 1))) with (exp z - 1 - z) in T by field.
    replace (/ (1 + 1) * (z * (z * 1))) with (/ 2 * (z * z)) in T by field.
    rewrite !Rabs_mult, (Rabs_pos_eq (/ 2)) in T by lra.
    assert (Rabs z * Rabs z <= 6802 / 10000000 * (6802 / 10000000)) by (apply Rmult_le_compat; try apply Rabs_pos; lra).
    replace (exp z - 1) with ((exp z - 1 - z) + z) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra. }
  pose proof (rebuilt_near p pl (m mod 512) (exp z) I WP BP VE PE') as G.
  destruct (rebuilt p pl (m mod 512)) as [x y]. destruct G as (WX & G). split; [exact WX|].
  assert (F : exp (high + middle + low) = exp (IZR (m mod 512) * step) * exp z * bpow radix2 (m / 512)).
  { assert (Pow : bpow radix2 (m / 512) = exp (IZR (m / 512) * ln 2)) by (rewrite bpow_exp; reflexivity).
    rewrite Pow, <- !exp_plus. f_equal. unfold z, step.
    rewrite (Z.div_mod m 512) at 2 by lia. rewrite plus_IZR, mult_IZR. field. }
  rewrite F. set (v := exp (IZR (m mod 512) * step) * exp z) in *.
  rewrite <- Rmult_minus_distr_r, Rabs_mult, (Rabs_pos_eq (bpow _ _)), <- Rmult_assoc by apply bpow_ge_0.
  apply Rmult_le_compat_r; [apply bpow_ge_0|]. exact G.
Qed.
End Exponential.
