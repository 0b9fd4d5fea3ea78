"""Triton kernels, one a file, and the pieces that they share."""
