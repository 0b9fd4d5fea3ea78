"""Scripts that measure refattn: the faults that it detects, and its time. Run them by `python -m
tests.benchmarks.NAME`.
"""
