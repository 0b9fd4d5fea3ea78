"""The numbers of regimes: values of the format, keys with chosen scores, values that identify their key."""

from __future__ import annotations

import math

import numpy as np

from refattn.contract.spec import AttentionSpec, Shape
from refattn.inputs.sources import Ints, Source
from refattn.numbers.formats import Array, Format

TILES = (16, 32, 64, 128)
QUIET = 0.25


def representable(values: Array, format: Format) -> Array:
    """The values rounded to the format; beyond its range, its largest number."""
    return format.round(np.clip(values, -format.max_finite, format.max_finite))


def query_shape(sizes: Shape) -> tuple[int, int, int, int]:
    """The shape of q."""
    return sizes.batch, sizes.heads, sizes.queries, sizes.d_qk


def key_shape(sizes: Shape) -> tuple[int, int, int, int]:
    """The shape of k."""
    return sizes.batch, sizes.kv_heads, sizes.keys, sizes.d_qk


def value_shape(sizes: Shape) -> tuple[int, int, int, int]:
    """The shape of v."""
    return sizes.batch, sizes.kv_heads, sizes.keys, sizes.d_v


def normal_qkv(source: Source, sizes: Shape, format: Format, scale: float = 1.0) -> tuple[Array, Array, Array]:
    """Normal q, k, v, with q multiplied by the scale."""
    return (
        representable(source.normal(query_shape(sizes), scale), format),
        representable(source.normal(key_shape(sizes)), format),
        representable(source.normal(value_shape(sizes)), format),
    )


def scale_of(spec: AttentionSpec, sizes: Shape) -> float:
    """The factor of Q K^T, to double precision."""
    return 1.0 / math.sqrt(sizes.d_qk) if spec.scale is None else spec.scale


def ranked_qk(
    source: Source,
    sizes: Shape,
    format: Format,
    spec: AttentionSpec,
    ranks: Ints,
    step: float,
    *,
    at_most: bool = False,
    noise: float = QUIET,
) -> tuple[Array, Array]:
    """Queries and keys whose scores are rank * s nats, the same for each query, and a little noise.

    `ranks` are integers, (Nk,) or (B, Hkv, Nk); s is a power of two times the scale, in [step, 2 step), or, with
    `at_most`, in (step / 2, step]. The ranks are written in digits that the format holds exactly; with a head dimension
    of 1 and more than 2^precision ranks only the top ones differ. The other half of the dimensions, if there are more
    than 2, holds normal numbers of the size `noise`.
    """
    base = 2**format.precision
    highest = int(np.abs(ranks).max(initial=0))
    if highest >= base and sizes.d_qk == 1:
        ranks, highest = np.maximum(ranks - (int(ranks.max()) - base + 1), 0), base - 1
    digits = 1 if highest < base else 2
    ranked = sizes.d_qk if sizes.d_qk <= 2 else (sizes.d_qk + 1) // 2
    copies = ranked // digits
    exact = math.log2(step / (scale_of(spec, sizes) * copies))
    exponent = math.floor(exact) if at_most else math.ceil(exact)
    q, k = _noisy(source, sizes, format, noise, ranked)
    for digit in range(digits):
        place = slice(digit * copies, (digit + 1) * copies)
        part = np.abs(ranks) // base**digit % base
        key_exponent = min(max((exponent + digit * format.precision) // 2, format.emin), format.emax - format.precision)
        query_exponent = exponent + digit * format.precision - key_exponent
        if query_exponent > format.emax - 1:
            key_exponent, query_exponent = key_exponent + query_exponent - (format.emax - 1), format.emax - 1
        q[..., place] = 2.0**query_exponent
        k[..., place] = (np.sign(ranks) * part * 2.0**key_exponent)[..., None]
    return representable(q, format), representable(k, format)


def offset_qk(
    source: Source, sizes: Shape, format: Format, spec: AttentionSpec, offset: float, noise: float
) -> tuple[Array, Array]:
    """Queries and keys with normal scores shifted by one number, at least the offset in magnitude and of its sign."""
    shifted = max(1, sizes.d_qk // 2)
    q, k = _noisy(source, sizes, format, noise, shifted)
    exponent = math.ceil(math.log2(abs(offset) / (scale_of(spec, sizes) * shifted)))
    key_exponent = exponent // 2
    q[..., :shifted] = 2.0 ** (exponent - key_exponent)
    k[..., :shifted] = math.copysign(2.0**key_exponent, offset)
    return representable(q, format), representable(k, format)


def _noisy(source: Source, sizes: Shape, format: Format, noise: float, taken: int) -> tuple[Array, Array]:
    q, k = np.zeros(query_shape(sizes)), np.zeros(key_shape(sizes))
    free = sizes.d_qk - taken
    if free and noise:
        q[..., taken:] = representable(source.normal((*q.shape[:3], free), noise), format)
        k[..., taken:] = representable(source.normal((*k.shape[:3], free), noise), format)
    return q, k


def code_bits(keys: int) -> int:
    """Dimensions of a binary code that distinguishes the keys."""
    return max(1, (keys - 1).bit_length())


def matched_qk(sizes: Shape, format: Format, spec: AttentionSpec, targets: Ints, step: float) -> tuple[Array, Array]:
    """Queries and keys such that row (b, h, i) scores key targets[b, h, i] at least `step` nats above each other key.

    A target of -1 gives the row equal scores. The head dimension must be at least `code_bits(Nk)`: key j is its binary
    code in -1 and 1, repeated, and the query is its target's.
    """
    bits = code_bits(sizes.keys)
    copies = sizes.d_qk // bits
    exponent = math.ceil(math.log2(step / (2 * copies * scale_of(spec, sizes))))
    key_exponent = exponent // 2
    codes = np.where(np.arange(sizes.keys)[:, None] >> np.arange(bits) & 1, 1.0, -1.0)
    codes = np.tile(codes, (1, copies))
    q, k = np.zeros(query_shape(sizes)), np.zeros(key_shape(sizes))
    k[..., : bits * copies] = codes * 2.0**key_exponent
    wanted = np.broadcast_to(targets, q.shape[:3])
    q[..., : bits * copies] = np.where(wanted[..., None] >= 0, codes[wanted] * 2.0 ** (exponent - key_exponent), 0.0)
    return representable(q, format), representable(k, format)


def identifying_values(sizes: Shape, format: Format) -> Array:
    """V whose row j spells j in small positive integers, and differs between batches and heads too."""
    base = min(2**format.precision, 256) - 1
    digits = max(1, math.ceil(math.log(max(2, sizes.keys), base)))
    column = np.arange(sizes.d_v)
    spelled = np.arange(sizes.keys)[:, None] // base ** (column % digits) + column // digits
    where = np.arange(sizes.batch * sizes.kv_heads).reshape(sizes.batch, sizes.kv_heads, 1, 1)
    return np.asarray((spelled + 5 * where) % base + 1, dtype=np.float64)
