"""refattn.models.backward: every gradient within a derived bound of the definition, and planted faults outside it."""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.contract.visibility import visible
from refattn.errors import InvalidValue
from refattn.models import Problem, Tile, TiledAttention, TiledBackward, attention_backward, tiled_attention
from refattn.models.backward import Upstream
from refattn.oracle.exact import definition
from tests.support.attention_problems import KEYS, QUERIES, SPECS, float64, inputs
from tests.support.hand_derived_bounds import distance, gradient_bounds


def shares(
    gradients: Any, given_: Any, spec: AttentionSpec, arithmetic: Arithmetic, with_dlse: bool = True
) -> dict[str, float]:
    """The largest error of each gradient, in units of its bound."""
    q, k, v, do = (float64(x) for x in given_[:4])
    dlse = given_.dlse if with_dlse else None
    exact = definition.attention_backward(q, k, v, do, spec, dlse, bits=80)
    bounds = gradient_bounds(q, k, v, do, spec, arithmetic, dlse)
    result = {}
    for name, bound in bounds.items():
        # The rounding of a gradient, and its loss below the normal range.
        true = getattr(exact, name)
        rounding = (
            arithmetic.output.unit * np.abs(true.astype(np.float64)) + 64 * arithmetic.output.format.smallest_subnormal
        )
        error = distance(float64(getattr(gradients, name)), true)
        result[name] = float((error / (bound + 2 * rounding)).max(initial=0.0))
    return result


def dlse_for(spec: AttentionSpec, given_: Any) -> bool:
    """Whether every row has a finite log-sum-exp, so that an upstream gradient of it means something."""
    return spec.sinks is not None or bool(visible(spec, problem_shape(*given_[:3], spec)).any(axis=-1).all())


@pytest.mark.parametrize("name", [name for name in SPECS if name != "strict_nan"])
@pytest.mark.parametrize("kernel", [TiledAttention(), TiledAttention(key_tile=2, query_tile=3, tile_order="reverse")])
def test_every_feature_is_within_the_bound_of_fp64(kernel: TiledAttention, name: str) -> None:
    given_, spec = inputs(), SPECS[name]
    with_dlse = dlse_for(spec, given_)
    gradients = kernel.backward(*given_[:4], spec=spec, dlse=given_.dlse if with_dlse else None)
    assert max(shares(gradients, given_, spec, kernel.arithmetic_for("fp64"), with_dlse).values()) <= 1


@pytest.mark.parametrize("exponent", ["subtract_exp2", "fma"])
def test_every_exponent_is_within_the_bound_of_fp64(exponent: Any) -> None:
    given_, kernel = inputs(), TiledAttention(Arithmetic.float64(exponent=exponent), key_tile=4)
    gradients = kernel.backward(*given_[:4], spec=SPECS["everything"], dlse=given_.dlse)
    assert max(shares(gradients, given_, SPECS["everything"], kernel.arithmetic_for("fp64")).values()) <= 1


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float32], ids=lambda d: d.__name__)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(["plain", "causal", "bias", "dropout"]))
def test_narrow_formats_are_within_their_bounds(dtype: Any, seed: int, name: str) -> None:
    given_, kernel = inputs(dtype, seed, size=1.0), TiledAttention(key_tile=4)
    gradients = kernel.backward(*given_[:4], spec=SPECS[name], dlse=given_.dlse)
    assert max(shares(gradients, given_, SPECS[name], kernel.arithmetic_for(dtype)).values()) <= 1
    assert gradients.dq.dtype == gradients.dk.dtype == gradients.dv.dtype == dtype


def test_the_function_equals_forward_then_backward() -> None:
    given_ = inputs(np.float32)
    out, lse = tiled_attention(*given_[:3])
    one = attention_backward(*given_[:3], out, lse, given_.do)
    other = TiledAttention().backward(*given_[:4])
    assert all(x.tobytes() == y.tobytes() for x, y in zip(one[:3], other[:3], strict=True))
    assert one.dbias is None
    assert one.dsinks is None


@pytest.mark.parametrize("name", ["causal", "mask", "kept", "paged", "mask_hides_all", "strict_nan", "everything"])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_poison_in_invisible_slots_changes_no_bit(name: str, poison: float) -> None:
    q, k, v, do = inputs(np.float32, kv_heads=4)[:4]
    spec, kernel = SPECS[name], TiledAttention(key_tile=2, query_tile=3)
    seen = visible(spec, problem_shape(q, k, v, spec))
    dead_keys, dead_queries = ~seen.any(axis=2), ~seen.any(axis=3)
    clean = kernel.backward(q, k, v, do, spec=spec)
    q, k, v, do = (x.copy() for x in (q, k, v, do))
    k[dead_keys], v[dead_keys], q[dead_queries], do[dead_queries] = poison, poison, poison, poison
    for before, after in zip(clean, kernel.backward(q, k, v, do, spec=spec), strict=True):
        assert before is after or before.tobytes() == after.tobytes()
    assert not np.isnan(float64(clean.dq)).any()


def test_rows_that_see_nothing_have_gradients_of_zero() -> None:
    given_, spec = inputs(np.float32), SPECS["mask_hides_all"]
    for empty_rows in ("zero", "nan"):
        gradients = TiledAttention().backward(*given_[:4], spec=spec.replace(empty_rows=empty_rows), dlse=given_.dlse)
        assert all(np.array_equal(x, np.zeros_like(x)) for x in gradients[:3])


def test_one_visible_key_has_no_score_gradient_and_passes_do_to_its_value() -> None:
    q, k, v, do, _ = inputs(np.float64, keys=1, queries=1, kv_heads=4)
    gradients = TiledAttention().backward(q, k, v, do)
    assert np.array_equal(gradients.dv, do)
    # P is exp(0) = 1, but Delta and dP add up the same products in different orders.
    terms = np.abs(do * v).sum(axis=-1, keepdims=True)
    assert (np.abs(gradients.dq) <= 2 * v.shape[-1] * 2.0**-53 * terms * np.abs(k)).all()


class TopLeftOnly(TiledBackward):
    """Causal whatever the spec says (triton-lang/triton issue 4541)."""

    def visible(self, problem: Problem, rows: slice) -> Any:
        return problem.visibility.block(rows) & np.tril(np.ones((QUERIES, KEYS), np.bool_))[rows]


class NoSlope(TiledBackward):
    """No derivative of the softcap (Dao-AILab/flash-attention pull request 1033)."""

    def softcap_slope(self, problem: Problem, tile: Tile, capped: Any) -> Any:
        del problem, tile
        return np.ones_like(capped)


class NoLseGradient(TiledBackward):
    """The gradient through the log-sum-exp ignored (Dao-AILab/flash-attention issue 404)."""

    def delta(self, problem: Problem, upstream: Upstream, rows: slice, sees: Any) -> Any:
        return super().delta(problem, dataclasses.replace(upstream, dlse=np.zeros_like(upstream.dlse)), rows, sees)


class DeltaTwice(TiledBackward):
    """Delta subtracted once for each tile of V's columns (fla-org/flash-linear-attention pull request 1033)."""

    def score_gradient(self, problem: Problem, p: Any, dp: Any, delta: Any) -> Any:
        return super().score_gradient(problem, p, dp, 2 * delta)


class HalfOfV(TiledBackward):
    """dP from the first half of V's columns only (fla-org/flash-linear-attention pull request 941)."""

    def load_values(self, problem: Problem, columns: slice) -> Any:
        values = super().load_values(problem, columns).copy()
        values[..., values.shape[-1] // 2 :] = 0.0
        return values


class WrongGroup(TiledBackward):
    """dK and dV of interleaved heads added up."""

    def sum_over_group(self, problem: Problem, array: Any) -> Any:
        shape = problem.shape
        return array.reshape(shape.batch, shape.group, shape.kv_heads, *array.shape[2:]).sum(axis=1)


class NoGuard(TiledBackward):
    """exp(-inf - -inf) in an empty row (pytorch/pytorch issue 41508)."""

    def guarded(self, maximum: Any) -> Any:
        return maximum

    def mask_gradient(self, ds: Any, tile: Tile) -> Any:
        del tile
        return ds


FAULTS = [
    (TopLeftOnly, "plain", "dq"),
    (NoSlope, "softcap", "dk"),
    (NoLseGradient, "plain", "dq"),
    (DeltaTwice, "plain", "dq"),
    (HalfOfV, "plain", "dq"),
    (WrongGroup, "plain", "dv"),
    (NoGuard, "sinks_empty", "dk"),
]


@pytest.mark.parametrize(("fault", "name", "gradient"), FAULTS, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_a_planted_fault_is_outside_the_bound(fault: type[TiledBackward], name: str, gradient: str) -> None:
    given_, spec = inputs(np.float32), SPECS[name]
    out, lse = tiled_attention(*given_[:3], spec=spec)
    gradients = fault()(*given_[:3], out, lse, given_.do, spec=spec, dlse=given_.dlse)
    assert not shares(gradients, given_, spec, Arithmetic.flash("fp32"))[gradient] <= 1


def test_a_missing_fit_is_named() -> None:
    given_ = inputs(np.float32)
    out, lse = tiled_attention(*given_[:3])
    with pytest.raises(InvalidValue, match=r"^lse has shape"):
        attention_backward(*given_[:3], out, lse[:, :, 1:], given_.do)
