(** Online softmax's normaliser, element by element (Milakov and Gimelshein, 2018): tiles of one key. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth Perturbed Arithmetic AlgebraMaximum Schedule ScheduleCost
  ScheduleAnyOrder ScheduleArithmetic Tiles TilesRow ConditionalRescale Safe GibbsNormaliser.
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

Lemma online_reference (x : number A) xs : fst (online (value x) 1 xs) = largest (value x) (map value xs).
Proof.
  generalize (value x), 1. induction xs as [|y xs IH]; intros m l; simpl; [reflexivity|]. apply IH.
Qed.

(** THEOREM (online normaliser, before any data is seen): no range of scores in it. *)
Theorem online_range_free (x : number A) xs nats :
  let n := length (x :: xs) in
  let k := records (value x) xs in
  u A < 1 -> ln (INR n) <= nats -> u A * nats / (1 - u A) < 1 ->
  let '(m, l) := online (value x) 1 xs in
  let exact := sumf (weighted value one m) (x :: xs) in
  m = largest (value x) (map value xs) /\ 1 <= exact /\
  Rabs (l - exact) <= gibbs_normaliser (INR n) (INR k) nats (u A) (u A) (exponential A) (Arithmetic.eta_exp A) (eta A)
    * exact.
Proof.
  intros n k U HK Hk. pose proof (online_bound x xs) as P. pose proof (online_reference x xs) as M.
  destruct (online (value x) 1 xs) as [m l]. cbn [fst] in M. fold n k in P.
  assert (B : forall i, In i (x :: xs) -> value i <= m).
  { intros i Hi. rewrite M. apply largest_ge. change (value x :: map value xs) with (map value (x :: xs)).
    now apply in_map. }
  assert (T : exists top, In top (x :: xs) /\ value top = m).
  { pose proof (largest_in (map value xs) (value x)) as H.
    change (value x :: map value xs) with (map value (x :: xs)) in H. rewrite <- M in H.
    apply in_map_iff in H. destruct H as (top & Et & Ht). now exists top. }
  destruct T as (top & Ht & Et).
  set (C := path_cost n k (exponential A) (u A) 0) in *.
  assert (C0 : 0 <= C).
  { unfold C, path_cost, additions. pose proof (exponential_nonneg A OK). pose proof (A_u A OK). pose proof (pos_INR n).
    pose proof (pos_INR k). nra. }
  assert (E0 : 0 <= Arithmetic.eta_exp A) by apply (A_eta_exp A OK).
  assert (S0 : 0 <= eta A) by (eapply Rle_trans; [apply (A_eta_mul A OK)|apply Rmax_r]).
  set (H := underflow (INR n) (INR k) (INR n + 1) (Arithmetic.eta_exp A) (eta A) C).
  assert (HH : 0 <= underflow (INR n) (INR k) (INR n) (Arithmetic.eta_exp A) (eta A) C <= H).
  { unfold H, underflow, growth. pose proof (pos_INR n). pose proof (pos_INR k).
    set (g := exp (C + (1 + INR k) * Arithmetic.eta_exp A)). assert (0 < g) by apply exp_pos.
    replace (1 + (g - 1)) with g by ring.
    assert (0 <= (1 + INR k) * Arithmetic.eta_exp A) by nra. assert (0 <= (2 * INR n + 1 + INR k) * eta A) by nra.
    split; [apply Rmult_le_pos; nra|]. apply Rmult_le_compat_r; nra. }
  destruct (perturbed_range_free value (x :: xs) m top C (u A) nats H l) as [L1 R]; auto; try lra.
  - eapply perturbed_weaken; [| |exact P]; [|apply HH]. intros i _. apply Rle_refl.
  - pose proof (A_u A OK). lra.
  - split; [exact M|]. split; [exact L1|]. eapply Rle_trans; [exact R|]. right. unfold gibbs_normaliser.
    replace ((1 + INR k) * exponential A + additions (INR n) (INR k) (u A)) with C by (unfold C, path_cost; ring).
    reflexivity.
Qed.
End Online.
