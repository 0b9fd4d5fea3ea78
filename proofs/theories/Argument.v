(** The exponential's argument, s - m in nats, as kernels compute it, and what its errors add up to over rescales.

    Scores x and references m may be held in units of which one is [scale] > 0 nats (the scale folded into the exponent,
    else 1); [factor] is log2(e) times that, held to within [constant]. The base of the exponential is 2 in two of the
    three paths, so there the argument is z ln 2. *)
From Coq Require Import Reals List Lra.
From refattn Require Import LogMetric Roundoff Nearly.
Import ListNotations.
Open Scope R_scope.

(** exp (fl (s - m)); exp2 (fl (fl (s - m) c)); exp2 (fma (s, c, - fl (m c))). [distance] is |s - m|, [shift] is |m|. *)
Definition argument_subtract (distance unit : R) : R := unit * distance.
Definition argument_subtract_exp2 (distance unit constant : R) : R := compound [unit; unit; constant] * distance.
Definition argument_fma (distance shift unit constant : R) : R :=
  compound [unit; unit; constant] * distance + (unit + unit * compound [unit; constant]) * shift.

(** What underflow, or flushing to zero, adds. *)
Definition argument_lost (scale unit constant lost : R) : R := (1 + scale * (1 + compound [unit; constant])) * lost.

Section Argument.
Variables unit constant lost : R.
Hypothesis unit_nonneg : 0 <= unit.
Hypothesis constant_nonneg : 0 <= constant.
Hypothesis lost_nonneg : 0 <= lost.

Definition subtracted (x m z : R) : Prop := nearly unit lost z (x - m).

Definition factor_held (scale factor : R) : Prop := nearly constant 0 factor (scale / ln 2).

Definition subtracted_exp2 (factor x m z : R) : Prop := exists difference,
  nearly unit lost difference (x - m) /\ nearly unit lost z (difference * factor).

Definition fused (factor x m z : R) : Prop := exists offset,
  nearly unit lost offset (m * factor) /\ nearly unit lost z (x * factor - offset).

Theorem argument_subtract_error x m z : subtracted x m z ->
  Rabs (z - (x - m)) <= argument_subtract (Rabs (x - m)) unit + lost.
Proof. intros H. exact H. Qed.

Lemma ln_2_bounds : 0 < ln 2 <= 1.
Proof.
  split; [rewrite <- ln_1; apply ln_increasing; lra|]. pose proof (ln_le_sub1 2). lra.
Qed.

(** In nats: what is off by h in base 2 is off by h ln 2. *)
Lemma nearly_in_nats r eta z y : 0 <= eta -> nearly r eta z y -> nearly r (eta * ln 2) (z * ln 2) (y * ln 2).
Proof.
  intros He H. pose proof ln_2_bounds. apply (nearly_scale (ln 2)) in H. rewrite (Rabs_pos_eq (ln 2)) in H by lra.
  now rewrite (Rmult_comm z), (Rmult_comm y), (Rmult_comm eta).
Qed.

Theorem argument_subtract_exp2_error scale most factor x m z : 0 < scale <= most -> factor_held scale factor ->
  subtracted_exp2 factor x m z ->
  Rabs (z * ln 2 - scale * (x - m)) <=
    argument_subtract_exp2 (scale * Rabs (x - m)) unit constant + argument_lost most unit constant lost.
Proof.
  intros [Hs Hm] Hf (d & Hd & Hz). pose proof ln_2_bounds as L2. apply nearly_in_nats in Hz; [|exact lost_nonneg].
  pose proof (nearly_in_nats _ _ _ _ (Rle_refl 0) Hf) as Hc. rewrite Rmult_0_l in Hc.
  replace (scale / ln 2 * ln 2) with scale in Hc by (field; lra). rewrite Rmult_assoc in Hz.
  pose proof (nearly_times_constant _ _ _ _ _ _ _ unit_nonneg Hc Hz) as H.
  apply (nearly_scale scale) in Hd. rewrite (Rabs_pos_eq scale) in Hd by lra.
  rewrite (Rmult_comm d) in H.
  assert (C : 0 <= compound [unit; constant]) by (unfold compound; simpl; nra).
  pose proof (nearly_compose _ _ _ _ _ _ _ C Hd H) as N. unfold nearly in N.
  rewrite Rabs_mult, (Rabs_pos_eq scale) in N by lra.
  eapply Rle_trans; [exact N|]. unfold argument_subtract_exp2, argument_lost.
  replace (compound [unit; compound [unit; constant]]) with (compound [unit; unit; constant])
    by (unfold compound; simpl; ring).
  assert (lost * ln 2 <= lost) by nra.
  assert (scale * (lost * (1 + compound [unit; constant])) <= most * (lost * (1 + compound [unit; constant]))) by
    (apply Rmult_le_compat_r; [nra|exact Hm]).
  lra.
Qed.

(** A fused multiply-add errs in proportion to the rounded product m c, whatever the distance. *)
Theorem argument_fma_error scale most factor x m z : 0 < scale <= most -> 1 <= most ->
  factor_held scale factor -> fused factor x m z ->
  Rabs (z * ln 2 - scale * (x - m)) <=
    argument_fma (scale * Rabs (x - m)) (scale * Rabs m) unit constant + argument_lost most unit constant lost.
Proof.
  intros [Hs Hm] H1 Hf (p & Hp & Hz). pose proof ln_2_bounds as L2.
  apply nearly_in_nats in Hz, Hp; [|exact lost_nonneg|exact lost_nonneg].
  pose proof (nearly_in_nats _ _ _ _ (Rle_refl 0) Hf) as Hc. rewrite Rmult_0_l in Hc.
  replace (scale / ln 2 * ln 2) with scale in Hc by (field; lra). rewrite Rmult_assoc in Hp.
  rewrite Rmult_minus_distr_r, Rmult_assoc in Hz. set (c := factor * ln 2) in *. set (q := p * ln 2) in *.
  set (y := z * ln 2) in *. unfold nearly in *. rewrite (Rabs_pos_eq scale), Rplus_0_r in Hc by lra.
  set (h := lost * ln 2) in *. assert (Hh : 0 <= h <= lost) by (unfold h; nra).
  set (D := scale * Rabs (x - m)). set (S := scale * Rabs m).
  assert (P : forall a, Rabs (a * c) <= (1 + constant) * (scale * Rabs a)).
  { intros a. replace (a * c) with (a * scale + a * (c - scale)) by ring. eapply Rle_trans; [apply Rabs_triang|].
    rewrite !Rabs_mult, (Rabs_pos_eq scale) by lra. pose proof (Rabs_pos a). nra. }
  assert (A : Rabs (q - m * c) <= unit * (1 + constant) * S + h).
  { eapply Rle_trans; [exact Hp|]. specialize (P m). fold S in P. nra. }
  assert (B : Rabs (x * c - q - scale * (x - m)) <= constant * D + (unit * (1 + constant) * S + h)).
  { replace (x * c - q - scale * (x - m)) with ((x - m) * (c - scale) + - (q - m * c)) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp, Rabs_mult.
    assert (Rabs (x - m) * Rabs (c - scale) <= Rabs (x - m) * (constant * scale)) by
      (apply Rmult_le_compat_l; [apply Rabs_pos|exact Hc]).
    unfold D. lra. }
  assert (E : Rabs (scale * (x - m)) = D) by (unfold D; rewrite Rabs_mult, Rabs_pos_eq; lra).
  eapply Rle_trans; [apply (rounded_error _ _ _ _ D unit h unit_nonneg (Req_le _ _ E) B Hz)|].
  assert (0 <= D) by (rewrite <- E; apply Rabs_pos). assert (0 <= S) by (unfold S; pose proof (Rabs_pos m); nra).
  unfold argument_fma, argument_lost, rounded, compound; simpl.
  assert (0 <= unit * (1 + unit) * (1 + constant)) by (repeat apply Rmult_le_pos; lra).
  assert (0 <= unit * (1 + unit) * (1 + constant) * D) by (now apply Rmult_le_pos).
  assert (0 <= unit * constant) by (now apply Rmult_le_pos).
  assert ((2 + unit) * h <= (1 + most * (1 + (unit + constant + unit * constant))) * lost).
  { apply Rle_trans with ((2 + unit) * lost); [nra|]. apply Rmult_le_compat_r; [exact lost_nonneg|].
    assert (1 * (1 + (unit + constant + unit * constant)) <= most * (1 + (unit + constant + unit * constant))) by
      (apply Rmult_le_compat_r; lra).
    lra. }
  lra.
Qed.
End Argument.
