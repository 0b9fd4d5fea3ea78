"""Some queries of a problem as a problem of their own: rows are independent, so its rows are the whole problem's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refattn.contract.features import taken
from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.contract.visibility import Visibility
from refattn.errors import InvalidType, InvalidValue


def select_rows(q: Any, k: Any, v: Any, spec: AttentionSpec, rows: Any) -> tuple[Any, AttentionSpec]:
    """The queries `rows` of q (B, H, Nq, D), and the spec under which they see and weigh keys as they do among all of
    q.

    rows is a sequence of integers from 0 to Nq - 1, in any order. With the q and the spec returned and the same k
    (B, Hkv, Nk, D) and v (B, Hkv, Nk, Dv), output and log-sum-exp are those of the whole problem at `rows`, as real
    numbers; so is dq, given do and dlse at `rows`. Arrays are NumPy's, torch's or JAX's, q's are returned in its own
    library. Raises InvalidType or InvalidValue, naming the argument.
    """
    if not isinstance(spec, AttentionSpec):
        raise InvalidType(f"spec is {type(spec).__name__}: expected an AttentionSpec")
    shape = problem_shape(q, k, v, spec)
    index = checked_rows(rows, shape.queries)
    changes = taken(spec, "q", index)
    positions = Visibility.of(spec, shape).query_positions[:, index]
    changes["query_positions"] = positions[0] if len(positions) == 1 else positions
    return q[:, :, index], spec.replace(**changes)


def checked_rows(rows: Any, queries: int) -> NDArray[np.int64]:
    """`rows` as an array of indices. Raises InvalidType or InvalidValue where they are not integers of 0..queries-1."""
    try:
        index = np.asarray(rows)
    except (TypeError, ValueError, RuntimeError):
        raise InvalidType(f"rows is {type(rows).__name__}: expected a sequence of integers") from None
    if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
        raise InvalidType(f"rows has shape {index.shape} and dtype {index.dtype}: expected a sequence of integers")
    outside = (index < 0) | (index >= queries)
    if outside.any():
        raise InvalidValue(f"rows holds {index[outside][0]}: expected integers from 0 to {queries - 1}")
    return index.astype(np.int64)
