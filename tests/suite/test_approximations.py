"""A kernel that declares an approximation is judged by the scales that it reports, and nothing is skipped silently."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest

import tests.support.faulty_block_scales as faulty
from refattn.contract.block_scales import BlockScales
from refattn.errors import InvalidType, InvalidValue
from refattn.inputs import replay
from refattn.models import TiledAttention
from refattn.suite import checking, replaying
from refattn.suite.findings import Report, Verdict
from refattn.suite.profile import PROFILES
from refattn.suite.properties import ALL
from tests.support.faults_by_property import SMALL

HONEST = {
    "uncorrected": faulty.uncorrected,
    "static": faulty.static,
    "moments": faulty.moments,
    "with a method": faulty.WithMethod,
    "of three values": faulty.OfThreeValues,
}
#: Fault -> properties each of which finds it.
FOUND_BY = {
    faulty.published: ("approximation/leak", "approximation/scales", "approximation/certificate"),
    faulty.empty_blocks_with_scales: ("approximation/scales",),
    faulty.off_by_one_block: ("approximation/values", "approximation/certificate"),
    faulty.understated: ("approximation/certificate", "approximation/values"),
    faulty.unnormalised: ("approximation/scales", "approximation/row_sums"),
    faulty.boundary_off_by_one: ("approximation/values", "approximation/certificate"),
    faulty.summary_of_the_future: ("visibility/garbage",),
    faulty.reported_by_what_is_not_seen: ("visibility/garbage",),
    faulty.contiguous_only: ("approximation/layouts",),
}
SLOW = ("uncorrected", "static")
JUDGED = [prop.name for prop in ALL if prop.of != "exact"]
REPLACED = [prop.name for prop in ALL if prop.of == "exact" and prop.quantity == "attention"]


@pytest.fixture(autouse=True)
def _small_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, SMALL.name, SMALL)


def checked(kernel: Any, only: str = "*", **options: Any) -> Report:
    return checking.check(kernel, profile=SMALL.name, only=only, **options)


@pytest.mark.parametrize("only", ["[!a]*", pytest.param("approximation/*", marks=pytest.mark.slow)])
def test_an_honest_kernel_conforms_and_every_other_property_is_reported_as_replaced(only: str) -> None:
    report = checked(faulty.exact(), only)
    assert report.conforms, [finding.message for finding in report.findings if finding.bad]
    found = {finding.property: finding for finding in report.findings}
    assert set(found) == {each for each in (*JUDGED, *REPLACED) if fnmatchcase(each, only)}
    for each in found.keys() & REPLACED:
        unclaimed = found[each].message.startswith("the kernel does not claim")
        assert found[each].verdict is (Verdict.NOT_CLAIMED if unclaimed else Verdict.REPLACED)
        assert unclaimed or "the kernel declares an approximation" in found[each].message
    assert all(found[each].cases > 0 for each in found if each.startswith(("approximation", "visibility")))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in HONEST]
)
@pytest.mark.parametrize("dtype", ["bf16", pytest.param("fp32", marks=pytest.mark.slow)])
def test_honest_kernels_conform(name: str, dtype: str) -> None:
    # All but the longest.
    assert checked(HONEST[name](), "approximation/[clrs]*", dtypes=(dtype,)).conforms


@pytest.mark.parametrize(
    ("fault", "name"),
    [(fault, name) for fault, names in FOUND_BY.items() for name in names],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_a_fault_is_found_by(fault: Any, name: str) -> None:
    (finding,) = checked(fault(), name).findings
    assert finding.verdict is Verdict.VIOLATES
    assert finding.fails


@pytest.mark.parametrize("kernel", faulty.negative_and_undefined(), ids=["negative", "undefined"])
def test_scales_that_are_no_weights_are_refused_by_every_property(kernel: Any) -> None:
    for name in ("scales", "row_sums", "values", "certificate"):
        (finding,) = checked(kernel, f"approximation/{name}").findings
        assert finding.verdict is Verdict.VIOLATES
        assert "expected a finite number of at least 0" in finding.message


def test_the_message_of_a_leak_says_how_much() -> None:
    (finding,) = checked(faulty.published(), "approximation/leak").findings
    assert finding.message.startswith("A query gives 0.")
    assert "of its weight to keys that it does not see" in finding.message


def test_gradients_of_an_approximation_are_reported_as_unknown() -> None:
    kernel = faulty.exact()
    (finding,) = checked(kernel, "gradients/generic", claims=("causal", "backward", "dv")).findings
    assert finding.verdict is Verdict.REPLACED
    assert finding.message.startswith("nothing is known of it")


def test_exact_kernels_are_not_asked_for_scales() -> None:
    report = checked(TiledAttention(), "visibility/*")
    assert {finding.property for finding in report.findings} == {f"visibility/{x}" for x in ("garbage", "nan", "inf")}
    with pytest.raises(InvalidValue, match=r"only is 'approximation/\*'"):
        checked(TiledAttention(), "approximation/*")


def test_a_case_of_another_kind_of_kernel_is_not_replayed() -> None:
    (finding,) = checked(faulty.boundary_off_by_one(), "approximation/values").findings
    assert finding.case is not None
    token = replay.token(finding.case)
    assert replaying.replay(faulty.boundary_off_by_one(), "native", token).property == "approximation/values"
    with pytest.raises(InvalidValue, match=r"the kernel does not declare an approximation: expected another one$"):
        replaying.replay(TiledAttention(), "native", token, property="approximation/values")
    with pytest.raises(InvalidValue, match=r"the kernel declares an approximation: expected another one$"):
        replaying.replay(faulty.exact(), "native", token, property="values/search")


class _Declaring:
    def __init__(self, declared: Any, returned: Any = None) -> None:
        self.refattn_approximation, self.returned = declared, returned

    def __call__(self, q: Any, k: Any, v: Any, *, spec: Any = None) -> Any:
        out = TiledAttention()(q, k, v, spec=spec)[0]
        return out if self.returned is None else (out, *self.returned(q))


def test_a_declaration_of_no_use_is_refused_before_anything_runs() -> None:
    with pytest.raises(InvalidType, match=r"^refattn_approximation is int: expected a BlockScales or None$"):
        checked(_Declaring(4))
    with pytest.raises(InvalidValue, match=r"call is 'sdpa': expected 'native' or 'decode'$"):
        checking.check(_Declaring(BlockScales(2)), "sdpa", profile=SMALL.name)


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (None, "returned no scales: expected (out, scales), or a method scales(q, k, *, spec)"),
        (lambda q: (q[..., 0],), "the kernel returned scales of shape"),
        (lambda q: (q[..., 0], q, q), "returned 4 values: expected out or (out, scales)"),
        (lambda q: ("scales",), "as scales: expected a NumPy array"),
    ],
    ids=["none", "shape", "count", "type"],
)
def test_scales_that_cannot_be_read_are_an_error_of_the_call(returned: Any, sentence: str) -> None:
    (finding,) = checked(_Declaring(BlockScales(2), returned), "approximation/scales").findings
    assert finding.verdict is Verdict.ERROR
    assert sentence in finding.message


@pytest.mark.needs("torch")
def test_torch_kernels_are_judged_too() -> None:
    import torch

    class Kernel:
        refattn_library = "torch"
        refattn_claims = ("causal", "cross", "dv", "ragged", "scale")
        refattn_approximation = BlockScales(2)

        def __init__(self, factor: float) -> None:
            self.factor = factor

        def __call__(self, q: Any, k: Any, v: Any, *, spec: Any) -> Any:
            shape = (*q.shape[:3], k.shape[2])
            scale = q.shape[3] ** -0.5 if spec.scale is None else spec.scale
            scores = (q.double() @ k.double().mT.repeat_interleave(q.shape[1] // k.shape[1], 1)) * scale
            if spec.causal:
                seen = torch.ones(shape[2:], dtype=torch.bool).tril(shape[3] - shape[2])
                scores = scores.masked_fill(~seen, -torch.inf)
            halves = scores.split([-(-shape[3] // 2), shape[3] // 2], dim=-1)
            lse = torch.stack([half.logsumexp(-1) for half in halves], -1)
            scales = torch.nan_to_num((lse - lse.logsumexp(-1, keepdim=True)).exp()).float()
            weights = torch.cat([torch.nan_to_num(half.softmax(-1)) for half in halves], -1)
            each = torch.cat([scales[..., i : i + 1].expand_as(half) for i, half in enumerate(halves)], -1)
            values = v.double().repeat_interleave(q.shape[1] // v.shape[1], 1)
            return (self.factor * (weights * each) @ values).to(q.dtype), scales

    assert checked(Kernel(1.0), "approximation/[clrs]*").conforms
    assert checked(Kernel(1.0), "visibility/garbage").conforms
    assert not checked(Kernel(1.02), "approximation/values").conforms
