"""Visibility among ordered tokens, as device functions: each query sees an interval of the keys, and vice versa."""

from __future__ import annotations

import triton
import triton.language as tl

from refattn_gpu.kernels.exponential import LOG2_E


@triton.jit
def load_intervals(order, batch, head, slots, inside):
    """(tokens, starts, ends) of slots of a head's Intervals, the interval [0, 0) where they are not inside."""
    place = batch * order.batch + head * order.head + slots
    tokens = tl.load(order.tokens + place, mask=inside, other=0)
    starts = tl.load(order.starts + place, mask=inside, other=0)
    return tokens, starts, tl.load(order.ends + place, mask=inside, other=0)


@triton.jit
def spanned(starts, ends, most):
    """(start, end) of what the intervals [starts, ends) hold together, all at most `most`; end <= start if nothing."""
    some = starts < ends
    return tl.min(tl.where(some, starts, most), 0), tl.max(tl.where(some, ends, 0), 0)


@triton.jit
def within(slots, starts, ends):
    """(len(starts), len(slots)): true where the slot lies in the interval."""
    return (slots[None, :] >= starts[:, None]) & (slots[None, :] < ends[:, None])


@triton.jit
def seen_scores(products, seen, scale):
    """The scores in base 2 of the raw products Q K^T, -inf where nothing is seen."""
    return tl.where(seen, products * (scale * LOG2_E), float("-inf"))
