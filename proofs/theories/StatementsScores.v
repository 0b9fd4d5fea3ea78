(** The public theorems of dot products and scores,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats Truncation Sums Growth Perturbed Roundoff Rationals Softcap Dot Nearly
  Scores FlushToZero FormatsStage ScoresPowerOfTwo ScoresPipeline.
From refattn Require GrowthRational DotRational ScoresRational.
Import ListNotations.
Open Scope R_scope.

(** * Softcap.v *)

Theorem tanh_slope :
  forall a b nearest : R,
    0 <= nearest ->
    (forall x : R, Rmin a b <= x <= Rmax a b -> nearest <= Rabs x) ->
    Rabs (tanh b - tanh a) <= / (cosh nearest * cosh nearest) * Rabs (b - a).
Proof. exact (@Softcap.tanh_slope). Qed.

Theorem softcap_slope :
  forall cap exact computed error : R,
    0 < cap ->
    Rabs (computed - exact) <= error ->
    let nearest := Rmax (Rabs exact - error) 0 / cap in
    Rabs (cap * tanh (computed / cap) - cap * tanh (exact / cap)) <= error * / (cosh nearest * cosh nearest).
Proof. exact (@Softcap.softcap_slope). Qed.

(** * Dot.v *)

Theorem computed_form :
  forall (u eta : R) (s : tree) (r : R), 0 <= u -> 0 <= eta -> computed u eta s r -> form u eta s r.
Proof. exact (@Dot.computed_form). Qed.

Theorem dot_any_order_error :
  forall (u eta : R) (s : tree) (r : R),
    0 <= u ->
    0 <= eta ->
    computed u eta s r ->
    Rabs (r - sumf value (terms s)) <=
    (exp (count s * u) - 1) * sumf (fun p : R * R => Rabs (value p)) (terms s) +
    2 * count s * eta * (1 + (exp (count s * u) - 1)).
Proof. exact (@Dot.dot_any_order_error). Qed.

(** * Scores.v *)

Theorem scaled_score_error :
  forall unit constant lost : R,
    0 <= unit ->
    0 <= constant ->
    forall exact sum score dot scale stored : R,
    0 <= stored ->
    Rabs (sum - exact) <= dot ->
    scaled unit constant lost scale stored sum score ->
    Rabs (score - scale * exact) <=
    Rabs scale * dot + stored * (Rabs (scale * exact) + Rabs scale * dot) + Rabs scale * lost +
    fold_left (fun total unit0 : R => total + unit0 + total * unit0) [unit; constant] 0 *
    (Rabs (scale * exact) +
    (Rabs scale * dot + stored * (Rabs (scale * exact) + Rabs scale * dot) + Rabs scale * lost)) + lost.
Proof. exact (@Scores.scaled_score_error). Qed.

Theorem divided_score_error :
  forall unit constant lost : R,
    0 <= unit ->
    0 <= constant ->
    forall exact score quotient error cap : R,
    0 < cap ->
    Rabs (score - exact) <= error ->
    divided unit constant lost cap score quotient ->
    Rabs (cap * quotient - exact) <=
    error +
    fold_left (fun total unit0 : R => total + unit0 + total * unit0) [unit; constant] 0 * (Rabs exact + error) +
    cap * lost.
Proof. exact (@Scores.divided_score_error). Qed.

Theorem capped_score_error :
  forall unit constant lost : R,
    0 <= unit ->
    0 <= constant ->
    forall exact score result error cap tanh_unit : R,
    0 < cap ->
    0 <= tanh_unit ->
    Rabs (score - exact) <= error ->
    capped unit constant lost cap tanh_unit score result ->
    let divided := divided_score error (Rabs exact) cap unit constant lost in
    Rabs (result - cap * tanh (exact / cap)) <=
    capped_score divided (slope_near_0 (Rabs exact) divided cap) (Rabs (cap * tanh (exact / cap))) cap tanh_unit
     unit constant lost.
Proof. exact (@Scores.capped_score_error). Qed.

Theorem biased_score_error :
  forall unit constant lost : R,
    0 <= unit ->
    0 <= constant ->
    forall exact score result error size bias most : R,
    Rabs bias <= most ->
    Rabs (exact + bias) <= size ->
    Rabs (score - exact) <= error ->
    biased unit constant lost bias score result ->
    Rabs (result - (exact + bias)) <= error + constant * most + unit * (size + (error + constant * most)) + lost.
Proof. exact (@Scores.biased_score_error). Qed.

Theorem alibi_score_error :
  forall unit constant lost : R,
    0 <= unit ->
    0 <= constant ->
    forall exact score result error size slope distance most : R,
    Rabs (slope * distance) <= most ->
    Rabs (exact + slope * distance) <= size ->
    Rabs (score - exact) <= error ->
    slanted unit constant lost slope distance score result ->
    Rabs (result - (exact + slope * distance)) <=
    error + (constant * most + unit * (most + constant * most) + lost) +
    unit * (size + (error + (constant * most + unit * (most + constant * most) + lost))) + lost.
Proof. exact (@Scores.alibi_score_error). Qed.

Theorem biased_alibi_score_error :
  forall unit constant lost : R,
    0 <= unit ->
    0 <= constant ->
    forall exact score between result error bias slope distance additive : R,
    Rabs bias + Rabs (slope * distance) <= additive ->
    Rabs (score - exact) <= error ->
    biased unit constant lost bias score between ->
    slanted unit constant lost slope distance between result ->
    Rabs (result - (exact + bias + slope * distance)) <=
    error +
    fold_left (fun total unit0 : R => total + unit0 + total * unit0) [unit; unit; constant] 0 *
    (Rabs exact + additive + error) + (3 + 2 * unit) * lost.
Proof. exact (@Scores.biased_alibi_score_error). Qed.

Theorem scaled_query_error :
  forall wide wide_lost narrow narrow_lost constant : R,
    0 <= wide ->
    0 <= narrow ->
    forall (scale : R) (ps : list (R * R * R)),
    (forall p : R * R * R,
    In p ps -> query_scaled wide wide_lost narrow narrow_lost constant scale (fst (fst p)) (snd p)) ->
    sumf (fun p : R * R * R => Rabs (scaled_term p - exact_term scale p)) ps <=
    scaled_query (sumf (fun p : R * R * R => Rabs (exact_term scale p)) ps)
     (sumf (fun p : R * R * R => Rabs (snd (fst p))) ps) wide constant wide_lost narrow narrow_lost.
Proof. exact (@Scores.scaled_query_error). Qed.

Theorem scaled_query_score_error :
  forall wide wide_lost narrow narrow_lost constant : R,
    0 <= wide ->
    0 <= narrow ->
    forall (scale : R) (ps : list (R * R * R)) (s : tree) (sum score dot_unit dot_lost stored lost : R),
    0 <= dot_unit ->
    0 <= dot_lost ->
    0 <= stored ->
    (forall p : R * R * R,
    In p ps -> query_scaled wide wide_lost narrow narrow_lost constant scale (fst (fst p)) (snd p)) ->
    terms s = map (fun p : R * R * R => (snd p, snd (fst p))) ps ->
    computed dot_unit dot_lost s sum ->
    nearly stored lost score sum ->
    let magnitude := sumf (fun p : R * R * R => Rabs (exact_term scale p)) ps in
    let keys := sumf (fun p : R * R * R => Rabs (snd (fst p))) ps in
    let query := scaled_query magnitude keys wide constant wide_lost narrow narrow_lost in
    Rabs (score - sumf (exact_term scale) ps) <=
    scaled_query_score query (count s) dot_unit magnitude dot_lost (Rabs (sumf (exact_term scale) ps)) stored lost.
Proof. exact (@Scores.scaled_query_score_error). Qed.

(** * ScoresPowerOfTwo.v *)

Theorem power_of_two_exact :
  forall f : format,
    valid_format f ->
    forall (m : mode) (x : R) (e : Z),
    holds f x -> nearly 0 (underflow_unit f m false) (stage_round f m (x * bpow radix2 e)) (x * bpow radix2 e).
Proof. exact (@ScoresPowerOfTwo.power_of_two_exact). Qed.

Theorem power_of_two_flushed :
  forall f : format,
    valid_format f ->
    forall (m : mode) (flushed : R -> bool) (x : R) (e : Z),
    holds f x ->
    nearly 0 (underflow_unit f m true) (flush f flushed (stage_round f m) (x * bpow radix2 e)) (x * bpow radix2 e).
Proof. exact (@ScoresPowerOfTwo.power_of_two_flushed). Qed.

Theorem scaled_by_power_of_two_error :
  forall f : format,
    valid_format f ->
    forall (m : mode) (exact sum kept dot stored : R) (e : Z),
    0 <= stored ->
    holds f kept ->
    Rabs (sum - exact) <= dot ->
    nearly stored (underflow_unit f m false) kept sum ->
    Rabs (stage_round f m (kept * bpow radix2 e) - bpow radix2 e * exact) <=
    Rabs (bpow radix2 e) * dot + stored * (Rabs (bpow radix2 e * exact) + Rabs (bpow radix2 e) * dot) +
    Rabs (bpow radix2 e) * underflow_unit f m false +
    fold_left (fun total unit : R => total + unit + total * unit) [0; 0] 0 *
    (Rabs (bpow radix2 e * exact) +
    (Rabs (bpow radix2 e) * dot + stored * (Rabs (bpow radix2 e * exact) + Rabs (bpow radix2 e) * dot) +
     Rabs (bpow radix2 e) * underflow_unit f m false)) + underflow_unit f m false.
Proof. exact (@ScoresPowerOfTwo.scaled_by_power_of_two_error). Qed.

(** * ScoresPipeline.v *)

Theorem scaled_pipeline_error :
  forall unit constant lost tanh_unit stored : R,
    0 <= unit ->
    0 <= constant ->
    0 <= tanh_unit ->
    0 <= stored ->
    forall f : features,
    (forall c : R, cap f = Some c -> 0 < c) ->
    forall (scale : R) (s : tree) (sum raw score result dot_unit dot_lost additive : R),
    0 <= dot_unit ->
    0 <= dot_lost ->
    Rabs (bias_of f) + Rabs (alibi_of f) <= additive ->
    computed dot_unit dot_lost s sum ->
    scaled unit constant lost scale stored sum raw ->
    caps unit constant lost tanh_unit f raw score ->
    adds unit constant lost f score result ->
    let exact := scale * sumf value (terms s) in
    let magnitude := sumf (fun p : R * R => Rabs (value p)) (terms s) in
    let dot :=
     (exp (count s * dot_unit) - 1) * magnitude + 2 * count s * dot_lost * (1 + (exp (count s * dot_unit) - 1)) in
    Rabs (result - exact_score f exact) <=
    score_error unit constant lost tanh_unit f
     (Rabs scale * dot + stored * (Rabs exact + Rabs scale * dot) + Rabs scale * lost +
      fold_left (fun total unit0 : R => total + unit0 + total * unit0) [unit; constant] 0 *
      (Rabs exact + (Rabs scale * dot + stored * (Rabs exact + Rabs scale * dot) + Rabs scale * lost)) + lost)
     exact additive.
Proof. exact (@ScoresPipeline.scaled_pipeline_error). Qed.

Theorem query_pipeline_error :
  forall unit constant lost tanh_unit stored : R,
    0 <= unit ->
    0 <= constant ->
    0 <= tanh_unit ->
    0 <= stored ->
    forall f : features,
    (forall c : R, cap f = Some c -> 0 < c) ->
    forall (scale : R) (ps : list (R * R * R)) (s : tree)
     (sum raw score result dot_unit dot_lost wide wide_lost narrow narrow_lost additive : R),
    0 <= dot_unit ->
    0 <= dot_lost ->
    0 <= wide ->
    0 <= narrow ->
    Rabs (bias_of f) + Rabs (alibi_of f) <= additive ->
    (forall p : R * R * R,
    In p ps -> query_scaled wide wide_lost narrow narrow_lost constant scale (fst (fst p)) (snd p)) ->
    terms s = map (fun p : R * R * R => (snd p, snd (fst p))) ps ->
    computed dot_unit dot_lost s sum ->
    nearly stored lost raw sum ->
    caps unit constant lost tanh_unit f raw score ->
    adds unit constant lost f score result ->
    let exact := sumf (exact_term scale) ps in
    let magnitude := sumf (fun p : R * R * R => Rabs (exact_term scale p)) ps in
    let keys := sumf (fun p : R * R * R => Rabs (snd (fst p))) ps in
    let query := scaled_query magnitude keys wide constant wide_lost narrow narrow_lost in
    Rabs (result - exact_score f exact) <=
    score_error unit constant lost tanh_unit f
     (scaled_query_score query (count s) dot_unit magnitude dot_lost (Rabs exact) stored lost) exact additive.
Proof. exact (@ScoresPipeline.query_pipeline_error). Qed.

(** * DotRational.v *)

Theorem dot_any_order_dominates :
  forall terms unit magnitude lost : Q,
    0 <= Q2R terms ->
    0 <= Q2R magnitude ->
    0 <= Q2R lost ->
    0 <= Q2R terms * Q2R unit < 2 ->
    (exp (Q2R terms * Q2R unit) - 1) * Q2R magnitude +
    2 * Q2R terms * Q2R lost * (1 + (exp (Q2R terms * Q2R unit) - 1)) <=
    Q2R (DotRational.dot_any_order terms unit magnitude lost).
Proof. exact (@DotRational.dot_any_order_dominates). Qed.

(** * ScoresRational.v *)

Theorem scaled_score_dominates :
  forall dot size scale stored unit constant lost : Q,
    Q2R scale * Q2R dot + Q2R stored * (Q2R size + Q2R scale * Q2R dot) + Q2R scale * Q2R lost +
    fold_left (fun total unit0 : R => total + unit0 + total * unit0) [Q2R unit; Q2R constant] 0 *
    (Q2R size + (Q2R scale * Q2R dot + Q2R stored * (Q2R size + Q2R scale * Q2R dot) + Q2R scale * Q2R lost)) +
    Q2R lost <= Q2R (ScoresRational.scaled_score dot size scale stored unit constant lost).
Proof. exact (@ScoresRational.scaled_score_dominates). Qed.

Theorem scaled_query_dominates :
  forall magnitude keys wide constant wide_lost narrow narrow_lost : Q,
    fold_left (fun total unit : R => total + unit + total * unit) [Q2R wide; Q2R constant] 0 * Q2R magnitude +
    Q2R keys * Q2R wide_lost +
    Q2R narrow *
    (Q2R magnitude +
    (fold_left (fun total unit : R => total + unit + total * unit) [Q2R wide; Q2R constant] 0 * Q2R magnitude +
     Q2R keys * Q2R wide_lost)) + Q2R keys * Q2R narrow_lost <=
    Q2R (ScoresRational.scaled_query magnitude keys wide constant wide_lost narrow narrow_lost).
Proof. exact (@ScoresRational.scaled_query_dominates). Qed.

Theorem scaled_query_score_dominates :
  forall query terms dot_unit magnitude dot_lost size stored lost : Q,
    0 <= Q2R terms ->
    0 <= Q2R magnitude + Q2R query ->
    0 <= Q2R dot_lost ->
    0 <= Q2R stored ->
    0 <= Q2R terms * Q2R dot_unit < 2 ->
    Q2R query +
    ((exp (Q2R terms * Q2R dot_unit) - 1) * (Q2R magnitude + Q2R query) +
    2 * Q2R terms * Q2R dot_lost * (1 + (exp (Q2R terms * Q2R dot_unit) - 1))) +
    Q2R stored *
    (Q2R size +
    (Q2R query +
     ((exp (Q2R terms * Q2R dot_unit) - 1) * (Q2R magnitude + Q2R query) +
      2 * Q2R terms * Q2R dot_lost * (1 + (exp (Q2R terms * Q2R dot_unit) - 1))))) + Q2R lost <=
    Q2R (ScoresRational.scaled_query_score query terms dot_unit magnitude dot_lost size stored lost).
Proof. exact (@ScoresRational.scaled_query_score_dominates). Qed.

Theorem divided_score_dominates :
  forall error size cap unit constant lost : Q,
    Q2R error +
    fold_left (fun total unit0 : R => total + unit0 + total * unit0) [Q2R unit; Q2R constant] 0 *
    (Q2R size + Q2R error) + Q2R cap * Q2R lost <=
    Q2R (ScoresRational.divided_score error size cap unit constant lost).
Proof. exact (@ScoresRational.divided_score_dominates). Qed.

Theorem capped_score_dominates :
  forall error slope size cap tanh unit constant lost : Q,
    Q2R error * Q2R slope + Q2R tanh * (Q2R size + Q2R error * Q2R slope) + Q2R cap * Q2R lost +
    fold_left (fun total unit0 : R => total + unit0 + total * unit0) [Q2R unit; Q2R constant] 0 *
    (Q2R size + (Q2R error * Q2R slope + Q2R tanh * (Q2R size + Q2R error * Q2R slope) + Q2R cap * Q2R lost)) +
    Q2R lost <= Q2R (ScoresRational.capped_score error slope size cap tanh unit constant lost).
Proof. exact (@ScoresRational.capped_score_dominates). Qed.

Theorem biased_score_dominates :
  forall error size bias unit constant lost : Q,
    Q2R error + Q2R constant * Q2R bias + Q2R unit * (Q2R size + (Q2R error + Q2R constant * Q2R bias)) + Q2R lost <=
    Q2R (ScoresRational.biased_score error size bias unit constant lost).
Proof. exact (@ScoresRational.biased_score_dominates). Qed.

Theorem alibi_score_dominates :
  forall error size alibi unit constant lost : Q,
    Q2R error + (Q2R constant * Q2R alibi + Q2R unit * (Q2R alibi + Q2R constant * Q2R alibi) + Q2R lost) +
    Q2R unit *
    (Q2R size +
    (Q2R error + (Q2R constant * Q2R alibi + Q2R unit * (Q2R alibi + Q2R constant * Q2R alibi) + Q2R lost))) +
    Q2R lost <= Q2R (ScoresRational.alibi_score error size alibi unit constant lost).
Proof. exact (@ScoresRational.alibi_score_dominates). Qed.

Theorem biased_alibi_score_dominates :
  forall error size additive unit constant lost : Q,
    Q2R error +
    fold_left (fun total unit0 : R => total + unit0 + total * unit0) [Q2R unit; Q2R unit; Q2R constant] 0 *
    (Q2R size + Q2R additive + Q2R error) + (3 + 2 * Q2R unit) * Q2R lost <=
    Q2R (ScoresRational.biased_alibi_score error size additive unit constant lost).
Proof. exact (@ScoresRational.biased_alibi_score_dominates). Qed.
