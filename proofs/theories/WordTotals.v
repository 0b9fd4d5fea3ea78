(** Sums, products and scores in three words, as refattn/oracle/extended/loops.py computes them: extended.WORDS_ERROR. *)
From Coq Require Import Reals List Permutation Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats ErrorFree WordSums WordReduction WordQuotients.
Import ListNotations.
Open Scope R_scope.

Local Notation f := fp64.
Local Notation fl := (nearest fp64).
Local Notation V := fp64_valid.
Local Notation two_sum := (two_sum fp64).
Local Notation two_product := (two_product fp64).
Local Notation three_sum := (three_sum fp64).
Local Notation holds := (holds fp64).

Definition sum3 (w : R * R * R) : R := let '(a, b, c) := w in a + b + c.
Definition falling3 (w : R * R * R) : Prop := let '(a, b, c) := w in falling a b c.

(** ** loops.add_words *)
Definition add_word (w : R * R * R) (x : R) : R * R * R :=
  let '(high, middle, low) := w in
  let (a, rest) := two_sum high x in
  let (b, rest) := two_sum middle rest in
  three_sum a b (fl (low + rest)).

Lemma add_word_near w x size : falling3 w -> holds x -> Rabs (sum3 w) <= size -> Rabs (sum3 w + x) <= size ->
  falling3 (add_word w x) /\ Rabs (sum3 (add_word w x) - (sum3 w + x)) <= 301 / 100 * / 2 ^ 159 * size.
Proof.
  destruct w as [[h m] l]. cbn [sum3 falling3]. intros F X S1 S2.
  pose proof F as ((HH & HM & HL) & M & L). destruct (falling_size h m l F) as (H1 & H2).
  unfold add_word.
  destruct (two_sum_split f V h x HH X) as (a & r1 & -> & _ & R1 & HA & HR1 & _ & L1). fold u in L1.
  destruct (two_sum_split f V m r1 HM HR1) as (b & r2 & -> & _ & R2 & HB & HR2 & _ & L2). fold u in L2.
  pose proof (sum_relative f V l r2 HL HR2) as N. fold u in N. set (k := fl (l + r2)) in *.
  rewrite u_value in *.
  pose proof (three_sum_falling a b k HA HB ltac:(apply held, V)) as T.
  destruct (three_sum a b k) as [[y z] w]. destruct T as (T & E). split; [exact T|]. cbn [sum3].
  pose proof (Rabs_triang (h + m + l + x) (- (m + l))) as Q1. rewrite Rabs_Ropp in Q1.
  replace (h + m + l + x + - (m + l)) with (h + x) in Q1 by ring.
  pose proof (Rabs_triang m r1) as Q2. pose proof (Rabs_triang l r2) as Q3.
  replace (y + z + w - (h + m + l + x)) with (k - (l + r2)) by lra. pose proof (Rabs_pos (h + m + l)). lra.
Qed.

Definition zero3 : R * R * R := (0, 0, 0).

Lemma zero_falling : falling3 zero3.
Proof. split; [repeat split; apply holds_0|]. rewrite Rabs_R0. lra. Qed.

(** All partial sums, of which the words' own are off by a little. *)
Fixpoint partial_sums_within (size s : R) (xs : list R) : Prop :=
  match xs with [] => True | x :: xs => Rabs (s + x) <= size /\ partial_sums_within size (s + x) xs end.

Lemma add_words_from xs : forall w s size k, falling3 w -> Forall holds xs -> Rabs s <= size ->
  partial_sums_within size s xs -> Rabs (sum3 w - s) <= INR k * (302 / 100 * / 2 ^ 159 * size) ->
  INR k + INR (length xs) <= 2 ^ 30 ->
  falling3 (fold_left add_word xs w) /\
  Rabs (sum3 (fold_left add_word xs w) - fold_left Rplus xs s) <=
    (INR k + INR (length xs)) * (302 / 100 * / 2 ^ 159 * size).
Proof.
  induction xs as [|x xs IH]; intros w s size k F H S P D K; cbn [fold_left length partial_sums_within] in *.
  - simpl (INR 0). rewrite Rplus_0_r. now split.
  - rewrite S_INR in *. inversion H as [|? ? X H']; subst. destruct P as (P1 & P2).
    pose proof (Rabs_pos s) as S0. pose proof (pos_INR k) as K0. pose proof (pos_INR (length xs)) as K1.
    assert (D' : Rabs (sum3 w - s) <= / 2 ^ 120 * size).
    { eapply Rle_trans; [exact D|]. apply Rle_trans with (2 ^ 30 * (302 / 100 * / 2 ^ 159 * size)); [|lra].
      apply Rmult_le_compat_r; lra. }
    pose proof (Rabs_triang (sum3 w - s) s) as Q1. replace (sum3 w - s + s) with (sum3 w) in Q1 by ring.
    pose proof (Rabs_triang (sum3 w - s) (s + x)) as Q2. replace (sum3 w - s + (s + x)) with (sum3 w + x) in Q2 by ring.
    destruct (add_word_near w x ((1 + / 2 ^ 120) * size) F X ltac:(lra) ltac:(lra)) as (F' & E).
    specialize (IH (add_word w x) (s + x) size (Datatypes.S k) F' H' P1 P2). rewrite S_INR in IH.
    replace (INR k + 1 + INR (length xs)) with (INR k + (INR (length xs) + 1)) in IH by ring.
    apply IH; [|exact K].
    replace (sum3 (add_word w x) - (s + x)) with ((sum3 (add_word w x) - (sum3 w + x)) + (sum3 w - s)) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. lra.
Qed.

(** n numbers of any sizes in three words, of which no partial sum is larger than [size]. *)
Theorem add_words_error xs size : Forall holds xs -> 0 <= size -> partial_sums_within size 0 xs ->
  INR (length xs) <= 2 ^ 30 ->
  falling3 (fold_left add_word xs zero3) /\
  Rabs (sum3 (fold_left add_word xs zero3) - fold_left Rplus xs 0) <=
    INR (length xs) * (302 / 100 * / 2 ^ 159 * size).
Proof.
  intros H S P N. assert (S' : Rabs 0 <= size) by (rewrite Rabs_R0; exact S).
  assert (D : Rabs (sum3 zero3 - 0) <= INR 0 * (302 / 100 * / 2 ^ 159 * size)).
  { unfold zero3, sum3. replace (0 + 0 + 0 - 0) with 0 by ring. rewrite Rabs_R0. simpl (INR 0). lra. }
  assert (K : INR 0 + INR (length xs) <= 2 ^ 30) by (simpl (INR 0); lra).
  pose proof (add_words_from xs zero3 0 size 0 zero_falling H S' P D K) as A.
  replace (INR 0 + INR (length xs)) with (INR (length xs)) in A by (simpl (INR 0); ring). exact A.
Qed.

(** ** Times a factor: loops.score_words, loops.score_gradients *)
Definition scaled (w s : R * R * R) : R * R * R :=
  let '(a, b, c) := w in
  let '(s0, s1, s2) := s in
  let (product, x) := two_product a s0 in
  let (y, rest) := two_product a s1 in
  let (z, more) := two_product b s0 in
  let (x, error) := two_sum x y in
  let (x, final) := two_sum x z in
  let small := fl (fl (fl (fl (fl (fl (fl (a * s2) + fl (b * s1)) + fl (c * s0)) + rest) + more) + error) + final) in
  three_sum product x small.

Lemma product_within a b : holds a -> holds b -> exists p e, two_product a b = (p, e) /\ holds p /\ holds e /\
  Rabs (p + e - a * b) <= lost /\ Rabs p <= (1 + / 2 ^ 53) * Rabs (a * b) + lost /\
  Rabs e <= / 2 ^ 53 * Rabs (a * b) + 2 * lost.
Proof.
  intros A B. destruct (two_product_lost f V a b A B) as (P & E). fold lost in E.
  pose proof (rounded64 (a * b)) as R. rewrite u_value, <- P in R.
  exists (fst (two_product a b)), (snd (two_product a b)). rewrite <- surjective_pairing.
  split; [reflexivity|]. split; [apply held, V|]. split; [apply held, V|]. split; [exact E|].
  set (p := fst (two_product a b)) in *. set (e := snd (two_product a b)) in *. split.
  - replace p with ((p - a * b) + a * b) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra.
  - replace e with ((p + e - a * b) + - (p - a * b)) by ring. eapply Rle_trans; [apply Rabs_triang|].
    rewrite Rabs_Ropp. lra.
Qed.

Lemma scaled_part x y b d : Rabs x <= b -> Rabs y <= d -> Rabs (x * y) <= b * d.
Proof. intros X Y. rewrite Rabs_mult. apply Rmult_le_compat; try apply Rabs_pos; assumption. Qed.

Theorem scaled_near w s : falling3 w -> falling3 s ->
  falling3 (scaled w s) /\
  Rabs (sum3 (scaled w s) - sum3 w * sum3 s) <= 37 * / 2 ^ 159 * Rabs (fst (fst w) * fst (fst s)) + 8 * lost.
Proof.
  destruct w as [[a b] c]. destruct s as [[s0 s1] s2]. cbn [sum3 falling3 fst].
  intros ((HA & HB & HC) & B & C) ((HS0 & HS1 & HS2) & S1 & S2). unfold scaled.
  set (m := Rabs (a * s0)). pose proof lost_value as L0. assert (M0 : 0 <= m) by apply Rabs_pos.
  pose proof (Rabs_pos a) as A0. pose proof (Rabs_pos s0) as SS0.
  assert (M : m = Rabs a * Rabs s0) by apply Rabs_mult. assert (AS : 0 <= Rabs a * Rabs s0) by nra.
  assert (C' : Rabs c <= 101 / 100 * / 2 ^ 106 * Rabs a) by lra.
  assert (S2' : Rabs s2 <= 101 / 100 * / 2 ^ 106 * Rabs s0) by lra.
  assert (P01 : Rabs (a * s1) <= (1 + / 2 ^ 50) * / 2 ^ 53 * m) by (pose proof (scaled_part a s1 _ _ (Rle_refl _) S1);
    lra).
  assert (P10 : Rabs (b * s0) <= (1 + / 2 ^ 50) * / 2 ^ 53 * m) by (pose proof (scaled_part b s0 _ _ B (Rle_refl _));
    lra).
  assert (P02 : Rabs (a * s2) <= 101 / 100 * / 2 ^ 106 * m) by (pose proof (scaled_part a s2 _ _ (Rle_refl _) S2');
    lra).
  assert (P20 : Rabs (c * s0) <= 101 / 100 * / 2 ^ 106 * m) by (pose proof (scaled_part c s0 _ _ C' (Rle_refl _)); lra).
  assert (P11 : Rabs (b * s1) <= 101 / 100 * / 2 ^ 106 * m) by (pose proof (scaled_part b s1 _ _ B S1); lra).
  assert (P12 : Rabs (b * s2) <= 102 / 100 * / 2 ^ 159 * m) by (pose proof (scaled_part b s2 _ _ B S2'); lra).
  assert (P21 : Rabs (c * s1) <= 102 / 100 * / 2 ^ 159 * m) by (pose proof (scaled_part c s1 _ _ C' S1); lra).
  assert (P22 : Rabs (c * s2) <= / 2 ^ 200 * m) by (pose proof (scaled_part c s2 _ _ C' S2'); lra).
  destruct (product_within a s0 HA HS0) as (p & x0 & -> & HP & HX0 & E1 & _ & X0). fold m in X0.
  destruct (product_within a s1 HA HS1) as (y & rest & -> & HY & HR & E2 & Y & Rest).
  destruct (product_within b s0 HB HS0) as (z & more & -> & HZ & HM & E3 & Z & More).
  destruct (two_sum_split f V x0 y HX0 HY) as (x1 & e1 & -> & _ & D1 & HX1 & HE1 & _ & L1). fold u in L1.
  destruct (two_sum_split f V x1 z HX1 HZ) as (x2 & e2 & -> & _ & D2 & HX2 & HE2 & _ & L2). fold u in L2.
  pose proof (rounded64 (a * s2)) as R1. pose proof (rounded64 (b * s1)) as R2. pose proof (rounded64 (c * s0)) as R3.
  assert (HT : forall v, holds (fl v)) by (intros v; apply held, V).
  pose proof (sum_relative f V _ _ (HT (a * s2)) (HT (b * s1))) as N1. set (t1 := fl (a * s2)) in *.
  set (t2 := fl (b * s1)) in *. set (q1 := fl (t1 + t2)) in *.
  pose proof (sum_relative f V q1 _ (HT _) (HT (c * s0))) as N2. set (t3 := fl (c * s0)) in *.
  set (q2 := fl (q1 + t3)) in *.
  pose proof (sum_relative f V q2 rest (HT _) HR) as N3. set (q3 := fl (q2 + rest)) in *.
  pose proof (sum_relative f V q3 more (HT _) HM) as N4. set (q4 := fl (q3 + more)) in *.
  pose proof (sum_relative f V q4 e1 (HT _) HE1) as N5. set (q5 := fl (q4 + e1)) in *.
  pose proof (sum_relative f V q5 e2 (HT _) HE2) as N6. set (q6 := fl (q5 + e2)) in *.
  fold u in N1, N2, N3, N4, N5, N6. rewrite u_value in *.
  pose proof (three_sum_falling p x2 q6 HP HX2 (HT _)) as T. destruct (three_sum p x2 q6) as [[o1 o2] o3].
  destruct T as (T & E). split; [exact T|]. cbn [sum3].
  assert (Size : forall v w t, Rabs (v - w) <= t -> Rabs v <= Rabs w + t).
  { intros v w t H. replace v with ((v - w) + w) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra. }
  pose proof (Rabs_triang x0 y) as W1. assert (B1 : Rabs e1 <= 201 / 100 * / 2 ^ 106 * m + lost) by lra.
  pose proof (Rabs_triang (x0 + y) (- e1)) as W2. rewrite Rabs_Ropp in W2. replace (x0 + y + - e1) with x1 in W2 by lra.
  pose proof (Rabs_triang x1 z) as W3. assert (B2 : Rabs e2 <= 301 / 100 * / 2 ^ 106 * m + lost) by lra.
  assert (T1 : Rabs t1 <= 102 / 100 * / 2 ^ 106 * m + lost) by (apply Size in R1; lra).
  assert (T2 : Rabs t2 <= 102 / 100 * / 2 ^ 106 * m + lost) by (apply Size in R2; lra).
  assert (T3 : Rabs t3 <= 102 / 100 * / 2 ^ 106 * m + lost) by (apply Size in R3; lra).
  pose proof (Rabs_triang t1 t2).
  assert (Q1 : Rabs (q1 - (t1 + t2)) <= 205 / 100 * / 2 ^ 159 * m + / 2 ^ 50 * lost) by lra.
  apply Size in N1. pose proof (Rabs_triang q1 t3).
  assert (Q2 : Rabs (q2 - (q1 + t3)) <= 308 / 100 * / 2 ^ 159 * m + / 2 ^ 50 * lost) by lra.
  apply Size in N2. pose proof (Rabs_triang q2 rest).
  assert (Q3 : Rabs (q3 - (q2 + rest)) <= 41 / 10 * / 2 ^ 159 * m + / 2 ^ 50 * lost) by lra.
  apply Size in N3. pose proof (Rabs_triang q3 more).
  assert (Q4 : Rabs (q4 - (q3 + more)) <= 511 / 100 * / 2 ^ 159 * m + / 2 ^ 49 * lost) by lra.
  apply Size in N4. pose proof (Rabs_triang q4 e1).
  assert (Q5 : Rabs (q5 - (q4 + e1)) <= 715 / 100 * / 2 ^ 159 * m + / 2 ^ 49 * lost) by lra.
  apply Size in N5. pose proof (Rabs_triang q5 e2).
  assert (Q6 : Rabs (q6 - (q5 + e2)) <= 102 / 10 * / 2 ^ 159 * m + / 2 ^ 49 * lost) by lra.
  assert (R1' : Rabs (t1 - a * s2) <= 101 / 100 * / 2 ^ 159 * m + lost) by lra.
  assert (R2' : Rabs (t2 - b * s1) <= 101 / 100 * / 2 ^ 159 * m + lost) by lra.
  assert (R3' : Rabs (t3 - c * s0) <= 101 / 100 * / 2 ^ 159 * m + lost) by lra.
  replace (o1 + o2 + o3 - (a + b + c) * (s0 + s1 + s2)) with
    ((p + x0 - a * s0) + (y + rest - a * s1) + (z + more - b * s0) + (t1 - a * s2) + (t2 - b * s1) + (t3 - c * s0)
      + (q1 - (t1 + t2)) + (q2 - (q1 + t3)) + (q3 - (q2 + rest)) + (q4 - (q3 + more)) + (q5 - (q4 + e1))
      + (q6 - (q5 + e2)) + - (b * s2) + - (c * s1) + - (c * s2))
    by (replace o3 with (p + x2 + q6 - o1 - o2) by lra; replace e2 with (x1 + z - x2) by lra;
        replace e1 with (x0 + y - x1) by lra; ring).
  apply Rabs_le_inv in E1, E2, E3, R1', R2', R3', Q1, Q2, Q3, Q4, Q5, Q6, P12, P21, P22. apply Rabs_le. lra.
Qed.

(** ** Products word by word: extended.words_product, and extended_gradients.UNDERFLOW *)
Lemma sizes_within xs : forall s size, Rabs s + sizes xs <= size -> partial_sums_within size s xs.
Proof.
  induction xs as [|x xs IH]; intros s size H; cbn [partial_sums_within]; [exact I|]. rewrite sizes_cons in H.
  pose proof (Rabs_triang s x). pose proof (sizes_nonneg xs). split; [lra|]. apply IH. lra.
Qed.

Lemma fold_total xs : forall s, fold_left Rplus xs s = s + total xs.
Proof.
  induction xs as [|x xs IH]; intros s; cbn [fold_left]; [unfold total; simpl; ring|]. rewrite IH, total_cons. ring.
Qed.

Lemma total_permuted xs ys : Permutation xs ys -> total xs = total ys.
Proof. induction 1; rewrite ?total_cons; congruence || lra. Qed.

Lemma sizes_permuted xs ys : Permutation xs ys -> sizes xs = sizes ys.
Proof. induction 1; rewrite ?sizes_cons; congruence || lra. Qed.

Definition words_of_products (xys : list (R * R)) : list R := firsts f xys ++ seconds f xys.

Lemma total_app xs ys : total (xs ++ ys) = total xs + total ys.
Proof. induction xs as [|x xs IH]; [unfold total; simpl; ring|]. simpl app. rewrite !total_cons, IH. ring. Qed.

Lemma sizes_app xs ys : sizes (xs ++ ys) = sizes xs + sizes ys.
Proof. unfold sizes. rewrite map_app. apply total_app. Qed.

(** n products are 2 n words; in whatever order they are added up, each product loses half the smallest number at
    most. *)
Theorem products_near xys terms : Forall (fun xy => holds (fst xy) /\ holds (snd xy)) xys ->
  Permutation (words_of_products xys) terms -> INR (length xys) <= 2 ^ 20 ->
  falling3 (fold_left add_word terms zero3) /\
  Rabs (sum3 (fold_left add_word terms zero3) - total (exacts xys)) <=
    INR (length xys) * (62 / 10 * / 2 ^ 159 * sizes (exacts xys) + (1 + / 2 ^ 100) * lost).
Proof.
  intros H P N. pose proof lost_value as L0. pose proof (pos_INR (length xys)) as N0.
  destruct (products_sums f V xys H) as (HF & HS & E & SF & SS). fold u lost in E, SF, SS. rewrite u_value in SF, SS.
  pose proof (total_permuted _ _ P) as T. pose proof (sizes_permuted _ _ P) as S.
  pose proof (Permutation_length P) as Ln.
  unfold words_of_products in *. rewrite total_app in T. rewrite sizes_app in S.
  rewrite app_length in Ln. unfold firsts, seconds in Ln. rewrite !map_length in Ln.
  assert (HT : Forall holds terms).
  { apply (Permutation_Forall P). apply Forall_app. now split. }
  pose proof (sizes_nonneg (exacts xys)) as S0. set (n := INR (length xys)) in *. set (s := sizes (exacts xys)) in *.
  assert (NL : 0 <= n * lost) by (apply Rmult_le_pos; lra).
  assert (Sz : sizes terms <= 101 / 100 * s + 3 * (n * lost)) by lra.
  assert (Len : INR (length terms) = 2 * n) by (rewrite <- Ln, plus_INR; unfold n; ring).
  destruct (add_words_error terms (101 / 100 * s + 3 * (n * lost)) HT ltac:(lra)
    ltac:(apply sizes_within; rewrite Rabs_R0; lra) ltac:(lra)) as (F & A).
  split; [exact F|]. rewrite fold_total, Rplus_0_l, Len in A.
  replace (sum3 (fold_left add_word terms zero3) - total (exacts xys)) with
    ((sum3 (fold_left add_word terms zero3) - total terms) +
      (total (firsts f xys) + total (seconds f xys) - total (exacts xys))) by lra.
  eapply Rle_trans; [apply Rabs_triang|].
  assert (M : n * (302 / 100 * / 2 ^ 159 * (3 * (n * lost))) <= n * (/ 2 ^ 101 * lost)).
  { apply Rmult_le_compat_l; [exact N0|].
    assert (n * lost <= 2 ^ 20 * lost) by (apply Rmult_le_compat_r; lra). lra. }
  assert (0 <= n * (/ 2 ^ 159 * s)) by (apply Rmult_le_pos; lra). lra.
Qed.
