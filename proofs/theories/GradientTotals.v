(** A gradient from its terms: products added up in any order, rounded again after some tiles, scaled, added up over a
    group of query heads, rounded to the output's format. Exponents and losses of all these steps add up. *)
From Coq Require Import Reals List Lra Lia.
From refattn Require Import Sums LogMetric Growth Roundoff Perturbed GradientRounding GradientSum.
Import ListNotations.
Open Scope R_scope.

(** The functions of the same names in Python. *)
Definition gradient_additions (terms unit scaling roundings again group group_unit : R) : R :=
  terms * unit + scaling + roundings * again + group * group_unit.

Definition gradient_underflow (terms lost scale scaling_lost roundings again_lost group group_lost : R) : R :=
  group * (scale * (2 * terms * lost + roundings * again_lost) + scaling_lost + 2 * group_lost).

Definition gradient_sum (magnitude error additions lost : R) : R :=
  error + growth additions * (magnitude + error) + lost * (1 + growth additions).

(** Products y_i b_i, each rounded (or exact, where an addition is fused with it), added up in any order. *)
Definition added {I} (u eta v lost : R) (y b : I -> R) : list I -> nat -> R -> Prop :=
  computed_sum u eta v lost (fun i x => rounds u eta (y i * b i) x).

(** Multiplied by a factor, at a log-error and a loss. *)
Definition multiplied (cost loss factor x y : R) : Prop :=
  exists t h, Rabs t <= cost /\ Rabs h <= loss /\ y = x * factor * exp t + h.

Lemma multiplied_by_one x : multiplied 0 0 1 x x.
Proof. exists 0, 0. rewrite Rabs_R0, exp_0. repeat split; try lra. Qed.

(** A power of two: the product is exact, or underflows. *)
Lemma multiplied_exactly loss factor x h : Rabs h <= loss -> multiplied 0 loss factor x (x * factor + h).
Proof. intros H. exists 0, h. rewrite Rabs_R0, exp_0. repeat split; [lra|exact H|ring]. Qed.

(** A factor that is held as a rounded constant. *)
Lemma multiplied_by_constant constant u eta factor held x y : 0 <= constant -> 0 <= u ->
  rounds constant 0 factor held -> rounds u eta (x * held) y -> multiplied (constant + u) eta factor x y.
Proof.
  intros C U HF HY. destruct (rounds_log constant 0 _ _ C HF) as (s & z & S & Z & ->).
  destruct (rounds_log u eta _ _ U HY) as (t & h & T & H & ->).
  assert (z = 0) as -> by (apply Rabs_le_inv in Z; lra).
  exists (s + t), h. split; [eapply Rle_trans; [apply Rabs_triang|lra]|]. split; [exact H|].
  rewrite exp_plus. ring.
Qed.

Lemma flat_map_singletons {I} (xs : list I) : flat_map (fun i => [i]) xs = xs.
Proof. induction xs as [|x xs IH]; simpl; [reflexivity|]. now rewrite IH. Qed.

Lemma perturbed_times {I} (xs : list I) a T H r c : perturbed xs a T H r ->
  perturbed xs (fun i => a i * c) T (Rabs c * H) (r * c).
Proof.
  intros (ps & E & B & A). exists ps. split; [exact E|]. split; [exact B|].
  replace (sumf (scaled (fun i => a i * c)) ps) with (sumf (scaled a) ps * c).
  - rewrite <- Rmult_minus_distr_r, Rabs_mult, Rmult_comm. now apply Rmult_le_compat_l; [apply Rabs_pos|].
  - rewrite <- sumf_scal. apply sumf_ext. intros p _. unfold scaled. ring.
Qed.

Section Totals.
Context {I G : Type}.
(* Accumulator, second format, group sum, scaling; at most n terms and k roundings again in each head. *)
Variables u eta v lost w zeta cost loss scale n k : R.
Hypothesis U : 0 <= u.
Hypothesis V : 0 <= v.
Hypothesis W : 0 <= w.
Hypothesis ETA : 0 <= eta.
Hypothesis LOST : 0 <= lost.
Hypothesis ZETA : 0 <= zeta.
Hypothesis COST : 0 <= cost.
Hypothesis LOSS : 0 <= loss.
Variables y b : I -> R.

Let A := n * u + k * v.
Let L := 2 * n * eta + k * lost.

Lemma added_perturbed xs m r : INR (length xs) <= n -> INR m <= k -> added u eta v lost y b xs m r ->
  perturbed xs (fun i => y i * b i) (fun _ => A) (L * exp A) r.
Proof.
  intros N K S.
  assert (N1 : 1 <= INR (length xs)) by (apply (le_INR 1); eapply computed_sum_nonempty; eassumption).
  pose proof (pos_INR m).
  assert (P := computed_sum_perturbed u eta v lost U V ETA LOST (fun i => [i]) (fun i => y i * b i)
    (fun _ => u) (fun _ => eta) (fun i x => rounds u eta (y i * b i) x) xs m r).
  rewrite flat_map_singletons, sumf_const in P.
  assert (C : u + sum_cost u v (length xs) m <= A).
  { unfold sum_cost, A. assert (INR (length xs) * u <= n * u) by (apply Rmult_le_compat_r; lra).
    assert (INR m * v <= k * v) by (apply Rmult_le_compat_r; lra). lra. }
  eapply perturbed_weaken; [| |apply P; [| |exact S]].
  - intros i _. exact C.
  - apply Rmult_le_compat; [| | |apply exp_le; lra].
    + unfold sum_lost. assert (0 <= INR (length xs) * eta) by (apply Rmult_le_pos; lra).
      assert (0 <= (INR (length xs) - 1) * eta) by (apply Rmult_le_pos; lra).
      assert (0 <= INR m * lost) by (apply Rmult_le_pos; lra). lra.
    + left; apply exp_pos.
    + unfold sum_lost, L. assert (INR (length xs) * eta <= n * eta) by (apply Rmult_le_compat_r; lra).
      assert (INR m * lost <= k * lost) by (apply Rmult_le_compat_r; lra). lra.
  - intros i x _ R. destruct (rounds_log u eta _ _ U R) as (t & h & T & HH & ->).
    now apply (perturbed_leaf i (fun i => y i * b i)).
  - intros; exact ETA.
Qed.

Lemma losses_nonneg xs m r : INR (length xs) <= n -> INR m <= k -> added u eta v lost y b xs m r -> 0 <= A /\ 0 <= L.
Proof.
  intros N K S.
  assert (N1 : 1 <= INR (length xs)) by (apply (le_INR 1); eapply computed_sum_nonempty; eassumption).
  pose proof (pos_INR m). unfold A, L.
  assert (0 <= n * u) by (apply Rmult_le_pos; lra). assert (0 <= k * v) by (apply Rmult_le_pos; lra).
  assert (0 <= n * eta) by (apply Rmult_le_pos; lra). assert (0 <= k * lost) by (apply Rmult_le_pos; lra). lra.
Qed.

(** One head's sum, scaled. *)
Lemma head_perturbed xs m r q : INR (length xs) <= n -> INR m <= k -> added u eta v lost y b xs m r ->
  multiplied cost loss scale r q ->
  perturbed xs (fun i => y i * b i * scale) (fun _ => A + cost) ((Rabs scale * L + loss) * exp (A + cost)) q.
Proof.
  intros N K S (t & h & T & H & ->). destruct (losses_nonneg xs m r N K S) as [A0 L0].
  pose proof (perturbed_scale _ _ _ _ _ cost t h loss
    (perturbed_times _ _ _ _ _ scale (added_perturbed xs m r N K S)) T H) as P.
  eapply perturbed_weaken; [intros; apply Rle_refl| |exact P].
  assert (1 <= exp (A + cost)) by (apply exp_ge_1; lra). rewrite exp_plus in *. nra.
Qed.

(** What a gradient has gathered before it is rounded to its output: one head's sum, or a whole group's. *)
Inductive gathered (pairs : G -> list I) : list G -> R -> Prop :=
| gathered_alone g m r q : INR (length (pairs g)) <= n -> INR m <= k -> added u eta v lost y b (pairs g) m r ->
    multiplied cost loss scale r q -> w = 0 -> zeta = 0 -> gathered pairs [g] q
| gathered_group gs r q total :
    (forall g, In g gs -> INR (length (pairs g)) <= n /\
      exists m, INR m <= k /\ added u eta v lost y b (pairs g) m (r g) /\ multiplied cost loss scale (r g) (q g)) ->
    computed_sum w zeta 0 0 (fun g x => rounds w zeta (q g) x) gs 0 total -> gathered pairs gs total.

Theorem gathered_perturbed pairs gs total : gathered pairs gs total ->
  let additions := gradient_additions n u cost k v (INR (length gs)) w in
  let lost_all := gradient_underflow n eta (Rabs scale) loss k lost (INR (length gs)) zeta in
  perturbed (flat_map pairs gs) (fun i => y i * b i * scale) (fun _ => additions) (lost_all * exp additions) total.
Proof.
  intros Hg; destruct Hg as [g m r q N K S M W0 Z0|gs r q total HG S]; cbv zeta.
  - simpl flat_map. rewrite app_nil_r. change (INR (length [g])) with 1.
    eapply perturbed_weaken; [| |exact (head_perturbed (pairs g) m r q N K S M)].
    + intros i _. unfold gradient_additions, A. rewrite W0. lra.
    + right. unfold gradient_additions, gradient_underflow, A, L. rewrite W0, Z0. f_equal; [ring|f_equal; ring].
  - assert (G1 : 1 <= INR (length gs)) by (apply (le_INR 1); eapply computed_sum_nonempty; eassumption).
    assert (P := computed_sum_perturbed w zeta 0 0 W (Rle_refl 0) ZETA (Rle_refl 0) pairs (fun i => y i * b i * scale)
      (fun _ => A + cost + w) (fun _ => (Rabs scale * L + loss) * exp (A + cost) * exp w + zeta)
      (fun g x => rounds w zeta (q g) x) gs 0 total).
    assert (Q : exists g, In g gs).
    { destruct gs as [|g gs0]; [simpl in G1; lra|]. exists g. now left. }
    destruct Q as (g0 & Hg0). destruct (HG g0 Hg0) as (N0 & m0 & K0 & S0 & _).
    destruct (losses_nonneg _ _ _ N0 K0 S0) as [A0 L0].
    assert (X : 0 <= Rabs scale * L + loss) by (pose proof (Rabs_pos scale); nra).
    pose proof (exp_pos (A + cost)). pose proof (exp_pos w).
    assert (X' : 0 <= (Rabs scale * L + loss) * exp (A + cost)) by (apply Rmult_le_pos; lra).
    eapply perturbed_weaken; [| |apply P; [| |exact S]].
    + intros i _. unfold sum_cost, gradient_additions, A. simpl INR. lra.
    + rewrite sumf_const. unfold sum_cost, sum_lost. simpl (INR 0).
      set (c := INR (length gs)) in *. set (X0 := Rabs scale * L + loss) in *.
      assert (EA : gradient_additions n u cost k v c w = A + cost + w + ((c - 1) * w + 0 * 0))
        by (unfold gradient_additions, A; ring).
      assert (EL : gradient_underflow n eta (Rabs scale) loss k lost c zeta = c * X0 + 2 * c * zeta)
        by (unfold gradient_underflow, X0, L; ring).
      rewrite EA, EL. rewrite (exp_plus (A + cost + w)), (exp_plus (A + cost)).
      assert (E1 : 1 <= exp (A + cost) * exp w) by (rewrite <- exp_plus; apply exp_ge_1; lra).
      set (e := exp (A + cost) * exp w) in *. set (f := exp ((c - 1) * w + 0 * 0)).
      assert (0 < f) by apply exp_pos.
      rewrite <- Rmult_assoc. apply Rmult_le_compat_r; [lra|].
      replace (X0 * exp (A + cost) * exp w) with (X0 * e) by (unfold e; ring).
      assert (0 <= c * zeta) by (apply Rmult_le_pos; lra). nra.
    + intros g x Hg R. destruct (HG g Hg) as (N & m & K & Sg & M).
      destruct (rounds_log w zeta _ _ W R) as (t & h & T & HH & ->).
      now apply perturbed_scale; [apply (head_perturbed (pairs g) m (r g) (q g))| |].
    + intros. pose proof (Rmult_le_pos _ _ X' (Rlt_le _ _ (exp_pos w))). lra.
Qed.

(** Theorem gradient_sum: terms that are off by E_i before they are multiplied and added up. *)
Theorem gradient_sum_error (a E : I -> R) pairs gs total :
  (forall i, In i (flat_map pairs gs) -> Rabs (y i - a i) <= E i) -> gathered pairs gs total ->
  let all := flat_map pairs gs in
  Rabs (total - sumf (fun i => a i * b i * scale) all) <=
    gradient_sum (sumf (fun i => Rabs (a i) * (Rabs (b i) * Rabs scale)) all)
      (sumf (fun i => E i * (Rabs (b i) * Rabs scale)) all)
      (gradient_additions n u cost k v (INR (length gs)) w)
      (gradient_underflow n eta (Rabs scale) loss k lost (INR (length gs)) zeta).
Proof.
  intros HE Hg all. pose proof (gathered_perturbed pairs gs total Hg) as P. cbv zeta in P. fold all in P, HE.
  set (additions := gradient_additions _ _ _ _ _ _ _) in *. set (lost_all := gradient_underflow _ _ _ _ _ _ _ _) in *.
  apply perturbed_error in P.
  assert (A0 : 0 <= additions).
  { unfold additions, gradient_additions. destruct Hg as [g m r q N K S M W0 Z0|gs r q total HG S].
    - destruct (losses_nonneg _ _ _ N K S) as [A0 _]. unfold A in A0. rewrite W0. simpl. lra.
    - assert (G1 : 1 <= INR (length gs)) by (apply (le_INR 1); eapply computed_sum_nonempty; eassumption).
      destruct gs as [|g gs]; [simpl in G1; lra|]. destruct (HG g (or_introl eq_refl)) as (N0 & m0 & K0 & S0 & _).
      destruct (losses_nonneg _ _ _ N0 K0 S0) as [A0 _]. unfold A in A0.
      assert (0 <= INR (length (g :: gs)) * w) by (apply Rmult_le_pos; lra). lra. }
  pose proof (growth_nonneg additions A0) as Gr.
  assert (D : Rabs (sumf (fun i => y i * b i * scale) all - sumf (fun i => a i * b i * scale) all) <=
    sumf (fun i => E i * (Rabs (b i) * Rabs scale)) all).
  { rewrite <- sumf_minus. eapply Rle_trans; [apply sumf_abs|]. apply sumf_le. intros i Hi.
    replace (y i * b i * scale - a i * b i * scale) with ((y i - a i) * (b i * scale)) by ring.
    rewrite !Rabs_mult. apply Rmult_le_compat_r; [|now apply HE].
    apply Rmult_le_pos; apply Rabs_pos. }
  assert (B : sumf (fun i => Rabs (y i * b i * scale) * growth additions) all <=
    growth additions * (sumf (fun i => Rabs (a i) * (Rabs (b i) * Rabs scale)) all +
      sumf (fun i => E i * (Rabs (b i) * Rabs scale)) all)).
  { rewrite sumf_scal, Rmult_comm, <- sumf_plus. apply Rmult_le_compat_l; [exact Gr|]. apply sumf_le. intros i Hi.
    rewrite !Rabs_mult. pose proof (off_size _ _ _ (HE i Hi)).
    rewrite <- Rmult_plus_distr_r, Rmult_assoc. apply Rmult_le_compat_r; [apply Rmult_le_pos; apply Rabs_pos|lra]. }
  replace (total - sumf (fun i => a i * b i * scale) all) with
    ((total - sumf (fun i => y i * b i * scale) all) +
     (sumf (fun i => y i * b i * scale) all - sumf (fun i => a i * b i * scale) all)) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. unfold gradient_sum.
  replace (1 + growth additions) with (exp additions) by (unfold growth; ring). lra.
Qed.
End Totals.
