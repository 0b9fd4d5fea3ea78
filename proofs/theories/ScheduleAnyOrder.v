(** THEOREM any_order: n keys in k rescales, added up in any order, as a perturbed sum whose errors are closed forms.

    This is what the bounds on normaliser and output start from. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth Perturbed Schedule ScheduleCost.
Open Scope R_scope.

(** Every operation within the units that an arithmetic declares. *)
Record operations_within {I} (w : I -> nat) (v : I -> R) (G : argument I) (E : operations I)
  (eps unit cast eta_weight eta_sum : R) : Prop := {
  within_ok : operations_ok E;
  within_eps : 0 <= eps;
  within_unit : 0 <= unit;
  within_cast : 0 <= cast;
  within_leaf : forall i, leaf_cost E i <= INR (w i) * (eps + unit) + cast;
  within_add : add_cost E <= unit;
  within_factor : factor_cost E <= eps;
  within_product : product_cost E <= unit;
  within_leaf_lost : forall i,
    leaf_lost E i <= INR (w i) * (Rabs (v i) * exp (peak G i) * eta_weight + eta_sum) * exp (leaf_cost E i);
  within_add_lost : add_lost E <= eta_sum;
  within_factor_lost : factor_lost E <= eta_weight;
  within_product_lost : product_lost E <= eta_sum }.

(** At most [keys] keys and a sink; at most [changes] rescales after a key, of which the sink may see one more. *)
Definition counted {I} (w : I -> nat) (keys changes : nat) (s : schedule I) : Prop :=
  (length (leaves s) <= keys + 1)%nat /\ (depth w s <= 1 + changes)%nat /\ (products w s <= keys + 1 + changes)%nat.

(** Log-error of the whole path: exponentials, cast, additions and products. *)
Definition path_cost (keys changes : nat) (eps unit cast : R) : R :=
  (1 + INR changes) * eps + cast + additions (INR keys) (INR changes) unit.

Section AnyOrder.
Context {I : Type} (w : I -> nat) (x v : I -> R) (tau : R) (G : argument I) (E : operations I).
Variables (eps unit cast eta_weight eta_sum : R) (keys changes : nat).
Hypothesis GOK : argument_ok x tau G.
Hypothesis within : operations_within w v G E eps unit cast eta_weight eta_sum.

Lemma cost_within s : counted w keys changes s -> cost E s <= path_cost keys changes eps unit cast.
Proof. destruct within. intros (HL & HD & _). eapply cost_any_order; eauto. Qed.

Lemma lost_within s S : counted w keys changes s -> seen v G s <= S ->
  lost v G E s <= underflow (INR keys) (INR changes) S eta_weight eta_sum (path_cost keys changes eps unit cast).
Proof.
  intros C HS. pose proof (cost_within s C) as B. destruct within. destruct C as (HL & HD & HP).
  eapply lost_any_order; eauto.
Qed.

Theorem any_order s r S : wf x tau s -> computed x v G E s r -> counted w keys changes s -> seen v G s <= S ->
  perturbed (leaves s) (weighted x v (shift s))
    (fun i => path_cost keys changes eps unit cast + total G i (shift s))
    (underflow (INR keys) (INR changes) S eta_weight eta_sum (path_cost keys changes eps unit cast)) r.
Proof.
  intros W C K HS. eapply perturbed_weaken; [| |eapply any_schedule; eauto using within_ok].
  - intros i _. pose proof (cost_within s K). cbv beta. lra.
  - now apply lost_within.
Qed.

(** Against exact scores and any reference m: errors of scores are added, and the absolute part is seen from m. *)
Theorem any_order_scores (score doubt : I -> R) (m : R) s r S :
  (forall i, In i (leaves s) -> Rabs (x i - score i) <= doubt i) ->
  wf x tau s -> computed x v G E s r -> counted w keys changes s -> seen v G s <= S ->
  let c := exp (m - shift s) in
  perturbed (leaves s) (weighted score v m)
    (fun i => path_cost keys changes eps unit cast + total G i (shift s) + doubt i)
    (underflow (INR keys) (INR changes) S eta_weight eta_sum (path_cost keys changes eps unit cast) / c) (r / c).
Proof.
  intros D W C K HS c. eapply perturbed_weaken; [| |eapply any_schedule_scores; eauto using within_ok].
  - intros i _. pose proof (cost_within s K). cbv beta. lra.
  - apply Rmult_le_compat_r; [left; apply Rinv_0_lt_compat, exp_pos|]. now apply lost_within.
Qed.
End AnyOrder.
