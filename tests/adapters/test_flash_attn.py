"""The adapters of flash_attn and varlen, with a stand-in for the library."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from refattn import adapters
from refattn.adapters import CallFailure
from refattn.contract.spec import AttentionSpec
from refattn.numbers import formats
from tests.support.adapter_cases import defined, random_case
from tests.support.extras import needed, skip_without


def flash_attn_func(
    q: Any,
    k: Any,
    v: Any,
    softmax_scale: Any = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Any = None,
    return_attn_probs: bool = False,
) -> Any:
    assert softcap == 0.0
    assert alibi_slopes is None
    torch = needed("torch")
    q, k, v = (a.transpose(1, 2).double() for a in (q, k, v))
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = q @ k.mT * (1 / math.sqrt(q.shape[-1]) if softmax_scale is None else softmax_scale)
    i = torch.arange(q.shape[2])[:, None] + k.shape[2] - q.shape[2]
    j = torch.arange(k.shape[2])
    left, right = window_size
    seen = ((i >= j) | (not causal)) & ((j >= i - left) | (left < 0)) & ((j <= i + right) | (right < 0))
    scores = scores.masked_fill(~seen, -math.inf)
    out = (torch.softmax(scores, -1).nan_to_num() @ v).transpose(1, 2)
    lse = torch.logsumexp(scores, -1).float()
    return (out.bfloat16(), lse, None) if return_attn_probs else out.bfloat16()


def flash_attn_varlen_func(
    q: Any, k: Any, v: Any, cu_seqlens_q: Any, cu_seqlens_k: Any, max_seqlen_q: int, max_seqlen_k: int, **rest: Any
) -> Any:
    torch = needed("torch")
    starts, others = cu_seqlens_q.tolist(), cu_seqlens_k.tolist()
    assert max(np.diff(starts)) == max_seqlen_q
    assert max(np.diff(others)) == max_seqlen_k
    parts = [
        flash_attn_func(q[None, a:b], k[None, c:d], v[None, c:d], **rest)
        for a, b, c, d in zip(starts, starts[1:], others, others[1:], strict=False)
    ]
    if not rest.get("return_attn_probs"):
        return torch.cat([part[0] for part in parts])
    return torch.cat([part[0][0] for part in parts]), torch.cat([part[1][0] for part in parts], -1), None


DOCUMENTS = (np.array([0, 0, 2, 2, 2]), np.array([0, 0, 0, 1, 2, 2, 2]))
FLASH_SPECS = [AttentionSpec(), AttentionSpec(causal=True, scale=0.5), AttentionSpec(window=(2, None))]


@pytest.fixture(scope="module")
def _torch() -> None:
    skip_without("torch")


@pytest.mark.usefixtures("_torch")
@pytest.mark.parametrize("spec", FLASH_SPECS)
@pytest.mark.parametrize("layout", adapters.LAYOUTS)
def test_flash_attn_gets_heads_after_tokens_and_its_own_keywords(spec: AttentionSpec, layout: Any) -> None:
    case = random_case("bf16", spec, queries=4)
    outcome = adapters.get("flash_attn").call(flash_attn_func, case, want_lse=True, want_gradients=True, layout=layout)
    out, lse = defined(case.q, case.k, case.v, case.spec, case.shape)
    np.testing.assert_array_equal(outcome.out, formats.bf16.round(out))
    np.testing.assert_array_equal(outcome.lse, formats.fp32.round(lse))
    assert {name: g.shape for name, g in outcome.gradients.items()} == {
        "dq": case.q.shape,
        "dk": case.k.shape,
        "dv": case.v.shape,
    }


@pytest.mark.usefixtures("_torch")
@pytest.mark.parametrize("documents", [None, DOCUMENTS])
@pytest.mark.parametrize("causal", [False, True])
def test_varlen_packs_documents_and_unpacks_results(documents: Any, causal: bool) -> None:
    case = random_case("bf16", AttentionSpec(documents=documents, causal=causal))
    outcome = adapters.get("varlen").call(flash_attn_varlen_func, case, want_lse=True, want_gradients=True)
    out, lse = defined(case.q, case.k, case.v, case.spec, case.shape)
    np.testing.assert_array_equal(outcome.out, formats.bf16.round(out))
    np.testing.assert_array_equal(outcome.lse, formats.fp32.round(lse))
    assert outcome.gradients["dk"].shape == case.k.shape


@pytest.mark.usefixtures("_torch")
def test_flash_attn_refuses_other_alignments_and_varlen_other_orders() -> None:
    with pytest.raises(CallFailure, match="bottom right"):
        adapters.get("flash_attn").call(
            flash_attn_func, random_case("bf16", AttentionSpec(causal=True, alignment="top_left"))
        )
    shuffled = AttentionSpec(documents=(DOCUMENTS[0][::-1], DOCUMENTS[1]))
    with pytest.raises(CallFailure, match="increasing ids"):
        adapters.get("varlen").call(flash_attn_varlen_func, random_case("bf16", shuffled))


@pytest.mark.usefixtures("_torch")
def test_varlen_gives_each_document_the_slopes_of_its_batch_row() -> None:
    slopes = np.array([[0.5, 0.25], [1.0, 2.0]])
    given = []

    def kernel(*arguments: Any, alibi_slopes: Any, **rest: Any) -> Any:
        given.append(alibi_slopes.tolist())
        return flash_attn_varlen_func(*arguments, **rest)

    spec = AttentionSpec(documents=DOCUMENTS, alibi_slopes=slopes)
    adapters.get("varlen").call(kernel, random_case("bf16", spec, heads=2))
    # Three documents in each of two rows.
    np.testing.assert_array_equal(given[0], slopes[[0, 0, 0, 1, 1, 1]])
