(** Instances of the abstract arithmetic: every format, to nearest, towards zero, flushed to zero.

    A correctly rounded exponential leaves no numerical hypothesis; an exponential within k ulps is one. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Arithmetic Formats Truncation FlushToZero FormatsStage FormatsArithmetic.
Open Scope R_scope.

Section Instances.
Variable f : format.
Hypothesis V : valid_format f.
Variable m : mode.

(** Gradual underflow, the exponential rounded as everything else is. *)
Definition rounded_arithmetic : arith :=
  arithmetic_of (holds f) (stage_round f m) (fun z => stage_round f m (exp z))
    (stage_unit f m) (stage_unit f m) 0 (underflow_unit f m false) (underflow_unit f m false).

Theorem rounded_arithmetic_ok : arith_ok rounded_arithmetic.
Proof.
  apply arithmetic_of_ok; [now apply stage_ok|].
  eapply correctly_rounded_exponential. now apply stage_ok.
Qed.

(** Subnormal results flushed: a sum then loses as much as a product. *)
Definition flushing_arithmetic (flushed : R -> bool) : arith :=
  let rnd := flush f flushed (stage_round f m) in
  arithmetic_of (survives f flushed) rnd (fun z => rnd (exp z))
    (stage_unit f m) (stage_unit f m) (smallest_normal f) (smallest_normal f) (smallest_normal f).

Theorem flushing_arithmetic_ok flushed : stable flushed (stage_round f m) -> arith_ok (flushing_arithmetic flushed).
Proof.
  intros K. pose proof (stage_flush_ok f V m flushed K) as R.
  apply arithmetic_of_ok; [exact R|]. eapply correctly_rounded_exponential. exact R.
Qed.

(** An exponential within k ulps, as GPUs' approximations are documented. *)
Definition ulps_arithmetic (k : R) (E : R -> R) : arith :=
  arithmetic_of (holds f) (stage_round f m) E (stage_unit f m)
    (exponential_unit f k / (1 - exponential_unit f k)) 0 (underflow_unit f m false) (k * smallest_subnormal f).

Theorem ulps_arithmetic_ok k E : 0 <= k -> exponential_unit f k < 1 ->
  (forall z, holds f (E z)) -> E 0 = 1 ->
  (forall z, holds f z -> Rabs (E z - exp z) <= k * ulp radix2 (exponents f) (exp z)) ->
  arith_ok (ulps_arithmetic k E).
Proof.
  intros Hk Hs HF H0 HE. apply arithmetic_of_ok; [now apply stage_ok|]. now apply ulps_exponential.
Qed.

Definition flushing_ulps_arithmetic (k : R) (E : R -> R) : arith :=
  arithmetic_of (survives f always) (flush f always (stage_round f m)) (flushed_exponential f E) (stage_unit f m)
    (exponential_unit f k / (1 - exponential_unit f k)) (smallest_normal f) (smallest_normal f)
    (smallest_normal f / (1 - exponential_unit f k)).

Theorem flushing_ulps_arithmetic_ok k E : 0 <= k -> exponential_unit f k < 1 ->
  (forall z, holds f (E z)) -> E 0 = 1 ->
  (forall z, holds f z -> Rabs (E z - exp z) <= k * ulp radix2 (exponents f) (exp z)) ->
  arith_ok (flushing_ulps_arithmetic k E).
Proof.
  intros Hk Hs HF H0 HE. apply arithmetic_of_ok.
  - apply stage_flush_ok; [exact V|apply always_stable].
  - now apply flushed_ulps_exponential.
Qed.
End Instances.

Definition binary32 : arith := rounded_arithmetic fp32 Nearest.
Definition binary64 : arith := rounded_arithmetic fp64 Nearest.
Definition bfloat16 : arith := rounded_arithmetic bf16 Nearest.
Definition binary16 : arith := rounded_arithmetic fp16 Nearest.
Definition binary32_truncated : arith := rounded_arithmetic fp32 Truncated.
Definition binary32_flushed : arith := flushing_arithmetic fp32 Nearest always.

Theorem binary32_ok : arith_ok binary32.
Proof. exact (rounded_arithmetic_ok fp32 fp32_valid Nearest). Qed.
Theorem binary64_ok : arith_ok binary64.
Proof. exact (rounded_arithmetic_ok fp64 fp64_valid Nearest). Qed.
Theorem bfloat16_ok : arith_ok bfloat16.
Proof. exact (rounded_arithmetic_ok bf16 bf16_valid Nearest). Qed.
Theorem binary16_ok : arith_ok binary16.
Proof. exact (rounded_arithmetic_ok fp16 fp16_valid Nearest). Qed.
Theorem binary32_truncated_ok : arith_ok binary32_truncated.
Proof. exact (rounded_arithmetic_ok fp32 fp32_valid Truncated). Qed.
Theorem binary32_flushed_ok : arith_ok binary32_flushed.
Proof. exact (flushing_arithmetic_ok fp32 fp32_valid Nearest always (always_stable _)). Qed.

(** Their constants, as numbers. *)
Lemma binary32_unit : u binary32 = / 16777216 /\ eps binary32 = u binary32 /\ eta_add binary32 = 0.
Proof.
  split; [|split; reflexivity]. reflexivity.
Qed.
