(** The first terms of the exponential's series, and what the others add up to. *)
From Coq Require Import Reals Lra Lia.
Open Scope R_scope.

Section Series.
Variable x : R.
Hypothesis small : Rabs x <= / 2.
Let term (k : nat) : R := / INR (fact k) * x ^ k.

Lemma term_step k : term (S k) = term k * (x / INR (S k)).
Proof.
  unfold term. rewrite fact_simpl, mult_INR. simpl pow. field. split; [now apply not_0_INR|apply INR_fact_neq_0].
Qed.

Lemma term_halved k : Rabs (term (S k)) <= Rabs (term k) * / 2.
Proof.
  rewrite term_step, Rabs_mult. apply Rmult_le_compat_l; [apply Rabs_pos|].
  unfold Rdiv. rewrite Rabs_mult, Rabs_inv, (Rabs_pos_eq (INR (S k))) by apply pos_INR.
  apply Rle_trans with (/ 2 * 1); [|lra].
  apply Rmult_le_compat; [apply Rabs_pos| |exact small|].
  - left. apply Rinv_0_lt_compat, lt_0_INR. lia.
  - rewrite <- Rinv_1. apply Rinv_le_contravar; [lra|]. rewrite S_INR. pose proof (pos_INR k). lra.
Qed.

Lemma terms_bound n j : Rabs (term (n + j)) <= Rabs (term n) * (/ 2) ^ j.
Proof.
  induction j as [|j IH]; [rewrite Nat.add_0_r; simpl; lra|]. rewrite Nat.add_succ_r.
  eapply Rle_trans; [apply term_halved|]. simpl pow. lra.
Qed.

Lemma partial_sums n j : Rabs (sum_f_R0 term (n + j) - sum_f_R0 term n) <= Rabs (term (S n)) * (2 - 2 * (/ 2) ^ j).
Proof.
  induction j as [|j IH]; [rewrite Nat.add_0_r, Rminus_diag_eq, Rabs_R0 by reflexivity; simpl; lra|].
  rewrite Nat.add_succ_r, tech5.
  replace (sum_f_R0 term (n + j) + term (S (n + j)) - sum_f_R0 term n)
    with (sum_f_R0 term (n + j) - sum_f_R0 term n + term (S n + j)) by (simpl; ring).
  eapply Rle_trans; [apply Rabs_triang|]. pose proof (terms_bound (S n) j). simpl pow. lra.
Qed.

(** At most twice the first term that is left out. *)
Lemma series_rest n : Rabs (exp x - sum_f_R0 term n) <= 2 * Rabs (term (S n)).
Proof.
  destruct (Rle_or_lt (Rabs (exp x - sum_f_R0 term n)) (2 * Rabs (term (S n)))) as [H|H]; [exact H|exfalso].
  pose proof (proj2_sig (exist_exp x)) as C. fold (exp x) in C.
  change (infinite_sum term (exp x)) in C.
  destruct (C _ (Rlt_Rminus _ _ H)) as (N & HN). specialize (HN (n + N)%nat ltac:(lia)).
  pose proof (partial_sums n N) as P. unfold R_dist in HN.
  assert (0 <= (/ 2) ^ N) by (apply pow_le; lra). pose proof (Rabs_pos (term (S n))) as T.
  assert (Rabs (term (S n)) * (2 - 2 * (/ 2) ^ N) <= Rabs (term (S n)) * 2) by (apply Rmult_le_compat_l; lra).
  pose proof (Rabs_triang (sum_f_R0 term (n + N) - sum_f_R0 term n) (- (sum_f_R0 term (n + N) - exp x))) as Q.
  rewrite Rabs_Ropp in Q.
  replace (sum_f_R0 term (n + N) - sum_f_R0 term n + - (sum_f_R0 term (n + N) - exp x))
    with (exp x - sum_f_R0 term n) in Q by ring. lra.
Qed.

(** Terms up to the eighth power, as Horner has them. *)
Lemma eight_terms :
  Rabs (exp x - 1 - x * (1 + x * (/ 2 + x * (/ 6 + x * (/ 24 + x * (/ 120 + x * (/ 720 + x * (/ 5040
    + x * / 40320))))))))
    <= Rabs x ^ 9 / 181440.
Proof.
  pose proof (series_rest 8) as H. unfold term in H.
  assert (N : forall k v, INR (fact k) = v -> INR (fact (S k)) = INR (S k) * v)
    by (intros k v E; rewrite fact_simpl, mult_INR, E; reflexivity).
  assert (F0 : INR (fact 0) = 1) by reflexivity.
  pose proof (N _ _ F0) as F1. pose proof (N _ _ F1) as F2. pose proof (N _ _ F2) as F3. pose proof (N _ _ F3) as F4.
  pose proof (N _ _ F4) as F5. pose proof (N _ _ F5) as F6. pose proof (N _ _ F6) as F7. pose proof (N _ _ F7) as F8.
  pose proof (N _ _ F8) as F9. clear N. cbn [sum_f_R0] in H.
  rewrite Rabs_mult, <- RPow_abs, F9, F8, F7, F6, F5, F4, F3, F2, F1, F0 in H. cbn [INR] in H.
  match type of H with Rabs ?a <= ?b => match goal with |- Rabs ?c <= ?d =>
    replace c with a by (cbn [pow]; field); replace d with b; [exact H|] end end.
  rewrite Rabs_pos_eq; [field|]. left. apply Rinv_0_lt_compat. lra.
Qed.
End Series.
