(** Scores in three words: levels of slices, times a scale, and what is added (loops.score_words); and elements of dS,
    their words times a weight's (loops.score_gradients). *)
From Coq Require Import Reals List Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats ErrorFree WordSums WordProducts WordReduction WordQuotients WordTotals.
Import ListNotations.
Open Scope R_scope.

Local Notation f := fp64.
Local Notation fl := (nearest fp64).
Local Notation V := fp64_valid.
Local Notation two_sum := (two_sum fp64).
Local Notation two_product := (two_product fp64).
Local Notation three_sum := (three_sum fp64).
Local Notation holds := (holds fp64).
Local Notation running := (running fp64).
Local Notation two_words := (two_words fp64).

(** ** Levels, of which each is at least twice as large as those before it together *)
Fixpoint halving (before : R) (xs bounds : list R) : Prop :=
  match xs, bounds with
  | [], [] => True
  | x :: xs, b :: bounds => Rabs x <= b / 2 /\ before <= b / 2 /\ halving b xs bounds
  | _, _ => False
  end.

Definition shrink : R := / 2 ^ 52 * (1 + / 2 ^ 52).

Lemma running_halving xs : forall s before bounds, holds s -> Forall holds xs -> 0 <= before ->
  Rabs s <= (1 + / 2 ^ 51) * before -> halving before xs bounds ->
  halving (shrink * before) (snd (running s xs)) (map (Rmult shrink) bounds).
Proof.
  induction xs as [|x xs IH]; intros s before bounds HS H B0 S G; destruct bounds as [|b bounds]; try contradiction.
  - exact I.
  - destruct G as (X & B & G). inversion H as [|? ? HX H']; subst. cbn [running].
    destruct (two_sum_split f V s x HS HX) as (t & e & -> & _ & E & HT & HE & _ & L). fold u in L. rewrite u_value in L.
    pose proof (Rabs_triang s x) as Q1. pose proof (Rabs_triang (s + x) (- e)) as Q2. rewrite Rabs_Ropp in Q2.
    replace (s + x + - e) with t in Q2 by lra.
    specialize (IH t b bounds HT H' ltac:(lra) ltac:(lra) G).
    destruct (running t xs) as [r es]. cbn [snd map halving] in *. unfold shrink in *.
    split; [lra|]. split; [lra|]. exact IH.
Qed.

Lemma last_cons (b : R) bounds before : last (b :: bounds) before = last bounds b.
Proof.
  revert b before. induction bounds as [|c bounds IH]; intros b before; [reflexivity|].
  change (last (b :: c :: bounds) before) with (last (c :: bounds) before). now rewrite !IH.
Qed.

Lemma halving_sizes xs : forall before bounds, halving before xs bounds -> before + sizes xs <= last bounds before.
Proof.
  induction xs as [|x xs IH]; intros before bounds H; destruct bounds as [|b bounds]; try contradiction.
  - unfold sizes. simpl. lra.
  - destruct H as (X & B & H). specialize (IH b bounds H). rewrite sizes_cons.
    rewrite last_cons. lra.
Qed.

Lemma last_scaled k bounds before : last (map (Rmult k) bounds) (k * before) = k * last bounds before.
Proof. induction bounds as [|b bounds IH]; [reflexivity|]. destruct bounds; [reflexivity|]. exact IH. Qed.

(** The levels' sum: three roundings of falling numbers. *)
Lemma levels_near xs bounds : Forall holds xs -> halving 0 xs bounds ->
  falling3 (add_all f 0 0 0 xs) /\
  Rabs (sum3 (add_all f 0 0 0 xs) - total xs) <= 101 / 100 * / 2 ^ 156 * last bounds 0.
Proof.
  intros X G. rewrite add_all_running.
  assert (Z : Rabs 0 <= (1 + / 2 ^ 51) * 0) by (rewrite Rabs_R0; lra).
  destruct (running_exact f V xs 0 (holds_0 f) X) as (A & R & EA).
  pose proof (running_halving xs 0 0 bounds (holds_0 f) X (Rle_refl 0) Z G) as GA. rewrite Rmult_0_r in GA.
  destruct (running 0 xs) as [a' rests]. cbn [fst snd] in *.
  destruct (running_exact f V rests 0 (holds_0 f) R) as (B & M & EB).
  pose proof (running_halving rests 0 0 _ (holds_0 f) R (Rle_refl 0) Z GA) as GB. rewrite Rmult_0_r in GB.
  destruct (running 0 rests) as [b' more]. cbn [fst snd] in *.
  destruct (running_exact f V more 0 (holds_0 f) M) as (C & _ & EC).
  pose proof (running_halving more 0 0 _ (holds_0 f) M (Rle_refl 0) Z GB) as GC. rewrite Rmult_0_r in GC.
  destruct (running 0 more) as [c' least]. cbn [fst snd] in *.
  pose proof (three_sum_falling a' b' c' A B C) as T. destruct (three_sum a' b' c') as [[x y] z]. destruct T as (T & E).
  split; [exact T|]. cbn [sum3].
  replace (x + y + z - total xs) with (- total least) by lra. rewrite Rabs_Ropp.
  pose proof (total_sizes least) as S. apply halving_sizes in GC. rewrite !map_map in GC.
  assert (L : last (map (fun b => shrink * (shrink * (shrink * b))) bounds) 0 = shrink * (shrink * (shrink * last
    bounds 0))).
  { rewrite <- (map_map (Rmult shrink) (fun b => shrink * (shrink * b))).
    rewrite <- (map_map (Rmult shrink) (Rmult shrink)).
    replace 0 with (shrink * (shrink * (shrink * 0))) at 1 by ring. now rewrite !last_scaled. }
  rewrite L in GC. apply halving_sizes in G. pose proof (sizes_nonneg xs) as N.
  assert (P : 0 <= last bounds 0) by lra. unfold shrink in GC. clear - S GC P. set (b := last bounds 0) in *. lra.
Qed.

(** ** Less a slope times a distance *)
Definition add_product (w : R * R * R) (x y : R) : R * R * R :=
  let '(high, middle, low) := w in
  let (product, error) := two_product x y in
  let (a, rest) := two_sum high product in
  let (b, rest) := two_sum middle rest in
  let (b, more) := two_sum b error in
  three_sum a b (fl (low + fl (rest + more))).

Lemma add_product_near w x y s p : falling3 w -> holds x -> holds y -> Rabs (sum3 w) <= s -> Rabs (x * y) <= p ->
  falling3 (add_product w x y) /\
  Rabs (sum3 (add_product w x y) - (sum3 w + x * y)) <= 112 / 10 * / 2 ^ 159 * (s + p) + 2 * lost.
Proof.
  destruct w as [[h m] l]. cbn [sum3 falling3]. intros F X Y S P.
  pose proof F as ((HH & HM & HL) & M & L). destruct (falling_size h m l F) as (H1 & _). pose proof lost_value as L0.
  unfold add_product. destruct (product_within x y X Y) as (q & e & -> & HQ & HE & E0 & Q & Eb).
  destruct (two_sum_split f V h q HH HQ) as (a & r1 & -> & _ & R1 & HA & HR1 & _ & L1). fold u in L1.
  destruct (two_sum_split f V m r1 HM HR1) as (b & r2 & -> & _ & R2 & HB & HR2 & _ & L2). fold u in L2.
  destruct (two_sum_split f V b e HB HE) as (c & r3 & -> & _ & R3 & HC & HR3 & _ & L3). fold u in L3.
  pose proof (sum_relative f V r2 r3 HR2 HR3) as N1. fold u in N1. set (k := fl (r2 + r3)) in *.
  assert (HK : holds k) by apply held, V.
  pose proof (sum_relative f V l k HL HK) as N2. fold u in N2. set (g := fl (l + k)) in *. rewrite u_value in *.
  pose proof (three_sum_falling a c g HA HC ltac:(apply held, V)) as T.
  destruct (three_sum a c g) as [[o1 o2] o3]. destruct T as (T & E). split; [exact T|]. cbn [sum3].
  pose proof (Rabs_pos (h + m + l)). pose proof (Rabs_pos (x * y)).
  pose proof (Rabs_triang h q) as W1. pose proof (Rabs_triang m r1) as W2. pose proof (Rabs_triang b e) as W3.
  pose proof (Rabs_triang (m + r1) (- r2)) as W4. rewrite Rabs_Ropp in W4. replace (m + r1 + - r2) with b in W4 by lra.
  pose proof (Rabs_triang r2 r3) as W5. pose proof (Rabs_triang l k) as W6.
  pose proof (Rabs_triang (k - (r2 + r3)) (r2 + r3)) as W7. replace (k - (r2 + r3) + (r2 + r3)) with k in W7 by ring.
  assert (B1 : Rabs r1 <= 101 / 100 * / 2 ^ 53 * (s + p) + lost) by lra.
  assert (B2 : Rabs r2 <= 202 / 100 * / 2 ^ 106 * (s + p) + lost) by lra.
  assert (B3 : Rabs r3 <= 303 / 100 * / 2 ^ 106 * (s + p) + lost) by lra.
  assert (D1 : Rabs (k - (r2 + r3)) <= 507 / 100 * / 2 ^ 159 * (s + p) + / 2 ^ 50 * lost).
  { assert (B2' : Rabs r2 <= 202 / 100 * / 2 ^ 106 * (s + p) + / 2 ^ 50 * lost) by lra.
    assert (B3' : Rabs r3 <= 303 / 100 * / 2 ^ 106 * (s + p) + / 2 ^ 50 * lost) by lra. lra. }
  assert (D2 : Rabs (g - (l + k)) <= 612 / 100 * / 2 ^ 159 * (s + p) + / 2 ^ 50 * lost) by lra.
  replace (o1 + o2 + o3 - (h + m + l + x * y)) with ((q + e - x * y) + (k - (r2 + r3)) + (g - (l + k)))
    by (replace o3 with (a + c + g - o1 - o2) by lra; lra).
  apply Rabs_le_inv in E0, D1, D2. apply Rabs_le. lra.
Qed.

(** ** A score *)
Definition score (levels : list R) (scale : R * R * R) (bias slope distance : R) : R * R * R :=
  add_product (add_word (scaled (add_all f 0 0 0 levels) scale) bias) (- slope) distance.

(** extended.WORDS_ERROR, 256 u^3, is more than four times that. *)
Theorem score_near levels bounds scale bias slope distance : Forall holds levels -> halving 0 levels bounds ->
  falling3 scale -> holds bias -> holds slope -> holds distance ->
  let exact := total levels * sum3 scale + bias - slope * distance in
  let size := last bounds 0 * Rabs (sum3 scale) + Rabs bias + Rabs (slope * distance) in
  falling3 (score levels scale bias slope distance) /\
  Rabs (sum3 (score levels scale bias slope distance) - exact) <= / 2 ^ 153 * size + 12 * lost.
Proof.
  intros HL G S HB HP HD exact size. pose proof lost_value as L0.
  destruct (levels_near levels bounds HL G) as (F1 & E1). unfold score. set (w1 := add_all f 0 0 0 levels) in *.
  pose proof (halving_sizes _ _ _ G) as T1. pose proof (total_sizes levels) as T2. set (b := last bounds 0) in *.
  pose proof (sizes_nonneg levels) as B0. assert (B1 : 0 <= b) by lra.
  destruct (scaled_near w1 scale F1 S) as (F2 & E2). set (w2 := scaled w1 scale) in *.
  assert (Z1 : Rabs (sum3 w1) <= (1 + / 2 ^ 100) * b).
  { replace (sum3 w1) with ((sum3 w1 - total levels) + total levels) by ring. eapply Rle_trans; [apply Rabs_triang|].
    lra. }
  assert (A1 : Rabs (fst (fst w1)) <= (1 + / 2 ^ 50) * b).
  { destruct w1 as [[x y] z]. destruct (falling_size x y z F1) as (Q & _). cbn [sum3 fst] in *. lra. }
  assert (A2 : Rabs (fst (fst scale)) <= (1 + / 2 ^ 51) * Rabs (sum3 scale)).
  { destruct scale as [[x y] z]. destruct (falling_size x y z S) as (Q & _). exact Q. }
  set (k := Rabs (sum3 scale)) in *. assert (K0 : 0 <= k) by apply Rabs_pos. assert (BK : 0 <= b * k) by nra.
  assert (M : Rabs (fst (fst w1) * fst (fst scale)) <= (1 + / 2 ^ 40) * (b * k)).
  { rewrite Rabs_mult. apply Rle_trans with ((1 + / 2 ^ 50) * b * ((1 + / 2 ^ 51) * k)); [|lra].
    apply Rmult_le_compat; try apply Rabs_pos; assumption. }
  assert (P : Rabs ((sum3 w1 - total levels) * sum3 scale) <= 101 / 100 * / 2 ^ 156 * (b * k)).
  { rewrite Rabs_mult. fold k. apply Rmult_le_compat_r with (r := k) in E1; lra. }
  assert (TK : Rabs (total levels * sum3 scale) <= b * k).
  { rewrite Rabs_mult. fold k. apply Rmult_le_compat_r; lra. }
  assert (E2' : Rabs (sum3 w2 - total levels * sum3 scale) <= 46 * / 2 ^ 159 * (b * k) + 8 * lost).
  { replace (sum3 w2 - total levels * sum3 scale) with ((sum3 w2 - sum3 w1 * sum3 scale) +
      (sum3 w1 - total levels) * sum3 scale) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra. }
  pose proof (Rabs_triang (sum3 w2 - total levels * sum3 scale) (total levels * sum3 scale)) as Z2.
  replace (sum3 w2 - total levels * sum3 scale + total levels * sum3 scale) with (sum3 w2) in Z2 by ring.
  pose proof (Rabs_triang (sum3 w2) bias) as Z3. pose proof (Rabs_pos bias) as B2.
  set (s := 101 / 100 * (b * k + Rabs bias) + 9 * lost).
  destruct (add_word_near w2 bias s F2 HB ltac:(unfold s; lra) ltac:(unfold s; lra)) as (F3 & E3).
  set (w3 := add_word w2 bias) in *.
  pose proof (Rabs_triang (sum3 w3 - (sum3 w2 + bias)) (sum3 w2 + bias)) as Z4.
  replace (sum3 w3 - (sum3 w2 + bias) + (sum3 w2 + bias)) with (sum3 w3) in Z4 by ring.
  assert (HN : holds (- slope)) by now apply holds_opp.
  assert (SD : Rabs (- slope * distance) <= Rabs (slope * distance)).
  { rewrite <- Ropp_mult_distr_l, Rabs_Ropp. lra. }
  destruct (add_product_near w3 (- slope) distance (102 / 100 * (b * k + Rabs bias) + 10 * lost) _ F3 HN HD
    ltac:(unfold s in *; lra) SD) as (F4 & E4).
  split; [exact F4|]. set (w4 := add_product w3 (- slope) distance) in *.
  replace (sum3 w4 - exact) with ((sum3 w4 - (sum3 w3 + - slope * distance)) + ((sum3 w3 - (sum3 w2 + bias)) +
    (sum3 w2 - total levels * sum3 scale))) by (unfold exact; ring).
  eapply Rle_trans; [apply Rabs_triang|].
  pose proof (Rabs_triang (sum3 w3 - (sum3 w2 + bias)) (sum3 w2 - total levels * sum3 scale)).
  pose proof (Rabs_pos (slope * distance)). unfold size, s in *. lra.
Qed.

(** ** Elements of dS *)

(** Less three words. *)
Definition subtract (w v : R * R * R) : R * R * R :=
  let '(a, b, c) := w in
  let '(d, e, g) := v in
  let (a, x) := two_sum a (- d) in
  let (b, y) := two_sum b (- e) in
  let (b, z) := two_sum b x in
  three_sum a b (fl (c + fl (fl (y + z) - g))).

Theorem subtract_near w v s p : falling3 w -> falling3 v -> Rabs (sum3 w) <= s -> Rabs (sum3 v) <= p ->
  falling3 (subtract w v) /\ Rabs (sum3 (subtract w v) - (sum3 w - sum3 v)) <= 13 * / 2 ^ 159 * (s + p).
Proof.
  destruct w as [[a b] c]. destruct v as [[d e] g]. cbn [sum3 falling3]. intros F G S P.
  pose proof F as ((HA & HB & HC) & B & C). pose proof G as ((HD & HE & HG) & E & GG).
  destruct (falling_size a b c F) as (A1 & _). destruct (falling_size d e g G) as (D1 & _).
  apply holds_opp in HD, HE, HG. unfold subtract.
  destruct (two_sum_split f V a (- d) HA HD) as (a1 & x & -> & _ & X & HA1 & HX & _ & L1). fold u in L1.
  destruct (two_sum_split f V b (- e) HB HE) as (b1 & y & -> & _ & Y & HB1 & HY & _ & L2). fold u in L2.
  destruct (two_sum_split f V b1 x HB1 HX) as (b2 & z & -> & _ & Z & HB2 & HZ & _ & L3). fold u in L3.
  pose proof (sum_relative f V y z HY HZ) as N1. fold u in N1. set (q := fl (y + z)) in *.
  assert (HQ : holds q) by apply held, V.
  pose proof (sum_relative f V q (- g) HQ HG) as N2. fold u in N2. change (q + - g) with (q - g) in N2.
  set (r := fl (q - g)) in *. assert (HR : holds r) by apply held, V.
  pose proof (sum_relative f V c r HC HR) as N3. fold u in N3. set (k := fl (c + r)) in *. rewrite u_value in *.
  pose proof (three_sum_falling a1 b2 k HA1 HB2 ltac:(apply held, V)) as T.
  destruct (three_sum a1 b2 k) as [[o1 o2] o3]. destruct T as (T & O). split; [exact T|]. cbn [sum3].
  pose proof (Rabs_pos (a + b + c)). pose proof (Rabs_pos (d + e + g)).
  pose proof (Rabs_triang a (- d)) as W1. pose proof (Rabs_triang b (- e)) as W2. pose proof (Rabs_triang b1 x) as W3.
  rewrite Rabs_Ropp in W1, W2.
  pose proof (Rabs_triang (b + - e) (- y)) as W4. rewrite Rabs_Ropp in W4. replace (b + - e + - y) with b1 in W4 by lra.
  pose proof (Rabs_triang y z) as W5. pose proof (Rabs_triang q (- g)) as W6. rewrite Rabs_Ropp in W6.
  change (q + - g) with (q - g) in W6. pose proof (Rabs_triang c r) as W7.
  pose proof (Rabs_triang (q - (y + z)) (y + z)) as W8. replace (q - (y + z) + (y + z)) with q in W8 by ring.
  pose proof (Rabs_triang (r - (q - g)) (q - g)) as W9. replace (r - (q - g) + (q - g)) with r in W9 by ring.
  assert (B1 : Rabs x <= 101 / 100 * / 2 ^ 53 * (s + p)) by lra.
  assert (B2 : Rabs y <= 101 / 100 * / 2 ^ 106 * (s + p)) by lra.
  assert (B3 : Rabs z <= 203 / 100 * / 2 ^ 106 * (s + p)) by lra.
  assert (Q1 : Rabs (q - (y + z)) <= 305 / 100 * / 2 ^ 159 * (s + p)) by lra.
  assert (Q2 : Rabs (r - (q - g)) <= 41 / 10 * / 2 ^ 159 * (s + p)) by lra.
  assert (Q3 : Rabs (k - (c + r)) <= 52 / 10 * / 2 ^ 159 * (s + p)) by lra.
  replace (o1 + o2 + o3 - (a + b + c - (d + e + g))) with ((q - (y + z)) + (r - (q - g)) + (k - (c + r)))
    by (replace o3 with (a1 + b2 + k - o1 - o2) by lra; lra).
  apply Rabs_le_inv in Q1, Q2, Q3. apply Rabs_le. lra.
Qed.

(** Three words, the last two added up, times a weight: extended_gradients.GRADIENT_ERROR. *)
Theorem gradient_product_near a b c w wl : falling a b c -> two_words w wl -> / 2 ^ 960 <= Rabs (a * w) ->
  let (x, y) := multiply f a (fl (b + c)) w wl in
  Rabs y <= / 2 ^ 53 * Rabs x /\
  Rabs (x + y - (a + b + c) * (w + wl)) <= 8 * / 2 ^ 106 * Rabs ((a + b + c) * (w + wl)).
Proof.
  intros F (HW & HWL & WL) M. pose proof F as ((HA & HB & HC) & B & C). destruct (falling_size a b c F) as (_ & A2).
  fold u in WL. rewrite u_value in WL. pose proof (sum_relative f V b c HB HC) as N. fold u in N. rewrite u_value in N.
  set (d := fl (b + c)) in *. pose proof (Rabs_triang b c) as Q0. pose proof (Rabs_pos a) as A0. pose proof (Rabs_pos
    w) as W0.
  pose proof (Rabs_triang (d - (b + c)) (b + c)) as Q1. replace (d - (b + c) + (b + c)) with d in Q1 by ring.
  assert (D : Rabs d <= (1 + / 2 ^ 49) * / 2 ^ 53 * Rabs a) by lra.
  assert (N' : Rabs (d - (b + c)) <= 101 / 100 * / 2 ^ 106 * Rabs a) by lra.
  pose proof (multiply_falling a d w wl HA ltac:(apply held, V) HW HWL D ltac:(lra) M) as P.
  destruct (multiply f a d w wl) as [x y]. destruct P as (_ & _ & XY & P). split; [exact XY|].
  set (m := Rabs (a * w)) in *. assert (M1 : m = Rabs a * Rabs w) by apply Rabs_mult.
  assert (AW : 0 <= Rabs a * Rabs w) by (apply Rmult_le_pos; assumption).
  assert (WW : Rabs (w + wl) <= 1001 / 1000 * Rabs w) by (eapply Rle_trans; [apply Rabs_triang|]; lra).
  assert (P2 : Rabs ((d - (b + c)) * (w + wl)) <= 102 / 100 * / 2 ^ 106 * m).
  { pose proof (scaled_part _ _ _ _ N' WW). lra. }
  assert (P3 : Rabs (a * wl) <= / 2 ^ 52 * m).
  { pose proof (scaled_part a wl _ _ (Rle_refl _) WL). lra. }
  assert (P4 : Rabs ((b + c) * (w + wl)) <= / 2 ^ 50 * m).
  { pose proof (scaled_part _ _ _ _ A2 WW). lra. }
  assert (Exact : 99 / 100 * m <= Rabs ((a + b + c) * (w + wl))).
  { pose proof (Rabs_triang ((a + b + c) * (w + wl)) (- (a * wl + (b + c) * (w + wl)))) as Q2. rewrite Rabs_Ropp in Q2.
    replace ((a + b + c) * (w + wl) + - (a * wl + (b + c) * (w + wl))) with (a * w) in Q2 by ring. fold m in Q2.
    pose proof (Rabs_triang (a * wl) ((b + c) * (w + wl))). lra. }
  replace (x + y - (a + b + c) * (w + wl)) with ((x + y - (a + d) * (w + wl)) + (d - (b + c)) * (w + wl)) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. lra.
Qed.

(** ** Levels of slices *)

(** Levels from the last to the first: level t is at most 2 d 2^(-bits t), but the first at most d. *)
Fixpoint levels_within (bits : Z) (d : R) (xs : list R) : Prop :=
  match xs with
  | [] => True
  | [x] => Rabs x <= d
  | x :: xs => Rabs x <= 2 * d * bpow radix2 (- (bits * Z.of_nat (length xs))) /\ levels_within bits d xs
  end.

Fixpoint level_bounds (bits : Z) (d : R) (xs : list R) : list R :=
  match xs with
  | [] => []
  | [x] => [2 * d]
  | x :: xs => 4 * d * bpow radix2 (- (bits * Z.of_nat (length xs))) :: level_bounds bits d xs
  end.

Lemma levels_halved bits d xs : (2 <= bits)%Z -> 0 <= d -> forall before,
  before <= 4 * d * bpow radix2 (- (bits * Z.of_nat (length xs))) -> levels_within bits d xs ->
  halving before xs (level_bounds bits d xs) /\ (xs <> [] -> last (level_bounds bits d xs) before = 2 * d).
Proof.
  intros B D. induction xs as [|x xs IH]; intros before H L; [split; [exact I|contradiction]|].
  assert (Half : forall n, 4 * d * bpow radix2 (- (bits * Z.of_nat (S n))) <=
    4 * d * bpow radix2 (- (bits * Z.of_nat n)) / 4).
  { intros n. replace (- (bits * Z.of_nat (S n)))%Z with (- (bits * Z.of_nat n) + - bits)%Z by lia.
    rewrite bpow_plus. assert (P : bpow radix2 (- bits) <= bpow radix2 (-2)) by (apply bpow_le; lia).
    simpl (bpow radix2 (-2)) in P. pose proof (bpow_gt_0 radix2 (- (bits * Z.of_nat n))) as P0.
    set (q := bpow radix2 (- (bits * Z.of_nat n))) in *. set (r := bpow radix2 (- bits)) in *.
    assert (q * r <= q * / 4) by (apply Rmult_le_compat_l; lra).
    assert (d * (q * r) <= d * (q * / 4)) by (apply Rmult_le_compat_l; lra). lra. }
  pose proof (Rle_trans _ _ _ H (Half (length xs))) as Hb. clear Half H.
  destruct xs as [|y xs].
  - assert (One : bpow radix2 (- (bits * Z.of_nat (@length R []))) = 1) by (cbn [length]; rewrite Z.mul_0_r;
      reflexivity).
    rewrite One in Hb. cbn [levels_within] in L. cbn [level_bounds halving].
    split; [|reflexivity]. split; [lra|]. split; [lra|exact I].
  - destruct L as (X & L). set (b := 4 * d * bpow radix2 (- (bits * Z.of_nat (length (y :: xs))))) in *.
    destruct (IH b (Rle_refl b) L) as (G & E).
    change (level_bounds bits d (x :: y :: xs)) with (b :: level_bounds bits d (y :: xs)).
    assert (B0 : 0 <= b).
    { unfold b. pose proof (bpow_ge_0 radix2 (- (bits * Z.of_nat (length (y :: xs))))).
      apply Rmult_le_pos; lra. }
    split.
    + cbn [halving]. split; [unfold b; lra|]. split; [lra|exact G].
    + intros _. rewrite last_cons. apply E. discriminate.
Qed.

(** Half of WORDS_ERROR, relative to what bounds the first level. *)
Theorem sliced_score_near bits d levels scale bias slope distance : (2 <= bits)%Z -> 0 <= d -> levels <> [] ->
  Forall holds levels -> levels_within bits d levels -> falling3 scale ->
  holds bias -> holds slope -> holds distance ->
  let exact := total levels * sum3 scale + bias - slope * distance in
  let size := d * Rabs (sum3 scale) + Rabs bias + Rabs (slope * distance) in
  Rabs (sum3 (score levels scale bias slope distance) - exact) <= / 2 ^ 152 * size + 12 * lost.
Proof.
  intros B D N H L S HB HP HD exact size.
  assert (Z : 0 <= 4 * d * bpow radix2 (- (bits * Z.of_nat (length levels)))).
  { pose proof (bpow_ge_0 radix2 (- (bits * Z.of_nat (length levels)))). apply Rmult_le_pos; lra. }
  destruct (levels_halved bits d levels B D 0 Z L) as (G & E).
  destruct (score_near levels _ scale bias slope distance H G S HB HP HD) as (_ & A). rewrite (E N) in A.
  eapply Rle_trans; [exact A|]. pose proof (Rabs_pos bias). pose proof (Rabs_pos (slope * distance)).
  assert (0 <= d * Rabs (sum3 scale)) by (apply Rmult_le_pos; [exact D|apply Rabs_pos]). unfold size. lra.
Qed.

(** What a weight is multiplied
  by is at most [height], as extended_gradients.py has it: dP is at most [size], and what is
    subtracted is off by less. *)
Theorem height_enough gain top dp delta dlse less size : 0 <= gain <= top -> Rabs dp <= size ->
  Rabs (less - (delta - dlse)) <= top * size ->
  Rabs (gain * dp - delta + dlse) <= top * 2 * size + Rabs less.
Proof.
  intros G P L. assert (Rabs (gain * dp) <= top * size).
  { rewrite Rabs_mult, (Rabs_pos_eq gain) by lra. apply Rmult_le_compat; try lra. apply Rabs_pos. }
  replace (gain * dp - delta + dlse) with (gain * dp + ((less - (delta - dlse)) + - less)) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. pose proof (Rabs_triang (less - (delta - dlse)) (- less)) as Q.
  rewrite Rabs_Ropp in Q. lra.
Qed.
