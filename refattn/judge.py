"""Output, truth and budget -> a verdict with its evidence. Computes nothing itself.

May import: numpy, refattn.errors, refattn.formats, refattn.oracle.enclosure, refattn.bounds.budget.
"""
