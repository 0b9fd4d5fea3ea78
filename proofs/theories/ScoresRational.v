(** Rational twins of the scores' errors. *)
From Coq Require Import Reals QArith Qreals Lra List String ZArith.
From refattn Require Import Growth Rationals GrowthRational DotRational.
From refattn Require Roundoff Dot Scores.
Import ListNotations.
Open Scope Q_scope.

Definition scaled_score (dot size scale stored unit constant lost : Q) : Q :=
  rounded (rounded (scale * dot) size stored (scale * lost)) size (compound [unit; constant]) lost.
Definition scaled_query (magnitude keys wide constant wide_lost narrow narrow_lost : Q) : Q :=
  rounded (compound [wide; constant] * magnitude + keys * wide_lost) magnitude narrow (keys * narrow_lost).
Definition scaled_query_score (query terms dot_unit magnitude dot_lost size stored lost : Q) : Q :=
  rounded (query + dot_any_order terms dot_unit (magnitude + query) dot_lost) size stored lost.
Definition divided_score (error size cap unit constant lost : Q) : Q :=
  rounded error size (compound [unit; constant]) (cap * lost).
Definition capped_score (error slope size cap tanh unit constant lost : Q) : Q :=
  rounded (rounded (error * slope) size tanh (cap * lost)) size (compound [unit; constant]) lost.
Definition biased_score (error size bias unit constant lost : Q) : Q :=
  rounded (error + constant * bias) size unit lost.
Definition alibi_score (error size alibi unit constant lost : Q) : Q :=
  rounded (error + rounded (constant * alibi) alibi unit lost) size unit lost.
Definition biased_alibi_score (error size additive unit constant lost : Q) : Q :=
  rounded error (size + additive) (compound [unit; unit; constant]) ((3 + 2 * unit) * lost).

Open Scope R_scope.

Lemma rounded_Q2R error size relative lost :
  Q2R (rounded error size relative lost) = Roundoff.rounded (Q2R error) (Q2R size) (Q2R relative) (Q2R lost).
Proof. unfold rounded, Roundoff.rounded. now rewrite !Q2R_plus, Q2R_mult, Q2R_plus. Qed.

Lemma compound_Q2R units : Q2R (compound units) = Roundoff.compound (map Q2R units).
Proof.
  unfold compound, Roundoff.compound. rewrite <- Q2R_0. generalize 0%Q.
  induction units as [|unit units IH]; intros total; [reflexivity|].
  cbn [map fold_left]. rewrite IH. f_equal. now rewrite !Q2R_plus, Q2R_mult.
Qed.

Lemma Q2R_3 : Q2R 3 = 3.
Proof. unfold Q2R; simpl; lra. Qed.

(** Without growth, a twin is the bound itself. *)
Ltac equal := intros; right;
  repeat first [rewrite rounded_Q2R | rewrite compound_Q2R | rewrite Q2R_mult | rewrite Q2R_plus | rewrite Q2R_2 |
    rewrite Q2R_3]; reflexivity.

Theorem scaled_score_dominates (dot size scale stored unit constant lost : Q) :
  Scores.scaled_score (Q2R dot) (Q2R size) (Q2R scale) (Q2R stored) (Q2R unit) (Q2R constant) (Q2R lost) <=
    Q2R (scaled_score dot size scale stored unit constant lost).
Proof. unfold scaled_score, Scores.scaled_score. equal. Qed.

Theorem scaled_query_dominates (magnitude keys wide constant wide_lost narrow narrow_lost : Q) :
  Scores.scaled_query (Q2R magnitude) (Q2R keys) (Q2R wide) (Q2R constant) (Q2R wide_lost) (Q2R narrow)
    (Q2R narrow_lost) <= Q2R (scaled_query magnitude keys wide constant wide_lost narrow narrow_lost).
Proof. unfold scaled_query, Scores.scaled_query. equal. Qed.

Theorem scaled_query_score_dominates (query terms dot_unit magnitude dot_lost size stored lost : Q) :
  0 <= Q2R terms -> 0 <= Q2R magnitude + Q2R query -> 0 <= Q2R dot_lost -> 0 <= Q2R stored ->
  0 <= Q2R terms * Q2R dot_unit < 2 ->
  Scores.scaled_query_score (Q2R query) (Q2R terms) (Q2R dot_unit) (Q2R magnitude) (Q2R dot_lost) (Q2R size)
    (Q2R stored) (Q2R lost) <= Q2R (scaled_query_score query terms dot_unit magnitude dot_lost size stored lost).
Proof.
  intros Ht Hm Hl Hs Hu. unfold scaled_query_score, Scores.scaled_query_score.
  rewrite rounded_Q2R, Q2R_plus. rewrite <- Q2R_plus in *.
  pose proof (dot_any_order_dominates terms dot_unit (magnitude + query) dot_lost Ht Hm Hl Hu) as D.
  unfold Roundoff.rounded. nra.
Qed.

Theorem divided_score_dominates (error size cap unit constant lost : Q) :
  Scores.divided_score (Q2R error) (Q2R size) (Q2R cap) (Q2R unit) (Q2R constant) (Q2R lost) <=
    Q2R (divided_score error size cap unit constant lost).
Proof. unfold divided_score, Scores.divided_score. equal. Qed.

Theorem capped_score_dominates (error slope size cap tanh unit constant lost : Q) :
  Scores.capped_score (Q2R error) (Q2R slope) (Q2R size) (Q2R cap) (Q2R tanh) (Q2R unit) (Q2R constant) (Q2R lost) <=
    Q2R (capped_score error slope size cap tanh unit constant lost).
Proof. unfold capped_score, Scores.capped_score. equal. Qed.

Theorem biased_score_dominates (error size bias unit constant lost : Q) :
  Scores.biased_score (Q2R error) (Q2R size) (Q2R bias) (Q2R unit) (Q2R constant) (Q2R lost) <=
    Q2R (biased_score error size bias unit constant lost).
Proof. unfold biased_score, Scores.biased_score. equal. Qed.

Theorem alibi_score_dominates (error size alibi unit constant lost : Q) :
  Scores.alibi_score (Q2R error) (Q2R size) (Q2R alibi) (Q2R unit) (Q2R constant) (Q2R lost) <=
    Q2R (alibi_score error size alibi unit constant lost).
Proof. unfold alibi_score, Scores.alibi_score. equal. Qed.

Theorem biased_alibi_score_dominates (error size additive unit constant lost : Q) :
  Scores.biased_alibi_score (Q2R error) (Q2R size) (Q2R additive) (Q2R unit) (Q2R constant) (Q2R lost) <=
    Q2R (biased_alibi_score error size additive unit constant lost).
Proof. unfold biased_alibi_score, Scores.biased_alibi_score. equal. Qed.

Open Scope Q_scope.

(** Units and losses of pairs of formats, and odd numbers that separate the arguments. *)
Definition stages : list (Q * Q * Q * Q) :=
  [(1 # 2 ^ 24, 1 # 2 ^ 24, 1 # 2 ^ 24, 1 # 2 ^ 150); (1 # 2 ^ 8, 1 # 2 ^ 8, 1 # 2 ^ 24, 1 # 2 ^ 126);
   (0, 1 # 2 ^ 11, 1 # 2 ^ 24, 1 # 2 ^ 14); (1 # 101, 1 # 1000003, 3 # 7919, 5 # 999983); (1 # 7, 1 # 3, 1 # 5, 1 # 11);
   (3 # 1009, 0, 1 # 17, 2 # 19)].
Definition amounts : list (Q * Q * Q) :=
  [(0, 1, 1 # 8); (1 # 2 ^ 20, 77 # 13, 3 # 7); (1 # 3, 0, 50); (3 # 1000003, 100, 1); (11 # 13, 2 # 3, 5 # 7);
   (7 # 999983, 65504, 30)].
Definition points {A} (f : Q * Q * Q -> Q * Q * Q * Q -> A) : list A :=
  flat_map (fun amount => map (f amount) stages) amounts.

Definition grid_scores :=
  points (fun '(e, s, c) '(a, u, k, h) => line "scaled_score" [e; s; c; a; u; k; h] (scaled_score e s c a u k h)) ++
  points (fun '(e, s, c) '(a, u, k, h) => line "scaled_query" [s; c; u; k; h; a; e] (scaled_query s c u k h a e)) ++
  points (fun '(e, s, c) '(a, u, k, h) => let n := 37 # 36 in
    line "scaled_query_score" [e; n; u; s; h; c; a; k] (scaled_query_score e n u s h c a k)) ++
  points (fun '(e, s, c) '(_, u, k, h) => line "divided_score" [e; s; c; u; k; h] (divided_score e s c u k h)) ++
  points (fun '(e, s, c) '(a, u, k, h) => let slope := s / (s + 1) in
    line "capped_score" [e; slope; s; c; a; u; k; h] (capped_score e slope s c a u k h)) ++
  points (fun '(e, s, c) '(_, u, k, h) => line "biased_score" [e; s; c; u; k; h] (biased_score e s c u k h)) ++
  points (fun '(e, s, c) '(_, u, k, h) => line "alibi_score" [e; s; c; u; k; h] (alibi_score e s c u k h)) ++
  points (fun '(e, s, c) '(_, u, k, h) =>
    line "biased_alibi_score" [e; s; c; u; k; h] (biased_alibi_score e s c u k h)).
