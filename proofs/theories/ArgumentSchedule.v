(** The argument's errors along a schedule: what a leaf and all rescales after it add up to, for the three paths.

    Subtractions telescope: |x - m| and every m' - m after it add up to the distance from the last reference, and with
    references that are stale by up to tau to at most 2 tau more. The offset of a fused multiply-add is that of a
    reference between the score and the last one. Scores x and references m are those that the kernel has, in nats. *)
From Coq Require Import Reals List Lra.
From refattn Require Import LogMetric Roundoff Argument Schedule.
Import ListNotations.
Open Scope R_scope.

(** The largest reference that a score of this size can have met. *)
Definition reach (tau x m : R) : R := Rmax (Rabs x + tau) (Rabs m).

Section Paths.
Variables unit constant tau : R.
Hypothesis unit_nonneg : 0 <= unit.
Hypothesis constant_nonneg : 0 <= constant.
Hypothesis tau_nonneg : 0 <= tau.
Context {I : Type} (x : I -> R).

Definition by_subtract : argument I := {|
  of_leaf i m := argument_subtract (Rabs (x i - m)) unit;
  of_rescale m m' := argument_subtract (m' - m) unit;
  total i m := argument_subtract (m - x i + 2 * tau) unit;
  peak _ := (1 + unit) * tau |}.

Definition by_subtract_exp2 : argument I := {|
  of_leaf i m := argument_subtract_exp2 (Rabs (x i - m)) unit constant;
  of_rescale m m' := argument_subtract_exp2 (m' - m) unit constant;
  total i m := argument_subtract_exp2 (m - x i + 2 * tau) unit constant;
  peak _ := (1 + compound [unit; unit; constant]) * tau |}.

Definition offset : R := unit + unit * compound [unit; constant].

Definition by_fma : argument I := {|
  of_leaf i m := argument_fma (Rabs (x i - m)) (Rabs m) unit constant;
  of_rescale m m' := argument_subtract_exp2 (m' - m) unit constant;
  total i m := argument_fma (m - x i + 2 * tau) (reach tau (x i) m) unit constant;
  peak i := offset * Rabs (x i) + (1 + compound [unit; unit; constant] + offset) * tau |}.

Lemma distance_stale a m : a <= m + tau -> 0 <= Rabs (a - m) <= m - a + 2 * tau.
Proof. intros H. unfold Rabs. destruct (Rcase_abs (a - m)); lra. Qed.

Lemma compound3_nonneg : 0 <= compound [unit; unit; constant].
Proof. unfold compound; simpl. assert (0 <= unit * unit) by nra. nra. Qed.

Lemma offset_nonneg : 0 <= offset.
Proof. unfold offset, compound; simpl. assert (0 <= unit * constant) by nra. assert (0 <= unit * unit) by nra. nra. Qed.

Lemma reach_mono a m m' : a <= m + tau -> m <= m' -> reach tau a m <= reach tau a m'.
Proof.
  intros H L. unfold reach. apply Rmax_lub; [apply Rmax_l|].
  destruct (Rle_dec 0 m) as [P|N].
  - eapply Rle_trans; [|apply Rmax_r]. rewrite !Rabs_pos_eq; lra.
  - eapply Rle_trans; [|apply Rmax_l]. rewrite Rabs_left by lra.
    pose proof (Rle_abs (- a)). rewrite Rabs_Ropp in *. lra.
Qed.

Lemma reach_near a m : a <= m + tau -> reach tau a m <= Rabs a + (m - a + 2 * tau).
Proof.
  intros H. pose proof (distance_stale a m H). unfold reach. apply Rmax_lub; [lra|].
  replace m with (a + - (a - m)) at 1 by ring. eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. lra.
Qed.

Theorem by_subtract_ok : unit <= 1 -> argument_ok x tau by_subtract.
Proof.
  intros U. constructor; unfold by_subtract, argument_subtract; simpl; intros; try nra.
  apply Rmult_le_compat_l; [lra|]. now apply distance_stale.
Qed.

Theorem by_subtract_exp2_ok : compound [unit; unit; constant] <= 1 -> argument_ok x tau by_subtract_exp2.
Proof.
  pose proof compound3_nonneg as C. unfold by_subtract_exp2, argument_subtract_exp2.
  set (c := compound [unit; unit; constant]) in *. intros U. constructor; simpl; intros; try nra.
  apply Rmult_le_compat_l; [lra|]. now apply distance_stale.
Qed.

Theorem by_fma_ok : compound [unit; unit; constant] + offset <= 1 -> argument_ok x tau by_fma.
Proof.
  pose proof compound3_nonneg as C. pose proof offset_nonneg as W.
  unfold by_fma, argument_fma, argument_subtract_exp2. fold offset.
  set (c := compound [unit; unit; constant]) in *. intros U. constructor; simpl.
  - intros i m H. apply Rplus_le_compat; (apply Rmult_le_compat_l; [lra|]); [now apply distance_stale|apply Rmax_r].
  - intros i m m' H L. pose proof (reach_mono _ _ _ H L). nra.
  - intros m m' L. nra.
  - intros i m H. pose proof (reach_near _ _ H). nra.
Qed.

(** With scores and the last reference known to within [doubt]. *)
Theorem distance_known a m a' m' doubt : Rabs (a' - a) <= doubt -> Rabs (m' - m) <= doubt ->
  m' - a' + 2 * tau <= Rabs (m - a) + 2 * doubt + 2 * tau.
Proof.
  intros A M. apply Rabs_le_inv in A, M. pose proof (Rle_abs (m - a)). lra.
Qed.

Theorem reach_known a m a' m' doubt : Rabs (a' - a) <= doubt -> Rabs (m' - m) <= doubt ->
  reach tau a' m' <= Rmax (Rabs a) (Rabs m) + doubt + tau.
Proof.
  intros A M. assert (D : forall y y', Rabs (y' - y) <= doubt -> Rabs y' <= Rabs y + doubt).
  { intros y y' H. replace y' with (y + (y' - y)) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra. }
  pose proof (D _ _ A). pose proof (D _ _ M).
  pose proof (Rmax_l (Rabs a) (Rabs m)). pose proof (Rmax_r (Rabs a) (Rabs m)). unfold reach. apply Rmax_lub; lra.
Qed.
End Paths.
