"""`python -m refattn` is the command line.

May import: refattn.cli.
"""

from __future__ import annotations

from refattn.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
