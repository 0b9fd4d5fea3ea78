"""The exact distance of attention by block scales from attention, per row, from the scales (proofs/block_scales.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refattn import oracle
from refattn.bounds.theorems.block_scales import (
    block_scale_distance,
    block_scale_output_error,
    block_scale_row_sum,
)
from refattn.contract.block_scales import BlockScales, checked_blocks
from refattn.contract.spec import AttentionSpec, Shape, problem_shape
from refattn.contract.visibility import Bools, visible
from refattn.errors import InvalidType, InvalidValue
from refattn.numbers.arrays import as_float64, float64_like, float64_on_device
from refattn.numbers.formats import Array
from refattn.numbers.roundoff import gamma
from refattn.oracle.enclosure import Enclosure

# float64: its unit roundoff, and more than any one operation loses to underflow.
UNIT = 2.0**-53
TINY = 2.0**-1020
PLAIN = AttentionSpec()


@dataclass(frozen=True, eq=False)
class Certificate:
    """The effect on each row, in real numbers, of scales a_i instead of the exact a*_i = exp(LSE_i - LSE).

    exact          a*, (B, H, Nq, blocks); exactly 0 where the query sees no key of the block
    distance       sum_j |p'_j - p_j| = sum_i |a_i - a*_i|, (B, H, Nq) (theorem distance_exact); of the weights before
                   dropout
    output_bound   |out' - out| is at most this, (B, H, Nq, Dv): sum_i |a_i - a*_i| max |v| over the keys of block i
                   that the query sees, or over all of them where it sees none (theorem output_error); rounded up
    leak           sum of |a_i| over blocks of which the query sees nothing, (B, H, Nq): the weight on invisible keys
                   of a kernel that uses these scales there (theorem leaked_mass); rounded up
    row_sum_error  |sum_i a_i - sum_i a*_i|, (B, H, Nq) (theorem row_sum_error): how far the row's sum is from what it
                   should be, which is 1 without sinks, and 0 in a row that sees nothing
    """

    exact: Enclosure
    distance: Enclosure
    output_bound: Array
    leak: Array
    row_sum_error: Enclosure


def certificate(
    q: Any, k: Any, v: Any, spec: AttentionSpec = PLAIN, *, scales: Any, blocks: Any = None, window: int | None = None
) -> Certificate:
    """The certificate of scales (B, H, Nq, blocks), or ones that broadcast to that, on one problem.

    q is (B, H, Nq, D), k (B, Hkv, Nk, D) and v (B, Hkv, Nk, Dv), finite, in any formats of NumPy, torch or JAX. blocks
    is a number of blocks, or a BlockScales; None takes as many as there are scales. window is the number of keys that
    they divide; None means all keys. The exact scales come from the oracle, so they hold for any kernel and arithmetic;
    a kernel's own roundings are not included (refattn.bounds). Raises InvalidType or InvalidValue, naming the argument.
    """
    arrays = [_finite(name, value) for name, value in (("q", q), ("k", k), ("v", v))]
    query, key, value = arrays
    if not isinstance(spec, AttentionSpec):
        raise InvalidType(f"spec is {type(spec).__name__}: expected an AttentionSpec")
    shape = problem_shape(query, key, value, spec)
    given = _finite("scales", scales)
    partition = checked_blocks(given.shape[-1] if blocks is None and given.ndim else blocks, window)
    used = checked_scales(given, partition, shape)
    exact = exact_scales(q, k, spec, partition)
    seen = partition.seen(spec, shape)
    differences, radius = np.abs(used - exact.mid), exact.rad + TINY
    distance = Enclosure(
        np.asarray(block_scale_distance(*_split(differences))), _sum_radius(used, exact.mid, radius, partition.blocks)
    )
    largest = _largest_values(value, partition, spec, shape, seen)
    signed = Enclosure(
        np.asarray(block_scale_row_sum(*_split(used - exact.mid))),
        _sum_radius(used, exact.mid, radius, partition.blocks),
    )
    # Every difference grows by the radius of its exact scale and by a few roundings.
    upper = (differences * (1 + 4 * UNIT) + radius)[..., None]
    pairs = [part for block in range(partition.blocks) for part in (upper[..., block, :], largest[block])]
    bound = block_scale_output_error(*pairs) * (1 + gamma(2 * partition.blocks + 4, UNIT)) / (1 - spec.dropout)
    leak = np.where(seen, 0.0, np.abs(used)).sum(axis=-1) * (1 + gamma(partition.blocks, UNIT))
    return Certificate(exact, distance, np.asarray(bound * (1 + 4 * UNIT)), leak, signed)


def exact_scales(q: Any, k: Any, spec: AttentionSpec, blocks: BlockScales) -> Enclosure:
    """a*_i = exp(LSE_i - LSE), (B, H, Nq, blocks), each to a certified radius of at most 2**-30 (usually some 1e-13).

    They are the attention of values that say which block a key is in: each row adds up its weights block by block. The
    scale of a block of which a query sees nothing is exactly 0, with a radius of 0.
    Tensors of torch stay on their device. Raises InvalidType or InvalidValue, naming the argument.
    """
    query, key = float64_on_device(("q", "k"), (q, k))
    members = blocks.membership(int(key.shape[2])).astype(np.float64)
    values = float64_like("values", np.broadcast_to(members, (*key.shape[:2], *members.shape)).copy(), key)
    weights = spec.replace(keep=None, dropout=0.0, empty_rows="zero")
    return oracle.attention(query, key, values, weights).out


def block_outputs(q: Any, k: Any, v: Any, spec: AttentionSpec, blocks: BlockScales) -> list[Enclosure]:
    """softmax(s of block i) V_i for each block, (B, H, Nq, Dv), 0 where a query sees nothing of it. Raises as
    `certificate` does.
    """
    query, key, value = (_finite(name, array) for name, array in (("q", q), ("k", k), ("v", v)))
    shape = problem_shape(query, key, value, spec)
    nothing = np.zeros((*query.shape[:3], value.shape[3]))
    return [
        Enclosure(nothing, nothing) if part is None else oracle.attention(query, key, value, part).out
        for part in blocks.specs(spec, shape)
    ]


def block_scaled(outputs: Sequence[Enclosure], scales: Array, seen: Bools, spec: AttentionSpec) -> Enclosure:
    """The exact output sum_i a_i O_i of the blocks' outputs (B, H, Nq, Dv) and scales (B, H, Nq, blocks).

    seen (B, H, Nq, blocks) is True where a query sees a key of the block; other blocks weigh nothing, whatever their
    scale.
    """
    mid = np.zeros(outputs[0].shape)
    rad, size = np.zeros_like(mid), np.zeros_like(mid)
    for block, output in enumerate(outputs):
        scale = np.where(seen[..., block], scales[..., block], 0.0)[..., None]
        mid += scale * output.mid
        # The oracle's digits beyond float64 count as radius here.
        rad += np.abs(scale) * (output.rad + np.abs(output.tail()))
        size += np.abs(scale * output.mid)
    roundings = gamma(2 * len(outputs) + 4, UNIT)
    rad = rad * (1 + roundings) + roundings * size + len(outputs) * TINY
    empty = ~np.asarray(seen.any(axis=-1, keepdims=True))
    blank = 0.0 if spec.empty_rows == "zero" else np.nan
    return Enclosure(np.where(empty, blank, mid), np.where(empty, 0.0, rad))


def checked_scales(scales: Array, blocks: BlockScales, shape: Shape) -> Array:
    """Scales as (B, H, Nq, blocks). Raises InvalidValue where they do not broadcast to that."""
    full = (shape.batch, shape.heads, shape.queries, blocks.blocks)
    try:
        return np.broadcast_to(scales, full)
    except ValueError:
        raise InvalidValue(f"scales has shape {scales.shape}: expected one that broadcasts to {full}") from None


def _largest_values(value: Array, blocks: BlockScales, spec: AttentionSpec, shape: Shape, seen: Bools) -> list[Array]:
    """The largest |v| of each block, (B, H, Nq, Dv): of the keys that a query sees, or of all where it sees none."""
    size = np.repeat(np.abs(value), shape.group, axis=1)
    shown = visible(spec, shape)
    maxima = []
    for block, keys in enumerate(blocks.slices(shape.keys)):
        of_all = size[:, :, keys].max(axis=2, initial=0.0)[:, :, None]
        if shown[..., keys].all():
            maxima.append(np.broadcast_to(of_all, (*seen.shape[:3], shape.d_v)))
            continue
        # One column at a time: all at once would fill (B, H, Nq, Nk, Dv).
        columns = [
            np.where(shown[..., keys], size[:, :, None, keys, column], 0.0).max(axis=-1, initial=0.0)
            for column in range(shape.d_v)
        ]
        of_visible = np.stack(columns, axis=-1) if columns else np.zeros((*seen.shape[:3], 0))
        maxima.append(np.where(seen[..., block, None], of_visible, of_all))
    return maxima


def _sum_radius(used: Array, exact: Array, radius: Array, blocks: int) -> Array:
    """What the exact scales' radii and float64's roundings add to a sum of differences, or of their sizes."""
    size = (np.abs(used) + np.abs(exact)).sum(axis=-1)
    return np.asarray((radius.sum(axis=-1) + gamma(blocks + 2, UNIT) * size) * (1 + gamma(blocks + 8, UNIT)))


def _split(array: Array) -> list[Array]:
    return [array[..., block] for block in range(array.shape[-1])]


def _finite(name: str, value: Any) -> Array:
    array = as_float64(name, value)
    if not np.isfinite(array).all():
        raise InvalidValue(f"{name} holds NaN or infinities: expected finite numbers")
    return array
