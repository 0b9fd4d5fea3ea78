(** A row of attention in binary32, from end to end: inputs in bfloat16, P cast to bfloat16, tiles of any sizes.

    No operation is abstract here: every one is Flocq's rounding to nearest even, the exponential correctly rounded. No
    hypothesis is left but that values are numbers of bfloat16 and that something is claimed at all (what underflows in
    the normaliser is less than it); Binary32Range.v says when nothing overflows. *)
From Coq Require Import Reals List Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import Sums LogMetric Growth Roundoff Perturbed Arithmetic Dot Scores Schedule ScheduleSubtract
  ScheduleCost ScheduleAnyOrder ScheduleArithmetic Tiles TilesComputed TilesRow Normaliser Output
  Attention Formats FormatsStage FormatsProduct Cast Binary32 Binary32Scores.
Import ListNotations.
Open Scope R_scope.

Definition unit16 : R := bpow radix2 (-8).
Definition lost16 : R := bpow radix2 (-134).

Lemma bf16_positive : 0 < unit16 /\ 0 < lost16.
Proof. split; apply bpow_gt_0. Qed.

Lemma identity_conversion : conversion binary32 binary32 (fun p => p) 0 0.
Proof.
  repeat split; try lra. assumption. exists 0, 0. rewrite Rabs_R0, exp_0. repeat split; lra.
Qed.

Lemma bf16_conversion : conversion binary32 binary32 cast_bf16 unit16 lost16.
Proof.
  pose proof bf16_positive as [U L]. repeat split; try lra; [apply cast_bf16_held|].
  apply cast_bf16_ok.
Qed.

Lemma maximum_rule : reference_rule binary32 0 Rmax.
Proof.
  split; [lra|]. split; [|split]; intros m t.
  - intros Fm Ft. unfold Rmax. now destruct Rle_dec.
  - apply Rmax_l.
  - pose proof (Rmax_r m t). lra.
Qed.

Lemma cast_nearly x : Rabs (cast_bf16 x - x) <= unit16 * Rabs x + lost16.
Proof. exact (format_nearly bf16 x bf16_valid). Qed.

Section Row.
Context {I : Type} (first : I -> R * R) (rest : I -> list (R * R)) (value_of : I -> R) (scale : R).
Variables (t : tile I) (ts : list (tile I)).
Hypothesis values_held : forall i, holds bf16 (value_of i).

Definition pairs (i : I) : list (R * R) := first i :: rest i.
Definition exact_score (i : I) : R := scale * sumf value (pairs i).
Definition score (i : I) : R := score32 scale (first i) (rest i).
Definition weight32 (a b : R) : R := nearest fp32 (exp (nearest fp32 (a - b))).

(** The kernel: normaliser and one column of the output, and what it returns. *)
Definition normaliser32 : R * R := tiled score binary32 (fun m i => weight32 (score i) m) weight32 Rmax t ts.
Definition numerator32 : R * R :=
  tiled score binary32 (fun m i => nearest fp32 (cast_bf16 (weight32 (score i) m) * value_of i)) weight32 Rmax t ts.
Definition output32 : R := cast_bf16 (nearest fp32 (snd numerator32 / snd normaliser32)).

Let keys := all_keys (t :: ts).
Let n := length keys.
Let k := moved score Rmax (tile_max score t) ts.

(** The exact row, relative to any reference m that is at least every score; [most] is at least every score's doubt. *)
Variables (m most : R).
Hypothesis above : forall i, In i keys -> exact_score i <= m.
Hypothesis doubts : forall i, In i keys -> doubt32 scale (pairs i) <= most.

Definition p (i : I) : R := exp (exact_score i - m).
Definition total : R := sumf p keys.
Definition exact_output : R := sumf (fun i => p i * value_of i) keys / total.

Definition path (narrow : R) : R := path_cost n k unit32 unit32 narrow.
Definition term_error (narrow : R) (i : I) : R :=
  path narrow + unit32 * (m - exact_score i + 2 * most) + doubt32 scale (pairs i).
Definition lost (seen narrow eta_cast : R) : R :=
  underflow (INR n) (INR k) seen (lost32 + eta_cast) lost32 (path narrow) * exp most.

Definition normaliser_relative32 : R := normaliser_error (excess keys p (term_error 0)) (lost (INR n) 0 0 / total).
Definition numerator_relative32 : R :=
  sumf (fun i => p i * Rabs (value_of i) * growth (term_error unit16 i)) keys / total
  + lost (sumf (fun i => Rabs (value_of i)) keys) unit16 lost16 / total.
Definition output_bound32 : R :=
  output_error (quotient_error numerator_relative32 normaliser_relative32 (Rabs exact_output)) (Rabs exact_output)
    unit32 lost32 unit16 lost16.

(** ** The two programs share their reference, the largest computed score. *)
Lemma same_reference leaf leaf' : forall ts m a a',
  fst (absorb_all score binary32 leaf weight32 Rmax (m, a) ts) =
  fst (absorb_all score binary32 leaf' weight32 Rmax (m, a') ts).
Proof. induction ts0 as [|t0 ts0 IH]; intros; [reflexivity|]. simpl. apply IH. Qed.

Lemma score_held i : holds fp32 (score i).
Proof. apply holds_round; [exact fp32_valid|apply valid_rnd_N]. Qed.

Lemma value_held i : holds fp32 (value_of i).
Proof. apply (narrow_held fp32 bf16); [simpl; lia|unfold lowest; simpl; lia|apply values_held]. Qed.

Lemma doubt_of_score i : Rabs (score i - exact_score i) <= doubt32 scale (pairs i).
Proof. apply score32_error. Qed.

Lemma exponential32 : exponential binary32 = unit32.
Proof. destruct binary32_constants as (_ & E & A & _). unfold exponential. rewrite E, A. ring. Qed.

Lemma lost_now seen narrow eta_cast : row_lost binary32 binary32 narrow eta_cast 0 lost32 n k seen =
  underflow (INR n) (INR k) seen (lost32 + eta_cast) lost32 (path narrow).
Proof.
  unfold row_lost, path, eta_weight. rewrite exponential32. destruct binary32_constants as (-> & _ & _ & _ & ->).
  rewrite Rmult_0_r, exp_0, Rmult_1_r. reflexivity.
Qed.

Definition reference : R := fst normaliser32.

Lemma reference_attained : exists i, In i keys /\ score i = reference.
Proof.
  pose proof (normaliser_kernel binary32 binary32 (fun q => q) 0 0 binary32_ok binary32_ok (fun _ H => H)
    identity_conversion score (fun _ => 1%nat) 0 Rmax maximum_rule score_held) as K.
  destruct (tiled_computed _ _ _ _ _ _ _ _ _ _ _ K t ts (fun _ _ => eq_refl)) as (_ & M & _ & L).
  destruct (tile_schedule_shape (tile_max score t) t) as [S T].
  destruct (schedule_all_attains score Rmax ts (fun _ _ => eq_refl) (tile_schedule (tile_max score t) t))
    as (i & Hi & Ei).
  { destruct (tile_max_in score t) as (i & Hi & Ei). exists i. rewrite S, T. now split. }
  exists i. rewrite L in Hi. split; [exact Hi|]. rewrite Ei. symmetry. exact M.
Qed.

Lemma reference_below : reference - m <= most.
Proof.
  destruct reference_attained as (i & Hi & <-). specialize (above i Hi). specialize (doubts i Hi).
  pose proof (LogMetric.Rabs_le_inv _ _ (doubt_of_score i)). lra.
Qed.

(** What is known relative to the computed reference and scores, relative to the exact ones. *)
Lemma against_exact f narrow H r : 0 <= H ->
  perturbed keys (weighted score f reference) (row_log_error binary32 binary32 narrow score 0 n k reference) H r ->
  perturbed keys (fun i => p i * f i) (term_error narrow) (H * exp most) (r / exp (m - reference)).
Proof.
  intros H0 P. pose proof reference_below as B.
  assert (Q : perturbed keys (fun i => p i * f i)
    (fun i => row_log_error binary32 binary32 narrow score 0 n k reference i + doubt32 scale (pairs i))
    (H / exp (m - reference)) (r / exp (m - reference))).
  { eapply perturbed_terms; [|apply exp_pos|exact P]. intros i Hi. exists (score i - exact_score i).
    split; [apply doubt_of_score|]. unfold weighted, p.
    replace (score i - reference) with ((exact_score i - m) + (score i - exact_score i) + (m - reference)) by ring.
    rewrite !exp_plus. ring. }
  eapply perturbed_weaken; [| |exact Q].
  - intros i Hi. unfold row_log_error, term_error, path. rewrite exponential32.
    destruct binary32_constants as (-> & _). specialize (doubts i Hi).
    pose proof (LogMetric.Rabs_le_inv _ _ (doubt_of_score i)). pose proof units_positive as [U _].
    assert (unit32 * (reference - score i + 2 * 0) <= unit32 * (m - exact_score i + 2 * most)).
    { apply Rmult_le_compat_l; lra. }
    lra.
  - unfold Rdiv. rewrite <- exp_Ropp. replace (- (m - reference)) with (reference - m) by ring.
    apply Rmult_le_compat_l; [exact H0|now apply exp_le].
Qed.

Lemma unit_below_1 : u binary32 <= 1.
Proof. apply (A_u binary32 binary32_ok). Qed.

Lemma eta_sum_add : Arithmetic.eta_add binary32 <= lost32.
Proof. destruct binary32_constants as (_ & _ & -> & _). left. apply units_positive. Qed.

Lemma eta_sum_mul : Arithmetic.eta_mul binary32 <= lost32.
Proof. destruct binary32_constants as (_ & _ & _ & -> & _). lra. Qed.

Lemma normaliser32_known : perturbed keys (weighted score one reference)
  (row_log_error binary32 binary32 0 score 0 n k reference)
  (underflow (INR n) (INR k) (INR n) (lost32 + 0) lost32 (path 0))
  (snd normaliser32).
Proof.
  pose proof (tiled_normaliser binary32 binary32 (fun q => q) 0 0 binary32_ok binary32_ok (fun _ H => H)
    identity_conversion score (fun _ => 1%nat) 0 Rmax maximum_rule score_held unit_below_1 lost32 eta_sum_add
    eta_sum_mul (fun _ => le_n 1) t ts (fun _ _ => eq_refl)) as P.
  fold keys n k in P. rewrite lost_now in P. unfold reference.
  change (tiled score binary32 (weight_leaf binary32 (fun q => q) score) (weight binary32) Rmax t ts)
    with normaliser32 in P.
  destruct normaliser32 as [m' l]. exact P.
Qed.

Lemma numerator32_known : perturbed keys (weighted score value_of reference)
  (row_log_error binary32 binary32 unit16 score 0 n k reference)
  (underflow (INR n) (INR k) (sumf (fun i => Rabs (value_of i)) keys) (lost32 + lost16) lost32 (path unit16))
  (snd numerator32).
Proof.
  pose proof (tiled_output binary32 binary32 cast_bf16 unit16 lost16 binary32_ok binary32_ok (fun _ H => H)
    bf16_conversion score value_of (fun _ => 1%nat) 0 Rmax maximum_rule score_held value_held unit_below_1 lost32
    eta_sum_add eta_sum_mul (fun _ => le_n 1) t ts (fun _ _ => eq_refl)) as P.
  fold keys n k in P. rewrite lost_now in P.
  change (tiled score binary32 (value_leaf binary32 binary32 cast_bf16 score value_of) (weight binary32) Rmax t ts)
    with numerator32 in P.
  assert (E : fst numerator32 = reference) by apply same_reference.
  destruct numerator32 as [m' o]. simpl in E. subst m'. exact P.
Qed.

Lemma underflow_nonneg seen weight narrow : 0 <= seen -> 0 <= weight ->
  0 <= underflow (INR n) (INR k) seen weight lost32 (path narrow).
Proof.
  intros S W. pose proof (pos_INR n). pose proof (pos_INR k). pose proof units_positive as [_ L].
  unfold underflow, growth.
  match goal with |- 0 <= _ * (1 + (exp ?e - 1)) => pose proof (exp_pos e) end.
  apply Rmult_le_pos; [|lra].
  apply Rplus_le_le_0_compat; apply Rmult_le_pos; try lra. apply Rmult_le_pos; lra.
Qed.

Lemma term_error_nonneg narrow i : 0 <= narrow -> In i keys -> 0 <= term_error narrow i.
Proof.
  intros N Hi. specialize (above i Hi). specialize (doubts i Hi).
  assert (0 <= doubt32 scale (pairs i)) by (eapply Rle_trans; [apply Rabs_pos|apply doubt_of_score]).
  pose proof (pos_INR n). pose proof (pos_INR k). pose proof units_positive as [U _].
  unfold term_error, path, path_cost, additions.
  assert (0 <= (1 + INR k) * unit32) by (apply Rmult_le_pos; lra).
  assert (0 <= (INR n + 1 + INR k) * unit32) by (apply Rmult_le_pos; lra).
  assert (0 <= unit32 * (m - exact_score i + 2 * most)) by (apply Rmult_le_pos; lra). lra.
Qed.

Lemma total_positive : 0 < total.
Proof.
  apply sumf_pos; [|intros; apply exp_pos]. destruct reference_attained as (i & Hi & _). intros E. rewrite E in Hi.
  exact Hi.
Qed.

(** THEOREM.  What the kernel returns is within [output_bound32] of softmax(scale q K) v. *)
Theorem binary32_attention :
  lost (INR n) 0 0 / total * (1 + excess keys p (term_error 0)) < 1 -> Rabs (output32 - exact_output) <= output_bound32.
Proof.
  intros claimed. pose proof bf16_positive as [U16 L16]. pose proof units_positive as [U32 L32].
  assert (S0 : 0 <= sumf (fun i => Rabs (value_of i)) keys) by (apply sumf_nonneg; intros; apply Rabs_pos).
  pose proof (underflow_nonneg (INR n) (lost32 + 0) 0 (pos_INR n) ltac:(lra)) as Hl.
  pose proof (underflow_nonneg _ (lost32 + lost16) unit16 S0 ltac:(lra)) as Hn.
  assert (Pl : perturbed keys p (term_error 0) (lost (INR n) 0 0) (snd normaliser32 / exp (m - reference))).
  { eapply perturbed_ext; [|exact (against_exact one 0 _ _ Hl normaliser32_known)]. intros i _. unfold one. ring. }
  pose proof (against_exact value_of unit16 _ _ Hn numerator32_known) as Pn.
  pose proof (exp_pos most) as EM.
  assert (H0 : 0 <= lost (INR n) 0 0) by (apply Rmult_le_pos; lra).
  destruct (weighted_mean_error keys p value_of (term_error unit16) (term_error 0) (lost (INR n) 0 0)) with
    (H := lost (sumf (fun i => Rabs (value_of i)) keys) unit16 lost16)
    (n := snd numerator32 / exp (m - reference)) (l := snd normaliser32 / exp (m - reference)) as [l0 B]; auto.
  - intros. left. apply exp_pos.
  - intros. apply term_error_nonneg; [lra|assumption].
  - intros. apply term_error_nonneg; [lra|assumption].
  - exact total_positive.
  - apply Rmult_le_pos; lra.
  - pose proof (exp_pos (m - reference)) as EC.
    assert (N0 : snd normaliser32 <> 0).
    { intros Z. rewrite Z in l0. unfold Rdiv in l0. rewrite Rmult_0_l in l0. lra. }
    replace (snd numerator32 / exp (m - reference) / (snd normaliser32 / exp (m - reference)))
      with (snd numerator32 / snd normaliser32) in B by (field; split; lra).
    destruct (rounding_log_error _ _ _ _ _ (snd numerator32 / snd normaliser32) (nearest_ok fp32 fp32_valid))
      as (t' & h & Ht & Hh & E).
    rewrite subnormal_half in Hh.
    eapply output_bounded with (y := nearest fp32 (snd numerator32 / snd normaliser32)) (t := t') (h := h);
      [exact B|lra|lra|exact Ht|exact Hh|exact E|].
    apply cast_nearly.
Qed.
End Row.
