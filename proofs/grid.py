"""Turns the output of theories/Grid.v, on standard input, into grid.json on standard output.

A line of grid.json is one value of one bound: its name, its arguments and the value, fractions as text, sorted.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from fractions import Fraction
from typing import NamedTuple


class Line(NamedTuple):
    """The value of a rational bound at one point."""

    name: str
    arguments: tuple[Fraction, ...]
    value: Fraction


def parse(printed: str) -> list[Line]:
    """The lines that Coq prints as one list (string * list (Z * Z) * (Z * Z)); raises ValueError for anything else."""
    match = re.fullmatch(r"\s*= (\[.*\])\s*: list \(string \* list \(Z \* Z\) \* \(Z \* Z\)\)\s*", printed, re.DOTALL)
    if match is None:
        raise ValueError(f"expected one list of lines, found {printed[:200]!r}")
    entries = ast.literal_eval(re.sub(r"%(string|Z)", "", match[1]).replace(";", ","))
    return [Line(name, tuple(Fraction(*x) for x in arguments), Fraction(*value)) for name, arguments, value in entries]


def dump(lines: list[Line]) -> str:
    """grid.json; raises ValueError if a bound has two values at one point."""
    values: dict[tuple[str, tuple[Fraction, ...]], Fraction] = {}
    for name, arguments, value in lines:
        if values.setdefault((name, arguments), value) != value:
            raise ValueError(f"{name} has two values at {', '.join(map(str, arguments))}")
    rows = [json.dumps([name, [str(x) for x in at], str(value)]) for (name, at), value in sorted(values.items())]
    return "[\n" + ",\n".join(rows) + "\n]\n"


def load(text: str) -> list[Line]:
    """The lines of grid.json."""
    return [Line(name, tuple(map(Fraction, at)), Fraction(value)) for name, at, value in json.loads(text)]


if __name__ == "__main__":
    sys.stdout.write(dump(parse(sys.stdin.read())))
