"""What all conventions share: giving the inputs besides q, k and v, and receiving results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refattn.adapters.session import CallFailure, Session
from refattn.contract.features import GRADIENTS
from refattn.numbers import formats
from refattn.numbers.formats import Format

if TYPE_CHECKING:
    from refattn.inputs.cases import AttentionCase


def array_of(values: formats.Array | None) -> formats.Array:
    """The values, which the caller knows not to be None."""
    assert values is not None
    return values


def lse_format(case: AttentionCase) -> Format:
    """The format of an upstream gradient of the log-sum-exp."""
    return case.format if case.format.precision > formats.fp32.precision else formats.fp32


def watch_spec(session: Session, case: AttentionCase) -> None:
    """Watch the spec's arrays: the kernel gets the case's own, not copies."""
    for name, value in case.spec.features().items():
        for array in value if isinstance(value, tuple) else (value,):
            session.watch(name, array if isinstance(array, np.ndarray) else None)


def receive_outputs(
    session: Session,
    case: AttentionCase,
    returned: Any,
    output: Format,
    *,
    want_lse: bool,
    names: tuple[str, ...] = ("out", "lse"),
) -> dict[str, Any]:
    """Receive out, or several results in the order of `names`; all that the kernel returned, by name.

    If `names` has scales, three values are (out, lse, scales).
    """
    results = {"out": returned}
    if isinstance(returned, (tuple, list)):
        if len(returned) == 3 and "scales" in names:
            names = ("out", "lse", "scales")
        if not 1 <= len(returned) <= len(names):
            expected = f"out or ({', '.join(names)})"
            raise CallFailure("type", f"the kernel returned {len(returned)} values: expected {expected}")
        results = {name: value for name, value in zip(names, returned, strict=False) if value is not None}
    rows = case.q.shape[:3]
    session.receive("out", results.get("out"), (*rows, case.v.shape[3]), (output,))
    if "lse" in results:
        session.receive("lse", results["lse"], rows, session.wider())
    elif want_lse:
        raise CallFailure("type", "the kernel returned no log-sum-exp: expected (out, lse)")
    return results


def receive_scales(session: Session, case: AttentionCase, scales: Any, blocks: int) -> None:
    """Receive the scales that a kernel reports."""
    if scales is None:
        raise CallFailure(
            "type", "the kernel returned no scales: expected (out, scales), or a method scales(q, k, *, spec)"
        )
    # tf32 has no dtype of its own: an array of float32 is in fp32.
    stored = tuple(format for format in formats.ALL if format is not formats.tf32)
    session.receive("scales", scales, (*case.q.shape[:3], blocks), stored)


def invoke_backward(session: Session, case: AttentionCase, function: Any, given: dict[str, Any]) -> None:
    """Invoke a backward pass and receive its gradients."""
    keywords: dict[str, Any] = {"spec": case.spec}
    do = session.give("do", array_of(case.do))
    if case.dlse is not None:
        keywords["dlse"] = session.give("dlse", case.dlse, lse_format(case))
    receive_gradients(session, case, session.invoke(function, *given.values(), do, **keywords))


def receive_gradients(session: Session, case: AttentionCase, returned: Any) -> None:
    """Receive (dq, dk, dv[, dbias[, dsinks]])."""
    count = len(returned) if isinstance(returned, (tuple, list)) else 0
    if not 3 <= count <= 3 + len(GRADIENTS):
        raise CallFailure("type", "the kernel returned no (dq, dk, dv[, dbias[, dsinks]]): expected a tuple of these")
    shapes = {"dq": case.q.shape, "dk": case.k.shape, "dv": case.v.shape}
    for name, field in GRADIENTS.items():
        array = getattr(case.spec, field)
        shapes[name] = () if array is None else array.shape
    for (name, shape), value in zip(shapes.items(), returned, strict=False):
        if value is not None:
            session.receive(name, value, shape, session.wider())
