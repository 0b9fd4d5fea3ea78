(** From a rounding and an exponential to the abstract arithmetic of Arithmetic.v. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Arithmetic Formats FlushToZero.
Open Scope R_scope.

(** What is asked of the exponential, besides that its results are numbers of the format. *)
Record exponential_ok (F : R -> Prop) (E : R -> R) (relative lost : R) : Prop := {
  exponential_relative : 0 <= relative;
  exponential_lost : 0 <= lost;
  exponential_F : forall z, F (E z);
  exponential_0 : E 0 = 1;
  exponential_error : forall z, F z ->
    exists t h, Rabs t <= relative /\ Rabs h <= lost /\ E z = exp z * exp t + h }.

Definition arithmetic_of (F : R -> Prop) (rnd E : R -> R) (unit relative lost_add lost lost_exp : R) : arith := {|
  Arithmetic.F := F;
  fadd a b := rnd (a + b); fsub a b := rnd (a - b); fmul a b := rnd (a * b); fdiv a b := rnd (a / b); fexp := E;
  u := unit; eps := relative; eta_add := lost_add; eta_mul := lost; eta_exp := lost_exp |}.

Theorem arithmetic_of_ok F rnd E unit relative lost_add lost lost_exp :
  rounding_ok F rnd unit lost lost_add -> exponential_ok F E relative lost_exp ->
  arith_ok (arithmetic_of F rnd E unit relative lost_add lost lost_exp).
Proof.
  intros R X. pose proof R as [Ru Rl Ra RF RI R0 R1 Rs Re Rsum Rdiff]. destruct X as [Xr Xl XF X0 Xe].
  assert (shrink : forall d, Rabs d <= unit / (1 + unit) -> Rabs d <= unit).
  { intros d Hd. eapply Rle_trans; [exact Hd|]. apply Rmult_le_reg_r with (1 + unit); [lra|].
    unfold Rdiv. rewrite Rmult_assoc, Rinv_l by lra. nra. }
  constructor; simpl; auto.
  - intros a b Fa Fb. destruct (Rsum a b Fa Fb) as (d & h & Hd & Hh & E0).
    destruct (rerr_nearest unit d (a + b) (proj1 Ru) Hd) as (t & Ht & Et). exists t, h. rewrite <- Et. auto.
  - intros a b Fa Fb. destruct (Rdiff a b Fa Fb) as (d & h & Hd & Hh & E0). exists d, h. auto.
  - intros a b _ _ H. apply Rs. lra.
  - intros. eapply rounding_log_error. exact R.
  - intros. eapply rounding_log_error. exact R.
  - intros. replace (a - a) with 0 by ring. now apply RI.
  - intros a Fa. rewrite Rplus_0_r, Rplus_0_l. auto.
  - intros a Fa. rewrite Rmult_1_r, Rmult_1_l. auto.
Qed.

(** A correctly rounded exponential. *)
Theorem correctly_rounded_exponential F rnd unit lost lost_add : rounding_ok F rnd unit lost lost_add ->
  exponential_ok F (fun z => rnd (exp z)) unit lost.
Proof.
  intros R. pose proof R as [Ru Rl _ RF RI _ R1 _ _ _ _]. constructor; auto; try lra.
  - rewrite exp_0. now apply RI.
  - intros z _. eapply rounding_log_error. exact R.
Qed.

(** An exponential within k ulps of e^z, of which one is at most 2u of a normal value, and the spacing below that. *)
Section Ulps.
Variable f : format.
Hypothesis V : valid_format f.
Variable k : R.
Hypothesis Hk : 0 <= k.
Definition exponential_unit : R := k * (2 * unit_roundoff f).
Hypothesis small : exponential_unit < 1.
Variable E : R -> R.
Hypothesis E_held : forall z, holds f (E z).
Hypothesis E_zero : E 0 = 1.
Hypothesis E_ulps : forall z, holds f z -> Rabs (E z - exp z) <= k * ulp radix2 (exponents f) (exp z).
Local Instance precision_positive_ : Prec_gt_0 (precision f) := precision_positive f V.

Lemma exponential_unit_nonneg : 0 <= exponential_unit.
Proof. pose proof (unit_roundoff_bounds f V). apply Rmult_le_pos; lra. Qed.

Lemma exponential_unit_log : 0 <= exponential_unit / (1 - exponential_unit).
Proof.
  apply Rmult_le_pos; [exact exponential_unit_nonneg|]. left. apply Rinv_0_lt_compat. lra.
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

Lemma ulps_normal z : holds f z -> smallest_normal f <= exp z -> Rabs (E z / exp z - 1) <= exponential_unit.
Proof.
  intros Fz H. pose proof (exp_pos z) as P. pose proof (E_ulps z Fz) as B. pose proof (ulp_normal _ H) as U.
  replace (E z / exp z - 1) with ((E z - exp z) * / exp z) by (field; lra).
  rewrite Rabs_mult, (Rabs_pos_eq (/ exp z)) by (left; now apply Rinv_0_lt_compat).
  apply Rmult_le_reg_r with (exp z); [exact P|]. rewrite Rmult_assoc, Rinv_l, Rmult_1_r by lra.
  eapply Rle_trans; [exact B|]. unfold exponential_unit.
  replace (k * (2 * unit_roundoff f) * exp z) with (k * (exp z * (2 * unit_roundoff f))) by ring.
  now apply Rmult_le_compat_l.
Qed.

Lemma ulps_tiny z : holds f z -> exp z < smallest_normal f -> Rabs (E z - exp z) <= k * smallest_subnormal f.
Proof.
  intros Fz H. rewrite <- (ulp_tiny (exp z)); [now apply E_ulps|]. rewrite Rabs_pos_eq; [exact H|].
  left. apply exp_pos.
Qed.

Theorem ulps_exponential :
  exponential_ok (holds f) E (exponential_unit / (1 - exponential_unit)) (k * smallest_subnormal f).
Proof.
  pose proof (smallest_subnormal_positive f) as S. pose proof exponential_unit_log as L.
  assert (0 <= k * smallest_subnormal f) by (apply Rmult_le_pos; lra).
  constructor; auto. intros z Fz. destruct (Rlt_or_le (exp z) (smallest_normal f)) as [T|N].
  - exists 0, (E z - exp z). rewrite Rabs_R0, exp_0. split; [exact L|]. split; [now apply ulps_tiny|ring].
  - pose proof (exp_pos z).
    destruct (rerr_generic exponential_unit (E z / exp z - 1) (exp z) small (ulps_normal z Fz N)) as (t & Ht & Et).
    exists t, 0. rewrite Rabs_R0, Rplus_0_r, <- Et. split; [exact Ht|]. split; [assumption|field; lra].
Qed.

(** The same, its subnormal results flushed: e^z itself may then lie a little above the smallest normal number. *)
Definition flushed_exponential (z : R) : R := if tiny f (E z) then 0 else E z.

Theorem flushed_ulps_exponential : exponential_ok (survives f always) flushed_exponential
  (exponential_unit / (1 - exponential_unit)) (smallest_normal f / (1 - exponential_unit)).
Proof.
  assert (P : 0 < smallest_normal f) by apply bpow_gt_0. pose proof exponential_unit_nonneg as K.
  assert (I : 1 <= / (1 - exponential_unit)).
  { rewrite <- Rinv_1. apply Rinv_le_contravar; lra. }
  assert (G : smallest_normal f <= smallest_normal f / (1 - exponential_unit)) by (unfold Rdiv; nra).
  pose proof exponential_unit_log as L.
  constructor; auto; [lra|..].
  - intros z. unfold flushed_exponential. destruct (tiny f (E z)) eqn:T; split; auto; apply holds_0.
  - unfold flushed_exponential. rewrite E_zero, tiny_large; [reflexivity|].
    rewrite Rabs_R1. now apply smallest_normal_le_1.
  - intros z [Fz _]. unfold flushed_exponential. pose proof (exp_pos z) as Z.
    destruct (tiny f (E z)) eqn:T.
    + exists 0, (- exp z). rewrite Rabs_R0, exp_0, Rabs_Ropp, Rabs_pos_eq by lra.
      split; [exact L|]. split; [|ring]. destruct (Rlt_or_le (exp z) (smallest_normal f)) as [W|N]; [lra|].
      apply tiny_true in T. pose proof (ulps_normal z Fz N) as U.
      apply LogMetric.Rabs_le_inv in U. destruct U as [U _].
      assert (B : exp z * (1 - exponential_unit) <= E z).
      { replace (E z) with (E z / exp z * exp z) by (field; lra). rewrite Rmult_comm. apply Rmult_le_compat_r; lra. }
      pose proof (Rle_abs (E z)).
      apply Rmult_le_reg_r with (1 - exponential_unit); [lra|].
      unfold Rdiv. rewrite Rmult_assoc, Rinv_l by lra. lra.
    + destruct ulps_exponential as [_ _ _ _ X]. destruct (X z Fz) as (t & h & Ht & Hh & Eh).
      exists t, h. split; [exact Ht|]. split; [|exact Eh]. eapply Rle_trans; [exact Hh|].
      eapply Rle_trans; [|exact G].
      replace (smallest_subnormal f) with (smallest_normal f * (2 * unit_roundoff f)).
      * unfold exponential_unit in small. nra.
      * unfold smallest_subnormal, smallest_normal, unit_roundoff, lowest.
        replace (emin f - precision f + 1)%Z with (emin f + (1 + - precision f))%Z by ring.
        now rewrite !bpow_plus, bpow_1.
Qed.
End Ulps.
