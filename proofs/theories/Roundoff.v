(** The error factors that every bound is made of: log_growth, log_error, compound, rounded (growth is in Growth.v). *)
From Coq Require Import Reals List Lra.
From refattn Require Import LogMetric Growth.
Import ListNotations.
Open Scope R_scope.

(** log(1 + d): the log-error of a relative error of at most d in both directions. *)
Definition log_growth (d : R) : R := ln (1 + d).

Theorem log_growth_rerr x y d : 0 < x -> 0 < y -> 0 <= d ->
  Rabs (y - x) <= d * x -> Rabs (y - x) <= d * y -> rerr (log_growth d) y x.
Proof.
  intros Hx Hy Hd U L. apply Rabs_le_inv in U, L. exists (ln (y / x)). split.
  - assert (P : 0 < y / x) by (now apply Rdiv_lt_0_compat).
    assert (A : y / x <= 1 + d) by (apply Rmult_le_reg_r with x; [lra|]; field_simplify; lra).
    assert (B : / (1 + d) <= y / x).
    { apply Rmult_le_reg_r with (x * (1 + d)); [nra|]. field_simplify; lra. }
    assert (Q : 0 < / (1 + d)) by (apply Rinv_0_lt_compat; lra).
    unfold log_growth. apply Rabs_le. split.
    + rewrite <- ln_Rinv by lra. destruct B as [B|<-]; [left; now apply ln_increasing|lra].
    + destruct A as [A|<-]; [left; now apply ln_increasing|lra].
  - rewrite exp_ln by (now apply Rdiv_lt_0_compat). field; lra.
Qed.

Theorem log_growth_rational d : 0 <= d -> log_growth d <= d.
Proof. intros H. unfold log_growth. pose proof (ln_le_sub1 (1 + d)). lra. Qed.

(** r / (1 - r): the log-error of any approximation with a relative error of at most r. *)
Definition log_error (r : R) : R := r / (1 - r).

Theorem log_error_rerr r d x : r < 1 -> Rabs d <= r -> rerr (log_error r) (x * (1 + d)) x.
Proof. exact (rerr_generic r d x). Qed.

(** (1 + u1) (1 + u2) ... - 1, added up as Python does. *)
Definition compound (units : list R) : R := fold_left (fun total unit => total + unit + total * unit) units 0.

Definition product (factors : list R) : R := fold_right Rmult 1 factors.

Lemma compound_from units total :
  fold_left (fun t unit => t + unit + t * unit) units total =
  (1 + total) * product (map (fun unit => 1 + unit) units) - 1.
Proof.
  revert total. induction units as [|unit units IH]; intros total; simpl; [ring|]. rewrite IH. ring.
Qed.

Lemma compound_product units : compound units = product (map (fun unit => 1 + unit) units) - 1.
Proof. unfold compound. rewrite compound_from. ring. Qed.

(** Relative errors of at most u1, u2, ..., multiplied, are one relative error of at most compound. *)
Theorem compound_error units errors :
  Forall2 (fun d unit => Rabs d <= unit) errors units ->
  Rabs (product (map (fun d => 1 + d) errors) - 1) <= compound units.
Proof.
  rewrite compound_product. induction 1 as [|d unit errors units Hd _ IH]; cbn [map product fold_right].
  - rewrite Rminus_diag_eq by reflexivity. rewrite Rabs_R0. lra.
  - fold (product (map (fun d => 1 + d) errors)) (product (map (fun unit => 1 + unit) units)).
    set (p := product (map (fun d => 1 + d) errors)) in *. set (P := product (map (fun unit => 1 + unit) units)) in *.
    replace ((1 + d) * p - 1) with (d * p + (p - 1)) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_mult.
    assert (A : Rabs p <= P).
    { replace p with (1 + (p - 1)) by ring. eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_R1. lra. }
    assert (Rabs d * Rabs p <= unit * P) by (apply Rmult_le_compat; auto using Rabs_pos). lra.
Qed.

(** A number that is off by [error] from one of size [size] is rounded, with relative error [relative] and [lost] where
    it underflows. *)
Definition rounded (error size relative lost : R) : R := error + relative * (size + error) + lost.

Theorem rounded_error exact computed result error size relative lost :
  0 <= relative -> Rabs exact <= size -> Rabs (computed - exact) <= error ->
  Rabs (result - computed) <= relative * Rabs computed + lost ->
  Rabs (result - exact) <= rounded error size relative lost.
Proof.
  intros Hr Hs He Hc. unfold rounded.
  assert (A : Rabs computed <= size + error).
  { replace computed with (exact + (computed - exact)) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra. }
  replace (result - exact) with ((result - computed) + (computed - exact)) by ring.
  eapply Rle_trans; [apply Rabs_triang|].
  assert (relative * Rabs computed <= relative * (size + error)) by (apply Rmult_le_compat_l; lra). lra.
Qed.
