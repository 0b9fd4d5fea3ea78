(** Quotients of numbers of three words, as refattn/oracle/extended/loops.py computes them, in binary64. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats ErrorFree WordProducts WordReduction.
Open Scope R_scope.

Local Notation f := fp64.
Local Notation fl := (nearest fp64).
Local Notation V := fp64_valid.
Local Notation two_sum := (two_sum fp64).
Local Notation ordered_sum := (ordered_sum fp64).
Local Notation two_product := (two_product fp64).
Local Notation three_sum := (three_sum fp64).
Local Notation holds := (holds fp64).
Local Notation multiply := (multiply fp64).

Definition three_words (a b c d : R) : R * R * R :=
  let (b, rest) := two_sum b c in
  three_sum a b (fl (rest + d)).

Definition minus_product (a b c factor t t_middle t_low : R) : R * R * R :=
  let (product, error) := two_product (- factor) t in
  let (second, more) := two_product (- factor) t_middle in
  let (a, x) := two_sum a product in
  let (b, y) := two_sum b error in
  let (b, z) := two_sum b second in
  three_words a x b (fl (c + fl (fl (fl (y + z) + more) - fl (factor * t_low)))).

Definition quotient (a b c t t_middle t_low : R) : R * R :=
  let first := fl (a / t) in
  let '(a, b, c) := minus_product a b c first t t_middle t_low in
  let second := fl (a / t) in
  let '(a, b, c) := minus_product a b c second t t_middle t_low in
  let (first, second) := ordered_sum first second in
  ordered_sum first (fl (second + fl (a / t))).

(** Words of falling size, as [three_sum] leaves them. *)
Definition falling (a b c : R) : Prop :=
  (holds a /\ holds b /\ holds c) /\ Rabs b <= (1 + / 2 ^ 50) * / 2 ^ 53 * Rabs a /\ Rabs c <= / 2 ^ 53 * Rabs b.

Lemma three_sum_falling a b c : holds a -> holds b -> holds c ->
  let '(x, y, z) := three_sum a b c in falling x y z /\ x + y + z = a + b + c.
Proof.
  intros A B C. pose proof u_value as U. unfold ErrorFree.three_sum.
  destruct (two_sum_split f V a b A B) as (s & e1 & -> & S & E1 & HS & HE1 & _). fold u.
  destruct (two_sum_split f V s c HS C) as (t & e2 & -> & T & E2 & HT & HE2 & L2 & _). fold u in L2.
  destruct (two_sum_split f V e1 e2 HE1 HE2) as (r & r3 & -> & R & R3 & HR & HR3 & L3 & L3'). fold u in L3, L3'.
  pose proof (rests_smaller f V a b c A B C) as Q. cbv zeta in Q. rewrite <- S, <- T, <- E1, <- E2 in Q. fold u in Q.
  assert (O : Rabs r <= Rabs t \/ t = 0 \/ Rabs (t + r) < smallest_normal f).
  { destruct (Req_dec t 0) as [Z|Z]; [now right; left|left].
    rewrite R. apply rounded_below; [exact V|apply generic_format_abs; exact HT|]. now apply Q. }
  destruct (ordered_sum_split f V t r HT HR O) as (x & y & -> & X & Y & HX & HY & L & L'). fold u in L, L'.
  destruct (two_sum_split f V y r3 HY HR3) as (p & z & -> & P & Z & HP & HZ & L4 & _). fold u in L4.
  pose proof (sum_relative f V y r3 HY HR3) as F. fold u in F. rewrite <- P in F.
  rewrite U in *.
  assert (D : Rabs r3 <= 4 * / 2 ^ 106 * Rabs x).
  { destruct (Req_dec t 0) as [Z0|Z0].
    - assert (E0 : e2 = 0).
      { destruct (Req_dec e2 0) as [?|N]; [assumption|exfalso]. apply Rabs_pos_lt in N. rewrite Z0, Rabs_R0 in L2. lra.
        }
      assert (R0 : r3 = 0) by (rewrite R3, R, E0, Rplus_0_r, (held_is_rounded f e1 HE1); ring).
      rewrite R0, Rabs_R0. pose proof (Rabs_pos x). lra.
    - destruct (Q Z0) as (_ & [E0|E0]).
      + assert (R0 : r3 = 0). { rewrite R3, R, E0, Rplus_0_r, (held_is_rounded f e1 HE1). ring. }
        rewrite R0, Rabs_R0. pose proof (Rabs_pos x). lra.
      + assert (X1 : Rabs t <= Rabs x + Rabs r + Rabs y).
        { replace t with (x + - r + y) by lra. eapply Rle_trans; [apply Rabs_triang|].
          pose proof (Rabs_triang x (- r)) as W. rewrite Rabs_Ropp in W. lra. }
        assert (R1 : Rabs r <= Rabs (e1 + e2) + Rabs r3).
        { replace r with (e1 + e2 + - r3) by lra. eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. lra. }
        lra. }
  pose proof (Rabs_triang y r3). pose proof (Rabs_triang (p - (y + r3)) (y + r3)) as W.
  replace (p - (y + r3) + (y + r3)) with p in W by ring. pose proof (Rabs_pos x).
  split; [split; [now repeat split|split; lra]|lra].
Qed.

(** Four roundings' sizes follow from one number, [size]: at least |a| and half of |factor t|. *)
Lemma minus_product_near a b c q t tm tl size : falling a b c -> falling t tm tl -> holds q ->
  Rabs a <= size -> Rabs (q * t) <= 2 * size ->
  let '(x, y, z) := minus_product a b c q t tm tl in
  falling x y z /\
  Rabs (x + y + z - (a + b + c - q * (t + tm + tl))) <= / 2 ^ 151 * size + 8 * lost.
Proof.
  intros ((HA & HB & HC) & AB & BC) ((HT & HTM & HTL) & TM & TL) HQ A Q. pose proof (Rabs_pos a).
  pose proof (Rabs_pos t).
  assert (AB' : Rabs b <= / 2 ^ 52 * Rabs a) by lra. clear AB. rename AB' into AB.
  assert (TM' : Rabs tm <= / 2 ^ 52 * Rabs t) by lra. clear TM. rename TM' into TM.
  pose proof u_value as U. pose proof lost_value as L0. unfold minus_product.
  assert (HN : holds (- q)) by now apply holds_opp.
  assert (M1 : Rabs (q * tm) <= / 2 ^ 51 * size).
  { rewrite Rabs_mult in *. apply Rle_trans with (Rabs q * (/ 2 ^ 52 * Rabs t)).
    - apply Rmult_le_compat_l; [apply Rabs_pos|exact TM].
    - lra. }
  assert (M2 : Rabs (q * tl) <= / 2 ^ 104 * size).
  { rewrite Rabs_mult in *. apply Rle_trans with (Rabs q * (/ 2 ^ 53 * Rabs tm)).
    - apply Rmult_le_compat_l; [apply Rabs_pos|exact TL].
    - lra. }
  assert (N1 : Rabs (- q * t) <= 2 * size) by (rewrite <- Ropp_mult_distr_l, Rabs_Ropp; exact Q).
  assert (N2 : Rabs (- q * tm) <= / 2 ^ 51 * size) by (rewrite <- Ropp_mult_distr_l, Rabs_Ropp; exact M1).
  assert (S0 : 0 <= size) by (pose proof (Rabs_pos a); lra).
  (* products *)
  assert (Product : forall v s, holds v -> Rabs (- q * v) <= s ->
    holds (fst (two_product (- q) v)) /\ holds (snd (two_product (- q) v)) /\
    Rabs (fst (two_product (- q) v)) <= (1 + / 2 ^ 53) * s + lost /\
    Rabs (snd (two_product (- q) v)) <= / 2 ^ 53 * s + 2 * lost /\
    Rabs (fst (two_product (- q) v) + snd (two_product (- q) v) - - q * v) <= lost).
  { intros v s HV Sz. destruct (two_product_lost f V (- q) v HN HV) as (P & E). fold lost in E.
    pose proof (rounded64 (- q * v)) as R. rewrite U in R. rewrite P in *.
    set (p := fl (- q * v)) in *. set (e := snd (two_product (- q) v)) in *.
    split; [apply held, V|]. split; [apply held, V|]. split; [|split; [|exact E]].
    - replace p with ((p - - q * v) + - q * v) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra.
    - replace e with ((p + e - - q * v) + - (p - - q * v)) by ring. eapply Rle_trans; [apply Rabs_triang|].
      rewrite Rabs_Ropp. lra. }
  destruct (Product t _ HT N1) as (HP & HE & PB & EB & PE).
  destruct (Product tm _ HTM N2) as (HS & HM & SB & MB & SM). clear Product.
  destruct (two_product (- q) t) as [p e]. destruct (two_product (- q) tm) as [s m]. cbn [fst snd] in *.
  (* sums *)
  destruct (two_sum_split f V a p HA HP) as (a1 & x & -> & _ & X & HA1 & HX & _ & LX). fold u in LX.
  destruct (two_sum_split f V b e HB HE) as (b1 & y & -> & B1 & Y & HB1 & HY & _ & LY). fold u in LY.
  destruct (two_sum_split f V b1 s HB1 HS) as (b2 & z & -> & B2 & Z & HB2 & HZ & _ & LZ). fold u in LZ.
  pose proof (sum_relative f V y z HY HZ) as F1. fold u in F1. set (s1 := fl (y + z)) in *.
  assert (H1 : holds s1) by apply held, V.
  pose proof (sum_relative f V s1 m H1 HM) as F2. fold u in F2. set (s2 := fl (s1 + m)) in *.
  assert (H2 : holds s2) by apply held, V.
  pose proof (rounded64 (q * tl)) as F3. set (g := fl (q * tl)) in *.
  assert (H3 : holds (- g)) by (apply holds_opp, held, V).
  pose proof (sum_relative f V s2 (- g) H2 H3) as F4. fold u in F4. change (s2 + - g) with (s2 - g) in F4.
  set (s3 := fl (s2 - g)) in *. assert (H4 : holds s3) by apply held, V.
  pose proof (sum_relative f V c s3 HC H4) as F5. fold u in F5. set (d := fl (c + s3)) in *.
  assert (H5 : holds d) by apply held, V.
  unfold three_words.
  destruct (two_sum_split f V x b2 HX HB2) as (b3 & r & -> & B3 & R & HB3 & HR & _ & LR). fold u in LR.
  pose proof (sum_relative f V r d HR H5) as F6. fold u in F6. set (w := fl (r + d)) in *.
  assert (H6 : holds w) by apply held, V.
  pose proof (three_sum_falling a1 b3 w HA1 HB3 H6) as T. destruct (three_sum a1 b3 w) as [[x' y'] z'].
  destruct T as (T & E). split; [exact T|]. rewrite U in *.
  (* sizes *)
  pose proof (Rabs_triang a p) as Q1. assert (X1 : Rabs x <= / 2 ^ 51 * size + lost) by lra.
  pose proof (Rabs_triang b e) as Q2. assert (Y1 : Rabs y <= / 2 ^ 103 * size + lost) by lra.
  assert (B1' : Rabs b1 <= 3 * / 2 ^ 52 * size + 3 * lost).
  { replace b1 with (b + e - y) by lra. pose proof (Rabs_triang (b + e) (- y)) as W. rewrite Rabs_Ropp in W.
    change (b + e + - y) with (b + e - y) in W. lra. }
  pose proof (Rabs_triang b1 s) as Q3. assert (Z1 : Rabs z <= 3 * / 2 ^ 104 * size + lost) by lra.
  assert (B2' : Rabs b2 <= 4 * / 2 ^ 51 * size + 5 * lost).
  { replace b2 with (b1 + s - z) by lra. pose proof (Rabs_triang (b1 + s) (- z)) as W. rewrite Rabs_Ropp in W.
    change (b1 + s + - z) with (b1 + s - z) in W. lra. }
  pose proof (Rabs_triang y z) as Q4. pose proof (Rabs_triang (s1 - (y + z)) (y + z)) as W1.
  replace (s1 - (y + z) + (y + z)) with s1 in W1 by ring.
  pose proof (Rabs_triang s1 m) as Q5. pose proof (Rabs_triang (s2 - (s1 + m)) (s1 + m)) as W2.
  replace (s2 - (s1 + m) + (s1 + m)) with s2 in W2 by ring.
  pose proof (Rabs_triang (g - q * tl) (q * tl)) as W3. replace (g - q * tl + q * tl) with g in W3 by ring.
  pose proof (Rabs_triang s2 (- g)) as Q6. rewrite Rabs_Ropp in Q6. change (s2 + - g) with (s2 - g) in Q6.
  pose proof (Rabs_triang (s3 - (s2 - g)) (s2 - g)) as W4. replace (s3 - (s2 - g) + (s2 - g)) with s3 in W4 by ring.
  pose proof (Rabs_triang c s3) as Q7. pose proof (Rabs_triang (d - (c + s3)) (c + s3)) as W5.
  replace (d - (c + s3) + (c + s3)) with d in W5 by ring.
  pose proof (Rabs_triang x b2) as Q8. pose proof (Rabs_triang r d) as Q9.
  assert (E1 : Rabs s1 <= 6 * / 2 ^ 104 * size + 3 * lost) by lra.
  assert (D1 : Rabs (s1 - (y + z)) <= 6 * / 2 ^ 157 * size + / 2 ^ 50 * lost) by lra.
  assert (E2 : Rabs s2 <= 9 * / 2 ^ 104 * size + 6 * lost) by lra.
  assert (D2 : Rabs (s2 - (s1 + m)) <= 9 * / 2 ^ 157 * size + / 2 ^ 50 * lost) by lra.
  assert (D3 : Rabs (g - q * tl) <= / 2 ^ 157 * size + lost) by lra.
  assert (E4 : Rabs s3 <= 11 * / 2 ^ 104 * size + 9 * lost) by lra.
  assert (D4 : Rabs (s3 - (s2 - g)) <= 11 * / 2 ^ 157 * size + / 2 ^ 49 * lost) by lra.
  assert (E5 : Rabs d <= 13 * / 2 ^ 104 * size + 10 * lost) by lra.
  assert (D5 : Rabs (d - (c + s3)) <= 13 * / 2 ^ 157 * size + / 2 ^ 49 * lost) by lra.
  assert (R1 : Rabs r <= 6 * / 2 ^ 104 * size + lost) by lra.
  assert (D6 : Rabs (w - (r + d)) <= 20 * / 2 ^ 157 * size + / 2 ^ 49 * lost) by lra.
  replace (x' + y' + z' - (a + b + c - q * (t + tm + tl))) with
    ((p + e - - q * t) + (s + m - - q * tm) + (s1 - (y + z)) + (s2 - (s1 + m)) + - (g - q * tl)
      + (s3 - (s2 - g)) + (d - (c + s3)) + (w - (r + d))) by lra.
  apply Rabs_le_inv in PE, SM, D1, D2, D3, D4, D5, D6. apply Rabs_le. lra.
Qed.

Lemma falling_size a b c : falling a b c -> Rabs a <= (1 + / 2 ^ 51) * Rabs (a + b + c) /\ Rabs (b + c)
  <= / 2 ^ 51 * Rabs a.
Proof.
  intros (_ & B & C). pose proof (Rabs_pos a). pose proof (Rabs_triang b c).
  pose proof (Rabs_triang (a + b + c) (- (b + c))) as Q. rewrite Rabs_Ropp in Q.
  replace (a + b + c + - (b + c)) with a in Q by ring. split; lra.
Qed.

Lemma quotient_rounded a t : t <> 0 -> Rabs (fl (a / t) * t - a) <= / 2 ^ 53 * Rabs a + lost * Rabs t.
Proof.
  intros T. pose proof (rounded64 (a / t)) as R. rewrite u_value in R. pose proof (Rabs_pos_lt t T) as T0.
  replace (fl (a / t) * t - a) with ((fl (a / t) - a / t) * t) by (field; exact T).
  rewrite Rabs_mult. apply Rmult_le_compat_r with (r := Rabs t) in R; [|lra].
  eapply Rle_trans; [exact R|]. replace (Rabs a) with (Rabs (a / t) * Rabs t).
  - lra.
  - rewrite <- Rabs_mult. f_equal. field. exact T.
Qed.

(** A quotient in two words: extended.LAST_ROUNDING, where nothing underflows. *)
Theorem quotient_near a b c t tm tl : falling a b c -> falling t tm tl -> t <> 0 ->
  / 2 ^ 960 <= Rabs a -> / 2 ^ 960 * Rabs t <= Rabs a ->
  let (x, y) := quotient a b c t tm tl in
  (holds x /\ holds y /\ Rabs y <= / 2 ^ 53 * Rabs x) /\
  Rabs (x + y - (a + b + c) / (t + tm + tl)) <= / 2 ^ 105 * Rabs x.
Proof.
  intros FA FT T0 Low Low'. pose proof FA as ((HA & HB & HC) & _). pose proof FT as ((HT & HTM & HTL) & TM & TL).
  pose proof u_value as U. pose proof (Rabs_pos_lt t T0) as TP.
  assert (L : 0 < lost <= / 2 ^ 1074).
  { unfold lost, smallest_subnormal. pose proof (bpow_gt_0 radix2 (lowest f)). split; [lra|].
    replace (/ 2 ^ 1074) with (bpow radix2 (- Z.of_nat 1074)) by apply negative_power.
    change (- Z.of_nat 1074)%Z with (lowest f). lra. }
  assert (P : / 2 ^ 1074 = / 2 ^ 114 * / 2 ^ 960).
  { rewrite <- Rinv_mult, <- pow_add. reflexivity. }
  rewrite P in L. clear P. set (small := / 2 ^ 960) in *. set (size := Rabs a) in *.
  assert (L1 : lost <= / 2 ^ 114 * size) by lra.
  assert (L2 : lost * Rabs t <= / 2 ^ 114 * size).
  { apply Rle_trans with (/ 2 ^ 114 * small * Rabs t); [apply Rmult_le_compat_r; lra|lra]. }
  assert (S0 : 0 < size).
  { assert (0 < small) by (apply Rinv_0_lt_compat, pow_lt; lra). lra. }
  clear Low Low'. clearbody small.
  destruct (falling_size t tm tl FT) as (_ & TT). destruct (falling_size a b c FA) as (_ & AA). fold size in AA.
  assert (Low : forall q s, Rabs (q * t) <= s -> Rabs (q * (tm + tl)) <= / 2 ^ 51 * s).
  { intros q s Q. rewrite Rabs_mult in *. apply Rle_trans with (Rabs q * (/ 2 ^ 51 * Rabs t)).
    - apply Rmult_le_compat_l; [apply Rabs_pos|exact TT].
    - lra. }
  unfold quotient.
  (* the first word *)
  pose proof (quotient_rounded a t T0) as D1. fold size in D1. set (q1 := fl (a / t)) in *.
  assert (HQ1 : holds q1) by apply held, V.
  pose proof (Rabs_triang (q1 * t - a) a) as W1. replace (q1 * t - a + a) with (q1 * t) in W1 by ring. fold size in W1.
  assert (B1 : Rabs (q1 * t) <= (1 + / 2 ^ 52) * size) by lra. pose proof (Low q1 _ B1) as G1.
  assert (B1' : 9 / 10 * size <= Rabs (q1 * t)).
  { pose proof (Rabs_triang (q1 * t) (- (q1 * t - a))) as W. rewrite Rabs_Ropp in W.
    replace (q1 * t + - (q1 * t - a)) with a in W by ring. fold size in W. lra. }
  pose proof (minus_product_near a b c q1 t tm tl size FA FT HQ1 ltac:(fold size; lra) ltac:(lra)) as M1.
  destruct (minus_product a b c q1 t tm tl) as [[a1 b1] c1]. destruct M1 as (F1 & E1).
  set (e1 := a1 + b1 + c1 - (a + b + c - q1 * (t + tm + tl))) in *.
  assert (R1 : Rabs (a1 + b1 + c1) <= 10 * / 2 ^ 53 * size).
  { replace (a1 + b1 + c1) with (- (q1 * t - a) + (b + c) + - (q1 * (tm + tl)) + e1) by (unfold e1; ring).
    apply Rabs_le_inv in D1, AA, G1, E1. apply Rabs_le. lra. }
  destruct (falling_size a1 b1 c1 F1) as (A1 & AA1). assert (A1' : Rabs a1 <= 11 * / 2 ^ 53 * size) by lra.
  (* the second *)
  pose proof (quotient_rounded a1 t T0) as D2. set (q2 := fl (a1 / t)) in *.
  assert (HQ2 : holds q2) by apply held, V.
  pose proof (Rabs_triang (q2 * t - a1) a1) as W2. replace (q2 * t - a1 + a1) with (q2 * t) in W2 by ring.
  assert (B2 : Rabs (q2 * t) <= 12 * / 2 ^ 53 * size) by lra. pose proof (Low q2 _ B2) as G2.
  pose proof (minus_product_near a1 b1 c1 q2 t tm tl (11 * / 2 ^ 53 * size) F1 FT HQ2 A1' ltac:(lra)) as M2.
  destruct (minus_product a1 b1 c1 q2 t tm tl) as [[a2 b2] c2]. destruct M2 as (F2 & E2).
  set (e2 := a2 + b2 + c2 - (a1 + b1 + c1 - q2 * (t + tm + tl))) in *.
  assert (R2 : Rabs (a2 + b2 + c2) <= 200 * / 2 ^ 106 * size).
  { replace (a2 + b2 + c2) with (- (q2 * t - a1) + (b1 + c1) + - (q2 * (tm + tl)) + e2) by (unfold e2; ring).
    assert (AA1' : Rabs (b1 + c1) <= / 2 ^ 51 * (11 * / 2 ^ 53 * size)) by lra.
    assert (D2' : Rabs (q2 * t - a1) <= 12 * / 2 ^ 106 * size) by lra.
    apply Rabs_le_inv in D2', AA1', G2, E2. apply Rabs_le. lra. }
  destruct (falling_size a2 b2 c2 F2) as (A2 & AA2). assert (A2' : Rabs a2 <= 201 * / 2 ^ 106 * size) by lra.
  (* the third *)
  pose proof (quotient_rounded a2 t T0) as D3. set (q3 := fl (a2 / t)) in *.
  assert (HQ3 : holds q3) by apply held, V.
  pose proof (Rabs_triang (q3 * t - a2) a2) as W3. replace (q3 * t - a2 + a2) with (q3 * t) in W3 by ring.
  assert (B3 : Rabs (q3 * t) <= 210 * / 2 ^ 106 * size) by lra. pose proof (Low q3 _ B3) as G3.
  set (whole := t + tm + tl) in *.
  assert (E : Rabs ((q1 + q2 + q3) * whole - (a + b + c)) <= / 2 ^ 109 * size).
  { replace ((q1 + q2 + q3) * whole - (a + b + c)) with
      (e1 + e2 + (q3 * t - a2) + q3 * (tm + tl) + - (b2 + c2)) by (unfold e1, e2, whole; ring).
    assert (AA2' : Rabs (b2 + c2) <= / 2 ^ 140 * size) by lra.
    assert (D3' : Rabs (q3 * t - a2) <= / 2 ^ 113 * size) by lra.
    apply Rabs_le_inv in D3', AA2', G3, E1, E2. apply Rabs_le. lra. }
  (* added up *)
  assert (Scale : forall x y, Rabs (x * t) <= Rabs (y * t) -> Rabs x <= Rabs y).
  { intros x y H. rewrite !Rabs_mult in H. now apply Rmult_le_reg_r with (Rabs t). }
  assert (Back : forall x y, Rabs x <= / 2 ^ 53 * Rabs y -> Rabs (x * t) <= / 2 ^ 53 * Rabs (y * t)).
  { intros x y H. rewrite !Rabs_mult. apply Rmult_le_compat_r with (r := Rabs t) in H; lra. }
  destruct (ordered_sum_split f V q1 q2 HQ1 HQ2) as (s & r & -> & _ & RR & HS & HR & _ & LR); [left; apply Scale; lra|].
  fold u in LR. rewrite U in LR. replace (/ 9007199254740992) with (/ 2 ^ 53) in LR by lra.
  apply Back in LR. pose proof (sum_relative f V r q3 HR HQ3) as F3. fold u in F3. rewrite U in F3.
  replace (/ 9007199254740992) with (/ 2 ^ 53) in F3 by lra. apply Back in F3. set (w := fl (r + q3)) in *.
  assert (HW : holds w) by apply held, V.
  pose proof (Rabs_triang (q1 * t) (q2 * t)) as W4. rewrite <- Rmult_plus_distr_r in W4.
  pose proof (Rabs_triang (r * t) (q3 * t)) as W5. rewrite <- Rmult_plus_distr_r in W5.
  pose proof (Rabs_triang ((w - (r + q3)) * t) ((r + q3) * t)) as W6.
  replace ((w - (r + q3)) * t + (r + q3) * t) with (w * t) in W6 by ring.
  pose proof (Rabs_triang (s * t) (r * t)) as W7. pose proof (Rabs_triang (s * t + r * t) (- (q2 * t))) as W8.
  rewrite Rabs_Ropp in W8. replace (s * t + r * t + - (q2 * t)) with (q1 * t) in W8 by (replace r with (q1 + q2 - s)
    by lra; ring).
  assert (LR' : Rabs (r * t) <= / 2 ^ 52 * size) by lra.
  assert (EW : Rabs ((w - (r + q3)) * t) <= 11 / 10 * / 2 ^ 106 * size) by lra.
  destruct (ordered_sum_split f V s w HS HW) as (x & y & -> & _ & Y & HX & HY & LY & _); [left; apply Scale; lra|].
  fold u in LY. rewrite U in LY. replace (/ 9007199254740992) with (/ 2 ^ 53) in LY by lra.
  split; [now repeat split|].
  assert (WT : Rabs (whole - t) <= / 2 ^ 51 * Rabs t) by (replace (whole - t) with (tm + tl) by (unfold whole; ring);
    exact TT).
  pose proof (Rabs_triang (whole - t) t) as V1. replace (whole - t + t) with whole in V1 by ring.
  pose proof (Rabs_triang whole (- (whole - t))) as V2. rewrite Rabs_Ropp in V2.
  replace (whole + - (whole - t)) with t in V2 by ring.
  assert (WP : 0 < Rabs whole) by lra. assert (W0 : whole <> 0) by (intros Z; rewrite Z, Rabs_R0 in WP; lra).
  assert (Final : Rabs ((x + y) * whole - (a + b + c)) <= 14 / 10 * / 2 ^ 106 * size).
  { assert (EW' : Rabs ((w - (r + q3)) * whole) <= 12 / 10 * / 2 ^ 106 * size).
    { rewrite Rabs_mult in *. apply Rle_trans with (Rabs (w - (r + q3)) * ((1 + / 2 ^ 51) * Rabs t)); [|lra].
      apply Rmult_le_compat_l; [apply Rabs_pos|lra]. }
    replace ((x + y) * whole - (a + b + c)) with ((w - (r + q3)) * whole + ((q1 + q2 + q3) * whole - (a + b + c)))
      by (replace y with (s + w - x) by lra; replace s with (q1 + q2 - r) by lra; ring).
    eapply Rle_trans; [apply Rabs_triang|]. lra. }
  assert (XW : 99 / 100 * size <= Rabs (x * whole)).
  { assert (Ly : Rabs (y * whole) <= / 2 ^ 53 * Rabs (x * whole)).
    { rewrite !Rabs_mult. apply Rmult_le_compat_r with (r := Rabs whole) in LY; lra. }
    pose proof (Rabs_triang (x * whole) (y * whole)) as V3. rewrite <- Rmult_plus_distr_r in V3.
    pose proof (Rabs_triang ((x + y) * whole) (- ((x + y) * whole - (a + b + c)))) as V4. rewrite Rabs_Ropp in V4.
    replace ((x + y) * whole + - ((x + y) * whole - (a + b + c))) with (a + b + c) in V4 by ring.
    pose proof (Rabs_triang (a + b + c) (- (b + c))) as V5. rewrite Rabs_Ropp in V5.
    replace (a + b + c + - (b + c)) with a in V5 by ring. fold size in V5. lra. }
  apply Rmult_le_reg_r with (Rabs whole); [exact WP|]. rewrite <- Rabs_mult.
  replace ((x + y - (a + b + c) / whole) * whole) with ((x + y) * whole - (a + b + c)) by (field; exact W0).
  rewrite Rmult_assoc, <- Rabs_mult. lra.
Qed.

Lemma lost_1074 : 0 < lost <= / 2 ^ 114 * / 2 ^ 960.
Proof.
  unfold lost, smallest_subnormal. pose proof (bpow_gt_0 radix2 (lowest f)). split; [lra|].
  rewrite <- Rinv_mult, <- pow_add. change (114 + 960)%nat with 1074%nat.
  replace (/ 2 ^ 1074) with (bpow radix2 (- Z.of_nat 1074)) by apply negative_power.
  change (- Z.of_nat 1074)%Z with (lowest f). lra.
Qed.

Lemma lost_small m : / 2 ^ 960 <= m -> 0 < lost <= / 2 ^ 114 * m.
Proof. pose proof lost_1074. set (x := / 2 ^ 960) in *. clearbody x. intros. lra. Qed.

(** A product of words as sums leave them, whose second is hardly more than half a unit. *)
Theorem multiply_falling a al b bl : holds a -> holds al -> holds b -> holds bl ->
  Rabs al <= (1 + / 2 ^ 49) * / 2 ^ 53 * Rabs a -> Rabs bl <= (1 + / 2 ^ 49) * / 2 ^ 53 * Rabs b -> / 2 ^ 960
    <= Rabs (a * b) ->
  let (x, y) := multiply a al b bl in
  holds x /\ holds y /\ Rabs y <= / 2 ^ 53 * Rabs x /\
  Rabs (x + y - (a + al) * (b + bl)) <= 602 / 100 * / 2 ^ 106 * Rabs (a * b).
Proof.
  intros HA HAL HB HBL AL BL M. pose proof u_value as U.
  set (m := Rabs (a * b)) in *. pose proof (lost_small m M) as L0. unfold WordProducts.multiply.
  destruct (two_product_lost f V a b HA HB) as (P & E). fold lost in E.
  pose proof (rounded64 (a * b)) as N. rewrite <- P, U in N. fold m in N.
  assert (HP : holds (fst (two_product a b))) by (rewrite P; apply held, V). clear P.
  destruct (two_product a b) as [p e0]. cbn [fst snd] in *.
  assert (X : Rabs (a * bl) <= (1 + / 2 ^ 49) * / 2 ^ 53 * m).
  { unfold m. rewrite !Rabs_mult. apply Rmult_le_compat_l with (r := Rabs a) in BL; [lra|apply Rabs_pos]. }
  assert (Y : Rabs (al * b) <= (1 + / 2 ^ 49) * / 2 ^ 53 * m).
  { unfold m. rewrite !Rabs_mult. apply Rmult_le_compat_r with (r := Rabs b) in AL; [lra|apply Rabs_pos]. }
  assert (Z : Rabs (al * bl) <= (1 + / 2 ^ 40) * / 2 ^ 106 * m).
  { rewrite Rabs_mult. apply Rle_trans with ((1 + / 2 ^ 49) * / 2 ^ 53 * Rabs a * ((1 + / 2 ^ 49) * / 2 ^ 53 * Rabs b)).
    - apply Rmult_le_compat; try apply Rabs_pos; assumption.
    - unfold m. rewrite Rabs_mult. pose proof (Rabs_pos a). pose proof (Rabs_pos b).
      assert (0 <= Rabs a * Rabs b) by (apply Rmult_le_pos; assumption). lra. }
  unfold ErrorFree.fused. pose proof (rounded64 (a * bl + e0)) as R1. set (e1 := fl (a * bl + e0)) in *.
  pose proof (rounded64 (al * b + e1)) as R2. set (e2 := fl (al * b + e1)) in *.
  assert (H2 : holds e2) by apply held, V. rewrite U in R1, R2.
  pose proof (Rabs_triang (p + e0 - a * b) (- (p - a * b))) as Q0. rewrite Rabs_Ropp in Q0.
  replace (p + e0 - a * b + - (p - a * b)) with e0 in Q0 by ring.
  pose proof (Rabs_triang (a * bl) e0) as Q1. pose proof (Rabs_triang (e1 - (a * bl + e0)) (a * bl + e0)) as Q2.
  replace (e1 - (a * bl + e0) + (a * bl + e0)) with e1 in Q2 by ring.
  pose proof (Rabs_triang (al * b) e1) as Q3. pose proof (Rabs_triang (e2 - (al * b + e1)) (al * b + e1)) as Q4.
  replace (e2 - (al * b + e1) + (al * b + e1)) with e2 in Q4 by ring.
  pose proof (Rabs_triang p (- (p - a * b))) as Q5. rewrite Rabs_Ropp in Q5.
  replace (p + - (p - a * b)) with (a * b) in Q5 by ring. fold m in Q5.
  destruct (ordered_sum_split f V p e2 HP H2) as (x & y & -> & _ & S & HX & HY & L & _); [left; lra|].
  fold u in L. rewrite U in L. split; [exact HX|]. split; [exact HY|]. split; [lra|].
  replace (x + y - (a + al) * (b + bl)) with
    ((p + e0 - a * b) + (e1 - (a * bl + e0)) + (e2 - (al * b + e1)) + - (al * bl)) by (replace y with (p + e2 - x)
      by lra; ring).
  assert (D1 : Rabs (e1 - (a * bl + e0)) <= 2005 / 1000 * / 2 ^ 106 * m) by lra.
  assert (D2 : Rabs (e2 - (al * b + e1)) <= 3005 / 1000 * / 2 ^ 106 * m) by lra.
  apply Rabs_le_inv in E, D1, D2, Z. apply Rabs_le. lra.
Qed.
