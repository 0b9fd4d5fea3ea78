"""The largest relative difference of two float64 computations of one number in a test."""

# Fewer than 4096 operations on either side, each within an ulp: 2^-52 of a result.
EVALUATION = 2.0**-40
