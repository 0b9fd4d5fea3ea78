"""Prints theories/Assumptions.v, which makes Coq print the assumptions of the theorems of each Statements*.v."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_HEADER = """\
(** Prints the axioms that the theorems of each Statements*.v rest on. Written by assumptions.py; not in the build. *)
"""


def theorems(source: str) -> list[str]:
    """The names of the theorems that a file of Coq states."""
    return re.findall(r"^Theorem (\w+)", source, re.MULTILINE)


def script(theories: Path) -> str:
    """The file Assumptions.v for the files Statements*.v of a folder: of each, one conjunction of all its theorems."""
    files = sorted(theories.glob("Statements*.v"))
    parts = [_HEADER, f"From refattn Require {' '.join(file.stem for file in files)}.\n"]
    for file in files:
        names = ",\n  ".join(f"{file.stem}.{name}" for name in theorems(file.read_text(encoding="utf-8")))
        every = f"every_theorem_of_{file.stem.removeprefix('Statements').lower()}"
        parts.append(f"\nDefinition {every} := (\n  {names}).\nLocate {every}.\nPrint Assumptions {every}.\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(script(Path(__file__).parent / "theories"))
