(** Numbers of one and of two words in slices, and what products of slices leave out (refattn/oracle/extended/slices.py,
    weighted_sums.py and loops.slice_words). *)
From Coq Require Import Reals List Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Sums Formats Slices ErrorFree WordReduction.
Import ListNotations.
Open Scope R_scope.

Local Notation f := fp64.
Local Notation fl := (nearest fp64).
Local Notation V := fp64_valid.
Local Notation two_sum := (two_sum fp64).
Local Notation holds := (holds fp64).
Local Notation leading := (leading fp64).

(** What the slices of a number are at most: the first 1, the others half of their predecessor's unit. *)
Fixpoint within (slack : R) (bits e : Z) (parts : list R) : Prop :=
  match parts with
  | [] => True
  | part :: parts => Rabs part <= slack * bpow radix2 (e - 1) /\ within slack bits (e - bits) parts
  end.

Definition first_within (slack : R) (bits e : Z) (parts : list R) : Prop :=
  match parts with
  | [] => True
  | part :: parts => Rabs part <= bpow radix2 e /\ within slack bits (e - bits) parts
  end.

Definition total (parts : list R) : R := fold_right Rplus 0 parts.

Lemma bpow_split a b : bpow radix2 a = bpow radix2 (a - b) * bpow radix2 b.
Proof. rewrite <- bpow_plus. f_equal. lia. Qed.

Lemma half_power e : bpow radix2 (e - 1) = bpow radix2 e / 2.
Proof. rewrite <- bpow_half. lra. Qed.

(** A slice of a number that is not much larger than a multiple of its unit is at most that multiple, or not much
    larger. *)
Lemma leading_at_most x unit n excess : (lowest f <= unit)%Z -> holds x -> Rabs x < bpow radix2 (51 + unit) ->
  Rabs x <= (IZR n + excess) * bpow radix2 unit ->
  Rabs (leading unit x) <= (if Rlt_dec excess (/ 2) then IZR n else IZR n + excess + / 2) * bpow radix2 unit /\
  Rabs (x - leading unit x) <= bpow radix2 (unit - 1) /\ fl (x - leading unit x) = x - leading unit x /\
  holds (leading unit x).
Proof.
  intros U H B N. destruct (leading_exact f V unit U x H B) as (m & E & D & Ex).
  pose proof (bpow_gt_0 radix2 unit) as P. rewrite half_power.
  split; [|split; [exact D|split; [exact Ex|apply held, V]]].
  assert (T : Rabs (leading unit x) <= (IZR n + excess + / 2) * bpow radix2 unit).
  { pose proof (Rabs_triang x (- (x - leading unit x))) as Q. rewrite Rabs_Ropp in Q.
    replace (x + - (x - leading unit x)) with (leading unit x) in Q by ring. lra. }
  destruct (Rlt_dec excess (/ 2)) as [S|S]; [|exact T].
  rewrite E in T |- *. unfold times_unit in *. rewrite Rabs_mult, (Rabs_pos_eq (bpow _ _)) in * by lra.
  apply Rmult_le_compat_r; [lra|]. apply Rmult_le_reg_r in T; [|exact P].
  rewrite <- abs_IZR in *. apply IZR_le. assert (Z.abs m < n + 1)%Z; [|lia]. apply lt_IZR. rewrite plus_IZR. lra.
Qed.

(** ** Numbers of one word: slices.Sliced.of, weighted_sums.Values.of *)
Fixpoint sliced (bits e : Z) (rest : R) (count : nat) : list R * R :=
  match count with
  | O => ([], rest)
  | S count =>
    let part := leading (e - bits) rest in
    let (parts, left) := sliced bits (e - bits) (fl (rest - part)) count in
    (part :: parts, left)
  end.

Lemma power_whole e bits : (0 <= bits)%Z -> bpow radix2 e = IZR (2 ^ bits) * bpow radix2 (e - bits).
Proof. intros H. rewrite (IZR_Zpower radix2) by exact H. rewrite <- bpow_plus. f_equal. lia. Qed.

Lemma sliced_later count : forall bits e rest, (1 <= bits <= 50)%Z -> (lowest f <= e - bits * Z.of_nat count)%Z ->
  holds rest -> Rabs rest <= bpow radix2 (e - 1) ->
  let (parts, left) := sliced bits e rest count in
  rest = total parts + left /\ within 1 bits e parts /\ holds left /\
  Rabs left <= bpow radix2 (e - bits * Z.of_nat count - 1).
Proof.
  induction count as [|count IH]; intros bits e rest B L H Sz; cbn [sliced].
  - unfold total. simpl. replace (e - bits * 0 - 1)%Z with (e - 1)%Z by ring. repeat split; try assumption; lra.
  - assert (L' : (lowest f <= e - bits)%Z) by nia.
    assert (S' : Rabs rest <= (IZR (2 ^ (bits - 1)) + 0) * bpow radix2 (e - bits)).
    { rewrite Rplus_0_r. replace (e - bits)%Z with (e - 1 - (bits - 1))%Z by ring. rewrite <- power_whole by lia.
      exact Sz. }
    assert (Lt : Rabs rest < bpow radix2 (51 + (e - bits))) by (eapply Rle_lt_trans; [exact Sz|apply bpow_lt; lia]).
    destruct (leading_at_most rest (e - bits) _ 0 L' H Lt S') as (P & D & Ex & HP).
    destruct (Rlt_dec 0 (/ 2)) as [_|N]; [|lra].
    set (part := leading (e - bits) rest) in *. rewrite Ex.
    assert (HR : holds (rest - part)) by (rewrite <- Ex; apply held, V).
    specialize (IH bits (e - bits)%Z (rest - part) B ltac:(lia) HR D).
    destruct (sliced bits (e - bits) (rest - part) count) as [parts left]. destruct IH as (T & W & HL & Bl).
    split; [unfold total in *; simpl; lra|]. split; [|split; [exact HL|]].
    + split; [|exact W]. rewrite Rmult_1_l. replace (e - bits)%Z with (e - 1 - (bits - 1))%Z in P by ring.
      rewrite <- power_whole in P by lia. exact P.
    + replace (e - bits * Z.of_nat (S count) - 1)%Z with (e - bits - bits * Z.of_nat count - 1)%Z by lia. exact Bl.
Qed.

(** Slices add up to the number and what is left, each at most half of the unit before it. *)
Theorem sliced_exact bits e x count : (1 <= bits <= 50)%Z -> (lowest f <= e - bits * Z.of_nat (S count))%Z ->
  holds x -> Rabs x <= bpow radix2 e ->
  let (parts, left) := sliced bits e x (S count) in
  x = total parts + left /\ first_within 1 bits e parts /\
  Rabs left <= bpow radix2 (e - bits * Z.of_nat (S count) - 1).
Proof.
  intros B L H Sz. cbn [sliced]. assert (L' : (lowest f <= e - bits)%Z) by nia.
  assert (S' : Rabs x <= (IZR (2 ^ bits) + 0) * bpow radix2 (e - bits)).
  { rewrite Rplus_0_r, <- power_whole by lia. exact Sz. }
  assert (Lt : Rabs x < bpow radix2 (51 + (e - bits))) by (eapply Rle_lt_trans; [exact Sz|apply bpow_lt; lia]).
  destruct (leading_at_most x (e - bits) _ 0 L' H Lt S') as (P & D & Ex & HP).
  destruct (Rlt_dec 0 (/ 2)) as [_|N]; [|lra]. set (part := leading (e - bits) x) in *. rewrite Ex.
  assert (HR : holds (x - part)) by (rewrite <- Ex; apply held, V).
  pose proof (sliced_later count bits (e - bits)%Z (x - part) B ltac:(lia) HR D) as R.
  destruct (sliced bits (e - bits) (x - part) count) as [parts left]. destruct R as (T & W & _ & Bl).
  split; [unfold total in *; simpl; lra|]. split.
  - split; [|exact W]. rewrite <- power_whole in P by lia. exact P.
  - replace (e - bits * Z.of_nat (S count) - 1)%Z with (e - bits - bits * Z.of_nat count - 1)%Z by lia. exact Bl.
Qed.

(** ** Numbers of two words: loops.slice_words *)
Fixpoint cut (bits e : Z) (rest tail : R) (count : nat) : list R * R :=
  match count with
  | O => ([], rest + tail)
  | S count =>
    let part := leading (e - bits) rest in
    let (rest, tail) := two_sum (fl (rest - part)) tail in
    let (parts, left) := cut bits (e - bits) rest tail count in
    (part :: parts, left)
  end.

(** What is left after one slice: half a unit, and the second word. *)
Lemma cut_step r tail unit : holds r -> holds tail -> Rabs r <= bpow radix2 (unit - 1) ->
  Rabs tail <= / 2 ^ 18 * (1 + / 2 ^ 17) * bpow radix2 (unit - 1) ->
  exists rest' tail', two_sum r tail = (rest', tail') /\ rest' + tail' = r + tail /\ holds rest' /\ holds tail' /\
    Rabs rest' <= (1 + / 2 ^ 17) * bpow radix2 (unit - 1) /\ Rabs tail' <= / 2 ^ 53 * Rabs rest'.
Proof.
  intros HR HT R T. destruct (two_sum_split f V r tail HR HT) as (s & e & -> & _ & E & HS & HE & L & L').
  fold u in L, L'. rewrite u_value in L, L'. exists s, e. repeat split; try assumption; try lra.
  pose proof (Rabs_triang r tail). pose proof (Rabs_triang (r + tail) (- e)) as Q. rewrite Rabs_Ropp in Q.
  replace (r + tail + - e) with s in Q by lra. pose proof (bpow_gt_0 radix2 (unit - 1)). lra.
Qed.

Lemma cut_later count : forall bits e rest tail, (10 <= bits <= 34)%Z -> (lowest f <= e - bits * Z.of_nat count)%Z ->
  holds rest -> holds tail -> Rabs rest <= (1 + / 2 ^ 17) * bpow radix2 (e - 1) -> Rabs tail <= / 2 ^ 53 * Rabs rest ->
  let (parts, left) := cut bits e rest tail count in
  rest + tail = total parts + left /\ within (1 + / 2 ^ 16) bits e parts /\
  Rabs left <= (1 + / 2 ^ 16) * bpow radix2 (e - bits * Z.of_nat count - 1).
Proof.
  induction count as [|count IH]; intros bits e rest tail B L H HT Sz T; cbn [cut].
  - unfold total. simpl fold_right. cbn [within].
    replace (e - bits * Z.of_nat 0 - 1)%Z with (e - 1)%Z by (simpl; ring).
    pose proof (Rabs_triang rest tail). pose proof (bpow_gt_0 radix2 (e - 1)). split; [lra|]. split; [exact I|lra].
  - assert (L' : (lowest f <= e - bits)%Z) by nia. pose proof (bpow_gt_0 radix2 (e - 1)) as P1.
    assert (W : bpow radix2 (e - 1) = IZR (2 ^ (bits - 1)) * bpow radix2 (e - bits)).
    { rewrite (power_whole (e - 1) (bits - 1)) by lia. do 2 f_equal. ring. }
    assert (Sz' : Rabs rest <= (IZR (2 ^ (bits - 1)) + / 2 ^ 17 * IZR (2 ^ (bits - 1))) * bpow radix2 (e - bits))
      by lra.
    assert (Lt : Rabs rest < bpow radix2 (51 + (e - bits))).
    { apply Rle_lt_trans with (1 := Sz).
      apply Rlt_le_trans with (bpow radix2 e); [pose proof (bpow_gt_0 radix2 e); rewrite half_power; lra|].
      apply bpow_le. lia. }
    destruct (leading_at_most rest (e - bits) _ _ L' H Lt Sz') as (P & D & Ex & HP).
    set (part := leading (e - bits) rest) in *. rewrite Ex.
    assert (HR : holds (rest - part)) by (rewrite <- Ex; apply held, V).
    assert (Tail : Rabs tail <= / 2 ^ 18 * (1 + / 2 ^ 17) * bpow radix2 (e - bits - 1)).
    { apply Rle_trans with (/ 2 ^ 53 * ((1 + / 2 ^ 17) * bpow radix2 (e - 1))); [lra|].
      replace (e - 1)%Z with (e - bits - 1 + bits)%Z by ring. rewrite bpow_plus.
      assert (bpow radix2 bits <= bpow radix2 34) by (apply bpow_le; lia). simpl (bpow radix2 34) in *.
      pose proof (bpow_gt_0 radix2 (e - bits - 1)).
      assert (bpow radix2 (e - bits - 1) * bpow radix2 bits <= bpow radix2 (e - bits - 1) * 17179869184)
        by (apply Rmult_le_compat_l; lra). lra. }
    destruct (cut_step (rest - part) tail (e - bits) HR HT D Tail) as (rest' & tail' & -> & E & H1 & H2 & S1 & S2).
    specialize (IH bits (e - bits)%Z rest' tail' B ltac:(lia) H1 H2 S1 S2).
    destruct (cut bits (e - bits) rest' tail' count) as [parts left]. destruct IH as (T' & Wi & Bl).
    split; [unfold total in *; simpl; lra|]. split.
    + split; [|exact Wi]. rewrite W. eapply Rle_trans; [exact P|].
      pose proof (bpow_gt_0 radix2 (e - bits)). rewrite <- Rmult_assoc. apply Rmult_le_compat_r; [lra|].
      assert (N0 : 1 <= IZR (2 ^ (bits - 1))) by (apply IZR_le; pose proof (Z.pow_pos_nonneg 2 (bits - 1)); lia).
      destruct (Rlt_dec _ _) as [?|N]; [lra|]. apply Rnot_lt_le in N. lra.
    + replace (e - bits * Z.of_nat (S count) - 1)%Z with (e - bits - bits * Z.of_nat count - 1)%Z by lia. exact Bl.
Qed.

(** Slices of two words: a second word may make each, and what is left, larger by a part of 2^-16. *)
Theorem cut_near bits e one two count : (10 <= bits <= 34)%Z -> (lowest f <= e - bits * Z.of_nat (S count))%Z ->
  holds one -> holds two -> Rabs one <= (1 + / 2 ^ 36) * bpow radix2 e -> Rabs two <= / 2 ^ 53 * Rabs one ->
  let (parts, left) := cut bits e one two (S count) in
  one + two = total parts + left /\ first_within (1 + / 2 ^ 16) bits e parts /\
  Rabs left <= (1 + / 2 ^ 16) * bpow radix2 (e - bits * Z.of_nat (S count) - 1).
Proof.
  intros B L H HT Sz T. cbn [cut]. assert (L' : (lowest f <= e - bits)%Z) by nia.
  pose proof (bpow_gt_0 radix2 e) as P1. pose proof (power_whole e bits ltac:(lia)) as W.
  assert (Sz' : Rabs one <= (IZR (2 ^ bits) + / 2 ^ 36 * IZR (2 ^ bits)) * bpow radix2 (e - bits)) by lra.
  assert (Lt : Rabs one < bpow radix2 (51 + (e - bits))).
  { apply Rle_lt_trans with (1 := Sz).
    apply Rlt_le_trans with (bpow radix2 (e + 1)); [rewrite bpow_plus; simpl (bpow radix2 1); lra|].
    apply bpow_le. lia. }
  destruct (leading_at_most one (e - bits) _ _ L' H Lt Sz') as (P & D & Ex & HP).
  assert (N : IZR (2 ^ bits) <= 2 ^ 34).
  { rewrite (IZR_Zpower radix2) by lia. replace (2 ^ 34) with (bpow radix2 34) by (simpl; lra). apply bpow_le. lia. }
  destruct (Rlt_dec _ _) as [_|N']; [|lra].
  set (part := leading (e - bits) one) in *. rewrite Ex.
  assert (HR : holds (one - part)) by (rewrite <- Ex; apply held, V).
  assert (Tail : Rabs two <= / 2 ^ 18 * (1 + / 2 ^ 17) * bpow radix2 (e - bits - 1)).
  { apply Rle_trans with (/ 2 ^ 53 * ((1 + / 2 ^ 36) * bpow radix2 e)); [lra|].
    rewrite W. rewrite half_power. pose proof (bpow_gt_0 radix2 (e - bits)).
    assert (IZR (2 ^ bits) * bpow radix2 (e - bits) <= 2 ^ 34 * bpow radix2 (e - bits)) by (apply Rmult_le_compat_r;
      lra).
    lra. }
  destruct (cut_step (one - part) two (e - bits) HR HT D Tail) as (rest' & tail' & -> & E & H1 & H2 & S1 & S2).
  pose proof (cut_later count bits (e - bits)%Z rest' tail' B ltac:(lia) H1 H2 S1 S2) as R.
  destruct (cut bits (e - bits) rest' tail' count) as [parts left]. destruct R as (T' & Wi & Bl).
  split; [unfold total in *; simpl; lra|]. split.
  - split; [rewrite W; exact P|exact Wi].
  - replace (e - bits * Z.of_nat (S count) - 1)%Z with (e - bits - bits * Z.of_nat count - 1)%Z by lia. exact Bl.
Qed.

(** ** What products of slices leave out *)
Definition size_of (bits : Z) (place : nat) : R :=
  bpow radix2 (- (bits * Z.of_nat place)) * (if Nat.eqb place 0 then 1 else / 2).

(** Slice i of x is multiplied by the first [keep i] slices of y.  Sizes are relative to [a] and [b], slices may be
    larger by the factor [slack]. *)
Theorem slices_left_out x y xs ys left_x left_y nx ny keep bits_x bits_y a b slack whole lx ly :
  x = sumf xs (seq 0 nx) + left_x -> y = sumf ys (seq 0 ny) + left_y ->
  0 <= a -> 0 <= b -> 0 <= slack -> Rabs y <= b -> Rabs (x - left_x) <= whole * a ->
  Rabs left_x <= lx * a -> Rabs left_y <= ly * b ->
  (forall i, In i (seq 0 nx) -> Rabs (xs i) <= slack * a * size_of bits_x i) ->
  (forall j, In j (seq 0 ny) -> Rabs (ys j) <= b * size_of bits_y j) ->
  Rabs (x * y - sumf (fun i => sumf (fun j => if Nat.ltb j (keep i) then xs i * ys j else 0) (seq 0 ny)) (seq 0 nx)) <=
    (lx + whole * ly +
      slack * sumf (fun i => sumf (fun j => if Nat.ltb j (keep i) then 0 else size_of bits_x i * size_of bits_y j)
        (seq 0 ny)) (seq 0 nx)) * (a * b).
Proof.
  intros X Y A B S Yb Xw Lx Ly Xs Ys.
  set (kept := fun i j => if Nat.ltb j (keep i) then xs i * ys j else 0).
  set (gone := fun i j => if Nat.ltb j (keep i) then 0 else xs i * ys j).
  set (tops := fun i j => if Nat.ltb j (keep i) then 0 else size_of bits_x i * size_of bits_y j).
  assert (E : x * y - sumf (fun i => sumf (kept i) (seq 0 ny)) (seq 0 nx) =
    left_x * y + (x - left_x) * left_y + sumf (fun i => sumf (gone i) (seq 0 ny)) (seq 0 nx)).
  { assert (P : (x - left_x) * (y - left_y) = sumf (fun i => sumf (kept i) (seq 0 ny)) (seq 0 nx) +
      sumf (fun i => sumf (gone i) (seq 0 ny)) (seq 0 nx)).
    { replace (x - left_x) with (sumf xs (seq 0 nx)) by lra. replace (y - left_y) with (sumf ys (seq 0 ny)) by lra.
      rewrite <- sumf_plus, <- sumf_scal. apply sumf_ext. intros i _. rewrite <- sumf_plus, <- sumf_scal_l.
      apply sumf_ext. intros j _. unfold kept, gone. destruct (Nat.ltb j (keep i)); ring. }
    lra. }
  change (Rabs (x * y - sumf (fun i => sumf (kept i) (seq 0 ny)) (seq 0 nx)) <=
    (lx + whole * ly + slack * sumf (fun i => sumf (tops i) (seq 0 ny)) (seq 0 nx)) * (a * b)).
  rewrite E. eapply Rle_trans; [apply Rabs_triang|].
  assert (G : Rabs (sumf (fun i => sumf (gone i) (seq 0 ny)) (seq 0 nx)) <=
    slack * sumf (fun i => sumf (tops i) (seq 0 ny)) (seq 0 nx) * (a * b)).
  { eapply Rle_trans; [apply sumf_abs|]. rewrite <- sumf_scal_l, <- sumf_scal. apply sumf_le. intros i I.
    eapply Rle_trans; [apply sumf_abs|]. rewrite <- sumf_scal_l, <- sumf_scal. apply sumf_le. intros j J.
    unfold gone, tops. destruct (Nat.ltb j (keep i)); [rewrite Rabs_R0; lra|]. rewrite Rabs_mult.
    replace (slack * (size_of bits_x i * size_of bits_y j) * (a * b)) with
      (slack * a * size_of bits_x i * (b * size_of bits_y j)) by ring.
    apply Rmult_le_compat; try apply Rabs_pos; auto. }
  assert (H1 : Rabs (left_x * y) <= lx * a * b) by (rewrite Rabs_mult; apply Rmult_le_compat; try apply Rabs_pos;
    assumption).
  assert (H2 : Rabs ((x - left_x) * left_y) <= whole * a * (ly * b))
    by (rewrite Rabs_mult; apply Rmult_le_compat; try apply Rabs_pos; assumption).
  pose proof (Rabs_triang (left_x * y) ((x - left_x) * left_y)).
  lra.
Qed.

(** ** Sums of chunks: loops.add_exactly *)
Section Multiples.
Variable unit : Z.
Hypothesis representable : (lowest f <= unit)%Z.

Lemma rounded_multiple m : exists n, fl (times_unit unit m) = times_unit unit n.
Proof.
  set (x := times_unit unit m). destruct (Z.eq_dec m 0) as [M|M].
  { exists 0%Z. unfold x. rewrite M. unfold times_unit. rewrite Rmult_0_l. apply round_0. apply valid_rnd_N. }
  destruct (Z_le_gt_dec unit (cexp radix2 (exponents f) x)) as [G|G].
  - exists (ZnearestE (scaled_mantissa radix2 (exponents f) x) * 2 ^ (cexp radix2 (exponents f) x - unit))%Z.
    unfold nearest, round_by, round, F2R. cbn [Fnum Fexp]. fold x.
    set (k := ZnearestE _). set (e := cexp radix2 (exponents f) x) in *.
    unfold times_unit. rewrite mult_IZR, (IZR_Zpower radix2), Rmult_assoc, <- bpow_plus by lia.
    do 2 f_equal. lia.
  - exists m. fold x. apply held_is_rounded. unfold x, times_unit.
    apply (generic_format_F2R radix2 (exponents f) m unit). intros _. fold x.
    change (F2R (Float radix2 m unit)) with x. lia.
Qed.

Lemma sum_of_multiples a m : holds (times_unit unit a) -> holds (times_unit unit m) -> exists s r,
  two_sum (times_unit unit a) (times_unit unit m) = (times_unit unit s, times_unit unit r) /\ (s + r = a + m)%Z /\
  holds (times_unit unit s) /\ holds (times_unit unit r) /\ Rabs (IZR r) <= / 2 ^ 53 * Rabs (IZR s).
Proof.
  intros A M. destruct (two_sum_split f V _ _ A M) as (s & e & T & S & E & HS & HE & L & _). fold u in L.
  rewrite u_value in L. rewrite <- times_unit_plus in S, E. destruct (rounded_multiple (a + m)) as (n & N).
  rewrite N in S. exists n, (a + m - n)%Z. rewrite T.
  assert (E' : e = times_unit unit (a + m - n)).
  { rewrite E, S. replace (a + m)%Z with ((a + m - n) + n)%Z at 1 by ring. rewrite times_unit_plus. ring. }
  subst s. rewrite E' in *. split; [reflexivity|]. split; [ring|]. split; [exact HS|]. split; [exact HE|].
  unfold times_unit in L. pose proof (bpow_gt_0 radix2 unit) as P.
  rewrite !Rabs_mult, (Rabs_pos_eq (bpow _ _)) in L by lra.
  apply Rmult_le_reg_r with (bpow radix2 unit); [exact P|]. lra.
Qed.

(** One total and its rests, chunk by chunk. *)
Fixpoint add_exactly (total rests : R) (chunks : list Z) : R * R :=
  match chunks with
  | [] => (total, rests)
  | m :: chunks =>
    let (total, rest) := two_sum total (times_unit unit m) in
    add_exactly total (fl (rests + rest)) chunks
  end.

Lemma add_exactly_from chunks : forall a r k, Forall (fun m => Z.abs m <= 2 ^ 53)%Z chunks ->
  holds (times_unit unit a) -> holds (times_unit unit r) ->
  Rabs (IZR a) <= 2 * INR k * 2 ^ 53 -> Rabs (IZR r) <= 4 * INR k * INR k ->
  (INR k + INR (length chunks)) <= 2 ^ 25 -> 
  let (total, rests) := add_exactly (times_unit unit a) (times_unit unit r) chunks in
  total + rests = times_unit unit (a + r + fold_right Z.add 0 chunks)%Z.
Proof.
  induction chunks as [|m chunks IH]; intros a r k Small A R Sa Sr K; cbn [add_exactly fold_right].
  - rewrite Z.add_0_r, times_unit_plus. reflexivity.
  - inversion Small as [|? ? M Small']; subst. cbn [length] in K. rewrite S_INR in K.
    assert (HM : holds (times_unit unit m)) by (apply holds_multiple; [exact V|exact representable|exact M]).
    destruct (sum_of_multiples a m A HM) as (s & rest & -> & E & HS & HR & L).
    pose proof (pos_INR k) as K0. pose proof (pos_INR (length chunks)) as K1.
    assert (M' : Rabs (IZR m) <= 2 ^ 53) by (rewrite <- abs_IZR; apply IZR_le in M;
      change (IZR (2 ^ 53)) with 9007199254740992 in M; lra).
    assert (Ss : Rabs (IZR s) <= (2 * INR k + 1) * 2 ^ 53 + Rabs (IZR rest)).
    { replace (IZR s) with (IZR a + IZR m + - IZR rest) by (rewrite <- !plus_IZR, <- opp_IZR, <- plus_IZR; f_equal;
        lia).
      eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. pose proof (Rabs_triang (IZR a) (IZR m)). lra. }
    assert (Sr' : Rabs (IZR rest) <= 2 * INR k + 2) by lra.
    assert (Sum : Rabs (IZR (r + rest)) <= 4 * (INR k + 1) * (INR k + 1)).
    { rewrite plus_IZR. eapply Rle_trans; [apply Rabs_triang|]. nra. }
    assert (HRR : fl (times_unit unit r + times_unit unit rest) = times_unit unit (r + rest)).
    { rewrite <- times_unit_plus. apply held_is_rounded. apply holds_multiple; [exact V|exact representable|].
      apply le_IZR. rewrite abs_IZR. change (2 ^ precision f)%Z with (2 ^ 53)%Z. eapply Rle_trans; [exact Sum|].
      assert ((INR k + 1) * (INR k + 1) <= 2 ^ 25 * 2 ^ 25) by (apply Rmult_le_compat; lra).
      change (IZR (2 ^ 53)) with 9007199254740992. lra. }
    rewrite HRR.
    specialize (IH s (r + rest)%Z (S k) Small' HS). rewrite S_INR in IH.
    assert (HRH : holds (times_unit unit (r + rest))) by (rewrite <- HRR; apply held, V).
    specialize (IH HRH ltac:(lra) Sum ltac:(lra)).
    destruct (add_exactly (times_unit unit s) (times_unit unit (r + rest)) chunks) as [t rs]. rewrite IH. f_equal. lia.
Qed.

(** Up to 2^25 chunks, each a multiple of one unit and at most 2^53 of them: nothing is left out. *)
Theorem add_exactly_exact chunks : Forall (fun m => Z.abs m <= 2 ^ 53)%Z chunks -> INR (length chunks) <= 2 ^ 25 ->
  let (total, rests) := add_exactly 0 0 chunks in
  total + rests = times_unit unit (fold_right Z.add 0 chunks)%Z.
Proof.
  intros Small K. pose proof (add_exactly_from chunks 0 0 0 Small) as H.
  assert (Z0 : times_unit unit 0 = 0) by (unfold times_unit; ring). rewrite Z0 in H.
  simpl (INR 0) in H. rewrite Rabs_R0 in H.
  specialize (H (holds_0 f) (holds_0 f) ltac:(lra) ltac:(lra) ltac:(lra)).
  destruct (add_exactly 0 0 chunks) as [t r]. exact H.
Qed.
End Multiples.

(** ** Levels *)
Definition in_level (t i : nat) : bool := (Nat.leb i t && Nat.ltb (t - i) 6)%bool.

Lemma level_shares t : sumf (fun i => if in_level t i then (if Nat.eqb i 0 then 1 else / 2) *
  (if Nat.eqb (t - i) 0 then 1 else / 2) else 0) (seq 0 6) <= if Nat.eqb t 0 then 1 else 2.
Proof.
  do 11 (destruct t as [|t]; [cbn; lra|]).
  replace (sumf _ _) with 0; [cbn; lra|]. symmetry.
  transitivity (sumf (fun _ : nat => 0) (seq 0 6)); [|rewrite sumf_const; ring].
  apply sumf_ext. intros i I. apply in_seq in I. unfold in_level.
  destruct (Nat.leb_spec i (S (S (S (S (S (S (S (S (S (S (S t))))))))))));
    destruct (Nat.ltb_spec (S (S (S (S (S (S (S (S (S (S (S t)))))))))) - i) 6); try reflexivity. lia.
Qed.

(** Pairs of at most six slices each whose places add up to t: the first pair, or at most twice as much as a product of
  a
    first slice and one of that place. *)
Theorem level_size bits a b xs ys t : (0 <= a)%R -> (0 <= b)%R ->
  (forall i, In i (seq 0 6) -> Rabs (xs i) <= a * size_of bits i) ->
  (forall j, In j (seq 0 6) -> Rabs (ys j) <= b * size_of bits j) ->
  Rabs (sumf (fun i => if in_level t i then xs i * ys (t - i)%nat else 0) (seq 0 6)) <=
    (if Nat.eqb t 0 then 1 else 2) * (a * b) * bpow radix2 (- (bits * Z.of_nat t)).
Proof.
  intros A B X Y. eapply Rle_trans; [apply sumf_abs|].
  apply Rle_trans with (sumf (fun i => (a * b * bpow radix2 (- (bits * Z.of_nat t))) * (if in_level t i then
    (if Nat.eqb i 0 then 1 else / 2) * (if Nat.eqb (t - i) 0 then 1 else / 2) else 0)) (seq 0 6)).
  - apply sumf_le. intros i I. destruct (in_level t i) eqn:E; [|rewrite Rabs_R0; lra].
    unfold in_level in E. apply andb_prop in E. destruct E as (E1 & E2). apply Nat.leb_le in E1. apply Nat.ltb_lt in E2.
    rewrite Rabs_mult. specialize (X i I). specialize (Y (t - i)%nat ltac:(apply in_seq; lia)).
    replace (- (bits * Z.of_nat t))%Z with (- (bits * Z.of_nat i) + - (bits * Z.of_nat (t - i)))%Z
      by (rewrite Nat2Z.inj_sub by exact E1; ring).
    rewrite bpow_plus. unfold size_of in X, Y.
    set (p := bpow radix2 (- (bits * Z.of_nat i))) in *. set (q := bpow radix2 (- (bits * Z.of_nat (t - i)))) in *.
    set (h := if Nat.eqb i 0 then 1 else / 2) in *. set (k := if Nat.eqb (t - i) 0 then 1 else / 2) in *.
    replace (a * b * (p * q) * (h * k)) with (a * (p * h) * (b * (q * k))) by ring.
    apply Rmult_le_compat; try apply Rabs_pos; assumption.
  - rewrite sumf_scal_l. pose proof (level_shares t) as S.
    assert (P : 0 <= a * b * bpow radix2 (- (bits * Z.of_nat t))).
    { pose proof (bpow_ge_0 radix2 (- (bits * Z.of_nat t))).
      apply Rmult_le_pos; [apply Rmult_le_pos; assumption|assumption]. }
    apply Rmult_le_compat_l with (r := a * b * bpow radix2 (- (bits * Z.of_nat t))) in S; [lra|exact P].
Qed.
