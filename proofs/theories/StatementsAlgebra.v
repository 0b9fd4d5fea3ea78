(** The public theorems of states that are merged, and of masks, in exact arithmetic,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From refattn Require Import LogMetric Sums Arithmetic AlgebraMaximum Algebra Masks.
Import ListNotations.
Open Scope R_scope.

(** * Algebra.v *)

Theorem merge_comm : forall s t : state, merge s t = merge t s.
Proof. exact (@Algebra.merge_comm). Qed.

Theorem merge_assoc : forall r s t : state, merge r (merge s t) = merge (merge r s) t.
Proof. exact (@Algebra.merge_assoc). Qed.

Theorem spec_app : forall es fs : list key, spec (es ++ fs) = merge (spec es) (spec fs).
Proof. exact (@Algebra.spec_app). Qed.

Theorem online_spec : forall es : list key, online es = spec es.
Proof. exact (@Algebra.online_spec). Qed.

Theorem tree_state_spec : forall t : merge_tree, tree_state t = spec (tree_keys t).
Proof. exact (@Algebra.tree_state_spec). Qed.

Theorem output_is_weighted_mean :
  forall (es : list key) (m l o : R),
    spec es = Some (m, l, o) ->
    o / l = sumf (fun e : R * R => exp (fst e) * snd e) es / sumf (fun e : R * R => exp (fst e)) es.
Proof. exact (@Algebra.output_is_weighted_mean). Qed.

(** * Masks.v *)

Theorem masked_online_spec : forall ks : list flagged, masked_online ks = masked_spec ks.
Proof. exact (@Masks.masked_online_spec). Qed.

Theorem masked_spec_app :
  forall ks js : list flagged, masked_spec (ks ++ js) = merge (masked_spec ks) (masked_spec js).
Proof. exact (@Masks.masked_spec_app). Qed.

Theorem nothing_visible :
  forall ks : list (key * bool), (forall k : key * bool, In k ks -> snd k = false) -> masked_spec ks = None.
Proof. exact (@Masks.nothing_visible). Qed.

Theorem invisible_part :
  forall ks hidden js : list (key * bool),
    (forall k : key * bool, In k hidden -> snd k = false) ->
    masked_spec (ks ++ hidden ++ js) = masked_spec (ks ++ js).
Proof. exact (@Masks.invisible_part). Qed.

Theorem invisible_contents :
  forall (ks : list (key * bool)) (k other : key) (js : list (key * bool)),
    masked_spec (ks ++ (k, false) :: js) = masked_spec (ks ++ (other, false) :: js).
Proof. exact (@Masks.invisible_contents). Qed.

Theorem masked_sum :
  forall A : arith,
    arith_ok A ->
    forall (I : Type) (leaf : I -> R) (sees : I -> bool) (is : list I) (total : R),
    F A total -> added A (masked_leaf leaf sees) total is = added A leaf total (filter sees is).
Proof. exact (@Masks.masked_sum). Qed.
