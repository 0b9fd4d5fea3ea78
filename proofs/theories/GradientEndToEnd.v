(** The backward pass, from what the forward pass left to every gradient.

    A pair i is a query and a key that it sees, of one head of one batch entry. What is exact is a function of pairs, as
    is what the computation made of it; a row's own numbers are the same for all its pairs. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth Roundoff Perturbed GradientRounding GradientSum GradientTotals
  GradientWeights GradientScores GradientSoftcap.
Import ListNotations.
Open Scope R_scope.

(** A stage: its log-error and its loss to underflow, or to flushing. *)
Record stage := { relative : R; absolute : R }.
Definition stage_ok (s : stage) : Prop := 0 <= relative s /\ 0 <= absolute s.
Definition rounds_to (s : stage) : R -> R -> Prop := rounds (relative s) (absolute s).
Definition added_in {J} (s : stage) (y b : J -> R) (js : list J) : R -> Prop :=
  added (relative s) (absolute s) 0 0 y b js 0.

(** What is computed, in exact arithmetic: for pairs I and columns C of V. *)
Record problem (I C : Type) := {
  score : I -> R;             (* s, after softcap and bias *)
  log_sum_exp : I -> R;
  upstream : I -> C -> R;     (* dO *)
  upstream_lse : I -> R;      (* dLSE; 0 where there is none *)
  output : I -> C -> R;       (* O *)
  value : I -> C -> R;        (* V *)
  kept : I -> R;              (* keep / (1 - p); 1 without dropout *)
  softcap : option R;
  argument : I -> R;          (* of the softcap's tanh: scale q k / cap *)
  columns : list C }.
Arguments score {I C}. Arguments log_sum_exp {I C}. Arguments upstream {I C}. Arguments upstream_lse {I C}.
Arguments output {I C}. Arguments value {I C}. Arguments kept {I C}. Arguments softcap {I C}. Arguments argument {I C}.
Arguments columns {I C}.

(** What the forward pass's theorems say, and what the stages cost. *)
Record doubts (I C : Type) := {
  score_off : I -> R;
  lse_off : I -> R;
  argument_off : I -> R;      (* of the exponential's argument, from the difference of computed score and LSE *)
  output_off : I -> C -> R;
  tanh_off : I -> R;          (* capped score's error / cap *)
  exponential : R;            (* log-error of the exponential *)
  constant : R;               (* of a constant: scale, cap *)
  inner : R;                  (* of the first of two differences; 0 where there is no dLSE *)
  gain : R;                   (* of keep / (1 - p) and its product; 0 without dropout *)
  gain_lost : R;
  dot : stage;
  accumulator : stage;
  scores : stage;
  operand : stage }.
Arguments score_off {I C}. Arguments lse_off {I C}. Arguments argument_off {I C}. Arguments output_off {I C}.
Arguments tanh_off {I C}. Arguments exponential {I C}. Arguments constant {I C}. Arguments inner {I C}.
Arguments gain {I C}. Arguments gain_lost {I C}. Arguments dot {I C}. Arguments accumulator {I C}.
Arguments scores {I C}. Arguments operand {I C}.

Section Pass.
Context {I C : Type}.
Variable X : problem I C.
Variable D : doubts I C.

(** Exact values. *)
Definition weight i := exp (score X i - log_sum_exp X i).
Definition weight_gradient i := kept X i * sumf (fun c => upstream X i c * value X i c) (columns X).
Definition delta i := sumf (fun c => upstream X i c * output X i c) (columns X).
Definition slope i := weight_gradient i - delta i + upstream_lse X i.
Definition score_gradient i := weight i * slope i.
Definition factor i := match softcap X with None => 1 | Some _ => 1 - tanh (argument X i) * tanh (argument X i) end.
Definition dropped_weight i := weight i * kept X i.
Definition sink_slope i := upstream_lse X i - delta i.

(** Possible computed values. *)
Definition weight_computed i p := exists s' l' z t h,
  Rabs (s' - score X i) <= score_off D i /\ Rabs (l' - log_sum_exp X i) <= lse_off D i /\
  Rabs (z - (s' - l')) <= argument_off D i /\ Rabs t <= exponential D /\ Rabs h <= absolute (scores D) /\
  p = exp z * exp t + h.

Definition weight_gradient_computed i dp := exists r,
  added_in (dot D) (upstream X i) (value X i) (columns X) r /\ multiplied (gain D) (gain_lost D) (kept X i) r dp.

Definition delta_computed i d := exists o',
  (forall c, In c (columns X) -> Rabs (o' c - output X i c) <= output_off D i c) /\
  added_in (accumulator D) o' (upstream X i) (columns X) d.

Definition score_gradient_computed i ds := exists p dp d s,
  weight_computed i p /\ weight_gradient_computed i dp /\ delta_computed i d /\
  differences (inner D) (relative (accumulator D)) (absolute (accumulator D)) dp d (upstream_lse X i) s /\
  rounds_to (accumulator D) (p * s) ds.

Definition factor_computed cap i f := exists held capped x xx,
  Rabs (capped - cap * tanh (argument X i)) <= cap * tanh_off D i /\
  (rounds (constant D) 0 cap held /\ rounds_to (scores D) (capped / held) x \/
   Rabs (x - tanh (argument X i)) <= tanh_off D i) /\
  rounds_to (scores D) (x * x) xx /\ rounds_to (scores D) (1 - xx) f.

Definition operand_computed i y := exists ds x, score_gradient_computed i ds /\
  match softcap X with
  | None => x = ds
  | Some cap => exists f, factor_computed cap i f /\ rounds_to (accumulator D) (ds * f) x
  end /\ rounds_to (operand D) x y.

(** A sink's P (dLSE - Delta): it takes weight and gives no value. *)
Definition sink_gradient_computed i ds := exists p d s, weight_computed i p /\ delta_computed i d /\
  rounds_to (accumulator D) (upstream_lse X i - d) s /\ rounds_to (accumulator D) (p * s) ds.

Definition dropped_weight_computed i y := exists p g, weight_computed i p /\
  multiplied (gain D) (gain_lost D) (kept X i) p g /\ rounds_to (operand D) g y.

(** What they may be off by. *)
Definition weight_log_error i := p_recompute (score_off D i) (lse_off D i) (argument_off D i) (exponential D).
Definition weight_off i roundings :=
  weight_error (weight i * growth (weight_log_error i + roundings)) roundings (absolute (scores D)).
Definition width := INR (length (columns X)).

Definition weight_gradient_off i :=
  probability_gradient_error width (relative (dot D)) (sumf (fun c => Rabs (upstream X i c * value X i c)) (columns X))
    (absolute (dot D)) (kept X i) (gain D) (gain_lost D).

Definition delta_off i :=
  delta_error width (relative (accumulator D)) (sumf (fun c => Rabs (upstream X i c * output X i c)) (columns X))
    (sumf (fun c => Rabs (upstream X i c) * output_off D i c) (columns X)) (absolute (accumulator D)).

Definition slope_off i :=
  slope_error (weight_gradient_off i) (delta_off i)
    (Rabs (weight_gradient i) + weight_gradient_off i + (Rabs (delta i) + delta_off i) + Rabs (upstream_lse X i))
    (inner D) (relative (accumulator D)) (absolute (accumulator D)).

Definition score_gradient_off i :=
  score_gradient_error (weight i) (weight_off i (2 * relative (accumulator D))) (Rabs (slope i)) (slope_off i)
    (absolute (accumulator D)).

Definition sink_gradient_off i :=
  score_gradient_error (weight i) (weight_off i (2 * relative (accumulator D))) (Rabs (sink_slope i))
    (slope_error 0 (delta_off i) (Rabs (delta i) + delta_off i + Rabs (upstream_lse X i)) 0 (relative (accumulator D))
      (absolute (accumulator D)))
    (absolute (accumulator D)).

Definition capped_off i := match softcap X with
  | None => score_gradient_off i
  | Some _ => through_softcap (score_gradient_off i) (Rabs (score_gradient i)) (factor i)
      (softcap_gradient (Rabs (tanh (argument X i))) (tanh_off D i) (relative (scores D)) (constant D)
        (absolute (scores D))) (relative (accumulator D)) (absolute (accumulator D))
  end.

Definition operand_off i :=
  rounded (capped_off i) (Rabs (score_gradient i * factor i)) (relative (operand D)) (absolute (operand D)).

Definition dropped_weight_off i :=
  value_weight_error (weight_off i (gain D + relative (operand D))) (kept X i) (relative (operand D)) (gain_lost D)
    (absolute (operand D)).

Hypothesis DOT : stage_ok (dot D).
Hypothesis ACCUMULATOR : stage_ok (accumulator D).
Hypothesis SCORES : stage_ok (scores D).
Hypothesis OPERAND : stage_ok (operand D).
Hypothesis CONSTANT : 0 <= constant D.
Hypothesis INNER : 0 <= inner D.
Hypothesis GAIN : 0 <= gain D.
Hypothesis GAIN_LOST : 0 <= gain_lost D.
Hypothesis KEPT : forall i, 0 <= kept X i.
Hypothesis TANH : forall i, 0 <= tanh_off D i.
Hypothesis CAP : forall cap, softcap X = Some cap -> 0 < cap.

Lemma weight_recomputed i p : weight_computed i p -> recomputed (weight_log_error i) (absolute (scores D)) (weight i) p.
Proof.
  intros (s' & l' & z & t & h & S & L & Z & T & H & E).
  exact (p_recompute_error _ _ _ _ _ _ _ _ _ _ _ _ _ S L Z T H E).
Qed.

Theorem score_gradient_bound i ds : score_gradient_computed i ds ->
  Rabs (ds - score_gradient i) <= score_gradient_off i.
Proof.
  intros (p & dp & d & s & P & (r & R & M) & (o' & HO & HD) & S & E).
  destruct DOT as [DU DE], ACCUMULATOR as [U ETA].
  assert (A := probability_gradient_error_bound _ _ width DU DE _ _ _ r _ _ _ dp (KEPT i) GAIN GAIN_LOST (Rle_refl _)
    R M).
  assert (B := delta_error_bound _ _ width U ETA _ _ o' _ _ d HO (Rle_refl _) HD).
  destruct (slope_error_bound _ _ _ _ dp _ _ d _ _ s INNER U ETA A B S) as (x & t & T & -> & K).
  exact (score_gradient_error_bound _ _ _ p _ x t _ _ _ _ ds _ (Rlt_le _ _ (exp_pos _)) U (weight_recomputed i p P) T
    eq_refl K E (Rle_refl _)).
Qed.

Theorem sink_gradient_bound i ds : sink_gradient_computed i ds ->
  Rabs (ds - weight i * sink_slope i) <= sink_gradient_off i.
Proof.
  intros (p & d & s & P & (o' & HO & HD) & S & E). destruct ACCUMULATOR as [U ETA].
  assert (B := delta_error_bound _ _ width U ETA _ _ o' _ _ d HO (Rle_refl _) HD).
  assert (S' : differences 0 (relative (accumulator D)) (absolute (accumulator D)) 0 d (upstream_lse X i) s).
  { destruct (rounds_log _ _ _ _ U S) as (t & h & T & Hh & ->). exists 0, 0, 0, 0, t, h.
    repeat split; auto using abs_0, Rle_refl. rewrite exp_0. ring. }
  assert (Z : Rabs (0 - 0) <= 0) by (rewrite Rminus_0_r, Rabs_R0; lra).
  destruct (slope_error_bound _ _ _ _ 0 _ _ d _ _ s (Rle_refl 0) U ETA Z B S') as (x & t & T & -> & K).
  replace (0 - sumf (fun c => upstream X i c * output X i c) (columns X) + upstream_lse X i) with (sink_slope i) in K
    by (unfold sink_slope, delta; ring).
  rewrite Rabs_R0, !Rplus_0_l in K.
  exact (score_gradient_error_bound _ _ _ p _ x t _ _ _ _ ds _ (Rlt_le _ _ (exp_pos _)) U (weight_recomputed i p P) T
    eq_refl K E (Rle_refl _)).
Qed.

Lemma factor_nonneg i : 0 <= factor i.
Proof. unfold factor. destruct (softcap X); [|lra]. pose proof (sech2_range (argument X i)). lra. Qed.

Theorem operand_bound i y : operand_computed i y -> Rabs (y - score_gradient i * factor i) <= operand_off i.
Proof.
  intros (ds & x & S & T & R). pose proof (score_gradient_bound i ds S) as B. destruct OPERAND as [CU CE].
  apply (rounds_rounded _ _ x y _ (capped_off i) CU); [|exact R]. clear R y.
  pose proof (factor_nonneg i) as F0. unfold capped_off, factor in *. destruct (softcap X) as [cap|] eqn:E.
  - destruct T as (f & (held & capped & w & ww & K & W & WW & F) & P).
    destruct SCORES as [SU SE], ACCUMULATOR as [U ETA].
    assert (H := softcap_gradient_bound _ _ _ _ _ cap held capped w ww f (CAP cap eq_refl) CONSTANT SU SE (TANH i)
      K W WW F).
    exact (through_softcap_bound ds _ _ f _ _ _ _ x U F0 B H P).
  - rewrite T, Rmult_1_r. exact B.
Qed.

Theorem dropped_weight_bound i y : dropped_weight_computed i y -> Rabs (y - dropped_weight i) <= dropped_weight_off i.
Proof.
  intros (p & g & P & M & R). destruct OPERAND as [CU CE].
  exact (value_weight_error_bound _ _ _ p _ _ _ g _ _ y _ (Rlt_le _ _ (exp_pos _)) (KEPT i) CU GAIN
    (weight_recomputed i p P) M R (Rle_refl _)).
Qed.

(** From terms to a gradient: second format, group and output; n terms and k roundings again in a head. *)
Context {G : Type}.
Variables again group result : stage.
Variables scale cost loss n k : R.
Hypothesis AGAIN : stage_ok again.
Hypothesis GROUP : stage_ok group.
Hypothesis RESULT : stage_ok result.
Hypothesis COST : 0 <= cost.
Hypothesis LOSS : 0 <= loss.

(** pairs g: the pairs of one head of a group, in the order in which the sum meets them; y_i b_i their terms. *)
Definition gradient_computed (y b : I -> R) (pairs : G -> list I) (gs : list G) (gradient : R) : Prop :=
  exists total, gathered (relative (accumulator D)) (absolute (accumulator D)) (relative again) (absolute again)
    (relative group) (absolute group) cost loss scale n k y b pairs gs total /\ rounds_to result total gradient.

Definition gradient_off (a E b : I -> R) (pairs : G -> list I) (gs : list G) : R :=
  let all := flat_map pairs gs in
  rounded
    (gradient_sum (sumf (fun i => Rabs (a i) * (Rabs (b i) * Rabs scale)) all)
      (sumf (fun i => E i * (Rabs (b i) * Rabs scale)) all)
      (gradient_additions n (relative (accumulator D)) cost k (relative again) (INR (length gs)) (relative group))
      (gradient_underflow n (absolute (accumulator D)) (Rabs scale) loss k (absolute again) (INR (length gs))
        (absolute group)))
    (Rabs (sumf (fun i => a i * b i * scale) all)) (relative result) (absolute result).

Lemma gradient_bound a E y b pairs gs gradient :
  (forall i, In i (flat_map pairs gs) -> Rabs (y i - a i) <= E i) -> gradient_computed y b pairs gs gradient ->
  Rabs (gradient - sumf (fun i => a i * b i * scale) (flat_map pairs gs)) <= gradient_off a E b pairs gs.
Proof.
  intros HE (total & HG & HR).
  destruct ACCUMULATOR as [U ETA], AGAIN as [V LOST], GROUP as [W ZETA], RESULT as [O OE].
  assert (B := gradient_sum_error _ _ _ _ _ _ _ _ scale n k U V W ETA LOST ZETA COST LOSS y b a E pairs gs total HE HG).
  exact (rounds_rounded _ _ total gradient _ _ O B HR).
Qed.

(** dQ_i = scale sum_j dS_ij f_ij K_j (b is a column of K, and the pairs are those of a query), and
    dK_j = scale sum_i dS_ij f_ij Q_i (b is a column of Q, and the pairs those of a key, for each head of a group). *)
Theorem query_and_key_gradient_bound y b pairs gs gradient :
  (forall i, In i (flat_map pairs gs) -> operand_computed i (y i)) -> gradient_computed y b pairs gs gradient ->
  Rabs (gradient - sumf (fun i => score_gradient i * factor i * b i * scale) (flat_map pairs gs)) <=
    gradient_off (fun i => score_gradient i * factor i) operand_off b pairs gs.
Proof. intros H. apply gradient_bound. intros i Hi. apply operand_bound, H, Hi. Qed.

(** dV_j = sum_i P_ij D_ij dO_i (b is a column of dO). *)
Theorem value_gradient_bound y b pairs gs gradient :
  (forall i, In i (flat_map pairs gs) -> dropped_weight_computed i (y i)) -> gradient_computed y b pairs gs gradient ->
  Rabs (gradient - sumf (fun i => dropped_weight i * b i * scale) (flat_map pairs gs)) <=
    gradient_off dropped_weight dropped_weight_off b pairs gs.
Proof. intros H. apply gradient_bound. intros i Hi. apply dropped_weight_bound, H, Hi. Qed.

(** d bias = sum dS over what the bias is broadcast to, before the softcap and without a cast (b = 1). *)
Theorem bias_gradient_bound y b pairs gs gradient :
  (forall i, In i (flat_map pairs gs) -> score_gradient_computed i (y i)) -> gradient_computed y b pairs gs gradient ->
  Rabs (gradient - sumf (fun i => score_gradient i * b i * scale) (flat_map pairs gs)) <=
    gradient_off score_gradient score_gradient_off b pairs gs.
Proof. intros H. apply gradient_bound. intros i Hi. apply score_gradient_bound, H, Hi. Qed.

(** d sink = sum P_sink (dLSE - Delta) over a head's queries (b = 1): a pair is a query and the sink. *)
Theorem sink_total_bound y b pairs gs gradient :
  (forall i, In i (flat_map pairs gs) -> sink_gradient_computed i (y i)) -> gradient_computed y b pairs gs gradient ->
  Rabs (gradient - sumf (fun i => weight i * sink_slope i * b i * scale) (flat_map pairs gs)) <=
    gradient_off (fun i => weight i * sink_slope i) sink_gradient_off b pairs gs.
Proof.
  intros H. apply (gradient_bound (fun i => weight i * sink_slope i)). intros i Hi. apply sink_gradient_bound, H, Hi.
Qed.
End Pass.
