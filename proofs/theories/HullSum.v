(** Numerator and normaliser as sums, in any two orders, of the same computed weights times the same computed factors.

    Exponentials and the rescaling factors are computed once and used in both, so that none of their errors counts here,
    however large: a tree of additions and products carries them as the numbers that they are. *)
From Coq Require Import Reals List Permutation Lra.
From refattn Require Import Sums LogMetric Growth Perturbed Normaliser Hull.
From refattn Require Splits.
Import ListNotations.
Open Scope R_scope.

Inductive tree (I : Type) :=
| One (i : I)
| Both (a b : tree I)
| Times (a : tree I) (f : R).
Arguments One {I}. Arguments Both {I}. Arguments Times {I}.

(** Every leaf with the product of the factors above it. *)
Fixpoint terms {I} (s : tree I) : list (I * R) :=
  match s with
  | One i => [(i, 1)]
  | Both a b => terms a ++ terms b
  | Times a f => map (fun q => (fst q, snd q * f)) (terms a)
  end.

(** Operations in all, operations on the longest path, and factors on a path. *)
Fixpoint operations {I} (s : tree I) : nat :=
  match s with One _ => 0%nat | Both a b => S (operations a + operations b) | Times a _ => S (operations a) end.
Fixpoint height {I} (s : tree I) : nat :=
  match s with One _ => 0%nat | Both a b => S (Nat.max (height a) (height b)) | Times a _ => S (height a) end.
Fixpoint factors {I} (s : tree I) : nat :=
  match s with One _ => 0%nat | Both a b => Nat.max (factors a) (factors b) | Times a _ => S (factors a) end.

Section Sum.
Context {I : Type} (P v lost : I -> R).        (* computed weights, values, what a leaf's own product or cast loses *)
Variables leaf unit above eta : R.             (* log-errors of a leaf, of an operation, of a factor above 1 *)
Hypothesis unit_nonneg : 0 <= unit.
Hypothesis above_nonneg : 0 <= above.
Hypothesis eta_nonneg : 0 <= eta.
Hypothesis lost_nonneg : forall i, 0 <= lost i.

Fixpoint factors_ok (s : tree I) : Prop :=
  match s with
  | One _ => True
  | Both a b => factors_ok a /\ factors_ok b
  | Times a f => 0 <= f <= exp above /\ factors_ok a
  end.

Inductive added : tree I -> R -> Prop :=
| added_one i t h : Rabs t <= leaf -> Rabs h <= lost i -> added (One i) (P i * v i * exp t + h)
| added_both a b ra rb t h : added a ra -> added b rb -> Rabs t <= unit -> Rabs h <= eta ->
    added (Both a b) ((ra + rb) * exp t + h)
| added_times a f ra t h : added a ra -> Rabs t <= unit -> Rabs h <= eta -> added (Times a f) (ra * f * exp t + h).

Definition weight_of (q : I * R) : R := P (fst q) * snd q.
Definition value_of (q : I * R) : R := v (fst q).
Definition tree_cost (s : tree I) : R := leaf + INR (height s) * unit.
Definition tree_lost (s : tree I) : R :=
  (sumf (fun q => lost (fst q)) (terms s) + INR (operations s) * eta)
  * exp (INR (height s) * unit + INR (factors s) * above).

Lemma lost_terms_nonneg s : 0 <= sumf (fun q => lost (fst q)) (terms s).
Proof. apply sumf_nonneg. auto. Qed.

Lemma lost_sum_nonneg s : 0 <= sumf (fun q => lost (fst q)) (terms s) + INR (operations s) * eta.
Proof. pose proof (lost_terms_nonneg s). pose proof (pos_INR (operations s)). nra. Qed.

Lemma tree_lost_grows s k j : (height s <= k)%nat -> (factors s <= j)%nat ->
  tree_lost s <= (sumf (fun q => lost (fst q)) (terms s) + INR (operations s) * eta)
    * exp (INR k * unit + INR j * above).
Proof.
  intros H J. apply le_INR in H, J. apply Rmult_le_compat_l; [apply lost_sum_nonneg|]. apply exp_le. nra.
Qed.

Lemma path_ge_1 k j : 1 <= exp (INR k * unit + INR j * above).
Proof. apply exp_ge_1. pose proof (pos_INR k). pose proof (pos_INR j). nra. Qed.

Lemma lost_both a b : (tree_lost a + tree_lost b) * exp unit + eta <= tree_lost (Both a b).
Proof.
  pose proof (tree_lost_grows a _ _ (Nat.le_max_l (height a) (height b)) (Nat.le_max_l (factors a) (factors b))) as A.
  pose proof (tree_lost_grows b _ _ (Nat.le_max_r (height a) (height b)) (Nat.le_max_r (factors a) (factors b))) as B.
  pose proof (path_ge_1 (Nat.max (height a) (height b)) (Nat.max (factors a) (factors b))) as E1.
  unfold tree_lost at 3. cbn [terms operations height factors]. rewrite sumf_app, !S_INR, plus_INR.
  set (k := INR (Nat.max (height a) (height b))) in *. set (j := INR (Nat.max (factors a) (factors b))) in *.
  replace ((k + 1) * unit + j * above) with (k * unit + j * above + unit) by ring. rewrite exp_plus.
  set (e := exp (k * unit + j * above)) in *. set (g := exp unit). assert (g1 : 1 <= g) by now apply exp_ge_1.
  pose proof (lost_sum_nonneg a). pose proof (lost_sum_nonneg b).
  set (x := sumf (fun q => lost (fst q)) (terms a) + INR (operations a) * eta) in *.
  set (y := sumf (fun q => lost (fst q)) (terms b) + INR (operations b) * eta) in *.
  apply Rle_trans with ((x + y) * (e * g) + eta * (e * g)).
  - assert (1 <= e * g) by (rewrite <- (Rmult_1_l 1); apply Rmult_le_compat; lra).
    apply Rplus_le_compat; [|rewrite <- (Rmult_1_r eta) at 1; now apply Rmult_le_compat_l].
    rewrite <- Rmult_assoc. apply Rmult_le_compat_r; lra.
  - right. unfold x, y. ring.
Qed.

Lemma lost_times a f : 0 <= f <= exp above -> tree_lost a * (f * exp unit) + eta <= tree_lost (Times a f).
Proof.
  intros F. pose proof (path_ge_1 (height a) (factors a)) as E1.
  unfold tree_lost. cbn [terms operations height factors]. rewrite sumf_map, !S_INR. cbn [fst].
  pose proof (lost_sum_nonneg a). set (x := sumf (fun q => lost (fst q)) (terms a) + INR (operations a) * eta) in *.
  set (k := INR (height a)) in *. set (j := INR (factors a)) in *.
  replace ((k + 1) * unit + (j + 1) * above) with (k * unit + j * above + (unit + above)) by ring.
  rewrite (exp_plus (k * unit + j * above) (unit + above)).
  set (e := exp (k * unit + j * above)) in *.
  assert (E3 : 1 <= exp (unit + above)) by (apply exp_ge_1; lra). pose proof (exp_pos unit).
  replace (sumf (fun q => lost (fst q)) (terms a) + (INR (operations a) + 1) * eta) with (x + eta) by (unfold x; ring).
  assert (f * exp unit <= exp (unit + above)).
  { rewrite exp_plus, Rmult_comm. apply Rmult_le_compat_l; lra. }
  assert (0 <= f * exp unit) by (apply Rmult_le_pos; lra).
  assert (x * e * (f * exp unit) <= x * e * exp (unit + above)).
  { apply Rmult_le_compat_l; [apply Rmult_le_pos; lra|assumption]. }
  assert (1 <= e * exp (unit + above)) by (rewrite <- (Rmult_1_l 1); apply Rmult_le_compat; lra).
  assert (eta * 1 <= eta * (e * exp (unit + above))) by now apply Rmult_le_compat_l.
  lra.
Qed.

Theorem added_perturbed s r : factors_ok s -> added s r ->
  perturbed (terms s) (fun q => weight_of q * value_of q) (fun _ => tree_cost s) (tree_lost s) r.
Proof.
  intros F A. revert F. induction A as [i t h Ht Hh|a b ra rb t h A IHA B IHB Ht Hh|a f ra t h A IHA Ht Hh]; intros F.
  - replace (P i * v i * exp t + h) with (weight_of (i, 1) * value_of (i, 1) * exp t + h)
      by (unfold weight_of, value_of; simpl; ring).
    apply (perturbed_leaf (i, 1) (fun q => weight_of q * value_of q)).
    + unfold tree_cost. simpl. lra.
    + unfold tree_lost. simpl. rewrite !Rmult_0_l, !Rplus_0_r, exp_0. lra.
  - destruct F as [Fa Fb]. specialize (IHA Fa). specialize (IHB Fb).
    pose proof (le_INR _ _ (Nat.le_max_l (height a) (height b))) as La.
    pose proof (le_INR _ _ (Nat.le_max_r (height a) (height b))) as Lb.
    assert (J : perturbed (terms a ++ terms b) (fun q => weight_of q * value_of q)
      (fun _ => leaf + INR (Nat.max (height a) (height b)) * unit) (tree_lost a + tree_lost b) (ra + rb)).
    { apply perturbed_app; (eapply perturbed_weaken; [|apply Rle_refl|eassumption]);
        intros q _; unfold tree_cost; nra. }
    eapply perturbed_weaken; [| |exact (perturbed_scale _ _ _ _ _ _ _ _ _ J Ht Hh)].
    + intros q _. cbv beta. unfold tree_cost. cbn [height]. rewrite S_INR. lra.
    + apply lost_both.
  - destruct F as [Ff Fa]. destruct (IHA Fa) as (ps & E & B & C).
    exists (map (fun z => ((fst (fst z), snd (fst z) * f), snd z + t)) ps). split; [|split].
    + cbn [terms]. rewrite <- E, !map_map. reflexivity.
    + intros z Hz. apply in_map_iff in Hz. destruct Hz as (y & <- & Hy). simpl.
      eapply Rle_trans; [apply Rabs_triang|]. specialize (B y Hy). unfold tree_cost in *.
      cbn [height]. rewrite S_INR. lra.
    + set (S := sumf (scaled (fun q => weight_of q * value_of q)) ps) in *. rewrite sumf_map.
      replace (sumf _ ps) with (S * (f * exp t)).
      2:{ unfold S. rewrite <- sumf_scal. apply sumf_ext. intros z _. unfold scaled, weight_of, value_of; simpl.
          rewrite exp_plus. ring. }
      replace (ra * f * exp t + h - S * (f * exp t)) with ((ra - S) * (f * exp t) + h) by ring.
      pose proof (exp_pos t). assert (Et : exp t <= exp unit) by (apply exp_le; apply Rabs_le_inv in Ht; lra).
      assert (P0 : 0 <= f * exp t) by (apply Rmult_le_pos; lra).
      eapply Rle_trans; [apply Rabs_triang|]. eapply Rle_trans; [|apply lost_times; exact Ff].
      apply Rplus_le_compat; [|exact Hh]. rewrite Rabs_mult, (Rabs_pos_eq (f * exp t)) by exact P0.
      apply Rmult_le_compat; [apply Rabs_pos|exact P0|exact C|]. apply Rmult_le_compat_l; lra.
Qed.
End Sum.

(** THEOREM.  Whatever the exponentials and factors are, the quotient stays near the hull. *)
Theorem hull_any_order {I} (P v : I -> R) (lost_n lost_l : I -> R) sn sl leaf_n leaf_l unit_n unit_l above eta_n eta_l
    lo hi size least n l :
  0 <= unit_n -> 0 <= unit_l -> 0 <= above -> 0 <= eta_n -> 0 <= eta_l -> 0 <= leaf_n -> 0 <= leaf_l ->
  (forall i, 0 <= lost_n i) -> (forall i, 0 <= lost_l i) -> (forall i, 0 <= P i) -> 0 <= size ->
  factors_ok above sn -> factors_ok above sl -> Permutation (terms sn) (terms sl) ->
  (forall q, In q (terms sl) -> 0 <= snd q /\ lo <= v (fst q) <= hi /\ Rabs (v (fst q)) <= size) ->
  (exists q, In q (terms sl) /\ 0 < P (fst q) * snd q) ->
  added P v lost_n leaf_n unit_n eta_n sn n -> added P (fun _ => 1) lost_l leaf_l unit_l eta_l sl l ->
  0 < least <= l ->
  outside lo hi (n / l) <= hull_error (tree_cost leaf_n unit_n sn + tree_cost leaf_l unit_l sl) size
    (tree_lost lost_n unit_n above eta_n sn) (tree_lost lost_l unit_l above eta_l sl) least.
Proof.
  intros Hun Hul Ha Hen Hel Hn Hl Ln Ll HP Hs Fn Fl Pm Hq Ex An Al [L1 L2].
  pose proof (added_perturbed P v lost_n leaf_n unit_n above eta_n Hun Ha Hen Ln sn n Fn An) as Pn.
  pose proof (added_perturbed P (fun _ => 1) lost_l leaf_l unit_l above eta_l Hul Ha Hel Ll sl l Fl Al) as Pl.
  eapply Splits.perturbed_permutation in Pn; [|exact Pm].
  pose proof (pos_INR (height sn)). pose proof (pos_INR (height sl)).
  apply (hull (terms sl) (weight_of P) (value_of v) (fun _ => tree_cost leaf_n unit_n sn)
    (fun _ => tree_cost leaf_l unit_l sl)); auto.
  - intros q Hin. apply Rmult_le_pos; [auto|now apply Hq].
  - intros q Hin. destruct (Hq q Hin) as (_ & B & C). now split.
  - intros q _. apply Rle_refl.
  - unfold tree_cost. nra.
  - destruct Pl as (ps & E & B & C). exists ps. split; [exact E|]. split; [exact B|].
    replace (sumf (scaled (weight_of P)) ps) with
      (sumf (scaled (fun q => weight_of P q * value_of (fun _ : I => 1) q)) ps); [exact C|].
    apply sumf_ext. intros z _. unfold scaled, value_of. ring.
Qed.
