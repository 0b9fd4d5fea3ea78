"""The scores of a tile in base 2 and which of them are visible, as device functions, for both passes of attention.

The backward pass recomputes them by the same operations, so that its weights are those of the forward pass.
"""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LOG2_E
from refattn_gpu.kernels.visibility import in_window


@triton.jit
def hyperbolic_tangent(x):
    """tanh x by the exponential of a number that is at most 0, which cannot overflow."""
    small = tl.exp2(tl.abs(x) * (-2 * LOG2_E))
    size = (1.0 - small) / (1.0 + small)
    # Near 0 the difference cancels: there tanh x = x - x^3 / 3 + 2 x^5 / 15 to within an ulp of fp32.
    series = tl.abs(x) * (1.0 - x * x * (0.3333333333333333 - x * x * 0.13333333333333333))
    size = tl.where(tl.abs(x) < 0.0625, series, size)
    return tl.where(x < 0.0, -size, size)


@triton.jit
def visible_scores(
    products, batch, head, rows, columns, queries, keys, scale, alignment, slope, scoring, BIAS, MASK, HAS,
    FULL: tl.constexpr = False,
):  # fmt: skip
    """(scores, visible, tanh) of the raw products Q K^T, all of their shape; scores are -inf where not visible.

    `rows` and `columns` are the indices of queries and keys, of two axes; queries lie along either. tanh is that of the
    softcap, and without one it must not be used. Without softcap, ALiBi and bias, the compiler may contract a
    subtraction from the scores with their scaling. In a FULL tile only the mask and the bias hide keys, and rows and
    columns past the last have scores, too.
    """
    in_bounds = (rows < queries) & (columns < keys)
    visible = in_bounds
    if not FULL:
        visible = in_window(visible, rows + alignment, columns, scoring.left, scoring.right, HAS.LEFT, HAS.RIGHT)
    row_offsets = rows.to(tl.int64)
    column_offsets = columns.to(tl.int64)
    if HAS.MASK:
        mask_base = MASK.base + batch * MASK.batch + head * MASK.head
        pointers = mask_base + row_offsets * MASK.row + column_offsets * MASK.column
        visible = visible & (tl.load(pointers, mask=in_bounds, other=0) != 0)
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
        bias_base = BIAS.base + batch * BIAS.batch + head * BIAS.head
        pointers = bias_base + row_offsets * BIAS.row + column_offsets * BIAS.column
        bias = tl.load(pointers, mask=in_bounds, other=0.0).to(tl.float32)
        scores += bias * LOG2_E
        visible = visible & (bias != float("-inf"))
    if HAS.MASK or HAS.BIAS or not FULL:
        scores = tl.where(visible, scores, float("-inf"))
    return scores, visible, tanh
