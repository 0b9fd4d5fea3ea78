"""The one table of the features of a spec, a row each, and of the other claims of a kernel.

It determines the vocabulary of claims, the specs that regimes draw, the pairs of features that are tried and the
features that hide keys in properties of visibility. A new feature needs a row here, its field in refattn.contract.spec,
its predicate in refattn.contract.visibility if it hides keys, and how to draw it in refattn.inputs.regimes.specs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from refattn.contract.spec import AttentionSpec

Axes = str | tuple[str, str]


@dataclass(frozen=True, eq=False)
class Feature:
    """Something that a spec may ask for.

    name       the claim of a kernel that can do it
    summary    what it is, in a line
    fields     the fields of AttentionSpec that ask for it; a spec has the feature if one is not at its default. Each
               maps to the axes of its array, out of b (batch), h (heads), q (queries) and k (keys): "" if it is no
               array, two if it is a pair for queries and for keys. Leading axes may be missing, and any axis of an
               array of three or four may have size 1
    hides      "always" if it can make a key invisible whatever its values; "-inf" if only an entry of minus infinity
               can; None if it makes no key invisible
    refines    the more general feature: a spec that has this one does not count as having that one
    excludes   features that no spec can combine with it
    positional it depends on the positions of queries and keys, or sets them: a kernel that has it sees their order
    gradient   the gradient that a backward pass returns for its field besides dq, dk and dv
    """

    name: str
    summary: str
    fields: Mapping[str, Axes]
    hides: Literal["always", "-inf"] | None = None
    refines: str | None = None
    excludes: tuple[str, ...] = ()
    positional: bool = False
    gradient: str | None = None

    @property
    def pairwise(self) -> bool:
        """True if it has an array with an entry for each query and key."""
        return "bhqk" in self.fields.values()

    def hides_in(self, spec: AttentionSpec) -> bool:
        """True if the feature can make a key invisible in a spec that has it."""
        if self.hides == "-inf":
            return any(bool(np.isneginf(getattr(spec, field)).any()) for field in self.fields)
        return self.hides == "always"


# Regimes draw features in this order: another order changes the cases of a seed.
TABLE: tuple[Feature, ...] = (
    Feature("causal", "a causal mask", {"causal": ""}, "always", positional=True),
    Feature(
        "strict_causal",
        "a causal mask without the diagonal",
        {"strict": ""},
        "always",
        refines="causal",
        positional=True,
    ),
    Feature("window", "a sliding window", {"window": ""}, "always", positional=True),
    Feature("softcap", "soft-capped scores", {"softcap": ""}),
    Feature("alibi", "ALiBi slopes", {"alibi_slopes": "bh"}, positional=True),
    Feature("bias", "an additive bias", {"bias": "bhqk"}, "-inf", gradient="dbias"),
    Feature("mask", "a boolean mask", {"mask": "bhqk"}, "always"),
    Feature("sinks", "attention sinks", {"sinks": "h"}, gradient="dsinks"),
    Feature("scale", "a given scale", {"scale": ""}),
    Feature("varlen", "documents packed in one sequence", {"documents": ("bq", "bk")}, "always", positional=True),
    Feature(
        "paged",
        "keys stored in any order",
        {"key_positions": "bk"},
        "always",
        excludes=("varlen",),
        positional=True,
    ),
    Feature(
        "sparse",
        "kept keys and queries, hash buckets",
        {"kept_keys": "bhk", "kept_queries": "bhq", "buckets": ("bhq", "bhk")},
        "always",
    ),
    Feature("dropout", "a given dropout mask", {"dropout": "", "keep": "bhqk"}),
)
# Fields of a spec that no claim covers: how to read its features, and which rows of a longer problem it has.
UNCLAIMED: Mapping[str, Axes] = {"alignment": "", "empty_rows": "", "query_positions": "bq"}

OTHER_CLAIMS: Mapping[str, str] = {
    "gqa": "fewer key-value heads than query heads",
    "cross": "another number of keys than of queries",
    "dv": "another head dimension of V than of Q and K",
    "lse": "returns the log-sum-exp",
    "backward": "gradients",
    "empty_rows": "rows that see no key give what the spec says",
    "ragged": "any length, not only multiples of a tile",
    "deterministic": "the same call gives the same bits",
    "batch_invariant": "the rest of the batch changes no bit",
    "nan_safe": "NaN and inf in invisible slots reach no output",
    "ieee": "visible infinities are handled as IEEE arithmetic reads",
    "zero_length": "no keys, or no queries",
}
# The meaning of each claim, in a line.
CLAIMS: Mapping[str, str] = {row.name: row.summary for row in TABLE} | dict(OTHER_CLAIMS)
_AXES: Mapping[str, Axes] = {field: axes for row in TABLE for field, axes in row.fields.items()} | dict(UNCLAIMED)
FEATURES: tuple[str, ...] = tuple(row.name for row in TABLE)
HIDING: tuple[str, ...] = tuple(row.name for row in TABLE if row.hides is not None)
PAIRWISE: tuple[str, ...] = tuple(row.name for row in TABLE if row.pairwise)
# The field of each gradient of a spec's array, in the order in which a backward pass returns them after dq, dk and dv.
GRADIENTS: Mapping[str, str] = {row.gradient: field for row in TABLE if row.gradient for field in row.fields}


def used(spec: AttentionSpec) -> tuple[Feature, ...]:
    """The features that a spec has, in the table's order."""
    fields = spec.features().keys()
    rows = [row for row in TABLE if fields & row.fields.keys()]
    refined = {row.refines for row in rows}
    return tuple(row for row in rows if row.name not in refined)


def hides(spec: AttentionSpec) -> bool:
    """True if the spec can make a key invisible."""
    return any(row.hides_in(spec) for row in used(spec))


def compatible(names: Iterable[str]) -> bool:
    """True if a spec can have all of the features, and none refines another."""
    wanted = set(names)
    return not any(row.name in wanted and wanted & {row.refines, *row.excludes} for row in TABLE)


def along(spec: AttentionSpec, axis: str) -> tuple[str, ...]:
    """The fields of a spec whose arrays have an axis: b, h, q or k."""
    return tuple(field for field in spec.features() if any(axis in axes for axes in _axes_of(field)))


def taken(spec: AttentionSpec, axis: str, index: Any) -> dict[str, Any]:
    """The fields whose arrays have an axis (b, h, q or k), with the entries at these indices of that axis.

    An array that is broadcast along the axis stays as it is.
    """
    fields: dict[str, Any] = {}
    for field in along(spec, axis):
        value = getattr(spec, field)
        if isinstance(value, tuple):
            parts = zip(value, _axes_of(field), strict=True)
            fields[field] = tuple(_taken(array, axes, axis, index) for array, axes in parts)
        else:
            fields[field] = _taken(value, _axes_of(field)[0], axis, index)
    return fields


def _axes_of(field: str) -> tuple[str, ...]:
    axes = _AXES[field]
    return axes if isinstance(axes, tuple) else (axes,)


def _taken(array: NDArray[Any], axes: str, axis: str, index: Any) -> NDArray[Any]:
    place = axes.find(axis) - len(axes)
    missing = axis not in axes or array.ndim < -place
    if missing or (array.shape[place] == 1 and len(axes) > 2):
        return array
    some: NDArray[Any] = np.take(array, index, place)
    return some


def described() -> list[tuple[str, str, str, str]]:
    """Each claim with its meaning, the fields of a spec that ask for it, and whether it hides keys, in words."""
    words = {"always": "yes", "-inf": "where it is -inf", None: ""}
    rows = [(row.name, row.summary, ", ".join(row.fields), words[row.hides]) for row in TABLE]
    return rows + [(name, summary, "", "") for name, summary in OTHER_CLAIMS.items()]
