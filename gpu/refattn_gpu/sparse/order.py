"""The order in which sparse attention visits tokens, in which each query sees an interval of the keys.

Pagliardini et al. (2023) sort by hash bucket and move kept tokens to the front, and the kernel compares bucket ids and
positions. Here both are settled before the kernel: keys lie sorted by (bucket, position), so that the keys of a query's
bucket, and those of them that causality leaves, lie next to each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from refattn.contract.spec import Shape
from refattn_gpu.kernels.parameters import Intervals

LARGEST = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Order:
    """Ordered queries and keys; a slot is a place in that order. Views of int32, with strides of 0 where heads agree.

    rows (B, H, Nq) is the query of each slot, and columns (B, H, Nk) the key. The query of slot r sees the keys of
    slots starts[r] <= c < ends[r], which do not decrease with r; so the key of slot c is seen by the queries of slots
    lows[c] <= r < highs[c].

    hides    True if some key may be invisible to a query
    """

    rows: torch.Tensor
    starts: torch.Tensor
    ends: torch.Tensor
    columns: torch.Tensor
    lows: torch.Tensor
    highs: torch.Tensor
    hides: bool

    @property
    def queries(self) -> Intervals:
        """The queries and what they see, as kernels take them."""
        return Intervals(self.rows, self.starts, self.ends, *self.rows.stride()[:2])

    @property
    def keys(self) -> Intervals:
        """The keys and what sees them, as kernels take them."""
        return Intervals(self.columns, self.lows, self.highs, *self.columns.stride()[:2])

    @classmethod
    def of(
        cls,
        shape: Shape,
        device: torch.device,
        *,
        buckets: tuple[torch.Tensor, torch.Tensor] | None,
        kept_queries: torch.Tensor | None,
        kept_keys: torch.Tensor | None,
        reach: int | None,
    ) -> Order:
        """That of checked tensors of three axes (B or 1, H or 1, N), for at least one query and one key.

        Query i sees key j of its bucket only if j <= i + reach; None is no limit. Nothing here waits for the device.
        """
        query_ids, key_ids = (None, None) if buckets is None else buckets
        given = [x for x in (query_ids, key_ids, kept_queries, kept_keys) if x is not None]
        heads = tuple(max([1, *(x.shape[axis] for x in given)]) for axis in (0, 1))
        rows, row_ids, dropped_rows = order_tokens(query_ids, kept_queries, (*heads, shape.queries), device)
        columns, column_ids, dropped_columns = order_tokens(key_ids, kept_keys, (*heads, shape.keys), device)

        # Dropped keys come last and so above every bucket; no interval reaches them.
        column_ids = column_ids.masked_fill(dropped_columns, LARGEST)
        kept = (~dropped_columns).sum(-1, keepdim=True)
        starts = torch.minimum(torch.searchsorted(column_ids, row_ids), kept)
        ends = torch.minimum(torch.searchsorted(column_ids, row_ids, right=True), kept)
        if reach is not None:
            # (bucket, position) as one number: a bucket counts as the first slot of its keys.
            width = shape.keys + 2
            places = torch.searchsorted(column_ids, column_ids) * width + columns
            last = starts * width + (rows + reach).clamp(-1, shape.keys)
            places = places.masked_fill(dropped_columns, LARGEST)
            ends = torch.minimum(ends, torch.searchsorted(places, last, right=True))
        # Dropped queries come last and see an empty interval where those of the others end.
        nothing = ends.masked_fill(dropped_rows, 0).amax(-1, keepdim=True)
        starts, ends = (torch.where(dropped_rows, nothing, x) for x in (starts, ends))

        slots = torch.arange(shape.keys, device=device).expand(columns.shape).contiguous()
        lows, highs = (torch.searchsorted(x, slots, right=True) for x in (ends, starts))
        everywhere = (shape.batch, shape.heads, -1)
        rows, starts, ends, columns, lows, highs = (
            x.to(torch.int32).expand(everywhere) for x in (rows, starts, ends, columns, lows, highs)
        )
        return cls(rows, starts, ends, columns, lows, highs, hides=bool(given) or reach is not None)


def order_tokens(
    ids: torch.Tensor | None, kept: torch.Tensor | None, size: tuple[int, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(tokens, their bucket ids, which of them are dropped), each of `size`: dropped tokens last, then by bucket.

    Tokens of one bucket keep their order.
    """
    slots = torch.arange(size[-1], device=device)
    if ids is None:
        tokens, sorted_ids = slots.expand(size), torch.zeros(size, dtype=torch.int64, device=device)
    else:
        sorted_ids, tokens = torch.sort(ids.expand(size), dim=-1, stable=True)
        sorted_ids = sorted_ids.to(torch.int64)
    if kept is None:
        return tokens, sorted_ids, torch.zeros(size, dtype=torch.bool, device=device)
    kept = kept.expand(size).gather(-1, tokens)
    before = kept.cumsum(-1)
    count = before[..., -1:]
    # Kept tokens in front, one after the other, and the others behind them.
    places = torch.where(kept, before - 1, count + slots - before)
    tokens, sorted_ids = (torch.empty_like(sorted_ids).scatter_(-1, places, x) for x in (tokens, sorted_ids))
    return tokens, sorted_ids, slots >= count
