"""What a kernel computes, over the reals: no floating point here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from refattn.errors import InvalidType, InvalidValue

Alignment = Literal["bottom_right", "top_left"]
EmptyRows = Literal["zero", "nan"]
Window = tuple[int | None, int | None]


class Shape(NamedTuple):
    """Sizes of one attention problem."""

    batch: int
    heads: int
    kv_heads: int
    queries: int
    keys: int
    d_qk: int
    d_v: int

    @property
    def group(self) -> int:
        """Query heads per key-value head."""
        return self.heads // self.kv_heads


@dataclass(frozen=True, eq=False)
class AttentionSpec:
    """The function softmax(mask(softcap(scale * Q K^T) + bias + ALiBi)) V, in all its usual variants.

    Q is (B, H, Nq, D), K is (B, Hkv, Nk, D) and V is (B, Hkv, Nk, Dv); query head h reads key-value head
    h // (H / Hkv). Query i stands at position i + offset, where offset is Nk - Nq when `alignment` is "bottom_right"
    and 0 when it is "top_left"; causal, window and ALiBi count from there.

    scale            factor of Q K^T; None is the real number 1 / sqrt(D)
    causal           key j is visible only if j <= position; `strict` makes it j < position
    window           (left, right), inclusive: position - left <= j <= position + right; None is no limit
    softcap          c: the scaled score s becomes c * tanh(s / c), before bias and ALiBi
    alibi_slopes     (H,) or (B, H): adds -slope * |position - j|
    bias             added to the score, broadcastable to (B, H, Nq, Nk); -inf makes the key invisible
    mask             boolean, broadcastable to (B, H, Nq, Nk); True is visible
    sinks            (H,): one more logit in the normaliser of each row, with no value
    documents        (query ids, key ids), each (N,) or (B, N) integers: only equal ids see each other, and positions
                     and offset count inside the document (packed variable-length batches)
    kept_keys        boolean, broadcastable to (B, H, Nk): a dropped key is absent
    kept_queries     boolean, broadcastable to (B, H, Nq): a dropped query is an empty row
    buckets          (query buckets, key buckets), integers broadcastable to (B, H, N): only equal ones see each other
    key_positions    (Nk,) or (B, Nk): the logical position of each stored key (a paged cache); -1 is an unused slot
    query_positions  (Nq,) or (B, Nq): where each query stands, in place of i + offset: some rows of a longer problem
    keep, dropout    boolean keep-mask broadcastable to (B, H, Nq, Nk) and rate p: weights are multiplied by
                     keep / (1 - p) after normalising; the log-sum-exp does not see it
    empty_rows       output of a row that sees no key: "zero", or "nan" for kernels that declare so

    The log-sum-exp is natural and counts the sink; an empty row's is -inf (the sink's own logit if there is one).
    Raises InvalidValue or InvalidType, naming the field.
    """

    scale: float | None = None
    causal: bool = False
    strict: bool = False
    alignment: Alignment = "bottom_right"
    window: Window = (None, None)
    softcap: float | None = None
    alibi_slopes: Any = None
    bias: Any = None
    mask: Any = None
    sinks: Any = None
    documents: tuple[Any, Any] | None = None
    kept_keys: Any = None
    kept_queries: Any = None
    buckets: tuple[Any, Any] | None = None
    key_positions: Any = None
    query_positions: Any = None
    keep: Any = None
    dropout: float = 0.0
    empty_rows: EmptyRows = "zero"

    def __post_init__(self) -> None:
        _finite_or_none("scale", self.scale)
        _finite_or_none("softcap", self.softcap)
        if self.softcap is not None and self.softcap <= 0:
            raise InvalidValue(f"softcap is {self.softcap!r}: expected a positive number or None")
        _boolean("causal", self.causal)
        _boolean("strict", self.strict)
        if self.strict and not self.causal:
            raise InvalidValue("strict is True while causal is False: expected causal=True with strict=True")
        _one_of("alignment", self.alignment, ("bottom_right", "top_left"))
        _one_of("empty_rows", self.empty_rows, ("zero", "nan"))
        object.__setattr__(self, "window", _checked_window(self.window))
        _number("dropout", self.dropout, "a rate in [0, 1)")
        if not 0.0 <= self.dropout < 1.0:
            raise InvalidValue(f"dropout is {self.dropout!r}: expected a rate in [0, 1)")
        if self.dropout and self.keep is None:
            raise InvalidValue("dropout is set without keep: expected the boolean keep-mask that the kernel used")
        if self.key_positions is not None and self.documents is not None:
            raise InvalidValue("key_positions and documents are both set: expected at most one of them")
        for name in ("alibi_slopes", "bias", "sinks"):
            self._store(name, _floats(name, getattr(self, name)))
        for name in ("mask", "kept_keys", "kept_queries", "keep"):
            self._store(name, _booleans(name, getattr(self, name)))
        for name in ("key_positions", "query_positions"):
            self._store(name, _integers(name, getattr(self, name)))
        for name in ("documents", "buckets"):
            self._store(name, _integer_pair(name, getattr(self, name)))
        if self.alibi_slopes is not None and not np.isfinite(self.alibi_slopes).all():
            raise InvalidValue("alibi_slopes holds NaN or an infinity: expected finite numbers")
        for name in ("bias", "sinks"):
            values = getattr(self, name)
            if values is not None and np.isposinf(values).any():
                raise InvalidValue(f"{name} holds +inf: expected finite numbers or -inf")

    def _store(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def replace(self, **changes: Any) -> AttentionSpec:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def features(self) -> dict[str, Any]:
        """The fields that differ from their defaults, in order, as a report shows them."""
        changed = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not field.default and (isinstance(value, np.ndarray) or value != field.default):
                changed[field.name] = value
        return changed


@dataclass(frozen=True)
class SoftmaxSpec:
    """softmax, log_softmax or logsumexp of an array along one axis; an entry of -inf has weight exactly zero.

    empty_rows says what a row of nothing but -inf gives: "nan" (what the quotient 0/0 gives, the default) or "zero".
    """

    axis: int = -1
    kind: Literal["softmax", "log_softmax", "logsumexp"] = "softmax"
    empty_rows: EmptyRows = "nan"

    def __post_init__(self) -> None:
        if not isinstance(self.axis, int) or isinstance(self.axis, bool):
            raise InvalidType(f"axis is {self.axis!r}: expected an integer")
        _one_of("kind", self.kind, ("softmax", "log_softmax", "logsumexp"))
        _one_of("empty_rows", self.empty_rows, ("zero", "nan"))


def problem_shape(q: Any, k: Any, v: Any, spec: AttentionSpec) -> Shape:
    """The sizes of a problem, after checking that q, k, v and every array of the spec fit together.

    Takes anything with a `shape`. Raises InvalidValue, naming the argument and what was expected.
    """
    for name, array in (("q", q), ("k", k), ("v", v)):
        if not hasattr(array, "shape"):
            raise InvalidType(f"{name} is a {type(array).__name__}: expected an array with axes (B, H, N, D)")
        if len(array.shape) != 4:
            raise InvalidValue(f"{name} has shape {tuple(array.shape)}: expected four axes (B, H, N, D)")
    batch, heads, queries, d_qk = (int(n) for n in q.shape)
    kv_batch, kv_heads, keys, d_k = (int(n) for n in k.shape)
    d_v = int(v.shape[3])
    if kv_batch != batch or int(v.shape[0]) != batch:
        raise InvalidValue(f"q, k, v have batch sizes {batch}, {kv_batch}, {int(v.shape[0])}: expected equal ones")
    if d_k != d_qk:
        raise InvalidValue(f"k has head dimension {d_k}: expected q's, {d_qk}")
    if d_qk == 0 and spec.scale is None:
        raise InvalidValue("q has head dimension 0: expected a positive one, or an explicit scale")
    if int(v.shape[2]) != keys:
        raise InvalidValue(f"v holds {int(v.shape[2])} keys: expected k's, {keys}")
    if int(v.shape[1]) != kv_heads:
        raise InvalidValue(f"v has {int(v.shape[1])} heads: expected k's, {kv_heads}")
    if kv_heads == 0 or heads % kv_heads:
        raise InvalidValue(f"q has {heads} heads and k has {kv_heads}: expected k's to divide q's")
    shape = Shape(batch, heads, kv_heads, queries, keys, d_qk, d_v)
    _check_arrays(spec, shape)
    return shape


def _check_arrays(spec: AttentionSpec, shape: Shape) -> None:
    full = (shape.batch, shape.heads, shape.queries, shape.keys)
    for name in ("bias", "mask", "keep"):
        _fits(name, getattr(spec, name), full)
    _fits("kept_keys", spec.kept_keys, (shape.batch, shape.heads, shape.keys))
    _fits("kept_queries", spec.kept_queries, (shape.batch, shape.heads, shape.queries))
    if spec.alibi_slopes is not None and spec.alibi_slopes.shape not in ((shape.heads,), (shape.batch, shape.heads)):
        raise InvalidValue(f"alibi_slopes has shape {spec.alibi_slopes.shape}: expected ({shape.heads},) or {full[:2]}")
    if spec.sinks is not None and spec.sinks.shape != (shape.heads,):
        raise InvalidValue(f"sinks has shape {spec.sinks.shape}: expected ({shape.heads},)")
    if spec.documents is not None:
        for side, ids, n in zip(("query", "key"), spec.documents, (shape.queries, shape.keys), strict=True):
            _per_token(f"documents ({side} ids)", ids, shape.batch, n)
    if spec.buckets is not None:
        for side, ids, n in zip(("query", "key"), spec.buckets, (shape.queries, shape.keys), strict=True):
            _fits(f"buckets ({side})", ids, (shape.batch, shape.heads, n))
    if spec.key_positions is not None:
        _per_token("key_positions", spec.key_positions, shape.batch, shape.keys)
        for row in np.atleast_2d(spec.key_positions):
            used = np.sort(row[row >= 0])
            if not np.array_equal(used, np.arange(used.size)) or (row < -1).any():
                raise InvalidValue("key_positions holds other numbers: expected 0..n-1 in some order, -1 where unused")
    if spec.query_positions is not None:
        _per_token("query_positions", spec.query_positions, shape.batch, shape.queries)


def _per_token(name: str, array: Any, batch: int, n: int) -> None:
    if array.shape not in ((n,), (batch, n)):
        raise InvalidValue(f"{name} has shape {array.shape}: expected ({n},) or ({batch}, {n})")


def _fits(name: str, array: Any, full: tuple[int, ...]) -> None:
    if array is None:
        return
    try:
        fits = np.broadcast_shapes(array.shape, full) == full
    except ValueError:
        fits = False
    if not fits:
        raise InvalidValue(f"{name} has shape {array.shape}: expected one that broadcasts to {full}")


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise InvalidValue(f"{name} is {value!r}: expected one of {', '.join(map(repr, choices))}")


def _number(name: str, value: Any, expected: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise InvalidType(f"{name} is {value!r}: expected {expected}")


def _boolean(name: str, value: Any) -> None:
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidType(f"{name} is {value!r}: expected True or False")


def _finite_or_none(name: str, value: Any) -> None:
    if value is None:
        return
    _number(name, value, "a number or None")
    if not np.isfinite(value):
        raise InvalidValue(f"{name} is {value!r}: expected a finite number or None")


def _checked_window(window: Any) -> Window:
    if not isinstance(window, (tuple, list)) or len(window) != 2:
        raise InvalidType(f"window is {window!r}: expected a pair (left, right)")
    for side in window:
        if side is not None and (isinstance(side, bool) or not isinstance(side, (int, np.integer))):
            raise InvalidType(f"window is {window!r}: expected integers or None")
    left, right = (None if side is None else int(side) for side in window)
    if (left is not None and left < 0) or (right is not None and right < 0):
        raise InvalidValue(f"window is {window!r}: expected sides of at least 0, or None for no limit")
    return left, right


def _array(name: str, value: Any) -> Any:
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InvalidType(f"{name} is not an array: {error}") from error


def _floats(name: str, value: Any) -> Any:
    if value is None:
        return None
    array = _array(name, value)
    # ml_dtypes' formats are of kind V, and so are records.
    if array.dtype.kind not in "iufV" or array.dtype.names is not None:
        raise InvalidType(f"{name} has dtype {array.dtype}: expected floating-point numbers")
    return array.astype(np.float64)


def _booleans(name: str, value: Any) -> Any:
    if value is None:
        return None
    array = _array(name, value)
    if array.size and array.dtype != np.bool_:
        raise InvalidType(f"{name} has dtype {array.dtype}: expected booleans")
    return array.astype(np.bool_)


def _integers(name: str, value: Any) -> Any:
    if value is None:
        return None
    array = _array(name, value)
    if array.size and array.dtype.kind not in "iu":
        raise InvalidType(f"{name} has dtype {array.dtype}: expected integers")
    return array.astype(np.int64)


def _integer_pair(name: str, value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise InvalidType(f"{name} is not a pair: expected (for queries, for keys)")
    return (_integers(name, value[0]), _integers(name, value[1]))
