(** What a narrow P loses to underflow, apart from what exponentials lose: once for each key.

    Rescaling factors are never cast, so that changes of the reference do not multiply it. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth Perturbed Schedule ScheduleCost ScheduleAnyOrder.
Import ListNotations.
Open Scope R_scope.

(** Absolute part of casting P, over values that add up to [seen], grown along its path. *)
Definition cast_underflow (changes seen eta_cast eta_weight cost : R) : R :=
  seen * eta_cast * (1 + growth (cost + (1 + changes) * eta_weight)).

Section Cast.
Context {I : Type} (w : I -> nat) (v : I -> R) (G : argument I) (E : operations I).
Variables (eps unit cast eta_weight eta_cast eta_sum : R).

Definition exponential_lost (i : I) : R :=
  INR (w i) * (Rabs (v i) * exp (peak G i) * eta_weight + eta_sum) * exp (leaf_cost E i).
Definition of_cast (i : I) : R := INR (w i) * (Rabs (v i) * exp (peak G i)) * eta_cast.

(** Every operation within its unit, as in operations_within, and a cast that loses eta_cast on its own. *)
Record cast_within : Prop := {
  cast_ok : operations_ok E;
  cast_eps : 0 <= eps;
  cast_unit : 0 <= unit;
  cast_cast : 0 <= cast;
  cast_eta : 0 <= eta_cast;
  cast_leaf : forall i, leaf_cost E i <= INR (w i) * (eps + unit) + cast;
  cast_add : add_cost E <= unit;
  cast_factor : factor_cost E <= eps;
  cast_product : product_cost E <= unit;
  cast_leaf_lost : forall i, leaf_lost E i <= exponential_lost i + of_cast i * exp (leaf_cost E i);
  cast_add_lost : add_lost E <= eta_sum;
  cast_factor_lost : factor_lost E <= eta_weight;
  cast_product_lost : product_lost E <= eta_sum }.

Hypothesis within : cast_within.

(** The same schedule's operations, were P not cast. *)
Definition uncast : operations I := {|
  leaf_cost := leaf_cost E; add_cost := add_cost E; factor_cost := factor_cost E; product_cost := product_cost E;
  leaf_lost := exponential_lost; add_lost := add_lost E; factor_lost := factor_lost E;
  product_lost := product_lost E |}.

Lemma etas : 0 <= eta_weight /\ 0 <= eta_sum.
Proof. destruct within. destruct cast_ok0. lra. Qed.

Lemma weighs i : 0 <= INR (w i) * (Rabs (v i) * exp (peak G i)).
Proof.
  apply Rmult_le_pos; [apply pos_INR|]. apply Rmult_le_pos; [apply Rabs_pos|left; apply exp_pos].
Qed.

Lemma of_cast_nonneg i : 0 <= of_cast i.
Proof. destruct within. apply Rmult_le_pos; [apply weighs|assumption]. Qed.

Lemma uncast_within : operations_within w v G uncast eps unit cast eta_weight eta_sum.
Proof.
  destruct etas as [P Q]. destruct within. destruct cast_ok0. constructor; simpl; auto; try lra.
  - constructor; simpl; auto. intros i. unfold exponential_lost. apply Rmult_le_pos; [|left; apply exp_pos].
    apply Rmult_le_pos; [apply pos_INR|]. pose proof (Rabs_pos (v i)). pose proof (exp_pos (peak G i)).
    apply Rplus_le_le_0_compat; [|exact Q]. apply Rmult_le_pos; [apply Rmult_le_pos; lra|exact P].
  - intros i. unfold exponential_lost. lra.
Qed.

Definition carried (s : schedule I) : R := sumf of_cast (leaves s) * exp (cost E s + INR (depth w s) * eta_weight).

Lemma of_cast_sum s : 0 <= sumf of_cast (leaves s).
Proof. apply sumf_nonneg. intros. apply of_cast_nonneg. Qed.

Lemma carried_grows s c : cost E s + INR (depth w s) * eta_weight <= c -> carried s <= sumf of_cast (leaves s) * exp c.
Proof. intros H. apply Rmult_le_compat_l; [apply of_cast_sum|now apply exp_le]. Qed.

Lemma carried_add a b : (carried a + carried b) * exp (add_cost E) <= carried (Add a b).
Proof.
  destruct etas as [P _].
  pose proof (le_INR _ _ (Nat.le_max_l (depth w a) (depth w b))) as Da.
  pose proof (le_INR _ _ (Nat.le_max_r (depth w a) (depth w b))) as Db.
  set (c := Rmax (cost E a) (cost E b) + INR (depth w (Add a b)) * eta_weight).
  assert (A : carried a <= sumf of_cast (leaves a) * exp c).
  { apply carried_grows. unfold c. simpl depth. pose proof (Rmax_l (cost E a) (cost E b)). nra. }
  assert (B : carried b <= sumf of_cast (leaves b) * exp c).
  { apply carried_grows. unfold c. simpl depth. pose proof (Rmax_r (cost E a) (cost E b)). nra. }
  unfold carried at 3. cbn [leaves cost]. rewrite sumf_app.
  replace (Rmax (cost E a) (cost E b) + add_cost E + INR (depth w (Add a b)) * eta_weight)
    with (c + add_cost E) by (unfold c; ring).
  rewrite exp_plus, <- Rmult_assoc. apply Rmult_le_compat_r; [left; apply exp_pos|]. lra.
Qed.

Lemma carried_rescale a m : m <> shift a ->
  carried a * (exp (factor_cost E + product_cost E) + factor_lost E * exp (product_cost E)) <= carried (Rescale a m).
Proof.
  intros N. destruct etas as [P _]. destruct within. destruct cast_ok0.
  unfold carried. cbn [leaves cost depth]. unfold moves. destruct Req_EM_T as [S|_]; [contradiction|].
  rewrite plus_INR. simpl (INR 1).
  replace (cost E a + (factor_cost E + product_cost E) + (INR (depth w a) + 1) * eta_weight) with
    ((cost E a + INR (depth w a) * eta_weight) + ((factor_cost E + product_cost E) + eta_weight)) by ring.
  rewrite (exp_plus (cost E a + _)), (exp_plus (factor_cost E + product_cost E) eta_weight), <- Rmult_assoc.
  apply Rmult_le_compat_l; [apply Rmult_le_pos; [apply of_cast_sum|left; apply exp_pos]|].
  pose proof (exp_ineq1_le eta_weight). pose proof (exp_pos (product_cost E)).
  assert (exp (product_cost E) <= exp (factor_cost E + product_cost E)) by (apply exp_le; lra).
  assert (factor_lost E * exp (product_cost E) <= eta_weight * exp (factor_cost E + product_cost E))
    by (apply Rmult_le_compat; lra). nra.
Qed.

Lemma lost_with_cast s : lost v G E s <= lost v G uncast s + carried s.
Proof.
  induction s as [i m|a IHa b IHb|a IHa m].
  - cbn [lost]. destruct etas as [P _]. destruct within. eapply Rle_trans; [apply cast_leaf_lost0|]. simpl.
    apply Rplus_le_compat_l. unfold carried. simpl. rewrite Rplus_0_r.
    apply Rmult_le_compat_l; [apply of_cast_nonneg|]. apply exp_le. pose proof (pos_INR (w i)). nra.
  - cbn [lost]. pose proof (carried_add a b). pose proof (exp_pos (add_cost E)). simpl. nra.
  - cbn [lost]. destruct (Req_EM_T m (shift a)) as [S|N].
    + unfold carried. cbn [leaves cost depth]. unfold moves. destruct Req_EM_T; [|contradiction].
      rewrite Rplus_0_r, Nat.add_0_r. exact IHa.
    + pose proof (carried_rescale a m N) as C. destruct within. destruct cast_ok0.
      change (cost uncast a) with (cost E a). simpl.
      pose proof (exp_pos (factor_cost E + product_cost E)). pose proof (exp_pos (product_cost E)).
      assert (0 <= factor_lost E * exp (product_cost E)) by (apply Rmult_le_pos; lra).
      assert (lost v G E a * (exp (factor_cost E + product_cost E) + factor_lost E * exp (product_cost E)) <=
        (lost v G uncast a + carried a) * (exp (factor_cost E + product_cost E) + factor_lost E * exp (product_cost E)))
        by (apply Rmult_le_compat_r; lra). lra.
Qed.

(** THEOREM.  The absolute part of a sum of cast weights. *)
Theorem lost_any_order_cast (keys changes : nat) s bound total_seen :
  (forall i, In i (leaves s) -> (w i <= 1)%nat) ->
  counted w keys changes s -> cost E s <= bound -> seen v G s <= total_seen ->
  lost v G E s <= underflow (INR keys) (INR changes) total_seen eta_weight eta_sum bound
    + cast_underflow (INR changes) total_seen eta_cast eta_weight bound.
Proof.
  intros W1 (HL & HD & HP) HC HS. destruct etas as [P Q]. eapply Rle_trans; [apply lost_with_cast|].
  destruct uncast_within. apply Rplus_le_compat.
  - eapply (lost_any_order w v G uncast); eauto.
  - unfold cast_underflow, growth, carried. apply le_INR in HD. rewrite plus_INR in HD. simpl (INR 1) in HD.
    replace (1 + (exp (bound + (1 + INR changes) * eta_weight) - 1)) with (exp (bound + (1 + INR changes) * eta_weight))
      by ring.
    apply Rmult_le_compat; [apply of_cast_sum|left; apply exp_pos| |apply exp_le; nra].
    destruct within. apply Rle_trans with (seen v G s * eta_cast); [|apply Rmult_le_compat_r; lra].
    unfold seen. rewrite <- sumf_scal. apply sumf_le. intros i Hi. unfold of_cast.
    apply Rmult_le_compat_r; [assumption|]. specialize (W1 i Hi). apply le_INR in W1. simpl (INR 1) in W1.
    assert (0 <= Rabs (v i) * exp (peak G i)) by (apply Rmult_le_pos; [apply Rabs_pos|left; apply exp_pos]).
    pose proof (pos_INR (w i)). nra.
Qed.
End Cast.
