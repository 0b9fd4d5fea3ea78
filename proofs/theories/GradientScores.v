(** dS = P (dP - Delta + dLSE): dP = dO V^T with dropout, Delta = rowsum(dO O) from the rounded output, the differences
    and the product rounded. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth Roundoff Perturbed GradientRounding GradientSum GradientTotals
  GradientWeights.
Import ListNotations.
Open Scope R_scope.

(** The functions of the same names in Python. *)
Definition probability_gradient_error (width unit reach lost kept gain gain_lost : R) : R :=
  gradient_sum (kept * reach) 0 (width * unit + gain) (kept * (2 * width * lost) + gain_lost).

Definition delta_error (width unit products doubt lost : R) : R :=
  gradient_sum products doubt (width * unit) (2 * width * lost).

Definition slope_error (product_error delta_error height inner unit lost : R) : R :=
  product_error + delta_error + growth inner * height + lost * (2 + growth unit).

Definition score_gradient_error (weight weight_error slope slope_error lost : R) : R :=
  weight_error * slope + (weight + weight_error) * slope_error + lost.

Section Columns.
Context {C : Type}.
Variables u eta n : R.
Hypothesis U : 0 <= u.
Hypothesis ETA : 0 <= eta.

(** dP = keep / (1 - p) * sum_c dO_c V_c; without dropout kept = 1, gain = 0. *)
Theorem probability_gradient_error_bound (dO v : C -> R) cs r kept gain gain_lost dp :
  0 <= kept -> 0 <= gain -> 0 <= gain_lost -> INR (length cs) <= n ->
  added u eta 0 0 dO v cs 0 r -> multiplied gain gain_lost kept r dp ->
  Rabs (dp - kept * sumf (fun c => dO c * v c) cs) <=
    probability_gradient_error n u (sumf (fun c => Rabs (dO c * v c)) cs) eta kept gain gain_lost.
Proof.
  intros K G GL N S M.
  assert (P := head_perturbed u eta 0 0 gain gain_lost kept n 0 U (Rle_refl 0) ETA (Rle_refl 0) G GL dO v cs 0 r dp
    N (Rle_refl 0) S M).
  apply perturbed_error in P. rewrite !sumf_scal in P. rewrite Rmult_comm. eapply Rle_trans; [exact P|].
  unfold probability_gradient_error, gradient_sum. rewrite (Rabs_pos_eq kept) by exact K.
  replace (n * u + 0 * 0 + gain) with (n * u + gain) by ring.
  replace (1 + growth (n * u + gain)) with (exp (n * u + gain)) by (unfold growth; ring).
  rewrite (sumf_ext _ (fun i => Rabs (dO i * v i * kept)) (fun i => Rabs (dO i * v i) * kept))
    by (intros; now rewrite Rabs_mult, (Rabs_pos_eq kept) by exact K).
  rewrite sumf_scal. right; ring.
Qed.

(** Delta = sum_c dO_c O_c from outputs that are off by E_c. *)
Theorem delta_error_bound (dO o o' E : C -> R) cs r :
  (forall c, In c cs -> Rabs (o' c - o c) <= E c) -> INR (length cs) <= n -> added u eta 0 0 o' dO cs 0 r ->
  Rabs (r - sumf (fun c => dO c * o c) cs) <=
    delta_error n u (sumf (fun c => Rabs (dO c * o c)) cs) (sumf (fun c => Rabs (dO c) * E c) cs) eta.
Proof.
  intros HE N S.
  assert (D := gradient_sum_error (G := unit) u eta 0 0 0 0 0 0 1 n 0 U (Rle_refl 0) (Rle_refl 0) ETA (Rle_refl 0)
    (Rle_refl 0) (Rle_refl 0) (Rle_refl 0) o' dO o E (fun _ => cs) [tt] r).
  cbv zeta in D. simpl flat_map in D. rewrite app_nil_r in D.
  rewrite (sumf_ext _ (fun i => o i * dO i * 1) (fun c => dO c * o c)) in D by (intros; ring).
  rewrite (sumf_ext _ (fun i => Rabs (o i) * (Rabs (dO i) * Rabs 1)) (fun c => Rabs (dO c * o c))) in D
    by (intros; rewrite Rabs_mult, Rabs_R1; ring).
  rewrite (sumf_ext _ (fun i => E i * (Rabs (dO i) * Rabs 1)) (fun c => Rabs (dO c) * E c)) in D
    by (intros; rewrite Rabs_R1; ring).
  eapply Rle_trans; [apply D; [exact HE|]|].
  - apply (gathered_alone u eta 0 0 0 0 0 0 1 n 0 o' dO (fun _ => cs) tt 0 r r); auto using multiplied_by_one.
    simpl; lra.
  - right. unfold delta_error, gradient_additions, gradient_underflow. rewrite Rabs_R1.
    change (INR (length [tt])) with 1. f_equal; ring.
Qed.
End Columns.

(** The two rounded differences of dP - Delta + dLSE in any order, in one form: all three terms may have passed the
    first of them, and the second errs by a common factor. Without dLSE, inner = 0. *)
Definition differences (inner u eta dp delta dl s : R) : Prop :=
  exists ta tb tc h t h', Rabs ta <= inner /\ Rabs tb <= inner /\ Rabs tc <= inner /\ Rabs h <= eta /\
    Rabs t <= u /\ Rabs h' <= eta /\ s = (dp * exp ta - delta * exp tb + dl * exp tc + h) * exp t + h'.

Lemma abs_0 r : 0 <= r -> Rabs 0 <= r.
Proof. now rewrite Rabs_R0. Qed.

Lemma differences_without_lse u eta dp delta s : 0 <= u -> 0 <= eta ->
  rounds u eta (dp - delta) s -> differences 0 u eta dp delta 0 s.
Proof.
  intros U E H. destruct (rounds_log u eta _ _ U H) as (t & h & T & Hh & ->).
  exists 0, 0, 0, 0, t, h. repeat split; auto using abs_0, Rle_refl. rewrite exp_0. ring.
Qed.

(** dP - (Delta - dLSE) *)
Lemma differences_delta_first u eta dp delta dl d s : 0 <= u -> 0 <= eta ->
  rounds u eta (delta - dl) d -> rounds u eta (dp - d) s -> differences u u eta dp delta dl s.
Proof.
  intros U E D H. destruct (rounds_log u eta _ _ U D) as (t & h & T & Hh & ->).
  destruct (rounds_log u eta _ _ U H) as (t' & h' & T' & Hh' & ->).
  exists 0, t, t, (- h), t', h'. repeat split; auto using abs_0; [now rewrite Rabs_Ropp|]. rewrite exp_0. ring.
Qed.

(** (dP - Delta) + dLSE *)
Lemma differences_product_first u eta dp delta dl d s : 0 <= u -> 0 <= eta ->
  rounds u eta (dp - delta) d -> rounds u eta (d + dl) s -> differences u u eta dp delta dl s.
Proof.
  intros U E D H. destruct (rounds_log u eta _ _ U D) as (t & h & T & Hh & ->).
  destruct (rounds_log u eta _ _ U H) as (t' & h' & T' & Hh' & ->).
  exists t, t, 0, h, t', h'. repeat split; auto using abs_0. rewrite exp_0. ring.
Qed.

Lemma factor_off x a e t c : Rabs (x - a) <= e -> Rabs t <= c ->
  Rabs (x * exp t - a) <= e + growth c * (Rabs a + e).
Proof.
  intros E T. replace (x * exp t - a) with ((x - a) + (exp t - 1) * x) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_mult. apply Rplus_le_compat; [exact E|].
  apply Rmult_le_compat; try apply Rabs_pos; [now apply abs_expm1|now apply off_size].
Qed.

(** Theorem slope_error: the last difference's factor set apart, which dS takes with P's own. *)
Theorem slope_error_bound inner u eta dP dp ep delta delta' ed dl s :
  0 <= inner -> 0 <= u -> 0 <= eta ->
  Rabs (dp - dP) <= ep -> Rabs (delta' - delta) <= ed -> differences inner u eta dp delta' dl s ->
  exists x t, Rabs t <= u /\ s = x * exp t /\ Rabs (x - (dP - delta + dl)) <=
    slope_error ep ed (Rabs dP + ep + (Rabs delta + ed) + Rabs dl) inner u eta.
Proof.
  intros I U E P D (ta & tb & tc & h & t & h' & Ta & Tb & Tc & Hh & T & Hh' & ->).
  set (y := dp * exp ta - delta' * exp tb + dl * exp tc + h).
  exists (y + h' * exp (- t)), t. split; [exact T|]. split.
  - rewrite Rmult_plus_distr_r, Rmult_assoc, <- exp_plus, Rplus_opp_l, exp_0. ring.
  - assert (H : Rabs (h' * exp (- t)) <= eta * (1 + growth u)).
    { rewrite Rabs_mult, (Rabs_pos_eq (exp _)) by (left; apply exp_pos).
      apply Rmult_le_compat; [apply Rabs_pos|left; apply exp_pos|exact Hh'|]. apply exp_within. now rewrite Rabs_Ropp. }
    pose proof (factor_off _ _ _ _ _ P Ta) as FA. pose proof (factor_off _ _ _ _ _ D Tb) as FB.
    assert (Z : Rabs (dl - dl) <= 0) by (rewrite Rminus_diag_eq, Rabs_R0 by reflexivity; lra).
    pose proof (factor_off _ _ _ _ _ Z Tc) as FC.
    pose proof (growth_nonneg u U). assert (eta <= eta * (1 + growth u)) by nra.
    replace (y + h' * exp (- t) - (dP - delta + dl)) with
      ((dp * exp ta - dP) + - (delta' * exp tb - delta) + (dl * exp tc - dl) + h + h' * exp (- t)) by (unfold y; ring).
    apply Rabs_le_inv in FA, FB, FC, Hh, H. unfold slope_error. apply Rabs_le. lra.
Qed.

(** Theorem dS_error: P off by a log-error T and by an underflow, the slope off, the last difference and the product
    rounded. *)
Theorem score_gradient_error_bound T lost w p g x t s e u eta ds grown :
  0 <= w -> 0 <= u -> recomputed T lost w p -> Rabs t <= u -> s = x * exp t -> Rabs (x - g) <= e ->
  rounds u eta (p * s) ds -> w * growth (T + 2 * u) <= grown ->
  Rabs (ds - w * g) <= score_gradient_error w (weight_error grown (2 * u) lost) (Rabs g) e eta.
Proof.
  intros W U (tp & h & Tp & Hh & ->) Ht -> X R Gr.
  destruct (rounds_log u eta _ _ U R) as (tm & hm & Tm & Hm & ->).
  replace (score_gradient_error w (weight_error grown (2 * u) lost) (Rabs g) e eta) with
    (grown * Rabs g + (w + grown) * e + lost * (1 + growth (2 * u)) * (Rabs g + e) + eta)
    by (unfold score_gradient_error, weight_error; ring).
  replace ((w * exp tp + h) * (x * exp t) * exp tm + hm - w * g) with
    (w * (exp (tp + (t + tm)) - 1) * g + w * exp (tp + (t + tm)) * (x - g) + h * exp (t + tm) * x + hm)
    by (rewrite !exp_plus; ring).
  assert (B1 : Rabs (t + tm) <= 2 * u) by (eapply Rle_trans; [apply Rabs_triang|lra]).
  assert (B2 : Rabs (tp + (t + tm)) <= T + 2 * u) by (eapply Rle_trans; [apply Rabs_triang|lra]).
  eapply Rle_trans; [apply Rabs_triang|]. apply Rplus_le_compat; [|exact Hm].
  eapply Rle_trans; [apply Rabs_triang|]. eapply Rle_trans; [apply Rplus_le_compat_r, Rabs_triang|].
  rewrite !Rabs_mult, (Rabs_pos_eq w), !(Rabs_pos_eq (exp _)) by (exact W || (left; apply exp_pos)).
  apply Rplus_le_compat; [apply Rplus_le_compat|].
  - apply Rmult_le_compat_r; [apply Rabs_pos|]. eapply Rle_trans; [|exact Gr].
    apply Rmult_le_compat_l; [exact W|now apply abs_expm1].
  - apply Rmult_le_compat; [|apply Rabs_pos| |exact X].
    + apply Rmult_le_pos; [exact W|left; apply exp_pos].
    + pose proof (Rmult_le_compat_l w _ _ W (exp_within _ _ B2)). lra.
  - apply Rmult_le_compat; [|apply Rabs_pos| |now apply off_size].
    + apply Rmult_le_pos; [apply Rabs_pos|left; apply exp_pos].
    + apply Rmult_le_compat; [apply Rabs_pos|left; apply exp_pos|exact Hh|now apply exp_within].
Qed.
