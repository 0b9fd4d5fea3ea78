(** e^t - 1 and a rational function above it. *)
From Coq Require Import Reals Lra Ranalysis.
From refattn Require Import LogMetric.
Open Scope R_scope.

Definition growth (t : R) : R := exp t - 1.

Lemma growth_nonneg t : 0 <= t -> 0 <= growth t.
Proof. intros H. unfold growth. pose proof (exp_ge_1 t H). lra. Qed.

Lemma growth_mono a b : a <= b -> growth a <= growth b.
Proof. intros H. unfold growth. pose proof (exp_le a b H). lra. Qed.

Lemma growth_0 : growth 0 = 0.
Proof. unfold growth. rewrite exp_0. ring. Qed.

Lemma growth_plus a b : growth (a + b) = growth a * exp b + growth b.
Proof. unfold growth. rewrite exp_plus. ring. Qed.

Lemma growth_ge t : t <= growth t.
Proof. unfold growth. pose proof (exp_ineq1_le t). lra. Qed.

(** The Pade approximant (2 + t) / (2 - t) is above e^t, by t^3 / 12. *)
Theorem growth_rational t : 0 <= t < 2 -> growth t <= t / (1 - t / 2).
Proof.
  intros [T0 T2].
  assert (K : (2 - t) * exp t - (2 + t) <= 0).
  { set (f := fun x => (2 - x) * exp x - (2 + x)).
    set (f' := fun x => (1 - x) * exp x - 1).
    assert (D : forall x, derivable_pt_lim f x (f' x)).
    { intros x. unfold f, f'.
      replace ((1 - x) * exp x - 1) with ((((0 - 1) * exp x) + ((2 - x) * exp x)) - (0 + 1)) by ring.
      apply derivable_pt_lim_minus.
      - apply (derivable_pt_lim_mult (fun x => 2 - x) exp).
        + apply derivable_pt_lim_minus; [apply derivable_pt_lim_const|apply derivable_pt_lim_id].
        + apply derivable_pt_lim_exp.
      - apply derivable_pt_lim_plus; [apply derivable_pt_lim_const|apply derivable_pt_lim_id]. }
    assert (F0 : f 0 = 0) by (unfold f; rewrite exp_0; ring).
    destruct (Req_dec t 0) as [->|Ht]; [rewrite exp_0; lra|].
    destruct (MVT_cor2 f f' 0 t) as (c & E & C); [lra|intros; apply D|].
    rewrite F0, !Rminus_0_r in E. change (f t <= 0). rewrite E.
    assert (f' c <= 0); [|nra].
    unfold f'. pose proof (exp_ineq1_le (- c)) as I. pose proof (exp_pos c).
    assert (exp c * exp (- c) = 1) by (rewrite <- exp_plus, Rplus_opp_r; apply exp_0). nra. }
  unfold growth. apply Rmult_le_reg_r with (1 - t / 2); [lra|].
  unfold Rdiv. rewrite Rmult_assoc, Rinv_l by lra. lra.
Qed.
