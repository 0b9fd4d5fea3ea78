"""The float64 rung on torch tensors contains the definition as it does on NumPy arrays; higher rungs use NumPy."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from refattn import oracle
from refattn.contract import scores
from refattn.contract.spec import AttentionSpec, SoftmaxSpec, problem_shape
from refattn.contract.visibility import Visibility
from refattn.numbers import arrays
from refattn.oracle.exact import ball, definition
from refattn.oracle.float64 import forward, gradients, platform
from refattn.oracle.magnitudes import likely_largest_values
from refattn.oracle.specials.backward import Inputs, split_backward
from tests.support.attention_problems import SPECS, float64, inputs
from tests.support.extras import needed
from tests.support.hard_problems import Problem, backward_problems, problems, softmax_rows

torch = needed("torch")

GRADIENTS = ("dq", "dk", "dv", "dbias", "dsinks")


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


def tensors(*given_: Any, device: str = "cpu") -> list[Any]:
    return [None if x is None else torch.tensor(x, device=device) for x in given_]


@settings(max_examples=150, deadline=None)
@given(problems())
def test_output_and_log_sum_exp_contain_the_definition(problem: Problem) -> None:
    q, k, v, spec = problem
    truth = forward.attention(*tensors(q, k, v), spec, problem_shape(q, k, v, spec))
    out, lse = definition.attention(q, k, v, spec)
    assert truth.out.contains(out).all()
    assert truth.lse.contains(lse).all()
    assert all(isinstance(part, np.ndarray) for enclosure in truth for part in (enclosure.mid, enclosure.rad))


@settings(max_examples=100, deadline=None)
@given(backward_problems())
def test_gradients_contain_the_definition(backward: Any) -> None:
    (q, k, v, spec), do, dlse = backward
    *given_, upstream = tensors(q, k, v, do, dlse)
    shape = problem_shape(q, k, v, spec)
    truth = gradients.attention_backward(*given_, spec, shape, upstream)
    wanted = definition.attention_backward(q, k, v, do, spec, dlse)
    for name in GRADIENTS:
        enclosure, exact = getattr(truth, name), getattr(wanted, name)
        assert (enclosure is None) == (exact is None)
        assert enclosure is None or enclosure.contains(exact).all(), name


@settings(max_examples=30, deadline=None)
@given(softmax_rows())
@pytest.mark.parametrize("kind", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("empty_rows", ["zero", "nan"])
def test_softmax_contains_the_definition(kind: Any, empty_rows: Any, x: Any) -> None:
    spec = SoftmaxSpec(axis=0, kind=kind, empty_rows=empty_rows)
    enclosure = forward.softmax(torch.from_numpy(x.T.copy()), spec)
    assert enclosure.contains(definition.softmax(x.T, spec)).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("entries", [1, 40, 10**6])
@pytest.mark.parametrize("name", SPECS)
def test_every_feature_gives_what_numpy_gives_with_the_same_radius(
    name: str, entries: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (forward, gradients):
        monkeypatch.setattr(module, "blocks", partial(scores.blocks, entries=entries))
    q, k, v, do, dlse = (float64(x) for x in inputs(batch=2))
    spec = SPECS[name]
    shape = problem_shape(q, k, v, spec)
    *given_, upstream = tensors(q, k, v, do, dlse, device=device)
    ours = (
        *forward.attention(*given_[:3], spec, shape),
        *gradients.attention_backward(*given_, spec, shape, upstream),
    )
    theirs = (
        *forward.attention(q, k, v, spec, shape),
        *gradients.attention_backward(q, k, v, do, spec, shape, dlse),
    )
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine is None) == (other is None)
        if mine is None or other is None:
            continue
        np.testing.assert_array_equal(np.isfinite(mine.mid), np.isfinite(other.mid))
        finite = np.isfinite(mine.mid)
        assert (np.abs(mine.mid[finite] - other.mid[finite]) <= (mine.rad + other.rad)[finite]).all()
        # The radii's allowance for their own roundings.
        known = np.isfinite(other.rad)
        np.testing.assert_array_equal(np.isfinite(mine.rad), known)
        assert (np.abs(mine.rad[known] - other.rad[known]) <= (forward.INFLATE - 1) * other.rad[known]).all()


@pytest.mark.parametrize("name", SPECS)
def test_visibility_and_sizes_are_numpys(name: str) -> None:
    q, k, v, *_ = (float64(x) for x in inputs(batch=2))
    spec = SPECS[name]
    shape = problem_shape(q, k, v, spec)
    ours, theirs = Visibility.of(spec, shape, torch.zeros(())), Visibility.of(spec, shape)
    np.testing.assert_array_equal(ours.block().numpy(), theirs.block())
    np.testing.assert_array_equal(ours.distance(slice(1, 3)).numpy(), theirs.distance(slice(1, 3)))
    np.testing.assert_array_equal(
        likely_largest_values(torch.from_numpy(v), spec, shape).numpy(), likely_largest_values(v, spec, shape)
    )


# Through the ladder


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16", "float8_e4m3fn"])
def test_the_ladder_takes_tensors_of_every_format(dtype: str, device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 9, 4, generator=generator).to(device, getattr(torch, dtype)) for _ in range(3))
    spec = AttentionSpec(causal=True)
    attention_truth = oracle.attention(q.requires_grad_(), k, v, spec)
    plain = [arrays.as_float64("x", x) for x in (q, k, v)]
    out, lse = definition.attention(*plain, spec)
    assert attention_truth.out.contains(out).all()
    assert attention_truth.lse.contains(lse).all()
    truth = oracle.attention_backward(q, k, v, torch.ones(q.shape, device=device), spec)
    wanted = definition.attention_backward(*plain, np.ones(q.shape), spec)
    assert truth.dk.contains(wanted.dk).all()
    assert oracle.softmax(q).contains(definition.softmax(plain[0], SoftmaxSpec())).all()
    rounded = oracle.correctly_rounded(q, k, v, spec)
    np.testing.assert_array_equal(rounded.out, oracle.correctly_rounded(*plain, spec).out)


def test_the_rungs_above_are_climbed_from_tensors_too() -> None:
    q, k, v = (np.array(x).reshape(1, 1, -1, 1) for x in ([1e19], [1e19, np.nextafter(1e19, 0.0)], [0.0, 1.0]))
    spec = AttentionSpec(scale=2.0**-63)
    truth = oracle.attention(*tensors(q, k, v), spec, rtol=2.0**-60)
    assert truth.out.contains(definition.attention(q, k, v, spec, bits=300)[0]).all()
    assert 0 < truth.out.rad.item() <= 2.0**-60


def test_nan_and_infinities_in_tensors_are_what_they_are_in_numpy() -> None:
    q, k, v, do, dlse = (float64(x) for x in inputs(batch=2))
    q[0, 0, 1, 0], k[1, 0, 2, 1], v[0, 1, 3, 2], do[1, 1, 2, 0] = np.nan, np.inf, -np.inf, np.nan
    spec = SPECS["causal"]
    ours = (*oracle.attention(*tensors(q, k, v), spec), *oracle.attention_backward(*tensors(q, k, v, do), spec))
    theirs = (*oracle.attention(q, k, v, spec), *oracle.attention_backward(q, k, v, do, spec))
    for mine, other in zip(ours, theirs, strict=True):
        if mine is not None:
            np.testing.assert_array_equal(np.isnan(mine.mid), np.isnan(other.mid))
            np.testing.assert_array_equal(np.isinf(mine.rad), np.isinf(other.rad))
    x = np.array([[1.0, np.nan], [np.inf, 1.0], [-np.inf, 2.0]])
    for mine, other in ((oracle.softmax(torch.from_numpy(x)), oracle.softmax(x)),):
        np.testing.assert_array_equal(np.isnan(mine.mid), np.isnan(other.mid))
    given_ = Inputs(*tensors(q, k, v, do, dlse), spec)
    assert isinstance(split_backward(given_, problem_shape(q, k, v, spec)).inputs.q, torch.Tensor)


def test_tensors_stay_where_they_are_and_are_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ball, "available", lambda: False)
    seen = []
    original = forward.attention
    monkeypatch.setattr("refattn.oracle.float64.attention", lambda q, *rest: (seen.append(q), original(q, *rest))[1])
    given_ = tensors(*(float64(x) for x in inputs()[:3]))
    before = [x.clone() for x in given_]
    oracle.attention(*given_, SPECS["softcap"])
    assert seen[0].data_ptr() == given_[0].data_ptr()
    assert all(map(torch.equal, given_, before))
    # Mixed arrays are converted to NumPy.
    oracle.attention(given_[0], given_[1].numpy(), given_[2], SPECS["softcap"])
    assert isinstance(seen[1], np.ndarray)


def test_torchs_default_dtype_and_device_do_not_matter() -> None:
    q, k, v, *_ = (float64(x) for x in inputs(batch=2))
    spec = SPECS["everything"]
    wanted = oracle.attention(*tensors(q, k, v), spec)
    given_ = tensors(q, k, v)
    torch.set_default_dtype(torch.float16)
    torch.set_default_device("meta")
    try:
        truth = oracle.attention(*given_, spec)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    np.testing.assert_array_equal(truth.out.mid, wanted.out.mid)
    np.testing.assert_array_equal(truth.out.rad, wanted.out.rad)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_what_is_taken_for_granted_holds_of_this_gpu() -> None:
    assert platform.function_error(torch.zeros(1, device="cuda")) == platform.FUNCTION_ULPS * platform.ULP


def test_an_accelerator_gets_larger_blocks_within_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        device = torch.device("cuda:0")

    monkeypatch.setattr(scores, "device", lambda model: model.device)
    for free, entries in ((140 << 30, 1 << 26), (2 << 30, 1 << 24), (0, 1 << 20)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 140 << 30))
        assert scores.entries_for(1 << 14, Model()) == entries
    assert scores.entries_for(1 << 14, torch.zeros(1).numpy()) == scores.entries_for(1 << 14)


def test_the_oracle_of_numpy_arrays_loads_no_torch() -> None:
    code = (
        "import sys, numpy as np, refattn as ra; x = np.ones((1, 1, 2, 2)); ra.oracle.attention(x, x, x);"
        "ra.oracle.attention_backward(x, x, x, x); ra.oracle.softmax(x); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
