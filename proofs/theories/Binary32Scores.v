(** Scores in binary32: products and sums one after the other, then the scale, each rounded to nearest even. *)
From Coq Require Import Reals List Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import Sums LogMetric Growth Roundoff Perturbed Arithmetic Dot Nearly Scores
  Formats FormatsStage Cast Binary32.
Import ListNotations.
Open Scope R_scope.

Definition unit32 : R := bpow radix2 (-24).
Definition lost32 : R := bpow radix2 (-150).

Lemma binary32_constants : u binary32 = unit32 /\ eps binary32 = unit32 /\ Arithmetic.eta_add binary32 = 0 /\
  Arithmetic.eta_mul binary32 = lost32 /\ Arithmetic.eta_exp binary32 = lost32.
Proof.
  assert (E : smallest_subnormal fp32 / 2 = lost32) by (rewrite subnormal_half; reflexivity).
  repeat split; exact E.
Qed.

Lemma units_positive : 0 < unit32 <= 1 /\ 0 < lost32.
Proof. repeat split; try apply bpow_gt_0. apply bpow_le_1. lia. Qed.

(** A rounding as an operation that is nearly exact. *)
Lemma format_nearly f x : valid_format f -> nearly (unit_roundoff f) (bpow radix2 (lowest f - 1)) (nearest f x) x.
Proof.
  intros V. destruct (nearest_ok f V) as [U _ _ _ _ _ _ _ error _ _]. destruct (error x) as (d & h & Hd & Hh & E).
  rewrite subnormal_half in Hh. unfold nearly. rewrite E. replace (x * (1 + d) + h - x) with (d * x + h) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_mult. apply Rplus_le_compat; [|exact Hh].
  apply Rmult_le_compat_r; [apply Rabs_pos|]. eapply Rle_trans; [exact Hd|]. set (w := unit_roundoff f) in *.
  apply Rmult_le_reg_r with (1 + w); [lra|]. unfold Rdiv. rewrite Rmult_assoc, Rinv_l by lra. nra.
Qed.

Lemma nearest_nearly x : nearly unit32 lost32 (nearest fp32 x) x.
Proof. exact (format_nearly fp32 x fp32_valid). Qed.

Definition dot32 (first : R * R) (rest : list (R * R)) : R :=
  fold_left (fun sum p => nearest fp32 (sum + nearest fp32 (fst p * snd p))) rest
    (nearest fp32 (fst first * snd first)).
Definition score32 (scale : R) (first : R * R) (rest : list (R * R)) : R := nearest fp32 (dot32 first rest * scale).

Definition dot_tree (first : R * R) (rest : list (R * R)) : tree :=
  fold_left (fun s p => Plus s (Product (fst p) (snd p))) rest (Product (fst first) (snd first)).

Lemma product_computed a b : Dot.computed unit32 lost32 (Product a b) (nearest fp32 (a * b)).
Proof.
  destruct (rounding_log_error _ _ _ _ _ (a * b) (nearest_ok fp32 fp32_valid)) as (t & h & Ht & Hh & ->).
  rewrite subnormal_half in Hh. now apply computed_product.
Qed.

Lemma dot_computed rest : forall s r, Dot.computed unit32 lost32 s r -> holds fp32 r ->
  Dot.computed unit32 lost32 (fold_left (fun s p => Plus s (Product (fst p) (snd p))) rest s)
    (fold_left (fun sum p => nearest fp32 (sum + nearest fp32 (fst p * snd p))) rest r).
Proof.
  induction rest as [|[a b] rest IH]; intros s r C F; simpl; [exact C|].
  assert (H : forall x, holds fp32 (nearest fp32 x)).
  { intros x. apply holds_round; [exact fp32_valid|apply valid_rnd_N]. }
  apply IH; [|apply H].
  destruct (A_add binary32 binary32_ok r (nearest fp32 (a * b)) F (H _)) as (t & h & Ht & Hh & E).
  change (fadd binary32 r (nearest fp32 (a * b))) with (nearest fp32 (r + nearest fp32 (a * b))) in E. rewrite E.
  apply computed_plus; [exact C|apply product_computed|exact Ht|].
  eapply Rle_trans; [exact Hh|]. left. apply units_positive.
Qed.

Lemma dot_tree_terms rest :
  forall s, terms (fold_left (fun s p => Plus s (Product (fst p) (snd p))) rest s) = terms s ++ rest.
Proof.
  induction rest as [|[a b] rest IH]; intros s; simpl; [now rewrite app_nil_r|]. rewrite IH. simpl.
  now rewrite <- app_assoc.
Qed.

(** The error of a score, at the constants of binary32. *)
Definition doubt32 (scale : R) (pairs : list (R * R)) : R :=
  let magnitude := sumf (fun p => Rabs (value p)) pairs in
  scaled_score (dot_any_order (INR (length pairs)) unit32 magnitude lost32)
    (Rabs (scale * sumf value pairs)) (Rabs scale) 0 unit32 0 lost32.

Theorem score32_error scale first rest :
  Rabs (score32 scale first rest - scale * sumf value (first :: rest)) <= doubt32 scale (first :: rest).
Proof.
  pose proof units_positive as (U & L).
  assert (T : terms (dot_tree first rest) = first :: rest).
  { unfold dot_tree. rewrite dot_tree_terms. destruct first. reflexivity. }
  assert (C : Dot.computed unit32 lost32 (dot_tree first rest) (dot32 first rest)).
  { apply dot_computed; [apply product_computed|]. apply holds_round; [exact fp32_valid|apply valid_rnd_N]. }
  pose proof (dot_any_order_error unit32 lost32 _ _ ltac:(lra) ltac:(lra) C) as B. unfold count in B. rewrite T in B.
  assert (S : scaled unit32 0 lost32 scale 0 (dot32 first rest) (score32 scale first rest)).
  { exists (dot32 first rest), scale. split; [|split; [apply nearly_same|apply nearest_nearly]].
    eapply nearly_weaken; [| |apply nearly_same]; lra. }
  unfold doubt32. eapply scaled_score_error; [..|exact B|exact S]; lra.
Qed.
