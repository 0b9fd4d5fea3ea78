"""`python -m refattn.learned`: train, evaluate and show block scales in a language model."""

from __future__ import annotations

import importlib.util
import sys

from refattn.errors import MissingExtra

NEEDED = ("torch", "transformers", "safetensors", "matplotlib")


def main() -> int:
    """Run the command line; without the libraries that it needs, say so in one sentence."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        error = MissingExtra(f"{', '.join(missing)} is not installed: expected pip install 'refattn[learned]'")
        print(f"refattn.learned: {error}", file=sys.stderr)
        return 3
    from refattn.learned import cli

    return cli.main()


if __name__ == "__main__":
    raise SystemExit(main())
