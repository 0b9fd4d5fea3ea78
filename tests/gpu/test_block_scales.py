"""Contract: softmax per block of keys times scales is what the scales say, leaks nothing, and is attention with exact
scales.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

import refattn
from refattn import bounds, oracle
from refattn.bounds import ErrorBudget
from refattn.bounds.theorems.dot import dot_any_order
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.block_scales import BlockScales
from refattn.contract.spec import AttentionSpec, problem_shape
from refattn.errors import InvalidType, InvalidValue
from refattn.numbers import formats
from refattn.numbers.roundoff import rounded
from refattn.oracle.enclosure import Enclosure
from refattn.suite.certificates import exact_scales
from refattn.suite.comparison import compare
from refattn.suite.findings import Verdict
from tests.support.extras import needed

torch = needed("torch")
triton = needed("triton")

import refattn_interpreter as interpreter
from refattn_gpu.block_scales.attention import BlockScaledAttention, ExactlyScaled, block_scaled_attention
from refattn_gpu.kernels.online import LN_2
from refattn_gpu.launching.arguments import Tiling

# Of tiny tiles, so that blocks take one or two and end in the middle of them.
SMALL = BlockScaledAttention(Tiling(16, 16))
EXACT = ExactlyScaled(3, SMALL)
QUERIES, KEYS, BLOCKS, HEADS = 18, 37, 3, 2
FORMATS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
NUMBERS = np.random.default_rng(3)
MASK = NUMBERS.random((1, HEADS, QUERIES, KEYS)) < 0.5
# Two rows that see nothing of a block, one that sees nothing at all.
MASK[:, :, 3, :13] = MASK[:, :, 5, 13:] = MASK[:, :, 7] = False
CAUSAL = AttentionSpec(causal=True, alignment="top_left")
MASKED = AttentionSpec(mask=MASK)
EVERYTHING = AttentionSpec(
    causal=True,
    window=(20, None),
    softcap=1.5,
    mask=MASK,
    bias=NUMBERS.normal(size=(HEADS, 1, KEYS)),
    alibi_slopes=np.array([0.25, 0.5]),
)


def problem(dtype: Any = torch.float32, d_v: int = 8) -> list[Any]:
    """q, k, v of two query heads that share a key-value head, and scales of which some are negative."""
    generator = torch.Generator().manual_seed(2)
    shapes = [(1, HEADS, QUERIES, 8), (1, 1, KEYS, 8), (1, 1, KEYS, d_v)]
    tensors = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    return [*tensors, torch.randn((1, HEADS, QUERIES, BLOCKS), generator=generator)]


def within(q: Any, k: Any, v: Any, scales: Any, spec: AttentionSpec, window: int | None = None) -> Any:
    """The truth of out, how far the declared arithmetic may be off, and of each block's log-sum-exp the same two.

    The blocks by the oracle and the bounds, one at a time, added up as the kernel does: in fp32 and rounded once.
    """
    format = FORMATS[q.dtype]
    whole = EXACT.arithmetic_for(format)
    # A block's softmax is not rounded into an output.
    alone = whole.replace(splits=1, output="fp64")
    arrays = [x.double().numpy() for x in (q, k, v)]
    blocks, shape = BlockScales(scales.shape[-1], window), problem_shape(*arrays, spec)
    factors = np.where(blocks.seen(spec, shape), scales.double().numpy(), 0.0)
    out: Any = 0.0
    radius, size, error = (np.zeros((*q.shape[:3], v.shape[3])) for _ in range(3))
    logarithms = []
    for place, member in enumerate(blocks.membership(shape.keys).T):
        own = spec.replace(mask=member if spec.mask is None else spec.mask & member)
        truth, budget = oracle.attention(*arrays, own), bounds.attention(*arrays, own, alone)
        factor = factors[..., place, None]
        out = out + factor * truth.out.mid
        radius += np.abs(factor) * (truth.out.rad + np.abs(truth.out.tail()))
        size += np.abs(factor) * (np.abs(truth.out.mid) + truth.out.rad + budget.out.certified)
        error += np.abs(factor) * budget.out.certified
        logarithms.append((truth.lse, budget.lse))
    # The kernel's vector units round to nearest and flush; this adds up in float64.
    error = error + dot_any_order(blocks.blocks, 2.0**-24, size, formats.fp32.smallest_normal)
    radius = radius + dot_any_order(blocks.blocks + 2, 2.0**-53, size, 0.0)
    certified = rounded(error, np.abs(out), whole.output.unit, formats.get(format).smallest_normal)
    return Enclosure(out, radius), ErrorBudget(certified), logarithms


def launched(tensors: list[Any], spec: AttentionSpec, window: int | None = None) -> Any:
    with interpreter.active():
        return SMALL(*tensors, spec=spec, window=window)


def violations(tensors: list[Any], spec: AttentionSpec, window: int | None = None) -> set[str]:
    """What the arithmetic that the kernel declares does not allow."""
    out, lse = launched(tensors, spec, window)
    truth, budget, logarithms = within(*tensors, spec, window)
    found = {"out"} if compare("out", out.double().numpy(), truth, budget).violated else set()
    for place, (known, allowed) in enumerate(logarithms):
        if compare("lse", lse[..., place].double().numpy(), known, allowed).violated:
            found.add("lse")
    return found


@pytest.mark.parametrize("spec", [AttentionSpec(), CAUSAL, MASKED, EVERYTHING], ids=["plain", "causal", "mask", "all"])
def test_any_scales_give_their_sum_within_the_bounds_of_the_declared_arithmetic(spec: AttentionSpec) -> None:
    assert violations(problem(), spec) == set()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_lies_within_its_bounds(dtype: Any) -> None:
    assert violations(problem(dtype), EVERYTHING) == set()


def test_attention_by_exact_scales_conforms() -> None:
    with interpreter.active():
        report = refattn.check(interpreter.in_any_thread(EXACT), "native", ("bf16",), only="values/generic", largest=24)
    assert report.conforms, [finding.message for finding in report.findings if finding.fails]
    assert len(report.findings) == 1


@pytest.mark.parametrize("spec", [CAUSAL, EVERYTHING], ids=["causal", "all"])
def test_exact_scales_give_attention(spec: AttentionSpec) -> None:
    q, k, v, _ = problem()
    arrays = [x.double().numpy() for x in (q, k, v)]
    exact = exact_scales(arrays[0], arrays[1], spec, BlockScales(BLOCKS))
    scales = torch.from_numpy(exact.mid.astype(np.float32))
    out, _ = launched([q, k, v, scales], spec)
    _, budget, _ = within(q, k, v, scales, spec)
    # To fp32 and back, the scales have moved by so much.
    moved = refattn.certificate(*arrays, spec, scales=scales.double().numpy()).output_bound
    allowed = ErrorBudget(budget.certified + moved)
    assert not compare("out", out.double().numpy(), oracle.attention(*arrays, spec).out, allowed).violated


def weights(dtype: Any, spec: AttentionSpec) -> tuple[list[Any], Any, Any]:
    """A problem whose output is the weights, for values that are unit vectors; the weights, and the oracle's."""
    q, k, _, scales = problem(dtype)
    tensors = [q, k, torch.eye(KEYS, dtype=dtype).expand(1, 1, KEYS, KEYS), scales]
    found = launched(tensors, spec)[0].double().numpy()
    return tensors, found, oracle.attention(*(x.double().numpy() for x in tensors[:3]), spec).out


@pytest.mark.parametrize("spec", [CAUSAL, MASKED], ids=["causal", "mask"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_as_far_from_attentions_as_the_scales_are(dtype: Any, spec: AttentionSpec) -> None:
    tensors, found, truth = weights(dtype, spec)
    shape = problem_shape(*tensors[:3], spec)
    used = np.where(BlockScales(BLOCKS).seen(spec, shape), tensors[3].double().numpy(), 0.0)
    certified = refattn.certificate(*(x.double().numpy() for x in tensors[:3]), spec, scales=used)
    known, budget, _ = within(*tensors, spec)
    slack = (budget.certified + known.rad + truth.rad).sum(axis=-1) + certified.distance.rad
    distance = np.abs(found - truth.mid).sum(axis=-1)
    assert (np.abs(distance - certified.distance.mid) <= slack * (1 + 2.0**-40)).all()
    # It is no idle comparison: the scales are further off than any rounding.
    assert (slack < certified.distance.mid / 10).mean() > 0.9
    # The oracle's weight is 0 of invisible keys alone.
    assert not found[truth.mid == 0.0].any()


def at_the_scale_before(original: Any) -> Any:
    return lambda base, block, stride, inside: original(base, max(block - 1, 0), stride, inside)


def uniform_where_masked(original: Any) -> Any:
    """The most negative number instead of -inf, as in the published code of learned scales."""

    def scores(*arguments: Any) -> Any:
        found, seen, tanh = original(*arguments)
        return triton.language.where(seen, found, float(np.finfo(np.float32).min)), seen, tanh

    return scores


def unmasked_at_its_end(original: Any) -> Any:
    """Products of 0 with keys beyond the block's last one."""
    return lambda *arguments: original(*arguments[:6], 2 * KEYS, *arguments[7:])


FAULTS = [
    ("load_block_scales", at_the_scale_before, AttentionSpec(), {"out"}),
    ("visible_scores", uniform_where_masked, MASKED, {"out", "lse"}),
    ("visible_scores", unmasked_at_its_end, AttentionSpec(), {"out", "lse"}),
    ("reciprocal", lambda _: lambda normaliser: normaliser * 0.0 + 1.0, AttentionSpec(), {"out"}),
    ("log_sum_exp", lambda original: lambda m, normaliser: original(m, normaliser) / LN_2, MASKED, {"lse"}),
]


@pytest.mark.parametrize(("name", "fault", "spec", "wrong"), FAULTS)
def test_a_planted_fault_is_found(
    name: str, fault: Any, spec: AttentionSpec, wrong: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("refattn_gpu.kernels.block_scaled_forward")
    monkeypatch.setattr(module, name, fault(getattr(module, name)))
    assert violations(problem(), spec) == wrong


class Learned:
    """Scales of a table of blocks and positions, as training would leave them."""

    refattn_library = "torch"
    refattn_formats = ("fp32",)
    refattn_claims = (*ExactlyScaled.refattn_claims,)
    refattn_approximation = BlockScales(BLOCKS, window=48)

    def arithmetic_for(self, format: Any) -> Arithmetic:
        return EXACT.arithmetic_for(format).replace(splits=1)

    def __call__(self, q: Any, k: Any, v: Any, *, spec: AttentionSpec) -> Any:
        table = torch.linspace(0.2, 1.4, BLOCKS * q.shape[2]).reshape(q.shape[2], BLOCKS)
        out, lse = SMALL(q, k, v, table, spec=spec, window=48)
        return out, lse.logsumexp(-1), torch.where(lse == -torch.inf, 0.0, table.expand(lse.shape))


def leaks() -> Any:
    with interpreter.active():
        kernel = interpreter.in_any_thread(Learned())
        return refattn.check(kernel, "native", ("fp32",), only="approximation/leak", largest=24).findings


def test_learned_scales_leak_nothing() -> None:
    (found,) = leaks()
    assert found.verdict is Verdict.CONFORMS, found.message
    assert found.cases > 20


def test_the_published_leak_to_keys_to_come_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("refattn_gpu.kernels.block_scaled_forward")
    monkeypatch.setattr(module, "visible_scores", uniform_where_masked(module.visible_scores))
    # Queries before the second block's first key see nothing of it.
    assert weights(torch.float32, CAUSAL)[1][..., 0, 13:].any()
    (found,) = leaks()
    assert found.verdict is Verdict.VIOLATES


def test_scales_of_blocks_that_are_not_seen_are_not_looked_at() -> None:
    q, k, v, scales = problem()
    seen = BlockScales(BLOCKS).seen(MASKED, problem_shape(q, k, v, MASKED))
    spoilt = torch.where(torch.from_numpy(seen), scales, torch.nan)
    expected, found = (launched([q, k, v, given], MASKED) for given in (scales, spoilt))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_nan_in_invisible_values_reaches_no_row() -> None:
    q, k, v, scales = problem()
    expected = launched([q, k, v, scales], CAUSAL)[0]
    v[:, :, QUERIES:], k[:, :, QUERIES:] = torch.nan, torch.inf
    assert torch.equal(launched([q, k, v, scales], CAUSAL)[0], expected)


@pytest.mark.parametrize(("blocks", "window"), [(5, None), (37, None), (1, None), (4, 90), (4, 20)])
def test_keys_are_divided_as_block_scales_says(blocks: int, window: int | None) -> None:
    # 5 divide 16 keys into 4 of 4 and none; a window of 90 leaves blocks empty, and one of 20 the last one longer.
    q, k, v, _ = problem()
    keys = 16 if blocks == 5 else KEYS
    scales = torch.linspace(-1.0, 2.0, blocks).expand(1, HEADS, QUERIES, blocks)
    assert violations([q, k[:, :, :keys], v[:, :, :keys], scales], AttentionSpec(), window) == set()


def test_scales_of_any_shape_strides_and_dtype_give_the_same_bits() -> None:
    q, k, v, scales = problem()
    scales = scales.half()
    expected = launched([q, k, v, scales.float()], CAUSAL)
    outermost = scales.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)
    apart = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    assert all(torch.equal(a, b) for a, b in zip(launched([*apart, outermost], CAUSAL), expected, strict=True))
    # Learned ones are (blocks, positions), for all heads.
    table = torch.rand((BLOCKS, QUERIES), generator=torch.Generator().manual_seed(0))
    each = table.T.expand(1, HEADS, QUERIES, BLOCKS)
    expected, found = (launched([q, k, v, given], CAUSAL) for given in (each.contiguous(), table.T))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_no_keys_and_no_queries() -> None:
    q, k, v, scales = problem()
    out, lse = launched([q, k[:, :, :0], v[:, :, :0], scales[..., :1]], AttentionSpec())
    assert not out.any()
    assert (lse == -torch.inf).all()
    assert launched([q[:, :, :0], k, v, scales[:, :, :0]], AttentionSpec())[1].shape == (1, HEADS, 0, BLOCKS)


@pytest.mark.parametrize(
    ("scales", "spec", "complaint"),
    [
        (np.zeros(3), AttentionSpec(), "scales is ndarray: expected a torch tensor"),
        (torch.zeros(3).double(), AttentionSpec(), "scales is of torch.float64: expected one of"),
        (torch.zeros((17, 3)), AttentionSpec(), r"expected one that broadcasts to \(1, 2, 18, blocks\)"),
        (torch.tensor(1.0), AttentionSpec(), r"scales has shape \(\): expected"),
        (torch.zeros(38), AttentionSpec(), "scales has 38 blocks: expected at least 1, and no more than the 37 keys"),
        (torch.zeros(0), AttentionSpec(), "scales has 0 blocks"),
        (torch.zeros(3, device="meta"), AttentionSpec(), "scales is on meta and q on cpu"),
        (torch.zeros(3), AttentionSpec(sinks=np.zeros(HEADS)), "spec has sinks"),
    ],
)
def test_what_it_cannot_take_is_refused_before_a_launch(scales: Any, spec: AttentionSpec, complaint: str) -> None:
    with pytest.raises((InvalidType, InvalidValue), match=complaint):
        block_scaled_attention(*problem()[:3], scales, spec=spec)
