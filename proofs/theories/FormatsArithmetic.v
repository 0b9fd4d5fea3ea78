(** From a rounding and an exponential to the abstract arithmetic of Arithmetic.v. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Arithmetic Formats FlushToZero.
From refattn Require Export FormatsExponential.
Open Scope R_scope.

Definition arithmetic_of (F : R -> Prop) (rnd E : R -> R) (unit relative lost_add lost lost_exp : R) : arith := {|
  Arithmetic.F := F;
  fadd a b := rnd (a + b); fsub a b := rnd (a - b); fmul a b := rnd (a * b); fdiv a b := rnd (a / b); fexp := E;
  u := unit; eps := relative; eta_add := lost_add; eta_mul := lost; eta_exp := lost_exp |}.

Theorem arithmetic_of_ok F rnd E unit relative lost_add lost lost_exp :
  rounding_ok F rnd unit lost lost_add -> exponential_ok F E relative lost_exp ->
  arith_ok (arithmetic_of F rnd E unit relative lost_add lost lost_exp).
Proof.
  intros R X. pose proof R as [Ru Rl Ra RF RI R0 R1 Rs Re Rsum Rdiff]. destruct X as [Xr Xl XF X0 Xe].
  assert (shrink : forall d, Rabs d <= unit / (1 + unit) -> Rabs d <= unit).
  { intros d Hd. eapply Rle_trans; [exact Hd|]. apply Rmult_le_reg_r with (1 + unit); [lra|].
    unfold Rdiv. rewrite Rmult_assoc, Rinv_l by lra. nra. }
  constructor; simpl; auto.
  - intros a b Fa Fb. destruct (Rsum a b Fa Fb) as (d & h & Hd & Hh & E0).
    destruct (rerr_nearest unit d (a + b) (proj1 Ru) Hd) as (t & Ht & Et). exists t, h. rewrite <- Et. auto.
  - intros a b Fa Fb. destruct (Rdiff a b Fa Fb) as (d & h & Hd & Hh & E0). exists d, h. auto.
  - intros a b _ _ H. apply Rs. lra.
  - intros. eapply rounding_log_error. exact R.
  - intros. eapply rounding_log_error. exact R.
  - intros. replace (a - a) with 0 by ring. now apply RI.
  - intros a Fa. rewrite Rplus_0_r, Rplus_0_l. auto.
  - intros a Fa. rewrite Rmult_1_r, Rmult_1_l. auto.
Qed.

(** A correctly rounded exponential. *)
Theorem correctly_rounded_exponential F rnd unit lost lost_add : rounding_ok F rnd unit lost lost_add ->
  exponential_ok F (fun z => rnd (exp z)) unit lost.
Proof.
  intros R. pose proof R as [Ru Rl _ RF RI _ R1 _ _ _ _]. constructor; auto; try lra.
  - rewrite exp_0. now apply RI.
  - intros z _. eapply rounding_log_error. exact R.
Qed.

(** An exponential within k ulps and nothing else. *)
Section Ulps.
Variable f : format.
Hypothesis V : valid_format f.
Variable k : R.
Hypothesis Hk : 0 <= k.
Definition exponential_unit : R := k * (2 * unit_roundoff f).
Hypothesis small : exponential_unit < 1.
Variable E : R -> R.
Hypothesis E_held : forall z, holds f (E z).
Hypothesis E_zero : E 0 = 1.
Hypothesis E_ulps : forall z, holds f z -> Rabs (E z - exp z) <= k * ulp radix2 (exponents f) (exp z).

Lemma ulps_alone : declared_unit f k 0 = exponential_unit.
Proof. unfold declared_unit, exponential_unit. ring. Qed.

Lemma ulps_declared z : holds f z -> Rabs (E z - exp z) <= k * ulp radix2 (exponents f) (exp z) + 0 * exp z.
Proof. intros Fz. rewrite Rmult_0_l, Rplus_0_r. now apply E_ulps. Qed.

Theorem ulps_exponential :
  exponential_ok (holds f) E (exponential_unit / (1 - exponential_unit)) (k * smallest_subnormal f).
Proof.
  pose proof (declared_exponential f V k 0 Hk (Rle_refl 0)) as D. rewrite ulps_alone in D.
  unfold weight_lost in D. rewrite Rmult_0_l, Rplus_0_r in D. apply D; auto using ulps_declared.
Qed.

Theorem flushed_ulps_exponential : exponential_ok (survives f always) (flushed_exponential f E)
  (exponential_unit / (1 - exponential_unit)) (smallest_normal f / (1 - exponential_unit)).
Proof.
  pose proof (flushed_declared_exponential f V k 0 Hk (Rle_refl 0)) as D. rewrite ulps_alone in D.
  apply D; auto using ulps_declared.
Qed.
End Ulps.
