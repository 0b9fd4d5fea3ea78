(** Sums in any order, whose partial sums may be rounded again to another format: every gradient is one.

    [computed_sum u eta v lost leaf xs m r]: r is what some tree of additions over the terms xs gives, each addition
    rounded (u, eta), with m roundings of partial sums into a second format (v, lost) anywhere in the tree. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth Perturbed GradientRounding.
Import ListNotations.
Open Scope R_scope.

Inductive computed_sum {I} (u eta v lost : R) (leaf : I -> R -> Prop) : list I -> nat -> R -> Prop :=
| sum_leaf i x : leaf i x -> computed_sum u eta v lost leaf [i] 0 x
| sum_add xs ys m n x y z :
    computed_sum u eta v lost leaf xs m x -> computed_sum u eta v lost leaf ys n y ->
    rounds u eta (x + y) z -> computed_sum u eta v lost leaf (xs ++ ys) (m + n) z
| sum_again xs m x y :
    computed_sum u eta v lost leaf xs m x -> rounds v lost x y -> computed_sum u eta v lost leaf xs (S m) y.

Section Sum.
Context {I J : Type}.
Variables u eta v lost : R.
Hypothesis U : 0 <= u.
Hypothesis V : 0 <= v.
Hypothesis ETA : 0 <= eta.
Hypothesis LOST : 0 <= lost.

(** Log-error of n terms' additions with m roundings again, and what they lose to underflow. *)
Definition sum_cost (n m : nat) : R := (INR n - 1) * u + INR m * v.
Definition sum_lost (n m : nat) : R := (INR n - 1) * eta + INR m * lost.

Lemma computed_sum_nonempty (leaf : I -> R -> Prop) xs m r :
  computed_sum u eta v lost leaf xs m r -> (1 <= length xs)%nat.
Proof. intros C. induction C; rewrite ?app_length; simpl in *; lia. Qed.

Lemma sum_cost_nonneg n m : (1 <= n)%nat -> 0 <= sum_cost n m.
Proof.
  intros N. unfold sum_cost. apply le_INR in N. change (INR 1) with 1 in N. pose proof (pos_INR m).
  assert (0 <= (INR n - 1) * u) by (apply Rmult_le_pos; lra).
  assert (0 <= INR m * v) by (apply Rmult_le_pos; lra). lra.
Qed.

Lemma sum_lost_nonneg n m : (1 <= n)%nat -> 0 <= sum_lost n m.
Proof.
  intros N. unfold sum_lost. apply le_INR in N. change (INR 1) with 1 in N. pose proof (pos_INR m).
  assert (0 <= (INR n - 1) * eta) by (apply Rmult_le_pos; lra).
  assert (0 <= INR m * lost) by (apply Rmult_le_pos; lra). lra.
Qed.

(** An absolute error that a later rounding multiplies: everything that was lost, times everything multiplied. *)
Lemma lost_grows a b s t h k : 0 <= a -> 0 <= b -> 0 <= s -> 0 <= t -> 0 <= h -> 0 <= k ->
  (a * exp s + b * exp t) * exp k + h <= (a + b + h) * exp (s + t + k).
Proof.
  intros A B S T H K.
  assert (ES : exp s <= exp (s + t)) by (apply exp_le; lra).
  assert (ET : exp t <= exp (s + t)) by (apply exp_le; lra).
  assert (E1 : 1 <= exp (s + t + k)) by (apply exp_ge_1; lra).
  apply Rle_trans with ((a + b) * exp (s + t) * exp k + h).
  - apply Rplus_le_compat_r, Rmult_le_compat_r; [left; apply exp_pos|]. nra.
  - rewrite Rmult_assoc, <- exp_plus. nra.
Qed.

(** Each term is itself a perturbed sum: of one product, or of all of a head's. *)
Theorem computed_sum_perturbed (f : I -> list J) (a T : J -> R) (H : I -> R) (leaf : I -> R -> Prop) xs m r :
  (forall i x, In i xs -> leaf i x -> perturbed (f i) a T (H i) x) -> (forall i, In i xs -> 0 <= H i) ->
  computed_sum u eta v lost leaf xs m r ->
  perturbed (flat_map f xs) a (fun j => T j + sum_cost (length xs) m)
    ((sumf H xs + sum_lost (length xs) m) * exp (sum_cost (length xs) m)) r.
Proof.
  intros L N C. induction C as [i x Hx|xs ys m n x y z Cx IHx Cy IHy Hz|xs m x y Cx IH Hy].
  - simpl flat_map. rewrite app_nil_r. eapply perturbed_weaken; [| |apply L; [now left|exact Hx]].
    + intros j _. unfold sum_cost; simpl. lra.
    + unfold sum_cost, sum_lost; simpl.
      replace ((1 - 1) * u + 0 * v) with 0 by ring. rewrite exp_0. lra.
  - pose proof (computed_sum_nonempty leaf xs m x Cx) as NX.
    pose proof (computed_sum_nonempty leaf ys n y Cy) as NY.
    assert (IX := IHx (fun i x0 Hi => L i x0 (in_or_app _ _ _ (or_introl Hi)))
      (fun i Hi => N i (in_or_app _ _ _ (or_introl Hi)))).
    assert (IY := IHy (fun i x0 Hi => L i x0 (in_or_app _ _ _ (or_intror Hi)))
      (fun i Hi => N i (in_or_app _ _ _ (or_intror Hi)))).
    pose proof (sum_cost_nonneg (length xs) m NX) as CX. pose proof (sum_cost_nonneg (length ys) n NY) as CY.
    pose proof (sum_lost_nonneg (length xs) m NX). pose proof (sum_lost_nonneg (length ys) n NY).
    assert (0 <= sumf H xs) by (apply sumf_nonneg; intros; apply N, in_or_app; now left).
    assert (0 <= sumf H ys) by (apply sumf_nonneg; intros; apply N, in_or_app; now right).
    destruct (rounds_log u eta _ _ U Hz) as (t & h & Ht & Hh & ->).
    assert (EC : sum_cost (length (xs ++ ys)) (m + n) = sum_cost (length xs) m + sum_cost (length ys) n + u).
    { unfold sum_cost. rewrite app_length, !plus_INR. ring. }
    assert (EL : sum_lost (length (xs ++ ys)) (m + n) = sum_lost (length xs) m + sum_lost (length ys) n + eta).
    { unfold sum_lost. rewrite app_length, !plus_INR. ring. }
    rewrite flat_map_app, EC, EL, sumf_app.
    set (cx := sum_cost (length xs) m) in *. set (cy := sum_cost (length ys) n) in *.
    eapply (perturbed_weaken _ _ _ (fun j => T j + (cx + cy))) in IX; [|intros; lra|apply Rle_refl].
    eapply (perturbed_weaken _ _ _ (fun j => T j + (cx + cy))) in IY; [|intros; lra|apply Rle_refl].
    pose proof (perturbed_scale _ _ _ _ _ u t h eta (perturbed_app _ _ _ _ _ _ _ _ IX IY) Ht Hh) as P.
    eapply perturbed_weaken; [| |exact P].
    + intros j _. lra.
    + eapply Rle_trans; [apply lost_grows|right; f_equal; ring]; lra.
  - pose proof (computed_sum_nonempty leaf xs m x Cx) as NX.
    specialize (IH L N). pose proof (sum_cost_nonneg (length xs) m NX). pose proof (sum_lost_nonneg (length xs) m NX).
    assert (0 <= sumf H xs) by (apply sumf_nonneg; auto).
    destruct (rounds_log v lost _ _ V Hy) as (t & h & Ht & Hh & ->).
    assert (EC : sum_cost (length xs) (S m) = sum_cost (length xs) m + v) by (unfold sum_cost; rewrite S_INR; ring).
    assert (EL : sum_lost (length xs) (S m) = sum_lost (length xs) m + lost) by (unfold sum_lost; rewrite S_INR; ring).
    rewrite EC, EL.
    pose proof (perturbed_scale _ _ _ _ _ v t h lost IH Ht Hh) as P.
    eapply perturbed_weaken; [| |exact P].
    + intros j _. lra.
    + pose proof (lost_grows (sumf H xs + sum_lost (length xs) m) 0 (sum_cost (length xs) m) 0 lost v) as G.
      rewrite !Rplus_0_r, Rmult_0_l, Rplus_0_r in G. rewrite <- Rplus_assoc. apply G; lra.
Qed.
End Sum.
