(** Weights and logarithms as refattn/oracle/extended/loops.py computes them, from exponentials in two words. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats ScoresPowerOfTwo ErrorFree WordProducts ExpSeries WordReduction
  WordExponential WordQuotients.
Open Scope R_scope.

Local Notation f := fp64.
Local Notation fl := (nearest fp64).
Local Notation V := fp64_valid.
Local Notation two_sum := (two_sum fp64).
Local Notation multiply := (multiply fp64).
Local Notation two_words := (two_words fp64).
Local Notation holds := (holds fp64).

Section Constants.
Variable c : constants.
Hypothesis C : constants_ok c.

(** The exponential, multiplied by its power of two. *)
Definition whole_exponential (high middle low : R) : R * R :=
  let '(x, y, n) := exponential c high middle low in
  (fl (x * bpow radix2 n), fl (y * bpow radix2 n)).

Lemma power_bound k : (-953 <= k)%Z -> / 2 ^ 953 <= bpow radix2 k.
Proof. intros H. rewrite <- negative_power. apply bpow_le. exact H. Qed.

Theorem whole_exponential_near high middle low : holds high -> holds middle -> holds low ->
  Rabs high <= 660 -> Rabs middle <= / 2 ^ 30 -> Rabs low <= / 2 ^ 80 ->
  let (x, y) := whole_exponential high middle low in
  two_words x y /\ Rabs (x + y - exp (high + middle + low)) <= 5 * / 2 ^ 106 * exp (high + middle + low).
Proof.
  intros HH HM HL H M L. unfold whole_exponential.
  pose proof (exponential_close c C high middle low HH HM HL H M L) as E.
  destruct (exponential c high middle low) as [[x y] n]. destruct E as ((HX & HY & YX) & One & N & E).
  fold u in YX. rewrite u_value in YX. replace (/ 9007199254740992) with (/ 2 ^ 53) in YX by lra.
  set (e := exp (high + middle + low)) in *. assert (E0 : 0 < e) by apply exp_pos.
  set (k := bpow radix2 n) in *. assert (K : / 2 ^ 953 <= k) by now apply power_bound.
  assert (P953 : 0 < / 2 ^ 953) by (apply Rinv_0_lt_compat, pow_lt; lra).
  assert (X1 : 98 / 100 <= x) by (pose proof (Rabs_pos x); apply Rabs_le_inv in YX; unfold Rabs in YX;
    destruct (Rcase_abs x); lra).
  assert (XK : 98 / 100 * k <= x * k) by (apply Rmult_le_compat_r; lra).
  assert (SN : smallest_normal f <= / 2 ^ 69 * / 2 ^ 953).
  { unfold smallest_normal. change (emin f) with (- Z.of_nat 1022)%Z. rewrite negative_power.
    replace (/ 2 ^ 69 * / 2 ^ 953) with (/ 2 ^ 1022); [lra|]. rewrite <- Rinv_mult, <- pow_add. reflexivity. }
  assert (XH : holds (x * k)).
  { apply (holds_times_power f); [exact HX|]. fold k. rewrite Rabs_pos_eq; lra. }
  rewrite (held_is_rounded f (x * k) XH).
  assert (UH : holds (/ 2 ^ 53 * (x * k))).
  { replace (/ 2 ^ 53 * (x * k)) with (x * k * bpow radix2 (- Z.of_nat 53)) by (rewrite negative_power; ring).
    apply (holds_times_power f); [exact XH|]. rewrite negative_power, Rabs_pos_eq; lra. }
  assert (YK : Rabs (y * k) <= / 2 ^ 53 * (x * k)).
  { rewrite Rabs_mult, (Rabs_pos_eq k) by lra. rewrite (Rabs_pos_eq x) in YX by lra.
    apply Rmult_le_compat_r with (r := k) in YX; lra. }
  assert (YS : Rabs (fl (y * k) - y * k) <= lost).
  { destruct (Rlt_or_le (Rabs (y * k)) (smallest_normal f)) as [S|B]; [now apply nearest_absolute|].
    rewrite (held_is_rounded f), Rminus_diag_eq, Rabs_R0 by (reflexivity || now apply (holds_times_power f)).
    pose proof lost_value. lra. }
  split.
  - split; [exact XH|]. split; [apply held, V|]. fold u. rewrite u_value.
    rewrite (Rabs_pos_eq (x * k)) by lra. replace (/ 9007199254740992) with (/ 2 ^ 53) by lra.
    now apply rounded_below.
  - assert (EK : 9 / 10 * k <= e).
    { assert (99 / 100 * k <= (x + y) * k) by (apply Rmult_le_compat_r; lra). apply Rabs_le_inv in E. lra. }
    assert (LE : lost <= / 2 ^ 120 * e).
    { pose proof lost_1074 as Lt. replace (/ 2 ^ 960) with (/ 2 ^ 7 * / 2 ^ 953) in Lt.
      - lra.
      - rewrite <- Rinv_mult, <- pow_add. reflexivity. }
    replace (x * k + fl (y * k) - e) with ((fl (y * k) - y * k) + ((x + y) * k - e)) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. lra.
Qed.

(** ** One weight: loops.weight *)
Definition weight (high middle low shift : R) : R * R :=
  let (a, rest) := two_sum high (- shift) in
  let (b, rest) := two_sum rest middle in
  whole_exponential a b (fl (rest + low)).

(** The exponential of an argument that is off by a rounding of its third word. *)
Theorem weight_near high middle low shift : holds high -> holds middle -> holds low -> holds shift ->
  Rabs (fl (high - shift)) <= 660 -> Rabs middle <= / 2 ^ 31 -> Rabs low <= / 2 ^ 81 ->
  let (x, y) := weight high middle low shift in
  two_words x y /\
  exists off, Rabs off <= / 2 ^ 53 * (/ 2 ^ 53 * (/ 2 ^ 53 * Rabs (high - shift) + Rabs middle) + Rabs low) /\
    (middle = 0 -> low = 0 -> off = 0) /\
    Rabs (x + y - exp (high + middle + low - shift + off)) <= 5 * / 2 ^ 106 * exp (high + middle + low - shift + off).
Proof.
  intros HH HM HL HS B M L. unfold weight. apply holds_opp in HS.
  destruct (two_sum_split f V high (- shift) HH HS) as (a & r1 & -> & A & R1 & HA & HR1 & L1' & L1). fold u in L1, L1'.
  destruct (two_sum_split f V r1 middle HR1 HM) as (b & r2 & -> & BE & R2 & HB & HR2 & _ & L2). fold u in L2.
  pose proof (sum_relative f V r2 low HR2 HL) as F. fold u in F. set (d := fl (r2 + low)) in *.
  rewrite u_value in *. change (high + - shift) with (high - shift) in *. rewrite <- A in B.
  pose proof (Rabs_triang r1 middle) as Q1. pose proof (Rabs_triang r2 low) as Q2.
  assert (HD : holds d) by apply held, V.
  pose proof (Rabs_triang (r1 + middle) (- r2)) as Q3. rewrite Rabs_Ropp in Q3.
  replace (r1 + middle + - r2) with b in Q3 by lra.
  pose proof (Rabs_triang (d - (r2 + low)) (r2 + low)) as Q4. replace (d - (r2 + low) + (r2 + low)) with d in Q4
    by ring.
  pose proof (whole_exponential_near a b d HA HB HD B ltac:(lra) ltac:(lra)) as E.
  destruct (whole_exponential a b d) as [x y]. destruct E as (W & E). split; [exact W|].
  exists (d - (r2 + low)). split; [lra|]. split.
  { intros M0 L0. assert (Z : r2 = 0) by (rewrite R2, BE, M0, Rplus_0_r, (held_is_rounded f r1 HR1); ring).
    unfold d. rewrite Z, L0, Rplus_0_l, (held_is_rounded f 0 (holds_0 f)). ring. }
  replace (high + middle + low - shift + (d - (r2 + low))) with (a + b + d) by lra. exact E.
Qed.

(** ** One step of Newton's: loops.logarithms *)
Definition remainder (guess t t_middle : R) : R * R :=
  let (a, b) := whole_exponential (- guess) 0 0 in
  let (a, b) := multiply a b t t_middle in
  two_sum (fl (a - 1)) b.

Definition logarithm (shift guess t t_middle : R) : R * R :=
  let (z, small) := remainder guess t t_middle in
  let (first, rest) := two_sum shift guess in
  let (second, more) := two_sum rest z in
  let (first, second) := two_sum first second in
  two_sum first (fl (second + fl (more + fl (small - fl (fl (/ 2 * z) * z))))).

Lemma ln_near_1 e : Rabs e <= / 2 ^ 20 -> Rabs (ln (1 + e)) <= (1 + / 2 ^ 19) * Rabs e.
Proof.
  intros H. pose proof (Rabs_le_inv _ _ H) as I. assert (P : 0 < 1 + e) by lra.
  pose proof (ln_le_sub1 (1 + e) P) as A. pose proof (ln_le_sub1 (/ (1 + e)) (Rinv_0_lt_compat _ P)) as B.
  rewrite ln_Rinv in B by exact P.
  assert (Q : / (1 + e) - 1 <= (1 + / 2 ^ 19) * Rabs e).
  { apply Rmult_le_reg_r with (1 + e); [exact P|]. rewrite Rmult_minus_distr_r, Rinv_l by lra.
    unfold Rabs in *. destruct (Rcase_abs e); nra. }
  pose proof (Rle_abs e). pose proof (Rabs_pos e). apply Rabs_le. lra.
Qed.

Lemma ln_second_order d : Rabs d <= / 2 ^ 36 -> Rabs (ln (1 + d) - (d - / 2 * d * d)) <= / 2 ^ 108.
Proof.
  intros H. set (y := d - / 2 * d * d). pose proof (Rabs_pos d) as D0.
  assert (D2 : Rabs (d * d) <= / 2 ^ 36 * / 2 ^ 36) by (rewrite Rabs_mult; apply Rmult_le_compat; lra).
  assert (D3 : Rabs (d * d * d) <= / 2 ^ 36 * / 2 ^ 36 * / 2 ^ 36)
    by (rewrite Rabs_mult; apply Rmult_le_compat; try apply Rabs_pos; lra).
  assert (D4 : Rabs (d * d * d * d) <= / 2 ^ 36 * / 2 ^ 36 * / 2 ^ 36 * / 2 ^ 36)
    by (rewrite Rabs_mult; apply Rmult_le_compat; try apply Rabs_pos; lra).
  assert (Y : Rabs y <= (1 + / 2 ^ 36) * / 2 ^ 36).
  { unfold y. replace (d - / 2 * d * d) with (d + - (/ 2 * (d * d))) by ring. eapply Rle_trans; [apply Rabs_triang|].
    rewrite Rabs_Ropp, Rabs_mult, (Rabs_pos_eq (/ 2)) by lra. lra. }
  assert (S : Rabs y <= / 2) by lra. pose proof (series_rest y S 2) as R.
  cbn [sum_f_R0 fact Nat.mul Nat.add INR pow] in R.
  match type of R with Rabs ?a <= _ => replace a with (exp y - (1 + y + / 2 * (y * y))) in R by field end.
  match type of R with _ <= 2 * Rabs ?a => replace a with (/ 6 * (y * y * y)) in R by field end.
  set (top := (1 + / 2 ^ 36) * / 2 ^ 36) in *.
  assert (Y3 : Rabs (y * y * y) <= top * top * top).
  { rewrite !Rabs_mult. apply Rmult_le_compat; try apply Rabs_pos; [apply Rmult_le_pos; apply Rabs_pos| |exact Y].
    apply Rmult_le_compat; try apply Rabs_pos; exact Y. }
  unfold top in Y3.
  rewrite Rabs_mult, (Rabs_pos_eq (/ 6)) in R by lra.
  assert (E : Rabs (exp y - (1 + d)) <= 9 / 10 * / 2 ^ 108).
  { replace (exp y - (1 + d)) with ((exp y - (1 + y + / 2 * (y * y))) + - (/ 2 * (d * d * d)) + / 8 * (d * d * d * d))
      by (unfold y; field).
    apply Rabs_le_inv in R, D3, D4. apply Rabs_le. lra. }
  pose proof (exp_pos y) as P.
  assert (EY : 99 / 100 <= exp y) by (apply Rabs_le_inv in E, H; lra).
  set (e := (1 + d - exp y) / exp y).
  assert (X : 1 + d = exp y * (1 + e)) by (unfold e; field; lra).
  assert (B : Rabs e <= 91 / 100 * / 2 ^ 108).
  { apply Rmult_le_reg_r with (exp y); [exact P|]. unfold e, Rdiv.
    rewrite Rabs_mult, Rabs_inv, (Rabs_pos_eq (exp y)) by lra.
    rewrite Rmult_assoc, Rinv_l, Rmult_1_r, <- Rabs_Ropp by lra.
    replace (- (1 + d - exp y)) with (exp y - (1 + d)) by ring.
    lra. }
  pose proof (ln_near_1 e ltac:(lra)) as N. pose proof (Rabs_le_inv _ _ B) as B'.
  rewrite X, ln_mult, ln_exp by lra. replace (y + ln (1 + e) - y) with (ln (1 + e)) by ring. lra.
Qed.

(** What is left of the sum once the guess is taken away. *)
Lemma remainder_near guess t tm tl : holds guess -> falling t tm tl -> 0 < t -> Rabs guess <= 660 ->
  / 2 <= t * exp (- guess) <= 2 ->
  let (z, small) := remainder guess t tm in
  Rabs z <= / 2 ^ 37 ->
  holds z /\ Rabs small <= / 2 ^ 53 * Rabs z /\ holds small /\
  exists e, Rabs e <= 13 * / 2 ^ 106 /\ 1 + (z + small) = (t + tm + tl) * exp (- guess) * (1 + e).
Proof.
  intros HG FT T0 G Close. destruct (falling_size t tm tl FT) as (_ & TT).
  pose proof FT as ((HT & HTM & HTL) & TM & TL).
  unfold remainder. pose proof u_value as U. pose proof lost_value as L0.
  assert (HN : holds (- guess)) by now apply holds_opp.
  pose proof (whole_exponential_near (- guess) 0 0 HN (holds_0 f) (holds_0 f)) as E.
  rewrite Rabs_Ropp, Rabs_R0, !Rplus_0_r in E. specialize (E G ltac:(lra) ltac:(lra)).
  destruct (whole_exponential (- guess) 0 0) as [a b]. destruct E as (W & E). set (v := exp (- guess)) in *.
  assert (V0 : 0 < v) by apply exp_pos. pose proof W as (HA & HB & AB). fold u in AB. rewrite U in AB.
  rewrite (Rabs_pos_eq t) in * by lra.
  assert (AV : Rabs (a - v) <= / 2 ^ 52 * v).
  { pose proof (Rabs_triang (a + b - v) (- b)) as Q. rewrite Rabs_Ropp in Q.
    replace (a + b - v + - b) with (a - v) in Q by ring.
    pose proof (Rabs_triang (a - v) v) as Q'. replace (a - v + v) with a in Q' by ring.
    rewrite (Rabs_pos_eq v) in Q' by lra. lra. }
  assert (AT : Rabs (a * t - t * v) <= / 2 ^ 52 * (t * v)).
  { replace (a * t - t * v) with ((a - v) * t) by ring. rewrite Rabs_mult, (Rabs_pos_eq t) by lra.
    apply Rmult_le_compat_r with (r := t) in AV; lra. }
  assert (M : Rabs (a * t) <= (1 + / 2 ^ 52) * (t * v) /\ / 4 <= Rabs (a * t) <= 4).
  { apply Rabs_le_inv in AT. rewrite Rabs_pos_eq by lra. lra. }
  destruct M as (M1 & M2).
  assert (M3 : / 2 ^ 960 <= Rabs (a * t)).
  { apply Rle_trans with (/ 2 ^ 2); [|lra]. apply Rinv_le_contravar; [apply pow_lt; lra|apply Rle_pow; [lra|lia]]. }
  pose proof (multiply_falling a b t tm HA HB HT HTM ltac:(pose proof (Rabs_pos a); lra)
    ltac:(rewrite (Rabs_pos_eq t) by lra; lra) M3) as P.
  destruct (multiply a b t tm) as [x y]. destruct P as (HX & HY & XY & P).
  set (w := fl (x - 1)). assert (HW : holds w) by apply held, V.
  destruct (two_sum_split f V w y HW HY) as (z & small & -> & Z & S & HZ & HS & L & _). fold u in L. rewrite U in L.
  intros Zs.
  assert (H1 : holds (-1)) by (apply holds_opp, holds_1, V).
  assert (WX : w = x - 1).
  { pose proof (sum_relative_rounded f V x (-1) HX H1) as R. fold u in R. change (x + -1) with (x - 1) in R.
    fold w in R.
    rewrite U in R. unfold w. apply held_is_rounded. replace (x - 1) with (- (1 + - x)) by ring. apply holds_opp.
    apply (difference_held f V); [apply holds_1, V|now apply holds_opp|].
    rewrite <- Rabs_Ropp. replace (- (1 + - x)) with (x - 1) by ring. rewrite Rabs_R1.
    pose proof (Rabs_triang w (- (w - (x - 1)))) as Q1. rewrite Rabs_Ropp in Q1.
    replace (w + - (w - (x - 1))) with (x - 1) in Q1 by ring.
    pose proof (Rabs_triang (z + small) (- y)) as Q2. rewrite Rabs_Ropp in Q2.
    replace (z + small + - y) with w in Q2 by lra.
    pose proof (Rabs_triang z small) as Q3. pose proof (Rabs_triang (x - 1) 1) as Q4.
    replace (x - 1 + 1) with x in Q4 by ring. rewrite Rabs_R1 in Q4. lra. }
  split; [exact HZ|]. split; [lra|]. split; [exact HS|].
  set (whole := t + tm + tl) in *.
  assert (WT : Rabs (whole - t) <= / 2 ^ 51 * t) by (replace (whole - t) with (tm + tl) by (unfold whole; ring);
    exact TT).
  apply Rabs_le_inv in WT. assert (W0 : 0 < whole * v) by (apply Rmult_lt_0_compat; lra).
  assert (WV : (1 - / 2 ^ 51) * (t * v) <= whole * v <= (1 + / 2 ^ 51) * (t * v)).
  { split; [replace ((1 - / 2 ^ 51) * (t * v)) with ((1 - / 2 ^ 51) * t * v) by ring
           |replace ((1 + / 2 ^ 51) * (t * v)) with ((1 + / 2 ^ 51) * t * v) by ring]; apply Rmult_le_compat_r; lra. }
  assert (D1 : Rabs ((a + b - v) * whole) <= 5 * / 2 ^ 106 * (whole * v)).
  { rewrite Rabs_mult, (Rabs_pos_eq whole) by lra. apply Rmult_le_compat_r with (r := whole) in E; lra. }
  assert (D2 : Rabs ((a + b) * tl) <= 11 / 10 * / 2 ^ 106 * (t * v)).
  { rewrite Rabs_mult. assert (TL' : Rabs tl <= 101 / 100 * / 2 ^ 106 * t) by lra.
    assert (AB' : Rabs (a + b) <= 101 / 100 * v).
    { apply Rabs_le_inv in E. apply Rabs_le. lra. }
    apply Rle_trans with (101 / 100 * v * (101 / 100 * / 2 ^ 106 * t)).
    - apply Rmult_le_compat; try apply Rabs_pos; assumption.
    - assert (0 <= t * v) by lra. lra. }
  assert (D : Rabs (x + y - whole * v) <= 13 * / 2 ^ 106 * (whole * v)).
  { replace (x + y - whole * v) with ((x + y - (a + b) * (t + tm)) + (a + b - v) * whole + - ((a + b) * tl))
      by (unfold whole; ring).
    assert (P' : Rabs (x + y - (a + b) * (t + tm)) <= 603 / 100 * / 2 ^ 106 * (t * v)) by lra.
    apply Rabs_le_inv in P', D1, D2. apply Rabs_le. lra. }
  exists ((x + y - whole * v) / (whole * v)). split.
  - apply Rmult_le_reg_r with (whole * v); [exact W0|]. unfold Rdiv.
    rewrite Rabs_mult, Rabs_inv, (Rabs_pos_eq (whole * v)), Rmult_assoc, Rinv_l by lra. lra.
  - replace (1 + (z + small)) with (x + y) by lra. field. split; lra.
Qed.

(** words.LOGARITHM_ERROR, and extended.LAST_ROUNDING of the result. *)
Theorem logarithm_near shift guess t tm tl : holds shift -> holds guess -> falling t tm tl -> 0 < t ->
  Rabs guess <= 660 -> / 2 <= t * exp (- guess) <= 2 -> Rabs (fst (remainder guess t tm)) <= / 2 ^ 37 ->
  let (x, y) := logarithm shift guess t tm in
  Rabs (x + y - (shift + ln (t + tm + tl))) <= 14 * / 2 ^ 106 + (1 + / 2 ^ 48) * / 2 ^ 106 * Rabs x.
Proof.
  intros HS HG FT T0 G Close Zs. pose proof u_value as U. pose proof lost_value as L0.
  pose proof (remainder_near guess t tm tl HG FT T0 G Close) as R. unfold logarithm.
  destruct (remainder guess t tm) as [z small]. cbn [fst] in Zs.
  destruct (R Zs) as (HZ & SZ & Hsmall & e & E & X). clear R.
  destruct (two_sum_split f V shift guess HS HG) as (f1 & r1 & -> & _ & R1 & HF1 & HR1 & L1 & _).
  destruct (two_sum_split f V r1 z HR1 HZ) as (s1 & m1 & -> & _ & M1 & HS1 & HM1 & _ & L2).
  destruct (two_sum_split f V f1 s1 HF1 HS1) as (f2 & s2 & -> & _ & S2 & HF2 & HS2 & L3 & _).
  fold u in L1, L2, L3. rewrite U in L1, L2, L3.
  pose proof (rounded64 (/ 2 * z)) as N1. set (h := fl (/ 2 * z)) in *. assert (HH : holds h) by apply held, V.
  pose proof (rounded64 (h * z)) as N2. set (q := fl (h * z)) in *.
  assert (HQ : holds (- q)) by (apply holds_opp, held, V).
  pose proof (sum_relative f V small (- q) Hsmall HQ) as N3. fold u in N3. change (small + - q) with (small - q) in N3.
  set (g := fl (small - q)) in *. assert (HGg : holds g) by apply held, V.
  pose proof (sum_relative f V m1 g HM1 HGg) as N4. fold u in N4. set (k := fl (m1 + g)) in *.
  assert (HK : holds k) by apply held, V.
  pose proof (sum_relative f V s2 k HS2 HK) as N5. fold u in N5. set (w := fl (s2 + k)) in *.
  assert (HW : holds w) by apply held, V.
  destruct (two_sum_split f V f2 w HF2 HW) as (x & y & -> & _ & Y & _ & _ & L6 & _). fold u in L6.
  rewrite U in *.
  (* roundings *)
  assert (Z2 : Rabs (z * z) <= / 2 ^ 74) by (rewrite Rabs_mult; pose proof (Rabs_pos z);
    replace (/ 2 ^ 74) with (/ 2 ^ 37 * / 2 ^ 37) by lra; apply Rmult_le_compat; lra).
  rewrite (Rabs_mult (/ 2)), (Rabs_pos_eq (/ 2)) in N1 by lra.
  assert (N1' : Rabs (h - / 2 * z) <= / 2 ^ 90) by lra.
  assert (HZ2 : Rabs ((h - / 2 * z) * z) <= / 2 ^ 90 * / 2 ^ 37) by (rewrite Rabs_mult; apply Rmult_le_compat;
    try apply Rabs_pos; assumption).
  pose proof (Rabs_triang ((h - / 2 * z) * z) (/ 2 * (z * z))) as Q1. rewrite (Rabs_mult (/ 2)), (Rabs_pos_eq (/ 2))
    in Q1 by lra.
  replace ((h - / 2 * z) * z + / 2 * (z * z)) with (h * z) in Q1 by ring.
  assert (N2' : Rabs (q - h * z) <= / 2 ^ 120) by lra.
  pose proof (Rabs_triang (q - h * z) (h * z)) as Q2. replace (q - h * z + h * z) with q in Q2 by ring.
  pose proof (Rabs_triang small (- q)) as Q3. rewrite Rabs_Ropp in Q3. change (small + - q) with (small - q) in Q3.
  assert (N3' : Rabs (g - (small - q)) <= / 2 ^ 120) by lra.
  pose proof (Rabs_triang (g - (small - q)) (small - q)) as Q4. replace (g - (small - q) + (small - q)) with g in Q4
    by ring.
  pose proof (Rabs_triang r1 z) as Q5. pose proof (Rabs_triang m1 g) as Q6.
  pose proof (Rabs_triang (r1 + z) (- m1)) as Q7. rewrite Rabs_Ropp in Q7. replace (r1 + z + - m1) with s1 in Q7 by lra.
  pose proof (Rabs_triang (f2 + s2) (- s1)) as Q8. rewrite Rabs_Ropp in Q8. replace (f2 + s2 + - s1) with f1 in Q8
    by lra.
  pose proof (Rabs_triang f2 s2) as Q9. pose proof (Rabs_triang s2 k) as Q10.
  pose proof (Rabs_triang (k - (m1 + g)) (m1 + g)) as Q11. replace (k - (m1 + g) + (m1 + g)) with k in Q11 by ring.
  pose proof (Rabs_triang (w - (s2 + k)) (s2 + k)) as Q12. replace (w - (s2 + k) + (s2 + k)) with w in Q12 by ring.
  pose proof (Rabs_triang (x + y) (- w)) as Q13. rewrite Rabs_Ropp in Q13. replace (x + y + - w) with f2 in Q13 by lra.
  pose proof (Rabs_triang x y) as Q14. pose proof (Rabs_pos x) as X0.
  assert (F2 : Rabs f2 <= (1 + / 2 ^ 50) * Rabs x + / 2 ^ 60) by lra.
  assert (F1 : Rabs f1 <= 2 * Rabs x + / 2 ^ 30) by lra.
  assert (N4' : Rabs (k - (m1 + g)) <= / 2 ^ 118 + / 2 ^ 157 * Rabs x) by lra.
  assert (N5' : Rabs (w - (s2 + k)) <= / 2 ^ 110 + (1 + / 2 ^ 49) * / 2 ^ 106 * Rabs x) by lra.
  (* logarithms *)
  assert (DS : Rabs (z + small) <= / 2 ^ 36) by (eapply Rle_trans; [apply Rabs_triang|]; lra).
  pose proof (ln_second_order _ DS) as LN. pose proof (ln_near_1 e ltac:(lra)) as LE.
  destruct (falling_size t tm tl FT) as (_ & TT). rewrite (Rabs_pos_eq t) in TT by lra. apply Rabs_le_inv in TT.
  pose proof (Rabs_le_inv _ _ E) as E'. pose proof (exp_pos (- guess)) as EP.
  rewrite X, !ln_mult, ln_exp in LN by (try apply Rmult_lt_0_compat; lra).
  assert (SS : Rabs (/ 2 * (z + small) * (z + small) - / 2 * (z * z)) <= / 2 ^ 120).
  { replace (/ 2 * (z + small) * (z + small) - / 2 * (z * z)) with (small * (z + / 2 * small)) by field.
    rewrite Rabs_mult. apply Rle_trans with (/ 2 ^ 90 * / 2 ^ 36); [|lra].
    apply Rmult_le_compat; try apply Rabs_pos; [lra|]. eapply Rle_trans; [apply Rabs_triang|].
    rewrite Rabs_mult, (Rabs_pos_eq (/ 2)) by lra. lra. }
  replace (x + y - (shift + ln (t + tm + tl))) with
    ((w - (s2 + k)) + (k - (m1 + g)) + (g - (small - q)) + - (q - h * z) + - ((h - / 2 * z) * z)
      + (/ 2 * (z + small) * (z + small) - / 2 * (z * z))
      + - (ln (t + tm + tl) + - guess + ln (1 + e) - (z + small - / 2 * (z + small) * (z + small))) + ln (1 + e))
    by (replace y with (f2 + w - x) by lra; replace s2 with (f1 + s1 - f2) by lra; replace m1 with (r1 + z - s1) by lra;
        replace r1 with (shift + guess - f1) by lra; field).
  apply Rabs_le_inv in N5', N4', N3', N2', HZ2, SS, LN.
  assert (LE' : Rabs (ln (1 + e)) <= 131 / 10 * / 2 ^ 106) by lra. apply Rabs_le_inv in LE'.
  apply Rabs_le. lra.
Qed.
End Constants.

(** A number less a logarithm of two words: loops.differences. *)
Definition difference (x y y_low : R) : R * R :=
  let (total, rest) := two_sum x (- y) in
  two_sum total (fl (rest - y_low)).

Theorem difference_near x y yl : holds x -> holds y -> holds yl -> Rabs yl <= / 2 ^ 53 * Rabs y ->
  let (a, b) := difference x y yl in
  Rabs (a + b - (x - (y + yl))) <= (1 + / 2 ^ 48) * / 2 ^ 106 * (Rabs a + Rabs y).
Proof.
  intros HX HY HL L. unfold difference. apply holds_opp in HY, HL.
  destruct (two_sum_split f V x (- y) HX HY) as (t & r & -> & _ & R & HT & HR & L1 & _). fold u in L1.
  pose proof (sum_relative f V r (- yl) HR HL) as N. fold u in N. change (r + - yl) with (r - yl) in N.
  set (d := fl (r - yl)) in *. assert (HD : holds d) by apply held, V.
  destruct (two_sum_split f V t d HT HD) as (a & b & -> & _ & B & _ & _ & L2 & _). fold u in L2. rewrite u_value in *.
  pose proof (Rabs_triang r (- yl)) as Q1. rewrite Rabs_Ropp in Q1. change (r + - yl) with (r - yl) in Q1.
  pose proof (Rabs_triang (d - (r - yl)) (r - yl)) as Q2. replace (d - (r - yl) + (r - yl)) with d in Q2 by ring.
  pose proof (Rabs_triang (a + b) (- d)) as Q3. rewrite Rabs_Ropp in Q3. replace (a + b + - d) with t in Q3 by lra.
  pose proof (Rabs_triang a b) as Q4. pose proof (Rabs_pos a). pose proof (Rabs_pos y).
  replace (a + b - (x - (y + yl))) with (d - (r - yl)) by lra. lra.
Qed.
