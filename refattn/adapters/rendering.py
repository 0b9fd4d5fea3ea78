"""A spec in another convention's arguments: what has none, and what becomes a boolean mask or a bias."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refattn.adapters.session import CallFailure
from refattn.contract.features import TABLE, UNCLAIMED
from refattn.contract.spec import AttentionSpec
from refattn.contract.visibility import Visibility
from refattn.numbers import formats
from refattn.numbers.formats import Array, Format

if TYPE_CHECKING:
    from refattn.inputs.cases import AttentionCase

# The fields, besides a bias, that decide which keys are visible: a boolean mask can express them.
VISIBILITY = frozenset(UNCLAIMED).union(*(row.fields for row in TABLE if row.hides == "always"))


def foreign_feature(spec: AttentionSpec, known: Iterable[str], convention: str) -> str | None:
    """Why a convention that knows only some fields cannot express the spec; None if it can."""
    names = set(known)
    foreign = next((name for name in spec.features() if name not in names), None)
    return None if foreign is None else f"the {convention} convention has no argument for {foreign}"


def aligned(case: AttentionCase, alignment: str) -> bool:
    """True if the alignment of the case's masks is the given one, or makes no difference."""
    return case.spec.alignment == alignment or case.shape.queries == case.shape.keys


def only(spec: AttentionSpec, *fields: str) -> bool:
    """True if the spec uses no fields that decide what is visible but these."""
    used = VISIBILITY & spec.features().keys()
    return used <= {*fields, "alignment", "empty_rows"}


def mask_of(case: AttentionCase) -> NDArray[np.bool_] | None:
    """The boolean mask of the spec's visibility without the bias; None if every key is visible.

    It has four axes, of length 1 where the visibility does not depend on the batch or the head.
    """
    spec = case.spec
    if only(spec):
        return None
    if only(spec, "mask"):
        return four_axes(spec.mask)
    return np.array(Visibility.of(spec.replace(bias=None), case.shape).block())


def bias_of(case: AttentionCase) -> tuple[Array, Format] | None:
    """The bias, with four axes, and the first of the inputs' format and fp32 that holds it exactly; None without one.

    Raises CallFailure when neither does.
    """
    if case.spec.bias is None:
        return None
    bias = four_axes(case.spec.bias)
    for format in (case.format, formats.fp32):
        if format.contains(bias).all():
            return bias, format
    raise CallFailure("signature", f"bias holds numbers that neither {case.format.name} nor fp32 represents exactly")


def four_axes(array: NDArray[Any]) -> NDArray[Any]:
    """The array with leading axes of size 1, up to four axes."""
    return array.reshape((1,) * (4 - array.ndim) + array.shape)
