(** The whole way from queries and keys to a score, and the bound that is composed along it (theorem score_error). *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth Roundoff Nearly Dot Softcap Scores.
Import ListNotations.
Open Scope R_scope.

(** What is done to scale Q K^T: a softcap c > 0, a bias, ALiBi's slope and distance. *)
Record features := { cap : option R; bias : option R; alibi : option (R * R) }.

Definition capped_exactly (f : features) (raw : R) : R :=
  match cap f with None => raw | Some c => c * tanh (raw / c) end.
Definition bias_of (f : features) : R := match bias f with None => 0 | Some b => b end.
Definition alibi_of (f : features) : R := match alibi f with None => 0 | Some (slope, distance) => slope * distance end.
Definition exact_score (f : features) (raw : R) : R := capped_exactly f raw + bias_of f + alibi_of f.

Section Pipeline.
Variables unit constant lost tanh_unit stored : R.
Hypothesis unit_nonneg : 0 <= unit.
Hypothesis constant_nonneg : 0 <= constant.
Hypothesis lost_nonneg : 0 <= lost.
Hypothesis tanh_nonneg : 0 <= tanh_unit.
Hypothesis stored_nonneg : 0 <= stored.
Variable f : features.
Hypothesis cap_positive : forall c, cap f = Some c -> 0 < c.

(** What a kernel does. *)
Definition caps (raw result : R) : Prop :=
  match cap f with None => result = raw | Some c => capped unit constant lost c tanh_unit raw result end.

Definition adds (score result : R) : Prop :=
  match bias f, alibi f with
  | None, None => result = score
  | Some b, None => biased unit constant lost b score result
  | None, Some (slope, distance) => slanted unit constant lost slope distance score result
  | Some b, Some (slope, distance) => exists between,
      biased unit constant lost b score between /\ slanted unit constant lost slope distance between result
  end.

(** What is charged for it, as score_errors in Python: [additive] is anything above |bias| + |slope distance|. *)
Definition after_cap (error raw : R) : R :=
  match cap f with
  | None => error
  | Some c =>
      let divided := divided_score error (Rabs raw) c unit constant lost in
      capped_score divided (slope_near_0 (Rabs raw) divided c) (Rabs (capped_exactly f raw)) c tanh_unit
        unit constant lost
  end.

Definition after_additions (error raw additive : R) : R :=
  match bias f, alibi f with
  | None, None => error
  | Some _, None => biased_score error (Rabs (exact_score f raw)) additive unit constant lost
  | None, Some _ => alibi_score error (Rabs (exact_score f raw)) additive unit constant lost
  | Some _, Some _ => biased_alibi_score error (Rabs (capped_exactly f raw)) additive unit constant lost
  end.

Lemma caps_error exact raw score error : Rabs (raw - exact) <= error -> caps raw score ->
  Rabs (score - capped_exactly f exact) <= after_cap error exact.
Proof.
  unfold caps, after_cap, capped_exactly. destruct (cap f) as [c|] eqn:C; [|now intros H ->].
  intros He Hc. apply capped_score_error with raw; auto.
Qed.

Lemma adds_error exact score result error additive : Rabs (bias_of f) + Rabs (alibi_of f) <= additive ->
  Rabs (score - capped_exactly f exact) <= error -> adds score result ->
  Rabs (result - exact_score f exact) <= after_additions error exact additive.
Proof.
  unfold adds, after_additions, exact_score, bias_of, alibi_of.
  destruct (bias f) as [b|], (alibi f) as [[slope distance]|]; intros Ha He H; rewrite ?Rabs_R0 in Ha.
  - destruct H as (between & Hb & Hs).
    now apply (biased_alibi_score_error unit constant lost unit_nonneg constant_nonneg _ score between).
  - rewrite Rplus_0_r. apply (biased_score_error unit constant lost unit_nonneg constant_nonneg _ score); auto; lra.
  - rewrite Rplus_0_r. apply (alibi_score_error unit constant lost unit_nonneg constant_nonneg _ score); auto; lra.
  - rewrite H, !Rplus_0_r. exact He.
Qed.

Definition score_error (error raw additive : R) : R := after_additions (after_cap error raw) raw additive.

Lemma features_error exact raw score result error additive : Rabs (bias_of f) + Rabs (alibi_of f) <= additive ->
  Rabs (raw - exact) <= error -> caps raw score -> adds score result ->
  Rabs (result - exact_score f exact) <= score_error error exact additive.
Proof. intros. apply adds_error with score; auto. now apply caps_error with raw. Qed.

(** Q K^T, then the scale; [magnitude] is sum |q k|. *)
Theorem scaled_pipeline_error scale s sum raw score result dot_unit dot_lost additive :
  0 <= dot_unit -> 0 <= dot_lost ->
  Rabs (bias_of f) + Rabs (alibi_of f) <= additive ->
  computed dot_unit dot_lost s sum -> scaled unit constant lost scale stored sum raw ->
  caps raw score -> adds score result ->
  let exact := scale * sumf value (terms s) in
  let magnitude := sumf (fun p => Rabs (value p)) (terms s) in
  let dot := dot_any_order (count s) dot_unit magnitude dot_lost in
  Rabs (result - exact_score f exact) <=
    score_error (scaled_score dot (Rabs exact) (Rabs scale) stored unit constant lost) exact additive.
Proof.
  intros Hu Hl Ha Hs Hr Hc Hd exact magnitude dot. apply features_error with raw score; auto.
  apply scaled_score_error with sum; auto. now apply dot_any_order_error.
Qed.

(** The queries times the scale, then the product with the keys. *)
Theorem query_pipeline_error scale ps s sum raw score result
  dot_unit dot_lost wide wide_lost narrow narrow_lost additive :
  0 <= dot_unit -> 0 <= dot_lost -> 0 <= wide -> 0 <= narrow ->
  Rabs (bias_of f) + Rabs (alibi_of f) <= additive ->
  (forall p, In p ps -> query_scaled wide wide_lost narrow narrow_lost constant scale (fst (fst p)) (snd p)) ->
  terms s = map (fun p => (snd p, snd (fst p))) ps -> computed dot_unit dot_lost s sum -> nearly stored lost raw sum ->
  caps raw score -> adds score result ->
  let exact := sumf (exact_term scale) ps in
  let magnitude := sumf (fun p => Rabs (exact_term scale p)) ps in
  let keys := sumf (fun p => Rabs (snd (fst p))) ps in
  let query := scaled_query magnitude keys wide constant wide_lost narrow narrow_lost in
  Rabs (result - exact_score f exact) <=
    score_error (scaled_query_score query (count s) dot_unit magnitude dot_lost (Rabs exact) stored lost)
      exact additive.
Proof.
  intros Hu Hl Hw Hn Ha Hq Ht Hs Hr Hc Hd exact magnitude keys query. apply features_error with raw score; auto.
  apply scaled_query_score_error with sum; auto.
Qed.

End Pipeline.
