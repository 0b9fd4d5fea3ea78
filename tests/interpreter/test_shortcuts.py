"""Contract: the interpreter's shorter ways through Triton's code change no bit, and are gone when it is not active."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refattn.contract.spec import AttentionSpec
from tests.support.extras import needed

torch = needed("torch")
triton = needed("triton")
tl = triton.language

import refattn_interpreter as interpreter
from refattn_gpu.dense.forward import Attention, Tiling
from refattn_interpreter import session

SMALL = Attention(Tiling(16, 16), Tiling(16, 16))
SPEC = AttentionSpec(
    causal=True, window=(20, None), softcap=2.0, sinks=np.array([0.5, -1.0]), alibi_slopes=np.array([0.25, 0.5])
)


def bits(dtype: Any) -> list[bytes]:
    generator = torch.Generator().manual_seed(3)
    sizes = [(1, 2, 19, 8), (1, 1, 35, 8), (1, 1, 35, 12), (1, 2, 19, 12)]
    q, k, v, do = (torch.randn(size, generator=generator).to(dtype) for size in sizes)
    with interpreter.active():
        found = [*SMALL(q, k, v, spec=SPEC), *SMALL.backward(q, k, v, do, spec=SPEC)]
    return [x.contiguous().view(torch.uint8).numpy().tobytes() for x in found if x is not None]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_no_bit_changes(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    short = bits(dtype)
    monkeypatch.setattr(session, "shorten", lambda _patches: None)
    assert bits(dtype) == short


@triton.jit
def shapes(x_base, out_base):  # type: ignore[no-untyped-def]
    """Types of one shape and different elements, of one element type and different shapes, and of no shape."""
    offsets = tl.arange(0, 16)
    x = tl.load(x_base + offsets)
    wide = x[:, None] + x[None, :].to(tl.float64)
    square = wide.to(tl.float32) * (offsets[:, None] - offsets[None, :])
    first = tl.sum(square, 1) + tl.sum(tl.where(offsets == 0, x, 0.0), 0) / 3
    tl.store(out_base + offsets, first.to(out_base.dtype.element_ty))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_types_and_shapes_are_not_mixed_up(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> Any:
        x, out = torch.linspace(-2, 3, 16).to(dtype), torch.zeros(16, dtype=torch.float32)
        with interpreter.active():
            shapes[(1,)](x, out)
        return out

    short = run()
    monkeypatch.setattr(session, "shorten", lambda _patches: None)
    assert torch.equal(run(), short)


def test_triton_is_as_it_was_afterwards() -> None:
    before = tl.tensor.__init__, tl.block_type.__init__
    with interpreter.active():
        assert tl.tensor.__init__ is not before[0]
    assert (tl.tensor.__init__, tl.block_type.__init__) == before
