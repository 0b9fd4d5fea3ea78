(** Sums of any numbers in three words, as refattn/oracle/extended/loops.py adds them up: what is left out is a third power. *)
From Coq Require Import Reals List Lra Lia ZArith.
From refattn Require Import LogMetric Formats Roundoff ErrorFree.
Import ListNotations.
Open Scope R_scope.

(** Sums of lists, and of their sizes. *)
Definition total (xs : list R) : R := fold_right Rplus 0 xs.
Definition sizes (xs : list R) : R := total (map Rabs xs).

Lemma total_cons x xs : total (x :: xs) = x + total xs.
Proof. reflexivity. Qed.

Lemma sizes_cons x xs : sizes (x :: xs) = Rabs x + sizes xs.
Proof. reflexivity. Qed.

Lemma sizes_nonneg xs : 0 <= sizes xs.
Proof. unfold sizes. induction xs as [|x xs IH]; simpl; [lra|]. pose proof (Rabs_pos x). lra. Qed.

Lemma total_sizes xs : Rabs (total xs) <= sizes xs.
Proof.
  unfold sizes. induction xs as [|x xs IH]; simpl; [rewrite Rabs_R0; lra|].
  eapply Rle_trans; [apply Rabs_triang|]. lra.
Qed.

Section Format.
Variable f : format.
Hypothesis V : valid_format f.
Let u := unit_roundoff f.
Let lost := smallest_subnormal f / 2.
Local Notation fl := (nearest f).
Local Notation two_sum := (two_sum f).
Local Notation three_sum := (three_sum f).
Local Notation two_product := (two_product f).

(** A running sum, and what each addition leaves out. *)
Fixpoint running (s : R) (xs : list R) : R * list R :=
  match xs with
  | [] => (s, [])
  | x :: xs => let (t, rest) := two_sum s x in let (end_, rests) := running t xs in (end_, rest :: rests)
  end.

Definition all_held := Forall (holds f).

Lemma running_length xs s : length (snd (running s xs)) = length xs.
Proof.
  revert s. induction xs as [|x xs IH]; intros s; [reflexivity|]. cbn [running].
  destruct (two_sum s x) as [t e]. specialize (IH t). destruct (running t xs). cbn [snd length] in *. now rewrite IH.
Qed.

Lemma running_exact xs s : holds f s -> all_held xs ->
  holds f (fst (running s xs)) /\ all_held (snd (running s xs)) /\
  fst (running s xs) + total (snd (running s xs)) = s + total xs.
Proof.
  intros S X. revert s S. induction X as [|x xs Hx X IH]; intros s S; cbn [running].
  - repeat split; [exact S|constructor].
  - destruct (two_sum_split f V s x S Hx) as (t & e & T & _ & E & HT & HE & _). rewrite T.
    destruct (IH t HT) as (A & B & C). destruct (running t xs) as [r es]. cbn [fst snd] in *. rewrite !total_cons.
    repeat split; [exact A|now constructor|]. lra.
Qed.

(** What [n] additions leave out, from a sum that has left out [past] of numbers of [before]. *)
Lemma running_grown xs s before past : holds f s -> all_held xs -> 0 <= past -> Rabs s <= before + past ->
  past + sizes (snd (running s xs)) <= (1 + u) ^ length xs * past + ((1 + u) ^ length xs - 1) * (before + sizes xs).
Proof.
  pose proof (unit_roundoff_bounds f V) as U. fold u in U.
  intros S X. revert s S before past. induction X as [|x xs Hx X IH]; intros s S before past P B.
  - unfold sizes. simpl. lra.
  - cbn [running]. destruct (two_sum_split f V s x S Hx) as (t & e & T & _ & E & HT & HE & _ & L). rewrite T.
    fold u in L.
    pose proof (Rabs_pos x) as X0. pose proof (Rabs_pos e) as E0. pose proof (Rabs_triang s x) as W.
    assert (Bt : Rabs t <= (before + Rabs x) + (past + Rabs e)).
    { replace t with (s + x + - e) by lra. eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. lra. }
    specialize (IH t HT (before + Rabs x) (past + Rabs e) ltac:(lra) Bt).
    destruct (running t xs) as [r es]. cbn [snd length pow] in *. rewrite !sizes_cons.
    set (A := sizes xs) in *. set (g := (1 + u) ^ length xs) in *.
    assert (G : 1 <= g) by (apply pow_R1_Rle; lra).
    pose proof (sizes_nonneg xs) as A0. fold A in A0.
    assert (Le : Rabs e <= u * (before + past + Rabs x)) by (apply Rle_trans with (1 := L); apply Rmult_le_compat_l;
      lra).
    assert (g * Rabs e <= g * (u * (before + past + Rabs x + A))).
    { apply Rmult_le_compat_l; [lra|]. apply Rle_trans with (1 := Le). apply Rmult_le_compat_l; lra. }
    lra.
Qed.

Lemma running_left_out xs : all_held xs ->
  sizes (snd (running 0 xs)) <= ((1 + u) ^ length xs - 1) * sizes xs.
Proof.
  intros X. pose proof (running_grown xs 0 0 0 (holds_0 f) X (Rle_refl 0)) as H. rewrite Rabs_R0 in H.
  specialize (H ltac:(lra)). lra.
Qed.

(** (1 + u)^n - 1 in Higham's form. *)
Lemma power_gamma n : INR n * u < 1 -> (1 + u) ^ n - 1 <= log_error (INR n * u).
Proof.
  pose proof (unit_roundoff_bounds f V) as U. fold u in U. intros H.
  assert (G : (1 + u) ^ n * (1 - INR n * u) <= 1).
  { clear H. induction n as [|n IH]; [simpl; lra|]. rewrite S_INR. simpl.
    assert (0 <= (1 + u) ^ n) by (apply pow_le; lra). pose proof (pos_INR n).
    assert ((1 + u) * (1 - (INR n + 1) * u) <= 1 - INR n * u) by nra.
    replace ((1 + u) * (1 + u) ^ n * (1 - (INR n + 1) * u)) with ((1 + u) ^ n * ((1 + u) * (1 - (INR n + 1) * u)))
      by ring.
    eapply Rle_trans; [apply Rmult_le_compat_l; eassumption|exact IH]. }
  unfold log_error. apply Rmult_le_reg_r with (1 - INR n * u); [lra|].
  unfold Rdiv. rewrite (Rmult_assoc (INR n * u)), Rinv_l by lra. lra.
Qed.

(** ** loops.add_all *)
Fixpoint add_all (a b c : R) (xs : list R) : R * R * R :=
  match xs with
  | [] => three_sum a b c
  | x :: xs =>
    let (a, rest) := two_sum a x in
    let (b, rest) := two_sum b rest in
    add_all a b (fl (c + rest)) xs
  end.

Lemma add_all_running xs a b c :
  add_all a b c xs =
    let (a', rests) := running a xs in
    let (b', more) := running b rests in
    three_sum a' b' (fst (running c more)).
Proof.
  revert a b c. induction xs as [|x xs IH]; intros a b c; [reflexivity|]. cbn [add_all running].
  destruct (two_sum a x) as [a1 r]. destruct (two_sum b r) as [b1 m] eqn:E. rewrite IH.
  destruct (running a1 xs) as [a' rests]. cbn [running]. rewrite E. destruct (running b1 rests) as [b' more].
  cbn [running]. unfold ErrorFree.two_sum at 1. cbv zeta. now destruct (running (fl (c + m)) more).
Qed.

Lemma cube_le x y : 0 <= x -> x <= y -> x * x * x <= y * y * y.
Proof. intros. assert (x * x <= y * y) by nra. nra. Qed.

(** n numbers are off by at most (n u / (1 - n u))^3 of their sizes. *)
Theorem add_all_error xs : all_held xs -> INR (length xs) * u < 1 ->
  let '(a, b, c) := add_all 0 0 0 xs in
  Rabs (a + b + c - total xs) <= log_error (INR (length xs) * u) ^ 3 * sizes xs.
Proof.
  intros X N. pose proof (unit_roundoff_bounds f V) as U. fold u in U. rewrite add_all_running.
  destruct (running_exact xs 0 (holds_0 f) X) as (A & R & EA).
  pose proof (running_left_out xs X) as LA. pose proof (running_length xs 0) as NA.
  destruct (running 0 xs) as [a' rests]. cbn [fst snd] in *.
  destruct (running_exact rests 0 (holds_0 f) R) as (B & M & EB).
  pose proof (running_left_out rests R) as LB. pose proof (running_length rests 0) as NB.
  destruct (running 0 rests) as [b' more]. cbn [fst snd] in *.
  destruct (running_exact more 0 (holds_0 f) M) as (C & _ & EC).
  pose proof (running_left_out more M) as LC.
  destruct (running 0 more) as [c' last]. cbn [fst snd] in *.
  pose proof (three_sum_exact f V a' b' c' A B C) as T. destruct (three_sum a' b' c') as [[x y] z].
  destruct T as (T & _). rewrite NB, NA in LC. rewrite NA in LB.
  replace (x + y + z - total xs) with (- total last) by lra. rewrite Rabs_Ropp.
  pose proof (total_sizes last) as S. pose proof (power_gamma (length xs) N) as G.
  set (g := (1 + u) ^ length xs - 1) in *.
  assert (G0 : 0 <= g) by (unfold g; pose proof (pow_R1_Rle (1 + u) (length xs) ltac:(lra)); lra).
  pose proof (sizes_nonneg xs). apply Rmult_le_compat_l with (r := g) in LB; [|exact G0].
  apply Rmult_le_compat_l with (r := g * g) in LA; [|nra].
  pose proof (cube_le g _ G0 G). apply Rle_trans with (g * g * g * sizes xs); [lra|].
  simpl. apply Rmult_le_compat_r; lra.
Qed.

(** ** loops.row_dots *)
Fixpoint row_dots (a b c : R) (xys : list (R * R)) : R * R * R :=
  match xys with
  | [] => three_sum a b c
  | (x, y) :: xys =>
    let (product, error) := two_product x y in
    let (a, rest) := two_sum a product in
    let (b, more) := two_sum b rest in
    let (b, last) := two_sum b error in
    row_dots a b (fl (c + fl (more + last))) xys
  end.

Definition firsts (xys : list (R * R)) : list R := map (fun xy => fst (two_product (fst xy) (snd xy))) xys.
Definition seconds (xys : list (R * R)) : list R := map (fun xy => snd (two_product (fst xy) (snd xy))) xys.
Definition exacts (xys : list (R * R)) : list R := map (fun xy => fst xy * snd xy) xys.

Fixpoint interleave (xs ys : list R) : list R :=
  match xs, ys with x :: xs, y :: ys => x :: y :: interleave xs ys | _, _ => [] end.

Fixpoint in_pairs (xs : list R) : list R :=
  match xs with x :: y :: xs => fl (x + y) :: in_pairs xs | _ => [] end.

Lemma row_dots_running xys a b c :
  row_dots a b c xys =
    let (a', rests) := running a (firsts xys) in
    let (b', more) := running b (interleave rests (seconds xys)) in
    three_sum a' b' (fst (running c (in_pairs more))).
Proof.
  revert a b c. induction xys as [|(x, y) xys IH]; intros a b c; [reflexivity|].
  unfold firsts, seconds in *. cbn [row_dots map running fst snd].
  destruct (two_product x y) as [p e]. cbn [fst snd]. destruct (two_sum a p) as [a1 r].
  destruct (two_sum b r) as [b1 m] eqn:E1. destruct (two_sum b1 e) as [b2 l] eqn:E2. rewrite IH.
  destruct (running a1 _) as [a' rests]. cbn [interleave running]. rewrite E1. cbn [running]. rewrite E2.
  destruct (running b2 _) as [b' more].
  cbn [in_pairs running]. unfold ErrorFree.two_sum at 1. cbv zeta. now destruct (running (fl (c + _)) (in_pairs more)).
Qed.

Lemma interleave_sums xs ys : length xs = length ys ->
  length (interleave xs ys) = (2 * length xs)%nat /\ total (interleave xs ys) = total xs + total ys /\
  sizes (interleave xs ys) = sizes xs + sizes ys.
Proof.
  revert ys. induction xs as [|x xs IH]; intros [|y ys] H; try discriminate; cbn [interleave length].
  - unfold sizes. simpl. repeat split; lra.
  - destruct (IH ys) as (A & B & C); [now injection H|]. rewrite !total_cons, !sizes_cons, A, B, C.
    repeat split; try lra. lia.
Qed.

Lemma interleave_held xs ys : all_held xs -> all_held ys -> all_held (interleave xs ys).
Proof.
  intros X. revert ys. induction X as [|x xs Hx X IH]; intros ys Y; [constructor|].
  destruct Y as [|y ys Hy Y]; [constructor|]. cbn [interleave]. repeat constructor; try assumption. now apply IH.
Qed.

Lemma in_pairs_sums n xs : length xs = (2 * n)%nat -> all_held xs ->
  length (in_pairs xs) = n /\ all_held (in_pairs xs) /\
  Rabs (total (in_pairs xs) - total xs) <= u * sizes xs /\ sizes (in_pairs xs) <= (1 + u) * sizes xs.
Proof.
  revert xs. induction n as [|n IH]; intros xs N H.
  - destruct xs; [|discriminate]. unfold sizes. simpl. rewrite Rminus_0_r, Rabs_R0. repeat split; try lra. constructor.
  - destruct xs as [|x [|y xs]]; try (simpl in N; lia). apply Forall_cons_iff in H. destruct H as (X & H).
    apply Forall_cons_iff in H. destruct H as (Y & H).
    destruct (IH xs) as (A & B & C & D); [simpl in N; lia|exact H|]. cbn [in_pairs length].
    rewrite !total_cons, !sizes_cons, A.
    pose proof (sum_relative f V x y X Y) as E. fold u in E. pose proof (Rabs_triang x y) as T.
    pose proof (unit_roundoff_bounds f V) as U. fold u in U.
    apply Rmult_le_compat_l with (r := u) in T; [|lra].
    repeat split.
    + constructor; [now apply held|exact B].
    + replace (fl (x + y) + total (in_pairs xs) - (x + (y + total xs)))
        with ((fl (x + y) - (x + y)) + (total (in_pairs xs) - total xs)) by ring.
      eapply Rle_trans; [apply Rabs_triang|]. lra.
    + assert (Rabs (fl (x + y)) <= (1 + u) * (Rabs x + Rabs y)); [|lra].
      replace (fl (x + y)) with (x + y + (fl (x + y) - (x + y))) by ring.
      pose proof (Rabs_triang x y). eapply Rle_trans; [apply Rabs_triang|]. lra.
Qed.

Lemma products_sums xys : Forall (fun xy => holds f (fst xy) /\ holds f (snd xy)) xys ->
  all_held (firsts xys) /\ all_held (seconds xys) /\
  Rabs (total (firsts xys) + total (seconds xys) - total (exacts xys)) <= INR (length xys) * lost /\
  sizes (firsts xys) <= (1 + u) * sizes (exacts xys) + INR (length xys) * lost /\
  sizes (seconds xys) <= u * sizes (exacts xys) + INR (length xys) * (2 * lost).
Proof.
  unfold firsts, seconds, exacts.
  induction 1 as [|(x, y) xys (X & Y) H IH]; cbn [map length].
  - unfold sizes. simpl. rewrite Rminus_0_r, Rplus_0_r, Rabs_R0. repeat split; try constructor; lra.
  - cbn [fst snd] in *. destruct IH as (A & B & C & D & E). rewrite !total_cons, !sizes_cons, S_INR. cbn [fst snd].
    destruct (two_product_lost f V x y X Y) as (F & L). fold lost in L. rewrite F in *.
    pose proof (rounded_near f V (x * y)) as N. fold u lost in N.
    set (p := fl (x * y)) in *. set (e := snd (two_product x y)) in *.
    repeat split.
    + constructor; [now apply held|exact A].
    + constructor; [now apply held|exact B].
    + match goal with |- Rabs ?g <= _ => replace g with ((p + e - x * y) +
        (total (map (fun xy => fst (two_product (fst xy) (snd xy))) xys) +
         total (map (fun xy => snd (two_product (fst xy) (snd xy))) xys) -
         total (map (fun xy => fst xy * snd xy) xys))) by ring end.
      eapply Rle_trans; [apply Rabs_triang|]. lra.
    + assert (Rabs p <= (1 + u) * Rabs (x * y) + lost); [|lra].
      replace p with (x * y + (p - x * y)) by ring. eapply Rle_trans; [apply Rabs_triang|]. lra.
    + assert (Rabs e <= u * Rabs (x * y) + 2 * lost); [|lra].
      replace e with ((p + e - x * y) + - (p - x * y)) by ring. eapply Rle_trans; [apply Rabs_triang|].
      rewrite Rabs_Ropp. lra.
Qed.

(** Sums of [n] products in three words: a third power of their 2 n words, and what underflows. *)
Theorem row_dots_error xys : Forall (fun xy => holds f (fst xy) /\ holds f (snd xy)) xys ->
  INR (2 * length xys) * u <= / 4 ->
  let '(a, b, c) := row_dots 0 0 0 xys in
  Rabs (a + b + c - total (exacts xys)) <=
    log_error (INR (2 * length xys) * u) ^ 3 * sizes (exacts xys) + INR (length xys) * smallest_subnormal f.
Proof.
  intros H N. pose proof (unit_roundoff_bounds f V) as U. fold u in U.
  pose proof (smallest_subnormal_positive f) as S0. assert (L0 : smallest_subnormal f = 2 * lost) by (unfold lost; lra).
  destruct (products_sums xys H) as (HF & HS & Lost & SF & SS). rewrite row_dots_running.
  destruct (running_exact (firsts xys) 0 (holds_0 f) HF) as (A & R & EA).
  pose proof (running_left_out (firsts xys) HF) as LA. pose proof (running_length (firsts xys) 0) as NA.
  assert (NF : length (firsts xys) = length xys) by apply map_length.
  assert (NS : length (seconds xys) = length xys) by apply map_length.
  destruct (running 0 (firsts xys)) as [a' rests]. cbn [fst snd] in *. rewrite NF in *.
  destruct (interleave_sums rests (seconds xys)) as (NI & TI & SI); [lia|].
  pose proof (interleave_held rests (seconds xys) R HS) as HI.
  destruct (running_exact _ 0 (holds_0 f) HI) as (B & M & EB).
  pose proof (running_left_out _ HI) as LB. pose proof (running_length (interleave rests (seconds xys)) 0) as NB.
  destruct (running 0 (interleave rests (seconds xys))) as [b' more]. cbn [fst snd] in *. rewrite NI, NA in *.
  destruct (in_pairs_sums (length xys) more NB M) as (NP & HP & TP & SP).
  destruct (running_exact _ 0 (holds_0 f) HP) as (C & _ & EC).
  pose proof (running_left_out _ HP) as LC.
  destruct (running 0 (in_pairs more)) as [c' last]. cbn [fst snd] in *. rewrite NP in *.
  pose proof (three_sum_exact f V a' b' c' A B C) as T. destruct (three_sum a' b' c') as [[x y] z].
  destruct T as (T & _).
  pose proof (total_sizes last) as TL. pose proof (power_gamma (2 * length xys) ltac:(lra)) as G.
  destruct (length xys) as [|k] eqn:K.
  { destruct xys; [|discriminate]. destruct rests; [|discriminate]. destruct more; [|discriminate].
    unfold sizes, exacts in *. simpl in *.
    assert (total last = 0). { destruct (Req_dec (total last) 0) as [?|Z]; [assumption|]. apply Rabs_pos_lt in Z. lra. }
    replace (x + y + z - 0) with 0 by lra. rewrite Rabs_R0. lra. }
  assert (P : (1 + u) ^ (2 * S k) = (1 + u) ^ S k * (1 + u) * (1 + u) ^ k).
  { replace (2 * S k)%nat with (S k + (1 + k))%nat by lia. rewrite !pow_add. simpl. ring. }
  pose proof (pow_R1_Rle (1 + u) k ltac:(lra)) as K1.
  pose proof (pow_R1_Rle (1 + u) (S k) ltac:(lra)) as K2.
  set (n := INR (S k)) in *. assert (n0 : 0 <= n) by apply pos_INR.
  set (g := (1 + u) ^ (2 * S k) - 1) in *. set (h := (1 + u) ^ S k) in *.
  assert (GH : h * (1 + u) - 1 <= g). { unfold g. rewrite P. assert (h * (1 + u) * 1 <= h * (1 + u) * (1 + u) ^ k)
      by (apply Rmult_le_compat_l; nra). lra. }
  assert (H1 : 0 <= h - 1) by lra.
  pose proof (sizes_nonneg (exacts xys)) as X0. pose proof (sizes_nonneg more) as M0.
  pose proof (sizes_nonneg rests) as R0'. pose proof (sizes_nonneg (seconds xys)) as S0'.
  assert (G3 : log_error (INR (2 * S k) * u) <= / 3).
  { unfold log_error. assert (W : 0 <= INR (2 * S k) * u) by (apply Rmult_le_pos; [apply pos_INR|lra]).
    apply Rmult_le_reg_r with (1 - INR (2 * S k) * u); [lra|]. unfold Rdiv. rewrite Rmult_assoc, Rinv_l by lra. lra. }
  assert (G0 : 0 <= g) by nra.
  (* the three sums' rests, one after the other *)
  assert (Q1 : sizes (interleave rests (seconds xys)) <= g * sizes (exacts xys) + n * (3 * lost)).
  { rewrite SI. apply Rmult_le_compat_l with (r := h - 1) in SF; [|exact H1].
    assert ((h - 1) * (n * lost) <= 1 * (n * lost)).
    { apply Rmult_le_compat_r; [apply Rmult_le_pos; [exact n0|unfold lost; lra]|nra]. }
    assert ((h * (1 + u) - 1) * sizes (exacts xys) <= g * sizes (exacts xys)) by (apply Rmult_le_compat_r; lra). lra. }
  assert (Q2 : sizes more <= g * (g * sizes (exacts xys) + n * (3 * lost))).
  { eapply Rle_trans; [exact LB|]. apply Rmult_le_compat_l; lra. }
  assert (Q3 : Rabs (x + y + z - total (exacts xys)) <= g * sizes more + n * lost).
  { replace (x + y + z - total (exacts xys)) with
      ((total (firsts xys) + total (seconds xys) - total (exacts xys)) +
        ((total (in_pairs more) - total more) + - total last)) by lra.
    apply Rle_trans with (n * lost + (u * sizes more + sizes last)).
    - eapply Rle_trans; [apply Rabs_triang|]. apply Rplus_le_compat; [exact Lost|].
      eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. lra.
    - apply Rmult_le_compat_l with (r := h - 1) in SP; [|exact H1].
      assert ((h * (1 + u) - 1) * sizes more <= g * sizes more) by (apply Rmult_le_compat_r; lra). lra. }
  eapply Rle_trans; [exact Q3|]. apply Rmult_le_compat_l with (r := g) in Q2; [|exact G0].
  pose proof (cube_le g _ G0 G) as CG. apply Rmult_le_compat_r with (r := sizes (exacts xys)) in CG; [|exact X0].
  assert (n * lost * (g * g) <= n * lost * / 9).
  { apply Rmult_le_compat_l; [apply Rmult_le_pos; [exact n0|unfold lost; lra]|].
    replace (/ 9) with (/ 3 * / 3) by lra. apply Rmult_le_compat; lra. }
  assert (0 <= n * lost) by (apply Rmult_le_pos; [exact n0|unfold lost; lra]).
  rewrite L0. set (L := log_error (INR (2 * S k) * u)) in *. replace (L ^ 3) with (L * L * L) by ring. lra.
Qed.
End Format.
