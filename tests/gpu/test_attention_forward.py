"""Contract: refattn_gpu.attention conforms like anybody else's kernel, and refuses what it cannot take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import refattn
from refattn.contract.spec import AttentionSpec
from refattn.errors import InvalidType, InvalidValue
from tests.support.extras import needed, skip_without

torch = needed("torch")
skip_without("triton")

import refattn_interpreter as interpreter
from refattn_gpu.dense.forward import Attention, attention
from refattn_gpu.launching.arguments import LARGEST_TILE, Tiling
from refattn_gpu.launching.numerics import Numerics

# Of tiny tiles, so that the sizes that properties choose take many.
SMALL = Attention(Tiling(16, 16))
# Interpreted kernels are slow: the sharpest properties here, all by `refattn check refattn_gpu:attention`.
PROPERTIES = [
    ("fp32", "values/needles"),
    ("bf16", "values/features"),
    ("fp16", "visibility/nan"),
    ("fp32", "lse/search"),
]


@pytest.mark.parametrize(("format", "only"), PROPERTIES)
def test_the_forward_pass_conforms(format: str, only: str) -> None:
    with interpreter.active():
        report = refattn.check(interpreter.in_any_thread(attention), "native", (format,), only=only)
    assert report.conforms, [finding.message for finding in report.findings if finding.fails]


def inputs(*changes: Any, heads: int = 2, keys: int = 5, d: int = 4) -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, heads, 3, d), (1, heads, keys, d), (1, heads, keys, d)]
    tensors = [torch.randn(shape, generator=generator) for shape in shapes]
    for place, change in changes:
        tensors[place] = change(tensors[place])
    return tensors


def test_a_kept_reference_gives_the_same_numbers_within_its_bound() -> None:
    stale = Attention(Tiling(16, 16), numerics=Numerics(rescale_threshold=8.0))
    q, k, v = inputs(keys=70)
    k = k * torch.arange(70)[:, None] / 8
    with interpreter.active():
        out, lse = stale(q, k, v)
        fresh = SMALL(q, k, v)[0]
    arrays = [x.double().numpy() for x in (q, k, v)]
    refattn.assert_attention(
        out.numpy(), *arrays, spec=AttentionSpec(), arithmetic=stale.arithmetic_for("fp32"), lse=lse.numpy()
    )
    assert not torch.equal(out, fresh), "the reference was never kept: expected other roundings"


def test_the_inputs_strides_do_not_matter() -> None:
    q, k, v = inputs(keys=20)
    apart = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    with interpreter.active():
        assert all(torch.equal(a, b) for a, b in zip(SMALL(q, k, v), SMALL(*apart), strict=True))


def test_a_whole_tile_of_unusual_values_is_counted() -> None:
    """As many as the digits of `special_values` have to hold."""
    q, k, v = inputs(keys=LARGEST_TILE)
    for column, unusual in enumerate((torch.inf, -torch.inf, torch.nan)):
        v[..., column] = unusual
    with interpreter.active():
        out, _ = Attention(Tiling(16, LARGEST_TILE))(q, k, v, AttentionSpec(causal=True))
    last = out[:, :, -1]
    assert (last[..., 0] == torch.inf).all()
    assert (last[..., 1] == -torch.inf).all()
    assert last[..., 2].isnan().all()
    assert last[..., 3:].isfinite().all()


@pytest.mark.parametrize(("sizes", "complaint"), [((64, 256), "keys is 256"), ((20, 64), "queries is 20")])
def test_a_tile_that_no_kernel_takes_is_refused(sizes: tuple[int, int], complaint: str) -> None:
    with pytest.raises(InvalidValue, match=f"{complaint}: expected a power of two from 16 to 128"):
        Tiling(*sizes)


@pytest.mark.parametrize(
    ("tensors", "spec", "complaint"),
    [
        ([np.zeros((1, 1, 1, 1))] * 3, AttentionSpec(), "q is ndarray: expected a torch tensor"),
        (inputs((1, torch.Tensor.half)), AttentionSpec(), "k is of torch.float16 and q of torch.float32"),
        (inputs((0, torch.Tensor.double)), AttentionSpec(), "q is of torch.float64: expected one of"),
        (inputs(d=257), AttentionSpec(), "q has head dimension 257: expected at most 256"),
        (inputs(), AttentionSpec(kept_keys=np.ones(5, bool)), "spec has kept_keys"),
        (inputs(), AttentionSpec(empty_rows="nan"), "spec.empty_rows is 'nan'"),
        (inputs((1, lambda k: k[:, :, :4])), AttentionSpec(), "v"),
    ],
)
def test_what_it_cannot_take_is_refused_before_a_launch(tensors: Any, spec: AttentionSpec, complaint: str) -> None:
    with pytest.raises((InvalidType, InvalidValue), match=complaint):
        attention(*tensors, spec=spec)
