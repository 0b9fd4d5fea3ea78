(** Products of numbers of two words, operation by operation as refattn/oracle/extended/words.py has them, underflow included. *)
From Coq Require Import Reals Lra Lia ZArith.
From Flocq Require Import Core.
From refattn Require Import LogMetric Formats ErrorFree.
Open Scope R_scope.

Section Format.
Variable f : format.
Hypothesis V : valid_format f.
Hypothesis wide : (8 <= precision f)%Z.
Let u := unit_roundoff f.
Let lost := smallest_subnormal f / 2.
Local Notation fl := (nearest f).
Local Notation ordered_sum := (ordered_sum f).
Local Notation two_product := (two_product f).
Local Notation fused := (fused f).

Definition multiply (a al b bl : R) : R * R :=
  let (product, error) := two_product a b in
  let error := fused a bl error in
  let error := fused al b error in
  ordered_sum product error.

Definition multiply_add (a al b bl c cl : R) : R * R :=
  let (product, error) := two_product a b in
  let error := fused a bl error in
  let error := fused al b error in
  let (total, rest) := ordered_sum c product in
  ordered_sum total (fl (rest + fl (error + cl))).

(** Numbers of two words. *)
Definition two_words (a al : R) : Prop := holds f a /\ holds f al /\ Rabs al <= u * Rabs a.

Lemma unit_small : 0 < u <= / 256.
Proof.
  split; [apply unit_roundoff_bounds; exact V|]. unfold u, unit_roundoff.
  replace (/ 256) with (bpow radix2 (-8)) by (simpl; lra). apply bpow_le. lia.
Qed.

Lemma lost_small : 0 < lost /\ lost = u * smallest_normal f.
Proof.
  unfold lost, u, unit_roundoff, smallest_subnormal, smallest_normal. split.
  - pose proof (bpow_gt_0 radix2 (lowest f)). lra.
  - replace (bpow radix2 (lowest f) / 2) with (/ 2 * bpow radix2 (lowest f)) by lra.
    rewrite bpow_half, <- bpow_plus. f_equal. unfold lowest. lia.
Qed.

(** The product's words before they are added up. *)
Lemma product_parts a al b bl : two_words a al -> two_words b bl ->
  let m := Rabs (a * b) in
  let p := fst (two_product a b) in
  let e := fused al b (fused a bl (snd (two_product a b))) in
  p = fl (a * b) /\ holds f p /\ holds f e /\ Rabs (p - a * b) <= u * m + lost /\
  Rabs (p + e - (a + al) * (b + bl)) <= (6 * (u * u) + 2 * (u * u * u)) * m + 5 * lost /\
  Rabs e <= 4 * u * m + 6 * lost.
Proof.
  intros (HA & HAL & AL) (HB & HBL & BL) m. pose proof unit_small as U. pose proof lost_small as (L0 & _).
  destruct (two_product_lost f V a b HA HB) as (P & E). fold lost in E.
  pose proof (held f V (a * b)) as HP. pose proof (rounded_near f V (a * b)) as N. fold u lost m in N.
  cbv zeta.
  rewrite P in *. set (p := fl (a * b)) in *. set (e0 := snd (two_product a b)) in *.
  assert (M0 : 0 <= m) by apply Rabs_pos.
  assert (X : Rabs (a * bl) <= u * m).
  { unfold m. rewrite !Rabs_mult. pose proof (Rabs_pos a). nra. }
  assert (Y : Rabs (al * b) <= u * m).
  { unfold m. rewrite !Rabs_mult. pose proof (Rabs_pos b). nra. }
  assert (Z : Rabs (al * bl) <= u * u * m).
  { unfold m. rewrite !Rabs_mult. replace (u * u * (Rabs a * Rabs b)) with ((u * Rabs a) * (u * Rabs b)) by ring.
    apply Rmult_le_compat; try assumption; apply Rabs_pos. }
  assert (E0 : Rabs e0 <= u * m + 2 * lost).
  { replace e0 with ((p + e0 - a * b) + - (p - a * b)) by ring. eapply Rle_trans; [apply Rabs_triang|].
    rewrite Rabs_Ropp. lra. }
  unfold fused, ErrorFree.fused. set (e1 := fl (a * bl + e0)).
  pose proof (rounded_near f V (a * bl + e0)) as R1. fold u lost e1 in R1.
  assert (S1 : Rabs (a * bl + e0) <= 2 * u * m + 2 * lost) by (eapply Rle_trans; [apply Rabs_triang|]; lra).
  assert (UL : u * lost <= / 256 * lost) by (apply Rmult_le_compat_r; lra).
  assert (T1 : Rabs (e1 - (a * bl + e0)) <= 2 * (u * u) * m + 2 * lost).
  { apply Rmult_le_compat_l with (r := u) in S1; lra. }
  set (e2 := fl (al * b + e1)). pose proof (rounded_near f V (al * b + e1)) as R2. fold u lost e2 in R2.
  assert (S2 : Rabs (al * b + e1) <= (3 * u + 2 * (u * u)) * m + 4 * lost).
  { replace (al * b + e1) with (al * b + ((a * bl + e0) + (e1 - (a * bl + e0)))) by ring.
    eapply Rle_trans; [apply Rabs_triang|].
    pose proof (Rabs_triang (a * bl + e0) (e1 - (a * bl + e0))). lra. }
  assert (T2 : Rabs (e2 - (al * b + e1)) <= (3 * (u * u) + 2 * (u * u * u)) * m + 2 * lost).
  { apply Rmult_le_compat_l with (r := u) in S2; lra. }
  split; [reflexivity|]. split; [exact HP|]. split; [apply held; exact V|]. split; [exact N|]. split.
  - replace (p + e2 - (a + al) * (b + bl)) with
      ((p + e0 - a * b) + ((e1 - (a * bl + e0)) + ((e2 - (al * b + e1)) + - (al * bl)))) by ring.
    eapply Rle_trans; [apply Rabs_triang|].
    pose proof (Rabs_triang (e1 - (a * bl + e0)) ((e2 - (al * b + e1)) + - (al * bl))).
    pose proof (Rabs_triang (e2 - (al * b + e1)) (- (al * bl))) as Q. rewrite (Rabs_Ropp (al * bl)) in Q. lra.
  - replace e2 with (al * b + e1 + (e2 - (al * b + e1))) by ring. eapply Rle_trans; [apply Rabs_triang|].
    assert (u * u <= / 256 * u) by (apply Rmult_le_compat_r; lra).
    assert (u * u * u <= / 256 * (/ 256 * u)) by nra.
    assert ((u - 5 * (u * u) - 2 * (u * u * u)) * m >= 0) by (apply Rle_ge, Rmult_le_pos; lra). lra.
Qed.

(** A product in two words: what it errs by, and by how much where something underflows. *)
Theorem multiply_words a al b bl : two_words a al -> two_words b bl ->
  let (x, y) := multiply a al b bl in
  two_words x y /\
  Rabs (x + y - (a + al) * (b + bl)) <= (6 * (u * u) + 2 * (u * u * u)) * Rabs (a * b) + 5 * lost.
Proof.
  intros A B. pose proof (product_parts a al b bl A B) as H. unfold multiply. cbv zeta in H.
  destruct (two_product a b) as [p e0]. cbn [fst snd] in H. set (e := fused al b (fused a bl e0)) in *.
  destruct H as (P & HP & HE & N & E & S). set (m := Rabs (a * b)) in *.
  pose proof unit_small as U. pose proof lost_small as (L0 & L1). assert (M0 : 0 <= m) by apply Rabs_pos.
  assert (P1 : m <= Rabs p + Rabs (p - a * b)).
  { unfold m. replace (a * b) with (p + - (p - a * b)) at 1 by ring.
    eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. lra. }
  assert (P2 : Rabs p <= m + Rabs (p - a * b)).
  { unfold m. replace p with (a * b + (p - a * b)) at 1 by ring. apply Rabs_triang. }
  assert (UM : u * m <= / 256 * m) by (apply Rmult_le_compat_r; lra).
  assert (N0 : 0 < smallest_normal f) by apply bpow_gt_0.
  assert (UN : u * smallest_normal f <= / 256 * smallest_normal f) by (apply Rmult_le_compat_r; lra).
  assert (O : Rabs e <= Rabs p \/ p = 0 \/ Rabs (p + e) < smallest_normal f).
  { destruct (Rlt_or_le m (smallest_normal f / 2)) as [Small|Large].
    - right. right. eapply Rle_lt_trans; [apply Rabs_triang|]. lra.
    - left. apply Rmult_le_compat_l with (r := u) in Large; lra. }
  destruct (ordered_sum_split f V p e HP HE O) as (x & y & -> & _ & Y & HX & HY & L & _). fold u in L.
  split; [now repeat split|]. replace (x + y) with (p + e) by lra. exact E.
Qed.

(** A product that is added to a number 32 times as large. *)
Theorem multiply_add_error a al b bl c cl : two_words a al -> two_words b bl -> two_words c cl ->
  Rabs (a * b) <= Rabs c / 32 -> 16 * lost <= u * u * Rabs c ->
  let (x, y) := multiply_add a al b bl c cl in
  two_words x y /\ Rabs (x + y - ((a + al) * (b + bl) + (c + cl))) <= 4 * (u * u) * Rabs c.
Proof.
  intros A B (HC & HCL & CL) M Low. pose proof (product_parts a al b bl A B) as H. unfold multiply_add. cbv zeta in H.
  destruct (two_product a b) as [p e0]. cbn [fst snd] in H. set (e := fused al b (fused a bl e0)) in *.
  destruct H as (P & HP & HE & N & E & S). set (m := Rabs (a * b)) in *. set (d := Rabs c) in *.
  pose proof unit_small as U. pose proof lost_small as (L0 & _). assert (M0 : 0 <= m) by apply Rabs_pos.
  assert (D0 : 0 <= d) by apply Rabs_pos.
  assert (UM : u * m <= / 256 * m) by (apply Rmult_le_compat_r; lra).
  assert (UUD : u * u * d <= / 256 * (u * d)).
  { replace (u * u * d) with (u * (u * d)) by ring. apply Rmult_le_compat_r; [nra|lra]. }
  assert (UD : u * d <= / 256 * d) by (apply Rmult_le_compat_r; lra).
  assert (UUM : u * u * m <= u * u * (d / 32)) by (apply Rmult_le_compat_l; nra).
  assert (UM' : u * m <= u * (d / 32)) by (apply Rmult_le_compat_l; lra).
  assert (U3M : u * u * u * m <= / 256 * (u * u * (d / 32))).
  { replace (u * u * u * m) with (u * (u * u * m)) by ring. apply Rmult_le_compat; try lra. apply Rmult_le_pos; nra. }
  assert (UUD0 : 0 <= u * u * d) by (apply Rmult_le_pos; nra).
  assert (UL : u * lost <= / 256 * lost) by (apply Rmult_le_compat_r; lra).
  assert (P2 : Rabs p <= m + Rabs (p - a * b)).
  { unfold m. replace p with (a * b + (p - a * b)) at 1 by ring. apply Rabs_triang. }
  assert (P3 : Rabs p <= d / 16) by lra.
  destruct (ordered_sum_split f V c p HC HP) as (t & r & -> & _ & RR & HT & HR & RT & RS); [left; fold d; lra|].
  fold u in RT, RS.
  assert (T1 : d <= Rabs t + Rabs p + Rabs r).
  { unfold d. replace c with (t + - p + r) by lra. eapply Rle_trans; [apply Rabs_triang|].
    pose proof (Rabs_triang t (- p)) as Q. rewrite Rabs_Ropp in Q. lra. }
  assert (R1 : Rabs r <= u * (d + d / 16)).
  { eapply Rle_trans; [exact RS|]. apply Rmult_le_compat_l; [lra|]. eapply Rle_trans; [apply Rabs_triang|]. fold d.
    lra. }
  pose proof (sum_relative f V e cl HE HCL) as F1. fold u in F1. set (s := fl (e + cl)) in *.
  assert (HS : holds f s) by (apply held; exact V).
  pose proof (sum_relative f V r s HR HS) as F2. fold u in F2. set (w := fl (r + s)) in *.
  assert (HW : holds f w) by (apply held; exact V).
  assert (A1 : Rabs (e + cl) <= 4 * u * m + 6 * lost + u * d) by (eapply Rle_trans; [apply Rabs_triang|]; lra).
  assert (B1 : Rabs (s - (e + cl)) <= u * (4 * u * m + 6 * lost + u * d)).
  { eapply Rle_trans; [exact F1|]. apply Rmult_le_compat_l; lra. }
  assert (A2 : Rabs (r + s) <= u * (d + d / 16) + (4 * u * m + 6 * lost + u * d) + u * (4 * u * m + 6 * lost + u * d)).
  { replace (r + s) with (r + ((e + cl) + (s - (e + cl)))) by ring. eapply Rle_trans; [apply Rabs_triang|].
    pose proof (Rabs_triang (e + cl) (s - (e + cl))). lra. }
  assert (B2 : Rabs (w - (r + s)) <= u * (u * (d + d / 16) + (4 * u * m + 6 * lost + u * d)
    + / 256 * (4 * u * m + 6 * lost + u * d))).
  { eapply Rle_trans; [exact F2|]. apply Rmult_le_compat_l; [lra|].
    assert (u * (4 * u * m + 6 * lost + u * d) <= / 256 * (4 * u * m + 6 * lost + u * d)); [|lra].
    apply Rmult_le_compat_r; [|lra]. assert (0 <= u * m) by (apply Rmult_le_pos; lra).
    assert (0 <= u * d) by (apply Rmult_le_pos; lra). lra. }
  assert (W1 : Rabs w <= Rabs (w - (r + s)) + Rabs (r + s)).
  { replace w with ((w - (r + s)) + (r + s)) at 1 by ring. apply Rabs_triang. }
  destruct (ordered_sum_split f V t w HT HW) as (x & y & -> & _ & Y & HX & HY & L & _); [left; lra|]. fold u in L.
  split; [now repeat split|].
  replace (x + y - ((a + al) * (b + bl) + (c + cl))) with
    ((p + e - (a + al) * (b + bl)) + ((s - (e + cl)) + (w - (r + s)))) by lra.
  eapply Rle_trans; [apply Rabs_triang|]. pose proof (Rabs_triang (s - (e + cl)) (w - (r + s))). lra.
Qed.
End Format.
