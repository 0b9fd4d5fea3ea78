(** The argument of exp (fl (x - m)) as an instance of [argument]: every subtraction errs by u times its result.

    Along any chain of rescales these errors add up to u times the distance from the last reference, and to 2 u tau
    where references are stale. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth Perturbed Schedule.
Open Scope R_scope.

Definition subtract {I} (x : I -> R) (u tau : R) : argument I := {|
  of_leaf := fun i m => u * Rabs (x i - m);
  of_rescale := fun m m' => u * (m' - m);
  total := fun i m => u * (m - x i + 2 * tau);
  peak := fun _ => (1 + u) * tau |}.

Theorem subtract_ok {I} (x : I -> R) u tau : 0 <= u <= 1 -> 0 <= tau -> argument_ok x tau (subtract x u tau).
Proof.
  intros U T. constructor; simpl; intros.
  - apply Rmult_le_compat_l; [lra|]. unfold Rabs. destruct Rcase_abs; lra.
  - right. ring.
  - nra.
  - nra.
Qed.

(** The part that distances have in a stale reference is at most their part in the largest score, and 2 u tau. *)
Lemma subtract_total_at_most {I} (x : I -> R) u tau i m top : 0 <= u -> m <= top ->
  total (subtract x u tau) i m <= u * (top - x i) + 2 * u * tau.
Proof. intros U H. simpl. nra. Qed.

(** THEOREM (any schedule, subtract): log-errors are the path's cost and u times the distance to the reference. *)
Theorem any_schedule_subtract {I} (x v : I -> R) u (E : operations I) s r :
  0 <= u <= 1 -> operations_ok E -> wf x 0 s -> computed x v (subtract x u 0) E s r ->
  perturbed (leaves s) (weighted x v (shift s)) (fun i => cost E s + u * (shift s - x i))
    (lost v (subtract x u 0) E s) r.
Proof.
  intros U EOK W C.
  pose proof (any_schedule x v 0 _ E (subtract_ok x u 0 U (Rle_refl 0)) EOK s r W C) as P.
  eapply perturbed_weaken; [|apply Rle_refl|exact P]. intros i _. simpl. lra.
Qed.
