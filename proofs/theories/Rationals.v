(** From Q to R: what the twins of the bounds are compared through. *)
From Coq Require Import Reals QArith Qreals Lra List String ZArith.
From refattn Require Import LogMetric Growth.
Import ListNotations.
Open Scope R_scope.

Lemma Q2R_inject z : Q2R (inject_Z z) = IZR z.
Proof. unfold Q2R, inject_Z; simpl. field. Qed.

Lemma Q2R_0 : Q2R 0 = 0.
Proof. unfold Q2R; simpl; lra. Qed.

Lemma Q2R_1 : Q2R 1 = 1.
Proof. unfold Q2R; simpl; lra. Qed.

Lemma Q2R_2 : Q2R 2 = 2.
Proof. unfold Q2R; simpl; lra. Qed.

Lemma Q2R_over x y : Q2R y <> 0 -> Q2R (x / y) = Q2R x / Q2R y.
Proof.
  intros H. apply Q2R_div. intros E. apply H. rewrite (Qeq_eqR _ _ E). apply Q2R_0.
Qed.

(** The twin of [growth]: t / (1 - t / 2), for t < 2. *)
Definition growthQ (t : Q) : Q := (t / (1 - t / 2))%Q.

Theorem growthQ_dominates (t : Q) : 0 <= Q2R t < 2 -> growth (Q2R t) <= Q2R (growthQ t).
Proof.
  intros H. unfold growthQ.
  assert (E : Q2R (1 - t / 2)%Q = 1 - Q2R t / 2).
  { rewrite Q2R_minus, Q2R_1, Q2R_over, Q2R_2 by (rewrite Q2R_2; lra). reflexivity. }
  rewrite Q2R_over, E by (rewrite E; lra). now apply growth_rational.
Qed.

(** One line of the grid that Python is compared with: a function's name, its arguments, its value. *)
Definition fraction (q : Q) : Z * Z := let r := Qred q in (Qnum r, Zpos (Qden r)).
Definition line (name : string) (arguments : list Q) (value : Q) : string * list (Z * Z) * (Z * Z) :=
  (name, map fraction arguments, fraction value).
