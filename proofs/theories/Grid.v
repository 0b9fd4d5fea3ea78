(** Prints every line of the grids: what grid.py turns into grid.json. Not part of the build; see the Makefile. *)
From Coq Require Import List String ZArith.
From refattn Require Import GrowthRational.
Import ListNotations.
Set Printing Width 1000000.
Set Printing Depth 10000000.
Eval vm_compute in (
  GrowthRational.grid_roundoff)%list.
