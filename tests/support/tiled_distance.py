"""The distance of a tiled kernel from the definition, in units of a bound derived independently of refattn.bounds."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from refattn.models import TiledAttention
from refattn.oracle.exact import definition
from tests.support.attention_problems import SPECS, float64, inputs
from tests.support.hand_derived_bounds import attention_bounds, distance


def excess(actual: Any, exact: Any, bound: Any) -> float:
    """The largest error, in units of its bound; inf where a special value is wrong."""
    error = distance(float64(actual), exact)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.where(error == 0, 0.0, error / bound).max(initial=0.0))


@lru_cache(maxsize=64)
def truth(name: str, dtype: Any, seed: int, size: float) -> Any:
    """Exact out and lse of SPECS[name] on the inputs of a seed."""
    q, k, v = (float64(x) for x in inputs(dtype, seed, size=size)[:3])
    return definition.attention(q, k, v, SPECS[name], bits=80)


def judged(kernel: TiledAttention, name: str, dtype: Any, seed: int = 0, size: float = 1.5) -> tuple[float, float]:
    """`excess` of out and lse on SPECS[name]."""
    q, k, v = inputs(dtype, seed, size=size)[:3]
    out, lse = kernel(q, k, v, spec=SPECS[name])
    exact_out, exact_lse = truth(name, dtype, seed, size)
    out_bound, lse_bound = attention_bounds(q, k, v, SPECS[name], kernel.arithmetic_for(dtype), rescales=12)
    return excess(out, exact_out, out_bound), excess(lse, exact_lse, lse_bound)
