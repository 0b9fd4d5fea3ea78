"""The options that select what runs: formats, claims, a profile, a pattern. The command line and pytest share them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from refattn.errors import InvalidValue

DEFAULT_TARGET = "refattn.models:tiled_attention"
DEFAULT_FORMATS = "bf16,fp16,fp32"
PROFILES = ("quick", "ci", "deep")
NO_CLAIMS = "none"
WITHOUT = "no-"


def suggestion(word: str, known: Iterable[str]) -> str:
    """A question, "did you mean ...?", with the names closest to a misspelt one, or the list of known names."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(names)}"


def words(text: str | Iterable[str]) -> list[str]:
    """The words of comma-separated lists."""
    texts = [text] if isinstance(text, str) else text
    return [word.strip() for part in texts for word in part.split(",") if word.strip()]


def formats(text: str | Iterable[str], name: str = "--dtype") -> tuple[str, ...]:
    """The short names of the formats of a comma-separated list, without repeats. Raises InvalidValue."""
    from refattn.numbers import formats as known

    names: dict[str, None] = {}
    for word in words(text):
        try:
            names[known.get(word).name] = None
        except InvalidValue:
            hint = suggestion(word, [*(f.name for f in known.ALL), "bfloat16", "float16", "float32", "float64"])
            raise InvalidValue(f"{name} has {word!r}: {hint}") from None
    if not names:
        raise InvalidValue(f"{name} is empty: expected at least one format, such as bf16")
    return tuple(names)


def claims(usual: Iterable[str], changes: str | Iterable[str], name: str = "--claim") -> tuple[str, ...]:
    """The usual claims of a kernel with changes applied from left to right: "causal" adds one, "no-causal" takes it
    away, "none" takes all away. Raises InvalidValue.
    """
    from refattn import adapters

    chosen = set(usual)
    for word in words(changes):
        if word == NO_CLAIMS:
            chosen.clear()
            continue
        claim = word.removeprefix(WITHOUT).replace("-", "_")
        if claim not in adapters.CLAIMS:
            hint = suggestion(claim, adapters.CLAIMS)
            raise InvalidValue(f"{name} has {word!r}: {hint} (or no-NAME to take a claim away, or none)")
        if word.startswith(WITHOUT):
            chosen.discard(claim)
        else:
            chosen.add(claim)
    return tuple(sorted(chosen))


def one_of(value: str, known: Iterable[str], name: str) -> str:
    """The value, if it is known. Raises InvalidValue with a suggestion."""
    names = list(known)
    if value not in names:
        raise InvalidValue(f"{name} is {value!r}: {suggestion(value, names)}")
    return value


def pattern(value: str | None, known: Sequence[str], name: str = "--only") -> str | None:
    """The pattern, if it matches a known name. Raises InvalidValue with a suggestion."""
    if value is not None and not any(fnmatchcase(word, value) for word in known):
        near = difflib.get_close_matches(value, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`refattn properties` lists them"
        raise InvalidValue(f"{name} is {value!r}, which matches no property: {hint}")
    return value


def convention(call: str | None, target: str, kernel: Callable[..., Any], name: str = "--call") -> str:
    """The given convention, or the one that the kernel seems to follow. Raises InvalidValue."""
    from refattn import adapters

    return adapters.guess(target, kernel) if call is None else one_of(call, adapters.names(), name)
