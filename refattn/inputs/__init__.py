"""The problems that a kernel is given: regimes, Hypothesis strategies, seeds, tokens."""
