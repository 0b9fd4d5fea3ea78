(** What a program's operations may do, whatever the format behind them.

    Every operation is known by its log-relative error (a factor e^t) and an absolute error (underflow, or results
    that are flushed to zero).  Instances: Flocq's formats. *)
From Coq Require Import Reals Lra.
From refattn Require Import LogMetric.
Open Scope R_scope.

Record arith := {
  F : R -> Prop;            (* the numbers that the format holds *)
  fadd : R -> R -> R;
  fsub : R -> R -> R;
  fmul : R -> R -> R;
  fdiv : R -> R -> R;
  fexp : R -> R;
  u : R;                    (* unit roundoff of one operation *)
  eps : R;                  (* log-relative error of the exponential *)
  eta_add : R;              (* absolute error of a sum or a difference: 0 where underflow is gradual *)
  eta_mul : R;              (* absolute error of a product or a quotient *)
  eta_exp : R }.            (* absolute error of the exponential *)

Record arith_ok (A : arith) : Prop := {
  A_u : 0 <= u A <= 1;
  A_eps : 0 <= eps A;
  A_eta_add : 0 <= eta_add A;
  A_eta_mul : 0 <= eta_mul A;
  A_eta_exp : 0 <= eta_exp A;
  A_F0 : F A 0;
  A_F1 : F A 1;
  A_Fadd : forall a b, F A (fadd A a b);
  A_Fsub : forall a b, F A (fsub A a b);
  A_Fmul : forall a b, F A (fmul A a b);
  A_Fdiv : forall a b, F A (fdiv A a b);
  A_Fexp : forall a, F A (fexp A a);
  A_add : forall a b, F A a -> F A b -> exists t h, Rabs t <= u A /\ Rabs h <= eta_add A /\
    fadd A a b = (a + b) * exp t + h;
  A_sub : forall a b, F A a -> F A b -> exists d h, Rabs d <= u A /\ Rabs h <= eta_add A /\
    fsub A a b = (a - b) * (1 + d) + h;
  A_sub_sign : forall a b, F A a -> F A b -> a <= b -> fsub A a b <= 0;
  A_mul : forall a b, F A a -> F A b -> exists t h, Rabs t <= u A /\ Rabs h <= eta_mul A /\
    fmul A a b = a * b * exp t + h;
  A_div : forall a b, F A a -> F A b -> b <> 0 -> exists t h, Rabs t <= u A /\ Rabs h <= eta_mul A /\
    fdiv A a b = a / b * exp t + h;
  A_exp : forall z, F A z -> exists t h, Rabs t <= eps A /\ Rabs h <= eta_exp A /\
    fexp A z = exp z * exp t + h;
  A_exp_0 : fexp A 0 = 1;
  A_sub_same : forall a, F A a -> fsub A a a = 0;
  A_add_0 : forall a, F A a -> fadd A a 0 = a /\ fadd A 0 a = a;
  A_mul_1 : forall a, F A a -> fmul A a 1 = a /\ fmul A 1 a = a }.
