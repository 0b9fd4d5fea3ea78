(** Dot products: any tree of additions, each product rounded on its own or fused with an addition.

    Every operation errs by a factor e^t, |t| <= u, and by at most [eta] where results underflow or are flushed to
    zero, products and sums alike. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth Perturbed.
Import ListNotations.
Open Scope R_scope.

Inductive tree :=
| Product (a b : R)
| Plus (one other : tree)
| Fused (a b : R) (rest : tree).   (* fma(a, b, rest): one rounding *)

Fixpoint terms (s : tree) : list (R * R) :=
  match s with
  | Product a b => [(a, b)]
  | Plus one other => terms one ++ terms other
  | Fused a b rest => (a, b) :: terms rest
  end.

Definition value (p : R * R) : R := fst p * snd p.
Definition count (s : tree) : R := INR (length (terms s)).

(** [computed u eta s r]: r is a possible result of s. *)
Inductive computed (u eta : R) : tree -> R -> Prop :=
| computed_product a b t h : Rabs t <= u -> Rabs h <= eta -> computed u eta (Product a b) (a * b * exp t + h)
| computed_plus one other x y t h : computed u eta one x -> computed u eta other y ->
    Rabs t <= u -> Rabs h <= eta -> computed u eta (Plus one other) ((x + y) * exp t + h)
| computed_fused a b rest y t h : computed u eta rest y ->
    Rabs t <= u -> Rabs h <= eta -> computed u eta (Fused a b rest) ((a * b + y) * exp t + h).

Lemma count_ge_1 s : 1 <= count s.
Proof.
  apply (le_INR 1). induction s as [a b|l IHl r IHr|a b rest IH]; simpl; [lia| |lia].
  rewrite app_length. lia.
Qed.

Lemma count_plus l r : count (Plus l r) = count l + count r.
Proof. unfold count. simpl. now rewrite app_length, plus_INR. Qed.

Lemma count_fused a b rest : count (Fused a b rest) = 1 + count rest.
Proof. unfold count. cbn [terms length]. rewrite S_INR. ring. Qed.

(** One term passes through at most as many roundings as there are terms, and there are fewer than twice as many. *)
Definition form (u eta : R) (s : tree) (r : R) : Prop :=
  perturbed (terms s) value (fun _ => count s * u) ((2 * count s - 1) * eta * exp (count s * u)) r.

Lemma form_join u eta xs ys n m (r x y t h : R) : 0 <= u -> 0 <= eta -> 1 <= n -> 1 <= m ->
  perturbed xs value (fun _ => n * u) ((2 * n - 1) * eta * exp (n * u)) x ->
  perturbed ys value (fun _ => m * u) ((2 * m - 1) * eta * exp (m * u)) y ->
  Rabs t <= u -> Rabs h <= eta -> r = (x + y) * exp t + h ->
  perturbed (xs ++ ys) value (fun _ => (n + m) * u) ((2 * (n + m) - 1) * eta * exp ((n + m) * u)) r.
Proof.
  intros Hu He Hn Hm Hx Hy Ht Hh ->. set (T := (n + m - 1) * u). set (E := exp T).
  assert (A : forall k, 1 <= k -> k <= n + m - 1 ->
    k * u <= T /\ (2 * k - 1) * eta * exp (k * u) <= (2 * k - 1) * eta * E).
  { intros k K1 K2. assert (Le : k * u <= T) by (unfold T; nra). split; [exact Le|].
    apply Rmult_le_compat_l; [nra|]. now apply exp_le. }
  destruct (A n) as [A1 A2]; [lra|lra|]. destruct (A m) as [B1 B2]; [lra|lra|].
  apply (perturbed_weaken _ _ _ (fun _ => T) _ _ x (fun _ _ => A1) A2) in Hx.
  apply (perturbed_weaken _ _ _ (fun _ => T) _ _ y (fun _ _ => B1) B2) in Hy.
  pose proof (perturbed_scale _ _ _ _ _ u t h eta (perturbed_app _ _ _ _ _ _ _ _ Hx Hy) Ht Hh) as R.
  eapply perturbed_weaken; [| |exact R].
  - intros p _. unfold T. lra.
  - replace (exp ((n + m) * u)) with (E * exp u) by (unfold E, T; rewrite <- exp_plus; f_equal; ring).
    assert (1 <= E) by (apply exp_ge_1; unfold T; nra). assert (1 <= exp u) by (now apply exp_ge_1).
    assert (1 <= E * exp u) by nra. set (P := E * exp u) in *.
    replace (((2 * n - 1) * eta * E + (2 * m - 1) * eta * E) * exp u) with ((2 * (n + m) - 2) * eta * P)
      by (unfold P; ring).
    nra.
Qed.

Theorem computed_form u eta s r : 0 <= u -> 0 <= eta -> computed u eta s r -> form u eta s r.
Proof.
  intros Hu He C. induction C as [a b t h Ht Hh|l r x y t h _ IHl _ IHr Ht Hh|a b rest y t h _ IH Ht Hh]; unfold form.
  - replace (count (Product a b)) with 1 by (unfold count; simpl; ring).
    assert (1 <= exp (1 * u)) by (apply exp_ge_1; lra).
    apply (perturbed_leaf (a, b) value); [lra|]. nra.
  - rewrite count_plus. pose proof (count_ge_1 l). pose proof (count_ge_1 r).
    cbn [terms]. now apply (form_join u eta _ _ _ _ _ x y t h); try lra.
  - rewrite count_fused. pose proof (count_ge_1 rest). change (terms (Fused a b rest)) with ([(a, b)] ++ terms rest).
    apply (form_join u eta [(a, b)] _ _ _ _ (a * b) y t h); try lra; [|exact IH].
    assert (E : 1 <= exp (1 * u)) by (apply exp_ge_1; lra).
    replace (a * b) with (value (a, b) * exp 0 + 0) by (unfold value; simpl; rewrite exp_0; ring).
    apply (perturbed_leaf (a, b) value); rewrite Rabs_R0; nra.
Qed.

(** The function of the same name in Python. *)
Definition dot_any_order (terms unit magnitude lost : R) : R :=
  growth (terms * unit) * magnitude + 2 * terms * lost * (1 + growth (terms * unit)).

Theorem dot_any_order_error u eta s r : 0 <= u -> 0 <= eta -> computed u eta s r ->
  Rabs (r - sumf value (terms s)) <= dot_any_order (count s) u (sumf (fun p => Rabs (value p)) (terms s)) eta.
Proof.
  intros Hu He C. eapply Rle_trans; [apply (perturbed_error _ _ _ _ _ (computed_form u eta s r Hu He C))|].
  unfold dot_any_order. rewrite sumf_scal, Rmult_comm. apply Rplus_le_compat_l.
  replace (1 + growth (count s * u)) with (exp (count s * u)) by (unfold growth; ring).
  pose proof (exp_pos (count s * u)). apply Rmult_le_compat_r; [lra|]. nra.
Qed.

Lemma dot_any_order_mono n u M M' lost : 0 <= n -> 0 <= u -> M <= M' ->
  dot_any_order n u M lost <= dot_any_order n u M' lost.
Proof.
  intros Hn Hu HM. unfold dot_any_order. apply Rplus_le_compat_r. apply Rmult_le_compat_l; [|exact HM].
  apply growth_nonneg. nra.
Qed.
