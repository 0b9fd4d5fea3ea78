"""Contract: torch differentiates refattn_gpu's kernels by their own gradients, bit by bit, and only once."""

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
from tests.support.extras import needed, skip_without

torch = needed("torch")
skip_without("triton")

import refattn_interpreter as interpreter
from refattn_gpu.dense.differentiation import DifferentiableAttention, differentiable_attention
from refattn_gpu.dense.forward import Attention
from refattn_gpu.launching.arguments import Tiling
from refattn_gpu.launching.numerics import Numerics
from refattn_gpu.row_softmax.differentiation import DifferentiableSoftmax
from refattn_gpu.row_softmax.rows import Softmax, logsumexp

# Of tiny tiles, so that short sequences take several.
KERNEL = Attention(Tiling(16, 16), Tiling(16, 16))
SMALL = DifferentiableAttention(KERNEL)
NAMES = ("q", "k", "v", "bias", "sinks")
CAUSAL = AttentionSpec(causal=True, softcap=2.0)


def problem(dtype: Any = torch.float32) -> dict[str, Any]:
    """Leaves of two query heads that share a key-value head, bias and sinks in fp32."""
    generator = torch.Generator().manual_seed(6)
    sizes = {"q": (1, 2, 18, 8), "k": (1, 1, 21, 8), "v": (1, 1, 21, 12), "bias": (2, 1, 21), "sinks": (2,)}
    tensors = {name: torch.randn(size, generator=generator) for name, size in sizes.items()}
    return {name: x.to(dtype if name in "qkv" else x.dtype).requires_grad_() for name, x in tensors.items()}


def upstream(dtype: Any = torch.float32) -> list[Any]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn((1, 2, 18, 12), generator=generator).to(dtype), torch.randn((1, 2, 18), generator=generator)]


def called(tensors: dict[str, Any], kernel: Any = SMALL) -> Any:
    extra = {name: tensors[name] for name in ("bias", "sinks")}
    return kernel(tensors["q"], tensors["k"], tensors["v"], spec=CAUSAL, **extra)


def by_kernel(tensors: dict[str, Any], do: Any, dlse: Any, kernel: Attention = KERNEL) -> Any:
    values = {name: x.detach() for name, x in tensors.items()}
    spec = CAUSAL.replace(bias=values["bias"].numpy(), sinks=values["sinks"].numpy())
    return kernel.backward(values["q"], values["k"], values["v"], do, spec=spec, dlse=dlse)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("used", ["out", "lse", "both"])
def test_gradients_are_those_of_the_kernels_bit_by_bit(used: str, dtype: Any) -> None:
    tensors, (do, dlse) = problem(dtype), upstream(dtype)
    with interpreter.active():
        out, lse = called(tensors)
        terms = {"out": [(out, do)], "lse": [(lse, dlse)], "both": [(out, do), (lse, dlse)]}[used]
        torch.autograd.backward([x for x, _ in terms], [g for _, g in terms])
        expected = by_kernel(tensors, do if used != "lse" else torch.zeros_like(do), dlse if used != "out" else None)
    for name, gradient in zip(NAMES, expected, strict=True):
        assert torch.equal(tensors[name].grad, gradient), name


def test_a_loss_of_both_is_differentiated() -> None:
    tensors = problem()
    with interpreter.active():
        out, lse = called(tensors)
        (out.sum() + 2 * lse.sum()).backward()
        expected = by_kernel(tensors, torch.ones_like(out), torch.full_like(lse, 2.0))
    assert all(torch.equal(tensors[name].grad, gradient) for name, gradient in zip(NAMES, expected, strict=True))


def test_the_options_of_the_kernel_are_those_of_its_gradients() -> None:
    kernel = Attention(KERNEL.tiling, KERNEL.backward_tiling, Numerics(exp_degree=3))
    tensors, (do, _) = problem(), upstream()
    with interpreter.active():
        called(tensors, DifferentiableAttention(kernel))[0].backward(do)
        expected, other = by_kernel(tensors, do, None, kernel), by_kernel(tensors, do, None)
    assert all(torch.equal(tensors[name].grad, gradient) for name, gradient in zip(NAMES, expected, strict=True))
    assert not torch.equal(expected[0], other[0])


def test_gradients_conform() -> None:
    with interpreter.active():
        kernel = interpreter.in_any_thread(SMALL)
        report = refattn.check(kernel, "native", ("fp32",), only="gradients/generic", largest=24)
    assert report.conforms, [finding.message for finding in report.findings if finding.fails]
    assert len(report.findings) == 1


def test_what_requires_no_gradient_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = problem()
    for name in ("k", "bias"):
        tensors[name].requires_grad_(False)
    with interpreter.active():
        called(tensors)[0].sum().backward()
    assert {name for name, x in tensors.items() if x.grad is None} == {"k", "bias"}
    for x in tensors.values():
        x.requires_grad_(False)
    module = importlib.import_module("refattn_gpu.dense.differentiation")
    monkeypatch.setattr(module, "gradients", None)
    with interpreter.active():
        out, lse = called(tensors)
    assert not out.requires_grad
    assert not lse.requires_grad


def test_gradients_come_in_the_inputs_dtypes() -> None:
    tensors = problem(torch.float16)
    tensors["bias"] = tensors["bias"].detach().bfloat16().requires_grad_()
    tensors["sinks"] = tensors["sinks"].detach().double().requires_grad_()
    with interpreter.active():
        called(tensors)[0].sum().backward()
    assert all(x.grad.dtype is x.dtype and x.grad.shape == x.shape for x in tensors.values())


def test_a_second_derivative_is_refused_whatever_the_first_was_used_for() -> None:
    # The upstream gradient of a sum requires no gradient: torch's once_differentiable would not see the second.
    tensors = problem()
    with interpreter.active():
        out, _ = called(tensors)
        (first,) = torch.autograd.grad(out.sum(), tensors["q"], create_graph=True)
        assert torch.equal(first.detach(), by_kernel(tensors, torch.ones_like(out), None)[0])
        with pytest.raises(InvalidValue, match="is differentiated again: expected no second derivative"):
            ((first**2).sum() + tensors["q"].sum()).backward()
    x = torch.randn((3, 5), requires_grad=True)
    with interpreter.active():
        (first,) = torch.autograd.grad(DifferentiableSoftmax()(x)[0, 0], x, create_graph=True)
        with pytest.raises(InvalidValue, match="is differentiated again"):
            (first + x).sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["softmax", "log_softmax"])
def test_softmax_is_differentiated_by_its_kernel_bit_by_bit(kind: Any, dtype: Any) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn((3, 40, 2), generator=generator).to(dtype).requires_grad_()
    dy = torch.randn((3, 40, 2), generator=generator).to(dtype)
    kernel = Softmax(kind, columns=16, elements=64)
    with interpreter.active():
        y = DifferentiableSoftmax(kernel)(x, 1)
        y.backward(dy)
        assert torch.equal(y, kernel(x.detach(), 1))
        assert torch.equal(x.grad, kernel.backward(y.detach(), dy, 1))
        x.grad = None
        # A gradient without memory of its own.
        DifferentiableSoftmax(kernel)(x, 1).sum().backward()
        assert torch.equal(x.grad, kernel.backward(y.detach(), torch.ones_like(y), 1))


def test_softmax_conforms() -> None:
    with interpreter.active():
        kernel = interpreter.in_any_thread(DifferentiableSoftmax(Softmax("log_softmax", columns=32, elements=256)))
        report = refattn.check(kernel, "softmax", ("bf16",), only="softmax/values")
    assert report.conforms, [finding.message for finding in report.findings if finding.fails]


class Scaled(DifferentiableAttention):
    """The gradient of q for a scale of 1."""

    def __call__(self, q: Any, *rest: Any, **keywords: Any) -> Any:
        q = q * 1.0
        q.register_hook(lambda dq: dq * 1.01)
        return super().__call__(q, *rest, **keywords)


def violations(kernel: Any) -> set[str]:
    """The gradients that the arithmetic that the kernel declares does not allow."""
    tensors, (do, _) = problem(), upstream()
    with interpreter.active():
        called(tensors, kernel)[0].backward(do)
    spec = CAUSAL.replace(bias=tensors["bias"].detach().numpy(), sinks=tensors["sinks"].detach().numpy())
    arrays = [tensors[name].detach().double().numpy() for name in "qkv"]
    truth = oracle.attention_backward(*arrays, do.double().numpy(), spec)
    budget = bounds.attention_backward(*arrays, do.double().numpy(), spec, kernel.arithmetic_for("fp32"))
    return {
        name
        for name in NAMES
        if compare(name, tensors[name].grad.double().numpy(), getattr(truth, f"d{name}"), getattr(budget, f"d{name}"))
        .violated
    }  # fmt: skip


def test_gradients_lie_within_the_bounds_and_a_planted_fault_does_not() -> None:
    assert violations(SMALL) == set()
    assert violations(Scaled(KERNEL)) == {"q"}


@pytest.mark.parametrize(
    ("keywords", "complaint"),
    [
        ({"bias": np.zeros(3)}, "bias is ndarray: expected a torch tensor of floating-point numbers"),
        ({"sinks": torch.zeros(2, dtype=torch.int64)}, "sinks is torch.int64: expected a torch tensor of floating"),
        ({"bias": torch.zeros(20)}, r"bias has shape \(20,\)"),
        ({"bias": torch.zeros(21), "spec": AttentionSpec(bias=np.zeros(21))}, "bias is given and spec has bias too"),
        ({"sinks": torch.tensor([torch.inf, 0.0])}, r"sinks holds \+inf"),
    ],
)
def test_what_it_cannot_take_is_refused_before_a_launch(keywords: Any, complaint: str) -> None:
    tensors = problem()
    with pytest.raises((InvalidType, InvalidValue), match=complaint):
        differentiable_attention(tensors["q"], tensors["k"], tensors["v"], **keywords)


def test_log_sum_exp_of_rows_has_no_gradient() -> None:
    with pytest.raises(InvalidValue, match="kernel is of kind 'logsumexp': expected softmax or log_softmax"):
        DifferentiableSoftmax(logsumexp)
