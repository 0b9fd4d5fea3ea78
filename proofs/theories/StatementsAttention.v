(** The public theorems of attention from end to end,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From refattn Require Import LogMetric Sums Growth Perturbed Schedule ScheduleCost ScheduleAnyOrder Roundoff Splits
  Normaliser LogSumExp Output OutputCast Hull HullSum Attention.
Import ListNotations.
Open Scope R_scope.

(** * Attention.v *)

Theorem sum_against_exact_scores :
  forall (I : Type) (w : I -> nat) (xs : list I) (x v score doubt : I -> R) (tau : R)
     (G : argument I) (m M most : R) (keys changes : nat)
     (top seen eps unit cast eta_weight eta_cast eta_sum r : R),
    argument_ok x tau G ->
    (forall i : I, In i xs -> Rabs (x i - score i) <= doubt i <= most) ->
    (forall i : I, In i xs -> score i <= m) ->
    (exists i : I, In i xs /\ M <= x i) ->
    sum_known w xs x v tau G M keys changes top seen eps unit cast eta_weight eta_cast eta_sum r ->
    perturbed xs (fun i : I => exp (score i - m) * v i) (error_of_term doubt G M keys changes eps unit cast)
     (lost_in_sum keys changes top seen eps unit cast eta_weight eta_cast eta_sum * exp most)
     (r / exp (m - M)).
Proof. exact (@Attention.sum_against_exact_scores). Qed.

Theorem known_normaliser_at_least :
  forall (I : Type) (w : I -> nat) (xs : list I) (x v : I -> R) (tau : R) (G : argument I)
     (M : R) (keys changes : nat) (top seen eps unit cast eta_weight eta_cast eta_sum r : R),
    argument_ok x tau G ->
    (exists i : I, In i xs /\ M <= x i) ->
    sum_known w xs x v tau G M keys changes top seen eps unit cast eta_weight eta_cast eta_sum r ->
    (forall i : I, v i = 1) ->
    / (1 + (exp (top + cost_of_sum keys changes eps unit cast) - 1)) -
    lost_in_sum keys changes top seen eps unit cast eta_weight eta_cast eta_sum <= r.
Proof. exact (@Attention.known_normaliser_at_least). Qed.

Theorem attention_quotient :
  forall (I : Type) (w : I -> nat) (xs : list I) (x v score doubt : I -> R) (m M most : R)
     (keys changes : nat) (tau tau' : R) (Gn Gl : argument I)
     (top top' seen seen' eps eps' unit unit' cast cast' eta_weight eta_weight' eta_cast eta_cast' eta_sum eta_sum'
      n l : R),
    argument_ok x tau Gn ->
    argument_ok x tau' Gl ->
    (forall i : I, In i xs -> Rabs (x i - score i) <= doubt i <= most) ->
    (forall i : I, In i xs -> score i <= m) /\ (exists i : I, In i xs /\ score i = m) ->
    (exists i : I, In i xs /\ M <= x i) ->
    sum_known w xs x v tau Gn M keys changes top seen eps unit cast eta_weight eta_cast eta_sum n ->
    sum_known w xs x (fun _ : I => 1) tau' Gl M keys changes top' seen' eps' unit' cast' eta_weight' eta_cast'
     eta_sum' l ->
    lost_in_sum keys changes top' seen' eps' unit' cast' eta_weight' eta_cast' eta_sum' * exp most /
    sumf (fun i : I => exp (score i - m)) xs *
    (1 + excess xs (fun i : I => exp (score i - m)) (error_of_term doubt Gl M keys changes eps' unit' cast')) < 1 ->
    0 < l /\
    Rabs
     (n / l -
      sumf (fun i : I => (fun i0 : I => exp (score i0 - m)) i * v i) xs / sumf (fun i : I => exp (score i - m)) xs) <=
    quotient_error
     (sumf
        (fun i : I =>
         (fun i0 : I => exp (score i0 - m)) i * Rabs (v i) *
         growth (error_of_term doubt Gn M keys changes eps unit cast i)) xs /
      sumf (fun i : I => exp (score i - m)) xs +
      lost_in_sum keys changes top seen eps unit cast eta_weight eta_cast eta_sum * exp most /
      sumf (fun i : I => exp (score i - m)) xs)
     (normaliser_error
        (excess xs (fun i : I => exp (score i - m)) (error_of_term doubt Gl M keys changes eps' unit' cast'))
        (lost_in_sum keys changes top' seen' eps' unit' cast' eta_weight' eta_cast' eta_sum' * exp most /
         sumf (fun i : I => exp (score i - m)) xs))
     (Rabs
        (sumf (fun i : I => (fun i0 : I => exp (score i0 - m)) i * v i) xs /
         sumf (fun i : I => exp (score i - m)) xs)).
Proof. exact (@Attention.attention_quotient). Qed.

Theorem attention_output :
  forall (I : Type) (w : I -> nat) (xs : list I) (x v score doubt : I -> R) (m M most : R)
     (keys changes : nat) (tau tau' : R) (Gn Gl : argument I)
     (top top' seen seen' eps eps' unit unit' cast cast' eta_weight eta_weight' eta_cast eta_cast' eta_sum eta_sum'
      n l : R),
    argument_ok x tau Gn ->
    argument_ok x tau' Gl ->
    (forall i : I, In i xs -> Rabs (x i - score i) <= doubt i <= most) ->
    (forall i : I, In i xs -> score i <= m) /\ (exists i : I, In i xs /\ score i = m) ->
    (exists i : I, In i xs /\ M <= x i) ->
    sum_known w xs x v tau Gn M keys changes top seen eps unit cast eta_weight eta_cast eta_sum n ->
    sum_known w xs x (fun _ : I => 1) tau' Gl M keys changes top' seen' eps' unit' cast' eta_weight' eta_cast'
     eta_sum' l ->
    lost_in_sum keys changes top' seen' eps' unit' cast' eta_weight' eta_cast' eta_sum' * exp most /
    sumf (fun i : I => exp (score i - m)) xs *
    (1 + excess xs (fun i : I => exp (score i - m)) (error_of_term doubt Gl M keys changes eps' unit' cast')) < 1 ->
    forall result y dividing lost output_unit lost_out t h : R,
    0 <= dividing ->
    0 <= output_unit ->
    Rabs t <= dividing ->
    Rabs h <= lost ->
    y = n / l * exp t + h ->
    Rabs (result - y) <= output_unit * Rabs y + lost_out ->
    Rabs
     (result -
      sumf (fun i : I => (fun i0 : I => exp (score i0 - m)) i * v i) xs / sumf (fun i : I => exp (score i - m)) xs) <=
    output_error
     (quotient_error
        (sumf
           (fun i : I =>
            (fun i0 : I => exp (score i0 - m)) i * Rabs (v i) *
            growth (error_of_term doubt Gn M keys changes eps unit cast i)) xs /
         sumf (fun i : I => exp (score i - m)) xs +
         lost_in_sum keys changes top seen eps unit cast eta_weight eta_cast eta_sum * exp most /
         sumf (fun i : I => exp (score i - m)) xs)
        (normaliser_error
           (excess xs (fun i : I => exp (score i - m)) (error_of_term doubt Gl M keys changes eps' unit' cast'))
           (lost_in_sum keys changes top' seen' eps' unit' cast' eta_weight' eta_cast' eta_sum' * exp most /
            sumf (fun i : I => exp (score i - m)) xs))
        (Rabs
           (sumf (fun i : I => (fun i0 : I => exp (score i0 - m)) i * v i) xs /
            sumf (fun i : I => exp (score i - m)) xs)))
     (Rabs
        (sumf (fun i : I => (fun i0 : I => exp (score i0 - m)) i * v i) xs /
         sumf (fun i : I => exp (score i - m)) xs)) dividing lost output_unit lost_out.
Proof. exact (@Attention.attention_output). Qed.

Theorem attention_lse :
  forall (I : Type) (w : I -> nat) (xs : list I) (x v score doubt : I -> R) (m M most : R)
     (keys changes : nat) (tau tau' : R) (Gn Gl : argument I)
     (top top' seen seen' eps eps' unit unit' cast cast' eta_weight eta_weight' eta_cast eta_cast' eta_sum eta_sum'
      n l : R),
    argument_ok x tau Gn ->
    argument_ok x tau' Gl ->
    (forall i : I, In i xs -> Rabs (x i - score i) <= doubt i <= most) ->
    (forall i : I, In i xs -> score i <= m) /\ (exists i : I, In i xs /\ score i = m) ->
    (exists i : I, In i xs /\ M <= x i) ->
    sum_known w xs x v tau Gn M keys changes top seen eps unit cast eta_weight eta_cast eta_sum n ->
    sum_known w xs x (fun _ : I => 1) tau' Gl M keys changes top' seen' eps' unit' cast' eta_weight' eta_cast'
     eta_sum' l ->
    lost_in_sum keys changes top' seen' eps' unit' cast' eta_weight' eta_cast' eta_sum' * exp most /
    sumf (fun i : I => exp (score i - m)) xs *
    (1 + excess xs (fun i : I => exp (score i - m)) (error_of_term doubt Gl M keys changes eps' unit' cast')) < 1 ->
    forall turned logarithm result turn log lse_unit lost : R,
    0 <= turn ->
    0 <= log ->
    0 <= lse_unit ->
    Rabs (M - m) <= most ->
    Rabs (turned - M) <= turn * Rabs M + lost ->
    Rabs (logarithm - ln l) <= log * Rabs (ln l) + lost ->
    Rabs (result - (turned + logarithm)) <= lse_unit * Rabs (turned + logarithm) + lost ->
    Rabs (result - (m + ln (sumf (fun i : I => exp (score i - m)) xs))) <=
    lse_error
     (normaliser_error
        (excess xs (fun i : I => exp (score i - m)) (error_of_term doubt Gl M keys changes eps' unit' cast'))
        (lost_in_sum keys changes top' seen' eps' unit' cast' eta_weight' eta_cast' eta_sum' * exp most /
         sumf (fun i : I => exp (score i - m)) xs)) most (Rabs m)
     (Rabs (ln (sumf (fun i : I => exp (score i - m)) xs)))
     (Rabs (m + ln (sumf (fun i : I => exp (score i - m)) xs))) turn log lse_unit lost.
Proof. exact (@Attention.attention_lse). Qed.

Theorem attention_hull :
  forall (I : Type) (w : I -> nat) (xs : list I) (x v : I -> R) (tau : R) (G : argument I)
     (M : R) (keys changes : nat) (top seen eps unit cast eta_weight eta_cast eta_sum : R)
     (P lost_n lost_l : I -> R) (sn sl : tree I) (leaf_n leaf_l unit_n unit_l above eta_n eta_l lo hi size n l : R),
    argument_ok x tau G ->
    (exists i : I, In i xs /\ M <= x i) ->
    sum_known w xs x (fun _ : I => 1) tau G M keys changes top seen eps unit cast eta_weight eta_cast eta_sum l ->
    0 <= unit_n ->
    0 <= unit_l ->
    0 <= above ->
    0 <= eta_n ->
    0 <= eta_l ->
    0 <= leaf_n ->
    0 <= leaf_l ->
    (forall i : I, 0 <= lost_n i) ->
    (forall i : I, 0 <= lost_l i) ->
    (forall i : I, 0 <= P i) ->
    0 <= size ->
    factors_ok above sn ->
    factors_ok above sl ->
    Permutation.Permutation (terms sn) (terms sl) ->
    (forall q : I * R, In q (terms sl) -> 0 <= snd q /\ lo <= v (fst q) <= hi /\ Rabs (v (fst q)) <= size) ->
    (exists q : I * R, In q (terms sl) /\ 0 < P (fst q) * snd q) ->
    added P v lost_n leaf_n unit_n eta_n sn n ->
    added P (fun _ : I => 1) lost_l leaf_l unit_l eta_l sl l ->
    let least :=
     / (1 + (exp (top + cost_of_sum keys changes eps unit cast) - 1)) -
     lost_in_sum keys changes top seen eps unit cast eta_weight eta_cast eta_sum in
    0 < least ->
    outside lo hi (n / l) <=
    (exp (tree_cost leaf_n unit_n sn + tree_cost leaf_l unit_l sl) - 1) * size +
    ((1 + (exp (tree_cost leaf_n unit_n sn + tree_cost leaf_l unit_l sl) - 1)) * size *
    tree_lost lost_l unit_l above eta_l sl + tree_lost lost_n unit_n above eta_n sn) / least.
Proof. exact (@Attention.attention_hull). Qed.

Theorem maximum_near :
  forall (I : Type) (xs : list I) (x score doubt : I -> R) (m M most : R),
    (forall i : I, In i xs -> Rabs (x i - score i) <= doubt i <= most) ->
    (forall i : I, In i xs -> score i <= m) ->
    (exists i : I, In i xs /\ score i = m) ->
    (forall i : I, In i xs -> x i <= M) -> (exists i : I, In i xs /\ x i = M) -> Rabs (M - m) <= most.
Proof. exact (@Attention.maximum_near). Qed.

Theorem empty_row : forall (I : Type) (a T : I -> R) (r : R), perturbed [] a T 0 r -> r = 0.
Proof. exact (@Attention.empty_row). Qed.

Theorem sink_adds_nothing :
  forall (I : Type) (sink : I) (xs : list I) (p v : I -> R),
    v sink = 0 -> sumf (fun i : I => p i * v i) (sink :: xs) = sumf (fun i : I => p i * v i) xs.
Proof. exact (@Attention.sink_adds_nothing). Qed.
