"""The first rung: float64, with a proved radius."""
