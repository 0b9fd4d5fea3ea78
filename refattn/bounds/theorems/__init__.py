"""The formulas that proofs/ proves, one function a theorem, of the same name: of floats, arrays or exact Fractions."""
