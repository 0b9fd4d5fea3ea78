(** Binary formats with gradual underflow, and rounding to nearest even in them.

    A format is given by what refattn/numbers/formats.py gives: precision, exponent of the smallest normal number, largest
    finite number.  Rounding has no upper limit here: Overflow.v says when the limit is not felt. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core Relative Plus_error.
From refattn Require Import LogMetric.
Open Scope R_scope.

Record format := {
  precision : Z;       (* bits of the significand, the implicit one included *)
  emin : Z;            (* exponent of the smallest normal number *)
  top : Z;             (* the largest finite number is top * 2^top_exponent *)
  top_exponent : Z }.

Record valid_format (f : format) : Prop := {
  valid_precision : (2 <= precision f)%Z;
  valid_emin : (emin f <= 0)%Z;
  valid_top : (2 ^ (precision f - 1) <= top f < 2 ^ precision f)%Z;
  valid_top_exponent : (1 - precision f <= top_exponent f)%Z }.

(** IEEE 754's layout: all significands, up to exponent emax. *)
Definition ieee (p e emax : Z) : format :=
  {| precision := p; emin := e; top := 2 ^ p - 1; top_exponent := emax - p + 1 |}.

Definition e4m3 : format := {| precision := 4; emin := -6; top := 14; top_exponent := 5 |}.
Definition e5m2 : format := ieee 3 (-14) 15.
Definition bf16 : format := ieee 8 (-126) 127.
Definition fp16 : format := ieee 11 (-14) 15.
Definition tf32 : format := ieee 11 (-126) 127.
Definition fp32 : format := ieee 24 (-126) 127.
Definition fp64 : format := ieee 53 (-1022) 1023.

Ltac valid := constructor; simpl; lia.
Lemma e4m3_valid : valid_format e4m3. Proof. valid. Qed.
Lemma e5m2_valid : valid_format e5m2. Proof. valid. Qed.
Lemma bf16_valid : valid_format bf16. Proof. valid. Qed.
Lemma fp16_valid : valid_format fp16. Proof. valid. Qed.
Lemma tf32_valid : valid_format tf32. Proof. valid. Qed.
Lemma fp32_valid : valid_format fp32. Proof. valid. Qed.
Lemma fp64_valid : valid_format fp64. Proof. valid. Qed.

(** Powers of two. *)
Lemma bpow_half e : / 2 * bpow radix2 e = bpow radix2 (e - 1).
Proof.
  replace e with (e - 1 + 1)%Z at 1 by ring. rewrite bpow_plus, bpow_1. simpl (IZR radix2). field.
Qed.

Lemma bpow_le_1 e : (e <= 0)%Z -> bpow radix2 e <= 1.
Proof. intros. change 1 with (bpow radix2 0). now apply bpow_le. Qed.

Section Format.
Variable f : format.
Hypothesis V : valid_format f.

Definition lowest : Z := (emin f - precision f + 1)%Z.
Definition exponents : Z -> Z := FLT_exp lowest (precision f).
Definition holds : R -> Prop := generic_format radix2 exponents.
Definition unit_roundoff : R := bpow radix2 (- precision f).
Definition smallest_normal : R := bpow radix2 (emin f).
Definition smallest_subnormal : R := bpow radix2 lowest.
Definition max_finite : R := F2R (Float radix2 (top f) (top_exponent f)).
Definition round_by (rule : R -> Z) : R -> R := round radix2 exponents rule.
Definition nearest : R -> R := round_by ZnearestE.

Lemma precision_positive : Prec_gt_0 (precision f).
Proof. destruct V. unfold Prec_gt_0. lia. Qed.
Local Existing Instance precision_positive.

Lemma exponents_valid : Valid_exp exponents.
Proof. apply FLT_exp_valid. exact precision_positive. Qed.

Lemma smallest_normal_bpow : bpow radix2 (lowest + precision f - 1) = smallest_normal.
Proof. unfold smallest_normal, lowest. f_equal. lia. Qed.

Lemma unit_roundoff_bounds : 0 < unit_roundoff <= / 4.
Proof.
  destruct V. split; [apply bpow_gt_0|]. unfold unit_roundoff.
  replace (/ 4) with (bpow radix2 (-2)) by (simpl; lra). apply bpow_le. lia.
Qed.

Lemma smallest_subnormal_positive : 0 < smallest_subnormal.
Proof. apply bpow_gt_0. Qed.

Lemma smallest_subnormal_normal : smallest_subnormal <= smallest_normal.
Proof. destruct V. apply bpow_le. unfold lowest. lia. Qed.

Lemma smallest_normal_le_1 : smallest_normal <= 1.
Proof. destruct V. now apply bpow_le_1. Qed.

Lemma holds_power e : (lowest <= e)%Z -> holds (bpow radix2 e).
Proof. destruct V. intros. apply generic_format_bpow. unfold exponents, FLT_exp. lia. Qed.

Lemma holds_0 : holds 0.
Proof. apply generic_format_0. Qed.

Lemma holds_1 : holds 1.
Proof. destruct V. change 1 with (bpow radix2 0). apply holds_power. unfold lowest. lia. Qed.

Lemma holds_smallest_normal : holds smallest_normal.
Proof. destruct V. apply holds_power. unfold lowest. lia. Qed.

Lemma holds_opp x : holds x -> holds (- x).
Proof. apply generic_format_opp. Qed.

Lemma holds_round rule {VR : Valid_rnd rule} x : holds (round_by rule x).
Proof. apply generic_format_round; [exact exponents_valid|assumption]. Qed.

Lemma round_by_held rule {VR : Valid_rnd rule} x : holds x -> round_by rule x = x.
Proof. intros. now apply round_generic. Qed.

Lemma round_by_idempotent rule {VR : Valid_rnd rule} x : round_by rule (round_by rule x) = round_by rule x.
Proof. apply round_by_held; [assumption|]. now apply holds_round. Qed.

Lemma round_by_mono rule {VR : Valid_rnd rule} x y : x <= y -> round_by rule x <= round_by rule y.
Proof. apply round_le; [exact exponents_valid|assumption]. Qed.

Lemma round_by_0 rule {VR : Valid_rnd rule} : round_by rule 0 = 0.
Proof. now apply round_0. Qed.

Lemma round_by_sign rule {VR : Valid_rnd rule} x : x <= 0 -> round_by rule x <= 0.
Proof. intros. rewrite <- (round_by_0 rule). now apply round_by_mono. Qed.

Lemma nearest_opp x : nearest (- x) = - nearest x.
Proof. apply round_NE_opp. Qed.

(** A sum of two numbers of the format that lies in the subnormal range is exact, whatever the rounding. *)
Lemma small_sum_exact rule {VR : Valid_rnd rule} a b : holds a -> holds b ->
  Rabs (a + b) < smallest_normal -> round_by rule (a + b) = a + b.
Proof.
  intros Fa Fb H. apply round_by_held; [assumption|]. apply FLT_format_plus_small; auto using precision_positive.
  left. eapply Rlt_le_trans; [exact H|]. unfold smallest_normal, lowest. apply bpow_le. lia.
Qed.

Lemma half_unit : u_ro radix2 (precision f) = unit_roundoff.
Proof. unfold u_ro, unit_roundoff. rewrite bpow_half. f_equal. lia. Qed.

(** Rounding to nearest: at most u / (1 + u) of a number in the normal range (Jeannerod and Rump). *)
Theorem nearest_relative x : smallest_normal <= Rabs x ->
  exists d, Rabs d <= unit_roundoff / (1 + unit_roundoff) /\ nearest x = x * (1 + d).
Proof.
  intros H. unfold nearest, round_by, exponents.
  rewrite round_FLT_FLX by (rewrite smallest_normal_bpow; exact H).
  destruct V. destruct (relative_error_N_FLX'_ex radix2 (precision f) ltac:(lia) (fun t => negb (Z.even t)) x)
    as (d & Hd & E). rewrite half_unit in Hd. exists d. now split.
Qed.

(** Half the spacing below it. *)
Theorem nearest_absolute x : Rabs x < smallest_normal -> Rabs (nearest x - x) <= smallest_subnormal / 2.
Proof.
  intros H. eapply Rle_trans; [apply error_le_half_ulp; exact exponents_valid|].
  unfold exponents. rewrite ulp_FLT_small.
  - fold smallest_subnormal. lra.
  - exact precision_positive.
  - eapply Rlt_le_trans; [exact H|]. apply bpow_le. unfold lowest. lia.
Qed.
End Format.

(** How a rounding errs: by a relative error in the normal range, by an absolute one below it; sums and differences of
    numbers of the format with their own absolute error.  [F]: the numbers that are left as they are. *)
Record rounding_ok (F : R -> Prop) (rnd : R -> R) (unit lost lost_add : R) : Prop := {
  rounding_unit : 0 <= unit <= 1;
  rounding_lost : 0 <= lost;
  rounding_lost_add : 0 <= lost_add;
  rounding_F : forall x, F (rnd x);
  rounding_fixed : forall x, F x -> rnd x = x;
  rounding_0 : F 0;
  rounding_1 : F 1;
  rounding_sign : forall x, x <= 0 -> rnd x <= 0;
  rounding_error : forall x, exists d h, Rabs d <= unit / (1 + unit) /\ Rabs h <= lost /\ rnd x = x * (1 + d) + h;
  rounding_sum : forall a b, F a -> F b ->
    exists d h, Rabs d <= unit / (1 + unit) /\ Rabs h <= lost_add /\ rnd (a + b) = (a + b) * (1 + d) + h;
  rounding_difference : forall a b, F a -> F b ->
    exists d h, Rabs d <= unit / (1 + unit) /\ Rabs h <= lost_add /\ rnd (a - b) = (a - b) * (1 + d) + h }.

(** From the two regimes to [rounding_ok], whatever the rule of rounding. *)
Section TwoRegimes.
Variable f : format.
Hypothesis V : valid_format f.
Variable rule : R -> Z.
Context {HV : Valid_rnd rule}.
Variables unit lost : R.
Hypothesis Hunit : 0 <= unit <= 1.
Hypothesis Hlost : 0 <= lost.
Hypothesis relative : forall x, smallest_normal f <= Rabs x ->
  exists d, Rabs d <= unit / (1 + unit) /\ round_by f rule x = x * (1 + d).
Hypothesis absolute : forall x, Rabs x < smallest_normal f -> Rabs (round_by f rule x - x) <= lost.

Lemma share_nonneg : 0 <= unit / (1 + unit).
Proof. apply Rmult_le_pos; [apply Hunit|]. left. apply Rinv_0_lt_compat. lra. Qed.

Lemma two_regimes_sum a b : holds f a -> holds f b ->
  exists d h, Rabs d <= unit / (1 + unit) /\ Rabs h <= 0 /\ round_by f rule (a + b) = (a + b) * (1 + d) + h.
Proof.
  intros Fa Fb. destruct (Rlt_or_le (Rabs (a + b)) (smallest_normal f)) as [S|L].
  - exists 0, 0. rewrite Rabs_R0, (small_sum_exact f V rule a b Fa Fb S).
    split; [exact share_nonneg|]. split; [lra|ring].
  - destruct (relative _ L) as (d & Hd & E). exists d, 0. rewrite Rabs_R0, E. repeat split; auto; lra.
Qed.

Theorem two_regimes_ok : rounding_ok (holds f) (round_by f rule) unit lost 0.
Proof.
  constructor; auto; try lra.
  - intros. now apply holds_round.
  - intros. now apply round_by_held.
  - apply holds_0.
  - now apply holds_1.
  - intros. now apply round_by_sign.
  - intros x. destruct (Rlt_or_le (Rabs x) (smallest_normal f)) as [S|L].
    + exists 0, (round_by f rule x - x). rewrite Rabs_R0.
      split; [exact share_nonneg|]. split; [now apply absolute|ring].
    + destruct (relative _ L) as (d & Hd & E). exists d, 0. rewrite Rabs_R0, E. repeat split; auto; lra.
  - exact two_regimes_sum.
  - intros a b Fa Fb. apply (two_regimes_sum a (- b) Fa). now apply holds_opp.
Qed.
End TwoRegimes.

Theorem nearest_ok f : valid_format f ->
  rounding_ok (holds f) (nearest f) (unit_roundoff f) (smallest_subnormal f / 2) 0.
Proof.
  intros V. pose proof (unit_roundoff_bounds f V). pose proof (smallest_subnormal_positive f).
  apply (two_regimes_ok f V ZnearestE); try lra.
  - exact (nearest_relative f V).
  - exact (nearest_absolute f V).
Qed.

(** One rounding in the log metric. *)
Theorem rounding_log_error F rnd unit lost lost_add x : rounding_ok F rnd unit lost lost_add ->
  exists t h, Rabs t <= unit /\ Rabs h <= lost /\ rnd x = x * exp t + h.
Proof.
  intros []. destruct (rounding_error0 x) as (d & h & Hd & Hh & E).
  destruct (rerr_nearest unit d x (proj1 rounding_unit0) Hd) as (t & Ht & Et).
  exists t, h. rewrite <- Et. auto.
Qed.
