(** The relative error of a normaliser, in both directions.

    A sum of positive terms p_i, each off by a factor of at most e^(T_i), is above L by the weighted mean of the
    growths; how far it can lie below L follows from the means' inequality (sum p e^-T) (sum p e^T) >= L^2. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth Perturbed.
Import ListNotations.
Open Scope R_scope.

(** The weighted mean of e^T - 1. *)
Definition excess {I} (xs : list I) (p T : I -> R) : R := sumf (fun i => p i * growth (T i)) xs / sumf p xs.

Definition normaliser_error (excess lost : R) : R := (1 + excess) / (1 - lost * (1 + excess)) - 1.

(** What a further log-error, common to all terms, adds to the excess of some of them, whose weights sum to w. *)
Definition common_excess (excess weight common : R) : R := excess + growth common * (excess + weight).

Lemma excess_nonneg {I} (xs : list I) p T : (forall i, In i xs -> 0 <= p i) -> (forall i, In i xs -> 0 <= T i) ->
  0 < sumf p xs -> 0 <= excess xs p T.
Proof.
  intros Hp HT HL. unfold excess, Rdiv. apply Rmult_le_pos; [|left; now apply Rinv_0_lt_compat].
  apply sumf_nonneg. intros i Hi. apply Rmult_le_pos; [auto|]. apply growth_nonneg. auto.
Qed.

(** The additions, and whatever else all terms share, need no pass over the terms. *)
Theorem common_excess_exact {I} (xs : list I) (a T : I -> R) b :
  sumf (fun i => a i * growth (T i + b)) xs = common_excess (sumf (fun i => a i * growth (T i)) xs) (sumf a xs) b.
Proof.
  unfold common_excess. rewrite <- sumf_plus. replace (growth b * _) with
    (sumf (fun i => a i * growth (T i) + a i) xs * growth b) by ring.
  rewrite <- sumf_scal, <- sumf_plus. apply sumf_ext. intros i _. rewrite growth_plus. unfold growth. ring.
Qed.

Lemma grown_sum {I} (xs : list I) p T : 0 < sumf p xs ->
  sumf (fun i => p i * exp (T i)) xs = sumf p xs * (1 + excess xs p T).
Proof.
  intros HL. unfold excess. replace (sumf p xs * (1 + _)) with
    (sumf (fun i => p i * growth (T i)) xs + sumf p xs) by (field; lra).
  rewrite <- sumf_plus. apply sumf_ext. intros i _. unfold growth. ring.
Qed.

(** The means' inequality, from e^-T >= 2k - k^2 e^T for every k. *)
Lemma harmonic_mean {I} (xs : list I) p T :
  (forall i, In i xs -> 0 <= p i) -> (forall i, In i xs -> 0 <= T i) -> 0 < sumf p xs ->
  sumf p xs / (1 + excess xs p T) <= sumf (fun i => p i * exp (- T i)) xs.
Proof.
  intros Hp HT HL. pose proof (excess_nonneg xs p T Hp HT HL) as X0. set (X := excess xs p T) in *.
  set (k := / (1 + X)).
  apply Rle_trans with (sumf (fun i => p i * (2 * k) - p i * exp (T i) * (k * k)) xs).
  - rewrite sumf_minus, !sumf_scal, grown_sum by exact HL. fold X. unfold k. right. field. lra.
  - apply sumf_le. intros i Hi. specialize (Hp i Hi). set (e := exp (T i)).
    assert (E : e * exp (- T i) = 1) by (unfold e; rewrite <- exp_plus, Rplus_opp_r; apply exp_0).
    pose proof (exp_pos (- T i)) as P. pose proof (exp_pos (T i)) as Q. fold e in Q.
    assert (2 * k - e * (k * k) <= exp (- T i)); [|nra].
    assert (0 <= (k * e - 1) * (k * e - 1) * exp (- T i)) by (apply Rmult_le_pos; [apply Rle_0_sqr|lra]).
    replace ((k * e - 1) * (k * e - 1) * exp (- T i))
      with (k * k * e * (e * exp (- T i)) - 2 * k * (e * exp (- T i)) + exp (- T i)) in H by ring.
    rewrite E in H. lra.
Qed.

(** A perturbed sum of non-negative terms, from below and from above. *)
Lemma perturbed_between {I} (xs : list I) p T H r : (forall i, In i xs -> 0 <= p i) -> perturbed xs p T H r ->
  sumf (fun i => p i * exp (- T i)) xs - H <= r <= sumf (fun i => p i * exp (T i)) xs + H.
Proof.
  intros Hp (ps & E & B & A). apply Rabs_le_inv in A. subst xs. rewrite !sumf_map.
  assert (L : sumf (fun q => p (fst q) * exp (- T (fst q))) ps <= sumf (scaled p) ps).
  { apply sumf_le. intros q Hq. apply Rmult_le_compat_l; [apply Hp; now apply in_map|].
    apply exp_le. specialize (B q Hq). apply Rabs_le_inv in B. lra. }
  assert (U : sumf (scaled p) ps <= sumf (fun q => p (fst q) * exp (T (fst q))) ps).
  { apply sumf_le. intros q Hq. apply Rmult_le_compat_l; [apply Hp; now apply in_map|].
    apply exp_le. specialize (B q Hq). apply Rabs_le_inv in B. lra. }
  lra.
Qed.

Lemma normaliser_error_inverse X eta : 0 <= X -> eta * (1 + X) < 1 ->
  / (1 + normaliser_error X eta) = / (1 + X) - eta.
Proof. intros HX He. unfold normaliser_error. field. repeat split; lra. Qed.

Lemma normaliser_error_ge X eta : 0 <= X -> 0 <= eta -> eta * (1 + X) < 1 -> X + eta <= normaliser_error X eta.
Proof.
  intros HX He H1. unfold normaliser_error. set (g := 1 - eta * (1 + X)).
  assert (G : 0 < g <= 1) by (unfold g; split; [lra|]; assert (0 <= eta * (1 + X)) by nra; lra).
  apply Rmult_le_reg_r with g; [lra|]. replace (((1 + X) / g - 1) * g) with (1 + X - g) by (field; lra).
  unfold g. nra.
Qed.

(** The computed sum within [L / (1 + D), L (1 + D)]. *)
Theorem normaliser_between {I} (xs : list I) p T H r :
  (forall i, In i xs -> 0 <= p i) -> (forall i, In i xs -> 0 <= T i) -> 0 < sumf p xs -> 0 <= H ->
  perturbed xs p T H r ->
  let L := sumf p xs in
  let X := excess xs p T in
  let D := normaliser_error X (H / L) in
  H / L * (1 + X) < 1 -> 0 <= D /\ L / (1 + D) <= r <= L * (1 + D).
Proof.
  intros Hp HT HL HH P L X D Hlost. pose proof (excess_nonneg xs p T Hp HT HL) as X0. fold X in X0.
  assert (E0 : 0 <= H / L) by (apply Rmult_le_pos; [exact HH|left; now apply Rinv_0_lt_compat]).
  pose proof (normaliser_error_ge X (H / L) X0 E0 Hlost) as G. fold D in G.
  destruct (perturbed_between xs p T H r Hp P) as [B1 B2].
  pose proof (harmonic_mean xs p T Hp HT HL) as M. fold L in M. fold X in M.
  rewrite grown_sum in B2 by exact HL. fold L in B2. fold X in B2.
  assert (EH : H = H / L * L) by (field; unfold L; lra).
  split; [lra|]. split.
  - unfold Rdiv at 1. unfold D. rewrite normaliser_error_inverse by assumption.
    unfold Rdiv in M at 1. lra.
  - fold L in HL. assert ((X + H / L) * L <= D * L) by (apply Rmult_le_compat_r; lra). lra.
Qed.

Theorem normaliser_relative {I} (xs : list I) p T H r :
  (forall i, In i xs -> 0 <= p i) -> (forall i, In i xs -> 0 <= T i) -> 0 < sumf p xs -> 0 <= H ->
  perturbed xs p T H r ->
  let L := sumf p xs in
  let D := normaliser_error (excess xs p T) (H / L) in
  H / L * (1 + excess xs p T) < 1 -> 0 < r /\ Rabs (r - L) <= D * L /\ Rabs (r - L) <= D * r.
Proof.
  intros Hp HT HL HH P L D Hlost.
  destruct (normaliser_between xs p T H r Hp HT HL HH P Hlost) as (D0 & B1 & B2).
  fold L in HL. change (0 <= D) in D0. change (L / (1 + D) <= r) in B1. change (r <= L * (1 + D)) in B2.
  assert (R0 : 0 < r) by (apply Rlt_le_trans with (L / (1 + D)); [apply Rdiv_lt_0_compat; lra|exact B1]).
  assert (B3 : L <= r * (1 + D)).
  { apply Rmult_le_reg_r with (/ (1 + D)); [apply Rinv_0_lt_compat; lra|].
    rewrite Rmult_assoc, Rinv_r, Rmult_1_r by lra. exact B1. }
  assert (B4 : r / (1 + D) <= L).
  { apply Rmult_le_reg_r with (1 + D); [lra|]. unfold Rdiv. rewrite Rmult_assoc, Rinv_l by lra. lra. }
  assert (I1 : 1 - D <= / (1 + D)).
  { apply Rmult_le_reg_r with (1 + D); [lra|]. rewrite Rinv_l by lra. nra. }
  assert (B5 : r * (1 - D) <= L) by (eapply Rle_trans; [|exact B4]; apply Rmult_le_compat_l; lra).
  assert (B6 : L * (1 - D) <= r) by (eapply Rle_trans; [|exact B1]; apply Rmult_le_compat_l; lra).
  split; [exact R0|]. split; apply Rabs_le; split; nra.
Qed.
