"""Contract: the gradients of refattn_gpu.attention conform like anybody else's, and wrong ones are found out."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

import refattn
from refattn import bounds, oracle
from refattn.contract.spec import AttentionSpec
from refattn.errors import InvalidType, InvalidValue
from refattn.suite.comparison import compare
from tests.support.extras import needed

torch = needed("torch")
triton = needed("triton")
tl = triton.language

import refattn_interpreter as interpreter
from refattn_gpu.dense.forward import Attention, attention
from refattn_gpu.kernels.visibility import visible_tiles
from refattn_gpu.launching.arguments import Tiling

# Of tiny tiles, so that short sequences take several.
SMALL = Attention(Tiling(16, 16), Tiling(16, 16))
NAMES = ("dq", "dk", "dv", "dbias", "dsinks")
KEYS, QUERIES, HEADS = 21, 18, 2
NUMBERS = np.random.default_rng(5)
BIAS = NUMBERS.normal(size=(HEADS, 1, KEYS))
SINKS = NUMBERS.normal(size=HEADS)
MASK = NUMBERS.random((1, HEADS, QUERIES, KEYS)) < 0.4
MASK[:, :, 3] = False
EVERYTHING = AttentionSpec(
    causal=True, window=(12, None), softcap=1.5, bias=BIAS, sinks=SINKS, mask=MASK, alibi_slopes=np.array([0.25, 0.5])
)


def problem(dtype: Any = torch.float32, d_v: int = 12) -> list[Any]:
    """q, k, v, do of two query heads that share a key-value head, and dlse."""
    generator = torch.Generator().manual_seed(2)
    shapes = [(1, HEADS, QUERIES, 8), (1, 1, KEYS, 8), (1, 1, KEYS, d_v), (1, HEADS, QUERIES, d_v)]
    tensors = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    return [*tensors, torch.randn((1, HEADS, QUERIES), generator=generator)]


def violations(kernel: Any, spec: AttentionSpec, tensors: list[Any], format: str = "fp32") -> set[str]:
    """The gradients that the arithmetic that the kernel declares does not allow."""
    q, k, v, do, dlse = (x.double().numpy() for x in tensors)
    with interpreter.active():
        found = kernel.backward(*tensors[:4], spec=spec, dlse=tensors[4])
    truth = oracle.attention_backward(q, k, v, do, spec, dlse=dlse)
    finite = [np.where(np.isfinite(x), x, 0.0) for x in (q, k, v, do)]
    budget = bounds.attention_backward(*finite, spec, SMALL.arithmetic_for(format), dlse=dlse)
    return {
        name
        for name, actual in zip(NAMES, found, strict=True)
        if actual is not None
        and compare(name, actual.double().numpy(), getattr(truth, name), getattr(budget, name)).violated
    }


def test_the_backward_pass_conforms() -> None:
    with interpreter.active():
        report = refattn.check(interpreter.in_any_thread(attention), "native", ("bf16",), only="gradients/row_sums")
    assert report.conforms, [finding.message for finding in report.findings if finding.fails]
    assert len(report.findings) == 1


@pytest.mark.parametrize(
    "spec",
    [
        AttentionSpec(),
        AttentionSpec(causal=True, strict=True, alignment="top_left"),
        AttentionSpec(window=(2, 3)),
        AttentionSpec(bias=NUMBERS.normal(size=(QUERIES, 1)), sinks=SINKS),
        EVERYTHING,
    ],
    ids=["plain", "strict", "window", "bias", "everything"],
)
def test_gradients_lie_within_the_bounds_of_the_declared_arithmetic(spec: AttentionSpec) -> None:
    assert violations(SMALL, spec, problem()) == set()


def test_half_precision_gradients_lie_within_their_bounds() -> None:
    assert violations(SMALL, EVERYTHING, problem(torch.float16), "fp16") == set()


@pytest.mark.parametrize("place", range(4), ids=["q", "k", "v", "do"])
def test_nan_reaches_the_gradients_that_depend_on_it_and_no_other(place: int) -> None:
    tensors = problem()
    tensors[place][0, -1, -2, 1] = torch.nan
    tensors[place][0, -1, 0, 0] = torch.inf
    assert violations(SMALL, AttentionSpec(causal=True, sinks=SINKS), tensors) == set()


@triton.jit
def without_the_softcap(scores, seen, tanh, reference, dp, delta, *_):  # noqa: ARG001
    """Its derivative forgotten."""
    p = tl.where(seen, tl.exp2(scores - reference), 0.0)
    ds = tl.where(seen, p * (dp - delta), 0.0)
    return p, ds, ds


@triton.jit
def spreading_nan(scores, seen, tanh, reference, dp, delta, *_):  # noqa: ARG001
    """Invisible pairs are multiplied by their weight of 0."""
    p = tl.exp2(scores - reference)
    ds = p * (dp - delta)
    return p, ds, ds


@triton.jit
def in_nats(lse):
    """The log-sum-exp, not in base 2."""
    return tl.where(lse == float("-inf"), 0.0, lse)


@triton.jit
def a_tile_late(*given):
    """The tile that holds the diagonal left out, or the first tile where all of its edges are whole."""
    start, full_start, full_end, end = visible_tiles(*given)
    start += 16
    return start, tl.maximum(full_start, start), tl.maximum(full_end, start), end


def first_of(x: Any, shape: tuple[int, ...]) -> Any:
    """One term instead of the sum of all."""
    wanted = (1,) * (x.ndim - len(shape)) + tuple(shape)
    return x[tuple(slice(n) for n in wanted)].reshape(shape)


PLAIN = AttentionSpec()
CAUSAL = AttentionSpec(causal=True)
ON_KEYS, ON_QUERIES = "kernels.attention_backward_keys", "kernels.attention_backward_queries"
FAULTS = [
    (ON_KEYS, "score_gradients", without_the_softcap, AttentionSpec(softcap=1.0), {"dk"}),
    (ON_QUERIES, "score_gradients", without_the_softcap, AttentionSpec(softcap=1.0), {"dq"}),
    (ON_QUERIES, "lse_base2", in_nats, PLAIN, {"dq"}),
    (ON_KEYS, "visible_tiles", a_tile_late, CAUSAL, {"dk", "dv"}),
    ("dense.backward", "sum_to_shape", first_of, AttentionSpec(bias=BIAS, sinks=SINKS), {"dbias", "dsinks"}),
]


@pytest.mark.parametrize(("module", "name", "fault", "spec", "wrong"), FAULTS)
def test_a_planted_fault_is_found(
    module: str, name: str, fault: Any, spec: AttentionSpec, wrong: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module(f"refattn_gpu.{module}"), name, fault)
    assert violations(SMALL, spec, problem()) == wrong


def test_nan_that_spreads_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module(f"refattn_gpu.{ON_KEYS}"), "score_gradients", spreading_nan)
    tensors = problem()
    tensors[2][0, 0, -1] = torch.nan
    assert violations(SMALL, AttentionSpec(causal=True, strict=True), tensors) == {"dk"}


class WithoutGuards(Attention):
    """Products with weights of 0 spread NaN."""

    def backward(self, *tensors: Any, **keywords: Any) -> Any:
        return Attention(self.tiling, self.backward_tiling, nan_safe=False).backward(*tensors, **keywords)


class WithoutLse(Attention):
    """The upstream gradient of the log-sum-exp forgotten."""

    def backward(self, *tensors: Any, dlse: Any = None, **keywords: Any) -> Any:
        del dlse
        return super().backward(*tensors, **keywords)


def test_a_forgotten_upstream_gradient_is_found() -> None:
    kernel = WithoutLse(SMALL.tiling, SMALL.backward_tiling)
    assert violations(kernel, AttentionSpec(sinks=SINKS), problem()) == {"dq", "dk", "dsinks"}


def test_unguarded_operands_are_found() -> None:
    kernel = WithoutGuards(SMALL.tiling, SMALL.backward_tiling)
    tensors = problem()
    tensors[1][0, 0, -1] = torch.nan
    assert "dq" in violations(kernel, CAUSAL, tensors)


def test_rows_that_see_nothing_have_no_gradients_whatever_do_holds() -> None:
    tensors = problem()
    tensors[3][:, :, 3] = torch.nan
    with interpreter.active():
        dq, dk, dv, _, dsinks = SMALL.backward(*tensors[:4], spec=AttentionSpec(mask=MASK, sinks=SINKS))
    assert not dq[:, :, 3].any()
    assert all(bool(torch.isfinite(x).all()) for x in (dq, dk, dv, dsinks))


def test_strides_and_repetition_change_no_bit() -> None:
    tensors = problem()
    apart = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in tensors]
    with interpreter.active():
        first, again = (SMALL.backward(*x[:4], spec=EVERYTHING, dlse=x[4]) for x in (tensors, apart))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_no_keys_give_the_sinks_alone_a_gradient() -> None:
    tensors = [x[:, :, :0] if place in (1, 2) else x for place, x in enumerate(problem())]
    assert violations(SMALL, AttentionSpec(sinks=SINKS), tensors) == set()


@pytest.mark.parametrize(
    ("place", "change", "complaint"),
    [
        (3, lambda do: do.half(), "do is of torch.float16: expected torch.float32"),
        (3, lambda do: do[:, :, 1:], r"do has shape \(1, 2, 17, 12\): expected \(1, 2, 18, 12\)"),
        (3, lambda do: do.numpy(), "do is ndarray: expected a torch tensor"),
        (4, lambda dlse: dlse.double(), "dlse is of torch.float64: expected torch.float32"),
        (4, lambda dlse: dlse[:, :1], r"dlse has shape \(1, 1, 18\): expected \(1, 2, 18\)"),
        (3, lambda do: do.to("meta"), "do is on meta and q on cpu: expected one device"),
    ],
)
def test_what_it_cannot_take_is_refused_before_a_launch(place: int, change: Any, complaint: str) -> None:
    tensors = problem()
    tensors[place] = change(tensors[place])
    with pytest.raises((InvalidType, InvalidValue), match=complaint):
        attention.backward(*tensors[:4], spec=PLAIN, dlse=tensors[4])
