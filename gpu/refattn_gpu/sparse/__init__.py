"""Attention over kept keys or equal hash buckets, keys ordered so that each query sees an interval."""
