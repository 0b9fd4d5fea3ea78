"""What float64 itself may differ by where a test computes one number in two ways."""

# Fewer than 4096 operations on either side, each within an ulp: 2^-52 of a result.
EVALUATION = 2.0**-40
