"""The rms model predicts the errors of correct kernels on generic inputs, and not those of faulty ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refattn import bounds, models, oracle
from refattn.bounds import rms_backward
from refattn.contract.arithmetic import Arithmetic, Stage
from refattn.contract.spec import AttentionSpec, SoftmaxSpec
from refattn.inputs.cases import AttentionCase
from refattn.models import TiledAttention
from refattn.numbers import formats
from refattn.suite.comparison import compare
from tests.support.kernels_by_arithmetic import arithmetics, judged, kernel_of

SPREADS = (0.3, 1.0, 4.0, 16.0)


def generic(dtype: str, keys: int, spread: float, queries: int = 64, seed: int = 0) -> AttentionCase:
    rng, format = np.random.default_rng([seed, keys, int(10 * spread)]), formats.get(dtype)
    shapes = {"q": (1, 1, queries, 64), "k": (1, 1, keys, 64), "v": (1, 1, keys, 16), "do": (1, 1, queries, 16)}
    arrays = {
        name: format.round(rng.standard_normal(size) * (spread if name == "q" else 1)) for name, size in shapes.items()
    }
    return AttentionCase(**arrays, spec=AttentionSpec(), format=format, generic=True)


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("keys", [64, 512])
@pytest.mark.parametrize("spread", SPREADS)
def test_the_output_of_a_tiled_kernel_errs_by_its_rms(dtype: str, keys: int, spread: float) -> None:
    comparisons = judged(generic(dtype, keys, spread), TiledAttention())
    # BLAS adds up in several accumulators, so that sums in fp32 err less than those of one.
    assert comparisons["out"].rms_z is not None
    assert 0.5 <= comparisons["out"].rms_z <= 1.1
    assert comparisons["lse"].rms_z is not None
    assert 0.25 <= comparisons["lse"].rms_z <= 1.1


# Contracts other than the usual one, each with the range of its rms z of the output and of the log-sum-exp.
RANGES = {
    "naive": (0.4, 1.3),
    "naive, softmax wide": (0.4, 1.3),
    "accumulator narrow": (0.25, 1.3),
    "normaliser narrow": (0.3, 1.3),
    "truncating": (0.3, 1.3),
    "flushing": (0.3, 1.3),
    "fma": (0.5, 1.3),
    "subtract_exp2": (0.5, 1.3),
    "chained": (0.5, 1.3),
    "sum of cast": (0.5, 1.3),
    "query scaled": (0.4, 1.3),
    "splits": (0.5, 1.3),
    "splits, lse narrow": (0.3, 1.5),
    "fp8 probabilities": (0.5, 1.3),
}


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("spread", [0.3, 4.0])
@pytest.mark.parametrize("name", RANGES)
def test_other_contracts_err_by_their_rms(name: str, spread: float, dtype: str) -> None:
    arithmetic = arithmetics(dtype)[name]
    if arithmetic.tile is not None:
        arithmetic = arithmetic.replace(tile=64)
    comparisons = judged(generic(dtype, 256, spread, queries=48), kernel_of(arithmetic))
    low, high = RANGES[name]
    assert comparisons["out"].rms_z is not None
    assert low <= comparisons["out"].rms_z <= high
    # A declared error of the logarithm is one that exact ones do not reach.
    assert comparisons["lse"].rms_z is not None
    assert comparisons["lse"].rms_z <= high


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("spread", [0.3, 1.0, 4.0])
def test_gradients_err_by_their_rms(dtype: str, spread: float) -> None:
    case = generic(dtype, 256, spread)
    kernel = TiledAttention()
    stored = [array.astype(case.format.storage) for array in (case.q, case.k, case.v, case.do)]
    gradients = kernel.backward(*stored, spec=case.spec)
    truth = oracle.attention_backward(case.q, case.k, case.v, case.do, case.spec)
    budget = bounds.attention_backward(
        case.q, case.k, case.v, case.do, case.spec, kernel.arithmetic_for(dtype), with_rms=True
    )
    for name in ("dq", "dk", "dv"):
        actual = np.asarray(getattr(gradients, name), np.float64)
        rms_z = compare(name, actual, getattr(truth, name), getattr(budget, name)).rms_z
        assert rms_z is not None
        assert 0.5 <= rms_z <= 1.3, name


def test_gradients_have_an_rms_only_where_there_is_a_model() -> None:
    plain, wide = AttentionSpec(), Arithmetic.flash("bf16")
    assert rms_backward.has_model(plain, wide)
    for change in ({"scores": "bf16"}, {"lse": "bf16"}, {"gradient_sum": "bf16"}, {"probabilities": "fp32"}):
        assert not rms_backward.has_model(plain, wide.replace(**change))
    assert not rms_backward.has_model(plain, Arithmetic.flash("fp16", flush_to_zero=True))
    for spec in (AttentionSpec(softcap=1.0), AttentionSpec(sinks=np.zeros(1)), AttentionSpec(keep=np.array(True))):
        assert not rms_backward.has_model(spec, wide)


@pytest.mark.parametrize("kind", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize(("length", "spread"), [(64, 1.0), (512, 0.3), (512, 4.0)])
def test_softmax_errs_by_its_rms(kind: Any, dtype: str, length: int, spread: float) -> None:
    format = formats.get(dtype)
    x = format.round(np.random.default_rng(length).standard_normal((64, length)) * spread)
    function = {"softmax": models.safe_softmax}.get(kind) or getattr(models, kind)
    arithmetic = Arithmetic.flash(dtype, tile=None)
    if kind == "logsumexp":
        arithmetic = arithmetic.replace(output=arithmetic.lse)
    spec = SoftmaxSpec(kind=kind)
    actual = np.asarray(function(x.astype(format.storage), arithmetic=arithmetic), np.float64)
    rms_z = compare(kind, actual, oracle.softmax(x, spec=spec), bounds.softmax(x, spec, arithmetic)).rms_z
    assert rms_z is not None
    # NumPy adds up in pairs, which errs less than one term after the other.
    assert 0.1 <= rms_z <= 1.3


def of_halves(actual: TiledAttention, *declared: Arithmetic) -> list[float]:
    """rms z of the output in 512 keys of fp32, whose values are of one sign in the first half, the other in the second,
    held to each contract.
    """
    case = generic("fp32", 512, 0.3)
    v = np.abs(case.v) * np.where(np.arange(512) < 256, 1.0, -1.0)[:, None]
    arrays = (case.q, case.k, v)
    out, _ = actual(*(array.astype(np.float32) for array in arrays))
    truth = oracle.attention(*arrays, case.spec).out
    rms_of_halves = []
    for arithmetic in declared:
        budget = bounds.attention(*arrays, case.spec, arithmetic).out
        rms_z = compare("out", np.asarray(out, np.float64), truth, budget).rms_z
        assert rms_z is not None
        rms_of_halves.append(rms_z)
    return rms_of_halves


def test_parts_err_together_over_as_many_keys_as_they_hold() -> None:
    # Two parts of 256 keys, in values whose sign is that of the part: roundings of log-sum-exps do not average out.
    declared = Arithmetic.flash("fp32", tile=32, splits=64)
    of_64, of_2 = of_halves(TiledAttention(key_tile=32, splits=2), declared, declared.replace(split_keys=256))
    assert of_64 > 1.5
    assert 0.3 <= of_2 <= 1.3


@pytest.mark.parametrize("rounding", ["nearest", "truncate"])
def test_products_chained_to_the_accumulator_err_by_what_it_holds(rounding: Any) -> None:
    # The accumulator grows over 256 keys, far beyond the sum of a tile.
    stage = Stage(formats.fp32, rounding)
    chained = Arithmetic.flash("fp32", tile=32, chained=True, accumulator=stage)
    declared = (chained, chained.replace(chained=False))
    as_chained, as_tiles = of_halves(TiledAttention(arithmetic=chained, key_tile=32), *declared)
    assert as_tiles > 1.5
    assert 0.5 <= as_chained <= 1.3


# Kernels that break their declaration


def _judged_as(declared: Arithmetic, actual: Arithmetic, keys: int, spread: float) -> float:
    case = generic("bf16", keys, spread)
    out, _ = TiledAttention(arithmetic=actual)(
        *(array.astype(case.format.storage) for array in (case.q, case.k, case.v))
    )
    truth = oracle.attention(case.q, case.k, case.v, case.spec).out
    budget = bounds.attention(case.q, case.k, case.v, case.spec, declared).out
    rms_z = compare("out", np.asarray(out, np.float64), truth, budget).rms_z
    assert rms_z is not None
    return rms_z


@pytest.mark.parametrize(
    ("changes", "keys", "spread"),
    [
        ({"accumulator": "bf16"}, 512, 1.0),
        ({"scores": "bf16"}, 256, 4.0),
        ({"exp_relative": 0.0, "dot": "bf16"}, 256, 4.0),
    ],
)
def test_a_stage_narrower_than_declared_errs_by_more(changes: dict[str, Any], keys: int, spread: float) -> None:
    declared = Arithmetic.flash("bf16")
    assert _judged_as(declared, declared, keys, spread) <= 1.1
    assert _judged_as(declared, declared.replace(**changes), keys, spread) >= 1.5
    assert _judged_as(declared.replace(**changes), declared.replace(**changes), keys, spread) <= 1.3


# Limits that must hold whatever the model


@pytest.mark.parametrize("name", arithmetics("bf16"))
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_the_rms_is_below_the_certified_bound_and_positive(name: str, dtype: str) -> None:
    case = generic(dtype, 40, 1.0, queries=8)
    for budget in bounds.attention(case.q, case.k, case.v, case.spec, arithmetics(dtype)[name]):
        assert budget.rms is not None
        assert (budget.rms > 0).all()
        assert (budget.rms < budget.certified).all()


def test_the_rms_doubles_with_the_values() -> None:
    case, arithmetic = generic("fp32", 40, 1.0, queries=8), Arithmetic.flash("fp32")

    def rms(each: AttentionCase) -> Any:
        return bounds.attention(each.q, each.k, each.v, each.spec, arithmetic).out.rms

    # Rounding is the same for every power of two; what underflows (2**-150) is not scaled.
    doubled = rms(case.replace(v=case.v * 2))
    assert (np.abs(doubled - 2 * rms(case)) <= 2.0**-60 * doubled).all()
