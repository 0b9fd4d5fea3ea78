(** Safe softmax's normaliser: one pass for the maximum, one for the sum.  A tiled row of a single tile. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Perturbed Arithmetic AlgebraMaximum Schedule ScheduleCost ScheduleAnyOrder
  ScheduleArithmetic Tiles TilesRow ConditionalRescale.
Import ListNotations.
Open Scope R_scope.

(** A number that the format holds. *)
Record number (A : arith) := { value : R; in_format : F A value }.
Arguments value {A}. Arguments in_format {A}.

Lemma no_conversion A : conversion A A (fun p => p) 0 0.
Proof.
  split; [lra|]. split; [lra|]. intros p Hp. split; [exact Hp|]. exists 0, 0. rewrite Rabs_R0, exp_0.
  repeat split; lra.
Qed.

(** A kernel whose underflow unit is the larger of its operations'. *)
Definition eta (A : arith) : R := Rmax (Arithmetic.eta_add A) (Arithmetic.eta_mul A).

Section Safe.
Variable A : arith.
Hypothesis OK : arith_ok A.

Fixpoint safe_sum (m total : R) (xs : list (number A)) : R :=
  match xs with [] => total | x :: r => safe_sum m (fadd A total (fexp A (fsub A (value x) m))) r end.

Definition safe_normaliser (x : number A) (xs : list (number A)) : R :=
  let m := largest (value x) (map value xs) in safe_sum m (fexp A (fsub A (value x) m)) xs.

Lemma safe_sum_is_fold m xs : forall total,
  safe_sum m total xs = fold_left (fun a i => fadd A a (weight_leaf A (fun p => p) value m i)) xs total.
Proof. induction xs as [|x xs IH]; intros total; simpl; [reflexivity|]. apply IH. Qed.

(** THEOREM (safe normaliser): n - 1 additions, one exponential and u for each nat of distance. *)
Theorem safe_bound x xs :
  let n := length (x :: xs) in
  let m := largest (value x) (map value xs) in
  perturbed (x :: xs) (weighted value one m)
    (fun i => path_cost n 0 (exponential A) (u A) 0 + u A * (m - value i))
    (underflow (INR n) 0 (INR n) (Arithmetic.eta_exp A) (eta A) (path_cost n 0 (exponential A) (u A) 0))
    (safe_normaliser x xs).
Proof.
  intros n m. pose proof (proj2 (A_u A OK)) as U.
  pose proof (tiled_normaliser A A (fun p => p) 0 0 OK OK (fun p H => H) (no_conversion A) value (fun _ => 1%nat) 0 Rmax
    (running_maximum A) in_format U (eta A) (Rmax_l _ _) (Rmax_r _ _) (fun _ => le_n 1) (x, xs) [] (fun _ _ => eq_refl))
    as P.
  unfold tiled, absorb_all in P. simpl fold_left in P. unfold all_keys in P. simpl concat in P.
  rewrite app_nil_r in P. cbn [moved] in P. fold n in P. unfold row_log_error, row_lost in P.
  change (tile_max value (x, xs)) with m in P.
  assert (E : tile_sum A (weight_leaf A (fun p => p) value) m (x, xs) = safe_normaliser x xs)
    by (symmetry; apply safe_sum_is_fold).
  rewrite E in P. eapply perturbed_weaken; [| |exact P].
  - intros i _. cbv beta. lra.
  - right. rewrite Rmult_0_r, exp_0, Rmult_1_r. unfold eta_weight. now rewrite Rplus_0_r.
Qed.
End Safe.
