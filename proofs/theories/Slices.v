(** Sums of products of slices that no rounding changes: what rung 2 of the oracle adds up in float64.

    A slice holds integers times a power of two, so that its products with another slice do too.  While the products'
    magnitudes add up to at most 2^precision such units, every partial sum is a number of the format: whatever the
    order, fused or not, nothing is rounded. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import Formats.
Open Scope R_scope.

(** A sum in some order: products of two integers, [stored] (rounded before they are added) or fused into a sum. *)
Inductive sum_of_products :=
| Product (stored : bool) (a b : Z)
| Add (s t : sum_of_products).

Fixpoint whole (s : sum_of_products) : Z :=
  match s with Product _ a b => (a * b)%Z | Add s t => (whole s + whole t)%Z end.
Fixpoint size (s : sum_of_products) : Z :=
  match s with Product _ a b => Z.abs (a * b) | Add s t => (size s + size t)%Z end.

Lemma whole_size s : (Z.abs (whole s) <= size s)%Z.
Proof. induction s as [stored a b|s IHs t IHt]; simpl; lia. Qed.

Lemma size_nonneg s : (0 <= size s)%Z.
Proof. pose proof (whole_size s). lia. Qed.

Section Format.
Variable f : format.
Hypothesis V : valid_format f.
Variable rule : R -> Z.
Context {VR : Valid_rnd rule}.
(** Exponent of the unit that all products are multiples of. *)
Variable unit : Z.
Hypothesis representable : (lowest f <= unit)%Z.

Definition times_unit (m : Z) : R := IZR m * bpow radix2 unit.

Fixpoint added (s : sum_of_products) : R :=
  match s with
  | Product stored a b => if stored then round_by f rule (times_unit (a * b)) else times_unit (a * b)
  | Add s t => round_by f rule (added s + added t)
  end.

Lemma holds_multiple m : (Z.abs m <= 2 ^ precision f)%Z -> holds f (times_unit m).
Proof.
  intros H. pose proof (precision_positive f V) as P. unfold Prec_gt_0 in P.
  destruct (Z.eq_dec (Z.abs m) (2 ^ precision f)) as [E|N].
  - assert (B : holds f (bpow radix2 (precision f + unit))) by (apply holds_power; [exact V|lia]).
    assert (I : IZR (2 ^ precision f) = bpow radix2 (precision f)) by (rewrite <- IZR_Zpower by lia; reflexivity).
    rewrite bpow_plus, <- I in B. unfold times_unit.
    destruct (Z.abs_spec m) as [(_ & A)|(_ & A)].
    + rewrite <- A, E. exact B.
    + replace m with (- 2 ^ precision f)%Z by lia. rewrite opp_IZR, Ropp_mult_distr_l_reverse. now apply holds_opp.
  - apply generic_format_FLT. exists (Float radix2 m unit); [reflexivity| |exact representable].
    change (Z.abs m < 2 ^ precision f)%Z. lia.
Qed.

(** The sum is exact in every order. *)
Theorem products_of_slices_exact s : (size s <= 2 ^ precision f)%Z -> added s = times_unit (whole s).
Proof.
  induction s as [stored a b|s IHs t IHt]; intros H.
  - simpl in *. destruct stored; [|reflexivity]. apply round_by_held; [exact VR|]. now apply holds_multiple.
  - pose proof (whole_size (Add s t)) as W. simpl in *.
    pose proof (size_nonneg s). pose proof (size_nonneg t).
    rewrite IHs, IHt by lia. unfold times_unit. rewrite <- Rmult_plus_distr_r, <- plus_IZR.
    apply round_by_held; [exact VR|]. apply holds_multiple. lia.
Qed.
End Format.

(** ** How many bits a slice may have *)

(** Sums of [terms] products of slices of [bits]: of the two first slices, and of all pairs of slices on one later
    level, of which two have a first slice and at most four have none.  A first slice is at most 2^bits, others half
    that. *)
Theorem bits_for_enough (terms log bits p : Z) :
  (0 <= terms <= 2 ^ log)%Z -> (0 <= log)%Z -> (1 <= bits)%Z -> (2 * bits + 1 + log <= p)%Z ->
  (terms * (2 ^ bits * 2 ^ bits) <= 2 ^ p /\
   terms * (2 * (2 ^ bits * 2 ^ (bits - 1)) + 4 * (2 ^ (bits - 1) * 2 ^ (bits - 1))) <= 2 ^ p)%Z.
Proof.
  intros T L B H.
  assert (E : (2 ^ bits = 2 * 2 ^ (bits - 1))%Z) by (rewrite <- Z.pow_succ_r by lia; f_equal; lia).
  assert (P : (2 ^ log * (2 ^ bits * 2 ^ bits) * 2 <= 2 ^ p)%Z).
  { rewrite <- !Z.pow_add_r by lia. rewrite Z.mul_comm, <- Z.pow_succ_r by lia. apply Z.pow_le_mono_r; lia. }
  assert (0 < 2 ^ (bits - 1))%Z by (apply Z.pow_pos_nonneg; lia).
  assert (terms * (2 ^ bits * 2 ^ bits) <= 2 ^ log * (2 ^ bits * 2 ^ bits))%Z
    by (apply Z.mul_le_mono_nonneg_r; nia).
  split; [nia|]. rewrite E in *. nia.
Qed.

(** A chunk of keys: slices of the weights and of the values have different bits. *)
Theorem chunk_enough (keys log weight_bits value_bits p : Z) :
  (0 <= keys <= 2 ^ log)%Z -> (0 <= log)%Z -> (0 <= weight_bits)%Z -> (0 <= value_bits)%Z ->
  (weight_bits + value_bits + log <= p)%Z -> (keys * (2 ^ weight_bits * 2 ^ value_bits) <= 2 ^ p)%Z.
Proof.
  intros K L W B H. apply Z.le_trans with (2 ^ log * (2 ^ weight_bits * 2 ^ value_bits))%Z.
  - apply Z.mul_le_mono_nonneg_r; [|lia]. apply Z.mul_nonneg_nonneg; apply Z.pow_nonneg; lia.
  - rewrite <- !Z.pow_add_r by lia. apply Z.pow_le_mono_r; lia.
Qed.

(** ** Splitting by adding and subtracting *)
Section Split.
Variable f : format.
Hypothesis V : valid_format f.
Variable unit : Z.
Hypothesis representable : (lowest f <= unit)%Z.

(** 3/2 times 2^(precision - 1 + unit). *)
Definition rounder : R := times_unit unit (3 * 2 ^ (precision f - 2)).
Definition leading (x : R) : R := nearest f (nearest f (x + rounder) - rounder).

Lemma rounder_bpow : rounder = 3 * bpow radix2 (precision f - 2 + unit).
Proof.
  destruct V. unfold rounder, times_unit. rewrite mult_IZR, bpow_plus.
  rewrite (IZR_Zpower radix2) by lia. ring.
Qed.

Lemma times_unit_plus m n : times_unit unit (m + n) = times_unit unit m + times_unit unit n.
Proof. unfold times_unit. rewrite plus_IZR. ring. Qed.

Lemma scaled x : x = x * bpow radix2 (- unit) * bpow radix2 unit.
Proof. rewrite Rmult_assoc, <- bpow_plus. replace (- unit + unit)%Z with 0%Z by lia. simpl. ring. Qed.

Lemma scaled_abs x : Rabs x = Rabs (x * bpow radix2 (- unit)) * bpow radix2 unit.
Proof. rewrite (scaled x) at 1. rewrite Rabs_mult, (Rabs_pos_eq (bpow _ unit)) by apply bpow_ge_0. reflexivity. Qed.

(** The rounded sum is the rounder and a nearest multiple of the unit. *)
Lemma sum_rounded x : Rabs x < bpow radix2 (precision f - 2 + unit) ->
  exists m, nearest f (x + rounder) = times_unit unit m + rounder /\
    Rabs (x * bpow radix2 (- unit) - IZR m) <= / 2 /\
    Rabs (x * bpow radix2 (- unit) - IZR m) <= Rabs (x * bpow radix2 (- unit)).
Proof.
  intros H. destruct V. apply Rabs_lt_inv in H. set (c := (3 * 2 ^ (precision f - 2))%Z).
  assert (C : cexp radix2 (exponents f) (x + rounder) = unit).
  { unfold cexp, exponents, FLT_exp. rewrite (mag_unique_pos radix2 _ (precision f + unit)); [lia|].
    rewrite rounder_bpow. replace (precision f + unit - 1)%Z with (1 + (precision f - 2 + unit))%Z by lia.
    replace (precision f + unit)%Z with (2 + (precision f - 2 + unit))%Z by lia.
    rewrite (bpow_plus radix2 1), (bpow_plus radix2 2).
    change (bpow radix2 1) with 2. change (bpow radix2 2) with 4. lra. }
  set (y := x * bpow radix2 (- unit)).
  assert (S : scaled_mantissa radix2 (exponents f) (x + rounder) = y + IZR c).
  { unfold scaled_mantissa. rewrite C. unfold rounder, times_unit. fold c. rewrite Rmult_plus_distr_r, Rmult_assoc,
      <- bpow_plus, Zplus_opp_r. simpl (bpow radix2 0). fold y. ring. }
  set (k := ZnearestE (y + IZR c)). exists (k - c)%Z. repeat split.
  - unfold nearest, round_by, round, F2R. rewrite S, C. cbn [Fnum Fexp]. fold k. change (IZR k * bpow radix2 unit) with
      (times_unit unit k). unfold rounder. fold c. rewrite <- times_unit_plus. f_equal. lia.
  - rewrite minus_IZR. replace (y - (IZR k - IZR c)) with (y + IZR c - IZR k) by ring. apply Znearest_half.
  - destruct (Rlt_or_le (Rabs y) (/ 2)) as [L|L].
    + assert (E : k = c). { apply Znearest_imp. replace (y + IZR c - IZR c) with y by ring. exact L. }
      rewrite E, Z.sub_diag, Rminus_0_r. lra.
    + apply Rle_trans with (2 := L). rewrite minus_IZR. replace (y - (IZR k - IZR c)) with (y + IZR c - IZR k) by ring.
      apply Znearest_half.
Qed.

(** Adding the rounder and subtracting it gives a multiple of the unit, half a unit off at most, and what that leaves
    is a number of the format: the difference is not rounded either. *)
Theorem leading_exact x : holds f x -> Rabs x < bpow radix2 (precision f - 2 + unit) ->
  exists m, leading x = times_unit unit m /\ Rabs (x - leading x) <= bpow radix2 unit / 2 /\
    nearest f (x - leading x) = x - leading x.
Proof.
  intros F H. destruct (sum_rounded x H) as (m & E & A & B). exists m.
  pose proof (bpow_gt_0 radix2 unit) as U.
  assert (S : x - times_unit unit m = (x * bpow radix2 (- unit) - IZR m) * bpow radix2 unit).
  { unfold times_unit. rewrite Rmult_minus_distr_r, <- scaled. reflexivity. }
  assert (D : Rabs (x - times_unit unit m) = Rabs (x * bpow radix2 (- unit) - IZR m) * bpow radix2 unit).
  { rewrite S, Rabs_mult, (Rabs_pos_eq (bpow _ unit)) by lra. reflexivity. }
  assert (L : leading x = times_unit unit m).
  { unfold leading. rewrite E. replace (times_unit unit m + rounder - rounder) with (times_unit unit m) by ring.
    apply round_by_held; [apply valid_rnd_N|]. apply holds_multiple; [exact V|exact representable|].
    apply le_IZR. destruct V. rewrite abs_IZR, (IZR_Zpower radix2) by lia.
    apply Rmult_le_reg_r with (1 := U). rewrite <- bpow_plus.
    replace (precision f + unit)%Z with (2 + (precision f - 2 + unit))%Z by lia. rewrite (bpow_plus radix2 2).
    change (bpow radix2 2) with 4.
    assert (T : Rabs (IZR m) <= 2 * Rabs (x * bpow radix2 (- unit))).
    { replace (IZR m) with (x * bpow radix2 (- unit) - (x * bpow radix2 (- unit) - IZR m)) by ring.
      eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. lra. }
    apply Rmult_le_compat_r with (r := bpow radix2 unit) in T; [|lra].
    rewrite Rmult_assoc, <- scaled_abs in T. pose proof (Rabs_pos x). lra. }
  rewrite L. split; [reflexivity|]. split.
  - rewrite D. apply Rmult_le_compat_r with (r := bpow radix2 unit) in A; lra.
  - apply round_by_held; [apply valid_rnd_N|].
    assert (N : Rabs (x - times_unit unit m) <= Rabs x).
    { rewrite D, (scaled_abs x). apply Rmult_le_compat_r; [lra|exact B]. }
    pose proof (precision_positive f V) as P. apply FLT_format_generic in F; [|exact P].
    destruct F as [g Eg Mg Lg]. destruct (Z_le_gt_dec unit (Fexp g)) as [I|I].
    + (* x is a multiple of the unit itself *)
      assert (Z0 : x - times_unit unit m = 0); [|rewrite Z0; now apply holds_0].
      assert (X : x * bpow radix2 (- unit) = IZR (Fnum g * 2 ^ (Fexp g - unit))).
      { rewrite Eg. unfold F2R. rewrite Rmult_assoc, <- bpow_plus, mult_IZR.
        rewrite (IZR_Zpower radix2) by lia. reflexivity. }
      rewrite S. rewrite X in A |- *. rewrite <- minus_IZR in A |- *. rewrite <- abs_IZR in A.
      assert (Z.abs (Fnum g * 2 ^ (Fexp g - unit) - m) < 1)%Z by (apply lt_IZR; lra).
      replace (Fnum g * 2 ^ (Fexp g - unit) - m)%Z with 0%Z by lia. simpl. ring.
    + apply generic_format_FLT.
      exists (Float radix2 (Fnum g - m * 2 ^ (unit - Fexp g)) (Fexp g)).
      * rewrite Eg. unfold F2R, times_unit. cbn [Fnum Fexp]. rewrite minus_IZR, mult_IZR.
        rewrite (IZR_Zpower radix2) by lia. rewrite Rmult_minus_distr_r, Rmult_assoc, <- bpow_plus.
        do 3 f_equal. lia.
      * cbn [Fnum]. apply lt_IZR. rewrite abs_IZR. apply Rmult_lt_reg_r with (bpow radix2 (Fexp g)); [apply bpow_gt_0|].
        apply Rle_lt_trans with (Rabs x).
        -- rewrite <- (Rabs_pos_eq (bpow radix2 (Fexp g))) at 1 by apply bpow_ge_0. rewrite <- Rabs_mult.
           replace (IZR (Fnum g - m * 2 ^ (unit - Fexp g)) * bpow radix2 (Fexp g)) with (x - times_unit unit m);
             [exact N|].
           rewrite Eg. unfold F2R, times_unit. rewrite minus_IZR, mult_IZR.
           rewrite (IZR_Zpower radix2) by lia. rewrite Rmult_minus_distr_r, Rmult_assoc, <- bpow_plus.
           do 3 f_equal. lia.
        -- rewrite Eg. unfold F2R. rewrite Rabs_mult, (Rabs_pos_eq (bpow _ (Fexp g))) by apply bpow_ge_0.
           rewrite <- abs_IZR. apply Rmult_lt_compat_r; [apply bpow_gt_0|]. now apply IZR_lt.
      * exact Lg.
Qed.
End Split.
