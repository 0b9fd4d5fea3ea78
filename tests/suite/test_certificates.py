"""The certificate of block scales contains what the definition says, to the last digit that it claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf

import refattn as ra
from refattn.contract.block_scales import BlockScales
from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.errors import InvalidType, InvalidValue
from refattn.oracle.exact.definition import attention as definition
from refattn.suite.certificates import block_outputs, block_scaled, certificate, exact_scales

BLOCKS = 3
# Of some hundred roundings in float64.
ROUNDED = 2.0**-46
SPECS = {
    "plain": {},
    "causal": {"causal": True},
    "window": {"causal": True, "window": (3, None)},
    "mask": {"mask": np.random.default_rng(5).random((2, 1, 6, 8)) < 0.4},
    "scores": {"softcap": 2.0, "alibi_slopes": np.array([0.5, 0.25]), "scale": 1.5},
    "bias": {"bias": np.random.default_rng(6).standard_normal((1, 2, 6, 8)).astype(np.float32)},
    "sinks": {"sinks": np.array([0.5, -1.0]), "causal": True},
    "dropout": {"keep": np.random.default_rng(7).random((2, 2, 6, 8)) < 0.7, "dropout": 0.25},
    "documents": {"documents": (np.array([0, 0, 1, 1, 1, 2]), np.array([0, 0, 0, 1, 1, 1, 2, 2])), "causal": True},
    "nothing seen": {"causal": True, "alignment": "top_left", "strict": True},
}


@dataclass(frozen=True)
class Problem:
    """One problem, its scales, and the weights before dropout of every key by the definition, (B, H, Nq, Nk)."""

    q: Any
    k: Any
    v: Any
    spec: AttentionSpec
    scales: Any

    @property
    def shape(self) -> Any:
        return problem_shape(self.q, self.k, self.v, self.spec)

    def weights(self, spec: AttentionSpec) -> Any:
        """Each key's weight is the attention of a value of 1 in it."""
        plain = spec.replace(keep=None, dropout=0.0, empty_rows="zero")
        eye = np.broadcast_to(np.eye(self.shape.keys), (*self.k.shape[:2], self.shape.keys, self.shape.keys))
        return definition(self.q, self.k, eye.copy(), plain)[0]

    def used(self) -> Any:
        """The weights that the scales make."""
        found = np.full((*self.q.shape[:3], self.shape.keys), mpf(0))
        for block, part in enumerate(BlockScales(BLOCKS).specs(self.spec, self.shape)):
            if part is not None:
                found = found + self.scales[..., block, None] * self.weights(part)
        return found


def problem(name: str, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    q = rng.standard_normal((2, 2, 6, 3))
    k, v = (rng.standard_normal((2, 1, 8, 3)) for _ in "kv")
    spec = AttentionSpec(**SPECS[name])
    seen = BlockScales(BLOCKS).seen(spec, problem_shape(q, k, v, spec))
    return Problem(q, k, v, spec, np.where(seen, rng.random((2, 2, 6, BLOCKS)), 0.0))


def certified(given: Problem, **options: Any) -> Any:
    return certificate(given.q, given.k, given.v, given.spec, scales=given.scales, **{"blocks": BLOCKS, **options})


@pytest.mark.parametrize("name", SPECS)
def test_distance_row_sum_and_exact_scales_contain_the_definitions(name: str) -> None:
    given, found = problem(name), certified(problem(name))
    with mp.workprec(300):
        exact, used = given.weights(given.spec), given.used()
        assert found.distance.contains(np.abs(used - exact).sum(axis=-1)).all()
        assert found.row_sum_error.contains(np.abs((used - exact).sum(axis=-1))).all()
        members = BlockScales(BLOCKS).membership(given.shape.keys)
        each = np.stack([exact[..., members[:, block]].sum(axis=-1) for block in range(BLOCKS)], axis=-1)
        assert found.exact.contains(each).all()
    assert (found.distance.rad <= 1e-11).all()
    assert (found.row_sum_error.rad <= 1e-11).all()
    seen = BlockScales(BLOCKS).seen(given.spec, given.shape)
    assert (found.exact.mid[~seen] == 0).all()
    assert (found.exact.rad[~seen] == 0).all()
    assert (found.leak == 0).all()


def test_a_certificate_of_other_blocks_does_not_contain_the_definition() -> None:
    given = problem("causal")
    found = certified(given, window=9)
    wrong = certificate(given.q, given.k, given.v, given.spec, scales=given.scales, blocks=BLOCKS, window=6)
    with mp.workprec(300):
        distance = np.abs(given.used() - given.weights(given.spec)).sum(axis=-1)
        assert found.distance.contains(distance).all()
        assert not wrong.distance.contains(distance).all()


@pytest.mark.parametrize("name", SPECS)
def test_the_output_bound_holds_and_values_of_the_differences_signs_reach_it(name: str) -> None:
    given = problem(name)
    shape, blocks = given.shape, BlockScales(BLOCKS)
    outputs = block_outputs(given.q, given.k, given.v, given.spec, blocks)
    seen = blocks.seen(given.spec, shape)
    moved = block_scaled(outputs, given.scales, seen, given.spec)
    truth = ra.oracle.attention(given.q, given.k, given.v, given.spec)
    found = certified(given)
    error = np.abs(moved.mid - truth.out.mid)
    assert (error <= found.output_bound + moved.rad + truth.out.rad).all()
    if name != "plain":
        return
    # One row at a time: each has signs of its own.
    differences = given.scales - found.exact.mid
    for row in range(shape.queries):
        signs = np.sign(differences[:, :1, row])[..., blocks.of_keys(shape.keys), None]
        values = np.broadcast_to(signs, (2, 1, shape.keys, 1)).copy()
        own = certificate(given.q, given.k, values, given.spec, scales=given.scales, blocks=BLOCKS)
        parts = [output.mid for output in block_outputs(given.q, given.k, values, given.spec, blocks)]
        gap = sum(differences[:, 0, row, block, None] * parts[block][:, 0, row] for block in range(BLOCKS))
        bound = own.output_bound[:, 0, row]
        assert (np.abs(gap) <= bound).all()
        unknown = 2 * own.exact.rad[:, 0, row].sum(axis=-1)[:, None]
        assert (np.abs(gap) >= bound * (1 - ROUNDED) - unknown).all()


def test_block_scaled_contains_the_definition() -> None:
    given, blocks = problem("causal"), BlockScales(BLOCKS)
    outputs = block_outputs(given.q, given.k, given.v, given.spec, blocks)
    found = block_scaled(outputs, given.scales, blocks.seen(given.spec, given.shape), given.spec)
    with mp.workprec(300):
        values = np.repeat(given.v, 2, axis=1).astype(object)
        exact = (given.used()[..., None] * values[:, :, None]).sum(axis=3)
        assert found.contains(exact).all()
        assert not found.contains(exact * (1 + mpf(2) ** -36)).any()
    parts = sum(given.scales[..., block, None] * output.rad for block, output in enumerate(outputs))
    assert (found.rad >= parts).all()


def test_scales_of_blocks_that_are_not_seen_leak_by_just_so_much() -> None:
    given = problem("causal")
    seen = BlockScales(BLOCKS).seen(given.spec, given.shape)
    leaky = np.where(seen, given.scales, 0.25)
    found = certificate(given.q, given.k, given.v, given.spec, scales=leaky)
    count = (~seen).sum(axis=-1)
    assert (found.leak >= 0.25 * count).all()
    assert (found.leak <= 0.25 * count * (1 + 2.0**-50)).all()
    whole = certified(given)
    gap = np.abs(found.distance.mid - whole.distance.mid - 0.25 * count)
    assert (gap <= found.distance.rad + whole.distance.rad).all()
    # What leaks is any value of the block.
    largest = np.abs(given.v).max(axis=2)[:, :, None]
    assert (found.output_bound <= whole.output_bound + (found.leak[..., None] * largest) * (1 + ROUNDED)).all()
    assert (found.output_bound[count > 0] > whole.output_bound[count > 0]).any()


def test_exact_scales_have_a_certificate_of_their_radius() -> None:
    given = problem("causal")
    exact = exact_scales(given.q, given.k, given.spec, BlockScales(BLOCKS))
    found = certificate(given.q, given.k, given.v, given.spec, scales=exact.mid)
    assert (found.distance.mid == 0).all()
    assert (found.distance.rad > 0).all()
    assert (found.output_bound <= 1e-11).all()


@pytest.mark.needs("torch")
def test_inputs_of_any_library_and_format_are_taken_and_scales_are_broadcast() -> None:
    import torch

    given = problem("causal")
    q, k, v = (torch.tensor(array, dtype=torch.bfloat16) for array in (given.q, given.k, given.v))
    scales = torch.full((BLOCKS,), 0.5, dtype=torch.float32)
    found = certificate(q, k, v, given.spec, scales=scales)
    exact = [array.double().numpy() for array in (q, k, v)]
    same = certificate(*exact, given.spec, scales=np.full((2, 2, 6, BLOCKS), 0.5), blocks=BlockScales(BLOCKS))
    assert (np.abs(found.distance.mid - same.distance.mid) <= found.distance.rad + same.distance.rad).all()
    assert np.array_equal(found.leak, same.leak)
    assert found.output_bound.shape == (2, 2, 6, 3)


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"scales": np.zeros((2, 2, 5, 3))}, InvalidValue, r"^scales has shape \(2, 2, 5, 3\): expected one that br"),
        ({"scales": np.full(3, np.nan)}, InvalidValue, "^scales holds NaN or infinities: expected finite numbers$"),
        ({"scales": "exact"}, InvalidType, "^scales has dtype"),
        ({"scales": np.float64(1.0)}, InvalidType, "^blocks is None: expected a positive whole number$"),
        ({"blocks": 0}, InvalidValue, "^blocks is 0"),
        ({"blocks": BlockScales(3), "window": 8}, InvalidValue, "^window is 8"),
        ({"spec": "causal"}, InvalidType, "^spec is str: expected an AttentionSpec$"),
        ({"q": np.full((2, 2, 6, 3), np.inf)}, InvalidValue, "^q holds NaN or infinities"),
        ({"k": np.zeros((2, 3, 8, 3))}, InvalidValue, "^v has 1 heads"),
    ],
)
def test_a_bad_argument_is_refused_in_one_sentence(changes: dict[str, Any], error: Any, sentence: str) -> None:
    given = problem("plain")
    arguments = {"q": given.q, "k": given.k, "v": given.v, "spec": given.spec, "scales": given.scales, **changes}
    with pytest.raises(error, match=sentence) as caught:
        certificate(**arguments)
    assert "\n" not in str(caught.value)
