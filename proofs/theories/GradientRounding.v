(** One rounding, as the backward pass's programs meet it: relative error of at most u / (1 + u), as rounding to
    nearest and truncating have it (u the stage's unit), and an absolute error where the result underflows. *)
From Coq Require Import Reals Lra.
From refattn Require Import LogMetric Growth Roundoff.
Open Scope R_scope.

Definition rounds (u eta x y : R) : Prop :=
  exists d h, Rabs d <= u / (1 + u) /\ Rabs h <= eta /\ y = x * (1 + d) + h.

Lemma unit_below u : 0 <= u -> u / (1 + u) <= u.
Proof.
  intros U. apply Rmult_le_reg_r with (1 + u); [lra|].
  unfold Rdiv. rewrite Rmult_assoc, Rinv_l by lra. nra.
Qed.

Lemma rounds_exactly u eta x : 0 <= u -> 0 <= eta -> rounds u eta x x.
Proof.
  intros U E. exists 0, 0. rewrite Rabs_R0. split; [|split; [exact E|ring]].
  apply Rmult_le_pos; [exact U|left; apply Rinv_0_lt_compat; lra].
Qed.

Lemma rounds_log u eta x y : 0 <= u -> rounds u eta x y ->
  exists t h, Rabs t <= u /\ Rabs h <= eta /\ y = x * exp t + h.
Proof.
  intros U (d & h & D & H & ->). destruct (rerr_nearest u d x U D) as (t & T & E).
  exists t, h. rewrite E. auto.
Qed.

Lemma rounds_relative u eta x y : 0 <= u -> rounds u eta x y -> Rabs (y - x) <= u * Rabs x + eta.
Proof.
  intros U (d & h & D & H & ->). replace (x * (1 + d) + h - x) with (d * x + h) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. apply Rplus_le_compat; [|exact H].
  rewrite Rabs_mult. apply Rmult_le_compat_r; [apply Rabs_pos|]. pose proof (unit_below u U). lra.
Qed.

Lemma off_size x a e : Rabs (x - a) <= e -> Rabs x <= Rabs a + e.
Proof.
  intros H. replace x with (a + (x - a)) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra.
Qed.

Lemma exp_within t T : Rabs t <= T -> exp t <= 1 + growth T.
Proof. intros H. unfold growth. apply Rabs_le_inv in H. pose proof (exp_le t T). lra. Qed.

Theorem rounds_rounded u eta x y a e : 0 <= u -> Rabs (x - a) <= e -> rounds u eta x y ->
  Rabs (y - a) <= rounded e (Rabs a) u eta.
Proof.
  intros U E H. apply (rounded_error a x y e (Rabs a) u eta U (Rle_refl _) E). now apply rounds_relative.
Qed.

(** A product of a number that is off by e with a factor that is off by f. *)
Lemma product_off x a e y b f : Rabs (x - a) <= e -> Rabs (y - b) <= f ->
  Rabs (x * y - a * b) <= e * Rabs b + (Rabs a + e) * f.
Proof.
  intros E F. replace (x * y - a * b) with ((x - a) * b + x * (y - b)) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. rewrite !Rabs_mult. apply Rplus_le_compat.
  - apply Rmult_le_compat_r; [apply Rabs_pos|exact E].
  - apply Rmult_le_compat; try apply Rabs_pos; [now apply off_size|exact F].
Qed.
