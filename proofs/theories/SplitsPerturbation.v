(** Softmax of scores that are off by d: a distance of at most 2 tanh((max d - min d) / 4), whatever the scores.

    It concerns all keys at once, and only the spread of the errors: what they have in common cancels. *)
From Coq Require Import Reals List Lra.
From refattn Require Import Sums LogMetric Growth.
Import ListNotations.
Open Scope R_scope.

(** 2 tanh(t / 4) = 2 (e^(t/2) - 1) / (e^(t/2) + 1). *)
Definition softmax_distance (spread : R) : R := 2 * growth (spread / 2) / (growth (spread / 2) + 2).

Section Perturbation.
Context {I : Type} (xs : list I) (w d : I -> R).
Variables lo hi : R.
Hypothesis weights : forall i, In i xs -> 0 <= w i.
Hypothesis total : sumf w xs = 1.
Hypothesis spread : forall i, In i xs -> lo <= d i <= hi.

Definition moved_total : R := sumf (fun i => w i * exp (d i)) xs.
Definition moved_weight (i : I) : R := w i * exp (d i) / moved_total.

Definition part_of (keep : I -> bool) (f : I -> R) : R := sumf (fun i => if keep i then f i else 0) xs.

Lemma part_both keep f : part_of keep f + part_of (fun i => negb (keep i)) f = sumf f xs.
Proof. unfold part_of. rewrite <- sumf_plus. apply sumf_ext. intros i _. destruct (keep i); simpl; ring. Qed.

Lemma part_le keep f g : (forall i, In i xs -> f i <= g i) -> part_of keep f <= part_of keep g.
Proof. intros H. apply sumf_le. intros i Hi. destruct (keep i); [auto|lra]. Qed.

Lemma part_scal keep f c : part_of keep (fun i => f i * c) = part_of keep f * c.
Proof. unfold part_of. rewrite <- sumf_scal. apply sumf_ext. intros i _. destruct (keep i); ring. Qed.

Lemma part_nonneg keep f : (forall i, In i xs -> 0 <= f i) -> 0 <= part_of keep f.
Proof. intros H. apply sumf_nonneg. intros i Hi. destruct (keep i); [auto|lra]. Qed.

Lemma moved_total_pos : 0 < moved_total.
Proof.
  apply Rlt_le_trans with (sumf w xs * exp lo); [rewrite total; pose proof (exp_pos lo); lra|].
  rewrite <- sumf_scal. apply sumf_le. intros i Hi. apply Rmult_le_compat_l; [auto|]. apply exp_le. now apply spread.
Qed.

(** (x + y)^2 P Q <= P x^2 + Q y^2 where P + Q = 1: the difference is (P x - Q y)^2. *)
Lemma two_levels P Q A B x y : 0 <= P -> 0 <= Q -> P + Q = 1 -> 0 < y -> y <= x ->
  0 <= A <= P * (x * x) -> Q * (y * y) <= B -> 0 < A + B -> A / (A + B) - P <= (x - y) / (x + y).
Proof.
  intros HP HQ S Hy Hx HA HB HT.
  assert (E : A / (A + B) - P = (A * Q - B * P) / (A + B)).
  { replace (A * Q - B * P) with (A * (P + Q) - P * (A + B)) by ring. rewrite S. field. lra. }
  rewrite E. apply Rmult_le_reg_r with (A + B); [exact HT|]. unfold Rdiv. rewrite Rmult_assoc, Rinv_l, Rmult_1_r by lra.
  apply Rmult_le_reg_l with (x + y); [lra|].
  replace ((x + y) * ((x - y) * / (x + y) * (A + B))) with ((x - y) * (A + B)) by (field; lra).
  assert (0 <= (P * x - Q * y) * (P * x - Q * y)) by apply Rle_0_sqr.
  (* (x + y) (A Q - B P) - (x - y) (A + B) = A ((x + y) Q - (x - y)) - B ((x + y) P + (x - y)) *)
  set (c := (x + y) * Q - (x - y)). set (e := (x + y) * P + (x - y)).
  assert (He : 0 <= e) by (unfold e; nra).
  assert (G : A * c <= B * e); [|unfold c, e in G; nra].
  apply Rle_trans with (Q * (y * y) * e); [|apply Rmult_le_compat_r; assumption].
  destruct (Rle_lt_dec c 0) as [C|C].
  - apply Rle_trans with 0; [nra|]. apply Rmult_le_pos; [|exact He]. apply Rmult_le_pos; [exact HQ|nra].
  - apply Rle_trans with (P * (x * x) * c); [nra|]. unfold c, e.
    replace Q with (1 - P) in * by lra.
    assert (0 <= ((P * x - (1 - P) * y) * (P * x - (1 - P) * y)) * (x - y)) by (apply Rmult_le_pos; lra). nra.
Qed.

Lemma gained keep : part_of keep (fun i => moved_weight i - w i) <= softmax_distance (hi - lo) / 2.
Proof.
  assert (HL : lo <= hi).
  { destruct xs as [|i r]; [simpl in total; lra|]. specialize (spread i (or_introl eq_refl)). lra. }
  set (x := exp (hi / 2)). set (y := exp (lo / 2)).
  assert (Ex : x * x = exp hi) by (unfold x; rewrite <- exp_plus; f_equal; lra).
  assert (Ey : y * y = exp lo) by (unfold y; rewrite <- exp_plus; f_equal; lra).
  assert (ED : softmax_distance (hi - lo) / 2 = (x - y) / (x + y)).
  { unfold softmax_distance, growth. assert (Y : 0 < y) by apply exp_pos.
    assert (X : exp ((hi - lo) / 2) = x / y).
    { unfold x, y, Rdiv. rewrite <- exp_Ropp, <- exp_plus. f_equal. lra. }
    rewrite X. assert (0 < x) by apply exp_pos. field. repeat split; lra. }
  rewrite ED. set (A := part_of keep (fun i => w i * exp (d i))).
  set (B := part_of (fun i => negb (keep i)) (fun i => w i * exp (d i))).
  assert (T : A + B = moved_total) by apply part_both.
  assert (M : part_of keep (fun i => moved_weight i - w i) = A / (A + B) - part_of keep w).
  { rewrite T. unfold A, Rdiv. rewrite <- part_scal. unfold part_of. rewrite <- sumf_minus. apply sumf_ext.
    intros i _. unfold moved_weight, Rdiv. destruct (keep i); ring. }
  rewrite M. apply two_levels with (part_of (fun i => negb (keep i)) w).
  - now apply part_nonneg.
  - now apply part_nonneg.
  - rewrite part_both. exact total.
  - apply exp_pos.
  - apply exp_le. lra.
  - rewrite Ex, <- part_scal. split.
    + apply part_nonneg. intros i Hi. apply Rmult_le_pos; [auto|left; apply exp_pos].
    + apply part_le. intros i Hi. apply Rmult_le_compat_l; [auto|]. apply exp_le. now apply spread.
  - rewrite Ey, <- part_scal. apply part_le. intros i Hi. apply Rmult_le_compat_l; [auto|]. apply exp_le.
    now apply spread.
  - rewrite T. exact moved_total_pos.
Qed.

Theorem softmax_distance_bounds : sumf (fun i => Rabs (moved_weight i - w i)) xs <= softmax_distance (hi - lo).
Proof.
  set (keep := fun i => if Rle_dec 0 (moved_weight i - w i) then true else false).
  set (f := fun i => moved_weight i - w i).
  assert (Z : sumf f xs = 0).
  { unfold f. rewrite sumf_minus, total. unfold moved_weight, Rdiv. rewrite sumf_scal. fold moved_total.
    pose proof moved_total_pos. rewrite Rinv_r by lra. ring. }
  pose proof (part_both keep f) as S. rewrite Z in S.
  pose proof (gained keep) as G. fold f in G.
  replace (sumf (fun i => Rabs (moved_weight i - w i)) xs)
    with (part_of keep f - part_of (fun i => negb (keep i)) f); [lra|].
  unfold part_of. rewrite <- sumf_minus. apply sumf_ext. intros i _. unfold keep, f.
  destruct (Rle_dec 0 (moved_weight i - w i)) as [L|L]; simpl.
  - rewrite Rabs_pos_eq by lra. ring.
  - rewrite Rabs_left1 by lra. ring.
Qed.
End Perturbation.
