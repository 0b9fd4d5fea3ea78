(** Schedules in the operations of two formats: scores (subtraction and exponential) and an accumulator, with a cast of
    the weights in between.  Subtraction that flushes to zero costs the exponential what it flushes. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth Perturbed Arithmetic Schedule ScheduleCost ScheduleSubtract
  ScheduleAnyOrder.
Open Scope R_scope.

(** A conversion of weights: log-error [narrow] and absolute error [eta_cast]; the identity has neither. *)
Definition conversion (S A : arith) (cast : R -> R) (narrow eta_cast : R) : Prop :=
  0 <= narrow /\ 0 <= eta_cast /\
  forall p, F S p -> F A (cast p) /\
    exists t h, Rabs t <= narrow /\ Rabs h <= eta_cast /\ cast p = p * exp t + h.

Section Arithmetic.
Variables (S A : arith) (cast : R -> R) (narrow eta_cast : R).
Hypothesis SOK : arith_ok S.
Hypothesis AOK : arith_ok A.
Hypothesis wider : forall p, F S p -> F A p.
Hypothesis casts : conversion S A cast narrow eta_cast.

(** Log-error of an exponential, but for its rounded argument. *)
Definition exponential : R := eps S + Arithmetic.eta_add S.

(** exp (fl (a - b)). *)
Definition weight (a b : R) : R := fexp S (fsub S a b).

Lemma exponential_nonneg : 0 <= exponential.
Proof. unfold exponential. pose proof (A_eps S SOK). pose proof (A_eta_add S SOK). lra. Qed.

Lemma weight_computed a b : F S a -> F S b -> exists t h,
  Rabs t <= exponential + u S * Rabs (a - b) /\ Rabs h <= Arithmetic.eta_exp S /\
  weight a b = exp (a - b) * exp t + h.
Proof.
  intros Fa Fb. destruct (A_sub S SOK a b Fa Fb) as (d & g & Hd & Hg & E).
  destruct (A_exp S SOK (fsub S a b)) as (t & h & Ht & Hh & Ee); [now apply A_Fsub|].
  exists ((a - b) * d + g + t), h. split; [|split; [exact Hh|]].
  - eapply Rle_trans; [apply Rabs_triang|]. eapply Rle_trans; [apply Rplus_le_compat_r, Rabs_triang|].
    rewrite Rabs_mult, (Rmult_comm (Rabs (a - b))). unfold exponential.
    pose proof (Rmult_le_compat_r (Rabs (a - b)) _ _ (Rabs_pos _) Hd). lra.
  - unfold weight. rewrite Ee, E, <- exp_plus, <- exp_plus. do 2 f_equal. ring.
Qed.

Lemma weight_still a : F S a -> weight a a = 1.
Proof. intros Fa. unfold weight. rewrite (A_sub_same S SOK a Fa). apply (A_exp_0 S SOK). Qed.

Lemma cast_weight_computed a b : F S a -> F S b -> exists t h,
  Rabs t <= exponential + narrow + u S * Rabs (a - b) /\
  Rabs h <= Arithmetic.eta_exp S * exp narrow + eta_cast /\ cast (weight a b) = exp (a - b) * exp t + h.
Proof.
  intros Fa Fb. destruct casts as (_ & _ & C).
  destruct (weight_computed a b Fa Fb) as (t & h & Ht & Hh & E).
  destruct (C (weight a b)) as (_ & t' & h' & Ht' & Hh' & E'); [apply A_Fexp; exact SOK|].
  exists (t + t'), (h * exp t' + h'). split; [|split].
  - eapply Rle_trans; [apply Rabs_triang|]. lra.
  - eapply Rle_trans; [apply Rabs_triang|]. apply Rplus_le_compat; [|exact Hh'].
    rewrite Rabs_mult, (Rabs_pos_eq (exp t')) by (left; apply exp_pos).
    apply Rmult_le_compat; [apply Rabs_pos|left; apply exp_pos|exact Hh|].
    apply exp_le. apply Rabs_le_inv in Ht'. lra.
  - rewrite E', E, exp_plus. ring.
Qed.

Section Row.
Context {I : Type} (x v : I -> R) (w : I -> nat) (tau : R).

Definition normaliser_operations : operations I := {|
  leaf_cost i := INR (w i) * (exponential + narrow);
  add_cost := u A;
  factor_cost := exponential;
  product_cost := u A;
  leaf_lost i := INR (w i) * (Arithmetic.eta_exp S * exp narrow + eta_cast);
  add_lost := Arithmetic.eta_add A;
  factor_lost := Arithmetic.eta_exp S;
  product_lost := Arithmetic.eta_mul A |}.

Definition output_operations : operations I := {|
  leaf_cost i := INR (w i) * (exponential + narrow + u A);
  add_cost := u A;
  factor_cost := exponential;
  product_cost := u A;
  leaf_lost i := INR (w i) *
    ((Arithmetic.eta_exp S * exp narrow + eta_cast) * Rabs (v i) * exp (u A) + Arithmetic.eta_mul A);
  add_lost := Arithmetic.eta_add A;
  factor_lost := Arithmetic.eta_exp S;
  product_lost := Arithmetic.eta_mul A |}.

Definition value_leaf (m : R) (i : I) : R := fmul A (cast (weight (x i) m)) (v i).
Definition weight_leaf (m : R) (i : I) : R := cast (weight (x i) m).
Definition one (_ : I) : R := 1.

Lemma weight_leaf_computed m i : w i = 1%nat -> F S (x i) -> F S m ->
  computed x one (subtract x (u S) tau) normaliser_operations (Leaf i m) (weight_leaf m i).
Proof.
  intros W Fx Fm. destruct (cast_weight_computed (x i) m Fx Fm) as (t & h & Ht & Hh & E).
  unfold weight_leaf. rewrite E, <- (Rmult_1_r (exp (x i - m))).
  apply computed_leaf; simpl; rewrite W; simpl INR; lra.
Qed.

Lemma value_leaf_computed m i : w i = 1%nat -> F S (x i) -> F S m -> F A (v i) ->
  computed x v (subtract x (u S) tau) output_operations (Leaf i m) (value_leaf m i).
Proof.
  intros W Fx Fm Fv. destruct (cast_weight_computed (x i) m Fx Fm) as (t & h & Ht & Hh & E).
  destruct casts as (_ & _ & C). destruct (C (weight (x i) m)) as (Fc & _); [apply A_Fexp; exact SOK|].
  destruct (A_mul A AOK (cast (weight (x i) m)) (v i) Fc Fv) as (t' & h' & Ht' & Hh' & E').
  unfold value_leaf. rewrite E', E.
  replace ((exp (x i - m) * exp t + h) * v i * exp t' + h')
    with (weighted x v m i * exp (t + t') + (h * v i * exp t' + h')) by (unfold weighted; rewrite exp_plus; ring).
  apply computed_leaf; simpl; rewrite W; simpl INR.
  - eapply Rle_trans; [apply Rabs_triang|]. lra.
  - eapply Rle_trans; [apply Rabs_triang|]. rewrite Rmult_1_l. apply Rplus_le_compat; [|exact Hh'].
    rewrite !Rabs_mult, (Rabs_pos_eq (exp t')) by (left; apply exp_pos).
    apply Rmult_le_compat; [apply Rmult_le_pos; apply Rabs_pos|left; apply exp_pos| |].
    + apply Rmult_le_compat_r; [apply Rabs_pos|exact Hh].
    + apply exp_le. apply Rabs_le_inv in Ht'. lra.
Qed.

Hypothesis one_each : forall i, (w i <= 1)%nat.
Hypothesis tau_nonneg : 0 <= tau.
Variable eta_sum : R.
Hypothesis eta_sum_add : Arithmetic.eta_add A <= eta_sum.
Hypothesis eta_sum_mul : Arithmetic.eta_mul A <= eta_sum.

Definition eta_weight : R := Arithmetic.eta_exp S + eta_cast.

Lemma own_count i : w i = 0%nat \/ w i = 1%nat.
Proof. specialize (one_each i). lia. Qed.

Lemma peak_ge_1 i : 1 <= exp (peak (subtract x (u S) tau) i).
Proof.
  apply exp_ge_1. simpl. pose proof (A_u S SOK). apply Rmult_le_pos; lra.
Qed.

Lemma weight_lost c : narrow <= c ->
  Arithmetic.eta_exp S * exp narrow + eta_cast <= eta_weight * exp c.
Proof.
  intros H. destruct casts as (N0 & E0 & _). pose proof (A_eta_exp S SOK). pose proof (exp_le _ _ H).
  assert (1 <= exp c) by (apply exp_ge_1; lra). unfold eta_weight. nra.
Qed.

Theorem normaliser_within : operations_within w one (subtract x (u S) tau) normaliser_operations
  exponential (u A) narrow eta_weight eta_sum.
Proof.
  pose proof exponential_nonneg as X0. destruct casts as (N0 & C0 & _). pose proof (A_u A AOK) as U.
  pose proof (A_eta_exp S SOK) as P1. pose proof (A_eta_add A AOK) as P2. pose proof (A_eta_mul A AOK) as P3.
  pose proof (exp_pos narrow) as PN. assert (L0 : 0 <= Arithmetic.eta_exp S * exp narrow + eta_cast) by nra.
  constructor; simpl; try (unfold eta_weight; lra).
  - constructor; simpl; try lra; intros i; apply Rmult_le_pos; try apply pos_INR; lra.
  - intros i. destruct (own_count i) as [-> | ->]; simpl INR; lra.
  - intros i. destruct (own_count i) as [-> | ->]; simpl INR; [lra|]. unfold one. rewrite Rabs_R1, !Rmult_1_l.
    pose proof (peak_ge_1 i) as Q. simpl in Q. eapply Rle_trans; [apply (weight_lost (exponential + narrow)); lra|].
    apply Rmult_le_compat_r; [left; apply exp_pos|].
    assert (0 <= eta_weight) by (unfold eta_weight; lra). nra.
Qed.

Theorem output_within : operations_within w v (subtract x (u S) tau) output_operations
  exponential (u A) narrow eta_weight eta_sum.
Proof.
  pose proof exponential_nonneg as X0. destruct casts as (N0 & C0 & _). pose proof (A_u A AOK) as U.
  pose proof (A_eta_exp S SOK) as P1. pose proof (A_eta_add A AOK) as P2. pose proof (A_eta_mul A AOK) as P3.
  pose proof (exp_pos narrow) as PN. assert (L0 : 0 <= Arithmetic.eta_exp S * exp narrow + eta_cast) by nra.
  constructor; simpl; try (unfold eta_weight; lra).
  - constructor; simpl; try lra; intros i; apply Rmult_le_pos; try apply pos_INR; try lra.
    pose proof (exp_pos (u A)). pose proof (Rabs_pos (v i)).
    assert (0 <= (Arithmetic.eta_exp S * exp narrow + eta_cast) * Rabs (v i)) by now apply Rmult_le_pos. nra.
  - intros i. destruct (own_count i) as [-> | ->]; simpl INR; lra.
  - intros i. destruct (own_count i) as [-> | ->]; simpl INR; [lra|]. rewrite !Rmult_1_l.
    pose proof (peak_ge_1 i) as Q. simpl in Q. set (c := exponential + narrow + u A).
    pose proof (Rabs_pos (v i)) as V. assert (W0 : 0 <= eta_weight) by (unfold eta_weight; lra).
    assert (c1 : 1 <= exp c) by (apply exp_ge_1; unfold c; lra).
    rewrite (Rmult_plus_distr_r _ eta_sum). apply Rplus_le_compat; [|nra].
    apply Rle_trans with (Rabs (v i) * eta_weight * exp c).
    + replace (exp c) with (exp (exponential + narrow) * exp (u A)) by (unfold c; rewrite <- exp_plus; reflexivity).
      rewrite <- Rmult_assoc. apply Rmult_le_compat_r; [left; apply exp_pos|].
      rewrite Rmult_comm, Rmult_assoc. apply Rmult_le_compat_l; [exact V|]. apply weight_lost. lra.
    + apply Rmult_le_compat_r; [lra|]. apply Rmult_le_compat_r; [exact W0|]. nra.
Qed.
End Row.
End Arithmetic.
