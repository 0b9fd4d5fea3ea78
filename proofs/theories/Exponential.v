(** An exponential, its argument's error included, as a factor e^t and an absolute error; polynomial exponentials. *)
From Coq Require Import Reals List Lra.
From refattn Require Import LogMetric Growth Roundoff Nearly Argument.
Import ListNotations.
Open Scope R_scope.

(** The function of the same name in Python: [relative] is the exponential's own error, [lost] what its argument loses
    to underflow. *)
Definition exponential_error (relative lost : R) : R := log_error relative + lost.

(** What is nearly x is x (1 + d) + h. *)
Lemma nearly_split r eta y x : 0 <= r -> 0 <= eta -> 0 < x -> nearly r eta y x ->
  exists d h, Rabs d <= r /\ Rabs h <= eta /\ y = x * (1 + d) + h.
Proof.
  unfold nearly. intros Hr He Hx H. rewrite (Rabs_pos_eq x) in H by lra. apply Rabs_le_inv in H.
  destruct (Rle_dec (y - x) (- (r * x))) as [L|L]; [|destruct (Rle_dec (r * x) (y - x)) as [G|G]].
  - exists (- r), (y - x + r * x). repeat split; [apply Rabs_le; lra|apply Rabs_le; lra|ring].
  - exists r, (y - x - r * x). repeat split; [apply Rabs_le; lra|apply Rabs_le; lra|ring].
  - assert (P : (y - x) / x * x = y - x) by (field; lra).
    exists ((y - x) / x), 0. rewrite Rabs_R0. repeat split; [|lra|rewrite Rplus_0_r; field; lra].
    apply Rabs_le. split; apply Rmult_le_reg_r with x; lra.
Qed.

(** y is a computed e^z where z should have been w: all three paths of Argument.v give such z. *)
Theorem exponential_of_argument relative eta argument lost z w y : 0 <= relative < 1 -> 0 <= eta ->
  Rabs (z - w) <= argument + lost -> nearly relative eta y (exp z) ->
  exists t h, Rabs t <= argument + exponential_error relative lost /\ Rabs h <= eta /\ y = exp w * exp t + h.
Proof.
  intros [H0 H1] He Hz Hy. destruct (nearly_split _ _ _ _ H0 He (exp_pos z) Hy) as (d & h & Hd & Hh & ->).
  destruct (log_error_rerr relative d (exp z) H1 Hd) as (t & Ht & Et).
  exists ((z - w) + t), h. split; [|split; [exact Hh|]].
  - eapply Rle_trans; [apply Rabs_triang|]. unfold exponential_error. lra.
  - rewrite Et, <- !exp_plus. do 2 f_equal. ring.
Qed.

(** ** 2^x by range reduction x = k + f, a polynomial p(f), and a shift of the exponent by k.

    That p is within [polynomial] of 2^f, and computed to within [evaluation] of itself, is checked by interval
    arithmetic (tests/theorems/test_scores.py); here both are hypotheses. *)
Definition exp2 (x : R) : R := exp (x * ln 2).

Definition polynomial_exp2 (polynomial evaluation reduction : R) : R :=
  compound [polynomial; evaluation; growth reduction].

Lemma exp2_plus a b : exp2 (a + b) = exp2 a * exp2 b.
Proof. unfold exp2. rewrite <- exp_plus. f_equal. ring. Qed.

Lemma exp2_pos a : 0 < exp2 a.
Proof. apply exp_pos. Qed.

(** The reduced argument is rounded: [reduction] is how far it may be off, in nats. *)
Lemma reduction_error f f' reduction : Rabs (f' - f) * ln 2 <= reduction ->
  nearly (growth reduction) 0 (exp2 f') (exp2 f).
Proof.
  unfold nearly. intros H. pose proof ln_2_bounds.
  replace (exp2 f' - exp2 f) with ((exp ((f' - f) * ln 2) - 1) * exp2 f)
    by (unfold exp2; rewrite Rmult_minus_distr_r, Rmult_1_l, <- exp_plus; do 2 f_equal; ring).
  rewrite Rabs_mult, Rplus_0_r. apply Rmult_le_compat_r; [apply Rabs_pos|]. apply abs_expm1.
  rewrite Rabs_mult, (Rabs_pos_eq (ln 2)) by lra. exact H.
Qed.

Theorem polynomial_exp2_error p polynomial evaluation reduction eta k f f' power y :
  0 <= f' <= 1 -> 0 <= evaluation -> 0 <= polynomial ->
  Rabs (f' - f) * ln 2 <= reduction ->
  (forall g, 0 <= g <= 1 -> nearly polynomial 0 (p g) (exp2 g)) ->
  nearly evaluation 0 power (p f') ->
  nearly 0 eta y (exp2 (IZR k) * power) ->
  nearly (polynomial_exp2 polynomial evaluation reduction) eta y (exp2 (IZR k + f)).
Proof.
  intros Hf' He Hp Hred Hpoly Heval Hy.
  pose proof (reduction_error _ _ _ Hred) as A.
  pose proof (nearly_compose _ _ _ _ _ _ _ Hp A (Hpoly f' Hf')) as B.
  pose proof (nearly_compose _ _ _ _ _ _ _ He B Heval) as C.
  apply (nearly_scale (exp2 (IZR k))) in C. rewrite <- exp2_plus in C.
  pose proof (nearly_compose _ _ _ _ _ _ _ (Rle_refl 0) C Hy) as D.
  eapply nearly_weaken; [| |exact D]; unfold polynomial_exp2, compound; simpl; lra.
Qed.
