"""Contract: sparse attention on tensors of bucket ids and of kept tokens, its autograd, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refattn.contract.spec import AttentionSpec
from refattn.errors import InvalidType, InvalidValue
from tests.support.extras import needed, skip_without

torch = needed("torch")
skip_without("triton")

import refattn_interpreter as interpreter
from refattn_gpu import sparse_attention
from refattn_gpu.sparse import attention as sparse
from tests.support.gpu.sparse_cases import (
    BOTH,
    HASHED,
    HEADS,
    KEPT,
    KEPT_KEYS,
    KEPT_QUERIES,
    KEY_IDS,
    KEYS,
    QUERIES,
    QUERY_IDS,
    SMALL,
    faulty,
    problem,
    results,
)

IDS = (torch.from_numpy(QUERY_IDS).int(), torch.from_numpy(KEY_IDS).int())
KEPT_TENSORS = (torch.from_numpy(KEPT_QUERIES), torch.from_numpy(KEPT_KEYS))


def of_tensors(spec: AttentionSpec, q: Any, k: Any, v: Any) -> tuple[Any, Any]:
    """The call on tensors that a spec stands for."""
    options = {"causal": spec.causal, "strict": spec.strict, "scale": spec.scale, "alignment": spec.alignment}
    kept = KEPT_TENSORS if spec.kept_keys is not None else (None, None)
    if spec.buckets is None:
        return SMALL.kept(q, k, v, *kept, **options)
    return SMALL.hashed(q, k, v, *IDS, **options, kept_queries=kept[0], kept_keys=kept[1])


@pytest.mark.parametrize("spec", [HASHED, KEPT.replace(causal=True, strict=True, scale=0.5), BOTH], ids=["h", "k", "b"])
def test_tensors_and_autograd_give_the_bits_of_the_spec(spec: AttentionSpec) -> None:
    tensors = problem()
    wanted = results(SMALL, spec, tensors)
    leaves = [x.clone().requires_grad_() for x in tensors[:3]]
    with interpreter.active():
        out, lse = of_tensors(spec, *leaves)
        found = torch.autograd.grad([out, lse], leaves, tensors[3:])
    assert all(torch.equal(a, b) for a, b in zip((out, lse, *found), wanted, strict=True))


def test_a_loss_may_use_the_output_or_the_log_sum_exp_alone() -> None:
    q, k, v, do, dlse = problem()
    v.requires_grad_()
    q.requires_grad_()
    with interpreter.active():
        for upstream in ((do, None), (None, dlse)):
            out, lse = of_tensors(HASHED, q, k, v)
            loss = sum((x * y).sum() for x, y in zip((out, lse), upstream, strict=True) if y is not None)
            dq, dv = torch.autograd.grad(loss, (q, v))
            given = [torch.zeros_like(x) if y is None else y for x, y in zip((do, dlse), upstream, strict=True)]
            wanted = SMALL.backward(*(x.detach() for x in (q, k, v)), given[0], spec=HASHED, dlse=given[1])
            assert torch.equal(dq, wanted[0])
            assert torch.equal(dv, wanted[2])


@pytest.mark.parametrize("upstream", [True, False])
def test_second_derivatives_are_refused(upstream: bool) -> None:
    q, k, v = (x.requires_grad_() for x in problem()[:3])
    do = problem()[3].requires_grad_(upstream)
    with interpreter.active():
        out, _ = of_tensors(HASHED, q, k, v)
        (dq,) = torch.autograd.grad(out, q, do, create_graph=True)
    with pytest.raises(InvalidValue, match="expected no second derivative"):
        dq.sum().backward()


def test_a_forgotten_upstream_gradient_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrong = faulty("sparse.autograd", "out, lse, dlse)", "out, lse, None)", tmp_path, monkeypatch)
    monkeypatch.setattr(sparse, "sparse_function", wrong.sparse_function)
    with pytest.raises(AssertionError):
        test_tensors_and_autograd_give_the_bits_of_the_spec(BOTH)


@pytest.mark.parametrize("integers", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_bucket_ids_of_any_width_and_shape_that_broadcasts(integers: Any) -> None:
    q, k, v, *_ = problem()
    ids = [x[:, 0, :].to(integers) for x in IDS]
    with interpreter.active():
        wanted = SMALL.hashed(q, k, v, *(x[:, :1].expand(-1, HEADS, -1) for x in IDS))
        found = SMALL.hashed(q, k, v, ids[0][0], ids[1][:, None])
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(("queries", "keys"), [(0, KEYS), (QUERIES, 0)])
def test_no_queries_and_no_keys(queries: int, keys: int) -> None:
    q, k, v, do, _ = problem()
    q, do, k, v = q[:, :, :queries], do[:, :, :queries], k[:, :, :keys], v[:, :, :keys]
    out, lse = SMALL.kept(q, k, v, None, None)
    assert out.shape == do.shape
    assert not out.any()
    assert bool((lse == -torch.inf).all())
    assert [x.shape for x in SMALL.backward(q, k, v, do)] == [q.shape, k.shape, v.shape]
    assert not any(bool(x.any()) for x in SMALL.backward(q, k, v, do))


def test_one_token_of_width_one() -> None:
    one = torch.ones((1, 1, 1, 1))
    ids = torch.full((1,), -5)
    with interpreter.active():
        out, lse = sparse_attention.hashed(one, one, one * 3, ids, ids, causal=True)
        nothing, empty = sparse_attention.hashed(one, one, one * 3, ids, ids, causal=True, strict=True)
    assert (out.item(), nothing.item(), empty.item()) == (3.0, 0.0, -np.inf)
    assert abs(lse.item() - 1.0) <= 2.0**-22


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((IDS[0].float(), IDS[1]), "query_buckets is of torch.float32: expected torch.int8 or"),
        ((IDS[0], IDS[1].numpy()), "key_buckets is ndarray: expected a torch tensor"),
        ((IDS[0], IDS[0]), r"key_buckets has shape \(1, 2, 20\): expected one that broadcasts to \(1, 2, 37\)"),
        ((IDS[0][None], IDS[1]), r"query_buckets has shape \(1, 1, 2, 20\): expected one that broadcasts"),
        ((IDS[0].to("meta"), IDS[1]), "query_buckets is on meta and q on cpu: expected one device"),
        ((IDS[0], None), "key_buckets is None: expected a tensor of integers"),
    ],
)
def test_bucket_ids_that_do_not_fit_are_refused_before_a_launch(arguments: Any, complaint: str) -> None:
    with pytest.raises((InvalidType, InvalidValue), match=complaint):
        SMALL.hashed(*problem()[:3], *arguments)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((KEPT_TENSORS[0].float(), None), "kept_queries is of torch.float32: expected torch.bool"),
        ((None, KEPT_TENSORS[1].int()), "kept_keys is of torch.int32: expected torch.bool"),
        ((None, KEPT_TENSORS[1][:, 1:]), r"kept_keys has shape \(2, 36\): expected one that broadcasts"),
    ],
)
def test_kept_tokens_that_do_not_fit_are_refused_before_a_launch(arguments: Any, complaint: str) -> None:
    with pytest.raises((InvalidType, InvalidValue), match=complaint):
        SMALL.kept(*problem()[:3], *arguments)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"strict": True}, "strict is True while causal is False"),
        ({"scale": float("nan")}, "scale is nan: expected a finite number"),
        ({"alignment": "left"}, "alignment is 'left'"),
    ],
)
def test_options_are_checked(options: Any, complaint: str) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        SMALL.kept(*problem()[:3], None, None, **options)


def test_features_without_a_kernel_are_refused() -> None:
    for field in ({"window": (1, 0)}, {"softcap": 2.0}, {"mask": np.ones((1, 1, 1, 1), bool)}):
        with pytest.raises(InvalidValue, match=f"spec has {next(iter(field))}: expected none of it"):
            SMALL(*problem()[:3], spec=HASHED.replace(**field))
    with pytest.raises(InvalidValue, match=r"spec.empty_rows is 'nan'"):
        SMALL(*problem()[:3], spec=KEPT.replace(empty_rows="nan"))
