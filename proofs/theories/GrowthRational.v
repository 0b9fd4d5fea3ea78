(** Rational twins of the error factors (refattn/numbers/roundoff.py), and the grid that Python is compared with. *)
From Coq Require Import Reals QArith Qreals Lra List String ZArith.
From refattn Require Import LogMetric Growth Rationals Roundoff.
Import ListNotations.
Open Scope Q_scope.

Definition growth (t : Q) : Q := growthQ t.
Definition log_growth (d : Q) : Q := d.
Definition log_error (r : Q) : Q := r / (1 - r).
Definition compound (units : list Q) : Q := fold_left (fun total unit => total + unit + total * unit) units 0.
Definition rounded (error size relative lost : Q) : Q := error + relative * (size + error) + lost.

Open Scope R_scope.

Theorem growth_dominates (t : Q) : 0 <= Q2R t < 2 -> Growth.growth (Q2R t) <= Q2R (growth t).
Proof. exact (growthQ_dominates t). Qed.

Theorem log_growth_dominates (d : Q) : 0 <= Q2R d -> Roundoff.log_growth (Q2R d) <= Q2R (log_growth d).
Proof. apply log_growth_rational. Qed.

Theorem log_error_dominates (r : Q) : Q2R r < 1 -> Roundoff.log_error (Q2R r) <= Q2R (log_error r).
Proof.
  intros H. unfold log_error, Roundoff.log_error.
  assert (E : Q2R (1 - r)%Q = 1 - Q2R r) by (rewrite Q2R_minus, Q2R_1; reflexivity).
  rewrite Q2R_over, E by (rewrite E; lra). lra.
Qed.

Theorem compound_dominates (units : list Q) : Roundoff.compound (map Q2R units) <= Q2R (compound units).
Proof.
  right. unfold compound, Roundoff.compound. rewrite <- Q2R_0. generalize 0%Q.
  induction units as [|unit units IH]; intros total; [reflexivity|].
  cbn [map fold_left]. rewrite <- IH. f_equal. now rewrite !Q2R_plus, Q2R_mult.
Qed.

Theorem rounded_dominates (error size relative lost : Q) :
  Roundoff.rounded (Q2R error) (Q2R size) (Q2R relative) (Q2R lost) <= Q2R (rounded error size relative lost).
Proof. right. unfold rounded, Roundoff.rounded. now rewrite !Q2R_plus, Q2R_mult, Q2R_plus. Qed.

Open Scope Q_scope.

(** Unit roundoffs, odd numbers, and large ones. *)
Definition errors : list Q :=
  [0; 1 # 2 ^ 53; 7 # 2 ^ 45; 5 # 2 ^ 40; 1 # 2 ^ 36; 11 # 2 ^ 33; 3 # 1000000007; 1 # 2 ^ 30; 9 # 10 ^ 8; 1 # 2 ^ 24;
   1 # 2 ^ 23; 1 # 2 ^ 11; 1 # 2 ^ 8; 1 # 2 ^ 4; 131072 # 2 ^ 24; 4096 # 2 ^ 24; 3 # 1000003;
   7 # 999983; 1 # 1000; 22 # 7919; 1 # 101; 17 # 293; 1 # 10; 1 # 7; 2 # 11; 3 # 13; 1 # 4; 2 # 7; 1 # 3; 3 # 8; 2 # 5;
   5 # 12; 1 # 2; 6 # 11; 3 # 5; 2 # 3; 5 # 7; 3 # 4; 9 # 10].
Definition large : list Q := [1; 9 # 8; 4 # 3; 3 # 2; 7 # 4; 19 # 10].
Definition sizes : list Q := [0; 1; 1 # 3; 77 # 13; 65504; 1000003 # 17].

Definition mixed (x : Q) : list (list Q) := [[x]; [x; 1 # 1000003]; [x; x; 1 # 256]; [1 # 7; x; 3 # 101; x + (1 # 9)]].
Definition quadruples (x : Q) : list (Q * Q * Q * Q) :=
  map (fun size => (x, size, 3 # 1000003, 1 # 999983)) sizes ++
  [(5 # 99991, 2 # 3, x, 1 # 2 ^ 126); (x / 3, 11, 1 # 2 ^ 24, x / 17)].

Definition grid_roundoff :=
  map (fun t => line "growth" [t] (growth t)) (errors ++ large) ++
  map (fun d => line "log_growth" [d] (log_growth d)) (errors ++ large) ++
  map (fun r => line "log_error" [r] (log_error r)) errors ++
  map (fun units => line "compound" units (compound units)) (flat_map mixed errors) ++
  map (fun '(e, s, r, lost) => line "rounded" [e; s; r; lost] (rounded e s r lost)) (flat_map quadruples errors) ++
  (* Where nothing is lost, the argument may be left out. *)
  map (fun e => line "rounded" [e; 7 # 3; 1 # 2 ^ 11] (rounded e (7 # 3) (1 # 2 ^ 11) 0)) errors.
