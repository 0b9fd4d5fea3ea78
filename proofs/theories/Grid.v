(** Prints every line of the grids: what grid.py turns into grid.json. Not in the build; see the Makefile. *)
From Coq Require Import List String ZArith.
From refattn Require BlockScalesRational DotRational ExponentialRational ExtendedGradientsRational ExtendedRational
  FormatsRational ForwardRational GradientRational GrowthRational OverflowRational ScheduleRational
  ScoresRational SoftmaxRational SplitsRational.
Import ListNotations.
Set Printing Width 1000000.
Set Printing Depth 10000000.
Eval vm_compute in (
  BlockScalesRational.grid_block_scales ++
  DotRational.grid_dot ++
  ExponentialRational.grid_exponential ++
  ExtendedGradientsRational.grid_extended_gradients ++
  ExtendedRational.grid_extended ++
  FormatsRational.grid_formats ++
  ForwardRational.grid_forward ++
  GradientRational.grid_gradients ++
  GrowthRational.grid_roundoff ++
  OverflowRational.grid_overflow ++
  ScheduleRational.grid_schedule ++
  ScoresRational.grid_scores ++
  SoftmaxRational.grid_softmax ++
  SplitsRational.grid_splits)%list.
