(** Prints the axioms that the theorems of each Statements*.v rest on. Written by assumptions.py; not in the build. *)
From refattn Require StatementsRoundoff.

Definition every_theorem_of_roundoff := (
  StatementsRoundoff.growth_error,
  StatementsRoundoff.growth_rational,
  StatementsRoundoff.log_growth_rerr,
  StatementsRoundoff.nearest_rerr,
  StatementsRoundoff.log_error_rerr,
  StatementsRoundoff.compound_error,
  StatementsRoundoff.rounded_error,
  StatementsRoundoff.growth_dominates,
  StatementsRoundoff.log_growth_dominates,
  StatementsRoundoff.log_error_dominates,
  StatementsRoundoff.compound_dominates,
  StatementsRoundoff.rounded_dominates).
Locate every_theorem_of_roundoff.
Print Assumptions every_theorem_of_roundoff.
