"""The scores of a tile in base 2 and which of them are visible, as device functions, for both passes of attention.

The backward pass recomputes them by the same operations, so that its weights are those of the forward pass.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LOG2_E
from refattn_gpu.kernels.visibility import sees


@triton.jit
def hyperbolic_tangent(x):
    """Tanh x from exponentials of a non-positive number, which cannot overflow."""
    small = tl.exp2(tl.abs(x) * (-2 * LOG2_E))
    size = (1.0 - small) / (1.0 + small)
    # Near 0 the difference cancels: there tanh x = x - x^3 / 3 + 2 x^5 / 15 to within an ulp of fp32.
    series = tl.abs(x) * (1.0 - x * x * (0.3333333333333333 - x * x * 0.13333333333333333))
    size = tl.where(tl.abs(x) < 0.0625, series, size)
    return tl.where(x < 0.0, -size, size)


@triton.jit
def visible_scores(
    products, batch, head, rows, columns, queries, keys, scale, alignment, slope, scoring, BIAS, MASK, HAS,
    WHOLE: tl.constexpr = False,
):  # fmt: skip
    """(scores, seen, tanh) of the raw products Q K^T, all of their shape; scores are -inf where nothing is seen.

    The queries `rows` and the keys `columns` have two axes, and lie along either. tanh is the softcap's; without one it
    is not to be used. Without softcap, ALiBi and bias, a subtraction from the scores may be contracted with their
    scaling. In a WHOLE tile nothing but mask and bias hides anything; rows and columns beyond the last have scores
    there, too.
    """
    held = (rows < queries) & (columns < keys)
    seen = held
    if not WHOLE:
        seen = sees(seen, rows + alignment, columns, scoring.left, scoring.right, HAS.LEFT, HAS.RIGHT)
    offsets = rows.to(tl.int64)
    places = columns.to(tl.int64)
    if HAS.MASK:
        place = MASK.base + batch * MASK.batch + head * MASK.head + offsets * MASK.row + places * MASK.column
        seen = seen & (tl.load(place, mask=held, other=0) != 0)
    tanh = products
    if HAS.SOFTCAP:
        tanh = hyperbolic_tangent(products * scale / scoring.softcap)
        scores = scoring.softcap * tanh * LOG2_E
    else:
        scores = products * (scale * LOG2_E)
    if HAS.ALIBI:
        distance = tl.abs(rows + alignment - columns).to(tl.float32)
        scores -= slope * distance * LOG2_E
    if HAS.BIAS:
        place = BIAS.base + batch * BIAS.batch + head * BIAS.head + offsets * BIAS.row + places * BIAS.column
        bias = tl.load(place, mask=held, other=0.0).to(tl.float32)
        scores += bias * LOG2_E
        seen = seen & (bias != float("-inf"))
    if HAS.MASK or HAS.BIAS or not WHOLE:
        scores = tl.where(seen, scores, float("-inf"))
    return scores, seen, tanh
