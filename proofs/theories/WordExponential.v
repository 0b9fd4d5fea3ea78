(** The exponential of refattn/oracle/extended/words.py: the reduced argument's, times a table's entry. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats Slices ErrorFree WordProducts ExpSeries WordReduction WordPolynomial.
Open Scope R_scope.

Local Notation f := fp64.
Local Notation fl := (nearest fp64).
Local Notation ordered_sum := (ordered_sum fp64).
Local Notation multiply := (multiply fp64).
Local Notation two_words := (two_words fp64).
Local Notation holds := (holds fp64).


Section Exponential.
Variable c : constants.
Hypothesis C : constants_ok c.
Local Notation V := fp64_valid.

Definition rebuilt (p p_low : R) (place : Z) : R * R :=
  let (p, p_low) := multiply p p_low (power c place) (power_low c place) in
  let (total, rest) := ordered_sum (power c place) p in
  ordered_sum total (fl (rest + fl (power_low c place + p_low))).

(** Two words, and the power of two that they are multiplied by. *)
Definition exponential (high middle low : R) : R * R * Z :=
  let k := leading f 0 (fl (high * steps_in_one c)) in
  let (r, r_low) := reduced c k high middle low in
  let (p, p_low) := polynomial c r r_low in
  let steps := Ztrunc k in
  (rebuilt p p_low (steps mod 512)%Z, (steps / 512)%Z).

(** Times the table's entry: [value] is exp(r), computed less 1 in the words p + p_low. *)
Lemma rebuilt_near p pl place value : (0 <= place < 512)%Z -> two_words p pl -> Rabs p <= 7 / 10000 ->
  Rabs (value - 1) <= 69 / 100000 -> Rabs (p + pl - (value - 1)) <= 16 / 10 ^ 34 ->
  let (x, y) := rebuilt p pl place in
  two_words x y /\
  Rabs (x + y - exp (IZR place * step) * value) <= 497 / 100 * / 2 ^ 106 * (exp (IZR place * step) * value).
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
  { replace (q + ql) with ((q + ql - (p + pl) * (t + tl)) + ((p + pl - (value - 1)) * (t + tl) + (value - 1) * (t
      + tl)))
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
  apply Rle_trans with (45 / 10 * / 2 ^ 106 * t); [|lra].
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

Lemma steps_least high m : Rabs high <= 660 -> Rabs (high * steps_in_one c - IZR m) <= / 2 + / 2 ^ 30 ->
  -487936 <= IZR m.
Proof.
  intros H D. pose proof (steps_ok c C) as S. pose proof (step1_size c C) as T1. destruct (step2_ok c C) as (_ & T2).
  pose proof (step3_size c C) as T3. pose proof (step_ok c C) as T. apply Rabs_le_inv in S, T2, T3, T.
  assert (St : / 739 - / 2 ^ 40 <= step) by lra.
  assert (S0 : 0 <= steps_in_one c <= 73901 / 100).
  { split; [apply Rmult_le_reg_r with step; lra|]. apply Rmult_le_reg_r with step; [lra|].
    apply Rle_trans with (1 + / 2 ^ 52); [lra|]. apply Rle_trans with (73901 / 100 * (/ 739 - / 2 ^ 40)); [lra|].
    apply Rmult_le_compat_l; lra. }
  assert (X : Rabs (high * steps_in_one c) <= 660 * (73901 / 100)).
  { rewrite Rabs_mult. apply Rmult_le_compat; try apply Rabs_pos; [exact H|]. rewrite Rabs_pos_eq; lra. }
  apply Rabs_le_inv in X, D. lra.
Qed.

(** The relative error of the exponential, the size of its first factor, and the least power of two. *)
Lemma exponential_close high middle low : holds high -> holds middle -> holds low ->
  Rabs high <= 660 -> Rabs middle <= / 2 ^ 30 -> Rabs low <= / 2 ^ 80 ->
  let '(x, y, n) := exponential high middle low in
  two_words x y /\ 99 / 100 <= x + y /\ (-953 <= n)%Z /\
  Rabs ((x + y) * bpow radix2 n - exp (high + middle + low)) <= 497 / 100 * / 2 ^ 106 * exp (high + middle + low).
Proof.
  intros HH HM HL H M L. unfold exponential.
  destruct (steps_of c C high H) as (m & E & K & D). assert (Hm : holds (IZR m)) by (rewrite <- E; apply held, V).
  rewrite E, Ztrunc_IZR. pose proof (reduced_near c C m high middle low HH HM HL Hm H M L K D) as R.
  destruct (reduced c (IZR m) high middle low) as [r rl]. destruct R as (W & B & Z).
  pose proof (polynomial_near c C r rl W B) as P. destruct (polynomial c r rl) as [p pl]. destruct P as (WP & BP & PE).
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
  pose proof (step_size c C) as T. apply Rabs_le_inv in VE.
  assert (One : 1 <= exp (IZR (m mod 512) * step)).
  { apply exp_ge_1. apply Rmult_le_pos; [apply IZR_le; lia|lra]. }
  split.
  { assert (1 * (99 / 100 + / 200) <= exp (IZR (m mod 512) * step) * exp z) by (apply Rmult_le_compat; lra).
    apply Rabs_le_inv in G. lra. }
  split.
  { apply Z.div_le_lower_bound; [lia|]. apply le_IZR. change (512 * -953)%Z with (-487936)%Z.
    now apply steps_least with high. }
  assert (F : exp (high + middle + low) = exp (IZR (m mod 512) * step) * exp z * bpow radix2 (m / 512)).
  { assert (Pow : bpow radix2 (m / 512) = exp (IZR (m / 512) * ln 2)) by (rewrite bpow_exp; reflexivity).
    rewrite Pow, <- !exp_plus. f_equal. unfold z, step.
    rewrite (Z.div_mod m 512) at 2 by lia. rewrite plus_IZR, mult_IZR. field. }
  rewrite F. set (v := exp (IZR (m mod 512) * step) * exp z) in *.
  rewrite <- Rmult_minus_distr_r, Rabs_mult, (Rabs_pos_eq (bpow _ _)), <- Rmult_assoc by apply bpow_ge_0.
  apply Rmult_le_compat_r; [apply bpow_ge_0|]. exact G.
Qed.

(** words.EXPONENTIAL_ERROR. *)
Theorem exponential_near high middle low : holds high -> holds middle -> holds low ->
  Rabs high <= 660 -> Rabs middle <= / 2 ^ 30 -> Rabs low <= / 2 ^ 80 ->
  let '(x, y, n) := exponential high middle low in
  two_words x y /\
  Rabs ((x + y) * bpow radix2 n - exp (high + middle + low)) <= 5 * / 2 ^ 106 * exp (high + middle + low).
Proof.
  intros HH HM HL H M L. pose proof (exponential_close high middle low HH HM HL H M L) as E.
  destruct (exponential high middle low) as [[x y] n]. destruct E as (W & _ & _ & E). split; [exact W|].
  pose proof (exp_pos (high + middle + low)). lra.
Qed.
End Exponential.
