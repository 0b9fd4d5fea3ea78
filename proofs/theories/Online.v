(** Online softmax's normaliser, element by element (Milakov and Gimelshein, 2018): tiles of one key. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Perturbed Arithmetic AlgebraMaximum Schedule ScheduleCost ScheduleSubtract
  ScheduleAnyOrder ScheduleArithmetic Tiles TilesComputed TilesCost TilesRow ConditionalRescale Safe Gibbs GibbsNormaliser.
Import ListNotations.
Open Scope R_scope.

Section Online.
Variable A : arith.
Hypothesis OK : arith_ok A.

Fixpoint online (m l : R) (xs : list (number A)) : R * R :=
  match xs with
  | [] => (m, l)
  | x :: r => let m' := Rmax m (value x) in
              online m' (fadd A (fmul A l (fexp A (fsub A m m'))) (fexp A (fsub A (value x) m'))) r
  end.

(** How often the running maximum grows. *)
Fixpoint records (m : R) (xs : list (number A)) : nat :=
  match xs with
  | [] => 0%nat
  | x :: r => let m' := Rmax m (value x) in ((if Req_EM_T m' m then 0 else 1) + records m' r)%nat
  end.

Definition single (x : number A) : tile (number A) := (x, []).
Let leaf := weight_leaf A (fun p => p) (@value A).

Lemma online_is_absorb xs : forall m l, online m l xs = absorb_all value A leaf (weight A) Rmax (m, l) (map single xs).
Proof. induction xs as [|x xs IH]; intros m l; simpl; [reflexivity|]. apply IH. Qed.

Lemma records_is_moved xs : forall m, records m xs = moved value Rmax m (map single xs).
Proof. induction xs as [|x xs IH]; intros m; simpl; [reflexivity|]. rewrite IH. reflexivity. Qed.

Lemma all_keys_single (xs : list (number A)) : all_keys (map single xs) = xs.
Proof. unfold all_keys. induction xs as [|x xs IH]; simpl; [reflexivity|]. now rewrite IH. Qed.

Lemma online_is_tiled x xs :
  online (value x) 1 xs = tiled value A leaf (weight A) Rmax (single x) (map single xs).
Proof.
  rewrite online_is_absorb. unfold tiled. do 2 f_equal. unfold tile_sum, tile_max, leaf, weight_leaf. simpl.
  symmetry. apply weight_still; [exact OK|apply in_format].
Qed.

(** THEOREM (online normaliser): a rescale costs an exponential and a product, only where the maximum grows. *)
Theorem online_bound x xs :
  let n := length (x :: xs) in
  let k := records (value x) xs in
  let '(m, l) := online (value x) 1 xs in
  perturbed (x :: xs) (weighted value one m)
    (fun i => path_cost n k (exponential A) (u A) 0 + u A * (m - value i))
    (underflow (INR n) (INR k) (INR n) (Arithmetic.eta_exp A) (eta A) (path_cost n k (exponential A) (u A) 0)) l.
Proof.
  intros n k. pose proof (proj2 (A_u A OK)) as U. rewrite online_is_tiled.
  pose proof (tiled_normaliser A A (fun p => p) 0 0 OK OK (fun p H => H) (no_conversion A) value (fun _ => 1%nat) 0 Rmax
    (running_maximum A) in_format U (eta A) (Rmax_l _ _) (Rmax_r _ _) (fun _ => le_n 1) (single x) (map single xs)
    (fun _ _ => eq_refl)) as P.
  fold leaf in P. destruct (tiled _ _ _ _ _ _ _) as [m l].
  change (single x :: map single xs) with (map single (x :: xs)) in P. rewrite all_keys_single in P. fold n in P.
  rewrite <- records_is_moved in P. change (tile_max value (single x)) with (value x) in P. fold k in P.
  unfold row_log_error, row_lost in P. eapply perturbed_weaken; [| |exact P].
  - intros i _. cbv beta. lra.
  - right. rewrite Rmult_0_r, exp_0, Rmult_1_r. unfold eta_weight. now rewrite Rplus_0_r.
Qed.
End Online.
