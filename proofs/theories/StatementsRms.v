(** The public theorems of the roundings' mean squares,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From refattn Require Import LogMetric Sums RmsRounding Rms.
Import ListNotations.
Open Scope R_scope.

(** * RmsRounding.v *)

Theorem uniform_mean_square :
  forall u : R,
    0 < u ->
    exists integrable : Newton_integrable (fun y : R => y * y * / (2 * u)) (- u) u,
     NewtonInt (fun y : R => y * y * / (2 * u)) (- u) u integrable = u * u / 3.
Proof. exact (@RmsRounding.uniform_mean_square). Qed.

Theorem log_uniform_density :
  exists integrable : Newton_integrable (fun x : R => / (x * ln 2)) 1 2,
     NewtonInt (fun x : R => / (x * ln 2)) 1 2 integrable = 1.
Proof. exact (@RmsRounding.log_uniform_density). Qed.

Theorem log_uniform_mean_square :
  forall u : R,
    exists integrable : Newton_integrable (fun x : R => u * u / 3 / (x * x) * / (x * ln 2)) 1 2,
     NewtonInt (fun x : R => u * u / 3 / (x * x) * / (x * ln 2)) 1 2 integrable = u * u / (8 * ln 2).
Proof. exact (@RmsRounding.log_uniform_mean_square). Qed.

(** * Rms.v *)

Theorem mean_square_of_sum :
  forall (W J : Type) (space : list W) (P : W -> R) (e : J -> W -> R) (c : J -> R) (js : list J),
    uncorrelated space P e js ->
    mean space P (fun o : W => sumf (fun j : J => c j * e j o) js * sumf (fun j : J => c j * e j o) js) =
    sumf (fun j : J => c j * c j * square_mean space P e j) js.
Proof. exact (@Rms.mean_square_of_sum). Qed.

Theorem independent_uncorrelated :
  forall (A B : Type) (space : list A) (space' : list B) (P : A -> R) (P' : B -> R) (f : A -> R) (g : B -> R),
    mean space P f = 0 ->
    mean (joint space space') (joint_probability P P') (fun o : A * B => f (fst o) * g (snd o)) = 0.
Proof. exact (@Rms.independent_uncorrelated). Qed.

Theorem normaliser_relative :
  forall (J : Type) (js : list J) (w shared term : J -> R),
    sumf w js = 1 -> normaliser js w shared term = 1 + relative js w shared term.
Proof. exact (@Rms.normaliser_relative). Qed.

Theorem quotient_exact :
  forall (J : Type) (js : list J) (w v shared product term : J -> R),
    sumf w js = 1 ->
    normaliser js w shared term <> 0 ->
    numerator js w v shared product / normaliser js w shared term - output js w v =
    first_order js w v shared product term / normaliser js w shared term.
Proof. exact (@Rms.quotient_exact). Qed.

Theorem quotient_remainder :
  forall (J : Type) (js : list J) (w v shared product term : J -> R),
    sumf w js = 1 ->
    forall d : R,
    Rabs (relative js w shared term) <= d ->
    d < 1 ->
    Rabs
     (numerator js w v shared product / normaliser js w shared term - output js w v -
      first_order js w v shared product term) <= Rabs (first_order js w v shared product term) * (d / (1 - d)).
Proof. exact (@Rms.quotient_remainder). Qed.
