(** Sums and products in two and three words, operation by operation as refattn/oracle/extended/words.py has them: what is exact,
    and what underflow leaves out. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core Plus_error Mult_error Relative Sterbenz Pff.Pff2Flocq.
From refattn Require Import LogMetric Formats.
Open Scope R_scope.

Section ErrorFree.
Variable f : format.
Hypothesis V : valid_format f.
Let u := unit_roundoff f.
(** What a product loses at most where it underflows. *)
Let lost := smallest_subnormal f / 2.
Local Notation fl := (nearest f).

Definition two_sum (a b : R) : R * R :=
  let total := fl (a + b) in
  let back := fl (total - a) in
  (total, fl (fl (a - fl (total - back)) + fl (b - back))).

Definition ordered_sum (a b : R) : R * R :=
  let total := fl (a + b) in
  (total, fl (b - fl (total - a))).

Definition fused (a b c : R) : R := fl (a * b + c).

Definition two_product (a b : R) : R * R :=
  let product := fl (a * b) in
  (product, fused a b (- product)).

Definition three_sum (a b c : R) : R * R * R :=
  let (a, rest) := two_sum a b in
  let (a, second) := two_sum a c in
  let (second, third) := two_sum rest second in
  let (a, second) := ordered_sum a second in
  let (second, third) := two_sum second third in
  (a, second, third).

Lemma lowest_nonpos : (lowest f <= 0)%Z.
Proof. destruct V. unfold lowest. lia. Qed.

Lemma even_symmetric x : negb (Z.even x) = negb (negb (Z.even (- (x + 1)))).
Proof. rewrite Z.even_opp, Z.even_add. now destruct (Z.even x). Qed.

Lemma held x : holds f (fl x).
Proof. apply holds_round; [exact V|apply valid_rnd_N]. Qed.

Lemma held_is_rounded x : holds f x -> fl x = x.
Proof. apply round_by_held. apply valid_rnd_N. Qed.

Lemma sum_relative a b : holds f a -> holds f b -> Rabs (fl (a + b) - (a + b)) <= u * Rabs (a + b).
Proof.
  intros A B. destruct (FLT_plus_error_N_ex radix2 (lowest f) (precision f) (prec_gt_0_ := precision_positive f V)
    (fun t => negb (Z.even t)) a b A B) as (d & D & E).
  pose proof (unit_roundoff_bounds f V) as U. fold u in U. rewrite half_unit in D by exact V. fold u in D.
  unfold nearest, round_by, exponents. rewrite E. replace ((a + b) * (1 + d) - (a + b)) with (d * (a + b)) by ring.
  rewrite Rabs_mult. apply Rmult_le_compat_r; [apply Rabs_pos|]. eapply Rle_trans; [exact D|].
  apply Rmult_le_reg_r with (1 + u); [lra|]. unfold Rdiv. rewrite Rmult_assoc, Rinv_l by lra. nra.
Qed.

Lemma sum_relative_rounded a b : holds f a -> holds f b -> Rabs (fl (a + b) - (a + b)) <= u * Rabs (fl (a + b)).
Proof.
  intros A B. destruct (FLT_plus_error_N_round_ex radix2 (lowest f) (precision f) (prec_gt_0_ := precision_positive f V)
    (fun t => negb (Z.even t)) a b A B) as (d & D & E).
  rewrite half_unit in D by exact V. fold u in D.
  unfold nearest, round_by, exponents. rewrite E at 2.
  set (s := round _ _ _ _). replace (s - s * (1 + d)) with (- (d * s)) by ring.
  rewrite Rabs_Ropp, Rabs_mult. apply Rmult_le_compat_r; [apply Rabs_pos|]. exact D.
Qed.

(** Anything that is rounded. *)
Lemma rounded_near x : Rabs (fl x - x) <= u * Rabs x + lost.
Proof.
  pose proof (smallest_subnormal_positive f) as S. pose proof (unit_roundoff_bounds f V) as U. fold u in U.
  destruct (Rlt_or_le (Rabs x) (smallest_normal f)) as [L|L].
  - pose proof (nearest_absolute f V x L). pose proof (Rabs_pos x). unfold lost. nra.
  - destruct (nearest_relative f V x L) as (d & D & E). fold u in D. rewrite E.
    replace (x * (1 + d) - x) with (d * x) by ring. rewrite Rabs_mult.
    assert (u / (1 + u) <= u).
    { apply Rmult_le_reg_r with (1 + u); [lra|]. unfold Rdiv. rewrite Rmult_assoc, Rinv_l by lra. nra. }
    pose proof (Rabs_pos x). unfold lost. nra.
Qed.

Lemma rounded_below x y : holds f y -> Rabs x <= y -> Rabs (fl x) <= y.
Proof.
  intros Y H. apply Rabs_le_inv in H. apply Rabs_le. rewrite <- (held_is_rounded y Y), <- nearest_opp.
  split; apply round_by_mono; try apply valid_rnd_N; try assumption; lra.
Qed.

(** Knuth's sum is exact, for all numbers of the format. *)
Theorem two_sum_exact a b : holds f a -> holds f b ->
  fst (two_sum a b) = fl (a + b) /\ fst (two_sum a b) + snd (two_sum a b) = a + b.
Proof.
  intros A B. split; [reflexivity|]. destruct V.
  exact (TwoSum_correct (lowest f) (precision f) (fun t => negb (Z.even t)) ltac:(lia) lowest_nonpos even_symmetric
    a b A B).
Qed.

Lemma two_sum_split a b : holds f a -> holds f b ->
  exists s e, two_sum a b = (s, e) /\ s = fl (a + b) /\ e = a + b - s /\ holds f s /\ holds f e /\
    Rabs e <= u * Rabs s /\ Rabs e <= u * Rabs (a + b).
Proof.
  intros A B. destruct (two_sum_exact a b A B) as (F & E).
  exists (fst (two_sum a b)), (snd (two_sum a b)). rewrite <- surjective_pairing.
  repeat split; try assumption; try lra; try apply held.
  - replace (snd (two_sum a b)) with (- (fst (two_sum a b) - (a + b))) by lra. rewrite Rabs_Ropp, F.
    now apply sum_relative_rounded.
  - replace (snd (two_sum a b)) with (- (fst (two_sum a b) - (a + b))) by lra. rewrite Rabs_Ropp, F.
    now apply sum_relative.
Qed.

(** Dekker's is if the first number is 0 or not the smaller one, or if the sum is below the normal range. *)
Theorem ordered_sum_exact a b : holds f a -> holds f b ->
  Rabs b <= Rabs a \/ a = 0 \/ Rabs (a + b) < smallest_normal f ->
  fst (ordered_sum a b) = fl (a + b) /\ fst (ordered_sum a b) + snd (ordered_sum a b) = a + b.
Proof.
  intros A B H. split; [reflexivity|]. unfold ordered_sum. cbn [fst snd].
  assert (T : fl (a + b) = a + b -> fl (a + b) + fl (b - fl (fl (a + b) - a)) = a + b).
  { intros E. rewrite E. replace (a + b - a) with b by ring.
    rewrite (held_is_rounded b B), Rminus_diag_eq by reflexivity.
    rewrite (held_is_rounded 0) by apply holds_0. ring. }
  destruct H as [H|[H|H]].
  - destruct V. pose proof (Fast2Sum_correct (lowest f) (precision f) (fun t => negb (Z.even t)) ltac:(lia)
      lowest_nonpos even_symmetric a b A B H) as E.
    change (fl (a + b) + fl (b + fl (a - fl (a + b))) = a + b) in E.
    replace (fl (fl (a + b) - a)) with (- fl (a - fl (a + b))) by (rewrite <- nearest_opp; f_equal; ring).
    replace (b - - fl (a - fl (a + b))) with (b + fl (a - fl (a + b))) by ring. exact E.
  - apply T. subst a. rewrite Rplus_0_l. now apply held_is_rounded.
  - apply T. apply small_sum_exact; try assumption. apply valid_rnd_N.
Qed.

Lemma ordered_sum_split a b : holds f a -> holds f b ->
  Rabs b <= Rabs a \/ a = 0 \/ Rabs (a + b) < smallest_normal f ->
  exists s e, ordered_sum a b = (s, e) /\ s = fl (a + b) /\ e = a + b - s /\ holds f s /\ holds f e /\
    Rabs e <= u * Rabs s /\ Rabs e <= u * Rabs (a + b).
Proof.
  intros A B H. destruct (ordered_sum_exact a b A B H) as (F & E).
  exists (fst (ordered_sum a b)), (snd (ordered_sum a b)). rewrite <- surjective_pairing.
  repeat split; try assumption; try lra; try apply held.
  - replace (snd (ordered_sum a b)) with (- (fst (ordered_sum a b) - (a + b))) by lra. rewrite Rabs_Ropp, F.
    now apply sum_relative_rounded.
  - replace (snd (ordered_sum a b)) with (- (fst (ordered_sum a b) - (a + b))) by lra. rewrite Rabs_Ropp, F.
    now apply sum_relative.
Qed.

(** What a product in two words leaves out, whatever underflows: half the smallest subnormal number. *)
Theorem two_product_lost a b : holds f a -> holds f b ->
  fst (two_product a b) = fl (a * b) /\
  Rabs (fst (two_product a b) + snd (two_product a b) - a * b) <= smallest_subnormal f / 2.
Proof.
  intros A B. split; [reflexivity|]. unfold two_product, fused. cbn [fst snd].
  change (a * b + - fl (a * b)) with (a * b - fl (a * b)).
  replace (fl (a * b) + fl (a * b - fl (a * b)) - a * b)
    with (fl (a * b - fl (a * b)) - (a * b - fl (a * b))) by ring.
  pose proof (smallest_subnormal_positive f) as S. pose proof (unit_roundoff_bounds f V) as U. fold u in U.
  pose proof (precision_positive f V) as P.
  destruct (Rlt_or_le (Rabs (a * b)) (bpow radix2 (lowest f + 2 * precision f - 1))) as [L|L].
  - apply nearest_absolute; [exact V|]. rewrite <- Rabs_Ropp.
    replace (- (a * b - fl (a * b))) with (fl (a * b) - a * b) by ring.
    destruct (Rlt_or_le (Rabs (a * b)) (smallest_normal f)) as [M|M].
    + eapply Rle_lt_trans; [now apply nearest_absolute|]. pose proof (smallest_subnormal_normal f V). lra.
    + destruct (nearest_relative f V _ M) as (d & D & E). fold u in D. rewrite E.
      replace (a * b * (1 + d) - a * b) with (d * (a * b)) by ring. rewrite Rabs_mult.
      assert (u / (1 + u) <= u).
      { apply Rmult_le_reg_r with (1 + u); [lra|]. unfold Rdiv. rewrite Rmult_assoc, Rinv_l by lra. nra. }
      apply Rle_lt_trans with (u * Rabs (a * b)); [apply Rmult_le_compat_r; [apply Rabs_pos|lra]|].
      apply Rlt_le_trans with (u * bpow radix2 (lowest f + 2 * precision f - 1)); [apply Rmult_lt_compat_l; lra|].
      unfold u, unit_roundoff. rewrite <- bpow_plus, <- smallest_normal_bpow by exact V. apply bpow_le. lia.
  - assert (E : fl (a * b - fl (a * b)) = a * b - fl (a * b)); [|rewrite E, Rminus_diag_eq, Rabs_R0 by reflexivity;
      lra].
    apply held_is_rounded. replace (a * b - fl (a * b)) with (- (fl (a * b) - a * b)) by ring. apply holds_opp.
    apply mult_error_FLT; try assumption; [apply valid_rnd_N|]. intros _. exact L.
Qed.

Lemma difference_held a c : holds f a -> holds f c -> Rabs (a + c) < Rabs a / 2 -> holds f (a + c).
Proof.
  intros A C H. pose proof (exponents_valid f V) as E.
  assert (M : Monotone_exp (exponents f)) by apply FLT_exp_monotone.
  destruct (Rle_or_lt 0 a) as [P|N].
  - rewrite (Rabs_pos_eq a) in H by exact P. apply Rabs_lt_inv in H. apply holds_opp in C.
    replace (a + c) with (a - - c) by ring. apply (sterbenz radix2 (exponents f)); try assumption. lra.
  - rewrite (Rabs_left a) in H by exact N. apply Rabs_lt_inv in H. apply holds_opp in A.
    replace (a + c) with (c - - a) by ring. apply (sterbenz radix2 (exponents f)); try assumption. lra.
Qed.

(** In [three_sum], what the first two sums err by together is not larger than the second sum, unless that is 0. *)
Lemma rests_smaller a b c : holds f a -> holds f b -> holds f c -> let s := fl (a + b) in let t := fl (s + c) in
  t <> 0 -> Rabs (a + b - s + (s + c - t)) <= Rabs t /\
    (s + c - t = 0 \/ Rabs (a + b - s + (s + c - t)) <= (3 * u + 2 * (u * u)) * Rabs t).
Proof.
  intros A B C s t T. pose proof (unit_roundoff_bounds f V) as U. fold u in U.
  assert (S : holds f s) by apply held.
  pose proof (sum_relative_rounded a b A B) as E1. fold s in E1.
  pose proof (sum_relative_rounded s c S C) as E2. fold t in E2.
  rewrite Rabs_minus_sym in E1, E2.
  destruct (Rlt_or_le (Rabs (s + c)) (Rabs s / 2)) as [L|L].
  - assert (X : t = s + c) by (apply held_is_rounded; now apply difference_held).
    replace (a + b - s + (s + c - t)) with (a + b - s) by lra. split; [|left; lra].
    pose proof (exponents_valid f V) as EV. pose proof (precision_positive f V) as P.
    assert (M : Monotone_exp (exponents f)) by apply FLT_exp_monotone.
    assert (N : Exp_not_FTZ (exponents f)) by (intros e; unfold Prec_gt_0 in P; unfold exponents, FLT_exp; lia).
    pose proof (error_le_half_ulp_round radix2 (exponents f) (fun t => negb (Z.even t)) (a + b)) as H.
    change (round radix2 (exponents f) (Znearest (fun t => negb (Z.even t))) (a + b)) with s in H.
    rewrite Rabs_minus_sym in H. eapply Rle_trans; [exact H|].
    pose proof (round_plus_ge_ulp radix2 (exponents f) ZnearestE s c S C T) as G.
    change (round radix2 (exponents f) ZnearestE (s + c)) with t in G. eapply Rle_trans; [|exact G].
    destruct (Req_dec s 0) as [S0|S0].
    { rewrite S0. replace (0 / IZR radix2) with 0 by (simpl; lra). pose proof (ulp_ge_0 radix2 (exponents f) 0). lra. }
    rewrite !ulp_neq_0 by (simpl; lra). unfold cexp.
    replace (mag radix2 (s / IZR radix2) : Z) with (mag radix2 s - 1)%Z.
    2:{ replace (s / IZR radix2) with (s * bpow radix2 (-1)) by (simpl; lra). rewrite mag_mult_bpow by exact S0. lia. }
    rewrite bpow_half. apply bpow_le. unfold exponents, FLT_exp. lia.
  - assert (W : Rabs (s + c) <= (1 + u) * Rabs t).
    { replace (s + c) with ((s + c - t) + t) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra. }
    assert (Q : Rabs (a + b - s + (s + c - t)) <= (3 * u + 2 * (u * u)) * Rabs t).
    { assert (u * Rabs s <= u * (2 * ((1 + u) * Rabs t))) by (apply Rmult_le_compat_l; lra).
      eapply Rle_trans; [apply Rabs_triang|]. lra. }
    split; [|now right]. eapply Rle_trans; [exact Q|]. rewrite <- (Rmult_1_l (Rabs t)) at 2.
    apply Rmult_le_compat_r; [apply Rabs_pos|nra].
Qed.

(** Three words of any sizes as three words, nothing left out. *)
Theorem three_sum_exact a b c : holds f a -> holds f b -> holds f c ->
  let '(x, y, z) := three_sum a b c in
  x + y + z = a + b + c /\ holds f x /\ holds f y /\ holds f z /\ Rabs z <= u * Rabs y.
Proof.
  intros A B C. unfold three_sum.
  destruct (two_sum_split a b A B) as (s & e1 & -> & S & E1 & HS & HE1 & _).
  destruct (two_sum_split s c HS C) as (t & e2 & -> & T & E2 & HT & HE2 & _).
  destruct (two_sum_split e1 e2 HE1 HE2) as (r & r3 & -> & R & R3 & HR & HR3 & _).
  assert (O : Rabs r <= Rabs t \/ t = 0 \/ Rabs (t + r) < smallest_normal f).
  { destruct (Req_dec t 0) as [Z|Z]; [now right; left|left].
    rewrite R. apply rounded_below; [apply generic_format_abs; exact HT|].
    pose proof (rests_smaller a b c A B C) as Q. cbv zeta in Q. rewrite <- S, <- T, <- E1, <- E2 in Q. now apply Q. }
  destruct (ordered_sum_split t r HT HR O) as (x & y & -> & _ & Y & HX & HY & _).
  destruct (two_sum_split y r3 HY HR3) as (p & z & -> & P & Z & HP & HZ & L & _).
  repeat split; try assumption. lra.
Qed.
End ErrorFree.
