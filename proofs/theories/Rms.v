(** What of the rms model is a theorem: mean squares of sums of independent errors, and the quotient's expansion.

    A finite probability space: outcomes, and the probability of each.  That roundings are independent, have mean zero
    and log-uniform significands is an assumption of the model and is not proved. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric.
Import ListNotations.
Open Scope R_scope.

Definition mean {W} (space : list W) (P : W -> R) (f : W -> R) : R := sumf (fun o => P o * f o) space.

(** ** Sums of uncorrelated errors *)
Section Uncorrelated.
Context {W J : Type} (space : list W) (P : W -> R).
Variable e : J -> W -> R.

Definition square_mean (j : J) : R := mean space P (fun o => e j o * e j o).

(** Independent errors of mean 0 are so: see [independent_uncorrelated]. *)
Definition uncorrelated (js : list J) : Prop :=
  ForallOrdPairs (fun j k => mean space P (fun o => e j o * e k o) = 0) js.

Lemma mean_plus f g : mean space P (fun o => f o + g o) = mean space P f + mean space P g.
Proof. unfold mean. rewrite <- sumf_plus. apply sumf_ext. intros; ring. Qed.

Lemma mean_scal f c : mean space P (fun o => f o * c) = mean space P f * c.
Proof. unfold mean. rewrite <- sumf_scal. apply sumf_ext. intros; ring. Qed.

Lemma cross_mean c j js : Forall (fun k => mean space P (fun o => e j o * e k o) = 0) js ->
  mean space P (fun o => e j o * sumf (fun k => c k * e k o) js) = 0.
Proof.
  induction 1 as [|k js Hk _ IH]; simpl.
  - unfold mean. transitivity (sumf (fun _ : W => 0) space); [apply sumf_ext; intros; ring|rewrite sumf_const; ring].
  - transitivity (mean space P (fun o => e j o * e k o) * c k +
      mean space P (fun o => e j o * sumf (fun i => c i * e i o) js)); [|rewrite Hk, IH; ring].
    rewrite <- mean_scal, <- mean_plus. unfold mean. apply sumf_ext. intros; ring.
Qed.

(** Coefficients c_j: w_j (v_j - O) for errors that numerator and normaliser share, w_j v_j for the numerator's own. *)
Theorem mean_square_of_sum c js : uncorrelated js ->
  mean space P (fun o => sumf (fun j => c j * e j o) js * sumf (fun j => c j * e j o) js) =
  sumf (fun j => c j * c j * square_mean j) js.
Proof.
  induction 1 as [|j js Hj _ IH]; simpl.
  - unfold mean. transitivity (sumf (fun _ : W => 0) space); [apply sumf_ext; intros; ring|rewrite sumf_const; ring].
  - rewrite <- IH. pose proof (cross_mean c j js Hj) as X.
    transitivity (square_mean j * (c j * c j) +
      (mean space P (fun o => e j o * sumf (fun k => c k * e k o) js) * (2 * c j) +
       mean space P (fun o => sumf (fun k => c k * e k o) js * sumf (fun k => c k * e k o) js)));
      [|rewrite X; ring].
    unfold square_mean. rewrite <- !mean_scal, <- !mean_plus. unfold mean. apply sumf_ext. intros; ring.
Qed.
End Uncorrelated.

(** ** Independence: a product of spaces *)
Section Independent.
Context {A B : Type} (space : list A) (space' : list B) (P : A -> R) (P' : B -> R).

Definition joint : list (A * B) := list_prod space space'.
Definition joint_probability (o : A * B) : R := P (fst o) * P' (snd o).

Lemma mean_of_product f g :
  mean joint joint_probability (fun o => f (fst o) * g (snd o)) = mean space P f * mean space' P' g.
Proof.
  unfold mean, joint, joint_probability. induction space as [|a r IH]; simpl; [ring|].
  rewrite sumf_app, IH, sumf_map. simpl. rewrite Rmult_plus_distr_r. f_equal.
  rewrite <- sumf_scal_l. apply sumf_ext. intros; ring.
Qed.

Theorem independent_uncorrelated f g : mean space P f = 0 ->
  mean joint joint_probability (fun o => f (fst o) * g (snd o)) = 0.
Proof. intros E. rewrite mean_of_product, E. ring. Qed.
End Independent.

(** ** The quotient *)
Section Quotient.
Context {J : Type} (js : list J) (w v : J -> R).
(** Relative errors of the weights that both sums share, of the products alone, and of the normaliser's terms alone. *)
Variables shared product term : J -> R.
Hypothesis weights : sumf w js = 1.

Definition output : R := sumf (fun j => w j * v j) js.
Definition numerator : R := sumf (fun j => w j * (1 + shared j + product j) * v j) js.
Definition normaliser : R := sumf (fun j => w j * (1 + shared j + term j)) js.

Definition first_order : R :=
  sumf (fun j => w j * shared j * (v j - output)) js + sumf (fun j => w j * product j * v j) js -
  output * sumf (fun j => w j * term j) js.
Definition relative : R := sumf (fun j => w j * (shared j + term j)) js.

Lemma normaliser_relative : normaliser = 1 + relative.
Proof.
  unfold normaliser, relative. transitivity (sumf w js + sumf (fun j => w j * (shared j + term j)) js);
    [|now rewrite weights]. rewrite <- sumf_plus. apply sumf_ext. intros; ring.
Qed.

(** The first order is the whole error but for one factor. *)
Theorem quotient_exact : normaliser <> 0 -> numerator / normaliser - output = first_order / normaliser.
Proof.
  intros H. replace first_order with (numerator - output * normaliser); [field; exact H|].
  unfold numerator, normaliser, first_order.
  rewrite <- sumf_scal_l, <- sumf_minus, <- (sumf_scal_l _ (fun j => w j * term j)).
  rewrite <- sumf_plus, <- sumf_minus.
  assert (Z : sumf (fun j => w j * (v j - output)) js = 0).
  { transitivity (output - sumf w js * output); [|rewrite weights; ring].
    unfold output at 2. rewrite <- sumf_scal, <- sumf_minus. apply sumf_ext. intros; ring. }
  replace (sumf (fun x => w x * shared x * (v x - output) + w x * product x * v x - output * (w x * term x)) js)
    with (sumf (fun j => w j * (v j - output)) js +
      sumf (fun x => w x * shared x * (v x - output) + w x * product x * v x - output * (w x * term x)) js)
    by (rewrite Z; ring).
  rewrite <- sumf_plus. apply sumf_ext. intros; ring.
Qed.

Theorem quotient_remainder d : Rabs relative <= d -> d < 1 ->
  Rabs (numerator / normaliser - output - first_order) <= Rabs first_order * (d / (1 - d)).
Proof.
  intros Hd H1. pose proof (Rabs_pos relative) as D0. pose proof (Rabs_le_inv _ _ Hd) as B.
  assert (N : 1 - d <= normaliser) by (rewrite normaliser_relative; lra).
  rewrite quotient_exact by lra.
  replace (first_order / normaliser - first_order) with (first_order * (- relative / normaliser)).
  2:{ rewrite normaliser_relative in *. field. lra. }
  rewrite Rabs_mult. apply Rmult_le_compat_l; [apply Rabs_pos|].
  unfold Rdiv. rewrite Rabs_mult, Rabs_Ropp, (Rabs_pos_eq (/ normaliser)) by (left; apply Rinv_0_lt_compat; lra).
  apply Rmult_le_compat; [exact D0|left; apply Rinv_0_lt_compat; lra|exact Hd|]. apply Rinv_le_contravar; lra.
Qed.
End Quotient.
