"""What operations gave, by name, in a file or not, and how two of such differ."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from refattn_interpreter.compare.numbers import Numbers, bits, wide

if TYPE_CHECKING:
    from refattn_interpreter.compare.operations import Operation

# By name: an array, or in one sentence why there is none.
Found = dict[str, Numbers | str]


def gathered(operations: Iterable[Operation], device: str, deadline: float = math.inf) -> Found:
    """The results of operations on a device; one that fails stops no other, and none begins after time.monotonic()
    has reached the deadline.
    """
    results: Found = {}
    for operation in operations:
        if time.monotonic() > deadline:
            results[operation.name] = "not reached within the time limit"
            continue
        try:
            results[operation.name] = operation.result(device)
        except Exception as error:
            line = (str(error).strip().splitlines() or [""])[0]
            results[operation.name] = f"{type(error).__name__}: {line}"
    return results


def save(path: Path, variants: Mapping[str, Found]) -> None:
    """Several sets of results, by the name of the set."""
    arrays: dict[str, Any] = {}
    index: dict[str, dict[str, Any]] = {}
    for variant, results in variants.items():
        index[variant] = {}
        for name, result in results.items():
            if isinstance(result, str):
                index[variant][name] = result
            else:
                key = f"a{len(arrays)}"
                arrays[key] = result.view(f"u{result.dtype.itemsize}")
                index[variant][name] = [key, result.dtype.name]
    np.savez(path, index=np.frombuffer(json.dumps(index).encode(), np.uint8), **arrays)


def load(path: Path) -> dict[str, Found]:
    """What `save` wrote."""
    with np.load(path) as stored:
        index = json.loads(stored["index"].tobytes())
        return {
            variant: {
                name: entry if isinstance(entry, str) else stored[entry[0]].view(named(entry[1]))
                for name, entry in results.items()
            }
            for variant, results in index.items()
        }


def named(name: str) -> np.dtype[Any]:
    """The dtype of a name, NumPy's or ml_dtypes'."""
    return np.dtype(getattr(ml_dtypes, name, name))


@dataclass(frozen=True)
class Difference:
    """How many elements of how many differ, by how many ulp at most (inf where just one is finite), and the first.

    `refused` says who could not do it at all; `variants` names the options under which the interpreter agrees.
    """

    name: str
    elements: int
    differing: int
    ulps: float
    example: str
    refused: str = ""
    variants: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """To the bit."""
        return not self.refused and self.differing == 0


def differences(gpu: Found, interpreted: Mapping[str, Found], usual: str) -> list[Difference]:
    """Of a GPU's results from those of the interpreter under its usual options, one for each operation."""
    return [
        difference(name, mine, interpreted[usual][name], {key: results[name] for key, results in interpreted.items()})
        for name, mine in gpu.items()
    ]


def difference(name: str, gpu: Numbers | str, ours: Numbers | str, others: Mapping[str, Numbers | str]) -> Difference:
    """Of one operation."""
    if isinstance(gpu, str) or isinstance(ours, str):
        sides = [f"{who}: {what}" for who, what in (("GPU", gpu), ("interpreter", ours)) if isinstance(what, str)]
        return Difference(name, 0, 0, 0.0, "", "; ".join(sides))
    wrong = np.flatnonzero(bits(gpu).ravel() != bits(ours).ravel())
    if not wrong.size:
        return Difference(name, gpu.size, 0, 0.0, "")
    first = int(wrong[0])
    example = f"[{first}] {gpu.ravel()[first]} on the GPU, {ours.ravel()[first]} interpreted"
    agreeing = tuple(
        key for key, other in others.items() if not isinstance(other, str) and np.array_equal(bits(gpu), bits(other))
    )
    return Difference(name, gpu.size, int(wrong.size), ulps_apart(gpu, ours), example, "", agreeing)


def ulps_apart(a: Numbers, b: Numbers) -> float:
    """The largest distance, counted in numbers of the format that lie between."""
    finite = np.isfinite(wide(a)) == np.isfinite(wide(b))
    same_kind = finite & (np.isnan(wide(a)) == np.isnan(wide(b)))
    if not same_kind.all():
        return float("inf")
    return float(np.abs(ordered(a) - ordered(b)).max())


def ordered(values: Numbers) -> Numbers:
    """Integers in the order of the numbers, neighbours one apart; integers themselves; NaN is 0."""
    if values.dtype.kind in "iu":
        return values.astype(np.float64)
    size = 8 * values.dtype.itemsize
    stored = bits(values).astype(np.int64)
    magnitude = stored & ((1 << (size - 1)) - 1)
    signed = np.where(stored >> (size - 1) == 1, -magnitude, magnitude)
    return np.where(np.isnan(wide(values)), 0, signed).astype(np.float64)
