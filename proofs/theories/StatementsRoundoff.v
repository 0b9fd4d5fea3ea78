(** The public theorems of the error factors (refattn/numbers/roundoff.py), stated in full a second time.

    As in every Statements*.v: each is closed by the theorem itself, so that one that gains a hypothesis, or a bound
    that loses a constant, does not compile here.  The names of bounds are unfolded to their formulas, and what a
    section supposes is written out. *)
From Coq Require Import Reals QArith Qreals List.
From refattn Require Import Sums LogMetric Growth Roundoff Perturbed Rationals.
From refattn Require GrowthRational.
Import ListNotations.
Open Scope R_scope.

Theorem growth_error : forall D y x, rerr D y x -> Rabs (y - x) <= (exp D - 1) * Rabs x.
Proof. exact rerr_abs. Qed.

Theorem growth_rational : forall t, 0 <= t < 2 -> exp t - 1 <= t / (1 - t / 2).
Proof. exact Growth.growth_rational. Qed.

Theorem log_growth_rerr : forall x y d, 0 < x -> 0 < y -> 0 <= d ->
  Rabs (y - x) <= d * x -> Rabs (y - x) <= d * y -> exists t, Rabs t <= ln (1 + d) /\ y = x * exp t.
Proof. exact Roundoff.log_growth_rerr. Qed.

Theorem log_growth_rational : forall d, 0 <= d -> ln (1 + d) <= d.
Proof. exact Roundoff.log_growth_rational. Qed.

Theorem nearest_rerr : forall u d x, 0 <= u -> Rabs d <= u / (1 + u) ->
  exists t, Rabs t <= u /\ x * (1 + d) = x * exp t.
Proof. exact rerr_nearest. Qed.

Theorem log_error_rerr : forall r d x, r < 1 -> Rabs d <= r ->
  exists t, Rabs t <= r / (1 - r) /\ x * (1 + d) = x * exp t.
Proof. exact Roundoff.log_error_rerr. Qed.

Theorem compound_error : forall units errors, Forall2 (fun d unit => Rabs d <= unit) errors units ->
  Rabs (fold_right Rmult 1 (map (fun d => 1 + d) errors) - 1) <=
  fold_left (fun total unit => total + unit + total * unit) units 0.
Proof. exact Roundoff.compound_error. Qed.

Theorem rounded_error : forall exact computed result error size relative lost,
  0 <= relative -> Rabs exact <= size -> Rabs (computed - exact) <= error ->
  Rabs (result - computed) <= relative * Rabs computed + lost ->
  Rabs (result - exact) <= error + relative * (size + error) + lost.
Proof. exact Roundoff.rounded_error. Qed.

Theorem perturbed_error : forall (I : Type) (xs : list I) (a T : I -> R) (H r : R),
  (exists ps : list (I * R),
    map fst ps = xs /\
    (forall p, In p ps -> Rabs (snd p) <= T (fst p)) /\
    Rabs (r - sumf (fun p => a (fst p) * exp (snd p)) ps) <= H) ->
  Rabs (r - sumf a xs) <= sumf (fun i => Rabs (a i) * (exp (T i) - 1)) xs + H.
Proof. exact (@Perturbed.perturbed_error). Qed.

Theorem growthQ_dominates : forall t : Q, 0 <= Q2R t < 2 -> exp (Q2R t) - 1 <= Q2R (t / (1 - t / 2))%Q.
Proof. exact Rationals.growthQ_dominates. Qed.

Theorem growth_dominates : forall t : Q, 0 <= Q2R t < 2 -> exp (Q2R t) - 1 <= Q2R (GrowthRational.growth t).
Proof. exact GrowthRational.growth_dominates. Qed.

Theorem log_growth_dominates : forall d : Q, 0 <= Q2R d -> ln (1 + Q2R d) <= Q2R (GrowthRational.log_growth d).
Proof. exact GrowthRational.log_growth_dominates. Qed.

Theorem log_error_dominates : forall r : Q, Q2R r < 1 ->
  Q2R r / (1 - Q2R r) <= Q2R (GrowthRational.log_error r).
Proof. exact GrowthRational.log_error_dominates. Qed.

Theorem compound_dominates : forall units : list Q,
  fold_left (fun total unit => total + unit + total * unit) (map Q2R units) 0 <= Q2R (GrowthRational.compound units).
Proof. exact GrowthRational.compound_dominates. Qed.

Theorem rounded_dominates : forall error size relative lost : Q,
  Q2R error + Q2R relative * (Q2R size + Q2R error) + Q2R lost <=
  Q2R (GrowthRational.rounded error size relative lost).
Proof. exact GrowthRational.rounded_dominates. Qed.
