(** Attention from end to end: computed scores, two schedules, a quotient and a log-sum-exp.

    The keys (and a sink, a key whose value is 0) have exact scores, of which the kernel knows x to within [doubt]; it
    adds up numerator and normaliser by any two schedules that end at one reference M, not above the largest computed
    score.  What it returns is within the bounds that Python computes, of which every argument is in sight here. *)
From Coq Require Import Reals List Permutation Lra.
From refattn Require Import Sums LogMetric Growth Roundoff Perturbed Schedule ScheduleCost ScheduleAnyOrder Normaliser
  Output OutputCast Hull HullSum LogSumExp.
From refattn Require Splits.
Import ListNotations.
Open Scope R_scope.

Lemma perturbed_ext {I} (xs : list I) a b T H r :
  (forall i, In i xs -> a i = b i) -> perturbed xs a T H r -> perturbed xs b T H r.
Proof.
  intros E (ps & F & B & A). exists ps. split; [exact F|]. split; [exact B|].
  replace (sumf (scaled b) ps) with (sumf (scaled a) ps); [exact A|].
  apply sumf_ext. intros p Hp. unfold scaled. rewrite E; [reflexivity|]. rewrite <- F. now apply in_map.
Qed.

(** What the absolute part grows by when the largest weight at any reference is e^top. *)
Lemma underflow_peak keys changes seen eta_weight eta_sum cost top :
  0 <= keys -> 0 <= changes -> 0 <= eta_sum -> 0 <= top ->
  underflow keys changes (seen * exp top) eta_weight eta_sum cost
    <= underflow keys changes seen eta_weight eta_sum (top + cost).
Proof.
  intros Hk Hc He Ht. unfold underflow, growth.
  replace (1 + (exp (cost + (1 + changes) * eta_weight) - 1)) with (exp (cost + (1 + changes) * eta_weight)) by ring.
  replace (1 + (exp (top + cost + (1 + changes) * eta_weight) - 1))
    with (exp top * exp (cost + (1 + changes) * eta_weight)) by (rewrite <- exp_plus; ring_simplify; f_equal; ring).
  pose proof (exp_ge_1 top Ht). pose proof (exp_pos (cost + (1 + changes) * eta_weight)).
  set (e := exp (cost + (1 + changes) * eta_weight)) in *.
  replace (((1 + changes) * seen * eta_weight + (2 * keys + 1 + changes) * eta_sum) * (exp top * e))
    with (((1 + changes) * seen * eta_weight + (2 * keys + 1 + changes) * eta_sum) * exp top * e) by ring.
  apply Rmult_le_compat_r; [lra|].
  assert (0 <= (2 * keys + 1 + changes) * eta_sum) by (apply Rmult_le_pos; lra). nra.
Qed.

Lemma cast_underflow_peak changes seen eta_cast eta_weight cost top :
  cast_underflow changes (seen * exp top) eta_cast eta_weight cost
    = cast_underflow changes seen eta_cast eta_weight (top + cost).
Proof.
  unfold cast_underflow, growth.
  replace (top + cost + (1 + changes) * eta_weight) with (top + (cost + (1 + changes) * eta_weight)) by ring.
  rewrite (exp_plus top). ring.
Qed.

(** One of the two sums, with what bounds it. *)
Record sum_known {I} (w : I -> nat) (xs : list I) (x v : I -> R) (tau : R) (G : argument I) (M : R) (keys changes : nat)
  (top seen eps unit cast eta_weight eta_cast eta_sum r : R) : Prop := {
  known : exists E s, cast_within w v G E eps unit cast eta_weight eta_cast eta_sum /\ wf x tau s /\
    computed x v G E s r /\ counted w keys changes s /\ shift s = M /\ Permutation (leaves s) xs;
  known_own : forall i, In i xs -> (w i <= 1)%nat;
  known_top : 0 <= top /\ forall i, In i xs -> peak G i <= top;
  known_seen : sumf (fun i => Rabs (v i)) xs <= seen }.

Section Sum.
Context {I : Type} (w : I -> nat) (xs : list I) (x v score doubt : I -> R) (tau : R) (G : argument I) (m M most : R).
Variables (keys changes : nat) (top seen eps unit cast eta_weight eta_cast eta_sum r : R).
Hypothesis GOK : argument_ok x tau G.
Hypothesis doubts : forall i, In i xs -> Rabs (x i - score i) <= doubt i /\ doubt i <= most.
Hypothesis largest : forall i, In i xs -> score i <= m.
Hypothesis referred : exists i, In i xs /\ M <= x i.
Hypothesis sum : sum_known w xs x v tau G M keys changes top seen eps unit cast eta_weight eta_cast eta_sum r.

Definition cost_of_sum : R := path_cost keys changes eps unit cast.
(** In the kernel's own coordinates, at its reference M. *)
Definition lost_in_sum : R := underflow (INR keys) (INR changes) seen eta_weight eta_sum (top + cost_of_sum)
  + cast_underflow (INR changes) seen eta_cast eta_weight (top + cost_of_sum).
Definition error_of_term (i : I) : R := doubt i + (total G i M + cost_of_sum).

Lemma reference_near : M - m <= most.
Proof.
  destruct referred as (i & Hi & H). destruct (doubts i Hi) as [D1 D2]. specialize (largest i Hi).
  apply Rabs_le_inv in D1. lra.
Qed.

Lemma lost_nonneg_in_sum : 0 <= lost_in_sum.
Proof.
  destruct sum as [(E & s & B & _) _ (T & _) S]. destruct (etas _ _ _ _ _ _ _ _ _ _ B) as [Q P].
  assert (C : 0 <= eta_cast) by (destruct B; assumption).
  assert (0 <= seen) by (eapply Rle_trans; [|exact S]; apply sumf_nonneg; intros; apply Rabs_pos).
  pose proof (pos_INR keys). pose proof (pos_INR changes). unfold lost_in_sum, underflow, cast_underflow, growth.
  set (g := exp _). assert (0 < g) by apply exp_pos.
  apply Rplus_le_le_0_compat; (apply Rmult_le_pos; [|lra]).
  - apply Rplus_le_le_0_compat; apply Rmult_le_pos; try lra. apply Rmult_le_pos; lra.
  - apply Rmult_le_pos; lra.
Qed.

(** The schedule behind the sum, with its cost and its absolute part. *)
Lemma schedule_behind : exists E s, operations_ok E /\ wf x tau s /\ computed x v G E s r /\ shift s = M /\
  Permutation (leaves s) xs /\ cost E s <= cost_of_sum /\ lost v G E s <= lost_in_sum.
Proof.
  destruct sum as [(E & s & B & W & C & K & S & P) own (T & PT) SN].
  assert (In_xs : forall i, In i (leaves s) -> In i xs) by (intros i Hi; eapply Permutation_in; eassumption).
  assert (SP : Schedule.seen v G s <= seen * exp top).
  { unfold Schedule.seen. eapply Rle_trans; [|apply Rmult_le_compat_r; [left; apply exp_pos|exact SN]].
    rewrite <- sumf_scal. rewrite (Splits.sumf_permutation _ _ _ P). apply sumf_le. intros i Hi.
    apply Rmult_le_compat_l; [apply Rabs_pos|]. apply exp_le. auto. }
  assert (CB : cost E s <= cost_of_sum).
  { eapply (cost_within w v G (uncast w v G E eta_weight eta_sum)); [|exact K].
    now apply uncast_within with (eta_cast := eta_cast). }
  exists E, s. split; [destruct B; assumption|]. do 5 (split; [assumption|]).
  eapply Rle_trans; [eapply lost_any_order_cast; eauto|]. unfold lost_in_sum. apply Rplus_le_compat.
  - apply underflow_peak; [apply pos_INR|apply pos_INR|now apply (etas _ _ _ _ _ _ _ _ _ _ B)|exact T].
  - rewrite cast_underflow_peak. apply Rle_refl.
Qed.

Theorem sum_against_exact_scores : perturbed xs (fun i => exp (score i - m) * v i) error_of_term
  (lost_in_sum * exp most) (r / exp (m - M)).
Proof.
  pose proof lost_nonneg_in_sum as L0. pose proof reference_near as N.
  destruct schedule_behind as (E & s & EOK & W & C & S & P & CB & LB).
  pose proof (any_schedule_scores x v tau G E GOK EOK score doubt m s r) as A. cbv zeta in A.
  specialize (A (fun i Hi => proj1 (doubts i (Permutation_in i P Hi))) W C). rewrite S in A.
  eapply Splits.perturbed_permutation in A; [|exact P].
  eapply perturbed_weaken; [| |exact A].
  - intros i _. unfold error_of_term. lra.
  - unfold Rdiv. rewrite <- exp_Ropp. replace (- (m - M)) with (M - m) by ring.
    apply Rle_trans with (lost_in_sum * exp (M - m)).
    + apply Rmult_le_compat_r; [left; apply exp_pos|exact LB].
    + apply Rmult_le_compat_l; [exact L0|now apply exp_le].
Qed.

(** In the kernel's own coordinates a normaliser is never much below 1, however wrong the scores are. *)
Theorem known_normaliser_at_least : (forall i, v i = 1) -> least_normaliser (top + cost_of_sum) lost_in_sum <= r.
Proof.
  intros V1. destruct schedule_behind as (E & s & EOK & W & C & S & P & CB & LB).
  destruct referred as (i & Hi & H). destruct sum as [_ _ (T & PT) _].
  pose proof (any_schedule x v tau G E GOK EOK s r W C) as A. rewrite S in A.
  assert (Xi : x i <= M + tau).
  { rewrite <- S. apply (wf_below x tau s W). apply Permutation_in with xs; [now apply Permutation_sym|exact Hi]. }
  assert (Ti : cost E s + total G i M <= top + cost_of_sum).
  { pose proof (weight_below_peak _ _ _ GOK i M Xi). specialize (PT i Hi). lra. }
  eapply Rle_trans; [|apply (normaliser_at_least (leaves s) (weighted x v M) (fun j => cost E s + total G j M)
    (lost v G E s) r i)].
  - unfold least_normaliser, growth. replace (1 + (exp (top + cost_of_sum) - 1)) with (exp (top + cost_of_sum)) by ring.
    replace (1 + (exp (cost E s + total G i M) - 1)) with (exp (cost E s + total G i M)) by ring.
    pose proof (exp_le _ _ Ti). pose proof (exp_pos (cost E s + total G i M)).
    pose proof (Rinv_le_contravar _ _ H1 H0). lra.
  - intros j _. unfold weighted. rewrite V1, Rmult_1_r. left. apply exp_pos.
  - exact A.
  - apply Permutation_in with xs; [now apply Permutation_sym|exact Hi].
  - unfold weighted. rewrite V1, Rmult_1_r. apply exp_ge_1. lra.
Qed.
End Sum.

Lemma perturbed_costs_nonneg {I} (xs : list I) a T H r : perturbed xs a T H r -> forall i, In i xs -> 0 <= T i.
Proof.
  intros (ps & F & B & _) i Hi. rewrite <- F in Hi. apply in_map_iff in Hi. destruct Hi as (p & <- & Hp).
  eapply Rle_trans; [apply Rabs_pos|now apply B].
Qed.

Section EndToEnd.
Context {I : Type} (w : I -> nat) (xs : list I) (x v score doubt : I -> R) (m M most : R) (keys changes : nat).
Variables (tau tau' : R) (Gn Gl : argument I).                  (* of the numerator, of the normaliser *)
Variables (top top' seen seen' eps eps' unit unit' cast cast' eta_weight eta_weight' eta_cast eta_cast' : R).
Variables (eta_sum eta_sum' n l : R).
Hypothesis Gn_ok : argument_ok x tau Gn.
Hypothesis Gl_ok : argument_ok x tau' Gl.
Hypothesis doubts : forall i, In i xs -> Rabs (x i - score i) <= doubt i /\ doubt i <= most.
Hypothesis largest : (forall i, In i xs -> score i <= m) /\ exists i, In i xs /\ score i = m.
Hypothesis referred : exists i, In i xs /\ M <= x i.
Hypothesis numerator : sum_known w xs x v tau Gn M keys changes top seen eps unit cast eta_weight eta_cast eta_sum n.
Hypothesis normaliser :
  sum_known w xs x (fun _ => 1) tau' Gl M keys changes top' seen' eps' unit' cast' eta_weight' eta_cast'
    eta_sum' l.

Let p (i : I) := exp (score i - m).
Let L := sumf p xs.
Let O := sumf (fun i => p i * v i) xs / L.
Let Tn := error_of_term doubt Gn M keys changes eps unit cast.
Let Tl := error_of_term doubt Gl M keys changes eps' unit' cast'.
Let Hn := lost_in_sum keys changes top seen eps unit cast eta_weight eta_cast eta_sum * exp most.
Let Hl := lost_in_sum keys changes top' seen' eps' unit' cast' eta_weight' eta_cast' eta_sum' * exp most.
Let D := normaliser_error (excess xs p Tl) (Hl / L).
Let E := sumf (fun i => p i * Rabs (v i) * growth (Tn i)) xs / L + Hn / L.
Hypothesis claimed : Hl / L * (1 + excess xs p Tl) < 1.

Lemma p_nonneg i : In i xs -> 0 <= p i.
Proof. intros _. left. apply exp_pos. Qed.

Lemma total_at_least_one : 1 <= L.
Proof.
  destruct largest as (_ & i & Hi & S).
  replace 1 with (p i) by (unfold p; rewrite S, Rminus_diag_eq, exp_0; reflexivity).
  apply (sumf_in_le _ p); [exact p_nonneg|exact Hi].
Qed.

Lemma normaliser_perturbed : perturbed xs p Tl Hl (l / exp (m - M)).
Proof.
  eapply perturbed_ext; [|eapply (sum_against_exact_scores w xs x (fun _ => 1) score doubt); eauto; apply largest].
  intros i _. unfold p. ring.
Qed.

Lemma numerator_perturbed : perturbed xs (fun i => p i * v i) Tn Hn (n / exp (m - M)).
Proof. eapply (sum_against_exact_scores w xs x v score doubt); eauto. apply largest. Qed.

Lemma lost_nonneg_in_both : 0 <= Hn /\ 0 <= Hl.
Proof.
  split; (apply Rmult_le_pos; [eapply lost_nonneg_in_sum; eassumption|left; apply exp_pos]).
Qed.

(** The reference cancels in the quotient. *)
Theorem attention_quotient : 0 < l /\ Rabs (n / l - O) <= quotient_error E D (Rabs O).
Proof.
  pose proof total_at_least_one as L1. pose proof normaliser_perturbed as Pl. pose proof numerator_perturbed as Pn.
  destruct lost_nonneg_in_both as [Hn0 Hl0].
  destruct (weighted_mean_error xs p v Tn Tl Hl p_nonneg (perturbed_costs_nonneg _ _ _ _ _ Pn)
    (perturbed_costs_nonneg _ _ _ _ _ Pl) Hl0 ltac:(fold L; lra) claimed Hn _ _ Hn0 Pn Pl) as (l0 & B).
  pose proof (exp_pos (m - M)) as C.
  assert (l1 : 0 < l).
  { replace l with (l / exp (m - M) * exp (m - M)) by (field; lra). now apply Rmult_lt_0_compat. }
  split; [exact l1|]. replace (n / l) with (n / exp (m - M) / (l / exp (m - M))) by (field; lra). exact B.
Qed.

(** The output: a division, in one rounding or two, and the rounding into its format. *)
Theorem attention_output result y dividing lost output_unit lost_out t h :
  0 <= dividing -> 0 <= output_unit -> Rabs t <= dividing -> Rabs h <= lost -> y = n / l * exp t + h ->
  Rabs (result - y) <= output_unit * Rabs y + lost_out ->
  Rabs (result - O) <= output_error (quotient_error E D (Rabs O)) (Rabs O) dividing lost output_unit lost_out.
Proof. intros. eapply output_bounded; eauto. apply attention_quotient. Qed.

(** The log-sum-exp: M + log l, of which the reference may be scaled or narrowed first. *)
Theorem attention_lse turned logarithm result turn log lse_unit lost :
  0 <= turn -> 0 <= log -> 0 <= lse_unit -> Rabs (M - m) <= most ->
  Rabs (turned - M) <= turn * Rabs M + lost ->
  Rabs (logarithm - ln l) <= log * Rabs (ln l) + lost ->
  Rabs (result - (turned + logarithm)) <= lse_unit * Rabs (turned + logarithm) + lost ->
  Rabs (result - (m + ln L)) <= lse_error D most (Rabs m) (Rabs (ln L)) (Rabs (m + ln L)) turn log lse_unit lost.
Proof.
  intros Ht Hg Hu HM At Ag Ar. pose proof total_at_least_one as L1. pose proof normaliser_perturbed as Pl.
  destruct lost_nonneg_in_both as [_ Hl0]. destruct attention_quotient as [l0 _].
  destruct (normaliser_between xs p Tl Hl _ p_nonneg (perturbed_costs_nonneg _ _ _ _ _ Pl) ltac:(fold L; lra) Hl0 Pl
    claimed) as (D0 & B1 & B2).
  apply lse_bounded with (M := M) (l := l) (turned := turned) (logarithm := logarithm); auto.
  lra.
Qed.
End EndToEnd.

(** However wrong the scores are, the output stays near the hull: numerator and normaliser are trees over the same
    exponentials and factors, and the normaliser is what the schedule of the same kernel makes it. *)
Theorem attention_hull {I} (w : I -> nat) (xs : list I) (x v : I -> R) tau (G : argument I) M (keys changes : nat)
    top seen eps unit cast eta_weight eta_cast eta_sum (P lost_n lost_l : I -> R) sn sl leaf_n leaf_l unit_n unit_l
    above eta_n eta_l lo hi size n l :
  argument_ok x tau G -> (exists i, In i xs /\ M <= x i) ->
  sum_known w xs x (fun _ => 1) tau G M keys changes top seen eps unit cast eta_weight eta_cast eta_sum l ->
  0 <= unit_n -> 0 <= unit_l -> 0 <= above -> 0 <= eta_n -> 0 <= eta_l -> 0 <= leaf_n -> 0 <= leaf_l ->
  (forall i, 0 <= lost_n i) -> (forall i, 0 <= lost_l i) -> (forall i, 0 <= P i) -> 0 <= size ->
  factors_ok above sn -> factors_ok above sl -> Permutation (terms sn) (terms sl) ->
  (forall q, In q (terms sl) -> 0 <= snd q /\ lo <= v (fst q) <= hi /\ Rabs (v (fst q)) <= size) ->
  (exists q, In q (terms sl) /\ 0 < P (fst q) * snd q) ->
  added P v lost_n leaf_n unit_n eta_n sn n -> added P (fun _ => 1) lost_l leaf_l unit_l eta_l sl l ->
  let least := least_normaliser (top + cost_of_sum keys changes eps unit cast)
    (lost_in_sum keys changes top seen eps unit cast eta_weight eta_cast eta_sum) in
  0 < least ->
  outside lo hi (n / l) <= hull_error (tree_cost leaf_n unit_n sn + tree_cost leaf_l unit_l sl) size
    (tree_lost lost_n unit_n above eta_n sn) (tree_lost lost_l unit_l above eta_l sl) least.
Proof.
  intros GOK R K. intros. apply hull_any_order with (P := P) (n := n) (l := l) (v := v); auto. split; [assumption|].
  eapply known_normaliser_at_least; eauto.
Qed.

(** A reference that is the largest computed score lies as near to the exact maximum as the scores' errors allow. *)
Theorem maximum_near {I} (xs : list I) (x score doubt : I -> R) m M most :
  (forall i, In i xs -> Rabs (x i - score i) <= doubt i /\ doubt i <= most) ->
  (forall i, In i xs -> score i <= m) -> (exists i, In i xs /\ score i = m) ->
  (forall i, In i xs -> x i <= M) -> (exists i, In i xs /\ x i = M) -> Rabs (M - m) <= most.
Proof.
  intros Hd Hs (i & Hi & Es) Hx (j & Hj & Ex). destruct (Hd i Hi) as [A A']. destruct (Hd j Hj) as [B B'].
  specialize (Hs j Hj). specialize (Hx i Hi). apply Rabs_le_inv in A, B. apply Rabs_le. lra.
Qed.

(** A row that sees no key adds nothing up: what it returns is 0 and -inf by definition, and its bounds are 0. *)
Theorem empty_row {I} (a T : I -> R) r : perturbed [] a T 0 r -> r = 0.
Proof.
  intros (ps & F & _ & A). apply map_eq_nil in F. subst ps. simpl in A. apply Rabs_le_inv in A. lra.
Qed.

(** A sink is one more leaf, whose value is 0: it adds to the normaliser alone. *)
Theorem sink_adds_nothing {I} (sink : I) (xs : list I) p v : v sink = 0 ->
  sumf (fun i => p i * v i) (sink :: xs) = sumf (fun i => p i * v i) xs.
Proof. intros E. simpl. rewrite E. ring. Qed.
