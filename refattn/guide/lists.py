"""Lists of the guide that are made from code: of claims, properties, stages, conventions, formats, regimes."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Mapping

from refattn import adapters
from refattn.contract.arithmetic import Arithmetic, Stage
from refattn.contract.features import described
from refattn.inputs import regimes
from refattn.numbers import formats
from refattn.suite.properties import ALL

_STAGE_LINE = re.compile(r"^(\w+) {2,}(.+)$")
# What stands in the docstring of Arithmetic for several fields at once.
_NOT_STAGES = ("name",)


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    lines = [list(headings)]
    lines += [["---"] * len(lines[0]), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(names: Iterable[str]) -> str:
    """Names in backticks, in a row."""
    return ", ".join(f"`{name}`" for name in names)


def claims() -> str:
    """Every claim, what it says, the fields of AttentionSpec that ask for it, and which of them hide keys."""
    rows = [(f"`{name}`", words, fields, hides) for name, words, fields, hides in described()]
    return table(("claim", "what it says", "fields of `AttentionSpec`", "hides keys"), rows)


def properties() -> str:
    """Every property, the claims that it needs, and what is checked."""
    rows = [(f"`{each.name}`", code(sorted(each.needs)), each.summary) for each in ALL]
    return table(("property", "needs", "what is checked"), rows)


def conventions() -> str:
    """Every convention, and how its kernels are called."""
    rows = [(f"`{name}`", f"`{adapters.get(name).summary}`") for name in adapters.names()]
    return table(("`--call`", "the kernel"), rows)


def stages() -> Mapping[str, str]:
    """What each field of Arithmetic says, by its docstring; a field that has no line has that which speaks of it."""
    lines: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(Arithmetic.__doc__ or "").splitlines():
        heading = _STAGE_LINE.match(line)
        if heading:
            name = heading[1]
            lines[name] = heading[2]
        elif name and line.startswith(" "):
            lines[name] += f" {line.strip()}"
    for field in dataclasses.fields(Arithmetic):
        if field.name not in lines and field.name not in _NOT_STAGES:
            lines[field.name] = next(text for text in lines.values() if re.search(rf"\b{field.name}\b", text))
    return lines


def arithmetic() -> str:
    """Every stage of Arithmetic, what it says, and what `flash` and `naive` declare of bf16 inputs."""
    flash, naive = Arithmetic.flash("bf16"), Arithmetic.naive("bf16")
    rows = [(f"`{name}`", words, setting(flash, name), setting(naive, name)) for name, words in stages().items()]
    return table(("stage", "what it says", "`flash`, bf16", "`naive`, bf16"), rows)


def setting(arithmetic: Arithmetic, name: str) -> str:
    """What an arithmetic says of a stage, in a word or two."""
    value = getattr(arithmetic, name)
    if isinstance(value, Stage):
        return value.format.name if value.rounding == "nearest" else f"{value.format.name}, {value.rounding}d"
    return value.name if isinstance(value, formats.Format) else str(value)


def number_formats() -> str:
    """Every number format."""
    rows = [
        (f"`{each.name}`", str(each.precision), *(f"{x:.4g}" for x in (each.unit_roundoff, each.max_finite)))
        for each in formats.ALL
    ]
    return table(("format", "bits of the significand", "unit roundoff", "largest"), rows)


def named_regimes() -> str:
    """Every regime, and what its inputs are like."""
    rows = [(f"`{name}`", regimes.get(name).summary) for name in regime_names()]
    return table(("regime", "its inputs"), rows)


def regime_names() -> tuple[str, ...]:
    """The names of every regime, those of softmax last."""
    return (*(each.name for each in regimes.ALL), *(each.name for each in regimes.SOFTMAX))


# What pages call the lists.
BY_NAME: Mapping[str, Callable[[], str]] = {
    "claims": claims,
    "properties": properties,
    "conventions": conventions,
    "stages": arithmetic,
    "number formats": number_formats,
    "regimes": named_regimes,
}
