"""Which rung comes after float64: slices of float64 where they pay, and then Arb or the definition."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

from refattn.contract.spec import AttentionSpec, Shape, SoftmaxSpec
from refattn.contract.visibility import Bools
from refattn.numbers.formats import Array
from refattn.oracle.enclosure import Enclosure
from refattn.oracle.exact import ball, ball_gradients, fallback
from refattn.oracle.truth import AttentionTruth, GradientTruth

logger = logging.getLogger("refattn.oracle")

# Fewest pairs of a query and a key for which the compiled loops of slices are loaded: Arb takes a second for so many.
WORTHWHILE = 1 << 17
# Slices reach no smaller radius, relative to the values that an output averages.
SMALLEST_RTOL = 2.0**-98
NEEDED = ("numba", "threadpoolctl")


def exact() -> Any:
    """The rung of any precision for all but gradients: Arb's, or the definition."""
    return ball if ball.available() else fallback


def exact_gradients() -> Any:
    """The rung of any precision for gradients."""
    return ball_gradients if ball.available() else fallback


def attention(
    q: Array, k: Array, v: Array, spec: AttentionSpec, shape: Shape, wanted: Bools, rtol: float | None
) -> AttentionTruth | None:
    """Output and log-sum-exp of the queries `wanted` (B, H, Nq) by slices; None where those are not used."""
    if not _used(int(wanted.sum()) * shape.keys, rtol):
        return None
    from refattn.oracle.extended import forward

    why = forward.obstacle(q, k, v, spec)
    if why is not None:
        logger.info("slices are left out: %s", why)
        return None
    return forward.attention(q, k, v, spec, shape, wanted=wanted)


def attention_backward(
    q: Array,
    k: Array,
    v: Array,
    do: Array,
    spec: AttentionSpec,
    shape: Shape,
    dlse: Array | None,
    rtol: float | None,
) -> GradientTruth | None:
    """Gradients by slices; None where those are not used."""
    if not _used(shape.batch * shape.heads * shape.queries * shape.keys, rtol):
        return None
    from refattn.oracle.extended import forward, gradients

    why = forward.obstacle(q, k, v, spec, do=do, dlse=dlse)
    if why is not None:
        logger.info("slices are left out: %s", why)
        return None
    return gradients.attention_backward(q, k, v, do, spec, shape, dlse)


def softmax(x: Array, spec: SoftmaxSpec, wanted: Bools, rtol: float | None) -> Enclosure | None:
    """softmax, log_softmax or logsumexp by slices; None where those are not used."""
    if not _used(int(wanted.sum()) * x.shape[spec.axis], rtol):
        return None
    from refattn.oracle.extended.softmax import extended_softmax

    return extended_softmax(x, spec)


def _used(work: int, rtol: float | None) -> bool:
    """True if slices pay and reach the tolerance; a missing package is logged."""
    if work < WORTHWHILE or (rtol is not None and rtol < SMALLEST_RTOL):
        return False
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        logger.info("slices are left out: %s is not installed: expected it, pip install 'refattn[fast]'", missing[0])
    return not missing
