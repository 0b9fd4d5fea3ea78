(** The output: a weighted mean computed as the quotient of two perturbed sums, and what is done to it afterwards. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth Roundoff Perturbed Normaliser.
Import ListNotations.
Open Scope R_scope.

(** Error of a quotient of size [size]: its numerator is off by [error] denominators, its denominator by [relative]. *)
Definition quotient_error (error relative size : R) : R := error * (1 + relative) + size * relative.

(** Then the roundings of the division (e^t, |t| <= dividing, and [lost]), then the one into the output's format. *)
Definition output_error (quotient size dividing lost unit lost_out : R) : R :=
  rounded (rounded quotient size (growth dividing) lost) size unit lost_out.

Theorem quotient_bounded N n L l E D : 0 < L -> 0 < l -> 0 <= E -> 0 <= D ->
  Rabs (n - N) <= E * L -> Rabs (l - L) <= D * l -> Rabs (n / l - N / L) <= quotient_error E D (Rabs (N / L)).
Proof.
  intros HL Hl HE HD HN HD'. unfold quotient_error.
  replace (n / l - N / L) with ((n - N) / l + - (N / L) * ((l - L) / l)) by (field; lra).
  eapply Rle_trans; [apply Rabs_triang|].
  assert (I : 0 < / l) by (now apply Rinv_0_lt_compat).
  assert (LL : L <= (1 + D) * l) by (apply Rabs_le_inv in HD'; lra).
  apply Rplus_le_compat.
  - unfold Rdiv. rewrite Rabs_mult, (Rabs_pos_eq (/ l)) by lra.
    apply Rmult_le_reg_r with l; [exact Hl|]. rewrite Rmult_assoc, Rinv_l, Rmult_1_r by lra.
    eapply Rle_trans; [exact HN|]. rewrite Rmult_assoc. now apply Rmult_le_compat_l.
  - rewrite Rabs_mult, Rabs_Ropp. apply Rmult_le_compat_l; [apply Rabs_pos|].
    unfold Rdiv. rewrite Rabs_mult, (Rabs_pos_eq (/ l)) by lra.
    apply Rmult_le_reg_r with l; [exact Hl|]. rewrite Rmult_assoc, Rinv_l, Rmult_1_r by lra. exact HD'.
Qed.

Theorem output_bounded O q y result quotient dividing lost unit lost_out t h :
  Rabs (q - O) <= quotient -> 0 <= dividing -> 0 <= unit ->
  Rabs t <= dividing -> Rabs h <= lost -> y = q * exp t + h ->
  Rabs (result - y) <= unit * Rabs y + lost_out ->
  Rabs (result - O) <= output_error quotient (Rabs O) dividing lost unit lost_out.
Proof.
  intros Hq Hd Hu Ht Hh -> Hr. unfold output_error.
  apply rounded_error with (computed := q * exp t + h); [exact Hu|lra| |exact Hr].
  apply rounded_error with (computed := q); [now apply growth_nonneg|lra|exact Hq|].
  replace (q * exp t + h - q) with ((exp t - 1) * q + h) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. apply Rplus_le_compat; [|exact Hh].
  rewrite Rabs_mult. apply Rmult_le_compat_r; [apply Rabs_pos|]. now apply abs_expm1.
Qed.

Section WeightedMean.
Context {I : Type} (xs : list I) (p v Tn Tl : I -> R) (Hl : R).
Hypothesis p_nonneg : forall i, In i xs -> 0 <= p i.
Hypothesis Tn_nonneg : forall i, In i xs -> 0 <= Tn i.
Hypothesis Tl_nonneg : forall i, In i xs -> 0 <= Tl i.
Hypothesis Hl_nonneg : 0 <= Hl.
Let L := sumf p xs.
Hypothesis L_pos : 0 < L.
Let O := sumf (fun i => p i * v i) xs / L.
Let E := sumf (fun i => p i * Rabs (v i) * growth (Tn i)) xs / L.
Let D := normaliser_error (excess xs p Tl) (Hl / L).
Hypothesis claimed : Hl / L * (1 + excess xs p Tl) < 1.

Lemma E_nonneg : 0 <= E.
Proof.
  unfold E, Rdiv. apply Rmult_le_pos; [|left; now apply Rinv_0_lt_compat]. apply sumf_nonneg. intros i Hi.
  apply Rmult_le_pos; [apply Rmult_le_pos; [auto|apply Rabs_pos]|]. apply growth_nonneg. auto.
Qed.

Lemma D_nonneg : 0 <= D.
Proof.
  assert (0 <= Hl / L) by (apply Rmult_le_pos; [exact Hl_nonneg|left; now apply Rinv_0_lt_compat]).
  pose proof (excess_nonneg xs p Tl p_nonneg Tl_nonneg L_pos).
  pose proof (normaliser_error_ge (excess xs p Tl) (Hl / L)). fold D in H1. lra.
Qed.

Lemma numerator_error H n : perturbed xs (fun i => p i * v i) Tn H n ->
  Rabs (n - O * L) <= (E + H / L) * L.
Proof.
  intros P. pose proof (perturbed_error xs _ Tn H n P) as B.
  replace (O * L) with (sumf (fun i => p i * v i) xs) by (unfold O; field; lra).
  replace ((E + H / L) * L) with (sumf (fun i => p i * Rabs (v i) * growth (Tn i)) xs + H)
    by (unfold E; field; lra).
  eapply Rle_trans; [exact B|]. apply Rplus_le_compat_r. apply sumf_le. intros i Hi.
  rewrite Rabs_mult, (Rabs_pos_eq (p i)) by auto. lra.
Qed.

(** P is summed with the values first, and the sum is divided. *)
Theorem weighted_mean_error H n l : 0 <= H ->
  perturbed xs (fun i => p i * v i) Tn H n -> perturbed xs p Tl Hl l ->
  0 < l /\ Rabs (n / l - O) <= quotient_error (E + H / L) D (Rabs O).
Proof.
  intros HH Pn Pl.
  destruct (normaliser_relative xs p Tl Hl l p_nonneg Tl_nonneg L_pos Hl_nonneg Pl claimed) as (l0 & _ & B).
  split; [exact l0|]. replace O with (O * L / L) at 1 by (field; lra).
  replace (Rabs O) with (Rabs (O * L / L)) by (f_equal; field; lra).
  apply quotient_bounded; auto.
  - assert (0 <= H / L) by (apply Rmult_le_pos; [exact HH|left; now apply Rinv_0_lt_compat]).
    pose proof E_nonneg. lra.
  - apply D_nonneg.
  - now apply numerator_error.
Qed.

(** P is divided by the computed sum first: what is lost afterwards is not divided any more. *)
Theorem normalised_mean_error H lost n l : 0 <= H -> 0 <= lost -> 0 < l ->
  perturbed xs (fun i => p i * v i) Tn (H + lost * l) (n * l) -> perturbed xs p Tl Hl l ->
  Rabs (n - O) <= quotient_error (E + H / L) D (Rabs O) + lost.
Proof.
  intros HH Hlost l0 (ps & F & B & A) Pl.
  set (N := sumf (scaled (fun i => p i * v i)) ps) in *.
  assert (Pn : perturbed xs (fun i => p i * v i) Tn H (n * l - Rmax (- lost * l) (Rmin (n * l - N) (lost * l)))).
  { exists ps. split; [exact F|]. split; [exact B|]. fold N. apply Rabs_le_inv in A.
    assert (0 <= lost * l) by (apply Rmult_le_pos; lra).
    apply Rabs_le. unfold Rmax, Rmin. destruct (Rle_dec (n * l - N) (lost * l)); destruct Rle_dec; lra. }
  set (h := Rmax _ _) in Pn.
  assert (Hh : Rabs h <= lost * l).
  { assert (0 <= lost * l) by (apply Rmult_le_pos; lra).
    apply Rabs_le. unfold h, Rmax, Rmin. destruct (Rle_dec (n * l - N) (lost * l)); destruct Rle_dec; lra. }
  destruct (weighted_mean_error H _ l HH Pn Pl) as (_ & Q).
  replace (n - O) with (((n * l - h) / l - O) + h / l) by (field; lra).
  eapply Rle_trans; [apply Rabs_triang|]. apply Rplus_le_compat; [exact Q|].
  unfold Rdiv. rewrite Rabs_mult, (Rabs_pos_eq (/ l)) by (left; now apply Rinv_0_lt_compat).
  apply Rmult_le_reg_r with l; [exact l0|]. rewrite Rmult_assoc, Rinv_l, Rmult_1_r by lra. exact Hh.
Qed.
End WeightedMean.
