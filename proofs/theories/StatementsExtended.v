(** The public theorems of rung 2's radii: sums of slices, outputs, log-sum-exps and weights,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From Flocq Require Import Core.
From refattn Require Import LogMetric Sums Growth Roundoff Formats Slices Extended.
From refattn Require GrowthRational ExtendedRational.
Import ListNotations.
Open Scope R_scope.

(** * Slices.v *)

Theorem products_of_slices_exact :
  forall f : format,
    valid_format f ->
    forall rule : R -> Z,
    Valid_rnd rule ->
    forall unit : Z,
    (lowest f <= unit)%Z ->
    forall s : sum_of_products,
    (size s <= 2 ^ precision f)%Z -> added f rule unit s = times_unit unit (whole s).
Proof. exact (@Slices.products_of_slices_exact). Qed.

Theorem bits_for_enough :
  forall terms log bits p : Z,
    (0 <= terms <= 2 ^ log)%Z ->
    (0 <= log)%Z ->
    (1 <= bits)%Z ->
    (2 * bits + 1 + log <= p)%Z ->
    (terms * (2 ^ bits * 2 ^ bits) <= 2 ^ p)%Z /\
    (terms * (2 * (2 ^ bits * 2 ^ (bits - 1)) + 4 * (2 ^ (bits - 1) * 2 ^ (bits - 1))) <= 2 ^ p)%Z.
Proof. exact (@Slices.bits_for_enough). Qed.

Theorem chunk_enough :
  forall keys log weight_bits value_bits p : Z,
    (0 <= keys <= 2 ^ log)%Z ->
    (0 <= log)%Z ->
    (0 <= weight_bits)%Z ->
    (0 <= value_bits)%Z ->
    (weight_bits + value_bits + log <= p)%Z -> (keys * (2 ^ weight_bits * 2 ^ value_bits) <= 2 ^ p)%Z.
Proof. exact (@Slices.chunk_enough). Qed.

Theorem leading_exact :
  forall f : format,
    valid_format f ->
    forall unit : Z,
    (lowest f <= unit)%Z ->
    forall x : R,
    holds f x ->
    Rabs x < bpow radix2 (precision f - 2 + unit) ->
    exists m : Z,
      leading f unit x = times_unit unit m /\
      Rabs (x - leading f unit x) <= bpow radix2 unit / 2 /\
      nearest f (x - leading f unit x) = x - leading f unit x.
Proof. exact (@Slices.leading_exact). Qed.

(** * Extended.v *)

Theorem weight_radius_bounded :
  forall s s' d score exponential : R,
    Rabs (s' - s) <= score ->
    exponential < 1 ->
    Rabs d <= exponential -> rerr (weight_radius score exponential) (exp s' * (1 + d)) (exp s).
Proof. exact (@Extended.weight_radius_bounded). Qed.

Theorem output_radius_bounded :
  forall (I : Type) (xs : list I) (p q v : I -> R) (weight_error absent : R),
    0 <= weight_error ->
    (forall i : I, In i xs -> 0 <= q i) ->
    0 <= absent ->
    (forall i : I, In i xs -> rerr weight_error (p i) (q i) \/ q i = 0 /\ 0 <= p i <= absent) ->
    forall n l lost : R,
    0 < l ->
    Rabs (l - sumf q xs) + INR (length xs) * absent <= lost * l ->
    forall top mean left_out last result : R,
    (forall i : I, In i xs -> Rabs (v i) <= top) ->
    0 <= left_out ->
    normaliser_doubt weight_error lost < 1 ->
    sumf (fun i : I => q i * Rabs (v i)) xs <= mean * l ->
    Rabs (n - sumf (fun i : I => q i * v i) xs) + INR (length xs) * (absent * top) <= left_out * l ->
    Rabs (result - n / l) <= last ->
    Rabs (result - sumf (fun i : I => p i * v i) xs / sumf p xs) <=
    output_radius weight_error lost mean left_out last.
Proof. exact (@Extended.output_radius_bounded). Qed.

Theorem lse_radius_bounded :
  forall L M l shift computed result weight_error lost logarithm last : R,
    0 < l ->
    lost < 1 ->
    rerr weight_error L M ->
    Rabs (M - l) <= lost * l ->
    Rabs (computed - (shift + ln l)) <= logarithm ->
    Rabs (result - computed) <= last ->
    Rabs (result - (shift + ln L)) <= lse_radius weight_error lost logarithm last.
Proof. exact (@Extended.lse_radius_bounded). Qed.

Theorem share_radius_bounded :
  forall p q L M l result weight_error lost share last nothing : R,
    0 < l ->
    lost < 1 ->
    0 <= weight_error ->
    0 <= lost ->
    0 <= q ->
    0 <= nothing ->
    rerr weight_error L M ->
    Rabs (M - l) <= lost * l ->
    rerr weight_error p q \/ q = 0 /\ 0 <= p / L <= nothing ->
    Rabs result <= share ->
    Rabs (result - q / l) <= last ->
    Rabs (result - p / L) <= share_radius weight_error lost share last nothing.
Proof. exact (@Extended.share_radius_bounded). Qed.

(** * ExtendedRational.v *)

Theorem weight_radius_dominates :
  forall score exponential : Q,
    Q2R exponential < 1 ->
    weight_radius (Q2R score) (Q2R exponential) <=
    Q2R (ExtendedRational.weight_radius score exponential).
Proof. exact (@ExtendedRational.weight_radius_dominates). Qed.

Theorem output_radius_dominates :
  forall weight_error lost mean left_out last : Q,
    0 <= Q2R weight_error < 2 ->
    0 <= Q2R lost ->
    0 <= Q2R mean ->
    0 <= Q2R left_out ->
    Q2R (GrowthRational.compound [GrowthRational.growth weight_error; lost]) < 1 ->
    output_radius (Q2R weight_error) (Q2R lost) (Q2R mean) (Q2R left_out) (Q2R last) <=
    Q2R (ExtendedRational.output_radius weight_error lost mean left_out last).
Proof. exact (@ExtendedRational.output_radius_dominates). Qed.

Theorem lse_radius_dominates :
  forall weight_error lost logarithm last : Q,
    Q2R lost < 1 ->
    lse_radius (Q2R weight_error) (Q2R lost) (Q2R logarithm) (Q2R last) <=
    Q2R (ExtendedRational.lse_radius weight_error lost logarithm last).
Proof. exact (@ExtendedRational.lse_radius_dominates). Qed.

Theorem share_radius_dominates :
  forall weight_error lost share last nothing : Q,
    0 <= Q2R weight_error ->
    0 <= Q2R lost < 1 ->
    0 <= Q2R share + Q2R last ->
    Q2R (2 * weight_error + GrowthRational.log_error lost) < 2 ->
    share_radius (Q2R weight_error) (Q2R lost) (Q2R share) (Q2R last) (Q2R nothing) <=
    Q2R (ExtendedRational.share_radius weight_error lost share last nothing).
Proof. exact (@ExtendedRational.share_radius_dominates). Qed.
