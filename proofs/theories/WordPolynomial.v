(** exp(r) - 1 in two words, for a small r in two words. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats ErrorFree WordProducts ExpSeries WordReduction.
Open Scope R_scope.

Local Notation f := fp64.
Local Notation fl := (nearest fp64).
Local Notation two_sum := (two_sum fp64).
Local Notation fused := (fused fp64).
Local Notation multiply := (multiply fp64).
Local Notation multiply_add := (multiply_add fp64).
Local Notation two_words := (two_words fp64).
Local Notation holds := (holds fp64).


Section Exponential.
Variable c : constants.
Hypothesis C : constants_ok c.
Local Notation V := fp64_valid.

(** exp(r) - 1. *)
Definition polynomial (r r_low : R) : R * R :=
  let tail := fused (fused (fused (c8 c) r (c7 c)) r (c6 c)) r (c5 c) in
  let (p, p_low) := two_sum (fourth c) (fused tail r (fourth_low c)) in
  let (p, p_low) := multiply_add p p_low r r_low (sixth c) (sixth_low c) in
  let (p, p_low) := multiply_add p p_low r r_low (/ 2) 0 in
  let (p, p_low) := multiply_add p p_low r r_low 1 0 in
  multiply p p_low r r_low.

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
  pose proof (c5_ok c C) as K5. pose proof (c6_ok c C) as K6. pose proof (c7_ok c C) as K7. pose proof (c8_ok c C) as
    K8.
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
End Exponential.
