(** Rational twins of the backward pass's bounds, and the grid that Python is compared with. *)
From Coq Require Import Reals QArith Qreals Lra List String ZArith.
From refattn Require Import Growth Rationals Roundoff GrowthRational.
From refattn Require GradientTotals GradientWeights GradientScores GradientSoftcap.
Import ListNotations.
Open Scope Q_scope.

Definition p_recompute (score lse argument exponential : Q) : Q := score + lse + argument + exponential.
Definition gradient_sum (magnitude error additions lost : Q) : Q :=
  error + growth additions * (magnitude + error) + lost * (1 + growth additions).
Definition gradient_additions (terms unit scaling roundings again group group_unit : Q) : Q :=
  terms * unit + scaling + roundings * again + group * group_unit.
Definition gradient_underflow (terms lost scale scaling_lost roundings again_lost group group_lost : Q) : Q :=
  group * (scale * (2 * terms * lost + roundings * again_lost) + scaling_lost + 2 * group_lost).
Definition probability_gradient_error (width unit reach lost kept gain gain_lost : Q) : Q :=
  gradient_sum (kept * reach) 0 (width * unit + gain) (kept * (2 * width * lost) + gain_lost).
Definition delta_error (width unit products doubt lost : Q) : Q :=
  gradient_sum products doubt (width * unit) (2 * width * lost).
Definition slope_error (product_error delta_error height inner unit lost : Q) : Q :=
  product_error + delta_error + growth inner * height + lost * (2 + growth unit).
Definition weight_error (grown roundings lost : Q) : Q := grown + lost * (1 + growth roundings).
Definition score_gradient_error (weight weight_error slope slope_error lost : Q) : Q :=
  weight_error * slope + (weight + weight_error) * slope_error + lost.
Definition softcap_gradient (tanh error unit constant lost : Q) : Q :=
  let off := rounded error tanh (growth (constant + unit)) lost in
  let square := rounded (off * (2 * tanh + off)) (tanh * tanh) unit lost in
  rounded square (1 - tanh * tanh) unit lost.
Definition through_softcap (error size factor factor_error unit lost : Q) : Q :=
  rounded (error * factor + (size + error) * factor_error) (size * factor) unit lost.
Definition value_weight_error (weight_error kept cast gain_lost cast_lost : Q) : Q :=
  kept * weight_error + gain_lost * (1 + growth cast) + cast_lost.

Open Scope R_scope.

Lemma Q2R_rounded error size relative lost :
  Q2R (rounded error size relative lost) = Roundoff.rounded (Q2R error) (Q2R size) (Q2R relative) (Q2R lost).
Proof. unfold rounded, Roundoff.rounded. now rewrite !Q2R_plus, Q2R_mult, Q2R_plus. Qed.

Lemma rounded_mono error error' size relative relative' lost :
  error <= error' -> 0 <= relative <= relative' -> 0 <= size + error ->
  Roundoff.rounded error size relative lost <= Roundoff.rounded error' size relative' lost.
Proof.
  intros E R S. unfold Roundoff.rounded.
  assert (relative * (size + error) <= relative' * (size + error')) by (apply Rmult_le_compat; lra). lra.
Qed.

Theorem p_recompute_dominates (score lse argument exponential : Q) :
  GradientWeights.p_recompute (Q2R score) (Q2R lse) (Q2R argument) (Q2R exponential)
    <= Q2R (p_recompute score lse argument exponential).
Proof. right. unfold p_recompute, GradientWeights.p_recompute. now rewrite !Q2R_plus. Qed.

Theorem gradient_sum_dominates (magnitude error additions lost : Q) :
  0 <= Q2R additions < 2 -> 0 <= Q2R magnitude -> 0 <= Q2R error -> 0 <= Q2R lost ->
  GradientTotals.gradient_sum (Q2R magnitude) (Q2R error) (Q2R additions) (Q2R lost)
    <= Q2R (gradient_sum magnitude error additions lost).
Proof.
  intros A M E L. unfold gradient_sum, GradientTotals.gradient_sum.
  rewrite !Q2R_plus, !Q2R_mult, !Q2R_plus, Q2R_1. pose proof (growth_dominates additions A) as G.
  pose proof (Rmult_le_compat_r (Q2R magnitude + Q2R error) _ _ ltac:(lra) G).
  pose proof (Rmult_le_compat_l (Q2R lost) _ _ L G). lra.
Qed.

Theorem gradient_additions_dominates (terms unit scaling roundings again group group_unit : Q) :
  GradientTotals.gradient_additions (Q2R terms) (Q2R unit) (Q2R scaling) (Q2R roundings) (Q2R again) (Q2R group)
    (Q2R group_unit) <= Q2R (gradient_additions terms unit scaling roundings again group group_unit).
Proof. right. unfold gradient_additions, GradientTotals.gradient_additions. now rewrite !Q2R_plus, !Q2R_mult. Qed.

Theorem gradient_underflow_dominates (terms lost scale scaling_lost roundings again_lost group group_lost : Q) :
  GradientTotals.gradient_underflow (Q2R terms) (Q2R lost) (Q2R scale) (Q2R scaling_lost) (Q2R roundings)
    (Q2R again_lost) (Q2R group) (Q2R group_lost)
    <= Q2R (gradient_underflow terms lost scale scaling_lost roundings again_lost group group_lost).
Proof.
  right. unfold gradient_underflow, GradientTotals.gradient_underflow.
  now rewrite !Q2R_mult, !Q2R_plus, !Q2R_mult, !Q2R_plus, !Q2R_mult, Q2R_2.
Qed.

Theorem probability_gradient_error_dominates (width unit reach lost kept gain gain_lost : Q) :
  0 <= Q2R (width * unit + gain) < 2 -> 0 <= Q2R width -> 0 <= Q2R reach -> 0 <= Q2R lost -> 0 <= Q2R kept ->
  0 <= Q2R gain_lost ->
  GradientScores.probability_gradient_error (Q2R width) (Q2R unit) (Q2R reach) (Q2R lost) (Q2R kept) (Q2R gain)
    (Q2R gain_lost) <= Q2R (probability_gradient_error width unit reach lost kept gain gain_lost).
Proof.
  intros A W R L K G. unfold probability_gradient_error, GradientScores.probability_gradient_error.
  assert (0 <= Q2R kept * Q2R reach) by (now apply Rmult_le_pos).
  assert (0 <= 2 * Q2R width * Q2R lost) by (apply Rmult_le_pos; lra).
  assert (0 <= Q2R kept * (2 * Q2R width * Q2R lost)) by (apply Rmult_le_pos; lra).
  assert (D := gradient_sum_dominates (kept * reach) 0 (width * unit + gain) (kept * (2 * width * lost) + gain_lost)
    A).
  rewrite !Q2R_plus, !Q2R_mult, !Q2R_0, Q2R_2 in D. apply D; lra.
Qed.

Theorem delta_error_dominates (width unit products doubt lost : Q) :
  0 <= Q2R (width * unit) < 2 -> 0 <= Q2R width -> 0 <= Q2R products -> 0 <= Q2R doubt -> 0 <= Q2R lost ->
  GradientScores.delta_error (Q2R width) (Q2R unit) (Q2R products) (Q2R doubt) (Q2R lost)
    <= Q2R (delta_error width unit products doubt lost).
Proof.
  intros A W P D L. unfold delta_error, GradientScores.delta_error.
  assert (0 <= 2 * Q2R width * Q2R lost) by (apply Rmult_le_pos; lra).
  assert (B := gradient_sum_dominates products doubt (width * unit) (2 * width * lost) A P D).
  rewrite !Q2R_mult, Q2R_2 in B. apply B. lra.
Qed.

Theorem slope_error_dominates (product_error delta_error height inner unit lost : Q) :
  0 <= Q2R inner < 2 -> 0 <= Q2R unit < 2 -> 0 <= Q2R height -> 0 <= Q2R lost ->
  GradientScores.slope_error (Q2R product_error) (Q2R delta_error) (Q2R height) (Q2R inner) (Q2R unit) (Q2R lost)
    <= Q2R (slope_error product_error delta_error height inner unit lost).
Proof.
  intros I U H L. unfold slope_error, GradientScores.slope_error.
  rewrite !Q2R_plus, !Q2R_mult, Q2R_plus, Q2R_2.
  pose proof (Rmult_le_compat_r _ _ _ H (growth_dominates inner I)).
  pose proof (Rmult_le_compat_l _ _ _ L (growth_dominates unit U)). lra.
Qed.

Theorem weight_error_dominates (grown roundings lost : Q) : 0 <= Q2R roundings < 2 -> 0 <= Q2R lost ->
  GradientWeights.weight_error (Q2R grown) (Q2R roundings) (Q2R lost) <= Q2R (weight_error grown roundings lost).
Proof.
  intros A L. unfold weight_error, GradientWeights.weight_error. rewrite Q2R_plus, Q2R_mult, Q2R_plus, Q2R_1.
  pose proof (Rmult_le_compat_l _ _ _ L (growth_dominates roundings A)). lra.
Qed.

Theorem score_gradient_error_dominates (weight weight_error slope slope_error lost : Q) :
  GradientScores.score_gradient_error (Q2R weight) (Q2R weight_error) (Q2R slope) (Q2R slope_error) (Q2R lost)
    <= Q2R (score_gradient_error weight weight_error slope slope_error lost).
Proof.
  right. unfold score_gradient_error, GradientScores.score_gradient_error. now rewrite !Q2R_plus, !Q2R_mult, Q2R_plus.
Qed.

Theorem softcap_gradient_dominates (tanh error unit constant lost : Q) :
  0 <= Q2R (constant + unit) < 2 -> 0 <= Q2R tanh <= 1 -> 0 <= Q2R error -> 0 <= Q2R unit -> 0 <= Q2R lost ->
  GradientSoftcap.softcap_gradient (Q2R tanh) (Q2R error) (Q2R unit) (Q2R constant) (Q2R lost)
    <= Q2R (softcap_gradient tanh error unit constant lost).
Proof.
  intros A T E U L. unfold softcap_gradient, GradientSoftcap.softcap_gradient. cbv zeta.
  pose proof (growth_dominates (constant + unit) A) as G.
  assert (G0 : 0 <= Growth.growth (Q2R (constant + unit))) by (apply growth_nonneg; lra).
  rewrite Q2R_plus in G, G0.
  set (off := Roundoff.rounded (Q2R error) (Q2R tanh) (Growth.growth (Q2R constant + Q2R unit)) (Q2R lost)).
  assert (O : off <= Q2R (rounded error tanh (growth (constant + unit)) lost)).
  { rewrite Q2R_rounded. apply rounded_mono; lra. }
  assert (O0 : 0 <= off).
  { unfold off, Roundoff.rounded.
    pose proof (Rmult_le_pos _ (Q2R tanh + Q2R error) G0 ltac:(lra)). lra. }
  set (high := rounded error tanh (growth (constant + unit)) lost) in *.
  assert (TT : Q2R tanh * Q2R tanh <= 1) by nra. assert (0 <= Q2R tanh * Q2R tanh) by nra.
  assert (S : off * (2 * Q2R tanh + off) <= Q2R high * (2 * Q2R tanh + Q2R high)) by (apply Rmult_le_compat; lra).
  assert (0 <= off * (2 * Q2R tanh + off)) by (apply Rmult_le_pos; lra).
  rewrite !Q2R_rounded, !Q2R_mult, !Q2R_plus, !Q2R_mult, Q2R_minus, Q2R_mult, Q2R_1, Q2R_2.
  apply rounded_mono; [apply rounded_mono; lra|lra|].
  unfold Roundoff.rounded. assert (0 <= Q2R unit * (Q2R tanh * Q2R tanh + off * (2 * Q2R tanh + off)))
    by (apply Rmult_le_pos; lra). lra.
Qed.

Theorem through_softcap_dominates (error size factor factor_error unit lost : Q) :
  GradientSoftcap.through_softcap (Q2R error) (Q2R size) (Q2R factor) (Q2R factor_error) (Q2R unit) (Q2R lost)
    <= Q2R (through_softcap error size factor factor_error unit lost).
Proof.
  right. unfold through_softcap, GradientSoftcap.through_softcap. now rewrite Q2R_rounded, Q2R_plus, !Q2R_mult, Q2R_plus.
Qed.

Theorem value_weight_error_dominates (weight_error kept cast gain_lost cast_lost : Q) :
  0 <= Q2R cast < 2 -> 0 <= Q2R gain_lost ->
  GradientWeights.value_weight_error (Q2R weight_error) (Q2R kept) (Q2R cast) (Q2R gain_lost) (Q2R cast_lost)
    <= Q2R (value_weight_error weight_error kept cast gain_lost cast_lost).
Proof.
  intros C G. unfold value_weight_error, GradientWeights.value_weight_error.
  rewrite !Q2R_plus, !Q2R_mult, Q2R_plus, Q2R_1. pose proof (Rmult_le_compat_l _ _ _ G (growth_dominates cast C)). lra.
Qed.

Open Scope Q_scope.

(** Units, log-errors of many roundings, and odd numbers; what underflows; sizes; numbers of terms. *)
Definition units : list Q := [1 # 2 ^ 53; 1 # 2 ^ 24; 1 # 2 ^ 11; 1 # 2 ^ 8; 3 # 1000003; 22 # 7919; 2 # 11; 5 # 7].
Definition losses : list Q := [0; 1 # 2 ^ 126; 1 # 999983; 3 # 13].
Definition sizes : list Q := [0; 1 # 1000003; 2 # 3; 77 # 13; 65504].
Definition counts : list Q := [1; 2; 7; 64; 4096; 131072].
Definition few : list Q := [1; 3; 16; 29].

Definition product {A B} (xs : list A) (ys : list B) : list (A * B) :=
  flat_map (fun x => map (fun y => (x, y)) ys) xs.

Definition grid_gradients :=
  map (fun '(s, u) => line "p_recompute" [s; 5 # 9973; u; 1 # 2 ^ 23] (p_recompute s (5 # 9973) u (1 # 2 ^ 23)))
    (product sizes units) ++
  map (fun '(m, e, t, l) => line "gradient_sum" [m; e; t; l] (gradient_sum m e t l))
    (product (product (product [2 # 3; 65504] [1 # 1000003; 3 # 7]) (0 :: units)) losses) ++
  map (fun '(n, u, r) => line "gradient_additions" [n; u; 2 # 2 ^ 24; r; 1 # 257; 8; 3 # 1009]
    (gradient_additions n u (2 # 2 ^ 24) r (1 # 257) 8 (3 # 1009))) (product (product counts units) [0; 7]) ++
  map (fun '(n, l, c) => line "gradient_underflow" [n; l; c; 5 # 101; 11; 7 # 103; 3; 2 # 109]
    (gradient_underflow n l c (5 # 101) 11 (7 # 103) 3 (2 # 109))) (product (product counts losses) [1 # 8; 19 # 13]) ++
  map (fun '(n, l, g) => line "gradient_underflow" [n; l; 1 # 11; l; 0; 0; g; 0]
    (gradient_underflow n l (1 # 11) l 0 0 g 0)) (product (product counts losses) [1; 8]) ++
  map (fun '(n, r, k, l) => line "probability_gradient_error" [n; 1 # 2 ^ 24; r; l; k; 3 # 2 ^ 24; 1 # 1013]
    (probability_gradient_error n (1 # 2 ^ 24) r l k (3 # 2 ^ 24) (1 # 1013)))
    (product (product (product counts [1 # 3; 77 # 13]) [0; 10 # 9]) losses) ++
  map (fun '(u, g) => line "probability_gradient_error" [2; u; 5 # 3; 1 # 2 ^ 126; 1; g; 0]
    (probability_gradient_error 2 u (5 # 3) (1 # 2 ^ 126) 1 g 0)) (product units [0; 2 # 2 ^ 11; 1 # 17]) ++
  map (fun '(n, u, p, d) => line "delta_error" [n; u; p; d; 1 # 999983] (delta_error n u p d (1 # 999983)))
    (product (product (product few [1 # 2 ^ 24; 1 # 2 ^ 8; 3 # 1009]) sizes) [0; 3 # 7]) ++
  map (fun '(h, i, u, l) => line "slope_error" [1 # 7; 2 # 13; h; i; u; l] (slope_error (1 # 7) (2 # 13) h i u l))
    (product (product (product sizes (0 :: units)) [1 # 2 ^ 24; 22 # 7919]) losses) ++
  map (fun '(g, t, l) => line "weight_error" [g; t; l] (weight_error g t l))
    (product (product [0; 1 # 257; 3] (0 :: units)) losses) ++
  map (fun '(w, g, x, e) => line "score_gradient_error" [w; g; x; e; 5 # 7919] (score_gradient_error w g x e (5 # 7919)))
    (product (product (product [1 # 3; 1] [1 # 257; 3]) sizes) [1 # 1000003; 2 # 5]) ++
  map (fun '(t, e, u, c) => line "softcap_gradient" [t; e; u; c; 1 # 2 ^ 14] (softcap_gradient t e u c (1 # 2 ^ 14)))
    (product (product (product [0; 1 # 1000003; 5 # 7; 1] [1 # 2 ^ 20; 3 # 17]) [1 # 2 ^ 24; 1 # 257]) units) ++
  map (fun '(t, l) => line "softcap_gradient" [t; 1 # 97; 1 # 2 ^ 8; 1 # 2 ^ 24; l]
    (softcap_gradient t (1 # 97) (1 # 2 ^ 8) (1 # 2 ^ 24) l)) (product [1 # 9; 8 # 9] losses) ++
  map (fun '(e, s, f, d) => line "through_softcap" [e; s; f; d; 3 # 1009; 1 # 999983]
    (through_softcap e s f d (3 # 1009) (1 # 999983)))
    (product (product (product [1 # 1000003; 2 # 5] sizes) [1 # 7919; 2 # 3; 1]) [1 # 2 ^ 20; 1 # 31]) ++
  map (fun '(u, l) => line "through_softcap" [1 # 101; 7 # 3; 2 # 3; 1 # 31; u; l]
    (through_softcap (1 # 101) (7 # 3) (2 # 3) (1 # 31) u l)) (product units losses) ++
  map (fun '(g, k, c, l) => line "value_weight_error" [g; k; c; l; 5 # 1019] (value_weight_error g k c l (5 # 1019)))
    (product (product (product [1 # 257; 3] [0; 1; 10 # 9]) [1 # 2 ^ 24; 1 # 2 ^ 8; 2 # 11]) losses).
