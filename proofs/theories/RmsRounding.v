(** Mean square relative error of one rounding: u^2 / (8 ln 2).

    Numbers in [1, 2) lie 2 u apart.  An error that is uniform on [-u, u] has a mean square of u^2 / 3; relative to a
    significand x of density 1 / (x ln 2), the mean square is the integral of (u^2 / 3) / x^2 / (x ln 2) over [1, 2].
    Integrals are Newton's: an antiderivative's difference. *)
From Coq Require Import Reals Lra Ranalysis NewtonInt.
Open Scope R_scope.

Lemma newton (f g : R -> R) a b : a <= b -> (forall x, a <= x <= b -> derivable_pt_lim g x (f x)) ->
  exists integrable : Newton_integrable f a b, NewtonInt f a b integrable = g b - g a.
Proof.
  intros H D. assert (N : antiderivative f g a b).
  { split; [|exact H]. intros x Hx. exists (exist _ (f x) (D x Hx)). reflexivity. }
  exists (exist _ g (or_introl N)). reflexivity.
Qed.

Lemma derivable_square x : derivable_pt_lim (fun y => y * y) x (2 * x).
Proof.
  replace (2 * x) with (1 * x + x * 1) by ring.
  apply (derivable_pt_lim_mult id id); apply derivable_pt_lim_id.
Qed.

Lemma derivable_scaled (f : R -> R) c x l : derivable_pt_lim f x l -> derivable_pt_lim (fun y => c * f y) x (c * l).
Proof. intros H. now apply (derivable_pt_lim_scal f). Qed.

(** Uniform errors. *)
Theorem uniform_mean_square u : 0 < u ->
  exists integrable : Newton_integrable (fun y => y * y * / (2 * u)) (- u) u,
    NewtonInt (fun y => y * y * / (2 * u)) (- u) u integrable = u * u / 3.
Proof.
  intros Hu. destruct (newton (fun y => y * y * / (2 * u)) (fun y => / (6 * u) * (y * y * y)) (- u) u) as (i & E).
  - lra.
  - intros x _. replace (x * x * / (2 * u)) with (/ (6 * u) * (2 * x * x + x * x * 1)) by (field; lra).
    apply derivable_scaled. apply (derivable_pt_lim_mult (fun y => y * y) id).
    + apply derivable_square.
    + apply derivable_pt_lim_id.
  - exists i. rewrite E. field. lra.
Qed.

(** Significands: the density 1 / (x ln 2) integrates to 1. *)
Theorem log_uniform_density : exists integrable : Newton_integrable (fun x => / (x * ln 2)) 1 2,
  NewtonInt (fun x => / (x * ln 2)) 1 2 integrable = 1.
Proof.
  assert (L : 0 < ln 2) by (rewrite <- ln_1; apply ln_increasing; lra).
  destruct (newton (fun x => / (x * ln 2)) (fun x => / ln 2 * ln x) 1 2) as (i & E).
  - lra.
  - intros x Hx. replace (/ (x * ln 2)) with (/ ln 2 * / x) by (field; lra).
    apply derivable_scaled. apply derivable_pt_lim_ln. lra.
  - exists i. rewrite E, ln_1. field. lra.
Qed.

Theorem log_uniform_mean_square u :
  exists integrable : Newton_integrable (fun x => u * u / 3 / (x * x) * / (x * ln 2)) 1 2,
    NewtonInt (fun x => u * u / 3 / (x * x) * / (x * ln 2)) 1 2 integrable = u * u / (8 * ln 2).
Proof.
  assert (L : 0 < ln 2) by (rewrite <- ln_1; apply ln_increasing; lra).
  set (c := - (u * u) / (6 * ln 2)).
  destruct (newton (fun x => u * u / 3 / (x * x) * / (x * ln 2)) (fun x => c / (x * x)) 1 2) as (i & E).
  - lra.
  - intros x Hx.
    replace (u * u / 3 / (x * x) * / (x * ln 2)) with ((0 * (x * x) - 2 * x * c) / Rsqr (x * x))
      by (unfold Rsqr, c; field; lra).
    apply (derivable_pt_lim_div (fct_cte c) (fun y => y * y));
      [apply derivable_pt_lim_const|apply derivable_square|nra].
  - exists i. rewrite E. unfold c. field. lra.
Qed.
