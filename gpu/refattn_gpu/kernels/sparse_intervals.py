"""Visibility among ordered tokens, as device functions: each query sees an interval of the keys, and vice versa."""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LOG2_E


@triton.jit
def load_intervals(order, batch, head, slots, row_mask):
    """(tokens, starts, ends) of slots of a head's Intervals; the interval is [0, 0) outside row_mask."""
    offsets = batch * order.batch + head * order.head + slots
    tokens = tl.load(order.tokens + offsets, mask=row_mask, other=0)
    starts = tl.load(order.starts + offsets, mask=row_mask, other=0)
    return tokens, starts, tl.load(order.ends + offsets, mask=row_mask, other=0)


@triton.jit
def interval_span(starts, ends, most):
    """(start, end) of the union of intervals [starts, ends), all at most `most`; end <= start if all are empty."""
    nonempty = starts < ends
    return tl.min(tl.where(nonempty, starts, most), 0), tl.max(tl.where(nonempty, ends, 0), 0)


@triton.jit
def in_intervals(slots, starts, ends):
    """(len(starts), len(slots)), true where the slot lies in the interval."""
    return (slots[None, :] >= starts[:, None]) & (slots[None, :] < ends[:, None])


@triton.jit
def interval_scores(products, visible, scale):
    """The scores in base 2 of the raw products Q K^T, -inf where not visible."""
    return tl.where(visible, products * (scale * LOG2_E), float("-inf"))
