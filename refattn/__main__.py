"""`python -m refattn` is the command line."""

from __future__ import annotations

from refattn.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
