"""The guide's lists that are derived from code: claims, properties, stages, conventions, formats, regimes."""

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
# The fields of Arithmetic that are no stages.
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
    """Every claim, its meaning, the fields of AttentionSpec that ask for it, and whether it hides keys."""
    rows = [(f"`{name}`", words, fields, hides) for name, words, fields, hides in described()]
    return table(("claim", "what it says", "fields of `AttentionSpec`", "hides keys"), rows)


def properties() -> str:
    """Every property, the claims that it needs, and what it checks."""
    rows = [(f"`{row.name}`", code(sorted(row.needs)), row.summary) for row in ALL]
    return table(("property", "needs", "what is checked"), rows)


def conventions() -> str:
    """Every convention, and how it calls a kernel."""
    rows = [(f"`{name}`", f"`{adapters.get(name).summary}`") for name in adapters.names()]
    return table(("`--call`", "the kernel"), rows)


def stages() -> Mapping[str, str]:
    """What each field of Arithmetic means, from its docstring; a field without a line has the line that mentions it."""
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
    """Every stage of Arithmetic, its meaning, and how `flash` and `naive` set it for bf16 inputs."""
    flash, naive = Arithmetic.flash("bf16"), Arithmetic.naive("bf16")
    rows = [(f"`{name}`", words, setting(flash, name), setting(naive, name)) for name, words in stages().items()]
    return table(("stage", "what it says", "`flash`, bf16", "`naive`, bf16"), rows)


def setting(arithmetic: Arithmetic, name: str) -> str:
    """The setting of a stage in an arithmetic, in a word or two."""
    value = getattr(arithmetic, name)
    if isinstance(value, Stage):
        return value.format.name if value.rounding == "nearest" else f"{value.format.name}, {value.rounding}d"
    return value.name if isinstance(value, formats.Format) else str(value)


def number_formats() -> str:
    """Every number format."""
    rows = [
        (f"`{format.name}`", str(format.precision), f"{format.unit_roundoff:.4g}", f"{format.max_finite:.4g}")
        for format in formats.ALL
    ]
    return table(("format", "bits of the significand", "unit roundoff", "largest"), rows)


def named_regimes() -> str:
    """Every regime, and the inputs that it draws."""
    rows = [(f"`{name}`", regimes.get(name).summary) for name in regime_names()]
    return table(("regime", "its inputs"), rows)


def regime_names() -> tuple[str, ...]:
    """The names of the regimes, those of softmax last."""
    return (*(regime.name for regime in regimes.ALL), *(regime.name for regime in regimes.SOFTMAX))


# The lists, by the names that pages use.
BY_NAME: Mapping[str, Callable[[], str]] = {
    "claims": claims,
    "properties": properties,
    "conventions": conventions,
    "stages": arithmetic,
    "number formats": number_formats,
    "regimes": named_regimes,
}
