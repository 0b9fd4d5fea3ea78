"""Attention over all visible keys: forward, backward, packed sequences, autograd."""
