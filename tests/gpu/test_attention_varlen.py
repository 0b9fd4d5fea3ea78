"""Contract: packed sequences give what each gives by itself, to the last bit, and wrong packings are refused."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

import refattn
from refattn.contract.spec import AttentionSpec
from refattn.errors import InvalidType, InvalidValue
from tests.support.extras import needed

torch = needed("torch")
triton = needed("triton")
tl = triton.language

import refattn_interpreter as interpreter
from refattn_gpu.dense.forward import Attention
from refattn_gpu.dense.varlen import AttentionVarlen, attention_varlen
from refattn_gpu.launching.arguments import Tiling

# Of tiny tiles, so that short sequences take several.
TINY = Tiling(16, 16)
PACKED, APART = AttentionVarlen(TINY, TINY), Attention(TINY, TINY)
# Empty ones of either kind, more queries than keys, and fewer.
QUERIES, KEYS = (3, 0, 20, 17, 18), (5, 4, 0, 33, 2)
HEADS, KV_HEADS = 2, 1
SLOPES = (0.25, 0.5)


def starts(lengths: tuple[int, ...]) -> Any:
    return torch.tensor([sum(lengths[:n]) for n in range(len(lengths) + 1)], dtype=torch.int32)


def problem() -> list[Any]:
    """q, k, v and do, packed."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(sum(QUERIES), HEADS, 8), (sum(KEYS), KV_HEADS, 8), (sum(KEYS), KV_HEADS, 12), (sum(QUERIES), HEADS, 12)]
    return [torch.randn(shape, generator=generator) for shape in shapes]


def packed_results(**keywords: Any) -> list[Any]:
    """out, lse, dq, dk, dv."""
    q, k, v, do = problem()
    leaves = [x.requires_grad_() for x in (q, k, v)]
    with interpreter.active():
        lengths = (starts(QUERIES), starts(KEYS), max(QUERIES), max(KEYS) + 5)
        out, lse, _ = PACKED(*leaves, *lengths, return_attn_probs=True, **keywords)
        return [out.detach(), lse, *torch.autograd.grad(out, leaves, do)]


def separate_results(spec: AttentionSpec) -> list[Any]:
    """The same of each sequence by itself, put together."""
    q, k, v, do = problem()
    parts: list[list[Any]] = [[], [], [], [], []]
    with interpreter.active():
        for place, (queries, keys) in enumerate(zip(QUERIES, KEYS, strict=True)):
            row, column = sum(QUERIES[:place]), sum(KEYS[:place])
            spans = ((q, row, queries), (k, column, keys), (v, column, keys), (do, row, queries))
            one = [x[start : start + count].transpose(0, 1)[None] for x, start, count in spans]
            out, lse = APART(*one[:3], spec)
            found = (out, lse[..., None], *APART.backward(*one, spec)[:3])
            for part, tensor in zip(parts, found, strict=True):
                part.append(tensor[0].transpose(0, 1))
    out, lse, dq, dk, dv = (torch.cat(part) for part in parts)
    return [out, lse[..., 0].T, dq, dk, dv]


@pytest.fixture(scope="module")
def plain() -> list[Any]:
    return separate_results(AttentionSpec())


CASES = [
    ({}, AttentionSpec()),
    ({"causal": True, "softcap": 2.0, "softmax_scale": 0.7}, AttentionSpec(causal=True, softcap=2.0, scale=0.7)),
    ({"window_size": (4, 2), "alibi_slopes": torch.tensor(SLOPES)}, AttentionSpec(window=(4, 2), alibi_slopes=SLOPES)),
]


@pytest.mark.parametrize(("keywords", "spec"), CASES, ids=["plain", "causal", "window"])
def test_each_sequence_gives_the_bits_that_it_gives_alone(keywords: dict[str, Any], spec: AttentionSpec) -> None:
    together, apart = packed_results(**keywords), separate_results(spec)
    assert all(torch.equal(a, b) for a, b in zip(together, apart, strict=True))


@pytest.mark.parametrize("only", ["invariance/packed", "values/needles"])
def test_packed_sequences_conform(only: str) -> None:
    with interpreter.active():
        kernel = interpreter.in_any_thread(attention_varlen)
        report = refattn.check(kernel, "varlen", ("fp32",), only=only, largest=40)
    assert report.conforms, [finding.message for finding in report.findings if finding.fails]
    assert report.findings


@triton.jit
def of_the_sequence_before(starts_base, sequence):
    """The right length, from the start of the sequence before."""
    length = tl.load(starts_base + sequence + 1) - tl.load(starts_base + sequence)
    return tl.load(starts_base + tl.maximum(sequence - 1, 0)).to(tl.int64), length


@triton.jit
def a_token_short(starts_base, sequence):
    """Without the last token."""
    start = tl.load(starts_base + sequence)
    return start.to(tl.int64), tl.maximum(tl.load(starts_base + sequence + 1) - start - 1, 0)


@pytest.mark.parametrize("fault", [of_the_sequence_before, a_token_short])
@pytest.mark.parametrize(
    ("kernel", "wrong"),
    [("attention_forward", {0, 1}), ("attention_backward_queries", {2}), ("attention_backward_keys", {3, 4})],
)
def test_a_wrong_offset_is_found(
    kernel: str, wrong: set[int], fault: Any, plain: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module(f"refattn_gpu.kernels.{kernel}"), "sequence_extent", fault)
    together = packed_results()
    assert wrong <= {place for place in range(5) if not torch.equal(together[place], plain[place])}


INT = torch.int32


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        (0, torch.zeros(2, 3), r"q has shape \(2, 3\): expected \(tokens, heads, head dimension\)"),
        (3, [0, 4], "cu_seqlens_q is list: expected a torch tensor of torch.int32"),
        (3, torch.tensor([0, 4]), "cu_seqlens_q is of torch.int64: expected torch.int32"),
        (4, torch.tensor([0, 4], dtype=INT, device="meta"), "cu_seqlens_k is on meta: expected cpu"),
        (4, torch.tensor([[0, 4]], dtype=INT), r"cu_seqlens_k has shape \(1, 2\): expected one axis"),
        (4, torch.tensor([0, 2, 4], dtype=INT), "cu_seqlens_k has 3 entries: expected 2"),
        (3, torch.tensor([1, 4], dtype=INT), "cu_seqlens_q starts with 1: expected 0"),
        (3, torch.tensor([0, 5], dtype=INT), "cu_seqlens_q ends with 5: expected 4"),
        (5, 3, "max_seqlen_q is 3: expected at least 4"),
        (6, 4.0, "max_seqlen_k is 4.0: expected the length of the longest sequence"),
    ],
)
def test_wrong_sequences_are_refused_before_a_launch(place: int, value: Any, complaint: str) -> None:
    arguments: list[Any] = [*(torch.zeros(4, 1, 8) for _ in range(3)), *(torch.tensor([0, 4], dtype=INT),) * 2, 4, 4]
    arguments[place] = value
    with pytest.raises((InvalidType, InvalidValue), match=complaint):
        attention_varlen(*arguments)


def test_starts_that_decrease_are_refused() -> None:
    wrong = torch.tensor([0, 3, 2, 4], dtype=INT)
    with pytest.raises(InvalidValue, match="cu_seqlens_q decreases: expected each entry to be at least the one before"):
        attention_varlen(*(torch.zeros(4, 1, 8) for _ in range(3)), wrong, wrong, 4, 4)


@pytest.mark.parametrize(
    ("slopes", "complaint"),
    [
        ([1.0], "alibi_slopes is not a torch tensor of torch.float32"),
        (torch.ones(3), r"alibi_slopes has shape \(3,\): expected \(1,\) or \(1, 1\)"),
    ],
)
def test_wrong_slopes_are_refused(slopes: Any, complaint: str) -> None:
    lengths = torch.tensor([0, 4], dtype=INT)
    with pytest.raises((InvalidType, InvalidValue), match=complaint):
        attention_varlen(*(torch.zeros(4, 1, 8) for _ in range(3)), lengths, lengths, 4, 4, alibi_slopes=slopes)
