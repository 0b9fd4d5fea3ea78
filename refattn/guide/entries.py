"""The entry of one name from code: a property, a claim, a stage, a convention, a format, a profile, a regime."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from refattn import adapters
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.features import CLAIMS, TABLE
from refattn.guide import lists, pages
from refattn.guide.lists import code
from refattn.inputs import regimes
from refattn.numbers import formats
from refattn.suite.findings import Verdict
from refattn.suite.profile import PROFILES
from refattn.suite.properties import ALL

_STAGES = {
    0: "It is among the first that run: cheap and sharp.",
    1: "It searches for a small case, or compares calls, after the cheap properties.",
    2: "It is statistical, and runs last.",
}
_OF = {
    "exact": "",
    "approximate": "It is checked of kernels that declare an approximation, in the place of exact values.",
    "any": "Those that declare an approximation are among them.",
}


@dataclass(frozen=True)
class Kind:
    """One kind of topic: its names, and the entry of each, in Markdown."""

    name: str
    topics: Callable[[], tuple[str, ...]]
    explain: Callable[[str], str]


def _kernel(q: Any, k: Any, v: Any, causal: bool = False, scale: float | None = None) -> None:
    """A kernel that declares nothing: conventions give it their usual claims."""


def _lines(heading: str, *paragraphs: str) -> str:
    return "\n\n".join([f"# {heading}", *(text for text in paragraphs if text)])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def of_property(name: str) -> str:
    """What the property checks, of which kernels, and how to run it alone."""
    property = next(row for row in ALL if row.name == name)
    if property.needs:
        asked = f"It is checked of kernels that claim {code(sorted(property.needs))}."
    else:
        asked = "It is checked of every kernel" + (" of softmax." if property.quantity == "softmax" else ".")
    if property.gate is None:
        gate = "A kernel that does not have it does not conform."
    else:
        gate = f"A failure is *not gating*: it fails the run only of a kernel that claims `{property.gate}`."
    return _lines(
        f"`{name}`, a property",
        _sentence(property.summary),
        " ".join(filter(None, [asked, _OF[property.of], gate, _STAGES[property.stage]])),
        f"    refattn check TARGET --only {name}",
        _family(name),
    )


def _family(name: str) -> str:
    return pages.sections("properties").get(name.partition("/")[0], "")


def of_claim(name: str) -> str:
    """What the claim means, and which properties depend on it."""
    row = next((row for row in TABLE if row.name == name), None)
    fields = hidden = ""
    if row is not None:
        fields = f"{code(f'AttentionSpec.{field}' for field in row.fields)} asks for it."
        fields += " `values/features` tries it alone and with others."
        hidden = "It can hide keys, so `visibility/*` hides keys by it, too." if row.hides else ""
    needing = [row.name for row in ALL if name in row.needs]
    gated = [row.name for row in ALL if row.gate == name]
    usual = [call for call in adapters.names() if name in adapters.get(call).usual_claims(_kernel)]
    return _lines(
        f"`{name}`, a claim",
        _sentence(CLAIMS[name]),
        " ".join(filter(None, [fields, hidden])),
        f"Checked only with it: {code(needing)}." if needing else "",
        f"Failing the run only with it: {code(gated)}." if gated else "",
        f"Usual in: {code(usual)}." if usual else "Usual in no convention: a kernel has to claim it.",
        f"    refattn check TARGET --claim {name}      # or no-{name}, to take it away",
    )


def of_stage(name: str) -> str:
    """What a stage means, and how the presets set it."""
    rows = [
        (f"`Arithmetic.{preset}`", *(lists.setting(make(dtype), name) for dtype in ("bf16", "fp16", "fp32")))
        for preset, make in (("flash(dtype)", Arithmetic.flash), ("naive(dtype)", Arithmetic.naive))
    ]
    return _lines(
        f"`{name}`, a stage of `Arithmetic`",
        f"`{name}`: {lists.stages()[name]}.",
        lists.table(("", "bf16", "fp16", "fp32"), rows),
        f"`Arithmetic.flash(dtype).replace({name}=...)` declares another, and the budget follows.",
    )


def of_convention(name: str) -> str:
    """How the convention calls a kernel, and what its kernels usually claim."""
    adapter = adapters.get(name)
    summary, text = adapter.summary, inspect.cleandoc(type(adapter).__doc__ or "")
    if text.startswith("kernel("):
        summary, _, text = text.partition("\n")
    side = adapter.alignment.replace("_", " ")
    aligned = f"Where the numbers of queries and keys differ, masks are aligned at the {side}."
    return _lines(
        f"`{name}`, a convention",
        f"`{summary}`",
        text.strip(),
        f"Its kernels usually claim {code(sorted(adapter.usual_claims(_kernel)))}.",
        aligned if adapter.quantity != "softmax" else "",
        f"    refattn check TARGET --call {name}",
    )


def of_format(name: str) -> str:
    """The precision and range of a number format."""
    format = formats.get(name)
    return _lines(
        f"`{name}`, a number format",
        f"A significand of {format.precision} bits: rounding to nearest errs by at most u = 2^-{format.precision}. "
        f"Numbers are normal from 2^{format.emin} to {format.max_finite:.6g}, and subnormal down to "
        f"{format.smallest_subnormal:.3g}. It has {'infinities' if format.has_infinity else 'no infinity'}.",
        f"    refattn check TARGET --dtype {name}",
    )


def of_profile(name: str) -> str:
    """How many cases a profile runs."""
    profile = PROFILES[name]
    return _lines(
        f"`{name}`, a profile",
        f"Seeds of each regime: {profile.seeds}. Examples of each search: {profile.examples}. Sequences are up to "
        f"{profile.longest} tokens long.",
        f"    refattn check TARGET --profile {name}",
    )


def of_regime(name: str) -> str:
    """What inputs the regime draws."""
    regime = regimes.get(name)
    claims = sorted(getattr(regime, "needs", ()))
    needs = f"Only kernels that claim {code(claims)} are given it." if claims else ""
    return _lines(f"`{name}`, a regime", _sentence(regime.summary), needs)


def of_verdict(name: str) -> str:
    """The verdict's section of the page on verdicts."""
    return pages.sections("verdicts")[name]


KINDS = (
    Kind("verdict", lambda: tuple(verdict.value for verdict in Verdict), of_verdict),
    Kind("claim", lambda: tuple(CLAIMS), of_claim),
    Kind("convention", adapters.names, of_convention),
    Kind("stage", lambda: tuple(lists.stages()), of_stage),
    Kind("format", lambda: tuple(format.name for format in formats.ALL), of_format),
    Kind("profile", lambda: tuple(PROFILES), of_profile),
    Kind("property", lambda: tuple(row.name for row in ALL), of_property),
    Kind("regime", lists.regime_names, of_regime),
)
