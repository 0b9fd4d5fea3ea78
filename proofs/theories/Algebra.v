(** The algebra of softmax states, without roundings.

    A state is [None] (no key seen: m = -oo, l = 0) or [Some (m, l, o)] with the running maximum m, the normaliser l
    and one column o of the unnormalised output.  States with [merge] are a commutative monoid, and the state of a list
    of keys is a homomorphism into it: so one pass, two passes, tiles and any tree of merges agree. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums AlgebraMaximum.
Import ListNotations.
Open Scope R_scope.

Definition key := (R * R)%type.               (* score, value *)
Definition state := option (R * R * R)%type.  (* m, l, o *)

Definition weight (m : R) (e : key) : R := exp (fst e - m).
Definition weighted_value (m : R) (e : key) : R := exp (fst e - m) * snd e.

(** The specification: max, sum of exponentials, weighted sum. *)
Definition spec (es : list key) : state :=
  match es with
  | [] => None
  | e :: r => let m := largest (fst e) (map fst r) in
              Some (m, sumf (weight m) es, sumf (weighted_value m) es)
  end.

(** One step of the online recurrence (Milakov and Gimelshein, 2018). *)
Definition step (s : state) (e : key) : state :=
  match s with
  | None => Some (fst e, 1, snd e)
  | Some (m, l, o) =>
      let m' := Rmax m (fst e) in
      Some (m', l * exp (m - m') + exp (fst e - m'),
                o * exp (m - m') + exp (fst e - m') * snd e)
  end.

Definition online (es : list key) : state := fold_left step es None.

(** The state of two parts of the keys from the parts' states. *)
Definition merge (s t : state) : state :=
  match s, t with
  | None, _ => t
  | _, None => s
  | Some (m1, l1, o1), Some (m2, l2, o2) =>
      let m := Rmax m1 m2 in
      Some (m, l1 * exp (m1 - m) + l2 * exp (m2 - m),
               o1 * exp (m1 - m) + o2 * exp (m2 - m))
  end.

Lemma merge_None_l s : merge None s = s.
Proof. reflexivity. Qed.

Lemma merge_None_r s : merge s None = s.
Proof. destruct s as [[[m l] o]|]; reflexivity. Qed.

Lemma state_eq (a a' b b' c c' : R) :
  a = a' -> b = b' -> c = c' -> Some (a, b, c) = Some (a', b', c').
Proof. congruence. Qed.

Theorem merge_comm s t : merge s t = merge t s.
Proof.
  destruct s as [[[m1 l1] o1]|], t as [[[m2 l2] o2]|]; try reflexivity.
  unfold merge. rewrite (Rmax_comm m2 m1). apply state_eq; [reflexivity|ring|ring].
Qed.

Lemma exp_split a b c : exp (a - c) = exp (a - b) * exp (b - c).
Proof. rewrite <- exp_plus. f_equal; ring. Qed.

Theorem merge_assoc r s t : merge r (merge s t) = merge (merge r s) t.
Proof.
  destruct r as [[[m1 l1] o1]|], s as [[[m2 l2] o2]|], t as [[[m3 l3] o3]|];
    try reflexivity; unfold merge.
  rewrite Rmax_assoc. set (M := Rmax (Rmax m1 m2) m3).
  apply state_eq; [reflexivity| |];
    rewrite !Rmult_plus_distr_r, !Rmult_assoc, <- !exp_split; ring.
Qed.

(** Sums shifted to another reference point. *)
Lemma sum_weight_shift m m' es : sumf (weight m') es = sumf (weight m) es * exp (m - m').
Proof.
  rewrite <- sumf_scal. apply sumf_ext. intros e _. unfold weight. apply exp_split.
Qed.

Lemma sum_weighted_value_shift m m' es : sumf (weighted_value m') es = sumf (weighted_value m) es * exp (m - m').
Proof.
  rewrite <- sumf_scal. apply sumf_ext. intros e _. unfold weighted_value.
  rewrite (exp_split _ m m'). ring.
Qed.

(** [spec] is a monoid morphism: any split of the keys can be merged. *)
Theorem spec_app es fs : spec (es ++ fs) = merge (spec es) (spec fs).
Proof.
  destruct es as [|e es]; [reflexivity|].
  destruct fs as [|f fs]; [now rewrite app_nil_r, merge_None_r|].
  cbn [app spec merge].
  assert (HM : largest (fst e) (map fst (es ++ f :: fs))
             = Rmax (largest (fst e) (map fst es)) (largest (fst f) (map fst fs))).
  { rewrite map_app, largest_app; simpl. apply largest_Rmax. }
  rewrite HM. set (m1 := largest (fst e) (map fst es)).
  set (m2 := largest (fst f) (map fst fs)). set (M := Rmax m1 m2).
  apply state_eq; [reflexivity| |].
  - rewrite <- (sum_weight_shift m1 M), <- (sum_weight_shift m2 M).
    apply (sumf_app key (weight M) (e :: es) (f :: fs)).
  - rewrite <- (sum_weighted_value_shift m1 M), <- (sum_weighted_value_shift m2 M).
    apply (sumf_app key (weighted_value M) (e :: es) (f :: fs)).
Qed.

Lemma step_merge s e : step s e = merge s (spec [e]).
Proof.
  destruct s as [[[m l] o]|]; unfold step, merge, spec, sumf, weight, weighted_value; simpl.
  - apply state_eq; [reflexivity| |]; rewrite (Rminus_diag_eq (fst e) (fst e)) by reflexivity;
      rewrite exp_0; ring.
  - rewrite (Rminus_diag_eq (fst e) (fst e)) by reflexivity. rewrite exp_0.
    apply state_eq; [reflexivity|ring|ring].
Qed.

(** The online recurrence computes the specification. *)
Theorem online_spec es : online es = spec es.
Proof.
  unfold online.
  enough (G : forall fs es0, fold_left step fs (spec es0) = spec (es0 ++ fs)).
  { exact (G es []). }
  induction fs as [|f fs IH]; intros es0; simpl.
  - now rewrite app_nil_r.
  - rewrite step_merge, <- spec_app, IH, <- app_assoc. reflexivity.
Qed.

(** Any binary tree of merges over any split equals the whole. *)
Inductive merge_tree := Part (es : list key) | Merged (a b : merge_tree).

Fixpoint tree_keys t := match t with Part es => es | Merged a b => tree_keys a ++ tree_keys b end.

Fixpoint tree_state t := match t with Part es => online es | Merged a b => merge (tree_state a) (tree_state b) end.

Theorem tree_state_spec t : tree_state t = spec (tree_keys t).
Proof.
  induction t as [es|a IHa b IHb]; simpl.
  - apply online_spec.
  - now rewrite IHa, IHb, spec_app.
Qed.

(** The normalised output is the softmax-weighted mean of the values, whatever the reference. *)
Theorem output_is_weighted_mean es m l o : spec es = Some (m, l, o) ->
  o / l = sumf (fun e => exp (fst e) * snd e) es / sumf (fun e => exp (fst e)) es.
Proof.
  destruct es as [|e es]; [discriminate|]. unfold spec; cbv zeta. set (M := largest _ _). intros H.
  assert (Hl : l = sumf (weight M) (e :: es)) by congruence.
  assert (Ho : o = sumf (weighted_value M) (e :: es)) by congruence.
  rewrite (sum_weight_shift 0 M) in Hl. rewrite (sum_weighted_value_shift 0 M) in Ho.
  assert (El : sumf (weight 0) (e :: es) = sumf (fun e => exp (fst e)) (e :: es)).
  { apply sumf_ext. intros. unfold weight. now rewrite Rminus_0_r. }
  assert (Eo : sumf (weighted_value 0) (e :: es) = sumf (fun e => exp (fst e) * snd e) (e :: es)).
  { apply sumf_ext. intros. unfold weighted_value. now rewrite Rminus_0_r. }
  assert (P : 0 < sumf (fun e => exp (fst e)) (e :: es)).
  { apply sumf_pos; [discriminate|]. intros. apply exp_pos. }
  rewrite Hl, Ho, El, Eo. pose proof (exp_pos (0 - M)). field. split; lra.
Qed.
