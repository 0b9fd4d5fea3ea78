"""Scripts that measure refattn: what it sees, how long it takes. Run them with `python -m tests.benchmarks.NAME`."""
