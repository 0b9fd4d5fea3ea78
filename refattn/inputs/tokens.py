"""Text that carries a case: a header in JSON and the arrays, packed in the narrowest format that holds them exactly.

The result is URL-safe (letters, digits, "-" and "_"), so that a person can paste it in a shell or an issue. Signed
zeros, subnormals and infinities come back bit for bit; a NaN comes back as the one quiet NaN, without a payload.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.errors import InvalidValue
from refattn.numbers import formats

_FLOATS = {"a": formats.e4m3, "b": formats.bf16, "c": formats.fp16, "d": formats.fp32, "e": formats.fp64}
_INTEGERS: dict[str, np.dtype[Any]] = {
    "w": np.dtype("<i1"),
    "x": np.dtype("<i2"),
    "y": np.dtype("<i4"),
    "z": np.dtype("<i8"),
}
_BOOLEANS = "?"
# A header is mostly these words; a change makes every earlier token unreadable.
_DICTIONARY = (
    b'"empty_rows":"nan""dropout":0.5,"keep":{"@":"?"key_positions":{"@":"w"buckets":["kept_queries":{"@":"?'
    b'"kept_keys":{"@":"?"documents":["sinks":{"@":"mask":{"@":"?1,1,"bias":{"@":"alibi_slopes":{"@":"softcap":'
    b'"window":[null,null],"alignment":"top_left""strict":true,"scale":0.125,"axis":-1,"kind":"softmax"[{"x":{"@":"'
    b'e4m3e5m2fp64fp16bf16"},"dlse":{"@":"d1,"do":{"@":"b1,1,fp32","regime":"given","generic":false},{"causal":true}]'
    b'[{"q":{"@":"a1,1,1,1"},"k":{"@":"a1,1,1,1"},"v":{"@":"a1,1,1,1"}},{"format":"'
)
_LARGEST = 1 << 31


def pack(tree: Any) -> str:
    """The text of a tree of lists, dictionaries, strings, numbers, booleans, None, and NumPy arrays at its leaves."""
    chunks: list[bytes] = []
    header = json.dumps(_replace_arrays(tree, chunks), separators=(",", ":")).encode()
    deflater = zlib.compressobj(9, zdict=_DICTIONARY)
    body = deflater.compress(struct.pack("<I", len(header)) + header + b"".join(chunks)) + deflater.flush()
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


def unpack(text: str) -> Any:
    """The tree that `pack` was given. Raises InvalidValue when the text is not one of pack's."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        inflater = zlib.decompressobj(zdict=_DICTIONARY)
        data = inflater.decompress(raw, _LARGEST)
        if not inflater.eof or inflater.unused_data:
            raise ValueError("the compressed data are cut short or too long")
        (size,) = struct.unpack_from("<I", data)
        tree = json.loads(data[4 : 4 + size])
        reader = _Reader(data, 4 + size)
        restored = _restore_arrays(tree, reader.take)
        if reader.position != len(data):
            raise ValueError("bytes are left over")
    except (binascii.Error, zlib.error, struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidValue(
            f"token {shortened(text)!r} cannot be read ({error}): expected one made by token()"
        ) from None
    return restored


def shortened(text: str) -> str:
    """The text, cut to fit in an error message."""
    return text if len(text) <= 40 else f"{text[:37]}..."


def same_bits(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """True for equal shapes and equal values, where -0 differs from 0 and NaN equals NaN."""
    if first.shape != second.shape:
        return False
    equal = first == second
    if first.dtype.kind == "f" and second.dtype.kind == "f":
        equal &= np.signbit(first) == np.signbit(second)
        equal |= np.isnan(first) & np.isnan(second)
    return bool(equal.all())


def _replace_arrays(tree: Any, chunks: list[bytes]) -> Any:
    if isinstance(tree, np.ndarray):
        code, data = _encode(tree)
        chunks.append(data)
        return {"@": code + ",".join(map(str, tree.shape))}
    if isinstance(tree, dict):
        return {key: _replace_arrays(value, chunks) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_replace_arrays(value, chunks) for value in tree]
    return tree.item() if isinstance(tree, np.generic) else tree


def _restore_arrays(tree: Any, take: Callable[[int], bytes]) -> Any:
    if isinstance(tree, dict):
        if set(tree) == {"@"}:
            code, sizes = tree["@"][0], tree["@"][1:]
            return _decode(code, tuple(int(size) for size in sizes.split(",") if size), take)
        return {key: _restore_arrays(value, take) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_restore_arrays(value, take) for value in tree]
    return tree


class _Reader:
    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position

    def take(self, size: int) -> bytes:
        chunk = self.data[self.position : self.position + size]
        if len(chunk) != size:
            raise ValueError("an array is cut short")
        self.position += size
        return chunk


def _encode(array: NDArray[Any]) -> tuple[str, bytes]:
    if array.dtype == np.bool_:
        return _BOOLEANS, np.packbits(array).tobytes()
    if array.dtype.kind in "iu":
        code = next(
            code for code, dtype in _INTEGERS.items() if np.array_equal(array.astype(dtype).astype(np.int64), array)
        )
        return code, array.astype(_INTEGERS[code]).tobytes()
    values = np.where(np.isnan(array), np.nan, array)
    code = next(code for code, format in _FLOATS.items() if same_bits(format.round(values), values))
    return code, values.astype(_FLOATS[code].storage).tobytes()


def _decode(code: str, shape: tuple[int, ...], take: Callable[[int], bytes]) -> NDArray[Any]:
    if min(shape, default=0) < 0:
        raise ValueError("a size is negative")
    count = math.prod(shape)
    if code == _BOOLEANS:
        bits = np.frombuffer(take((count + 7) // 8), np.uint8)
        return np.unpackbits(bits, count=count).astype(np.bool_).reshape(shape)
    if code in _INTEGERS:
        dtype = _INTEGERS[code]
        return np.frombuffer(take(count * dtype.itemsize), dtype).astype(np.int64).reshape(shape)
    storage = _FLOATS[code].storage
    values = np.frombuffer(take(count * storage.itemsize), storage).astype(np.float64).reshape(shape)
    return np.where(np.isnan(values), np.nan, values)
