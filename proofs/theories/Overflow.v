(** When nothing overflows: every partial result, in whatever order, is bounded by what its terms add up to.

    The roundings of Formats.v have no upper limit.  A machine has: its result is lost when the rounded number is beyond
    [max_finite].  The theorems bound every intermediate result of the unlimited computation; below the limit the two
    computations are one ([limited_agrees]). *)
From Coq Require Import Reals List Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import Sums LogMetric Growth Perturbed Formats FlushToZero.
Import ListNotations.
Open Scope R_scope.

Section Limit.
Variable f : format.
Hypothesis V : valid_format f.

Lemma holds_max_finite : holds f (max_finite f).
Proof.
  apply generic_format_FLT. eexists; [reflexivity| |]; cbn [Fnum Fexp]; destruct V as [P E T W].
  - change (radix_val radix2) with 2%Z. assert (0 <= 2 ^ (precision f - 1))%Z by (apply Z.pow_nonneg; lia).
    rewrite Z.abs_eq; lia.
  - unfold lowest. lia.
Qed.

Theorem round_in_range rule {VR : Valid_rnd rule} x :
  Rabs x <= max_finite f -> Rabs (round_by f rule x) <= max_finite f.
Proof. apply abs_round_le_generic; [now apply exponents_valid|assumption|exact holds_max_finite]. Qed.

Theorem flush_in_range rule {VR : Valid_rnd rule} flushed x :
  Rabs x <= max_finite f -> Rabs (flush f flushed (round_by f rule) x) <= max_finite f.
Proof.
  intros H. unfold flush. destruct (tiny f x && flushed x)%bool; [|now apply round_in_range].
  rewrite Rabs_R0. eapply Rle_trans; [apply Rabs_pos|exact H].
Qed.

(** The machine's rounding: no number where the rounded one is too large. *)
Definition limited (rnd : R -> R) (x : R) : option R :=
  if Rle_dec (Rabs (rnd x)) (max_finite f) then Some (rnd x) else None.

Theorem limited_agrees rule {VR : Valid_rnd rule} x :
  Rabs x <= max_finite f -> limited (round_by f rule) x = Some (round_by f rule x).
Proof. intros H. unfold limited. destruct Rle_dec as [_|N]; [reflexivity|]. now destruct N; apply round_in_range. Qed.

(** e^s for s below - max_finite is less than half the smallest subnormal number: a difference of scores that overflows
    to -infinity gives weight 0, as rounding its exact weight would. *)
Theorem overflowing_difference_lost s :
  (precision f - emin f <= top f * 2 ^ top_exponent f)%Z -> (0 <= top_exponent f)%Z ->
  s <= - max_finite f -> exp s <= smallest_subnormal f / 2.
Proof.
  intros B E0 H. assert (W : smallest_subnormal f / 2 = bpow radix2 (emin f - precision f)).
  { transitivity (/ 2 * smallest_subnormal f); [lra|]. unfold smallest_subnormal. rewrite bpow_half. f_equal.
    unfold lowest. lia. }
  rewrite W. assert (M : IZR (precision f - emin f) <= max_finite f).
  { unfold max_finite, F2R. cbn [Fnum Fexp]. rewrite <- IZR_Zpower by exact E0. rewrite <- mult_IZR.
    apply IZR_le. exact B. }
  destruct V. set (n := (precision f - emin f)%Z) in *.
  replace (emin f - precision f)%Z with (- n)%Z by (unfold n; ring). rewrite bpow_opp.
  apply Rle_trans with (exp (- IZR n)); [apply exp_le; lra|]. rewrite exp_Ropp.
  assert (N : (0 <= n)%Z) by (unfold n; lia).
  apply Rinv_le_contravar; [apply bpow_gt_0|]. rewrite <- IZR_Zpower by exact N.
  rewrite <- (Z2Nat.id n N) at 1 2. change (radix_val radix2) with 2%Z.
  rewrite <- pow_IZR, <- INR_IZR_INZ. induction (Z.to_nat n) as [|k IH].
  - simpl. rewrite exp_0. lra.
  - rewrite S_INR, exp_plus. simpl pow. assert (2 <= exp 1) by (pose proof (exp_ineq1_le 1); lra).
    assert (1 <= 2 ^ k) by (apply pow_R1_Rle; lra). nra.
Qed.
End Limit.

(** The functions of the same names in Python. *)
Definition largest_sum (magnitude log_error lost : R) : R := magnitude * (1 + growth log_error) + lost.
Definition largest_score (magnitude width casting unit lost : R) : R :=
  largest_sum magnitude (casting + width * unit) (2 * width * lost * (1 + growth (width * unit))).
Definition largest_numerator (seen lag cost lost : R) : R := largest_sum seen (lag + cost) lost.
Definition largest_normaliser (keys lag cost lost : R) : R := largest_numerator (keys + 1) lag cost lost.

Lemma largest_sum_mono a a' b b' c c' : 0 <= a -> a <= a' -> b <= b' -> c <= c' ->
  largest_sum a b c <= largest_sum a' b' c'.
Proof.
  intros A HA HB HC. unfold largest_sum, growth. pose proof (exp_le b b' HB). pose proof (exp_pos b).
  assert (a * exp b <= a' * exp b') by (apply Rmult_le_compat; lra). lra.
Qed.

(** Any computed sum, by what its terms add up to. *)
Theorem perturbed_size {I} (xs : list I) a T H r cost : perturbed xs a T H r -> (forall i, In i xs -> T i <= cost) ->
  Rabs r <= largest_sum (sumf (fun i => Rabs (a i)) xs) cost H.
Proof.
  intros (ps & E & B & A) HT. unfold largest_sum, growth.
  replace (1 + (exp cost - 1)) with (exp cost) by ring.
  replace r with (sumf (scaled a) ps + (r - sumf (scaled a) ps)) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. apply Rplus_le_compat; [|exact A].
  eapply Rle_trans; [apply sumf_abs|]. rewrite <- E, sumf_map, <- sumf_scal. apply sumf_le. intros p Hp.
  unfold scaled. rewrite Rabs_mult, (Rabs_pos_eq (exp _)) by (left; apply exp_pos).
  apply Rmult_le_compat_l; [apply Rabs_pos|]. apply exp_le.
  apply Rle_trans with (T (fst p)); [|apply HT; rewrite <- E; now apply in_map].
  specialize (B p Hp). apply LogMetric.Rabs_le_inv in B. lra.
Qed.

(** A partial sum: over some of the terms, having lost no more than the whole. *)
Theorem partial_sum_in_range {I} (xs ys zs : list I) a T H r cost lost limit :
  xs = ys ++ zs -> perturbed ys a T H r -> (forall i, In i ys -> T i <= cost) -> H <= lost ->
  largest_sum (sumf (fun i => Rabs (a i)) xs) cost lost <= limit -> Rabs r <= limit.
Proof.
  intros -> P HT HH L. eapply Rle_trans; [exact (perturbed_size _ _ _ _ _ _ P HT)|]. eapply Rle_trans; [|exact L].
  assert (0 <= sumf (fun i => Rabs (a i)) ys) by (apply sumf_nonneg; intros; apply Rabs_pos).
  assert (0 <= sumf (fun i => Rabs (a i)) zs) by (apply sumf_nonneg; intros; apply Rabs_pos).
  apply largest_sum_mono; try lra. rewrite sumf_app. lra.
Qed.

(** The same, every term with its own log-error: what the terms add up to and what their errors can add to it. *)
Theorem partial_terms_in_range {I} (xs ys zs : list I) a T H r lost limit :
  xs = ys ++ zs -> perturbed ys a T H r -> H <= lost -> (forall i, In i xs -> 0 <= T i) ->
  sumf (fun i => Rabs (a i)) xs + sumf (fun i => Rabs (a i) * growth (T i)) xs + lost <= limit -> Rabs r <= limit.
Proof.
  intros -> P HH HT L. pose proof (perturbed_error _ _ _ _ _ P) as B. rewrite !sumf_app in L.
  assert (0 <= sumf (fun i => Rabs (a i)) zs) by (apply sumf_nonneg; intros; apply Rabs_pos).
  assert (0 <= sumf (fun i => Rabs (a i) * growth (T i)) zs).
  { apply sumf_nonneg. intros i Hi. apply Rmult_le_pos; [apply Rabs_pos|].
    apply growth_nonneg, HT. apply in_or_app. now right. }
  pose proof (sumf_abs _ a ys). replace r with (sumf a ys + (r - sumf a ys)) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. lra.
Qed.

(** A result known by its error: what Python asks of the output and of the log-sum-exp. *)
Theorem output_in_range f rule {VR : Valid_rnd rule} computed exact bound : valid_format f ->
  Rabs (computed - exact) <= bound -> Rabs exact + bound <= max_finite f ->
  Rabs computed <= max_finite f /\ limited f (round_by f rule) computed = Some (round_by f rule computed).
Proof.
  intros V H L. assert (R : Rabs computed <= max_finite f).
  { replace computed with (exact + (computed - exact)) by ring. eapply Rle_trans; [apply Rabs_triang|lra]. }
  split; [exact R|]. now apply limited_agrees.
Qed.
