(** The radii of rung 2's gradients: from those of weights, outputs and products to dS, dQ, dK and dV. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth Roundoff Extended.
Import ListNotations.
Open Scope R_scope.

(** Log-error of a weight that is divided by the normaliser, as computed. *)
Definition share_error (weight_error lost last : R) : R := 2 * weight_error + log_error lost + log_error last.

(** Of what the weight is multiplied by: dropout's factor times dP, less Delta and plus dLSE. *)
Definition slope_radius (gain product delta words height : R) : R := gain * product + delta + words * height.

Definition score_gradient_radius (share product gradient weight slope hidden : R) : R :=
  growth (share + log_error product) * gradient + (1 + growth share) * weight * slope + hidden.

Definition query_gradient_radius (share product moved slope hidden size left_out : R) : R :=
  growth (share + log_error product) * moved + (slope + hidden) * size + left_out.

Definition value_weight_radius (share product weight hidden : R) : R :=
  growth (share + log_error product) * weight + hidden.

(** Of a sum over queries of numbers that are off by [total] together, times numbers of at most [size]. *)
Definition gathered_radius (total size left_out : R) : R := total * size + left_out.

(** Of sums times a factor. *)
Definition scaled_radius (radius factor last : R) : R := factor * radius + last.

Theorem share_error_bounded p q L M l d weight_error lost last :
  0 < l -> lost < 1 -> last < 1 -> rerr weight_error L M -> Rabs (M - l) <= lost * l -> rerr weight_error p q ->
  Rabs d <= last -> rerr (share_error weight_error lost last) (p / L) (q / l * (1 + d)).
Proof.
  intros Hl H1 H2 HL HM HP HD. unfold share_error.
  replace (2 * weight_error + log_error lost + log_error last)
    with (weight_error + (weight_error + log_error lost) + log_error last) by ring.
  apply rerr_trans with (q / l).
  - apply rerr_div; [lra|exact HP|]. now apply normaliser_log with M.
  - apply rerr_sym. now apply log_error_rerr.
Qed.

Theorem slope_radius_bounded {C} (cs : list C) (upstream out out' radius : C -> R)
    keep gain dp dp' dlse slope product words height :
  0 <= gain -> 0 <= keep <= 1 -> Rabs (dp' - dp) <= product ->
  (forall c, In c cs -> Rabs (out' c - out c) <= radius c) ->
  Rabs (slope - (keep * (gain * dp') - sumf (fun c => upstream c * out' c) cs + dlse)) <= words * height ->
  Rabs (slope - (keep * (gain * dp) - sumf (fun c => upstream c * out c) cs + dlse))
    <= slope_radius gain product (sumf (fun c => Rabs (upstream c) * radius c) cs) words height.
Proof.
  intros G K P O W. unfold slope_radius.
  assert (D : Rabs (sumf (fun c => upstream c * out' c) cs - sumf (fun c => upstream c * out c) cs)
    <= sumf (fun c => Rabs (upstream c) * radius c) cs).
  { rewrite <- sumf_minus. eapply Rle_trans; [apply sumf_abs|]. apply sumf_le. intros c H.
    rewrite <- Rmult_minus_distr_l, Rabs_mult. apply Rmult_le_compat_l; [apply Rabs_pos|]. now apply O. }
  assert (E : Rabs (keep * (gain * (dp' - dp))) <= gain * product).
  { rewrite !Rabs_mult, (Rabs_pos_eq keep), (Rabs_pos_eq gain) by lra. pose proof (Rabs_pos (dp' - dp)).
    assert (A : 0 <= gain * Rabs (dp' - dp)) by (apply Rmult_le_pos; lra).
    assert (B : gain * Rabs (dp' - dp) <= gain * product) by (apply Rmult_le_compat_l; lra).
    assert (keep * (gain * Rabs (dp' - dp)) <= 1 * (gain * Rabs (dp' - dp))) by (apply Rmult_le_compat_r; lra). lra. }
  set (A := sumf (fun c => upstream c * out' c) cs) in *. set (B := sumf (fun c => upstream c * out c) cs) in *.
  replace (slope - (keep * (gain * dp) - B + dlse)) with
    ((slope - (keep * (gain * dp') - A + dlse)) + keep * (gain * (dp' - dp)) + - (A - B)) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp.
  pose proof (Rabs_triang (slope - (keep * (gain * dp') - A + dlse)) (keep * (gain * (dp' - dp)))). lra.
Qed.

(** How a computed gradient belongs to an exact weight times an exact slope: a product of the computed ones, or a
    weight that is taken for 0. *)
Definition gradient_close (share product slope hidden weight weight' x gradient : R) : Prop :=
  (exists d x', Rabs d <= product /\ Rabs (x' - x) <= slope /\ rerr share weight weight' /\
    gradient = weight' * x' * (1 + d)) \/
  (weight' = 0 /\ gradient = 0 /\ Rabs (weight * x) <= hidden).

Lemma gradient_apart share product slope hidden weight weight' x gradient :
  0 <= weight -> 0 <= slope -> 0 <= hidden -> product < 1 ->
  gradient_close share product slope hidden weight weight' x gradient ->
  Rabs (gradient - weight * x) <= growth (share + log_error product) * Rabs gradient + weight * slope + hidden.
Proof.
  intros W S H P [(d & x' & D & X & R & ->)|(_ & -> & N)].
  - set (g := weight' * x' * (1 + d)).
    assert (E : rerr (share + log_error product) (weight * x') g).
    { apply rerr_trans with (weight' * x').
      - replace (share) with (share + 0) by ring. apply rerr_mult; [exact R|apply rerr_refl; lra].
      - apply rerr_sym. unfold g. now apply log_error_rerr. }
    apply rerr_abs in E. fold (growth (share + log_error product)) in E.
    replace (g - weight * x) with (- (weight * x' - g) + weight * (x' - x)) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp, Rabs_mult, (Rabs_pos_eq weight) by exact W.
    apply Rmult_le_compat_l with (r := weight) in X; lra.
  - rewrite Rabs_R0, Rmult_0_r, Rplus_0_l. unfold Rminus. rewrite Rplus_0_l, Rabs_Ropp.
    assert (0 <= weight * slope) by now apply Rmult_le_pos. lra.
Qed.

(** One element of dS, which is one of the bias's gradient, and a sink's. *)
Theorem score_gradient_radius_bounded share product slope hidden weight weight' x gradient :
  0 <= weight -> 0 <= weight' -> 0 <= share -> 0 <= slope -> 0 <= hidden -> product < 1 ->
  gradient_close share product slope hidden weight weight' x gradient ->
  Rabs (gradient - weight * x) <= score_gradient_radius share product (Rabs gradient) weight' slope hidden.
Proof.
  intros W W' Sh S H P C. unfold score_gradient_radius.
  pose proof (gradient_apart _ _ _ _ _ _ _ _ W S H P C) as A. destruct C as [(d & x' & D & X & R & E)|(Z & E & N)].
  - apply rerr_abs in R. fold (growth share) in R. rewrite (Rabs_pos_eq weight') in R by exact W'.
    pose proof (Rle_abs (weight - weight')).
    assert (B : weight <= (1 + growth share) * weight') by lra.
    apply Rmult_le_compat_r with (r := slope) in B; [|exact S]. lra.
  - rewrite E, Z, Rabs_R0. unfold Rminus. rewrite !Rmult_0_r, Rplus_0_l, Rabs_Ropp. lra.
Qed.

(** A query's gradient: the sum over its keys of elements of dS times k, where weights add up to at most 1. *)
Theorem query_gradient_radius_bounded {I} (keys : list I) (weight weight' x gradient k : I -> R)
    share product slope nothing moved hidden size left_out computed :
  (forall j, In j keys -> 0 <= weight j) -> sumf weight keys <= 1 ->
  0 <= slope -> 0 <= nothing -> product < 1 -> 0 <= share + log_error product ->
  (forall j, In j keys -> gradient_close share product slope nothing (weight j) (weight' j) (x j) (gradient j)) ->
  (forall j, In j keys -> Rabs (k j) <= size) -> 0 <= size ->
  sumf (fun j => Rabs (gradient j * k j)) keys <= moved -> INR (length keys) * nothing <= hidden ->
  Rabs (computed - sumf (fun j => gradient j * k j) keys) <= left_out ->
  Rabs (computed - sumf (fun j => weight j * x j * k j) keys)
    <= query_gradient_radius share product moved slope hidden size left_out.
Proof.
  intros W One S H P G C K Sz M Hn L. unfold query_gradient_radius. set (g := growth (share + log_error product)).
  assert (G0 : 0 <= g) by now apply growth_nonneg.
  assert (T : Rabs (sumf (fun j => gradient j * k j) keys - sumf (fun j => weight j * x j * k j) keys)
    <= g * sumf (fun j => Rabs (gradient j * k j)) keys + slope * size * sumf weight keys
      + INR (length keys) * (nothing * size)).
  { rewrite <- sumf_minus. eapply Rle_trans; [apply sumf_abs|].
    rewrite <- !sumf_scal_l, <- sumf_const, <- !sumf_plus. apply sumf_le. intros j J.
    rewrite <- Rmult_minus_distr_r, !Rabs_mult.
    pose proof (gradient_apart _ _ _ _ _ _ _ _ (W j J) S H P (C j J)) as A. fold g in A.
    pose proof (Rabs_pos (k j)) as K0. pose proof (K j J) as Kj.
    apply Rmult_le_compat_r with (r := Rabs (k j)) in A; [|exact K0].
    assert (B : 0 <= weight j * slope + nothing)
      by (apply Rplus_le_le_0_compat; [apply Rmult_le_pos; auto|exact H]).
    apply Rmult_le_compat_l with (r := weight j * slope + nothing) in Kj; [|exact B]. lra. }
  assert (B : slope * size * sumf weight keys <= slope * size).
  { pose proof (Rmult_le_pos _ _ S Sz) as SS. apply Rmult_le_compat_l with (r := slope * size) in One; lra. }
  apply Rmult_le_compat_l with (r := g) in M; [|exact G0].
  apply Rmult_le_compat_r with (r := size) in Hn; [|exact Sz].
  set (c := sumf (fun j => gradient j * k j) keys) in *. set (e := sumf (fun j => weight j * x j * k j) keys) in *.
  replace (computed - e) with ((computed - c) + (c - e)) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra.
Qed.

(** A kept weight, times dropout's factor: of what dV is made. *)
Theorem value_weight_radius_bounded share product hidden weight weight' gain d kept :
  0 <= hidden -> product < 1 -> 0 <= share + log_error product ->
  (rerr share weight weight' /\ Rabs d <= product /\ kept = weight' * gain * (1 + d)) \/
    (kept = 0 /\ Rabs (weight * gain) <= hidden) ->
  Rabs (kept - weight * gain) <= value_weight_radius share product (Rabs kept) hidden.
Proof.
  intros H P G [(R & D & E)|(E & N)]; unfold value_weight_radius; pose proof (growth_nonneg _ G) as G0.
  - assert (T : rerr (share + log_error product) (weight * gain) kept).
    { apply rerr_trans with (weight' * gain).
      - replace share with (share + 0) by ring. apply rerr_mult; [exact R|apply rerr_refl; lra].
      - apply rerr_sym. rewrite E. now apply log_error_rerr. }
    apply rerr_abs in T. fold (growth (share + log_error product)) in T. rewrite Rabs_minus_sym. lra.
  - rewrite E, Rabs_R0, Rmult_0_r. unfold Rminus. rewrite Rplus_0_l, Rabs_Ropp. lra.
Qed.

(** dK and dV: a sum over queries of numbers with radii of their own, times numbers of at most [size]. *)
Theorem gathered_radius_bounded {I} (queries : list I) (exact found radius b : I -> R) total size left_out computed :
  (forall i, In i queries -> Rabs (found i - exact i) <= radius i) -> (forall i, In i queries -> Rabs (b i) <= size) ->
  sumf radius queries <= total -> 0 <= size ->
  Rabs (computed - sumf (fun i => found i * b i) queries) <= left_out ->
  Rabs (computed - sumf (fun i => exact i * b i) queries) <= gathered_radius total size left_out.
Proof.
  intros F B T S L. unfold gathered_radius.
  assert (A : Rabs (sumf (fun i => found i * b i) queries - sumf (fun i => exact i * b i) queries) <= total * size).
  { rewrite <- sumf_minus. eapply Rle_trans; [apply sumf_abs|].
    apply Rle_trans with (sumf (fun i => size * radius i) queries).
    - apply sumf_le. intros i I0. rewrite <- Rmult_minus_distr_r, Rabs_mult, Rmult_comm.
      apply Rmult_le_compat; auto using Rabs_pos.
    - rewrite sumf_scal_l. apply Rmult_le_compat_l with (r := size) in T; lra. }
  set (c := sumf (fun i => found i * b i) queries) in *. set (e := sumf (fun i => exact i * b i) queries) in *.
  replace (computed - e) with ((computed - c) + (c - e)) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra.
Qed.

(** The blocks' sums, each with its radius, added up in words and multiplied by the scale. *)
Theorem scaled_radius_bounded {I} (blocks : list I) (exact found radius : I -> R) factor words last computed result :
  (forall i, In i blocks -> Rabs (found i - exact i) <= radius i) ->
  Rabs (computed - sumf found blocks) <= words -> Rabs (result - factor * computed) <= last ->
  Rabs (result - factor * sumf exact blocks) <= scaled_radius (sumf radius blocks + words) (Rabs factor) last.
Proof.
  intros F W R. unfold scaled_radius.
  assert (A : Rabs (sumf found blocks - sumf exact blocks) <= sumf radius blocks).
  { rewrite <- sumf_minus. eapply Rle_trans; [apply sumf_abs|]. now apply sumf_le. }
  assert (B : Rabs (computed - sumf exact blocks) <= sumf radius blocks + words).
  { replace (computed - sumf exact blocks)
      with ((computed - sumf found blocks) + (sumf found blocks - sumf exact blocks)) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. lra. }
  replace (result - factor * sumf exact blocks)
    with ((result - factor * computed) + factor * (computed - sumf exact blocks)) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_mult.
  apply Rmult_le_compat_l with (r := Rabs factor) in B; [|apply Rabs_pos]. lra.
Qed.
