"""Contract: refattn_gpu's softmax, log_softmax and logsumexp conform like anybody's kernels."""

from __future__ import annotations

import importlib
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

import refattn
from refattn.errors import InvalidType, InvalidValue
from refattn.numbers import formats
from tests.support.extras import needed

torch = needed("torch")
triton = needed("triton")

import refattn_interpreter as interpreter
from refattn_gpu.row_softmax.rows import Rows, Softmax, log_softmax, logsumexp, softmax

# Of tiny tiles, so that the lengths that properties choose take many.
KINDS = ("softmax", "log_softmax", "logsumexp")
SMALL = {kind: Softmax(kind, columns=32, elements=256) for kind in KINDS}


def judged(kernel: Softmax, format: str, only: str) -> Any:
    with interpreter.active():
        return refattn.check(interpreter.in_any_thread(kernel), "softmax", (format,), only=only)


@pytest.mark.parametrize(
    ("kernel", "format", "only"),
    [
        (SMALL["softmax"], "bf16", "softmax/values"),
        (SMALL["softmax"], "fp32", "softmax/empty"),
        (SMALL["log_softmax"], "fp32", "softmax/values"),
        (SMALL["log_softmax"], "bf16", "softmax/nan"),
        (SMALL["logsumexp"], "fp16", "softmax/values"),
        (SMALL["logsumexp"], "fp32", "softmax/inf"),
    ],
)
def test_rows_conform(kernel: Softmax, format: str, only: str) -> None:
    report = judged(kernel, format, only)
    assert report.conforms, [finding.message for finding in report.findings if finding.fails]
    assert len(report.findings) == 1


def a_column_short(original: Any) -> Any:
    return lambda start, inside, tile, columns, stride, other, block: original(
        start, inside, tile, columns - 1, stride, other, block
    )


def test_rows_lie_along_any_axis_with_any_strides() -> None:
    x = torch.randn((3, 70, 5), generator=torch.Generator().manual_seed(0))
    with interpreter.active():
        for kind, kernel in SMALL.items():
            expected = kernel(x.movedim(1, -1).contiguous())
            if kind != "logsumexp":
                expected = expected.movedim(-1, 1)
            assert torch.equal(kernel(x, 1), expected)
            assert torch.equal(kernel(x.transpose(0, 2), -2), expected.transpose(0, -1))


def four_dimensions() -> Any:
    return torch.randn((3, 4, 20, 6), generator=torch.Generator().manual_seed(0))


WHERE_THEY_LIE = {
    "slice of columns": lambda x: (x[..., 1:5], -1),
    "slice of rows": lambda x: (x[:, :, 2:11], -1),
    "every second row, from the second on": lambda x: (x[:, :, 1::2], 3),
    "slice along another axis": lambda x: (x[:, 1:3], 2),
    "transposed": lambda x: (x[0].transpose(0, 2), 1),
    "reversed": lambda x: (x[0].permute(2, 1, 0), 0),
    "expanded": lambda x: (x[:, :1].expand(3, 4, 20, 6), -1),
    "four transposed": lambda x: (x.permute(3, 1, 0, 2), 2),
    "one element": lambda x: (x[:, :, :1, 2:3], 2),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", WHERE_THEY_LIE)
def test_rows_are_read_where_they_lie(kind: str, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, axis = WHERE_THEY_LIE[layout](four_dimensions())
    kernel = SMALL[kind]
    with interpreter.active():
        expected = kernel(x.clone(memory_format=torch.contiguous_format), axis)
        dy = torch.ones(()).expand(x.shape)
        whole = None if kind == "logsumexp" else kernel.backward(expected, dy.clone(), axis)
        copied: list[Any] = []
        original = torch.Tensor.contiguous
        monkeypatch.setattr(torch.Tensor, "contiguous", lambda x: copied.append(x) or original(x))
        found = kernel(x, axis)
        assert whole is None or torch.equal(kernel.backward(found, dy, axis), whole)
    assert torch.equal(found, expected)
    assert found.is_contiguous()
    assert not copied


def test_rows_that_lie_otherwise_are_copied() -> None:
    x = torch.randn((2, 3, 2, 2, 5), generator=torch.Generator().manual_seed(0)).permute(3, 2, 1, 0, 4)
    kernel = SMALL["softmax"]
    with interpreter.active():
        expected = kernel(x.clone(memory_format=torch.contiguous_format))
        assert Rows.of(4, x, expected) is None
        assert torch.equal(kernel(x), expected)
        assert torch.equal(kernel.backward(expected, x), kernel.backward(expected, x.contiguous()))


def test_rows_of_no_elements_and_no_rows() -> None:
    assert softmax(torch.zeros((3, 0))).shape == (3, 0)
    assert log_softmax(torch.zeros((0, 3)), 1).shape == (0, 3)
    assert torch.equal(logsumexp(torch.zeros((3, 0))), torch.full((3,), -torch.inf))
    assert logsumexp(torch.zeros((3, 0)), 0).shape == (0,)


def upstream(kind: str, dtype: Any, n: int = 40) -> Any:
    generator = torch.Generator().manual_seed(1)
    x = (4 * torch.randn((2, n, 3), generator=generator)).to(dtype)
    return SMALL[kind](x, 1), torch.randn((2, n, 3), generator=generator).to(dtype)


def gradient_errors(kind: str, dtype: Any, kernel: Softmax) -> float:
    """The largest error of dx in units of its bound: fp32 inside, sums in any order, one rounding at the end."""
    y, dy = upstream(kind, dtype)
    dx = kernel.backward(y, dy, 1)
    format = formats.get({torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype])
    u, last = Fraction(2) ** -24, Fraction(format.unit_roundoff)
    lost = Fraction(format.smallest_normal)
    worst = 0.0
    for row in range(2):
        for inner in range(3):
            values, given, found = ([Fraction(float(e)) for e in t[row, :, inner]] for t in (y, dy, dx))
            n = len(values)
            weights = [Fraction(1)] * n if kind == "log_softmax" else values
            total = sum(w * g for w, g in zip(weights, given, strict=True))
            adding = (n + 2) * u / (1 - (n + 2) * u)
            total_error = adding * sum(abs(w * g) for w, g in zip(weights, given, strict=True)) + n * lost
            for value, g, actual in zip(values, given, found, strict=True):
                if kind == "softmax":
                    exact = value * (g - total)
                    error = abs(value) * (total_error * (1 + u) + u * abs(g - total))
                    error += u * (abs(exact) + error) + lost
                else:
                    with mpmath.workprec(200):
                        power = Fraction(str(mpmath.nstr(mpmath.exp(mpmath.mpf(float(value))), 40)))
                    # The argument's two roundings, and 2 ulp of exp2.
                    relative = 4 * u * (1 + abs(value)) * (1 + 100 * u)
                    exact = g - power * total
                    error = power * (total_error * (1 + relative) + relative * abs(total))
                    error += 2 * u * (power * (abs(total) + total_error) * (1 + relative) + abs(exact) + error) + lost
                error += last * (abs(exact) + error) + lost
                worst = max(worst, float(abs(actual - exact) / error))
    return worst


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["softmax", "log_softmax"])
def test_gradients_lie_within_their_bound(kind: str, dtype: Any) -> None:
    with interpreter.active():
        assert gradient_errors(kind, dtype, SMALL[kind]) <= 1.0


def test_a_planted_fault_of_the_gradient_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("refattn_gpu.kernels.softmax_backward")
    monkeypatch.setattr(module, "load_elements", a_column_short(module.load_elements))
    with interpreter.active():
        assert gradient_errors("softmax", torch.float32, SMALL["softmax"]) > 1.0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((np.zeros(3),), "x is ndarray: expected a torch tensor"),
        ((torch.zeros(3, dtype=torch.float64),), "x is of torch.float64: expected one of"),
        ((torch.zeros(3), 1), "dim is 1: expected one of x's 1 dimensions"),
        ((torch.zeros(3), None), "dim is None: expected an integer"),
        ((torch.tensor(0.0),), "dim is -1: expected one of x's 0 dimensions"),
    ],
)
def test_what_it_cannot_take_is_refused(arguments: Any, complaint: str) -> None:
    with pytest.raises((InvalidType, InvalidValue), match=complaint):
        softmax(*arguments)


def test_gradients_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidValue, match=r"dy is \(2,\) of torch.float32"):
        softmax.backward(torch.zeros(3), torch.zeros(2))
    with pytest.raises(InvalidValue, match="kind is 'logsumexp'"):
        logsumexp.backward(torch.zeros(3), torch.zeros(3))
