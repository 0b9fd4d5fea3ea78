(** Numbers as sums of two words: errors of sums and products that are numbers, and the error of a product. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core Plus_error Mult_error Relative.
From refattn Require Import LogMetric Formats.
Open Scope R_scope.

Section Words.
Variable f : format.
Hypothesis V : valid_format f.
Let u := unit_roundoff f.
Local Notation fl := (nearest f).

(** The error of a sum is a number of the format, so that subtracting it is exact. *)
Theorem sum_error_held a b : holds f a -> holds f b -> holds f (a + b - fl (a + b)).
Proof.
  intros A B. replace (a + b - fl (a + b)) with (- (fl (a + b) - (a + b))) by ring.
  apply holds_opp. pose proof (precision_positive f V). apply (plus_error radix2 (exponents f)); try assumption.
  all: try (apply FLT_exp_valid; assumption); try apply FLT_exp_monotone.
Qed.

(** A fused multiply-add of the product and its negated rounding gives the product's error exactly. *)
Theorem two_product_exact a b : holds f a -> holds f b ->
  a * b = 0 \/ bpow radix2 (lowest f + 2 * precision f - 1) <= Rabs (a * b) ->
  fl (a * b - fl (a * b)) = a * b - fl (a * b).
Proof.
  intros A B H. apply round_by_held; [apply valid_rnd_N|].
  replace (a * b - fl (a * b)) with (- (fl (a * b) - a * b)) by ring. apply holds_opp.
  pose proof (precision_positive f V).
  apply mult_error_FLT; try assumption; [apply valid_rnd_N|].
  intros N. destruct H as [H|H]; [contradiction|exact H].
Qed.

(** The product of two numbers of two words. *)
Theorem multiply_error a al b bl e1 e2 product error result :
  (4 <= precision f)%Z ->
  product + error = a * b -> Rabs error <= u * Rabs (a * b) ->
  Rabs al <= u * Rabs a -> Rabs bl <= u * Rabs b ->
  Rabs (e1 - (a * bl + error)) <= u * Rabs (a * bl + error) ->
  Rabs (e2 - (al * b + e1)) <= u * Rabs (al * b + e1) ->
  result = product + e2 ->
  Rabs (result - (a + al) * (b + bl)) <= 8 * (u * u) * Rabs ((a + al) * (b + bl)).
Proof.
  intros Prec P E Al Bl H1 H2 ->. pose proof (unit_roundoff_bounds f V) as U. fold u in U.
  set (m := Rabs (a * b)) in *. assert (M0 : 0 <= m) by apply Rabs_pos.
  assert (X : Rabs (a * bl) <= u * m).
  { unfold m. rewrite !Rabs_mult. pose proof (Rabs_pos a). nra. }
  assert (Y : Rabs (al * b) <= u * m).
  { unfold m. rewrite !Rabs_mult. pose proof (Rabs_pos b). nra. }
  assert (Z : Rabs (al * bl) <= u * u * m).
  { unfold m. rewrite !Rabs_mult. pose proof (Rabs_pos al). pose proof (Rabs_pos bl). pose proof (Rabs_pos a).
    replace (u * u * (Rabs a * Rabs b)) with ((u * Rabs a) * (u * Rabs b)) by ring.
    apply Rmult_le_compat; assumption. }
  assert (S1 : Rabs (a * bl + error) <= 2 * u * m) by (eapply Rle_trans; [apply Rabs_triang|]; lra).
  assert (R1 : Rabs (e1 - (a * bl + error)) <= 2 * (u * u) * m).
  { eapply Rle_trans; [exact H1|]. apply Rmult_le_compat_l with (r := u) in S1; lra. }
  assert (S2 : Rabs (al * b + e1) <= (3 * u + 2 * (u * u)) * m).
  { replace (al * b + e1) with (al * b + ((a * bl + error) + (e1 - (a * bl + error)))) by ring.
    eapply Rle_trans; [apply Rabs_triang|].
    pose proof (Rabs_triang (a * bl + error) (e1 - (a * bl + error))). lra. }
  assert (R2 : Rabs (e2 - (al * b + e1)) <= (3 * (u * u) + 2 * (u * u * u)) * m).
  { eapply Rle_trans; [exact H2|]. apply Rmult_le_compat_l with (r := u) in S2; lra. }
  assert (T : Rabs (product + e2 - (a + al) * (b + bl)) <= (6 * (u * u) + 2 * (u * u * u)) * m).
  { replace (product + e2 - (a + al) * (b + bl)) with
      ((e2 - (al * b + e1)) + (e1 - (a * bl + error)) + - (al * bl))
      by (replace product with (a * b - error) by lra; ring).
    eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp.
    pose proof (Rabs_triang (e2 - (al * b + e1)) (e1 - (a * bl + error))). lra. }
  assert (W : (1 - 2 * u - u * u) * m <= Rabs ((a + al) * (b + bl))).
  { assert (m <= Rabs ((a + al) * (b + bl)) + (Rabs (a * bl) + Rabs (al * b) + Rabs (al * bl))); [|lra].
    unfold m. replace (a * b) with ((a + al) * (b + bl) + - (a * bl + al * b + al * bl)) at 1 by ring.
    eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp.
    pose proof (Rabs_triang (a * bl + al * b) (al * bl)). pose proof (Rabs_triang (a * bl) (al * b)). lra. }
  eapply Rle_trans; [exact T|].
  apply Rle_trans with (8 * (u * u) * ((1 - 2 * u - u * u) * m)).
  - assert (6 * (u * u) + 2 * (u * u * u) <= 8 * (u * u) * (1 - 2 * u - u * u)); [|nra].
    assert (u <= / 16).
    { unfold u, unit_roundoff. replace (/ 16) with (bpow radix2 (-4)) by (simpl; lra). apply bpow_le. lia. }
    replace (6 * (u * u) + 2 * (u * u * u)) with ((u * u) * (6 + 2 * u)) by ring.
    replace (8 * (u * u) * (1 - 2 * u - u * u)) with ((u * u) * (8 * (1 - 2 * u - u * u))) by ring.
    apply Rmult_le_compat_l; nra.
  - apply Rmult_le_compat_l; [nra|exact W].
Qed.
End Words.
