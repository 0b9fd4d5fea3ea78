(** An operation as a relation: off by a relative and by an absolute error. Chains of them are again of this form. *)
From Coq Require Import Reals List Lra.
From refattn Require Import LogMetric Roundoff.
Import ListNotations.
Open Scope R_scope.

Definition nearly (relative lost computed exact : R) : Prop := Rabs (computed - exact) <= relative * Rabs exact + lost.

Lemma nearly_same x : nearly 0 0 x x.
Proof. unfold nearly. rewrite Rminus_diag_eq, Rabs_R0 by reflexivity. lra. Qed.

Lemma nearly_weaken r r' lost lost' y x : r <= r' -> lost <= lost' -> nearly r lost y x -> nearly r' lost' y x.
Proof.
  unfold nearly. intros Hr Hl H. pose proof (Rabs_pos x).
  assert (r * Rabs x <= r' * Rabs x) by (now apply Rmult_le_compat_r). lra.
Qed.

Lemma nearly_scale c r lost y x : nearly r lost y x -> nearly r (Rabs c * lost) (c * y) (c * x).
Proof.
  unfold nearly. intros H. rewrite <- Rmult_minus_distr_l, !Rabs_mult. pose proof (Rabs_pos c).
  replace (r * (Rabs c * Rabs x) + Rabs c * lost) with (Rabs c * (r * Rabs x + lost)) by ring.
  now apply Rmult_le_compat_l.
Qed.

Lemma nearly_compose r1 r2 lost1 lost2 x y z : 0 <= r2 ->
  nearly r1 lost1 y x -> nearly r2 lost2 z y -> nearly (compound [r1; r2]) (lost1 * (1 + r2) + lost2) z x.
Proof.
  unfold nearly, compound; simpl. intros Hr Hy Hz.
  pose proof (rounded_error x y z (r1 * Rabs x + lost1) (Rabs x) r2 lost2 Hr (Rle_refl _) Hy Hz) as R.
  unfold rounded in R. lra.
Qed.

(** A number that is held to within [constant], times what nearly is [x]. *)
Lemma nearly_times_constant x held exact r lost constant y : 0 <= r ->
  nearly constant 0 held exact -> nearly r lost y (x * held) -> nearly (compound [r; constant]) lost y (x * exact).
Proof.
  intros Hr Hc Hy. apply (nearly_scale x) in Hc.
  pose proof (nearly_compose _ _ _ _ _ _ _ Hr Hc Hy) as H.
  eapply nearly_weaken; [| |exact H]; unfold compound; simpl; lra.
Qed.

(** The reciprocal of a constant that rounds as numbers do, |held - exact| <= u / (1 + u) |exact|. *)
Lemma nearly_reciprocal u held exact : 0 <= u -> exact <> 0 ->
  nearly (u / (1 + u)) 0 held exact -> nearly u 0 (/ held) (/ exact).
Proof.
  unfold nearly. intros Hu Hx H. rewrite Rplus_0_r in *.
  assert (X : 0 < Rabs exact) by (now apply Rabs_pos_lt).
  assert (D : u / (1 + u) * (1 + u) = u) by (field; lra). set (d := u / (1 + u)) in *.
  assert (D1 : d < 1) by (apply Rmult_lt_reg_r with (1 + u); lra).
  assert (L : (1 - d) * Rabs exact <= Rabs held).
  { replace exact with (held - (held - exact)) at 1 by ring. unfold Rminus at 2.
    assert (Rabs exact <= Rabs held + Rabs (held - exact)).
    { replace exact with (held + - (held - exact)) at 1 by ring. eapply Rle_trans; [apply Rabs_triang|].
      rewrite Rabs_Ropp. lra. }
    replace (held + - (held - exact)) with exact by ring. lra. }
  assert (P : 0 < Rabs held) by nra. assert (held <> 0) by (intros ->; rewrite Rabs_R0 in P; lra).
  replace (/ held - / exact) with (- (held - exact) * / exact * / held) by (field; auto).
  rewrite !Rabs_mult, Rabs_Ropp, (Rabs_inv held). apply Rmult_le_reg_r with (Rabs held); [exact P|].
  rewrite Rmult_assoc, Rinv_l, Rmult_1_r by lra. rewrite Rabs_inv.
  assert (I : 0 < / Rabs exact) by (now apply Rinv_0_lt_compat).
  assert (E : Rabs exact * / Rabs exact = 1) by (apply Rinv_r; lra).
  replace (u * / Rabs exact * Rabs held) with (u * Rabs held * / Rabs exact) by ring.
  apply Rmult_le_compat_r; [lra|]. assert ((1 - d) * (1 + u) = 1) by lra.
  assert (u * ((1 - d) * Rabs exact) <= u * Rabs held) by (now apply Rmult_le_compat_l).
  assert (d = u * (1 - d)) by lra. nra.
Qed.
