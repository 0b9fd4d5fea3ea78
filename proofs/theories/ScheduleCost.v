(** What schedules cost, from counts alone: n keys in k rescales, added up in any order.

    A leaf carries [w i] exponentials and products of its own: one if it is a key, none if it is a sink, which starts a
    row with exactly 1 at its own reference. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth Schedule.
Import ListNotations.
Open Scope R_scope.

(** Log cost of adding up: [keys] additions and 1 + [changes] products on the costliest path. *)
Definition additions (keys changes unit : R) : R := (keys + 1 + changes) * unit.

(** Absolute part of a sum over values that add up to [seen]. *)
Definition underflow (keys changes seen eta_weight eta_sum cost : R) : R :=
  ((1 + changes) * seen * eta_weight + (2 * keys + 1 + changes) * eta_sum)
  * (1 + growth (cost + (1 + changes) * eta_weight)).

Section Counts.
Context {I : Type} (w : I -> nat).

Definition moves (a : schedule I) (m : R) : nat := if Req_EM_T m (shift a) then 0%nat else 1%nat.

(** Exponentials (and products) on the longest path. *)
Fixpoint depth (s : schedule I) : nat :=
  match s with
  | Leaf i _ => w i
  | Add a b => Nat.max (depth a) (depth b)
  | Rescale a m => (depth a + moves a m)%nat
  end.

(** Products in all. *)
Fixpoint products (s : schedule I) : nat :=
  match s with
  | Leaf i _ => w i
  | Add a b => (products a + products b)%nat
  | Rescale a m => (products a + moves a m)%nat
  end.

Lemma one_leaf_at_least (s : schedule I) : (1 <= length (leaves s))%nat.
Proof. induction s; simpl; [lia| |assumption]. rewrite app_length. lia. Qed.

Section Bounds.
Variables (v : I -> R) (G : argument I) (E : operations I) (eps unit cast eta_weight eta_sum : R).
Hypothesis EOK : operations_ok E.
Hypothesis eps_nonneg : 0 <= eps.
Hypothesis unit_nonneg : 0 <= unit.
Hypothesis cast_nonneg : 0 <= cast.
Hypothesis leaf_at_most : forall i, leaf_cost E i <= INR (w i) * (eps + unit) + cast.
Hypothesis add_at_most : add_cost E <= unit.
Hypothesis factor_at_most : factor_cost E <= eps.
Hypothesis product_at_most : product_cost E <= unit.

Lemma cost_counted s :
  cost E s <= INR (depth s) * (eps + unit) + cast + (INR (length (leaves s)) - 1) * unit.
Proof.
  destruct EOK. induction s as [i m|a IHa b IHb|a IHa m]; cbn [cost depth leaves length].
  - specialize (leaf_at_most i). simpl INR. lra.
  - rewrite app_length, plus_INR.
    pose proof (le_INR _ _ (Nat.le_max_l (depth a) (depth b))).
    pose proof (le_INR _ _ (Nat.le_max_r (depth a) (depth b))).
    pose proof (le_INR _ _ (one_leaf_at_least a)) as La. pose proof (le_INR _ _ (one_leaf_at_least b)) as Lb.
    simpl (INR 1) in La, Lb. set (D := INR (Nat.max (depth a) (depth b))) in *.
    set (na := INR (length (leaves a))) in *. set (nb := INR (length (leaves b))) in *.
    assert (Rmax (cost E a) (cost E b) <= D * (eps + unit) + cast + (na + nb - 1 - 1) * unit); [|lra].
    apply Rmax_lub; (eapply Rle_trans; [eassumption|]); nra.
  - unfold moves. rewrite plus_INR. destruct Req_EM_T; simpl INR; lra.
Qed.

(** THEOREM (cost in any order). *)
Theorem cost_any_order (keys changes : nat) s :
  (length (leaves s) <= keys + 1)%nat -> (depth s <= 1 + changes)%nat ->
  cost E s <= (1 + INR changes) * eps + cast + additions (INR keys) (INR changes) unit.
Proof.
  intros HL HD. pose proof (cost_counted s). apply le_INR in HL, HD.
  rewrite plus_INR in HL, HD. simpl (INR 1) in HL, HD. unfold additions. nra.
Qed.

Hypothesis leaf_lost_at_most : forall i,
  leaf_lost E i <= INR (w i) * (Rabs (v i) * exp (peak G i) * eta_weight + eta_sum) * exp (leaf_cost E i).
Hypothesis add_lost_at_most : add_lost E <= eta_sum.
Hypothesis factor_lost_at_most : factor_lost E <= eta_weight.
Hypothesis product_lost_at_most : product_lost E <= eta_sum.

(** Everything that is lost, before it grows along its path. *)
Definition sources (s : schedule I) : R :=
  INR (depth s) * seen v G s * eta_weight + (INR (products s) + INR (length (leaves s)) - 1) * eta_sum.

Definition grown (s : schedule I) : R := exp (cost E s + INR (depth s) * eta_weight).

Lemma eta_sum_nonneg : 0 <= eta_sum.
Proof. destruct EOK. lra. Qed.

Lemma eta_weight_nonneg : 0 <= eta_weight.
Proof. destruct EOK. lra. Qed.

Lemma sources_nonneg s : 0 <= sources s.
Proof.
  pose proof eta_sum_nonneg. pose proof eta_weight_nonneg. pose proof (seen_nonneg v G s).
  pose proof (pos_INR (depth s)). pose proof (pos_INR (products s)).
  pose proof (le_INR _ _ (one_leaf_at_least s)) as L. simpl (INR 1) in L. unfold sources.
  apply Rplus_le_le_0_compat; apply Rmult_le_pos; try lra. apply Rmult_le_pos; lra.
Qed.

Lemma grown_ge_1 s : 1 <= grown s.
Proof.
  unfold grown. apply exp_ge_1. pose proof (cost_nonneg E EOK s). pose proof eta_weight_nonneg.
  pose proof (pos_INR (depth s)). nra.
Qed.

Lemma lost_leaf_counted i m : lost v G E (Leaf i m) <= sources (Leaf i m) * grown (Leaf i m).
Proof.
  eapply Rle_trans; [apply leaf_lost_at_most|]. pose proof eta_sum_nonneg. pose proof eta_weight_nonneg.
  assert (S : INR (w i) * (Rabs (v i) * exp (peak G i) * eta_weight + eta_sum) = sources (Leaf i m)).
  { unfold sources, seen. simpl. ring. }
  rewrite S. apply Rmult_le_compat_l; [apply sources_nonneg|]. unfold grown. apply exp_le. simpl.
  pose proof (pos_INR (w i)). nra.
Qed.

Lemma lost_add_counted a b : lost v G E a <= sources a * grown a -> lost v G E b <= sources b * grown b ->
  lost v G E (Add a b) <= sources (Add a b) * grown (Add a b).
Proof.
  intros Ha Hb. pose proof eta_sum_nonneg as P. pose proof eta_weight_nonneg as Q.
  pose proof (le_INR _ _ (Nat.le_max_l (depth a) (depth b))) as Da.
  pose proof (le_INR _ _ (Nat.le_max_r (depth a) (depth b))) as Db.
  set (g := exp (Rmax (cost E a) (cost E b) + INR (depth (Add a b)) * eta_weight)).
  assert (Ga : grown a <= g).
  { unfold grown, g. apply exp_le. simpl depth. pose proof (Rmax_l (cost E a) (cost E b)). nra. }
  assert (Gb : grown b <= g).
  { unfold grown, g. apply exp_le. simpl depth. pose proof (Rmax_r (cost E a) (cost E b)). nra. }
  assert (GE : grown (Add a b) = g * exp (add_cost E)).
  { unfold grown, g. rewrite <- exp_plus. f_equal. simpl. ring. }
  assert (S : sources a + sources b + eta_sum <= sources (Add a b)).
  { unfold sources. cbn [depth leaves products]. rewrite app_length, !plus_INR.
    assert (Es : seen v G (Add a b) = seen v G a + seen v G b) by apply sumf_app. rewrite Es.
    pose proof (seen_nonneg v G a). pose proof (seen_nonneg v G b).
    assert (INR (depth a) * seen v G a * eta_weight <= INR (Nat.max (depth a) (depth b)) * seen v G a * eta_weight)
      by (apply Rmult_le_compat_r; nra).
    assert (INR (depth b) * seen v G b * eta_weight <= INR (Nat.max (depth a) (depth b)) * seen v G b * eta_weight)
      by (apply Rmult_le_compat_r; nra).
    lra. }
  pose proof (sources_nonneg a). pose proof (sources_nonneg b). pose proof (grown_ge_1 (Add a b)).
  assert (lost v G E a <= sources a * g) by nra. assert (lost v G E b <= sources b * g) by nra.
  pose proof (exp_pos (add_cost E)). cbn [lost].
  apply Rle_trans with ((sources a + sources b + eta_sum) * grown (Add a b)).
  - rewrite GE in *. nra.
  - apply Rmult_le_compat_r; [lra|exact S].
Qed.

Lemma lost_rescale_counted a m : lost v G E a <= sources a * grown a ->
  lost v G E (Rescale a m) <= sources (Rescale a m) * grown (Rescale a m).
Proof.
  intros Ha. pose proof eta_sum_nonneg as P. pose proof eta_weight_nonneg as Q.
  unfold grown, sources, seen. cbn [cost depth leaves products lost]. unfold moves.
  destruct Req_EM_T as [S|N]; [rewrite Rplus_0_r, !Nat.add_0_r; exact Ha|].
  rewrite !plus_INR. simpl (INR 1). fold (seen v G a).
  destruct EOK. pose proof (lost_nonneg v G E EOK a) as L0. pose proof (seen_nonneg v G a) as S0.
  pose proof (sources_nonneg a) as R0. pose proof (grown_ge_1 a) as g1.
  set (c := exp (factor_cost E + product_cost E)). set (g := grown a) in *.
  assert (c1 : 1 <= c) by (apply exp_ge_1; lra).
  assert (e1 : 1 + eta_weight <= exp eta_weight) by apply exp_ineq1_le.
  assert (GE : exp (cost E a + (factor_cost E + product_cost E) + (INR (depth a) + 1) * eta_weight)
               = g * c * exp eta_weight).
  { unfold g, grown, c. rewrite <- !exp_plus. f_equal. ring. }
  rewrite GE.
  assert (pc : exp (product_cost E) <= c) by (apply exp_le; lra).
  assert (ca : exp (cost E a) <= g).
  { unfold g, grown. apply exp_le. pose proof (pos_INR (depth a)). nra. }
  pose proof (exp_pos (product_cost E)). pose proof (exp_pos (cost E a)).
  set (K := g * c * exp eta_weight).
  assert (gc : g * c <= K) by (unfold K; rewrite <- (Rmult_1_r (g * c)) at 1; apply Rmult_le_compat_l; nra).
  assert (K1 : 1 <= K) by nra.
  replace ((INR (depth a) + 1) * seen v G a * eta_weight
           + (INR (products a) + 1 + INR (length (leaves a)) - 1) * eta_sum)
    with (sources a + (seen v G a * eta_weight + eta_sum)) by (unfold sources; ring).
  rewrite Rmult_plus_distr_r.
  assert (T1 : lost v G E a * c + lost v G E a * (factor_lost E * exp (product_cost E)) <= sources a * K).
  { apply Rle_trans with (lost v G E a * (c * exp eta_weight)).
    - rewrite <- Rmult_plus_distr_l. apply Rmult_le_compat_l; [exact L0|].
      assert (factor_lost E * exp (product_cost E) <= eta_weight * c) by (apply Rmult_le_compat; lra). nra.
    - unfold K. replace (sources a * (g * c * exp eta_weight)) with (sources a * g * (c * exp eta_weight)) by ring.
      apply Rmult_le_compat_r; [|exact Ha]. apply Rmult_le_pos; lra. }
  assert (T2 : seen v G a * exp (cost E a) * factor_lost E * exp (product_cost E) <= seen v G a * eta_weight * K).
  { apply Rle_trans with (seen v G a * eta_weight * (g * c)).
    - replace (seen v G a * exp (cost E a) * factor_lost E * exp (product_cost E))
        with (seen v G a * (factor_lost E * (exp (cost E a) * exp (product_cost E)))) by ring.
      rewrite (Rmult_assoc (seen v G a)). apply Rmult_le_compat_l; [exact S0|].
      apply Rmult_le_compat; [lra|apply Rmult_le_pos; lra|lra|]. apply Rmult_le_compat; lra.
    - apply Rmult_le_compat_l; [now apply Rmult_le_pos|exact gc]. }
  assert (T3 : product_lost E <= eta_sum * K).
  { apply Rle_trans with (eta_sum * 1); [lra|apply Rmult_le_compat_l; lra]. }
  lra.
Qed.

Lemma lost_counted s : lost v G E s <= sources s * grown s.
Proof.
  induction s; [apply lost_leaf_counted|now apply lost_add_counted|now apply lost_rescale_counted].
Qed.

(** THEOREM (underflow in any order). *)
Theorem lost_any_order (keys changes : nat) s bound total_seen :
  (length (leaves s) <= keys + 1)%nat -> (depth s <= 1 + changes)%nat -> (products s <= keys + 1 + changes)%nat ->
  cost E s <= bound -> seen v G s <= total_seen ->
  lost v G E s <= underflow (INR keys) (INR changes) total_seen eta_weight eta_sum bound.
Proof.
  intros HL HD HP HC HS. eapply Rle_trans; [apply lost_counted|].
  pose proof eta_sum_nonneg as P. pose proof eta_weight_nonneg as Q. pose proof (seen_nonneg v G s) as S0.
  apply le_INR in HL, HD, HP. rewrite plus_INR in HL, HD. rewrite 2!plus_INR in HP. change (INR 1) with 1 in *.
  pose proof (pos_INR (depth s)). unfold underflow, sources, grown, growth.
  replace (1 + (exp (bound + (1 + INR changes) * eta_weight) - 1)) with (exp (bound + (1 + INR changes) * eta_weight))
    by ring.
  assert (INR (depth s) * eta_weight <= (1 + INR changes) * eta_weight) by (apply Rmult_le_compat_r; lra).
  apply Rmult_le_compat; [apply sources_nonneg|left; apply exp_pos| |apply exp_le; lra].
  apply Rplus_le_compat.
  - apply Rmult_le_compat_r; [exact Q|]. apply Rmult_le_compat; lra.
  - apply Rmult_le_compat_r; lra.
Qed.
End Bounds.
End Counts.
