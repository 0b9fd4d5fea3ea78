"""Attention of few queries to many keys, contiguous or in pages, by refattn_gpu's Triton kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import triton

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec, Shape, problem_shape
from refattn.errors import InvalidType, InvalidValue
from refattn_gpu.kernels.decode_combine import decode_combine
from refattn_gpu.kernels.decode_split import decode_split
from refattn_gpu.kernels.parameters import PagedMatrix
from refattn_gpu.launching.arguments import Features, check_tile, checked, matrix, padded, sizes, tile
from refattn_gpu.launching.numerics import Numerics
from refattn_gpu.launching.placement import OnThisMachine

PLAIN = AttentionSpec()
LARGEST_PAGE = 128
ROWS_COMBINED = 4


@dataclass(frozen=True)
class Cache:
    """Keys and values, contiguous or in pages; strides are (batch, head, page, slot, column), in elements.

    table     (B, pages) int32, the page that holds each `page` logical positions; None where keys lie in order
    lengths   (B,) int32, the keys of each sequence; None where all have `keys`
    """

    k: torch.Tensor
    v: torch.Tensor
    k_strides: tuple[int, ...]
    v_strides: tuple[int, ...]
    keys: int
    table: torch.Tensor | None = None
    lengths: torch.Tensor | None = None
    page: int = 1


@dataclass(frozen=True)
class Decode(OnThisMachine):
    """(q, k, v, *, spec) -> (out, lse) on torch tensors (B, H, N, D): out in the inputs' dtype, lse (B, H, Nq) in fp32.

    The keys of a sequence are divided into parts of `split_keys`, whose partial results are combined by their
    log-sum-exps. The division depends on the sequence's own length only, and every sum runs in one order, so that the
    rest of the batch changes no bit; nor does the place of keys in a paged cache (spec.key_positions, or `paged`).

    tile_keys     keys of a tile
    split_keys    keys of a part, a multiple of tile_keys
    most_splits   longer sequences are divided into this many parts at most, of a multiple of split_keys
    nan_safe      NaN and infinities in invisible values reach no row
    check_indices what block_table and lengths hold is checked before a launch, which waits for the device to have it;
                  without, as recording a CUDA graph needs it, the caller answers for what is read
    """

    tile_keys: int = 32
    split_keys: int = 256
    most_splits: int = 64
    warps: int = 4
    stages: int = 2
    nan_safe: bool = True
    check_indices: bool = True

    refattn_library = "torch"
    refattn_formats = ("bf16", "fp16", "fp32")
    refattn_claims = (
        *("causal", "strict_causal", "window", "softcap", "alibi", "bias", "mask", "sinks", "gqa", "cross", "dv"),
        *("scale", "lse", "empty_rows", "ragged", "paged", "deterministic", "batch_invariant", "nan_safe"),
        "zero_length",
    )

    def __post_init__(self) -> None:
        check_tile("tile_keys", self.tile_keys)
        if self.split_keys < 1 or self.split_keys % self.tile_keys:
            raise InvalidValue(f"split_keys is {self.split_keys}: expected a multiple of tile_keys, {self.tile_keys}")
        if self.most_splits < 1:
            raise InvalidValue(f"most_splits is {self.most_splits}: expected a positive number")

    def arithmetic_for(self, format: Any) -> Arithmetic:
        """The contract that the kernels honour on inputs of a format: that of refattn_gpu.attention, in parts."""
        return (
            Numerics()
            .arithmetic(format, self.tile_keys, "refattn_gpu decode")
            .replace(splits=self.most_splits, split_keys=self.split_keys)
        )

    def __call__(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, spec: AttentionSpec = PLAIN
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Raises InvalidValue or InvalidType before anything is launched, naming the argument."""
        if spec.key_positions is None:
            shape = checked(q, k, v, spec)
            cache = Cache(k, v, cache_strides(k), cache_strides(v), shape.keys)
        else:
            checked(q, k, v, spec.replace(key_positions=None))
            shape = problem_shape(q, k, v, spec)
            positions = np.broadcast_to(np.atleast_2d(spec.key_positions), (shape.batch, shape.keys))
            page, table, lengths = pages_of(positions)
            pages, held = (torch.from_numpy(array).to(q.device) for array in (table, lengths))
            cache = Cache(k, v, cache_strides(k, page), cache_strides(v, page), shape.keys, pages, held, page)
            spec = by_position(spec, positions)
        return self.launch(q, cache, shape, spec)

    def paged(
        self,
        q: torch.Tensor,
        k_cache: torch.Tensor,
        v_cache: torch.Tensor,
        block_table: torch.Tensor,
        lengths: torch.Tensor,
        *,
        spec: AttentionSpec = PLAIN,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same with keys in pages that all sequences share: (out, lse) of q (B, H, Nq, D).

        k_cache is (pages, page size, Hkv, D) and v_cache (pages, page size, Hkv, Dv). Position p of sequence b lies in
        slot p % size of page block_table[b, p // size], an int32 tensor (B, pages of a sequence); lengths (B,), int32,
        says how many positions are held, and no other entry of the table is looked at. The spec's bias and mask
        broadcast to (B, H, Nq, positions), of pages of a sequence times size positions. Raises InvalidValue or
        InvalidType before anything is launched, for what the two hold unless check_indices is False.
        """
        if not isinstance(q, torch.Tensor) or q.ndim != 4:
            raise InvalidType("q is not a torch tensor of four axes: expected (B, H, Nq, D)")
        for name, tensor in (("k_cache", k_cache), ("v_cache", v_cache)):
            if not isinstance(tensor, torch.Tensor) or tensor.ndim != 4:
                raise InvalidType(f"{name} is not a torch tensor of four axes: expected (pages, page size, Hkv, D)")
        if k_cache.shape[1] == 0:
            raise InvalidValue(f"k_cache has shape {tuple(k_cache.shape)}: expected pages of at least one slot")
        if k_cache.shape[:3] != v_cache.shape[:3]:
            raise InvalidValue(f"v_cache has shape {tuple(v_cache.shape)}: expected k_cache's pages, size and heads")
        for name, tensor, axes in (("block_table", block_table, 2), ("lengths", lengths, 1)):
            if not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.int32:
                raise InvalidType(f"{name} is not a torch tensor of torch.int32: expected one")
            if tensor.ndim != axes or tensor.shape[0] != q.shape[0] or tensor.device != q.device:
                raise InvalidValue(
                    f"{name} has shape {tuple(tensor.shape)} on {tensor.device}: "
                    f"expected {axes} axes, the first of q's {q.shape[0]} sequences, on {q.device}"
                )
        if spec.key_positions is not None:
            raise InvalidValue("spec has key_positions: expected none of it, as block_table says where keys lie")
        page = k_cache.shape[1]
        keys = block_table.shape[1] * page
        # Views as if every sequence filled its pages; only their shapes are read.
        k, v = (
            cache[:1, :1].transpose(1, 2).expand(q.shape[0], cache.shape[2], keys, cache.shape[3])
            for cache in (k_cache, v_cache)
        )
        shape = checked(q, k, v, spec)
        if self.check_indices:
            checked_indices(block_table, lengths, k_cache.shape[0], page)
        k_strides, v_strides = (
            (0, cache.stride(2), cache.stride(0), cache.stride(1), cache.stride(3)) for cache in (k_cache, v_cache)
        )
        cache = Cache(
            k_cache, v_cache, k_strides, v_strides, keys, block_table.contiguous(), lengths.contiguous(), page
        )
        return self.launch(q, cache, shape, spec)

    def launch(
        self, q: torch.Tensor, cache: Cache, shape: Shape, spec: AttentionSpec
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both kernels on a checked problem."""
        out = torch.empty((shape.batch, shape.heads, shape.queries, shape.d_v), dtype=q.dtype, device=q.device)
        lse = torch.empty(out.shape[:3], dtype=torch.float32, device=q.device)
        rows = lse.numel()
        if rows == 0:
            return out, lse
        splits = max(1, min(self.most_splits, triton.cdiv(shape.keys, self.split_keys)))
        parts = torch.empty((splits, rows, shape.d_v), dtype=torch.float32, device=q.device)
        part_lse = torch.empty((splits, rows), dtype=torch.float32, device=q.device)
        features = Features.of(spec, shape, q.device)
        packed = shape.group * shape.queries
        # Wide rows leave no shared memory to prefetch a tile.
        widest = max(padded(shape.d_qk), padded(shape.d_v)) * q.element_size()
        block_rows = min(64, padded(packed))
        table_stride = 0 if cache.table is None else cache.table.stride(0)
        decode_split[(shape.batch * shape.kv_heads, triton.cdiv(packed, block_rows), splits)](
            matrix(q), PagedMatrix(cache.k, *cache.k_strides), PagedMatrix(cache.v, *cache.v_strides),
            parts, part_lse, cache.table, table_stride, cache.lengths,
            matrix(features.bias), matrix(features.mask), features.slopes, features.sinks,
            sizes(shape), rows, features.scoring, self.split_keys, self.most_splits,
            features.has, tile(shape, block_rows, self.tile_keys),
            BOTTOM_RIGHT=spec.alignment == "bottom_right", HAS_TABLE=cache.table is not None, PAGE=cache.page,
            NAN_SAFE=self.nan_safe and features.hides_keys, PRECISION="ieee",
            num_warps=self.warps, num_stages=self.stages if widest <= 256 else 1, enable_fp_fusion=True,
        )  # fmt: skip
        decode_combine[(triton.cdiv(rows, ROWS_COMBINED),)](
            parts, part_lse, out, lse, splits, rows, shape.d_v,
            BLOCK_M=ROWS_COMBINED, BLOCK_DV=padded(shape.d_v), num_warps=self.warps, enable_fp_fusion=True,
        )  # fmt: skip
        return out, lse


decode = Decode()


def checked_indices(table: torch.Tensor, lengths: torch.Tensor, pages: int, page: int) -> None:
    """Raises InvalidValue where a length is negative or more than the table's pages hold, or where a page that a
    sequence's keys lie in is none of the cache's. Waits for the device.
    """
    most = table.shape[1] * page
    wrong_lengths = (lengths < 0) | (lengths > most)
    first = torch.arange(table.shape[1], device=table.device) * page
    wrong_pages = (first < lengths[:, None]) & ((table < 0) | (table >= pages))
    if not bool(wrong_lengths.any() | wrong_pages.any()):
        return
    if bool(wrong_lengths.any()):
        sequence = int(wrong_lengths.nonzero()[0, 0])
        raise InvalidValue(
            f"lengths[{sequence}] is {int(lengths[sequence])}: expected 0 .. {most}, "
            f"as block_table has {table.shape[1]} pages of {page} for a sequence"
        )
    sequence, place = (int(index) for index in wrong_pages.nonzero()[0])
    page_index = int(table[sequence, place])
    raise InvalidValue(
        f"block_table[{sequence}, {place}] is {page_index}: expected 0 .. {pages - 1}, a page of k_cache"
    )


def by_position(spec: AttentionSpec, positions: Any) -> AttentionSpec:
    """The spec of stored keys at logical positions (B, N) with its bias and mask in the order of positions."""
    slots = np.zeros(positions.shape, np.int64)
    for row, of_row in enumerate(positions):
        held = np.flatnonzero(of_row >= 0)
        slots[row, of_row[held]] = held
    changes: dict[str, Any] = {}
    for name in ("bias", "mask"):
        array = getattr(spec, name)
        if array is not None:
            full = np.broadcast_to(array, np.broadcast_shapes(array.shape, (len(slots), 1, 1, slots.shape[1])))
            changes[name] = np.take_along_axis(full, slots[:, None, None], axis=-1)
    return spec.replace(key_positions=None, **changes)


def cache_strides(x: torch.Tensor, page: int = 1) -> tuple[int, ...]:
    """(batch, head, page, slot, column) strides of a tensor (B, Hkv, N, D) whose slots form pages of `page` slots."""
    batch, head, row, column = x.stride()
    return batch, head, page * row, row, column


def pages_of(positions: Any) -> tuple[int, Any, Any]:
    """(page size, table, lengths) of logical positions (B, N), -1 where a slot is unused: the largest pages there are.

    table (B, N / size) and lengths (B,) are int32; pages that hold nothing stand nowhere in the table.
    """
    batch, slots = positions.shape
    page = next(size for size in powers_of_two_from(LARGEST_PAGE) if size == 1 or lies_in_pages(positions, size))
    table = np.zeros((batch, max(1, slots // page)), np.int32)
    for row in range(batch):
        first = positions[row, ::page]
        table[row, first[first >= 0] // page] = np.flatnonzero(first >= 0)
    return page, table, (positions >= 0).sum(axis=1).astype(np.int32)


def powers_of_two_from(size: int) -> list[int]:
    """A power of two and all below it."""
    return [size >> shift for shift in range(size.bit_length())]


def lies_in_pages(positions: Any, size: int) -> bool:
    """True if slots lie in pages of so many: positions in order from a multiple of the size, unused ones at the end."""
    batch, slots = positions.shape
    if slots % size:
        return False
    pages = positions.reshape(batch, -1, size)
    ordered = pages[..., :1] + np.arange(size)
    used = pages >= 0
    return bool((~used | ((pages == ordered) & (pages[..., :1] % size == 0) & used[..., :1])).all())
