(** A number cast to another format, and what an addend loses when P is cast before it is multiplied by V.

    Two casts, one after the other, are two roundings: their log-errors add up, and what the first lost is scaled. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Growth Formats Truncation FlushToZero FormatsStage FormatsProduct.
Open Scope R_scope.

(** What is asked of a cast: a log-error and an absolute part. *)
Definition cast_ok (cast : R -> R) (unit lost : R) : Prop :=
  forall p, exists t h, Rabs t <= unit /\ Rabs h <= lost /\ cast p = p * exp t + h.

Theorem stage_cast f m : valid_format f -> cast_ok (stage_round f m) (stage_unit f m) (underflow_unit f m false).
Proof. intros V p. eapply rounding_log_error. now apply stage_ok. Qed.

Theorem stage_flush_cast f m flushed : valid_format f -> stable flushed (stage_round f m) ->
  cast_ok (flush f flushed (stage_round f m)) (stage_unit f m) (underflow_unit f m true).
Proof. intros V K p. eapply rounding_log_error. now apply stage_flush_ok. Qed.

(** The numbers of the target are numbers of any format that is at least as precise and reaches as low. *)
Theorem cast_held f g m x : valid_format f -> (precision f <= precision g)%Z -> (lowest g <= lowest f)%Z ->
  holds g (stage_round f m x).
Proof. intros V P L. apply (narrow_held g f); auto. apply stage_ok; exact V. Qed.

(** The cast of what is known by a log-error and an absolute part already. *)
Definition cast_lost (before unit lost : R) : R := before * (1 + growth unit) + lost.

Theorem cast_error cast unit lost relative eta exact computed : cast_ok cast unit lost ->
  (exists t h, Rabs t <= relative /\ Rabs h <= eta /\ computed = exact * exp t + h) ->
  exists t h, Rabs t <= relative + unit /\ Rabs h <= cast_lost eta unit lost /\ cast computed = exact * exp t + h.
Proof.
  intros C (t & h & Ht & Hh & E). destruct (C computed) as (t' & h' & Ht' & Hh' & E').
  exists (t + t'), (h * exp t' + h'). split; [|split].
  - eapply Rle_trans; [apply Rabs_triang|lra].
  - unfold cast_lost, growth. replace (1 + (exp unit - 1)) with (exp unit) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. apply Rplus_le_compat; [|exact Hh'].
    rewrite Rabs_mult, (Rabs_pos_eq (exp t')) by (left; apply exp_pos).
    apply Rmult_le_compat; [apply Rabs_pos|left; apply exp_pos|exact Hh|].
    apply exp_le. apply LogMetric.Rabs_le_inv in Ht'. lra.
  - rewrite E', E, exp_plus. ring.
Qed.

(** Two casts are two roundings. *)
Corollary cast_twice first second unit1 unit2 lost1 lost2 :
  cast_ok first unit1 lost1 -> cast_ok second unit2 lost2 ->
  cast_ok (fun p => second (first p)) (unit1 + unit2) (cast_lost lost1 unit2 lost2).
Proof. intros A B p. exact (cast_error second unit2 lost2 unit1 lost1 p (first p) B (A p)). Qed.

(** A cast of 2^k p, scaled back: the absolute part shrinks by 2^k (P in an 8-bit format with an offset). *)
Theorem cast_with_offset cast unit lost scale : cast_ok cast unit lost -> 0 < scale ->
  cast_ok (fun p => cast (scale * p) / scale) unit (lost / scale).
Proof.
  intros C P p. destruct (C (scale * p)) as (t & h & Ht & Hh & E).
  assert (I : 0 < / scale) by (now apply Rinv_0_lt_compat).
  exists t, (h / scale). split; [exact Ht|]. split.
  - unfold Rdiv. rewrite Rabs_mult, (Rabs_pos_eq (/ scale)) by lra. apply Rmult_le_compat_r; lra.
  - rewrite E. field. lra.
Qed.

(** P in [0, 1] stays in [0, 1]: a cast of it never overflows, whatever the format. *)
Theorem cast_of_weight f m p : valid_format f -> 0 <= p <= 1 -> 0 <= stage_round f m p <= 1.
Proof.
  intros V [P0 P1].
  assert (Z : stage_round f m 0 = 0) by (apply stage_ok; [exact V|apply holds_0]).
  assert (O : stage_round f m 1 = 1) by (apply stage_ok; [exact V|now apply holds_1]).
  assert (M : forall x y, x <= y -> stage_round f m x <= stage_round f m y).
  { intros x y H. unfold stage_round. destruct m; apply round_by_mono; auto with typeclass_instances. }
  rewrite <- Z at 1. rewrite <- O. split; now apply M.
Qed.

(** The formats that P is cast to. *)
Definition cast_bf16 : R -> R := stage_round bf16 Nearest.
Definition cast_fp16 : R -> R := stage_round fp16 Nearest.
Definition cast_e4m3 : R -> R := stage_round e4m3 Nearest.
Definition cast_e5m2 : R -> R := stage_round e5m2 Nearest.

Lemma subnormal_half f : smallest_subnormal f / 2 = bpow radix2 (lowest f - 1).
Proof. unfold smallest_subnormal. rewrite <- bpow_half. lra. Qed.

Corollary cast_bf16_ok : cast_ok cast_bf16 (bpow radix2 (-8)) (bpow radix2 (-134)).
Proof. pose proof (stage_cast bf16 Nearest bf16_valid) as H. simpl in H. rewrite subnormal_half in H. exact H. Qed.
Corollary cast_fp16_ok : cast_ok cast_fp16 (bpow radix2 (-11)) (bpow radix2 (-25)).
Proof. pose proof (stage_cast fp16 Nearest fp16_valid) as H. simpl in H. rewrite subnormal_half in H. exact H. Qed.
Corollary cast_e4m3_ok : cast_ok cast_e4m3 (bpow radix2 (-4)) (bpow radix2 (-10)).
Proof. pose proof (stage_cast e4m3 Nearest e4m3_valid) as H. simpl in H. rewrite subnormal_half in H. exact H. Qed.
Corollary cast_e5m2_ok : cast_ok cast_e5m2 (bpow radix2 (-3)) (bpow radix2 (-17)).
Proof. pose proof (stage_cast e5m2 Nearest e5m2_valid) as H. simpl in H. rewrite subnormal_half in H. exact H. Qed.

Corollary cast_bf16_held p : holds fp32 (cast_bf16 p).
Proof. apply cast_held; [exact bf16_valid|simpl; lia|unfold lowest; simpl; lia]. Qed.
Corollary cast_fp16_held p : holds fp32 (cast_fp16 p).
Proof. apply cast_held; [exact fp16_valid|simpl; lia|unfold lowest; simpl; lia]. Qed.
Corollary cast_e4m3_held p : holds fp32 (cast_e4m3 p).
Proof. apply cast_held; [exact e4m3_valid|simpl; lia|unfold lowest; simpl; lia]. Qed.
Corollary cast_e5m2_held p : holds fp32 (cast_e5m2 p).
Proof. apply cast_held; [exact e5m2_valid|simpl; lia|unfold lowest; simpl; lia]. Qed.
