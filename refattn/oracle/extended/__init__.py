"""The second rung: some 100 bits, of slices and words of float64."""
