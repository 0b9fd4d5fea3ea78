(** One theorem for every schedule of a softmax sum.

    A schedule is a tree: leaves that evaluate exp (x_i - m) v_i at a reference m, additions of two partial sums with
    one reference, and rescales of a partial sum to a larger reference.  Safe, online and tiled softmax, pairwise sums
    and merges are schedules, for the normaliser (v = 1) and for every column of the output.  The reference may be
    stale: smaller than the largest score by at most tau. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth Perturbed.
Import ListNotations.
Open Scope R_scope.

Inductive schedule (I : Type) :=
| Leaf (i : I) (m : R)
| Add (a b : schedule I)
| Rescale (a : schedule I) (m : R).
Arguments Leaf {I}. Arguments Add {I}. Arguments Rescale {I}.

(** Log-errors of the exponential's argument.  [total i m] covers leaf i and every rescale since, up to reference m;
    [peak i] bounds the logarithm of the computed weight of leaf i at any reference. *)
Record argument (I : Type) := {
  of_leaf : I -> R -> R;
  of_rescale : R -> R -> R;
  total : I -> R -> R;
  peak : I -> R }.
Arguments of_leaf {I}. Arguments of_rescale {I}. Arguments total {I}. Arguments peak {I}.

Record argument_ok {I} (x : I -> R) (tau : R) (G : argument I) : Prop := {
  leaf_in_total : forall i m, x i <= m + tau -> of_leaf G i m <= total G i m;
  rescale_in_total : forall i m m', x i <= m + tau -> m <= m' -> total G i m + of_rescale G m m' <= total G i m';
  rescale_decays : forall m m', m <= m' -> of_rescale G m m' <= m' - m;
  weight_below_peak : forall i m, x i <= m + tau -> x i - m + total G i m <= peak G i }.

(** What the operations of a schedule lose: log-errors (cost) and absolute errors (lost: underflow, flushing). *)
Record operations (I : Type) := {
  leaf_cost : I -> R;    (* exponential, cast, product with v *)
  add_cost : R;
  factor_cost : R;       (* the exponential in a rescaling factor *)
  product_cost : R;      (* the product with that factor *)
  leaf_lost : I -> R;
  add_lost : R;
  factor_lost : R;
  product_lost : R }.
Arguments leaf_cost {I}. Arguments add_cost {I}. Arguments factor_cost {I}. Arguments product_cost {I}.
Arguments leaf_lost {I}. Arguments add_lost {I}. Arguments factor_lost {I}. Arguments product_lost {I}.

Record operations_ok {I} (E : operations I) : Prop := {
  leaf_cost_nonneg : forall i, 0 <= leaf_cost E i;
  add_cost_nonneg : 0 <= add_cost E;
  factor_cost_nonneg : 0 <= factor_cost E;
  product_cost_nonneg : 0 <= product_cost E;
  leaf_lost_nonneg : forall i, 0 <= leaf_lost E i;
  add_lost_nonneg : 0 <= add_lost E;
  factor_lost_nonneg : 0 <= factor_lost E;
  product_lost_nonneg : 0 <= product_lost E }.

Fixpoint shift {I} (s : schedule I) : R :=
  match s with Leaf _ m => m | Add a _ => shift a | Rescale _ m => m end.

Fixpoint leaves {I} (s : schedule I) : list I :=
  match s with Leaf i _ => [i] | Add a b => leaves a ++ leaves b | Rescale a _ => leaves a end.

(** The exact weighted value of a leaf at a reference. *)
Definition weighted {I} (x v : I -> R) (m : R) (i : I) : R := exp (x i - m) * v i.

Section Schedules.
Context {I : Type} (x v : I -> R) (tau : R) (G : argument I) (E : operations I).

(** References only grow, and no score is more than tau above its reference. *)
Fixpoint wf (s : schedule I) : Prop :=
  match s with
  | Leaf i m => x i <= m + tau
  | Add a b => shift a = shift b /\ wf a /\ wf b
  | Rescale a m => shift a <= m /\ wf a
  end.

(** What a schedule computes without errors. *)
Fixpoint exact (s : schedule I) : R :=
  match s with
  | Leaf i m => weighted x v m i
  | Add a b => exact a + exact b
  | Rescale a m => exact a * exp (shift a - m)
  end.

(** [computed s r]: r is a possible result of s.  A rescale that leaves the reference as it was changes nothing. *)
Inductive computed : schedule I -> R -> Prop :=
| computed_leaf i m t h : Rabs t <= leaf_cost E i + of_leaf G i m -> Rabs h <= leaf_lost E i ->
    computed (Leaf i m) (weighted x v m i * exp t + h)
| computed_add a b ra rb t h : computed a ra -> computed b rb -> Rabs t <= add_cost E -> Rabs h <= add_lost E ->
    computed (Add a b) ((ra + rb) * exp t + h)
| computed_rescale a m ra tf hf t h : computed a ra ->
    Rabs tf <= factor_cost E + of_rescale G (shift a) m -> Rabs hf <= factor_lost E ->
    Rabs t <= product_cost E -> Rabs h <= product_lost E -> m <> shift a ->
    computed (Rescale a m) (ra * (exp (shift a - m) * exp tf + hf) * exp t + h)
| computed_still a m ra : computed a ra -> m = shift a -> computed (Rescale a m) ra.

(** The costliest path from a leaf to the root, the argument's errors apart. *)
Fixpoint cost (s : schedule I) : R :=
  match s with
  | Leaf i _ => leaf_cost E i
  | Add a b => Rmax (cost a) (cost b) + add_cost E
  | Rescale a m => cost a + (if Req_EM_T m (shift a) then 0 else factor_cost E + product_cost E)
  end.

(** What the values can add up to, argument errors included. *)
Definition seen (s : schedule I) : R := sumf (fun i => Rabs (v i) * exp (peak G i)) (leaves s).

(** The absolute part. *)
Fixpoint lost (s : schedule I) : R :=
  match s with
  | Leaf i _ => leaf_lost E i
  | Add a b => (lost a + lost b) * exp (add_cost E) + add_lost E
  | Rescale a m =>
      if Req_EM_T m (shift a) then lost a else
      lost a * exp (factor_cost E + product_cost E)
      + ((seen a * exp (cost a) + lost a) * factor_lost E * exp (product_cost E) + product_lost E)
  end.

Lemma wf_below s : wf s -> forall i, In i (leaves s) -> x i <= shift s + tau.
Proof.
  induction s as [j m|a IHa b IHb|a IHa m]; simpl; intros W i.
  - intros [<-|[]]. exact W.
  - destruct W as (S & Wa & Wb). rewrite in_app_iff. intros [H|H]; [now apply IHa|].
    rewrite S. now apply IHb.
  - destruct W as (S & Wa). intros H. specialize (IHa Wa i H). lra.
Qed.

Lemma weighted_shift m m' i : weighted x v m' i = weighted x v m i * exp (m - m').
Proof.
  unfold weighted. replace (x i - m') with ((x i - m) + (m - m')) by ring. rewrite exp_plus. ring.
Qed.

(** Without errors every schedule computes sum_i exp (x_i - m) v_i. *)
Theorem exact_sum s : wf s -> exact s = sumf (weighted x v (shift s)) (leaves s).
Proof.
  induction s as [i m|a IHa b IHb|a IHa m]; simpl; intros W.
  - ring.
  - destruct W as (S & Wa & Wb). rewrite sumf_app, IHa, IHb, S; auto.
  - destruct W as (S & Wa). rewrite IHa, <- sumf_scal by assumption. apply sumf_ext. intros i _.
    symmetry. apply weighted_shift.
Qed.

Hypothesis GOK : argument_ok x tau G.
Hypothesis EOK : operations_ok E.

Lemma cost_nonneg s : 0 <= cost s.
Proof.
  destruct EOK. induction s as [i m|a IHa b IHb|a IHa m]; simpl.
  - auto.
  - pose proof (Rmax_l (cost a) (cost b)). lra.
  - destruct Req_EM_T; lra.
Qed.

Lemma seen_nonneg s : 0 <= seen s.
Proof.
  apply sumf_nonneg. intros i _. apply Rmult_le_pos; [apply Rabs_pos|left; apply exp_pos].
Qed.

Lemma lost_nonneg s : 0 <= lost s.
Proof.
  destruct EOK. induction s as [i m|a IHa b IHb|a IHa m]; simpl.
  - auto.
  - pose proof (exp_pos (add_cost E)). nra.
  - destruct Req_EM_T; [assumption|].
    pose proof (exp_pos (factor_cost E + product_cost E)). pose proof (exp_pos (product_cost E)).
    pose proof (exp_pos (cost a)). pose proof (seen_nonneg a).
    assert (0 <= (seen a * exp (cost a) + lost a) * factor_lost E) by (apply Rmult_le_pos; nra).
    nra.
Qed.

Definition log_error (s : schedule I) (i : I) : R := cost s + total G i (shift s).
Definition as_perturbed (s : schedule I) (r : R) : Prop :=
  perturbed (leaves s) (weighted x v (shift s)) (log_error s) (lost s) r.

Lemma computed_size s r : wf s -> as_perturbed s r -> Rabs r <= seen s * exp (cost s) + lost s.
Proof.
  intros W (ps & F & B & A). set (S := sumf (scaled (weighted x v (shift s))) ps) in *.
  replace r with (S + (r - S)) by ring. eapply Rle_trans; [apply Rabs_triang|].
  apply Rplus_le_compat; [|exact A]. eapply Rle_trans; [apply sumf_abs|].
  unfold seen. rewrite <- F, sumf_map, <- sumf_scal. apply sumf_le. intros p Hp.
  unfold scaled, weighted. rewrite !Rabs_mult, !(Rabs_pos_eq (exp _)) by (left; apply exp_pos).
  assert (X : x (fst p) <= shift s + tau) by (apply (wf_below s W); rewrite <- F; now apply in_map).
  specialize (B p Hp). apply Rabs_le_inv in B. unfold log_error in B.
  pose proof (weight_below_peak _ _ _ GOK _ _ X).
  rewrite Rmult_comm, <- Rmult_assoc, (Rmult_comm (exp (snd p))), <- exp_plus.
  rewrite Rmult_comm, Rmult_assoc, <- exp_plus.
  apply Rmult_le_compat_l; [apply Rabs_pos|]. apply exp_le. lra.
Qed.

Lemma add_perturbed a b ra rb t h : shift a = shift b ->
  as_perturbed a ra -> as_perturbed b rb -> Rabs t <= add_cost E -> Rabs h <= add_lost E ->
  as_perturbed (Add a b) ((ra + rb) * exp t + h).
Proof.
  intros S Pa Pb Ht Hh. unfold as_perturbed in *. simpl.
  set (T := fun i => Rmax (cost a) (cost b) + total G i (shift a)).
  assert (Pa' : perturbed (leaves a) (weighted x v (shift a)) T (lost a) ra).
  { eapply perturbed_weaken; [|apply Rle_refl|exact Pa].
    intros i _. unfold log_error, T. pose proof (Rmax_l (cost a) (cost b)). lra. }
  assert (Pb' : perturbed (leaves b) (weighted x v (shift a)) T (lost b) rb).
  { rewrite S. eapply perturbed_weaken; [|apply Rle_refl|exact Pb].
    intros i _. unfold log_error, T. rewrite S. pose proof (Rmax_r (cost a) (cost b)). lra. }
  eapply perturbed_weaken; [|apply Rle_refl|].
  2:{ exact (perturbed_scale _ _ _ _ _ _ _ _ _ (perturbed_app _ _ _ _ _ _ _ _ Pa' Pb') Ht Hh). }
  intros i _. unfold log_error, T. simpl. lra.
Qed.

(** The exact factor takes in the error of its argument: what was lost before grows by the two roundings only. *)
Lemma factor_grows m m' tf t : m <= m' -> Rabs tf <= factor_cost E + of_rescale G m m' -> Rabs t <= product_cost E ->
  exp (m - m') * exp (tf + t) <= exp (factor_cost E + product_cost E).
Proof.
  intros L Hf Ht. rewrite <- exp_plus. apply exp_le.
  pose proof (rescale_decays _ _ _ GOK m m' L). apply Rabs_le_inv in Hf. apply Rabs_le_inv in Ht. lra.
Qed.

Lemma perturbed_moved {J} (xs : list J) a b T T' H H' r r' t h alpha :
  perturbed xs a T H r -> (forall i, In i xs -> b i = a i * alpha) ->
  (forall i, In i xs -> T i + Rabs t <= T' i) -> 0 < alpha ->
  r' = r * (alpha * exp t) + h -> H * (alpha * exp t) + Rabs h <= H' -> perturbed xs b T' H' r'.
Proof.
  intros (ps & F & B & A) Hb HT Ha Hr HH. exists (map (moved t) ps).
  assert (In_xs : forall p, In p ps -> In (fst p) xs) by (intros p Hp; rewrite <- F; now apply in_map).
  split; [|split].
  - rewrite map_map. exact F.
  - intros p Hp. apply in_map_iff in Hp. destruct Hp as (q & <- & Hq). simpl.
    eapply Rle_trans; [apply Rabs_triang|]. specialize (B q Hq). specialize (HT _ (In_xs q Hq)). lra.
  - rewrite sumf_moved.
    replace (sumf (scaled b) ps) with (sumf (scaled a) ps * alpha).
    2:{ rewrite <- sumf_scal. apply sumf_ext. intros p Hp. unfold scaled. rewrite Hb by auto. ring. }
    rewrite Hr. replace (_ - _) with ((r - sumf (scaled a) ps) * (alpha * exp t) + h) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. eapply Rle_trans; [|exact HH]. apply Rplus_le_compat_r.
    pose proof (exp_pos t). assert (P : 0 <= alpha * exp t) by nra.
    rewrite Rabs_mult, (Rabs_pos_eq (alpha * exp t)) by exact P. now apply Rmult_le_compat_r.
Qed.

Lemma rescale_perturbed a m ra tf hf t h : wf a -> shift a <= m -> as_perturbed a ra -> m <> shift a ->
  Rabs tf <= factor_cost E + of_rescale G (shift a) m -> Rabs hf <= factor_lost E ->
  Rabs t <= product_cost E -> Rabs h <= product_lost E ->
  as_perturbed (Rescale a m) (ra * (exp (shift a - m) * exp tf + hf) * exp t + h).
Proof.
  intros W L P N Hf Hhf Ht Hh. pose proof (computed_size a ra W P) as S.
  apply (perturbed_moved _ _ _ _ _ _ _ _ _ (tf + t) (ra * hf * exp t + h) (exp (shift a - m)) P).
  - intros i _. apply weighted_shift.
  - intros i Hi. unfold log_error. simpl. destruct Req_EM_T; [contradiction|].
    pose proof (rescale_in_total _ _ _ GOK i (shift a) m (wf_below a W i Hi) L).
    pose proof (Rabs_triang tf t). lra.
  - apply exp_pos.
  - rewrite exp_plus. ring.
  - simpl. destruct Req_EM_T; [contradiction|]. apply Rplus_le_compat.
    + apply Rmult_le_compat_l; [apply lost_nonneg|]. now apply factor_grows.
    + eapply Rle_trans; [apply Rabs_triang|]. apply Rplus_le_compat; [|exact Hh].
      rewrite !Rabs_mult, (Rabs_pos_eq (exp t)) by (left; apply exp_pos).
      apply Rmult_le_compat; [apply Rmult_le_pos; apply Rabs_pos|left; apply exp_pos| |].
      * apply Rmult_le_compat; [apply Rabs_pos|apply Rabs_pos|exact S|exact Hhf].
      * apply exp_le. apply Rabs_le_inv in Ht. lra.
Qed.

(** THEOREM.  Whatever the schedule, the computed sum is the exact one with every term off by at most the costliest path
    and its own argument's error, and an absolute part. *)
Theorem any_schedule s r : wf s -> computed s r ->
  perturbed (leaves s) (weighted x v (shift s)) (fun i => cost s + total G i (shift s)) (lost s) r.
Proof.
  intros W C. revert W. change (wf s -> as_perturbed s r).
  induction C as [i m t h Ht Hh|a b ra rb t h Ca IHa Cb IHb Ht Hh|
    a m ra tf hf t h Ca IHa Hf Hhf Ht Hh N|a m ra Ca IHa S];
    intros W; simpl in W.
  - apply perturbed_leaf; [|exact Hh]. unfold log_error. simpl.
    pose proof (leaf_in_total _ _ _ GOK i m W). lra.
  - destruct W as (S & Wa & Wb). apply add_perturbed; auto.
  - destruct W as (L & Wa). apply rescale_perturbed; auto.
  - destruct W as (L & Wa). subst m. specialize (IHa Wa). unfold as_perturbed in *. simpl.
    destruct Req_EM_T; [|congruence].
    eapply perturbed_weaken; [| |exact IHa]; [|lra]. intros i _. unfold log_error. simpl.
    destruct Req_EM_T; [lra|congruence].
Qed.

(** The same when the scores are off themselves, x_i = score_i + d_i, against any reference m. *)
Theorem any_schedule_scores (score doubt : I -> R) (m : R) s r :
  (forall i, In i (leaves s) -> Rabs (x i - score i) <= doubt i) -> wf s -> computed s r ->
  let c := exp (m - shift s) in
  perturbed (leaves s) (weighted score v m) (fun i => cost s + total G i (shift s) + doubt i) (lost s / c) (r / c).
Proof.
  intros D W C c. eapply perturbed_terms; [|apply exp_pos|now apply any_schedule].
  intros i Hi. exists (x i - score i). split; [now apply D|].
  unfold weighted, c. replace (x i - shift s) with ((score i - m) + (x i - score i) + (m - shift s)) by ring.
  rewrite !exp_plus. ring.
Qed.
End Schedules.
