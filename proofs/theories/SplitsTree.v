(** Parts combined in any tree (a chain over devices, a cascade): each level costs what one combination costs.

    Underflow apart, which Splits carries along with each combination. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth Perturbed Splits.
Import ListNotations.
Open Scope R_scope.

Section Tree.
Context {I : Type}.
Variables p v Tn Td : I -> R.
Variables rho weight unit unit_total kept : R.
Hypothesis rho_nonneg : 0 <= rho.
Hypothesis weight_nonneg : 0 <= weight.
Hypothesis unit_nonneg : 0 <= unit.
Hypothesis unit_total_nonneg : 0 <= unit_total.
Hypothesis kept_nonneg : 0 <= kept.

(** Both ways to combine the parts ks: by a quotient, or by weights relative to the combined log-sum-exp. *)
Definition combined (part_of : nat -> part I) (ks : list nat) (q : part I) : Prop :=
  exists W W' Y reference reference' L0 L,
    (forall k, In k ks -> weighs part_of (fun _ => weight) 0 W reference k) /\
    (forall k, In k ks -> weighs part_of (fun _ => weight) 0 W' reference' k /\ multiplies part_of unit 0 Y W' k) /\
    added unit_total 0 W ks L0 /\ rerr kept L L0 /\ 0 < L /\ Rabs (lse q - (reference + ln L)) <= rho /\
    keys q = flat_map (fun k => keys (part_of k)) ks /\
    ((W' = W /\ reference' = reference /\
      exists N t, added unit 0 Y ks N /\ Rabs t <= unit /\ out q = N / L * exp t) \/
     (reference' = lse q /\ added unit 0 Y ks (out q))).

(** [tree depth parts q]: q is made of that many parts, through at most [depth] combinations each. *)
Inductive tree : nat -> nat -> part I -> Prop :=
| tree_part depth q : stands q p v Tn Td 0 0 rho -> tree depth 1 q
| tree_combined depth parts part_of count ks q :
    (forall k, In k ks -> (1 <= count k)%nat) -> (forall k, In k ks -> tree depth (count k) (part_of k)) ->
    parts = list_sum (map count ks) -> combined part_of ks q -> tree (S depth) parts q.

Definition level : R := rho + weight + unit + Rmax unit rho.

Lemma added_lost_none {K} (ks : list K) u H c : (forall k, H k = 0) -> added_lost u 0 H c ks = 0.
Proof.
  intros E. unfold added_lost. replace (sumf H ks) with 0; [ring|].
  symmetry. transitivity (sumf (fun _ : K => 0) ks); [apply sumf_ext; auto|]. rewrite sumf_const. ring.
Qed.

Lemma combined_stands (part_of : nat -> part I) ks q Sn Sd :
  (forall k, In k ks -> stands (part_of k) p v Sn Sd 0 0 rho) -> combined part_of ks q ->
  stands q p v (fun i => Sn i + level + additions ks * unit)
    (fun i => Sd i + (rho + weight + kept) + additions ks * unit_total) 0 0 rho.
Proof.
  intros HK (W & W' & Y & r & r' & L0 & L & HW & HY & A & R & PL & E & Ek & C).
  assert (SH : forall k i, In i (keys (part_of k)) -> rho + weight <= rho + weight) by (intros; lra).
  pose proof (Rmax_l unit rho) as M1. pose proof (Rmax_r unit rho) as M2. pose proof (Rle_refl 0) as Z.
  assert (Lw : forall c, added_lost unit_total 0 (weight_lost (fun _ : nat => 0) (fun _ => rho) (fun _ => weight) 0 c) c
    ks = 0) by (intros; apply added_lost_none; intros; unfold weight_lost; ring).
  assert (Lp : forall c, added_lost unit 0
    (product_lost part_of (fun _ => 0) (fun _ => rho) (fun _ => weight) unit 0 0 c) c ks = 0)
    by (intros; apply added_lost_none; intros; unfold product_lost; ring).
  destruct q as [xs o s]. cbn [out lse keys] in *. subst xs.
  destruct C as [(-> & -> & N & t & AN & Ht & Eo)|(-> & AN)].
  - destruct (combine_by_quotient part_of p v Sn Sd (fun _ => 0) (fun _ => 0) (fun _ => rho) (fun _ => weight)
      (fun _ => rho + weight) unit 0 unit_total 0 kept 0 unit_nonneg Z unit_total_nonneg Z Z (fun _ => Z) (fun _ => Z)
      SH W Y r ks L0 L N o s rho t 0) as (l & Hl & P1 & P2 & B); auto.
    + intros k Hk. split; [now apply HK|]. now apply HY.
    + rewrite Rabs_R0. lra.
    + rewrite Eo. ring.
    + unfold weighted_lost in P1. rewrite Lp in P1. unfold total_lost in P2. rewrite Lw in P2.
      exists l. split; [exact Hl|]. split; [|split; [|exact B]].
      * eapply perturbed_weaken; [| |exact P1]; [intros i _; unfold level; cbv beta; lra|lra].
      * eapply perturbed_weaken; [| |exact P2]; [intros i _; cbv beta; lra|lra].
  - destruct (combine_by_log_sum_exp part_of p v Sn Sd (fun _ => 0) (fun _ => 0) (fun _ => rho) (fun _ => weight)
      (fun _ => rho + weight) unit 0 unit_total 0 kept 0 unit_nonneg Z unit_total_nonneg Z Z (fun _ => Z) (fun _ => Z)
      SH W W' Y r ks L0 L o s rho) as (l & Hl & P1 & P2 & B); auto.
    + intros k Hk. split; [now apply HK|]. now apply HW.
    + unfold weighted_lost in P1. rewrite Lp in P1. unfold total_lost in P2. rewrite Lw in P2.
      exists l. split; [exact Hl|]. split; [|split; [|exact B]].
      * eapply perturbed_weaken; [| |exact P1]; [intros i _; unfold level; cbv beta; lra|lra].
      * eapply perturbed_weaken; [| |exact P2]; [intros i _; cbv beta; lra|lra].
Qed.

Lemma list_sum_count (count : nat -> nat) ks : (forall k, In k ks -> 1 <= count k)%nat ->
  forall k, In k ks -> (count k + (length ks - 1) <= list_sum (map count ks))%nat.
Proof.
  induction ks as [|j ks IH]; intros H k Hk; [destruct Hk|].
  change (list_sum (map count (j :: ks))) with (count j + list_sum (map count ks))%nat. cbn [length].
  assert (L : (length ks <= list_sum (map count ks))%nat).
  { clear -H. assert (H' : forall k, In k ks -> (1 <= count k)%nat) by (intros; apply H; now right).
    clear H. induction ks as [|i ks IH]; [simpl; lia|].
    change (list_sum (map count (i :: ks))) with (count i + list_sum (map count ks))%nat. cbn [length].
    pose proof (H' i (or_introl eq_refl)).
    assert (length ks <= list_sum (map count ks))%nat by (apply IH; intros; apply H'; now right). lia. }
  destruct Hk as [->|Hk]; [lia|].
  pose proof (H j (or_introl eq_refl)). specialize (IH (fun i Hi => H i (or_intror Hi)) k Hk).
  destruct ks; [destruct Hk|]. cbn [length] in *. lia.
Qed.

(** A level costs a rounding of a log-sum-exp, a weight, a product and a quotient; the additions of all levels together
    are as many as one less than the parts. *)
Theorem tree_stands depth parts q : tree depth parts q ->
  stands q p v (fun i => Tn i + INR depth * level + (INR parts - 1) * unit)
    (fun i => Td i + INR depth * (rho + weight + kept) + (INR parts - 1) * unit_total) 0 0 rho.
Proof.
  assert (L0 : 0 <= level) by (unfold level; pose proof (Rmax_l unit rho); lra).
  assert (D0 : 0 <= rho + weight + kept) by lra.
  induction 1 as [depth q (l & Hl & P1 & P2 & B)|depth parts part_of count ks q H _ IH -> C].
  - exists l. split; [exact Hl|]. split; [|split; [|exact B]].
    + eapply perturbed_weaken; [|apply Rle_refl|exact P1]. intros i _. pose proof (pos_INR depth).
      replace (INR 1 - 1) with 0 by (simpl; ring). nra.
    + eapply perturbed_weaken; [|apply Rle_refl|exact P2]. intros i _. pose proof (pos_INR depth).
      replace (INR 1 - 1) with 0 by (simpl; ring). nra.
  - set (n := list_sum (map count ks)).
    assert (K : forall k, In k ks -> INR (count k) - 1 <= INR n - 1 - additions ks).
    { intros k Hk. pose proof (list_sum_count count ks H k Hk) as S. fold n in S.
      assert (1 <= length ks)%nat by (destruct ks; [destruct Hk|simpl; lia]).
      apply le_INR in S. rewrite plus_INR, minus_INR in S by lia. unfold additions. simpl in S. lra. }
    destruct (combined_stands part_of ks q
      (fun i => Tn i + INR depth * level + (INR n - 1 - additions ks) * unit)
      (fun i => Td i + INR depth * (rho + weight + kept) + (INR n - 1 - additions ks) * unit_total))
      as (l & Hl & P1 & P2 & B); [|exact C|].
    + intros k Hk. specialize (K k Hk).
      destruct (IH k Hk) as (l & Hl & P1 & P2 & B).
      exists l. split; [exact Hl|]. split; [|split; [|exact B]].
      * eapply perturbed_weaken; [|apply Rle_refl|exact P1]. intros i _. cbv beta. nra.
      * eapply perturbed_weaken; [|apply Rle_refl|exact P2]. intros i _. cbv beta. nra.
    + exists l. split; [exact Hl|]. split; [|split; [|exact B]].
      * eapply perturbed_weaken; [|apply Rle_refl|exact P1]. intros i _. cbv beta. rewrite S_INR. lra.
      * eapply perturbed_weaken; [|apply Rle_refl|exact P2]. intros i _. cbv beta. rewrite S_INR. lra.
Qed.
End Tree.
