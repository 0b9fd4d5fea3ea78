(** What a rounded log-sum-exp of a part costs: its rounding, the argument and the exponential of its weight. *)
From Coq Require Import Reals List Permutation Lra.
From refattn Require Import Sums LogMetric Growth Perturbed Roundoff Splits.
Import ListNotations.
Open Scope R_scope.

(** s = m + ln l: the logarithm is off by [log_relative], the reference m, where it is scaled only here, by [scaled],
    and their sum by [unit]; each by [lost] more where it underflows. *)
Definition split_lse_rounding (reference logarithm unit log_relative scaled lost : R) : R :=
  rounded (log_relative * logarithm + scaled * reference + 2 * lost) (reference + logarithm) unit lost.

Theorem split_lse_rounding_error m held l logged s reference logarithm unit log_relative scaled lost :
  0 <= unit -> 0 <= log_relative -> 0 <= scaled ->
  Rabs m <= reference -> Rabs (ln l) <= logarithm ->
  Rabs (held - m) <= scaled * Rabs m + lost ->
  Rabs (logged - ln l) <= log_relative * Rabs (ln l) + lost ->
  Rabs (s - (held + logged)) <= unit * Rabs (held + logged) + lost ->
  Rabs (s - (m + ln l)) <= split_lse_rounding reference logarithm unit log_relative scaled lost.
Proof.
  intros Hu Hr Hs Hm Hl Eh El Es. unfold split_lse_rounding.
  apply rounded_error with (held + logged); [exact Hu| | |exact Es].
  - eapply Rle_trans; [apply Rabs_triang|]. lra.
  - replace (held + logged - (m + ln l)) with ((held - m) + (logged - ln l)) by ring.
    eapply Rle_trans; [apply Rabs_triang|].
    assert (scaled * Rabs m <= scaled * reference) by (apply Rmult_le_compat_l; lra).
    assert (log_relative * Rabs (ln l) <= log_relative * logarithm) by (apply Rmult_le_compat_l; lra). lra.
Qed.

(** The normaliser of n weights of at most e^slack, one of them at least e^-slack, added up in any order. *)
Section Logarithm.
Context {K : Type}.
Variables (p : K -> R) (slack unit : R).
Hypothesis unit_nonneg : 0 <= unit.

Lemma added_bounds ks r : added unit 0 p ks r -> (forall k, In k ks -> 0 <= p k <= exp slack) ->
  0 <= r <= INR (length ks) * exp (slack + additions ks * unit) /\
  (forall k, In k ks -> p k * exp (- (additions ks * unit)) <= r).
Proof.
  induction 1 as [k|ks ks' r r' t h A IH A' IH' Ht Hh|ks ks' r P A IH]; intros B.
  - unfold additions; simpl. replace ((1 - 1) * unit) with 0 by ring. rewrite Ropp_0, exp_0, Rplus_0_r.
    specialize (B k (or_introl eq_refl)). split; [lra|]. intros k' [<-|[]]. lra.
  - destruct IH as ((R0 & R1) & R2); [intros; apply B; apply in_or_app; now left|].
    destruct IH' as ((S0 & S1) & S2); [intros; apply B; apply in_or_app; now right|].
    assert (h = 0) by (apply Rabs_le_inv in Hh; lra). subst h. rewrite Rplus_0_r.
    pose proof (added_nonempty _ _ _ _ _ A) as Z. pose proof (added_nonempty _ _ _ _ _ A') as Z'.
    assert (N : additions (ks ++ ks') = additions ks + additions ks' + 1).
    { unfold additions. rewrite app_length, plus_INR. lra. }
    assert (N' : INR (length (ks ++ ks')) = INR (length ks) + INR (length ks')) by (rewrite app_length; apply plus_INR).
    apply Rabs_le_inv in Ht. pose proof (exp_pos t) as T.
    assert (E1 : exp (slack + additions ks * unit) * exp t <= exp (slack + additions (ks ++ ks') * unit)).
    { rewrite <- exp_plus. apply exp_le. rewrite N. nra. }
    assert (E2 : exp (slack + additions ks' * unit) * exp t <= exp (slack + additions (ks ++ ks') * unit)).
    { rewrite <- exp_plus. apply exp_le. rewrite N. nra. }
    pose proof (pos_INR (length ks)) as P1. pose proof (pos_INR (length ks')) as P2.
    split; [split; [apply Rmult_le_pos; lra|]|].
    + rewrite N'.
      apply Rle_trans with (INR (length ks) * (exp (slack + additions ks * unit) * exp t) +
        INR (length ks') * (exp (slack + additions ks' * unit) * exp t)); [nra|].
      rewrite Rmult_plus_distr_r. apply Rplus_le_compat; apply Rmult_le_compat_l; assumption.
    + intros k Hk. pose proof (B k Hk) as Bk.
      assert (F : forall a, a <= additions ks + additions ks' ->
        p k * exp (- (additions (ks ++ ks') * unit)) <= p k * exp (- (a * unit)) * exp t).
      { intros a Ha. rewrite Rmult_assoc, <- exp_plus. apply Rmult_le_compat_l; [lra|]. apply exp_le. rewrite N. nra. }
      apply in_app_or in Hk. destruct Hk as [Hk|Hk].
      * specialize (R2 k Hk). eapply Rle_trans; [apply (F (additions ks)); lra|]. nra.
      * specialize (S2 k Hk). eapply Rle_trans; [apply (F (additions ks')); lra|]. nra.
  - assert (N : additions ks' = additions ks) by (unfold additions; now rewrite (Permutation_length P)).
    rewrite N, <- (Permutation_length P).
    destruct IH as (R0 & R1); [intros k Hk; apply B; eapply Permutation_in; eassumption|].
    split; [exact R0|]. intros k Hk. apply R1. eapply Permutation_in; [apply Permutation_sym, P|exact Hk].
Qed.

Theorem part_logarithm ks l k : added unit 0 p ks l -> (forall i, In i ks -> 0 <= p i <= exp slack) ->
  In k ks -> exp (- slack) <= p k -> 0 <= slack ->
  0 < l /\ - (slack + additions ks * unit) <= ln l <= ln (INR (length ks)) + (slack + additions ks * unit).
Proof.
  intros A B Hk Hp Hs. destruct (added_bounds ks l A B) as ((L0 & L1) & L2). specialize (L2 k Hk).
  pose proof (exp_pos (- (additions ks * unit))) as E.
  assert (L : exp (- (slack + additions ks * unit)) <= l).
  { rewrite Ropp_plus_distr, exp_plus. nra. }
  pose proof (exp_pos (- (slack + additions ks * unit))) as P. assert (PL : 0 < l) by lra.
  assert (C : 0 < INR (length ks)).
  { destruct ks; [destruct Hk|]. apply lt_0_INR. apply PeanoNat.Nat.lt_0_succ. }
  split; [exact PL|]. split.
  - rewrite <- (ln_exp (- _)). destruct L as [L|L]; [left; now apply ln_increasing|rewrite L; lra].
  - rewrite <- (ln_exp (slack + _)), <- ln_mult by (try apply exp_pos; exact C).
    destruct L1 as [L1|L1]; [left; now apply ln_increasing|rewrite <- L1; lra].
Qed.

(** A reference M below the largest score x (conditional rescaling) scales every weight by e^(x - M), and the sum with
    them: M + ln l is as if x had been the reference. *)
Theorem added_scaled ks l c : added unit 0 p ks l -> added unit 0 (fun k => p k * c) ks (l * c).
Proof.
  induction 1 as [k|ks ks' r r' t h A IH A' IH' Ht Hh|ks ks' r P A IH].
  - exact (added_one unit 0 (fun k => p k * c) k).
  - assert (h = 0) by (apply Rabs_le_inv in Hh; lra). subst h.
    replace (((r + r') * exp t + 0) * c) with ((r * c + r' * c) * exp t + 0) by ring.
    now apply added_both.
  - now apply added_order with ks.
Qed.
End Logarithm.

(** How far a part's log-sum-exp s lies below any reference R of the combination: [distance] is that of one of its keys
    from the maximum, [logarithm] is ln n, and [slack] what references and normalisers are off by for earlier errors. *)
Definition split_gap (distance logarithm slack own : R) : R := distance + 2 * logarithm + 3 * (slack + own).

(** R the largest of the parts' log-sum-exps: that of a part of reference m2 and normaliser l2. *)
Theorem split_gap_of_largest score m m1 l1 m2 l2 s R distance logarithm slack doubt own :
  0 <= logarithm -> 0 <= doubt -> doubt <= slack -> 0 <= own -> m - score <= distance ->
  score <= m1 + doubt -> m2 <= m + doubt ->
  - (slack - doubt) <= ln l1 -> ln l2 <= logarithm + (slack - doubt) ->
  Rabs (s - (m1 + ln l1)) <= own -> Rabs (R - (m2 + ln l2)) <= own ->
  s <= R -> Rabs (s - R) <= split_gap distance logarithm slack own.
Proof.
  intros. apply Rabs_le_inv in H8, H9. unfold split_gap. rewrite Rabs_left1 by lra. lra.
Qed.

(** R the combined log-sum-exp, M + ln L with M the largest and L at most as many weights as there are keys. *)
Theorem split_gap_of_combined score m m1 l1 m2 l2 s M L R distance logarithm slack doubt own :
  0 <= logarithm -> 0 <= doubt -> doubt <= slack -> 0 <= own -> m - score <= distance ->
  score <= m1 + doubt -> m2 <= m + doubt ->
  - (slack - doubt) <= ln l1 -> ln l2 <= logarithm + (slack - doubt) ->
  Rabs (s - (m1 + ln l1)) <= own -> Rabs (M - (m2 + ln l2)) <= own -> s <= M ->
  - slack <= ln L <= logarithm + slack -> Rabs (R - (M + ln L)) <= own -> 0 <= distance ->
  Rabs (s - R) <= split_gap distance logarithm slack own.
Proof.
  intros. apply Rabs_le_inv in H8, H9, H12. unfold split_gap. apply Rabs_le. lra.
Qed.

(** exp of a rounded argument: [turned] its relative error, [exponential] the function's log-error and what its argument
    loses to underflow. *)
Theorem split_weight_error s R z W t h gap turned argument_lost exponential eta :
  0 <= turned -> Rabs (s - R) <= gap -> Rabs (z - (s - R)) <= turned * Rabs (s - R) + argument_lost ->
  Rabs t + argument_lost <= exponential -> Rabs h <= eta -> W = exp z * exp t + h ->
  exists t' h', Rabs t' <= turned * gap + exponential /\ Rabs h' <= eta /\ W = exp (s - R) * exp t' + h'.
Proof.
  intros Hu Hg Hz Ht Hh E. exists (z - (s - R) + t), h. split; [|split; [exact Hh|]].
  - eapply Rle_trans; [apply Rabs_triang|].
    assert (turned * Rabs (s - R) <= turned * gap) by (apply Rmult_le_compat_l; lra). lra.
  - rewrite E, <- !exp_plus. f_equal. f_equal. ring.
Qed.

(** Log-error that a combination adds to every weight of a part, in both sums: the rounding of the part's log-sum-exp,
    the argument and the exponential of its weight, and keeping the combined normaliser. *)
Definition split_error (own gap turned exponential kept : R) : R := own + turned * gap + exponential + kept.

(** Log-error of the outputs alone: the part's own quotient and the product, and the combined log-sum-exp's rounding
    where weights are exp(s - s') and there is no quotient at the end. *)
Definition split_output_error (rounding unit : R) : R := rounding + 2 * unit.

(** What underflow in a combination of [parts] parts adds to a sum of weighted values, [values] in all: exponentials
    lose [eta_weight], products, sums and the parts' quotients [eta_sum] each, times what later errors make of it. *)
Definition split_lost (parts values eta_weight eta_sum cost : R) : R :=
  (eta_weight * values + 2 * parts * eta_sum) * (1 + growth cost).
