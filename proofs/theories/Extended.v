(** The radius of what rung 2 of the oracle computes: outputs, log-sum-exps and weights of two words. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth Roundoff.
Import ListNotations.
Open Scope R_scope.

(** Relative error of the normaliser: of the weights, and of the words that it is added up in. *)
Definition normaliser_doubt (weight_error lost : R) : R := compound [growth weight_error; lost].

Definition output_radius (weight_error lost mean left_out last : R) : R :=
  (mean * (growth weight_error + normaliser_doubt weight_error lost)
    + left_out * (1 + normaliser_doubt weight_error lost)) / (1 - normaliser_doubt weight_error lost) + last.

Definition lse_radius (weight_error lost logarithm last : R) : R :=
  weight_error + log_error lost + logarithm + last.

Definition share_radius (weight_error lost share last nothing : R) : R :=
  growth (2 * weight_error + log_error lost) * (share + last) + last + nothing.

(** exp(score) of a score that is off by [score], computed with a relative error of at most [exponential]. *)
Definition weight_radius (score exponential : R) : R := score + log_error exponential.

Theorem weight_radius_bounded s s' d score exponential : Rabs (s' - s) <= score -> exponential < 1 ->
  Rabs d <= exponential -> rerr (weight_radius score exponential) (exp s' * (1 + d)) (exp s).
Proof.
  intros Hs He Hd. unfold weight_radius. rewrite Rplus_comm.
  apply rerr_trans with (exp s'); [now apply log_error_rerr|]. exists (s' - s). split; [exact Hs|].
  rewrite <- exp_plus. f_equal. ring.
Qed.

Section Row.
Context {I : Type} (xs : list I) (p q v : I -> R).
(** q: the computed weights; p: the exact ones, which are at most [absent] where q is 0. *)
Variables weight_error absent : R.
Hypothesis error_nonneg : 0 <= weight_error.
Hypothesis q_nonneg : forall i, In i xs -> 0 <= q i.
Hypothesis absent_nonneg : 0 <= absent.
Hypothesis close : forall i, In i xs -> rerr weight_error (p i) (q i) \/ q i = 0 /\ 0 <= p i <= absent.

Lemma one_weight i : In i xs -> Rabs (p i - q i) <= growth weight_error * q i + absent.
Proof.
  intros H. specialize (q_nonneg i H). destruct (close i H) as [R|(E & P)].
  - apply rerr_abs in R. rewrite (Rabs_pos_eq (q i)) in R by assumption. unfold growth. lra.
  - rewrite E, Rminus_0_r, Rabs_pos_eq by lra. lra.
Qed.

Lemma weights_close : Rabs (sumf p xs - sumf q xs) <= growth weight_error * sumf q xs + INR (length xs) * absent.
Proof.
  rewrite <- sumf_minus. eapply Rle_trans; [apply sumf_abs|].
  rewrite <- sumf_scal_l, <- sumf_const, <- sumf_plus. apply sumf_le. exact one_weight.
Qed.

Lemma values_close top : (forall i, In i xs -> Rabs (v i) <= top) ->
  Rabs (sumf (fun i => p i * v i) xs - sumf (fun i => q i * v i) xs)
    <= growth weight_error * sumf (fun i => q i * Rabs (v i)) xs + INR (length xs) * (absent * top).
Proof.
  intros T. rewrite <- sumf_minus. eapply Rle_trans; [apply sumf_abs|].
  rewrite <- sumf_scal_l, <- sumf_const, <- sumf_plus. apply sumf_le. intros i H.
  replace (p i * v i - q i * v i) with ((p i - q i) * v i) by ring. rewrite Rabs_mult.
  pose proof (one_weight i H) as W. pose proof (T i H) as Tv. pose proof (Rabs_pos (v i)) as V0.
  apply Rmult_le_compat_r with (r := Rabs (v i)) in W; [|exact V0].
  apply Rmult_le_compat_l with (r := absent) in Tv; [|exact absent_nonneg]. lra.
Qed.

(** What the sums in words are: l of the weights, n of the weights times the values. *)
Variables n l lost : R.
Hypothesis l_pos : 0 < l.
Hypothesis lost_nonneg : 0 <= lost.
Hypothesis normaliser : Rabs (l - sumf q xs) + INR (length xs) * absent <= lost * l.

Lemma normaliser_close : Rabs (l - sumf p xs) <= normaliser_doubt weight_error lost * l.
Proof.
  pose proof weights_close as W. pose proof (growth_nonneg _ error_nonneg) as G.
  assert (Q : sumf q xs <= (1 + lost) * l).
  { assert (0 <= INR (length xs) * absent) by (apply Rmult_le_pos; [apply pos_INR|exact absent_nonneg]).
    pose proof (Rle_abs (- (l - sumf q xs))) as A. rewrite Rabs_Ropp in A. lra. }
  apply Rmult_le_compat_l with (r := growth weight_error) in Q; [|exact G].
  unfold normaliser_doubt, compound. cbn [fold_left].
  replace (l - sumf p xs) with ((l - sumf q xs) - (sumf p xs - sumf q xs)) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. lra.
Qed.

Theorem output_radius_bounded top mean left_out last result :
  (forall i, In i xs -> Rabs (v i) <= top) -> 0 <= left_out ->
  normaliser_doubt weight_error lost < 1 ->
  sumf (fun i => q i * Rabs (v i)) xs <= mean * l ->
  Rabs (n - sumf (fun i => q i * v i) xs) + INR (length xs) * (absent * top) <= left_out * l ->
  Rabs (result - n / l) <= last ->
  Rabs (result - sumf (fun i => p i * v i) xs / sumf p xs) <= output_radius weight_error lost mean left_out last.
Proof.
  intros T LO D M N R. pose proof (values_close top T) as C. pose proof normaliser_close as LC.
  pose proof (growth_nonneg _ error_nonneg) as G.
  set (g := growth weight_error) in *. set (d := normaliser_doubt weight_error lost) in *.
  set (Nq := sumf (fun i => q i * v i) xs) in *. set (Np := sumf (fun i => p i * v i) xs) in *.
  set (L := sumf p xs) in *. set (A := INR (length xs) * (absent * top)) in *.
  assert (D0 : 0 <= d).
  { apply Rmult_le_reg_r with l; [exact l_pos|]. rewrite Rmult_0_l. eapply Rle_trans; [apply Rabs_pos|exact LC]. }
  assert (LL : (1 - d) * l <= L) by (apply Rabs_le_inv in LC; lra).
  assert (L0 : 0 < L) by (eapply Rlt_le_trans; [|exact LL]; apply Rmult_lt_0_compat; lra).
  assert (NQ : Rabs Nq <= mean * l).
  { eapply Rle_trans; [apply sumf_abs|]. eapply Rle_trans; [|exact M]. apply sumf_le. intros i H.
    rewrite Rabs_mult, (Rabs_pos_eq (q i)) by (now apply q_nonneg). lra. }
  assert (A0 : 0 <= A).
  { unfold A. destruct xs as [|i r]; [simpl; lra|]. apply Rmult_le_pos; [apply pos_INR|].
    apply Rmult_le_pos; [exact absent_nonneg|]. eapply Rle_trans; [apply Rabs_pos|apply (T i); now left]. }
  assert (NN : Rabs n <= (mean + left_out) * l).
  { replace n with (Nq + (n - Nq)) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra. }
  assert (E1 : Rabs (n - Np) <= (mean * g + left_out) * l).
  { replace (n - Np) with ((n - Nq) - (Np - Nq)) by ring. eapply Rle_trans; [apply Rabs_triang|].
    rewrite Rabs_Ropp. apply Rmult_le_compat_l with (r := g) in M; [|exact G]. lra. }
  assert (MN : 0 <= mean * (g + d) + left_out * (1 + d)).
  { assert (0 <= mean).
    { apply Rmult_le_reg_r with l; [exact l_pos|]. rewrite Rmult_0_l.
      eapply Rle_trans; [apply Rabs_pos|exact NQ]. }
    apply Rplus_le_le_0_compat; apply Rmult_le_pos; lra. }
  assert (B : Rabs (n / l - Np / L) <= (mean * (g + d) + left_out * (1 + d)) / (1 - d)).
  { replace (n / l - Np / L) with (((n - Np) - n / l * (l - L)) / L) by (field; lra).
    unfold Rdiv at 1. rewrite Rabs_mult, (Rabs_pos_eq (/ L)) by (left; now apply Rinv_0_lt_compat).
    apply Rmult_le_reg_r with L; [exact L0|]. rewrite Rmult_assoc, Rinv_l, Rmult_1_r by lra.
    apply Rle_trans with ((mean * (g + d) + left_out * (1 + d)) * l).
    - eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp, Rabs_mult.
      unfold Rdiv at 1. rewrite Rabs_mult, (Rabs_pos_eq (/ l)) by (left; now apply Rinv_0_lt_compat).
      assert (Rabs n * / l * Rabs (l - L) <= (mean + left_out) * (d * l)).
      { apply Rmult_le_compat; [|apply Rabs_pos| |exact LC].
        - apply Rmult_le_pos; [apply Rabs_pos|left; now apply Rinv_0_lt_compat].
        - apply Rmult_le_reg_r with l; [exact l_pos|]. rewrite Rmult_assoc, Rinv_l, Rmult_1_r by lra. exact NN. }
      lra.
    - unfold Rdiv. rewrite Rmult_assoc. apply Rmult_le_compat_l; [exact MN|].
      apply Rmult_le_reg_l with (1 - d); [lra|]. rewrite <- Rmult_assoc, Rinv_r, Rmult_1_l by lra. exact LL. }
  unfold output_radius. fold g d.
  replace (result - Np / L) with ((n / l - Np / L) + (result - n / l)) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. lra.
Qed.
End Row.

(** Log-errors: the normaliser is the sum of p, of which the computed one, l, is off by [lost] beyond its weights. *)
Lemma normaliser_log L M l weight_error lost : 0 < l -> lost < 1 -> rerr weight_error L M ->
  Rabs (M - l) <= lost * l -> rerr (weight_error + log_error lost) L l.
Proof.
  intros Hl H1 HL HM. apply rerr_trans with M; [exact HL|].
  assert (H0 : 0 <= lost).
  { apply Rmult_le_reg_r with l; [exact Hl|]. rewrite Rmult_0_l. eapply Rle_trans; [apply Rabs_pos|exact HM]. }
  replace M with (l * (1 + (M - l) / l)) by (field; lra).
  apply log_error_rerr; [exact H1|]. unfold Rdiv. rewrite Rabs_mult, (Rabs_pos_eq (/ l)).
  - apply Rmult_le_reg_r with l; [exact Hl|]. rewrite Rmult_assoc, Rinv_l, Rmult_1_r by lra. exact HM.
  - left. now apply Rinv_0_lt_compat.
Qed.

(** shift + ln L, with M the sum of the computed weights and of those taken for 0, and the logarithm off by
    [logarithm]. *)
Theorem lse_radius_bounded L M l shift computed result weight_error lost logarithm last :
  0 < l -> lost < 1 -> rerr weight_error L M -> Rabs (M - l) <= lost * l ->
  Rabs (computed - (shift + ln l)) <= logarithm -> Rabs (result - computed) <= last ->
  Rabs (result - (shift + ln L)) <= lse_radius weight_error lost logarithm last.
Proof.
  intros Hl H1 HL HM HC HR. destruct (normaliser_log L M l weight_error lost Hl H1 HL HM) as (t & Ht & ->).
  rewrite ln_mult, ln_exp by (try apply exp_pos; exact Hl). unfold lse_radius.
  replace (result - (shift + (ln l + t))) with ((result - computed) + (computed - (shift + ln l)) + - t) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp.
  pose proof (Rabs_triang (result - computed) (computed - (shift + ln l))). lra.
Qed.

(** One weight: q / l in words, of p / L; or a weight that is taken for 0. *)
Theorem share_radius_bounded p q L M l result weight_error lost share last nothing :
  0 < l -> lost < 1 -> 0 <= weight_error -> 0 <= lost -> 0 <= q -> 0 <= nothing ->
  rerr weight_error L M -> Rabs (M - l) <= lost * l ->
  rerr weight_error p q \/ q = 0 /\ 0 <= p / L <= nothing ->
  Rabs result <= share -> Rabs (result - q / l) <= last ->
  Rabs (result - p / L) <= share_radius weight_error lost share last nothing.
Proof.
  intros Hl H1 He H0 Hq Hn HL HM HP HS HR. unfold share_radius.
  assert (LE : 0 <= log_error lost).
  { unfold log_error, Rdiv. apply Rmult_le_pos; [exact H0|left; apply Rinv_0_lt_compat; lra]. }
  pose proof (growth_nonneg (2 * weight_error + log_error lost) ltac:(lra)) as G.
  pose proof (Rabs_pos result) as R0. pose proof (Rabs_pos (result - q / l)) as R1.
  assert (GS : 0 <= growth (2 * weight_error + log_error lost) * (share + last)) by (apply Rmult_le_pos; lra).
  destruct HP as [HP|(Eq & HP)].
  - assert (RE : rerr (weight_error + (weight_error + log_error lost)) (p / L) (q / l)).
    { apply rerr_div; [lra|exact HP|]. now apply normaliser_log with M. }
    replace (weight_error + (weight_error + log_error lost)) with (2 * weight_error + log_error lost) in RE by ring.
    apply rerr_abs in RE. fold (growth (2 * weight_error + log_error lost)) in RE.
    assert (S : Rabs (q / l) <= share + last).
    { replace (q / l) with (result - (result - q / l)) by ring. eapply Rle_trans; [apply Rabs_triang|].
      rewrite Rabs_Ropp. lra. }
    apply Rmult_le_compat_l with (r := growth (2 * weight_error + log_error lost)) in S; [|exact G].
    replace (result - p / L) with ((result - q / l) + - (p / L - q / l)) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. lra.
  - rewrite Eq in HR. unfold Rdiv in HR at 1. rewrite Rmult_0_l, Rminus_0_r in HR.
    eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp, (Rabs_pos_eq (p / L)) by lra. lra.
Qed.
