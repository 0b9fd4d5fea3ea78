(** Narrow numbers in a wide format: they are held exactly, and so are products of two of them.

    Scores of bf16, fp16 and 8-bit inputs are summed in binary32 with no error in the products. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import Formats.
Open Scope R_scope.

Theorem narrow_held g f x : (precision f <= precision g)%Z -> (lowest g <= lowest f)%Z -> holds f x -> holds g x.
Proof. intros P L. apply generic_inclusion_mag. intros _. unfold exponents, FLT_exp. lia. Qed.

Lemma product_significand p q a b : (0 <= p)%Z -> (p + p <= q)%Z ->
  (Z.abs a < 2 ^ p)%Z -> (Z.abs b < 2 ^ p)%Z -> (Z.abs (a * b) < 2 ^ q)%Z.
Proof.
  intros P Q A B. rewrite Z.abs_mul. apply Z.lt_le_trans with (2 ^ (p + p))%Z.
  - rewrite Z.pow_add_r by lia. nia.
  - apply Z.pow_le_mono_r; lia.
Qed.

Lemma product_F2R (a b : float radix2) :
  F2R a * F2R b = F2R (Float radix2 (Fnum a * Fnum b) (Fexp a + Fexp b)).
Proof. unfold F2R. simpl. rewrite mult_IZR, bpow_plus. ring. Qed.

Section Product.
Variables f g : format.
Hypothesis V : valid_format f.
Hypothesis double : (2 * precision f <= precision g)%Z.
Local Instance precision_positive_f : Prec_gt_0 (precision f) := precision_positive f V.

(** Wherever twice the smallest exponent is still an exponent: every product. *)
Theorem narrow_product_exact x y : (lowest g <= 2 * lowest f)%Z -> holds f x -> holds f y -> holds g (x * y).
Proof.
  intros L Fx Fy.
  destruct (FLT_format_generic radix2 (lowest f) (precision f) x Fx) as [a -> Ha Ga].
  destruct (FLT_format_generic radix2 (lowest f) (precision f) y Fy) as [b -> Hb Gb].
  rewrite product_F2R. apply generic_format_FLT. eexists; [reflexivity| |cbn [Fexp]; lia].
  destruct V. cbn [Fnum]. now apply product_significand with (precision f); try lia.
Qed.

(** Elsewhere: every product in the wide format's normal range. *)
Theorem narrow_product_normal x y : holds f x -> holds f y ->
  (x * y <> 0 -> smallest_normal g <= Rabs (x * y)) -> holds g (x * y).
Proof.
  intros Fx Fy N. destruct (Req_dec (x * y) 0) as [->|D]; [apply holds_0|].
  specialize (N D). apply generic_format_FLT_FLX; [rewrite smallest_normal_bpow; exact N|].
  destruct (FLT_format_generic radix2 (lowest f) (precision f) x Fx) as [a -> Ha _].
  destruct (FLT_format_generic radix2 (lowest f) (precision f) y Fy) as [b -> Hb _].
  rewrite product_F2R. apply generic_format_FLX. eexists; [reflexivity|].
  destruct V. cbn [Fnum]. now apply product_significand with (precision f); try lia.
Qed.
End Product.

Corollary fp16_product_exact x y : holds fp16 x -> holds fp16 y -> holds fp32 (x * y).
Proof. apply narrow_product_exact; [exact fp16_valid|simpl; lia|unfold lowest; simpl; lia]. Qed.

Corollary e4m3_product_exact x y : holds e4m3 x -> holds e4m3 y -> holds fp32 (x * y).
Proof. apply narrow_product_exact; [exact e4m3_valid|simpl; lia|unfold lowest; simpl; lia]. Qed.

Corollary e5m2_product_exact x y : holds e5m2 x -> holds e5m2 y -> holds fp32 (x * y).
Proof. apply narrow_product_exact; [exact e5m2_valid|simpl; lia|unfold lowest; simpl; lia]. Qed.

Corollary tf32_product_exact x y : holds tf32 x -> holds tf32 y ->
  (x * y <> 0 -> bpow radix2 (-126) <= Rabs (x * y)) -> holds fp32 (x * y).
Proof. apply (narrow_product_normal tf32 fp32); [exact tf32_valid|simpl; lia]. Qed.

Corollary bf16_product_exact x y : holds bf16 x -> holds bf16 y ->
  (x * y <> 0 -> bpow radix2 (-126) <= Rabs (x * y)) -> holds fp32 (x * y).
Proof. apply (narrow_product_normal bf16 fp32); [exact bf16_valid|simpl; lia]. Qed.
