"""bounds.stages.score_errors: the scores of the tiled model, element by element, in many arithmetics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refattn import bounds
from refattn.bounds.stages import Scores, exp_log_error, score_errors
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.scores import blocks, scale_of
from refattn.contract.spec import AttentionSpec
from refattn.models.kernel import Problem, Tile, TiledKernel
from refattn.numbers import formats
from tests.support.kernels_by_arithmetic import arithmetics, kernel_of

KEYS, D = 64, 4
DISTANCES = {"bias": np.linspace(-4.0, 4.0, KEYS)[None, None, None, :], "alibi_slopes": np.array([0.3])}
SPECS: dict[str, AttentionSpec] = {
    "plain": AttentionSpec(),
    "scale": AttentionSpec(scale=-0.3),
    "softcap": AttentionSpec(softcap=3.0),
    "bias": AttentionSpec(bias=DISTANCES["bias"]),
    "alibi": AttentionSpec(alibi_slopes=DISTANCES["alibi_slopes"]),
    "bias and alibi": AttentionSpec(**DISTANCES),
    "everything": AttentionSpec(scale=0.7, softcap=2.0, causal=True, **DISTANCES),
}


def drawn(dtype: str, seed: int, size: float) -> tuple[Any, Any]:
    rng, format = np.random.default_rng(seed), formats.get(dtype)
    q, k = (format.round(rng.standard_normal((1, 1, KEYS, D)) * size) for _ in range(2))
    return q, k


def computed_scores(kernel: TiledKernel, problem: Problem) -> Any:
    """The model's scores in nats, (n, n)."""
    whole = slice(0, KEYS)
    tile = Tile(whole, whole, kernel.visible(problem, whole))
    scores = kernel.biased_scores(problem, tile, kernel.capped_scores(problem, tile))[0, 0]
    return scores * kernel.scale(problem) if kernel.folds_scale(problem) else scores


def charged(q: Any, k: Any, spec: AttentionSpec, problem: Problem) -> Scores:
    (block,) = blocks(q, k, spec, problem.shape)
    return score_errors(block, spec, scale_of(spec, D), problem.arithmetic)


def shares(dtype: str, name: str, spec: AttentionSpec, seed: int, size: float = 1.0) -> Any:
    """|computed - exact| / bound of every visible score."""
    q, k = drawn(dtype, seed, size)
    kernel = kernel_of(arithmetics(dtype)[name])
    storage = formats.get(dtype).storage
    problem = kernel.problem(q.astype(storage), k.astype(storage), k.astype(storage), spec)
    errors = charged(q, k, spec, problem)
    visible = np.isfinite(errors.scores)
    error = np.abs(computed_scores(kernel, problem) - np.where(visible, errors.scores, 0.0))
    # The exact scores are rounded to float64, half a dozen times.
    own = 6 * formats.fp64.unit_roundoff * (np.abs(q[0, 0]) @ np.abs(k[0, 0]).T * abs(scale_of(spec, D)) + 40.0)
    return np.where(visible, np.maximum(error - own, 0.0) / errors.certified, 0.0)


@pytest.mark.parametrize("name", arithmetics("bf16"))
@pytest.mark.parametrize("spec", SPECS)
def test_no_score_of_the_model_is_beyond_its_bound(spec: str, name: str) -> None:
    for dtype in ("bf16", "fp16", "fp32"):
        for seed, size in ((0, 1.0), (1, 30.0), (2, 2.0**-6), (3, 2.0**-13)):
            assert shares(dtype, name, SPECS[spec], seed, size).max() <= 1.0, (dtype, seed)


@pytest.mark.parametrize(
    ("name", "spec", "least"),
    [
        ("naive", "plain", 0.95),
        ("naive", "softcap", 0.2),
        ("naive", "bias", 0.95),
        ("naive", "alibi", 0.85),
        ("naive", "bias and alibi", 0.7),
        ("query scaled", "scale", 0.7),
        ("everything narrow", "plain", 0.6),
    ],
)
def test_ordinary_scores_come_near_to_their_bounds(name: str, spec: str, least: float) -> None:
    assert max(shares("bf16", name, SPECS[spec], seed).max() for seed in range(10)) >= least


def test_nothing_is_claimed_of_a_query_that_overflows_when_scaled() -> None:
    q, k = np.full((1, 1, 1, 1), 60000.0), np.full((1, 1, 2, 1), 2.0**-14)
    arithmetic = Arithmetic.flash("fp16", scale_query=True)
    assert np.isinf(bounds.attention(q, k, k, AttentionSpec(scale=2.0), arithmetic).out.certified).all()
    assert np.isfinite(bounds.attention(q, k, k, AttentionSpec(scale=1.0), arithmetic).out.certified).all()


def test_unscaled_scores_lose_more_to_flushing_where_the_scale_is_folded() -> None:
    folding = Arithmetic.flash("fp16", scores="fp16", exponent="fma", exp_ulps=0.0, flush_to_zero=True)
    assert exp_log_error(folding, 8.0) > 3 * exp_log_error(folding)
    assert exp_log_error(folding, 0.5) == exp_log_error(folding)
    for exponent in ("subtract", "subtract_exp2"):
        other = folding.replace(exponent=exponent)
        assert exp_log_error(other, 8.0) == exp_log_error(other) < exp_log_error(folding, 8.0)
    assert exp_log_error(folding.replace(exp_relative=1.0)) == np.inf
