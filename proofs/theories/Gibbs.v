(** Gibbs' inequality, and what rounding the arguments of n exponentials adds to their sum: a bound with ln n in it,
    whatever the range of the scores. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth.
Import ListNotations.
Open Scope R_scope.

Section Gibbs.
Context {I : Type} (d : I -> R).

Definition total_weight (xs : list I) : R := sumf (fun i => exp (- d i)) xs.

Lemma length_pos (xs : list I) : xs <> [] -> 0 < INR (length xs).
Proof. destruct xs; [congruence|]. intros _. apply lt_0_INR. simpl. lia. Qed.

Lemma total_weight_pos xs : xs <> [] -> 0 < total_weight xs.
Proof. intros N. apply sumf_pos; [exact N|]. intros. apply exp_pos. Qed.

(** The mean distance under the weights e^(-d) / l is at most ln (n / l). *)
Theorem gibbs xs : xs <> [] ->
  sumf (fun i => exp (- d i) * d i) xs <= total_weight xs * ln (INR (length xs) / total_weight xs).
Proof.
  intros N. pose proof (total_weight_pos xs N) as Pl. pose proof (length_pos xs N) as Pn.
  set (l := total_weight xs) in *. set (n := INR (length xs)) in *. set (c := ln (n / l)).
  assert (Ec : exp (- c) = l / n).
  { unfold c. rewrite exp_Ropp, exp_ln; [field; lra|]. now apply Rdiv_lt_0_compat. }
  assert (S : sumf (fun i => exp (- d i) * d i - exp (- d i) * c) xs <= sumf (fun i => exp (- c) - exp (- d i)) xs).
  { apply sumf_le. intros i _.
    assert (E : exp (- d i) * exp (d i - c) = exp (- c)) by (rewrite <- exp_plus; f_equal; ring).
    pose proof (exp_ineq1_le (d i - c)). pose proof (exp_pos (- d i)). nra. }
  rewrite !sumf_minus, sumf_scal, sumf_const in S. fold (total_weight xs) in S. fold l n in S.
  rewrite Ec in S. replace (n * (l / n)) with l in S by (field; lra). lra.
Qed.

(** Where some key has the largest score the weights add up to 1 at least. *)
Lemma total_weight_ge_1 xs top : In top xs -> d top = 0 -> 1 <= total_weight xs.
Proof.
  intros H Z. rewrite <- exp_0. replace 0 with (- d top) by lra.
  apply (sumf_in_le _ (fun i => exp (- d i))); [|exact H]. intros. left. apply exp_pos.
Qed.
End Gibbs.

Lemma ln_quotient_le n l K : 0 < n -> 1 <= l -> ln n <= K -> ln (n / l) <= K.
Proof.
  intros N L HK. eapply Rle_trans; [|exact HK].
  assert (H : n / l <= n).
  { unfold Rdiv. rewrite <- (Rmult_1_r n) at 2. apply Rmult_le_compat_l; [lra|].
    rewrite <- Rinv_1. apply Rinv_le_contravar; lra. }
  destruct H as [H| ->]; [|lra]. left. apply ln_increasing; [apply Rdiv_lt_0_compat; lra|exact H].
Qed.

(** THEOREM.  Weights whose logarithms are off by up to u d add up to at most l / (1 - kappa), kappa = u ln n / (1 - u).
    With d' = (1 - u) d the sum is l' = sum e^(-d'), and l' - l <= u / (1 - u) sum e^(-d') d' <= kappa l' by Gibbs. *)
Theorem weights_with_rounded_arguments {I} (d : I -> R) xs u K :
  xs <> [] -> (forall i, In i xs -> 0 <= d i) -> 1 <= total_weight d xs -> 0 <= u < 1 ->
  ln (INR (length xs)) <= K -> u * K / (1 - u) < 1 ->
  sumf (fun i => exp (- d i) * exp (u * d i)) xs <= total_weight d xs / (1 - u * K / (1 - u)).
Proof.
  intros N D L U HK Hk. set (l := total_weight d xs) in *. set (k := u * K / (1 - u)) in *.
  set (near := fun i => (1 - u) * d i). set (l' := total_weight near xs).
  assert (El : sumf (fun i => exp (- d i) * exp (u * d i)) xs = l').
  { apply sumf_ext. intros. unfold near. rewrite <- exp_plus. f_equal. ring. }
  assert (Ll : l <= l').
  { apply sumf_le. intros i Hi. unfold near. apply exp_le. specialize (D i Hi). nra. }
  assert (S : l' - l <= sumf (fun i => exp (- near i) * near i) xs * (u / (1 - u))).
  { unfold l, l', total_weight. rewrite <- sumf_minus, <- sumf_scal. apply sumf_le. intros i _. unfold near.
    replace (exp (- ((1 - u) * d i)) * ((1 - u) * d i) * (u / (1 - u))) with (exp (- ((1 - u) * d i)) * (u * d i))
      by (field; lra).
    replace (exp (- d i)) with (exp (- ((1 - u) * d i)) * exp (- (u * d i))) by (rewrite <- exp_plus; f_equal; ring).
    pose proof (exp_ineq1_le (- (u * d i))). pose proof (exp_pos (- ((1 - u) * d i))). nra. }
  pose proof (gibbs near xs N) as Gn. fold l' in Gn.
  assert (Lk : ln (INR (length xs) / l') <= K) by (apply ln_quotient_le; [now apply length_pos|lra|exact HK]).
  assert (Q : l' - l <= k * l').
  { eapply Rle_trans; [exact S|]. replace (k * l') with (l' * K * (u / (1 - u))) by (unfold k; field; lra).
    apply Rmult_le_compat_r.
    - apply Rmult_le_pos; [lra|left; apply Rinv_0_lt_compat; lra].
    - eapply Rle_trans; [exact Gn|]. apply Rmult_le_compat_l; lra. }
  rewrite El. apply Rmult_le_reg_r with (1 - k); [lra|]. unfold Rdiv. rewrite Rmult_assoc, Rinv_l by lra. lra.
Qed.

(** ln n in rational numbers: 7/10 for every doubling. *)
Lemma ln2_le : ln 2 <= 7 / 10.
Proof.
  assert (H : 2 <= exp (7 / 10)).
  { apply Rle_trans with ((1 + 7 / 640) ^ 64); [simpl; lra|].
    replace (exp (7 / 10)) with (exp (7 / 640) ^ 64).
    - apply pow_incr. split; [lra|apply exp_ineq1_le].
    - rewrite <- (Rmult_1_r (7 / 640)).
      change 64%nat with (2 * (2 * (2 * (2 * (2 * 2)))))%nat.
      rewrite !pow_mult. simpl (_ ^ 2). rewrite !Rmult_1_r, <- !exp_plus. f_equal. field. }
  destruct H as [H|H].
  - left. rewrite <- (ln_exp (7 / 10)). apply ln_increasing; lra.
  - right. rewrite H at 1. apply ln_exp.
Qed.

Lemma ln_le_doublings n k : (1 <= n)%nat -> INR n <= 2 ^ k -> ln (INR n) <= INR k * (7 / 10).
Proof.
  intros Hn H. assert (P : 0 < INR n) by (apply lt_0_INR; lia).
  apply Rle_trans with (ln (2 ^ k)).
  - destruct H as [H|H]; [left; now apply ln_increasing|rewrite H; lra].
  - rewrite ln_pow by lra. apply Rmult_le_compat_l; [apply pos_INR|exact ln2_le].
Qed.
