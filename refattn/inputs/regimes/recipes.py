"""A seeded case in one line, from which it is made again.

"needle/first,format=bf16,seed=3,claims=causal+ragged,length=64" is a recipe; omitted fields have their defaults.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refattn.contract.features import FEATURES
from refattn.contract.spec import Alignment, SoftmaxSpec
from refattn.errors import InvalidValue
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.inputs.regimes.making import make_case, make_softmax_case, with_upstream
from refattn.inputs.regimes.regime import Regime
from refattn.inputs.regimes.registry import get
from refattn.inputs.regimes.sizes import Claims, Limits
from refattn.inputs.regimes.specs import EVERY_CLAIM
from refattn.inputs.sources import SeededSource
from refattn.numbers import formats
from refattn.numbers.formats import Format


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a seeded case.

    Cases with the same seed and another `draw` are independent. `upstream` adds gradients, of the log-sum-exp too if
    "lse" is claimed; `softmax` is the spec of a softmax case. The other fields are the arguments of
    refattn.inputs.regimes.make_case.
    """

    regime: str
    format: Format
    seed: int = 0
    draw: int = 0
    claims: Claims = EVERY_CLAIM
    features: Claims | None = None
    alignment: Alignment = "bottom_right"
    upstream: bool = False
    limits: Limits = field(default_factory=Limits)
    softmax: SoftmaxSpec = field(default_factory=SoftmaxSpec)

    def __str__(self) -> str:
        parts = [self.regime, f"format={self.format.name}", f"seed={self.seed}", f"draw={self.draw}"]
        if self.claims != EVERY_CLAIM:
            parts.append(f"claims={_listed(self.claims)}")
        if self.features is not None:
            parts.append(f"features={_listed(self.features)}")
        if self.alignment != "bottom_right":
            parts.append(f"alignment={self.alignment}")
        if self.upstream:
            parts.append("upstream=1")
        for owner, defaults in ((self.limits, Limits()), (self.softmax, SoftmaxSpec())):
            for name, value in dataclasses.asdict(owner).items():
                if value != getattr(defaults, name):
                    parts.append(f"{name}={_listed(value) if isinstance(value, tuple) else value}")
        return ",".join(parts)

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """The recipe of a line. Raises InvalidValue, saying what is wrong with it."""
        name, *parts = text.split(",")
        fields: dict[str, Any] = {"regime": get(name).name}
        groups: dict[str, dict[str, Any]] = {"limits": {}, "softmax": {}}
        for part in parts:
            key, _, value = part.partition("=")
            if key not in _READERS:
                raise InvalidValue(f"recipe has the field {key!r}: expected one of {', '.join(_READERS)}")
            group, read = _READERS[key]
            try:
                groups.get(group, fields)[key] = read(value)
            except ValueError as error:
                raise InvalidValue(f"recipe has {part!r}, which cannot be read ({error})") from None
        if "format" not in fields:
            raise InvalidValue(f"recipe of {name} has no format: expected one such as format=bf16")
        return cls(**fields, limits=Limits(**groups["limits"]), softmax=SoftmaxSpec(**groups["softmax"]))

    def case(self) -> AttentionCase | SoftmaxCase:
        """The case, always the same. Raises InvalidValue when the regime has none within the limits and the claims."""
        regime = get(self.regime)
        source = SeededSource(np.random.default_rng([self.seed, self.draw, zlib.crc32(self.regime.encode())]))
        if not isinstance(regime, Regime):
            if not regime.available(self.format, self.limits):
                raise InvalidValue(f"recipe asks for {self}, which does not exist within these limits")
            return make_softmax_case(regime, source, self.format, spec=self.softmax, limits=self.limits).replace(
                recipe=str(self)
            )
        if not regime.available(self.format, self.limits, self.claims):
            raise InvalidValue(f"recipe asks for {self}, which does not exist within these limits and claims")
        case = make_case(
            regime,
            source,
            self.format,
            claims=self.claims,
            limits=self.limits,
            alignment=self.alignment,
            features=self.features,
        )
        if self.upstream:
            case = with_upstream(case, source, dlse="lse" in self.claims)
        return case.replace(recipe=str(self))


def rebuild(recipe: str) -> AttentionCase | SoftmaxCase:
    """The case of a recipe. Raises InvalidValue, saying what is wrong with the recipe."""
    return Recipe.parse(recipe).case()


def _listed(items: Iterable[Any]) -> str:
    return "+".join(str(item) for item in (sorted(items) if isinstance(items, frozenset) else items))


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 40):
        raise ValueError("expected a natural number")
    return int(text)


def _axis(text: str) -> int:
    if text.removeprefix("-") not in set("01234567"):
        raise ValueError("expected an integer from -7 to 7")
    return int(text)


def _words(known: Iterable[str]) -> Callable[[str], Claims]:
    allowed = frozenset(known)

    def read(text: str) -> Claims:
        words = frozenset(text.split("+")) - {""}
        if words - allowed:
            raise ValueError(f"{', '.join(sorted(words - allowed))} is not known")
        return words

    return read


def _one_of(*options: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in options:
            raise ValueError(f"expected one of {', '.join(options)}")
        return text

    return read


_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "format": ("", formats.get),
    "seed": ("", _natural),
    "draw": ("", _natural),
    "claims": ("", _words(EVERY_CLAIM)),
    "features": ("", _words(FEATURES)),
    "alignment": ("", _one_of("bottom_right", "top_left")),
    "upstream": ("", lambda text: bool(_natural(text))),
    **dict.fromkeys(("length", "long", "batch", "heads", "multiple", "pairs"), ("limits", _natural)),
    "head_dims": ("limits", lambda text: tuple(_natural(part) for part in text.split("+"))),
    "axis": ("softmax", _axis),
    "kind": ("softmax", str),
    "empty_rows": ("softmax", str),
}
