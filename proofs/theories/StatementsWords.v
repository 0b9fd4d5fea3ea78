(** The public theorems of numbers of two and three words,
    stated in full a second time; see StatementsRoundoff.v. *)
From Coq Require Import ZArith QArith Qreals Reals List.
From Flocq Require Import Core.
From refattn Require Import LogMetric Sums Formats Slices Roundoff ErrorFree Words WordSums WordProducts WordReduction
  WordExponential WordQuotients WordLogarithms WordSlices.
Import ListNotations.
Open Scope R_scope.

(** * ErrorFree.v *)

Theorem two_sum_exact :
  forall f : format,
    valid_format f ->
    forall a b : R,
    holds f a ->
    holds f b ->
    fst (two_sum f a b) = nearest f (a + b) /\
    nearest f (a + b) +
    nearest f
      (nearest f (a - nearest f (nearest f (a + b) - nearest f (nearest f (a + b) - a))) +
       nearest f (b - nearest f (nearest f (a + b) - a))) = a + b.
Proof. exact (@ErrorFree.two_sum_exact). Qed.

Theorem ordered_sum_exact :
  forall f : format,
    valid_format f ->
    forall a b : R,
    holds f a ->
    holds f b ->
    Rabs b <= Rabs a \/ a = 0 \/ Rabs (a + b) < smallest_normal f ->
    fst (ordered_sum f a b) = nearest f (a + b) /\
    nearest f (a + b) + nearest f (b - nearest f (nearest f (a + b) - a)) = a + b.
Proof. exact (@ErrorFree.ordered_sum_exact). Qed.

Theorem two_product_lost :
  forall f : format,
    valid_format f ->
    forall a b : R,
    holds f a ->
    holds f b ->
    fst (two_product f a b) = nearest f (a * b) /\
    Rabs (nearest f (a * b) + nearest f (a * b + - nearest f (a * b)) - a * b) <= smallest_subnormal f / 2.
Proof. exact (@ErrorFree.two_product_lost). Qed.

Theorem three_sum_exact :
  forall f : format,
    valid_format f ->
    forall a b c : R,
    holds f a ->
    holds f b ->
    holds f c ->
    let '(x, y, z) := three_sum f a b c in
    x + y + z = a + b + c /\ holds f x /\ holds f y /\ holds f z /\ Rabs z <= unit_roundoff f * Rabs y.
Proof. exact (@ErrorFree.three_sum_exact). Qed.

(** * Words.v *)

Theorem sum_error_held :
  forall f : format,
    valid_format f -> forall a b : R, holds f a -> holds f b -> holds f (a + b - nearest f (a + b)).
Proof. exact (@Words.sum_error_held). Qed.

Theorem two_product_exact :
  forall f : format,
    valid_format f ->
    forall a b : R,
    holds f a ->
    holds f b ->
    a * b = 0 \/ bpow radix2 (lowest f + 2 * precision f - 1) <= Rabs (a * b) ->
    nearest f (a * b - nearest f (a * b)) = a * b - nearest f (a * b).
Proof. exact (@Words.two_product_exact). Qed.

Theorem multiply_error :
  forall f : format,
    valid_format f ->
    forall a al b bl e1 e2 product error result : R,
    (4 <= precision f)%Z ->
    product + error = a * b ->
    Rabs error <= unit_roundoff f * Rabs (a * b) ->
    Rabs al <= unit_roundoff f * Rabs a ->
    Rabs bl <= unit_roundoff f * Rabs b ->
    Rabs (e1 - (a * bl + error)) <= unit_roundoff f * Rabs (a * bl + error) ->
    Rabs (e2 - (al * b + e1)) <= unit_roundoff f * Rabs (al * b + e1) ->
    result = product + e2 ->
    Rabs (result - (a + al) * (b + bl)) <=
    8 * (unit_roundoff f * unit_roundoff f) * Rabs ((a + al) * (b + bl)).
Proof. exact (@Words.multiply_error). Qed.

(** * WordSums.v *)

Theorem add_all_error :
  forall f : format,
    valid_format f ->
    forall xs : list R,
    Forall (holds f) xs ->
    INR (length xs) * unit_roundoff f < 1 ->
    let '(a, b, c) := add_all f 0 0 0 xs in
    Rabs (a + b + c - fold_right Rplus 0 xs) <=
    log_error (INR (length xs) * unit_roundoff f) ^ 3 * fold_right Rplus 0 (map Rabs xs).
Proof. exact (@WordSums.add_all_error). Qed.

Theorem row_dots_error :
  forall f : format,
    valid_format f ->
    forall xys : list (R * R),
    Forall (fun xy : R * R => holds f (fst xy) /\ holds f (snd xy)) xys ->
    INR (2 * length xys) * unit_roundoff f <= / 4 ->
    let '(a, b, c) := row_dots f 0 0 0 xys in
    Rabs (a + b + c - fold_right Rplus 0 (map (fun xy : R * R => fst xy * snd xy) xys)) <=
    log_error (INR (2 * length xys) * unit_roundoff f) ^ 3 *
      fold_right Rplus 0 (map Rabs (map (fun xy : R * R => fst xy * snd xy) xys)) +
    INR (length xys) * smallest_subnormal f.
Proof. exact (@WordSums.row_dots_error). Qed.

(** * WordProducts.v *)

Theorem multiply_words :
  forall f : format,
    valid_format f ->
    (8 <= precision f)%Z ->
    forall a al b bl : R,
    two_words f a al ->
    two_words f b bl ->
    let (x, y) := multiply f a al b bl in
    (holds f x /\ holds f y /\ Rabs y <= unit_roundoff f * Rabs x) /\
    Rabs (x + y - (a + al) * (b + bl)) <=
    (6 * (unit_roundoff f * unit_roundoff f) +
     2 * (unit_roundoff f * unit_roundoff f * unit_roundoff f)) * Rabs (a * b) +
    5 * (smallest_subnormal f / 2).
Proof. exact (@WordProducts.multiply_words). Qed.

Theorem multiply_add_error :
  forall f : format,
    valid_format f ->
    (8 <= precision f)%Z ->
    forall a al b bl c cl : R,
    two_words f a al ->
    two_words f b bl ->
    two_words f c cl ->
    Rabs (a * b) <= Rabs c / 32 ->
    16 * (smallest_subnormal f / 2) <= unit_roundoff f * unit_roundoff f * Rabs c ->
    let (x, y) := multiply_add f a al b bl c cl in
    (holds f x /\ holds f y /\ Rabs y <= unit_roundoff f * Rabs x) /\
    Rabs (x + y - ((a + al) * (b + bl) + (c + cl))) <=
    4 * (unit_roundoff f * unit_roundoff f) * Rabs c.
Proof. exact (@WordProducts.multiply_add_error). Qed.

(** * WordExponential.v *)

Theorem exponential_near :
  forall c : constants,
    constants_ok c ->
    forall high middle low : R,
    holds fp64 high ->
    holds fp64 middle ->
    holds fp64 low ->
    Rabs high <= 660 ->
    Rabs middle <= / 2 ^ 30 ->
    Rabs low <= / 2 ^ 80 ->
    let '(x, y, n) := exponential c high middle low in
    (holds fp64 x /\ holds fp64 y /\ Rabs y <= unit_roundoff fp64 * Rabs x) /\
    Rabs ((x + y) * bpow radix2 n - exp (high + middle + low)) <=
    5 * / 2 ^ 106 * exp (high + middle + low).
Proof. exact (@WordExponential.exponential_near). Qed.

(** * WordLogarithms.v *)

Theorem whole_exponential_near :
  forall c : constants,
    constants_ok c ->
    forall high middle low : R,
    holds fp64 high ->
    holds fp64 middle ->
    holds fp64 low ->
    Rabs high <= 660 ->
    Rabs middle <= / 2 ^ 30 ->
    Rabs low <= / 2 ^ 80 ->
    let (x, y) := whole_exponential c high middle low in
    (holds fp64 x /\ holds fp64 y /\ Rabs y <= unit_roundoff fp64 * Rabs x) /\
    Rabs (x + y - exp (high + middle + low)) <= 5 * / 2 ^ 106 * exp (high + middle + low).
Proof. exact (@WordLogarithms.whole_exponential_near). Qed.

Theorem weight_near :
  forall c : constants,
    constants_ok c ->
    forall high middle low shift : R,
    holds fp64 high ->
    holds fp64 middle ->
    holds fp64 low ->
    holds fp64 shift ->
    Rabs (nearest fp64 (high - shift)) <= 660 ->
    Rabs middle <= / 2 ^ 31 ->
    Rabs low <= / 2 ^ 81 ->
    let (x, y) := weight c high middle low shift in
    (holds fp64 x /\ holds fp64 y /\ Rabs y <= unit_roundoff fp64 * Rabs x) /\
    (exists off : R,
       Rabs off <= / 2 ^ 53 * (/ 2 ^ 53 * (/ 2 ^ 53 * Rabs (high - shift) + Rabs middle) + Rabs low) /\
       (middle = 0 -> low = 0 -> off = 0) /\
       Rabs (x + y - exp (high + middle + low - shift + off)) <=
       5 * / 2 ^ 106 * exp (high + middle + low - shift + off)).
Proof. exact (@WordLogarithms.weight_near). Qed.

Theorem logarithm_near :
  forall c : constants,
    constants_ok c ->
    forall shift guess t tm tl : R,
    holds fp64 shift ->
    holds fp64 guess ->
    falling t tm tl ->
    0 < t ->
    Rabs guess <= 660 ->
    / 2 <= t * exp (- guess) <= 2 ->
    Rabs (fst (remainder c guess t tm)) <= / 2 ^ 37 ->
    let (x, y) := logarithm c shift guess t tm in
    Rabs (x + y - (shift + ln (t + tm + tl))) <= 14 * / 2 ^ 106 + (1 + / 2 ^ 48) * / 2 ^ 106 * Rabs x.
Proof. exact (@WordLogarithms.logarithm_near). Qed.

Theorem difference_near :
  forall x y yl : R,
    holds fp64 x ->
    holds fp64 y ->
    holds fp64 yl ->
    Rabs yl <= / 2 ^ 53 * Rabs y ->
    let (a, b) := difference x y yl in
    Rabs (a + b - (x - (y + yl))) <= (1 + / 2 ^ 48) * / 2 ^ 106 * (Rabs a + Rabs y).
Proof. exact (@WordLogarithms.difference_near). Qed.

(** * WordSlices.v *)

Theorem sliced_exact :
  forall (bits e : Z) (x : R) (count : nat),
    (1 <= bits <= 50)%Z ->
    (lowest fp64 <= e - bits * Z.of_nat (S count))%Z ->
    holds fp64 x ->
    Rabs x <= bpow radix2 e ->
    let (parts, left) := sliced bits e x (S count) in
    x = fold_right Rplus 0 parts + left /\
    first_within 1 bits e parts /\
    Rabs left <= bpow radix2 (e - bits * Z.of_nat (S count) - 1).
Proof. exact (@WordSlices.sliced_exact). Qed.

Theorem cut_near :
  forall (bits e : Z) (one two : R) (count : nat),
    (10 <= bits <= 34)%Z ->
    (lowest fp64 <= e - bits * Z.of_nat (S count))%Z ->
    holds fp64 one ->
    holds fp64 two ->
    Rabs one <= (1 + / 2 ^ 36) * bpow radix2 e ->
    Rabs two <= / 2 ^ 53 * Rabs one ->
    let (parts, left) := cut bits e one two (S count) in
    one + two = fold_right Rplus 0 parts + left /\
    first_within (1 + / 2 ^ 16) bits e parts /\
    Rabs left <= (1 + / 2 ^ 16) * bpow radix2 (e - bits * Z.of_nat (S count) - 1).
Proof. exact (@WordSlices.cut_near). Qed.

Theorem slices_left_out :
  forall (x y : R) (xs ys : nat -> R) (left_x left_y : R) (nx ny : nat) (keep : nat -> nat) (bits_x bits_y : Z)
    (a b slack whole lx ly : R),
    x = sumf xs (seq 0 nx) + left_x ->
    y = sumf ys (seq 0 ny) + left_y ->
    0 <= a ->
    0 <= b ->
    0 <= slack ->
    Rabs y <= b ->
    Rabs (x - left_x) <= whole * a ->
    Rabs left_x <= lx * a ->
    Rabs left_y <= ly * b ->
    (forall i, In i (seq 0 nx) ->
      Rabs (xs i) <= slack * a * (bpow radix2 (- (bits_x * Z.of_nat i)) * (if Nat.eqb i 0 then 1 else / 2))) ->
    (forall j, In j (seq 0 ny) ->
      Rabs (ys j) <= b * (bpow radix2 (- (bits_y * Z.of_nat j)) * (if Nat.eqb j 0 then 1 else / 2))) ->
    Rabs (x * y -
      sumf (fun i => sumf (fun j => if Nat.ltb j (keep i) then xs i * ys j else 0) (seq 0 ny)) (seq 0 nx)) <=
    (lx + whole * ly +
     slack * sumf (fun i => sumf (fun j => if Nat.ltb j (keep i) then 0
       else size_of bits_x i * size_of bits_y j) (seq 0 ny)) (seq 0 nx)) * (a * b).
Proof. exact (@WordSlices.slices_left_out). Qed.

Theorem level_size :
  forall (bits : Z) (a b : R) (xs ys : nat -> R) (t : nat),
    0 <= a ->
    0 <= b ->
    (forall i, In i (seq 0 6) ->
      Rabs (xs i) <= a * (bpow radix2 (- (bits * Z.of_nat i)) * (if Nat.eqb i 0 then 1 else / 2))) ->
    (forall j, In j (seq 0 6) ->
      Rabs (ys j) <= b * (bpow radix2 (- (bits * Z.of_nat j)) * (if Nat.eqb j 0 then 1 else / 2))) ->
    Rabs (sumf (fun i => if (Nat.leb i t && Nat.ltb (t - i) 6)%bool then xs i * ys (t - i)%nat else 0) (seq 0 6)) <=
    (if Nat.eqb t 0 then 1 else 2) * (a * b) * bpow radix2 (- (bits * Z.of_nat t)).
Proof. exact (@WordSlices.level_size). Qed.

Theorem add_exactly_exact :
  forall unit : Z,
    (lowest fp64 <= unit)%Z ->
    forall chunks : list Z,
    Forall (fun m : Z => (Z.abs m <= 2 ^ 53)%Z) chunks ->
    INR (length chunks) <= 2 ^ 25 ->
    let (total, rests) := add_exactly unit 0 0 chunks in
    total + rests = IZR (fold_right Z.add 0%Z chunks) * bpow radix2 unit.
Proof. exact (@WordSlices.add_exactly_exact). Qed.
