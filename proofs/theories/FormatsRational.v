(** The constants of the formats as rational numbers, for comparison with refattn/numbers/formats.py. *)
From Coq Require Import Reals QArith Qreals Lra List String ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Growth Rationals GrowthRational Formats Truncation FormatsStage
  FormatsExponential Cast.
Import ListNotations.
Open Scope Q_scope.

Definition power_of_two (e : Z) : Q :=
  match e with Z0 => 1 | Zpos p => inject_Z (Z.pow_pos 2 p) | Zneg p => 1 # (2 ^ p) end.

Definition format_unit (precision : Z) : Q := power_of_two (- precision).
Definition format_truncation_unit (precision : Z) : Q := 2 * power_of_two (- precision).
Definition format_smallest_normal (emin : Z) : Q := power_of_two emin.
Definition format_smallest_subnormal (precision emin : Z) : Q := power_of_two (emin - precision + 1).
Definition format_max_finite (top top_exponent : Z) : Q := inject_Z top * power_of_two top_exponent.
(** What is lost when a number that has lost [before] is cast by a stage that loses [lost] itself. *)
Definition cast_lost (before unit lost : Q) : Q := before * (1 + growth unit) + lost.
(** What an exponential loses: ulps and a relative error of its own, below the normal range, and flushed. *)
Definition weight_lost (ulps own subnormal normal : Q) : Q := ulps * subnormal + own * normal.
Definition flushed_weight_lost (relative normal : Q) : Q := normal / (1 - relative).

Open Scope R_scope.

Lemma power_of_two_bpow e : Q2R (power_of_two e) = bpow radix2 e.
Proof.
  destruct e as [|p|p]; simpl.
  - apply Q2R_1.
  - apply Q2R_inject.
  - unfold Q2R. simpl. rewrite Rmult_1_l. do 2 f_equal. apply Pos2Z.inj_pow.
Qed.

Theorem format_unit_exact f : Q2R (format_unit (precision f)) = unit_roundoff f.
Proof. apply power_of_two_bpow. Qed.

Theorem format_truncation_unit_exact f : Q2R (format_truncation_unit (precision f)) = truncation_unit f.
Proof. unfold format_truncation_unit, truncation_unit. now rewrite Q2R_mult, Q2R_2, power_of_two_bpow. Qed.

Theorem format_smallest_normal_exact f : Q2R (format_smallest_normal (emin f)) = smallest_normal f.
Proof. apply power_of_two_bpow. Qed.

Theorem format_smallest_subnormal_exact f :
  Q2R (format_smallest_subnormal (precision f) (emin f)) = smallest_subnormal f.
Proof. apply power_of_two_bpow. Qed.

Theorem format_max_finite_exact f : Q2R (format_max_finite (top f) (top_exponent f)) = max_finite f.
Proof. unfold format_max_finite, max_finite, F2R. now rewrite Q2R_mult, Q2R_inject, power_of_two_bpow. Qed.

Theorem cast_lost_dominates (before unit lost : Q) : 0 <= Q2R before -> 0 <= Q2R unit < 2 ->
  Cast.cast_lost (Q2R before) (Q2R unit) (Q2R lost) <= Q2R (cast_lost before unit lost).
Proof.
  intros B U. unfold cast_lost, Cast.cast_lost. rewrite Q2R_plus, Q2R_mult, Q2R_plus, Q2R_1.
  pose proof (growth_dominates unit U). apply Rplus_le_compat_r, Rmult_le_compat_l; lra.
Qed.

Theorem weight_lost_exact (ulps own subnormal normal : Q) :
  Q2R (weight_lost ulps own subnormal normal) =
  FormatsExponential.weight_lost (Q2R ulps) (Q2R own) (Q2R subnormal) (Q2R normal).
Proof. unfold weight_lost, FormatsExponential.weight_lost. now rewrite Q2R_plus, !Q2R_mult. Qed.

Theorem flushed_weight_lost_exact (relative normal : Q) : Q2R relative < 1 ->
  Q2R (flushed_weight_lost relative normal) = FormatsExponential.flushed_weight_lost (Q2R relative) (Q2R normal).
Proof.
  intros H. unfold flushed_weight_lost, FormatsExponential.flushed_weight_lost.
  assert (E : Q2R (1 - relative) = 1 - Q2R relative) by (rewrite Q2R_minus, Q2R_1; reflexivity).
  rewrite Q2R_over, E by (rewrite E; lra). reflexivity.
Qed.

Open Scope Q_scope.

(** The formats of refattn, each named by its precision and its smallest exponent. *)
Definition formats : list format := [e4m3; e5m2; bf16; fp16; tf32; fp32; fp64].

Definition small_formats : list (Z * Z) := list_prod [2; 3; 5; 24; 113]%Z [0; -1; -6; -30]%Z.

Definition grid_formats :=
  let z := inject_Z in
  map (fun f => line "format_unit" [z (precision f)] (format_unit (precision f))) formats ++
  map (fun f => line "format_truncation_unit" [z (precision f)] (format_truncation_unit (precision f))) formats ++
  map (fun f => line "format_smallest_normal" [z (emin f)] (format_smallest_normal (emin f))) formats ++
  map (fun f => line "format_smallest_subnormal" [z (precision f); z (emin f)]
                  (format_smallest_subnormal (precision f) (emin f))) formats ++
  map (fun f => line "format_max_finite" [z (top f); z (top_exponent f)] (format_max_finite (top f) (top_exponent f)))
    formats ++
  map (fun f => line "max_finite_of" [z (precision f); z (emin f)] (format_max_finite (top f) (top_exponent f)))
    formats ++
  flat_map (fun '(p, e) =>
    [line "format_unit" [z p] (format_unit p); line "format_truncation_unit" [z p] (format_truncation_unit p);
     line "format_smallest_normal" [z e] (format_smallest_normal e);
     line "format_smallest_subnormal" [z p; z e] (format_smallest_subnormal p e);
     line "format_max_finite" [z (2 ^ p - 2)%Z; z e] (format_max_finite (2 ^ p - 2) e)]) small_formats ++
  flat_map (fun h =>
    map (fun t => line "cast_lost" [h; t; 1 # 2 ^ 25] (cast_lost h t (1 # 2 ^ 25)))
      [0; 1 # 2 ^ 8; 1 # 16; 3 # 101; 1] ++
    [line "cast_lost" [1 # 1000003; 1 # 2 ^ 11; h] (cast_lost (1 # 1000003) (1 # 2 ^ 11) h)])
    [0; 1 # 2 ^ 150; 1 # 2 ^ 15; 22 # 7919; 3 # 1000003; 2] ++
  flat_map (fun f => let low := format_smallest_subnormal (precision f) (emin f) in
    map (fun k => line "weight_lost" [k; 3 # 1000; low; format_smallest_normal (emin f)]
                    (weight_lost k (3 # 1000) low (format_smallest_normal (emin f)))) [1 # 2; 1; 22 # 7; 4] ++
    [line "weight_lost" [2; 0; low; 1] (weight_lost 2 0 low 1);
     line "flushed_weight_lost" [4 * format_unit (precision f); format_smallest_normal (emin f)]
       (flushed_weight_lost (4 * format_unit (precision f)) (format_smallest_normal (emin f)))]) formats ++
  map (fun '(k, r) => line "weight_lost" [k; r; 5 # 99991; 7 # 101] (weight_lost k r (5 # 99991) (7 # 101)))
    (list_prod [0; 1; 3 # 2] [0; 1 # 7; 2 # 1000003]) ++
  map (fun '(r, n) => line "flushed_weight_lost" [r; n] (flushed_weight_lost r n))
    (list_prod [0; 1 # 2 ^ 23; 3 # 1000003; 1 # 7; 2 # 3; 9 # 10] [1; 1 # 2 ^ 126; 5 # 99991; 22 # 7]).
