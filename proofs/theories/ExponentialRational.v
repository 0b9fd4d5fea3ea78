(** Rational twins of the errors of the exponential and of its argument. *)
From Coq Require Import Reals QArith Qreals Lra List String ZArith.
From refattn Require Import Growth Rationals GrowthRational ScoresRational.
From refattn Require Roundoff Argument Exponential.
Import ListNotations.
Open Scope Q_scope.

Definition argument_subtract (distance unit : Q) : Q := unit * distance.
Definition argument_subtract_exp2 (distance unit constant : Q) : Q := compound [unit; unit; constant] * distance.
Definition argument_fma (distance shift unit constant : Q) : Q :=
  compound [unit; unit; constant] * distance + (unit + unit * compound [unit; constant]) * shift.
Definition argument_lost (scale unit constant lost : Q) : Q := (1 + scale * (1 + compound [unit; constant])) * lost.
Definition exponential_error (relative lost : Q) : Q := log_error relative + lost.
Definition polynomial_exp2 (polynomial evaluation reduction : Q) : Q :=
  compound [polynomial; evaluation; growth reduction].

Open Scope R_scope.

Ltac equal := intros; right;
  repeat first [rewrite compound_Q2R | rewrite Q2R_mult | rewrite Q2R_plus | rewrite Q2R_1]; reflexivity.

Theorem argument_subtract_dominates (distance unit : Q) :
  Argument.argument_subtract (Q2R distance) (Q2R unit) <= Q2R (argument_subtract distance unit).
Proof. unfold argument_subtract, Argument.argument_subtract. equal. Qed.

Theorem argument_subtract_exp2_dominates (distance unit constant : Q) :
  Argument.argument_subtract_exp2 (Q2R distance) (Q2R unit) (Q2R constant) <=
    Q2R (argument_subtract_exp2 distance unit constant).
Proof. unfold argument_subtract_exp2, Argument.argument_subtract_exp2. equal. Qed.

Theorem argument_fma_dominates (distance shift unit constant : Q) :
  Argument.argument_fma (Q2R distance) (Q2R shift) (Q2R unit) (Q2R constant) <=
    Q2R (argument_fma distance shift unit constant).
Proof. unfold argument_fma, Argument.argument_fma. equal. Qed.

Theorem argument_lost_dominates (scale unit constant lost : Q) :
  Argument.argument_lost (Q2R scale) (Q2R unit) (Q2R constant) (Q2R lost) <=
    Q2R (argument_lost scale unit constant lost).
Proof. unfold argument_lost, Argument.argument_lost. equal. Qed.

Theorem exponential_error_dominates (relative lost : Q) : Q2R relative < 1 ->
  Exponential.exponential_error (Q2R relative) (Q2R lost) <= Q2R (exponential_error relative lost).
Proof.
  intros H. unfold exponential_error, Exponential.exponential_error. rewrite Q2R_plus.
  pose proof (log_error_dominates relative H). lra.
Qed.

Theorem polynomial_exp2_dominates (polynomial evaluation reduction : Q) :
  0 <= Q2R polynomial -> 0 <= Q2R evaluation -> 0 <= Q2R reduction < 2 ->
  Exponential.polynomial_exp2 (Q2R polynomial) (Q2R evaluation) (Q2R reduction) <=
    Q2R (polynomial_exp2 polynomial evaluation reduction).
Proof.
  intros Hp He Hr. unfold polynomial_exp2, Exponential.polynomial_exp2. rewrite compound_Q2R.
  pose proof (growth_dominates reduction Hr) as G. cbn [map]. unfold Roundoff.compound. cbn [fold_left].
  set (c := 0 + Q2R polynomial + 0 * Q2R polynomial + Q2R evaluation + (0 + Q2R polynomial + 0 * Q2R polynomial) *
    Q2R evaluation). assert (0 <= c) by (unfold c; nra). nra.
Qed.

Open Scope Q_scope.

Definition units : list (Q * Q * Q) :=
  [(1 # 2 ^ 24, 1 # 2 ^ 24, 1 # 2 ^ 150); (1 # 2 ^ 8, 1 # 2 ^ 24, 1 # 2 ^ 134); (1 # 2 ^ 11, 1 # 2 ^ 24, 1 # 2 ^ 14);
   (1 # 2 ^ 53, 1 # 2 ^ 53, 1 # 2 ^ 1022); (1 # 101, 3 # 7919, 5 # 999983); (1 # 3, 1 # 5, 1 # 11);
   (1 # 1000003, 0, 0)].
Definition lengths : list (Q * Q) :=
  [(0, 7 # 3); (1, 0); (11 # 10, 12); (50, 1000); (1000003 # 17, 1 # 999983); (1 # 7, 3)].
Definition relatives : list Q := [0; 1 # 2 ^ 23; 1 # 2 ^ 7; 38222 # 1000000; 3 # 1009; 1 # 7; 7 # 8].

Definition points {A} (f : Q * Q -> Q * Q * Q -> A) : list A := flat_map (fun length => map (f length) units) lengths.

Definition grid_exponential :=
  points (fun '(d, _) '(u, _, _) => line "argument_subtract" [d; u] (argument_subtract d u)) ++
  points (fun '(d, _) '(u, k, _) => line "argument_subtract_exp2" [d; u; k] (argument_subtract_exp2 d u k)) ++
  points (fun '(d, m) '(u, k, _) => line "argument_fma" [d; m; u; k] (argument_fma d m u k)) ++
  points (fun '(d, _) '(u, k, h) => line "argument_lost" [d; u; k; h] (argument_lost d u k h)) ++
  flat_map (fun r => map (fun '(u, _, h) => line "exponential_error" [r; h] (exponential_error r h)) units) relatives ++
  flat_map (fun r => map (fun '(u, k, _) => line "polynomial_exp2" [r; k; u] (polynomial_exp2 r k u)) units) relatives.
