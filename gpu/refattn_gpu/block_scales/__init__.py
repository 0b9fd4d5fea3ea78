"""Softmax by blocks of keys times given scales."""
