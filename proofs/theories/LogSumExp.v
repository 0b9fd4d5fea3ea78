(** The log-sum-exp m + log l: the logarithm of the normaliser's error, the roundings of both terms and of their sum. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth Roundoff Perturbed Normaliser.
Open Scope R_scope.

(** relative: the normaliser's error; doubt: how far the computed reference lies from the exact maximum; height and
    logarithm: the sizes of the exact maximum and of log L; size: of their sum; turn and log: relative errors of the
    reference as it is added, and of the logarithm; unit, lost: of every rounding. *)
Definition lse_error (relative doubt height logarithm size turn log unit lost : R) : R :=
  let spread := log_growth relative in
  rounded (spread + ((turn * (height + doubt) + lost) + (log * (logarithm + spread + doubt) + lost))) size unit lost.

Lemma log_of_between L l D : 0 < L -> 0 <= D -> L / (1 + D) <= l <= L * (1 + D) ->
  0 < l /\ Rabs (ln l - ln L) <= log_growth D.
Proof.
  intros HL HD [B1 B2].
  assert (l0 : 0 < l) by (apply Rlt_le_trans with (L / (1 + D)); [apply Rdiv_lt_0_compat; lra|exact B1]).
  split; [exact l0|].
  assert (U : ln l <= ln (L * (1 + D))) by (destruct B2 as [B2|<-]; [left; now apply ln_increasing|lra]).
  assert (W : ln (L / (1 + D)) <= ln l).
  { destruct B1 as [B1|<-]; [left; apply ln_increasing; [apply Rdiv_lt_0_compat; lra|exact B1]|lra]. }
  unfold Rdiv in W. rewrite ln_mult in U by lra.
  rewrite ln_mult, ln_Rinv in W; try lra; [|apply Rinv_0_lt_compat; lra].
  unfold log_growth. apply Rabs_le. lra.
Qed.

Lemma reference_cancels m M l : 0 < l -> m + ln (l / exp (m - M)) = M + ln l.
Proof.
  intros Hl. unfold Rdiv. rewrite ln_mult, ln_Rinv, ln_exp; auto using exp_pos; [ring|].
  apply Rinv_0_lt_compat, exp_pos.
Qed.

(** The logarithm of a sum never errs by more than the largest of its terms' log-errors. *)
Theorem log_excess {I} (xs : list I) p T most : (forall i, In i xs -> 0 <= p i) -> 0 < sumf p xs ->
  (forall i, In i xs -> T i <= most) -> log_growth (excess xs p T) <= most.
Proof.
  intros Hp HL HT.
  assert (B : sumf (fun i => p i * exp (T i)) xs <= sumf p xs * exp most).
  { rewrite <- sumf_scal. apply sumf_le. intros i Hi. apply Rmult_le_compat_l; [auto|]. apply exp_le. auto. }
  assert (A : 0 < sumf (fun i => p i * exp (T i)) xs).
  { destruct (Rle_lt_dec (sumf (fun i => p i * exp (T i)) xs) 0) as [N|]; [exfalso|assumption].
    assert (Z : forall i, In i xs -> p i <= 0).
    { intros i Hi. pose proof (sumf_in_le _ (fun i => p i * exp (T i)) xs i) as S. cbv beta in S.
      assert (p i * exp (T i) <= 0).
      { eapply Rle_trans; [apply S; auto|exact N]. intros j Hj. apply Rmult_le_pos; [auto|left; apply exp_pos]. }
      pose proof (exp_pos (T i)). specialize (Hp i Hi). nra. }
    assert (sumf p xs <= 0); [|lra]. rewrite <- (Ropp_involutive (sumf p xs)).
    replace (- sumf p xs) with (sumf (fun i => p i * -1) xs) by (rewrite sumf_scal; ring).
    assert (0 <= sumf (fun i => p i * -1) xs); [|lra].
    apply sumf_nonneg. intros i Hi. specialize (Z i Hi). lra. }
  rewrite grown_sum in A, B by exact HL. unfold log_growth. rewrite <- (ln_exp most).
  assert (1 + excess xs p T <= exp most) by nra. assert (0 < 1 + excess xs p T) by nra.
  destruct H as [H|<-]; [left; now apply ln_increasing|lra].
Qed.

(** l is relative to the computed reference M, L to the exact maximum m: the difference cancels in the sum. *)
Theorem lse_bounded m M L l D doubt turned logarithm result turn log unit lost :
  0 < L -> 0 < l -> 0 <= D -> 0 <= turn -> 0 <= log -> 0 <= unit -> Rabs (M - m) <= doubt ->
  L / (1 + D) <= l / exp (m - M) <= L * (1 + D) ->
  Rabs (turned - M) <= turn * Rabs M + lost ->
  Rabs (logarithm - ln l) <= log * Rabs (ln l) + lost ->
  Rabs (result - (turned + logarithm)) <= unit * Rabs (turned + logarithm) + lost ->
  Rabs (result - (m + ln L)) <= lse_error D doubt (Rabs m) (Rabs (ln L)) (Rabs (m + ln L)) turn log unit lost.
Proof.
  intros HL Hl HD Hturn Hlog Hu HM B Ht Hg Hr. unfold lse_error. set (spread := log_growth D).
  destruct (log_of_between L _ D HL HD B) as (l0 & S). fold spread in S.
  pose proof (reference_cancels m M l Hl) as E.
  apply rounded_error with (computed := turned + logarithm); [exact Hu|lra| |exact Hr].
  assert (A1 : Rabs M <= Rabs m + doubt).
  { replace M with (m + (M - m)) by ring. eapply Rle_trans; [apply Rabs_triang|lra]. }
  assert (A2 : Rabs (ln l) <= Rabs (ln L) + spread + doubt).
  { replace (ln l) with (ln L + (ln (l / exp (m - M)) - ln L) + - (M - m)) by lra.
    eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp.
    pose proof (Rabs_triang (ln L) (ln (l / exp (m - M)) - ln L)). lra. }
  assert (A3 : turn * Rabs M <= turn * (Rabs m + doubt)) by (now apply Rmult_le_compat_l).
  assert (A4 : log * Rabs (ln l) <= log * (Rabs (ln L) + spread + doubt)) by (now apply Rmult_le_compat_l).
  replace (turned + logarithm - (m + ln L)) with
    ((ln (l / exp (m - M)) - ln L) + (turned - M) + (logarithm - ln l)) by lra.
  pose proof (Rabs_triang (ln (l / exp (m - M)) - ln L + (turned - M)) (logarithm - ln l)).
  pose proof (Rabs_triang (ln (l / exp (m - M)) - ln L) (turned - M)). lra.
Qed.
