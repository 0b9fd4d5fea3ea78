"""Contract: the options of refattn_gpu.attention compute as they declare, and a contract that they cannot honour is
refused. Faults in the forward kernel are found.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from refattn import bounds, oracle
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec
from refattn.errors import InvalidType, InvalidValue
from refattn.models.exp2 import MAX_RELATIVE_ERROR
from refattn.suite.comparison import compare
from tests.support.extras import needed

torch = needed("torch")
triton = needed("triton")
tl = triton.language

import refattn_interpreter as interpreter
from refattn_gpu.dense.forward import Attention, attention
from refattn_gpu.kernels import exponential, online, scores, visibility
from refattn_gpu.launching.arguments import Tiling
from refattn_gpu.launching.numerics import Numerics

TINY = Tiling(16, 16)
FORMATS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
CAUSAL = AttentionSpec(causal=True)
GRADIENTS = ("dq", "dk", "dv")


def problem(format: str, growth: float = 0.0, keys: int = 37, d: int = 8) -> list[Any]:
    """q, k, v and do of two heads; growth is how many nats each key's scores lie above those of the key before."""
    generator = torch.Generator().manual_seed(4)
    q, k, v, do = (torch.randn((1, 2, n, d), generator=generator) for n in (21, keys, keys, 21))
    q[..., 0] = 1.0
    k[..., 0] = growth * d**0.5 * torch.arange(keys)
    return [x.to(FORMATS[format]) for x in (q, k, v, do)]


def violations(
    numerics: Numerics, declared: Arithmetic, tensors: list[Any], spec: AttentionSpec = CAUSAL, backward: bool = False
) -> set[str]:
    """What the declared arithmetic does not allow of the kernel with these options."""
    kernel = Attention(TINY, TINY, numerics=numerics)
    q, k, v, do = (x.double().numpy() for x in tensors)
    with interpreter.active():
        found = dict(zip(("out", "lse"), kernel(*tensors[:3], spec), strict=True))
        if backward:
            found = dict(zip(GRADIENTS, kernel.backward(*tensors, spec)[:3], strict=True))
    if backward:
        truth, budget = (
            oracle.attention_backward(q, k, v, do, spec),
            bounds.attention_backward(q, k, v, do, spec, declared),
        )
    else:
        truth, budget = oracle.attention(q, k, v, spec), bounds.attention(q, k, v, spec, declared)
    return {
        name
        for name, actual in found.items()
        if compare(name, actual.double().numpy(), getattr(truth, name), getattr(budget, name)).violated
    }


OPTIONS = [
    ("fp32", Numerics(exp_degree=3)),
    ("fp32", Numerics(exp_degree=4)),
    ("fp32", Numerics(exp_degree=5)),
    ("bf16", Numerics(exp_degree=3, rescale_threshold=8.0)),
    ("fp32", Numerics(tf32=True)),
]


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize(("format", "numerics"), OPTIONS)
def test_options_lie_within_the_bounds_of_what_they_declare(format: str, numerics: Numerics, backward: bool) -> None:
    assert violations(numerics, numerics.arithmetic(format, 16), problem(format, 0.25), backward=backward) == set()


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("undeclared", [Numerics(exp_degree=3), Numerics(tf32=True)])
def test_an_option_that_is_not_declared_is_found(undeclared: Numerics, backward: bool) -> None:
    plain = Numerics().arithmetic("fp32", 16)
    assert violations(undeclared, plain, problem("fp32"), backward=backward)


def test_a_polynomial_of_too_low_a_degree_is_found() -> None:
    declared = Numerics(exp_degree=5).arithmetic("fp32", 16)
    assert violations(Numerics(exp_degree=3), declared, problem("fp32")) == {"out", "lse"}


@pytest.mark.parametrize("d", [1, 2, 3])
def test_tf32_of_few_terms_lies_within_its_bounds(d: int) -> None:
    numerics = Numerics(tf32=True)
    for backward in (False, True):
        assert violations(numerics, numerics.arithmetic("fp32", 16), problem("fp32", d=d), backward=backward) == set()


@triton.jit
def exponentials(x_base, power_base, DEGREE: tl.constexpr, BLOCK: tl.constexpr):
    place = tl.arange(0, BLOCK)
    tl.store(power_base + place, exponential.exp2(tl.load(x_base + place), DEGREE))


@pytest.mark.parametrize("degree", [0, 3, 4, 5])
def test_powers_of_two_are_exact_and_the_smallest_are_zero(degree: int) -> None:
    x = torch.tensor([*range(-126, 128), -torch.inf, torch.nan], dtype=torch.float32)
    if degree:
        x = torch.cat([x[:-2], torch.tensor([-127.0, -1e4, -torch.inf, torch.nan]), torch.zeros(254)])
    power = torch.empty_like(x)
    with interpreter.active():
        exponentials[(1,)](x, power, degree, len(x))
    expected = torch.where(x < -126, 0.0, torch.exp2(x.double())).float()
    assert torch.equal(power.nan_to_num(nan=-1.0), expected.nan_to_num(nan=-1.0))


# Faults of the forward kernel


@triton.jit
def not_rescaled(scores, m, *rest):
    """The accumulator stays in units of the old maximum."""
    p, _, normaliser = online.tile_weights(scores, m, *rest)
    return p, tl.where(m == float("-inf"), 0.0, 1.0), normaliser


@triton.jit
def never_raised(m, tile_max, THRESHOLD: tl.constexpr):  # noqa: ARG001
    """The first tile's maximum, however far the scores grow."""
    return tl.where(m == float("-inf"), tl.maximum(m, tile_max), m)


@triton.jit
def a_tail_without_a_mask(products, batch, head, rows, columns, queries, keys, *rest):
    """Keys beyond the last have the score of a key of zeros."""
    return scores.visible_scores(products, batch, head, rows, columns, queries, keys + 16, *rest)


@triton.jit
def a_whole_diagonal(low, high, *rest):
    """The tile of the diagonal taken for one that every query sees."""
    start, full_start, _, end = visibility.visible_tiles(low, high, *rest)
    _, _, full_end, _ = visibility.visible_tiles(high, high, *rest)
    return start, full_start, full_end, end


@triton.jit
def an_edge_taken_whole(*given):
    """The tiles at the window's left edge taken for ones that every query sees."""
    start, _, full_end, end = visibility.visible_tiles(*given)
    return start, start, full_end, end


LAGGING = Numerics(rescale_threshold=8.0)
WINDOW = AttentionSpec(window=(20, 3))
FAULTS = [
    ("tile_weights", not_rescaled, Numerics(), "fp32", CAUSAL),
    ("new_max", never_raised, LAGGING, "fp16", CAUSAL),
    ("visible_scores", a_tail_without_a_mask, Numerics(), "fp32", AttentionSpec()),
    ("visible_tiles", a_whole_diagonal, Numerics(), "fp32", CAUSAL),
    ("visible_tiles", an_edge_taken_whole, Numerics(), "fp32", WINDOW),
]


@pytest.mark.parametrize(("name", "fault", "numerics", "format", "spec"), FAULTS)
def test_a_planted_fault_is_found(
    name: str, fault: Any, numerics: Numerics, format: str, spec: AttentionSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Scores that grow take a rescaling in every tile; those of keys of zeros count where others do not grow.
    growth = 0.0 if fault is a_tail_without_a_mask else 0.5
    declared, tensors = numerics.arithmetic(format, 16), problem(format, growth)
    assert violations(numerics, declared, tensors, spec) == set()
    monkeypatch.setattr(importlib.import_module("refattn_gpu.kernels.attention_forward"), name, fault)
    assert violations(numerics, declared, tensors, spec)


# Contracts


@pytest.mark.parametrize("numerics", [Numerics(), *(numerics for _, numerics in OPTIONS)])
def test_a_contract_selects_the_options_that_declare_it(numerics: Numerics) -> None:
    format = "fp32" if numerics.tf32 or not numerics.rescale_threshold else "bf16"
    chosen = Numerics.for_contract(numerics.arithmetic(format, 64), 64)
    assert (chosen.exp_degree, chosen.tf32) == (numerics.exp_degree, numerics.tf32)
    assert numerics.rescale_threshold * (1 - 2**-30) <= chosen.rescale_threshold <= numerics.rescale_threshold


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"exponent": "subtract"}, "arithmetic.exponent is 'subtract': expected 'fma', which is what the kernels do"),
        ({"exp_ulps": 1.0}, "arithmetic.exp_ulps is 1.0: expected 2.0"),
        ({"dot": "fp32"}, "arithmetic.dot is fp32, rounded to nearest: expected fp32, truncated"),
        ({"flush_to_zero": False}, "arithmetic.flush_to_zero is False: expected True"),
        ({"tile": 128}, "arithmetic.tile is 128: expected 64"),
        ({"tile": None}, "arithmetic.tile is None: expected 64"),
        ({"output": "fp32"}, "arithmetic.output is fp32, rounded to nearest: expected bf16"),
        ({"cast": "after"}, "arithmetic.cast is 'after': expected 'before'"),
        ({"inputs": "fp32"}, "arithmetic.inputs is fp32: expected bf16, the format of q, k and v"),
    ],
)
def test_a_contract_that_the_kernels_cannot_honour_is_refused(changes: dict[str, Any], complaint: str) -> None:
    tensors = problem("bf16")
    contract = attention.arithmetic_for("bf16").replace(**changes)
    with pytest.raises(InvalidValue, match=complaint):
        attention(*tensors[:3], AttentionSpec(), contract)
    with pytest.raises(InvalidValue, match=complaint):
        attention.backward(*tensors, AttentionSpec(), contract)


def test_a_looser_polynomial_is_taken_where_the_contract_allows_it() -> None:
    contract = Numerics(exp_degree=5).arithmetic("fp32", 64)
    for degree in (3, 4, 5):
        allowed = contract.replace(exp_relative=MAX_RELATIVE_ERROR[degree] * 1.01)
        assert Numerics.for_contract(allowed, 64).exp_degree == degree
    assert Numerics.for_contract(contract.replace(exp_relative=1e-9), 64).exp_degree == 0


def test_what_is_no_contract_and_no_option_is_refused() -> None:
    with pytest.raises(InvalidType, match="arithmetic is str: expected a refattn Arithmetic or None"):
        attention(*problem("fp32")[:3], arithmetic="tf32")
    with pytest.raises(InvalidValue, match="exp_degree is 2: expected 0, 3, 4 or 5"):
        Numerics(exp_degree=2)
    with pytest.raises(InvalidValue, match=r"rescale_threshold is -1\.0: expected a number from 0"):
        Numerics(rescale_threshold=-1.0)


def test_the_contract_is_carried_out() -> None:
    tensors = problem("fp32", 0.25)
    kernel = Attention(TINY, TINY)
    with interpreter.active():
        plain = kernel(*tensors[:3])
        chosen = kernel(*tensors[:3], arithmetic=Numerics(tf32=True).arithmetic("fp32", 16))
        same = Attention(TINY, TINY, numerics=Numerics(tf32=True))(*tensors[:3])
    assert all(torch.equal(a, b) for a, b in zip(chosen, same, strict=True))
    assert not torch.equal(plain[0], chosen[0])
    assert np.isfinite(chosen[0].numpy()).all()
