(** The public theorems of numbers of two and three words,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats ErrorFree Words.
Import ListNotations.
Open Scope R_scope.

(** * ErrorFree.v *)

Theorem two_sum_exact :
  forall f : format,
    valid_format f ->
    forall a b : R,
    holds f a ->
    holds f b ->
    fst (two_sum f a b) = nearest f (a + b) /\
    nearest f (a + b) +
    nearest f
      (nearest f (a - nearest f (nearest f (a + b) - nearest f (nearest f (a + b) - a))) +
       nearest f (b - nearest f (nearest f (a + b) - a))) = a + b.
Proof. exact (@ErrorFree.two_sum_exact). Qed.

Theorem ordered_sum_exact :
  forall f : format,
    valid_format f ->
    forall a b : R,
    holds f a ->
    holds f b ->
    Rabs b <= Rabs a \/ a = 0 \/ Rabs (a + b) < smallest_normal f ->
    fst (ordered_sum f a b) = nearest f (a + b) /\
    nearest f (a + b) + nearest f (b - nearest f (nearest f (a + b) - a)) = a + b.
Proof. exact (@ErrorFree.ordered_sum_exact). Qed.

Theorem two_product_lost :
  forall f : format,
    valid_format f ->
    forall a b : R,
    holds f a ->
    holds f b ->
    fst (two_product f a b) = nearest f (a * b) /\
    Rabs (nearest f (a * b) + nearest f (a * b + - nearest f (a * b)) - a * b) <= smallest_subnormal f / 2.
Proof. exact (@ErrorFree.two_product_lost). Qed.

Theorem three_sum_exact :
  forall f : format,
    valid_format f ->
    forall a b c : R,
    holds f a ->
    holds f b ->
    holds f c ->
    let '(x, y, z) := three_sum f a b c in
    x + y + z = a + b + c /\ holds f x /\ holds f y /\ holds f z /\ Rabs z <= unit_roundoff f * Rabs y.
Proof. exact (@ErrorFree.three_sum_exact). Qed.

(** * Words.v *)

Theorem sum_error_held :
  forall f : format,
    valid_format f -> forall a b : R, holds f a -> holds f b -> holds f (a + b - nearest f (a + b)).
Proof. exact (@Words.sum_error_held). Qed.

Theorem two_product_exact :
  forall f : format,
    valid_format f ->
    forall a b : R,
    holds f a ->
    holds f b ->
    a * b = 0 \/ bpow radix2 (lowest f + 2 * precision f - 1) <= Rabs (a * b) ->
    nearest f (a * b - nearest f (a * b)) = a * b - nearest f (a * b).
Proof. exact (@Words.two_product_exact). Qed.

Theorem multiply_error :
  forall f : format,
    valid_format f ->
    forall a al b bl e1 e2 product error result : R,
    (4 <= precision f)%Z ->
    product + error = a * b ->
    Rabs error <= unit_roundoff f * Rabs (a * b) ->
    Rabs al <= unit_roundoff f * Rabs a ->
    Rabs bl <= unit_roundoff f * Rabs b ->
    Rabs (e1 - (a * bl + error)) <= unit_roundoff f * Rabs (a * bl + error) ->
    Rabs (e2 - (al * b + e1)) <= unit_roundoff f * Rabs (al * b + e1) ->
    result = product + e2 ->
    Rabs (result - (a + al) * (b + bl)) <=
    8 * (unit_roundoff f * unit_roundoff f) * Rabs ((a + al) * (b + bl)).
Proof. exact (@Words.multiply_error). Qed.
