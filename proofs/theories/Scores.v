(** Scores: softcap (scale Q K^T) + bias + ALiBi, step by step. Definitions carry the names of the functions in Python.

    What a kernel holds instead of the scale, the cap, slopes and biases is [held] to within [constant]; every other
    step errs by [unit] of its result, and by [lost] where that underflows or is flushed to zero. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth Roundoff Nearly Dot Softcap.
Import ListNotations.
Open Scope R_scope.

(** ** The error after each step. [error] and [size] are those of the exact number that comes in or goes out. *)

(** A dot product that is off by [dot], stored, then multiplied by the scale. *)
Definition scaled_score (dot size scale stored unit constant lost : R) : R :=
  rounded (rounded (scale * dot) size stored (scale * lost)) size (compound [unit; constant]) lost.

(** q * scale in a wide format, rounded to the inputs' format: [magnitude] is sum |scale q k|, [keys] is sum |k|. *)
Definition scaled_query (magnitude keys wide constant wide_lost narrow narrow_lost : R) : R :=
  rounded (compound [wide; constant] * magnitude + keys * wide_lost) magnitude narrow (keys * narrow_lost).

(** The dot product of such queries, off by [query], stored. *)
Definition scaled_query_score (query terms dot_unit magnitude dot_lost size stored lost : R) : R :=
  rounded (query + dot_any_order terms dot_unit (magnitude + query) dot_lost) size stored lost.

(** s / c, in the units of s. *)
Definition divided_score (error size cap unit constant lost : R) : R :=
  rounded error size (compound [unit; constant]) (cap * lost).

(** c tanh, of a quotient that is off by [error]: [slope] is sech^2 where the quotient can be nearest to 0. *)
Definition capped_score (error slope size cap tanh unit constant lost : R) : R :=
  rounded (rounded (error * slope) size tanh (cap * lost)) size (compound [unit; constant]) lost.

(** Bias; ALiBi, whose slope is held and its product with the distance rounded; both of them. *)
Definition biased_score (error size bias unit constant lost : R) : R :=
  rounded (error + constant * bias) size unit lost.

Definition alibi_score (error size alibi unit constant lost : R) : R :=
  rounded (error + rounded (constant * alibi) alibi unit lost) size unit lost.

Definition biased_alibi_score (error size additive unit constant lost : R) : R :=
  rounded error (size + additive) (compound [unit; unit; constant]) ((3 + 2 * unit) * lost).

(** One more step after an error is known. *)
Lemma step exact computed result error size r lost : 0 <= r -> Rabs exact <= size -> Rabs (computed - exact) <= error ->
  nearly r lost result computed -> Rabs (result - exact) <= rounded error size r lost.
Proof. apply rounded_error. Qed.

Lemma compound_nonneg a b : 0 <= a -> 0 <= b -> 0 <= compound [a; b].
Proof. intros. unfold compound; simpl. nra. Qed.

Section Steps.
Variables unit constant lost : R.
Hypothesis unit_nonneg : 0 <= unit.
Hypothesis constant_nonneg : 0 <= constant.
Hypothesis lost_nonneg : 0 <= lost.

(** ** The dot product, stored, then multiplied by the scale *)
Definition scaled (scale stored sum score : R) : Prop := exists kept held,
  nearly stored lost kept sum /\ nearly constant 0 held scale /\ nearly unit lost score (kept * held).

Theorem scaled_score_error exact sum score dot scale stored : 0 <= stored ->
  Rabs (sum - exact) <= dot -> scaled scale stored sum score ->
  Rabs (score - scale * exact) <= scaled_score dot (Rabs (scale * exact)) (Rabs scale) stored unit constant lost.
Proof.
  intros Hs Hd (kept & held & Hk & Hh & Hy). unfold scaled_score.
  apply step with (scale * kept); [now apply compound_nonneg|lra| |].
  - apply step with (scale * sum); [exact Hs|lra| |now apply nearly_scale].
    rewrite <- Rmult_minus_distr_l, Rabs_mult. apply Rmult_le_compat_l; [apply Rabs_pos|exact Hd].
  - rewrite (Rmult_comm scale). now apply nearly_times_constant with held.
Qed.

(** ** c tanh (s / c) *)
Definition divided (cap score quotient : R) : Prop := exists held,
  nearly constant 0 held (/ cap) /\ nearly unit lost quotient (score * held).

Lemma divided_score_error exact score quotient error cap : 0 < cap ->
  Rabs (score - exact) <= error -> divided cap score quotient ->
  Rabs (cap * quotient - exact) <= divided_score error (Rabs exact) cap unit constant lost.
Proof.
  intros Hc He (held & Hh & Hq). apply step with score; [now apply compound_nonneg|lra|exact He|].
  pose proof (nearly_times_constant _ _ _ _ _ _ _ unit_nonneg Hh Hq) as N. apply (nearly_scale cap) in N.
  rewrite (Rabs_pos_eq cap) in N by lra. replace (cap * (score * / cap)) with score in N by (field; lra). exact N.
Qed.

Definition capped (cap tanh_unit score result : R) : Prop := exists quotient t held,
  divided cap score quotient /\ nearly tanh_unit lost t (tanh quotient) /\
  nearly constant 0 held cap /\ nearly unit lost result (t * held).

Definition slope_near_0 (size error cap : R) : R :=
  let nearest := Rmax (size - error) 0 / cap in / (cosh nearest * cosh nearest).

Theorem capped_score_error exact score result error cap tanh_unit : 0 < cap -> 0 <= tanh_unit ->
  Rabs (score - exact) <= error -> capped cap tanh_unit score result ->
  let divided := divided_score error (Rabs exact) cap unit constant lost in
  Rabs (result - cap * tanh (exact / cap)) <=
    capped_score divided (slope_near_0 (Rabs exact) divided cap) (Rabs (cap * tanh (exact / cap))) cap tanh_unit
      unit constant lost.
Proof.
  intros Hc Ht He (quotient & t & held & Hq & Hn & Hh & Hr) divided. unfold capped_score.
  apply step with (cap * t); [now apply compound_nonneg|lra| |].
  - apply step with (cap * tanh quotient); [exact Ht|lra| |].
    + replace quotient with (cap * quotient / cap) by (field; lra). apply softcap_slope; [exact Hc|].
      now apply divided_score_error with score.
    + rewrite <- (Rabs_pos_eq cap) at 1 by lra. now apply nearly_scale.
  - rewrite (Rmult_comm cap). now apply nearly_times_constant with held.
Qed.

(** ** Bias and ALiBi: [size] is that of the exact sum, or anything above it *)
Definition biased (bias score result : R) : Prop := exists held,
  nearly constant 0 held bias /\ nearly unit lost result (score + held).

Theorem biased_score_error exact score result error size bias most :
  Rabs bias <= most -> Rabs (exact + bias) <= size -> Rabs (score - exact) <= error -> biased bias score result ->
  Rabs (result - (exact + bias)) <= biased_score error size most unit constant lost.
Proof.
  intros Hb Hs He (held & Hh & Hr). apply step with (score + held); [exact unit_nonneg|exact Hs| |exact Hr].
  replace (score + held - (exact + bias)) with ((score - exact) + (held - bias)) by ring.
  unfold nearly in Hh. assert (constant * Rabs bias <= constant * most) by (now apply Rmult_le_compat_l).
  eapply Rle_trans; [apply Rabs_triang|]. lra.
Qed.

(** The slope is held, its product with the distance rounded. *)
Definition slanted (slope distance score result : R) : Prop := exists held term,
  nearly constant 0 held slope /\ nearly unit lost term (held * distance) /\ nearly unit lost result (score + term).

Lemma slanted_term slope distance held term most : Rabs (slope * distance) <= most ->
  nearly constant 0 held slope -> nearly unit lost term (held * distance) ->
  Rabs (term - slope * distance) <= rounded (constant * most) most unit lost.
Proof.
  intros Hm Hh Ht. apply step with (held * distance); [exact unit_nonneg|exact Hm| |exact Ht].
  rewrite <- Rmult_minus_distr_r, Rabs_mult. unfold nearly in Hh. rewrite Rplus_0_r in Hh.
  apply Rle_trans with (constant * Rabs slope * Rabs distance); [apply Rmult_le_compat_r; [apply Rabs_pos|exact Hh]|].
  rewrite Rmult_assoc, <- Rabs_mult. now apply Rmult_le_compat_l.
Qed.

Theorem alibi_score_error exact score result error size slope distance most :
  Rabs (slope * distance) <= most -> Rabs (exact + slope * distance) <= size -> Rabs (score - exact) <= error ->
  slanted slope distance score result ->
  Rabs (result - (exact + slope * distance)) <= alibi_score error size most unit constant lost.
Proof.
  intros Hm Hs He (held & term & Hh & Ht & Hr). apply step with (score + term); [exact unit_nonneg|exact Hs| |exact Hr].
  pose proof (slanted_term _ _ _ _ _ Hm Hh Ht).
  replace (score + term - (exact + slope * distance)) with ((score - exact) + (term - slope * distance)) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. lra.
Qed.

(** Both, of which only the sum of the magnitudes, [additive], need be known. *)
Theorem biased_alibi_score_error exact score between result error bias slope distance additive :
  Rabs bias + Rabs (slope * distance) <= additive -> Rabs (score - exact) <= error ->
  biased bias score between -> slanted slope distance between result ->
  Rabs (result - (exact + bias + slope * distance)) <=
    biased_alibi_score error (Rabs exact) additive unit constant lost.
Proof.
  intros Ha He Hb Hl. set (alibi := slope * distance) in *.
  pose proof (Rabs_triang exact bias) as T1. pose proof (Rabs_triang (exact + bias) alibi) as T2.
  assert (S1 : Rabs (exact + bias) <= Rabs exact + Rabs bias) by lra.
  pose proof (biased_score_error _ _ _ _ _ _ _ (Rle_refl _) S1 He Hb) as B.
  assert (S2 : Rabs (exact + bias + alibi) <= Rabs exact + Rabs bias + Rabs alibi) by lra.
  pose proof (alibi_score_error _ _ _ _ _ _ _ _ (Rle_refl _) S2 B Hl) as A.
  eapply Rle_trans; [exact A|].
  unfold biased_alibi_score, alibi_score, biased_score, rounded, compound; simpl. fold alibi.
  pose proof (Rabs_pos exact). pose proof (Rabs_pos bias). pose proof (Rabs_pos alibi).
  assert (0 <= error) by (eapply Rle_trans; [apply Rabs_pos|exact He]).
  set (c := unit + unit + unit * unit + constant + (unit + unit + unit * unit) * constant).
  assert (C : c = (1 + unit) * (1 + unit) * (1 + constant) - 1) by (unfold c; ring).
  set (total := Rabs exact + Rabs bias + Rabs alibi).
  assert (0 <= c) by (rewrite C; assert (1 <= (1 + unit) * (1 + unit)) by nra; nra).
  assert (c * total <= c * (Rabs exact + additive)) by (apply Rmult_le_compat_l; [lra|]; unfold total; lra).
  assert (P : 0 <= constant * (1 + unit) * (1 + unit) * (Rabs exact + error)) by
    (repeat apply Rmult_le_pos; lra).
  unfold total in *. nra.
Qed.

End Steps.

(** ** Queries that are scaled first: q * scale in a wide format, rounded to the inputs' format, then multiplied *)
Section Query.
Variables wide wide_lost narrow narrow_lost constant : R.
Hypothesis wide_nonneg : 0 <= wide.
Hypothesis narrow_nonneg : 0 <= narrow.
Hypothesis constant_nonneg : 0 <= constant.

Definition query_scaled (scale q result : R) : Prop := exists held product,
  nearly constant 0 held scale /\ nearly wide wide_lost product (q * held) /\
  nearly narrow narrow_lost result product.

Lemma query_scaled_near scale q result : query_scaled scale q result ->
  nearly (compound [compound [wide; constant]; narrow]) (wide_lost * (1 + narrow) + narrow_lost) result (q * scale).
Proof.
  intros (held & p & Hh & Hp & Hr). apply nearly_compose with p; [exact narrow_nonneg| |exact Hr].
  now apply nearly_times_constant with held.
Qed.

(** Triples of a query's number, the key's, and the scaled query's. *)
Definition exact_term (scale : R) (p : R * R * R) : R := fst (fst p) * scale * snd (fst p).
Definition scaled_term (p : R * R * R) : R := snd p * snd (fst p).

Theorem scaled_query_error scale ps : (forall p, In p ps -> query_scaled scale (fst (fst p)) (snd p)) ->
  sumf (fun p => Rabs (scaled_term p - exact_term scale p)) ps <=
    scaled_query (sumf (fun p => Rabs (exact_term scale p)) ps) (sumf (fun p => Rabs (snd (fst p))) ps)
      wide constant wide_lost narrow narrow_lost.
Proof.
  intros H. unfold scaled_query, rounded.
  set (relative := compound [compound [wide; constant]; narrow]).
  set (lost := wide_lost * (1 + narrow) + narrow_lost).
  eapply Rle_trans.
  { apply (sumf_le _ _ (fun p => Rabs (exact_term scale p) * relative + Rabs (snd (fst p)) * lost)).
    intros p Hp. pose proof (query_scaled_near _ _ _ (H p Hp)) as N. unfold nearly in N.
    unfold scaled_term, exact_term. rewrite <- Rmult_minus_distr_r, !Rabs_mult in *.
    pose proof (Rabs_pos (snd (fst p))).
    eapply Rle_trans; [apply Rmult_le_compat_r; [lra|exact N]|].
    fold relative lost. lra. }
  rewrite sumf_plus, !sumf_scal. unfold relative, lost, compound; simpl. lra.
Qed.

Theorem scaled_query_score_error scale ps s sum score dot_unit dot_lost stored lost :
  0 <= dot_unit -> 0 <= dot_lost -> 0 <= stored ->
  (forall p, In p ps -> query_scaled scale (fst (fst p)) (snd p)) ->
  terms s = map (fun p => (snd p, snd (fst p))) ps -> computed dot_unit dot_lost s sum ->
  nearly stored lost score sum ->
  let magnitude := sumf (fun p => Rabs (exact_term scale p)) ps in
  let keys := sumf (fun p => Rabs (snd (fst p))) ps in
  let query := scaled_query magnitude keys wide constant wide_lost narrow narrow_lost in
  Rabs (score - sumf (exact_term scale) ps) <=
    scaled_query_score query (count s) dot_unit magnitude dot_lost (Rabs (sumf (exact_term scale) ps)) stored lost.
Proof.
  intros Hu Hl Hs Hq Ht Hc Hn magnitude keys query.
  pose proof (scaled_query_error scale ps Hq) as Q. fold magnitude keys query in Q.
  unfold scaled_query_score. apply step with sum; [exact Hs|lra| |exact Hn].
  pose proof (dot_any_order_error _ _ _ _ Hu Hl Hc) as D. rewrite Ht, !sumf_map in D.
  change (fun x : R * R * R => value (snd x, snd (fst x))) with scaled_term in D.
  replace (sum - sumf (exact_term scale) ps)
    with ((sumf scaled_term ps - sumf (exact_term scale) ps) + (sum - sumf scaled_term ps)) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. apply Rplus_le_compat.
  - rewrite <- sumf_minus. eapply Rle_trans; [apply sumf_abs|exact Q].
  - eapply Rle_trans; [exact D|]. apply dot_any_order_mono; [apply pos_INR|exact Hu|].
    eapply Rle_trans; [|apply Rplus_le_compat_l; exact Q]. unfold magnitude. rewrite <- sumf_plus.
    apply sumf_le. intros p _. change (value (snd p, snd (fst p))) with (scaled_term p).
    replace (scaled_term p) with (exact_term scale p + (scaled_term p - exact_term scale p)) at 1 by ring.
    apply Rabs_triang.
Qed.

End Query.
