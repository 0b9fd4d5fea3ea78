(** The public theorems of sums, products and scores in three words,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith Reals List Permutation.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats ErrorFree WordSums WordProducts WordReduction WordQuotients WordTotals
  WordScores.
Import ListNotations.
Open Scope R_scope.

(** * WordQuotients.v *)

Theorem quotient_near :
  forall a b c t tm tl : R,
    falling a b c ->
    falling t tm tl ->
    t <> 0 ->
    / 2 ^ 960 <= Rabs a ->
    / 2 ^ 960 * Rabs t <= Rabs a ->
    let (x, y) := quotient a b c t tm tl in
    (holds fp64 x /\ holds fp64 y /\ Rabs y <= / 2 ^ 53 * Rabs x) /\
    Rabs (x + y - (a + b + c) / (t + tm + tl)) <= / 2 ^ 105 * Rabs x.
Proof. exact (@WordQuotients.quotient_near). Qed.

Theorem multiply_falling :
  forall a al b bl : R,
    holds fp64 a ->
    holds fp64 al ->
    holds fp64 b ->
    holds fp64 bl ->
    Rabs al <= (1 + / 2 ^ 49) * / 2 ^ 53 * Rabs a ->
    Rabs bl <= (1 + / 2 ^ 49) * / 2 ^ 53 * Rabs b ->
    / 2 ^ 960 <= Rabs (a * b) ->
    let (x, y) := multiply fp64 a al b bl in
    holds fp64 x /\ holds fp64 y /\ Rabs y <= / 2 ^ 53 * Rabs x /\
    Rabs (x + y - (a + al) * (b + bl)) <= 602 / 100 * / 2 ^ 106 * Rabs (a * b).
Proof. exact (@WordQuotients.multiply_falling). Qed.

(** * WordTotals.v *)

Theorem add_words_error :
  forall (xs : list R) (size : R),
    Forall (holds fp64) xs ->
    0 <= size ->
    partial_sums_within size 0 xs ->
    INR (length xs) <= 2 ^ 30 ->
    falling3 (fold_left add_word xs zero3) /\
    Rabs (sum3 (fold_left add_word xs zero3) - fold_left Rplus xs 0) <=
    INR (length xs) * (302 / 100 * / 2 ^ 159 * size).
Proof. exact (@WordTotals.add_words_error). Qed.

Theorem scaled_near :
  forall w s : R * R * R,
    falling3 w ->
    falling3 s ->
    falling3 (scaled w s) /\
    Rabs (sum3 (scaled w s) - sum3 w * sum3 s) <=
    37 * / 2 ^ 159 * Rabs (fst (fst w) * fst (fst s)) + 8 * (smallest_subnormal fp64 / 2).
Proof. exact (@WordTotals.scaled_near). Qed.

Theorem products_near :
  forall (xys : list (R * R)) (terms : list R),
    Forall (fun xy : R * R => holds fp64 (fst xy) /\ holds fp64 (snd xy)) xys ->
    Permutation (words_of_products xys) terms ->
    INR (length xys) <= 2 ^ 20 ->
    falling3 (fold_left add_word terms zero3) /\
    Rabs (sum3 (fold_left add_word terms zero3) -
          fold_right Rplus 0 (map (fun xy : R * R => fst xy * snd xy) xys)) <=
    INR (length xys) *
    (62 / 10 * / 2 ^ 159 * fold_right Rplus 0 (map Rabs (map (fun xy : R * R => fst xy * snd xy) xys)) +
     (1 + / 2 ^ 100) * (smallest_subnormal fp64 / 2)).
Proof. exact (@WordTotals.products_near). Qed.

(** * WordScores.v *)

Theorem score_near :
  forall (levels bounds : list R) (scale : R * R * R) (bias slope distance : R),
    Forall (holds fp64) levels ->
    halving 0 levels bounds ->
    falling3 scale ->
    holds fp64 bias ->
    holds fp64 slope ->
    holds fp64 distance ->
    let exact := fold_right Rplus 0 levels * sum3 scale + bias - slope * distance in
    let size := last bounds 0 * Rabs (sum3 scale) + Rabs bias + Rabs (slope * distance) in
    falling3 (score levels scale bias slope distance) /\
    Rabs (sum3 (score levels scale bias slope distance) - exact) <=
    / 2 ^ 153 * size + 12 * (smallest_subnormal fp64 / 2).
Proof. exact (@WordScores.score_near). Qed.

Theorem sliced_score_near :
  forall (bits : Z) (d : R) (levels : list R) (scale : R * R * R) (bias slope distance : R),
    (2 <= bits)%Z ->
    0 <= d ->
    levels <> [] ->
    Forall (holds fp64) levels ->
    levels_within bits d levels ->
    falling3 scale ->
    holds fp64 bias ->
    holds fp64 slope ->
    holds fp64 distance ->
    let exact := fold_right Rplus 0 levels * sum3 scale + bias - slope * distance in
    let size := d * Rabs (sum3 scale) + Rabs bias + Rabs (slope * distance) in
    Rabs (sum3 (score levels scale bias slope distance) - exact) <=
    / 2 ^ 152 * size + 12 * (smallest_subnormal fp64 / 2).
Proof. exact (@WordScores.sliced_score_near). Qed.

Theorem subtract_near :
  forall (w v : R * R * R) (s p : R),
    falling3 w ->
    falling3 v ->
    Rabs (sum3 w) <= s ->
    Rabs (sum3 v) <= p ->
    falling3 (subtract w v) /\ Rabs (sum3 (subtract w v) - (sum3 w - sum3 v)) <= 13 * / 2 ^ 159 * (s + p).
Proof. exact (@WordScores.subtract_near). Qed.

Theorem gradient_product_near :
  forall a b c w wl : R,
    falling a b c ->
    holds fp64 w /\ holds fp64 wl /\ Rabs wl <= unit_roundoff fp64 * Rabs w ->
    / 2 ^ 960 <= Rabs (a * w) ->
    let (x, y) := multiply fp64 a (nearest fp64 (b + c)) w wl in
    Rabs y <= / 2 ^ 53 * Rabs x /\
    Rabs (x + y - (a + b + c) * (w + wl)) <= 8 * / 2 ^ 106 * Rabs ((a + b + c) * (w + wl)).
Proof. exact (@WordScores.gradient_product_near). Qed.

Theorem height_enough :
  forall gain top dp delta dlse less size : R,
    0 <= gain <= top ->
    Rabs dp <= size ->
    Rabs (less - (delta - dlse)) <= top * size ->
    Rabs (gain * dp - delta + dlse) <= top * 2 * size + Rabs less.
Proof. exact (@WordScores.height_enough). Qed.
