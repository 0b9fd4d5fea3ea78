(** The exponential that a kernel declares, in every format: its log-error, and what its weights lose to underflow. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats FlushToZero.
Open Scope R_scope.

(** What is asked of the exponential, besides that its results are numbers of the format. *)
Record exponential_ok (F : R -> Prop) (E : R -> R) (relative lost : R) : Prop := {
  exponential_relative : 0 <= relative;
  exponential_lost : 0 <= lost;
  exponential_F : forall z, F (E z);
  exponential_0 : E 0 = 1;
  exponential_error : forall z, F z ->
    exists t h, Rabs t <= relative /\ Rabs h <= lost /\ E z = exp z * exp t + h }.

(** The functions of the same names in Python: what a weight is off by where it is subnormal, or flushed. *)
Definition weight_lost (ulps own subnormal normal : R) : R := ulps * subnormal + own * normal.
Definition flushed_weight_lost (relative normal : R) : R := normal / (1 - relative).

(** An exponential within k ulps of e^z, of which one is at most 2u of a normal value and the spacing below that, and a
    relative error on top (that of a polynomial, say). *)
Section Declared.
Variable f : format.
Hypothesis V : valid_format f.
Variables k own : R.
Hypothesis Hk : 0 <= k.
Hypothesis Hown : 0 <= own.
Definition declared_unit : R := k * (2 * unit_roundoff f) + own.
Hypothesis small : declared_unit < 1.
Variable E : R -> R.
Hypothesis E_held : forall z, holds f (E z).
Hypothesis E_zero : E 0 = 1.
Hypothesis E_near : forall z, holds f z -> Rabs (E z - exp z) <= k * ulp radix2 (exponents f) (exp z) + own * exp z.
Local Instance precision_positive_ : Prec_gt_0 (precision f) := precision_positive f V.

Lemma declared_unit_nonneg : 0 <= declared_unit.
Proof.
  pose proof (unit_roundoff_bounds f V). unfold declared_unit.
  assert (0 <= k * (2 * unit_roundoff f)) by (apply Rmult_le_pos; lra). lra.
Qed.

Lemma declared_unit_log : 0 <= declared_unit / (1 - declared_unit).
Proof.
  apply Rmult_le_pos; [exact declared_unit_nonneg|]. left. apply Rinv_0_lt_compat. lra.
Qed.

Lemma ulp_normal x : smallest_normal f <= x -> ulp radix2 (exponents f) x <= x * (2 * unit_roundoff f).
Proof.
  intros H. assert (0 < smallest_normal f) by apply bpow_gt_0.
  rewrite <- (Rabs_pos_eq x) at 2 by lra. replace (2 * unit_roundoff f) with (bpow radix2 (1 - precision f)).
  - apply ulp_FLT_le. rewrite smallest_normal_bpow, Rabs_pos_eq; lra.
  - unfold unit_roundoff, Zminus. now rewrite bpow_plus, bpow_1.
Qed.

Lemma ulp_tiny x : Rabs x < smallest_normal f -> ulp radix2 (exponents f) x = smallest_subnormal f.
Proof.
  intros H. apply ulp_FLT_small; [exact precision_positive_|]. eapply Rlt_le_trans; [exact H|].
  apply bpow_le. unfold lowest. lia.
Qed.

Lemma declared_normal z : holds f z -> smallest_normal f <= exp z -> Rabs (E z / exp z - 1) <= declared_unit.
Proof.
  intros Fz H. pose proof (exp_pos z) as P. pose proof (E_near z Fz) as B. pose proof (ulp_normal _ H) as U.
  replace (E z / exp z - 1) with ((E z - exp z) * / exp z) by (field; lra).
  rewrite Rabs_mult, (Rabs_pos_eq (/ exp z)) by (left; now apply Rinv_0_lt_compat).
  apply Rmult_le_reg_r with (exp z); [exact P|]. rewrite Rmult_assoc, Rinv_l, Rmult_1_r by lra.
  eapply Rle_trans; [exact B|]. unfold declared_unit.
  assert (k * ulp radix2 (exponents f) (exp z) <= k * (exp z * (2 * unit_roundoff f))) by now apply Rmult_le_compat_l.
  lra.
Qed.

Lemma declared_tiny z : holds f z -> exp z < smallest_normal f ->
  Rabs (E z - exp z) <= weight_lost k own (smallest_subnormal f) (smallest_normal f).
Proof.
  intros Fz H. pose proof (exp_pos z) as P. pose proof (E_near z Fz) as B.
  rewrite ulp_tiny in B by (rewrite Rabs_pos_eq; lra). unfold weight_lost.
  assert (own * exp z <= own * smallest_normal f) by (apply Rmult_le_compat_l; lra). lra.
Qed.

Theorem declared_exponential :
  exponential_ok (holds f) E (declared_unit / (1 - declared_unit))
    (weight_lost k own (smallest_subnormal f) (smallest_normal f)).
Proof.
  pose proof (smallest_subnormal_positive f) as S. pose proof declared_unit_log as L.
  assert (N0 : 0 < smallest_normal f) by apply bpow_gt_0.
  assert (0 <= weight_lost k own (smallest_subnormal f) (smallest_normal f)).
  { unfold weight_lost. apply Rplus_le_le_0_compat; apply Rmult_le_pos; lra. }
  constructor; auto. intros z Fz. destruct (Rlt_or_le (exp z) (smallest_normal f)) as [T|N].
  - exists 0, (E z - exp z). rewrite Rabs_R0, exp_0. split; [exact L|]. split; [now apply declared_tiny|ring].
  - pose proof (exp_pos z).
    destruct (rerr_generic declared_unit (E z / exp z - 1) (exp z) small (declared_normal z Fz N)) as (t & Ht & Et).
    exists t, 0. rewrite Rabs_R0, Rplus_0_r, <- Et. split; [exact Ht|]. split; [assumption|field; lra].
Qed.

(** The same, its subnormal results flushed: e^z itself may then lie a little above the smallest normal number. *)
Definition flushed_exponential (z : R) : R := if tiny f (E z) then 0 else E z.

Theorem flushed_declared_exponential : exponential_ok (survives f always) flushed_exponential
  (declared_unit / (1 - declared_unit)) (flushed_weight_lost declared_unit (smallest_normal f)).
Proof.
  assert (P : 0 < smallest_normal f) by apply bpow_gt_0. pose proof declared_unit_nonneg as K.
  assert (I : 1 <= / (1 - declared_unit)).
  { rewrite <- Rinv_1. apply Rinv_le_contravar; lra. }
  unfold flushed_weight_lost.
  assert (G : smallest_normal f <= smallest_normal f / (1 - declared_unit)) by (unfold Rdiv; nra).
  pose proof declared_unit_log as L.
  constructor; auto; [lra|..].
  - intros z. unfold flushed_exponential. destruct (tiny f (E z)) eqn:T; split; auto; apply holds_0.
  - unfold flushed_exponential. rewrite E_zero, tiny_large; [reflexivity|].
    rewrite Rabs_R1. now apply smallest_normal_le_1.
  - intros z [Fz _]. unfold flushed_exponential. pose proof (exp_pos z) as Z.
    destruct (tiny f (E z)) eqn:T.
    + exists 0, (- exp z). rewrite Rabs_R0, exp_0, Rabs_Ropp, Rabs_pos_eq by lra.
      split; [exact L|]. split; [|ring]. destruct (Rlt_or_le (exp z) (smallest_normal f)) as [W|N]; [lra|].
      apply tiny_true in T. pose proof (declared_normal z Fz N) as U.
      apply LogMetric.Rabs_le_inv in U. destruct U as [U _].
      assert (B : exp z * (1 - declared_unit) <= E z).
      { replace (E z) with (E z / exp z * exp z) by (field; lra). rewrite Rmult_comm. apply Rmult_le_compat_r; lra. }
      pose proof (Rle_abs (E z)).
      apply Rmult_le_reg_r with (1 - declared_unit); [lra|].
      unfold Rdiv. rewrite Rmult_assoc, Rinv_l by lra. lra.
    + destruct declared_exponential as [_ _ _ _ X]. destruct (X z Fz) as (t & h & Ht & Hh & Eh).
      exists t, h. split; [exact Ht|]. split; [|exact Eh]. eapply Rle_trans; [exact Hh|].
      eapply Rle_trans; [|exact G].
      unfold weight_lost. replace (smallest_subnormal f) with (smallest_normal f * (2 * unit_roundoff f)).
      * replace (_ + _) with (smallest_normal f * declared_unit) by (unfold declared_unit; ring). nra.
      * unfold smallest_subnormal, smallest_normal, unit_roundoff, lowest.
        replace (emin f - precision f + 1)%Z with (emin f + (1 + - precision f))%Z by ring.
        now rewrite !bpow_plus, bpow_1.
Qed.
End Declared.
