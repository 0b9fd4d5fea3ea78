"""Statistics speak only where errors are too large or biased, on every fresh draw, and let correct kernels pass."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from refattn.contract.arithmetic import Arithmetic, Stage
from refattn.inputs import replay
from refattn.models import TiledAttention
from refattn.numbers import formats
from refattn.suite import checking, replaying, samples
from refattn.suite.findings import Finding, Verdict
from refattn.suite.patterns import PATTERNS, Pattern, softmax_case
from refattn.suite.profile import PROFILES
from refattn.suite.properties import ALL
from refattn.suite.samples import Sample, biased, outlier, too_large
from refattn.suite.statistic import CONFIRMATIONS
from tests.support.faults_by_property import FAULTS, wrapped

# One of the three gradients' stands for them all.
NAMES = [prop.name for prop in ALL if prop.name.startswith("statistics/") and prop.name[-2:] not in ("dq", "dk")]


@pytest.fixture(autouse=True)
def _small_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "small", replace(PROFILES["quick"], name="small", longest=2048))


def examined(name: str, kernel: Any, seed: int = 0) -> Finding:
    fault = FAULTS[name]
    report = checking.check(
        kernel,
        call=fault.call,
        dtypes=(fault.dtype,),
        claims=fault.all_claims,
        profile="small",
        only=name,
        seed=seed,
    )
    (finding,) = report.findings
    return finding


@pytest.mark.parametrize("name", NAMES)
def test_an_honest_kernel_passes(name: str) -> None:
    finding = examined(name, FAULTS[name].honest(), seed=1)
    assert finding.verdict is Verdict.CONFORMS, finding.message
    assert finding.rms_z is not None
    assert 0.0 < finding.rms_z < 1.5


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_fault_is_found(name: str) -> None:
    finding = examined(name, FAULTS[name].make())
    assert finding.verdict in (Verdict.SUSPECT, Verdict.VIOLATES)
    assert finding.fails
    assert finding.case is not None
    assert finding.case.generic
    assert finding.replay is not None


@pytest.mark.parametrize("name", ["statistics/bias", "statistics/softmax"])
def test_a_suspicious_case_replays(name: str) -> None:
    fault = FAULTS[name]
    finding = examined(name, fault.make())
    assert finding.case is not None
    token = replay.token(finding.case)
    for kernel, verdict in ((fault.make(), finding.verdict), (fault.honest(), Verdict.CONFORMS)):
        again = replaying.replay(kernel, fault.call, token, property=name, claims=fault.all_claims)
        assert again.verdict is verdict, again.message


def test_what_is_suspected_lies_within_the_certified_bound() -> None:
    """The reason for statistics: no single element of these kernels is wrong for certain."""
    for name in ("statistics/bias", "statistics/long"):
        finding = examined(name, FAULTS[name].make())
        assert finding.verdict is Verdict.SUSPECT
        assert finding.share is not None
        assert finding.share <= 1.0
        assert f"So it was on {CONFIRMATIONS} fresh draws." in finding.message


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_truncation_is_suspected_unless_it_is_declared(dtype: str) -> None:
    sums = dict.fromkeys(("dot", "accumulator"), Stage(formats.fp32, "truncate"))
    cast = {"probabilities": Stage(formats.get(dtype), "truncate")}
    kernel = TiledAttention(arithmetic=Arithmetic.flash(dtype, **sums, **cast))

    def undeclared(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        return kernel(q, k, v, spec=spec)

    verdicts = [
        {
            finding.property: finding.verdict
            for finding in checking.check(
                each, dtypes=(dtype,), claims=("lse",), profile="small", only="statistics/*"
            ).findings
        }
        for each in (kernel, undeclared)
    ]
    assert set(verdicts[0].values()) == {Verdict.CONFORMS, Verdict.NOT_CLAIMED}
    assert verdicts[1]["statistics/bias"] is Verdict.SUSPECT


# Confirmation


def _wrong_now_and_then(period: int) -> Any:
    """A kernel that truncates P on every call whose number is a multiple of the period."""
    calls: list[None] = []
    truncating = FAULTS["statistics/bias"].make()

    def call(honest: Any, q: Any, k: Any, v: Any, spec: Any) -> Any:
        calls.append(None)
        return (honest if len(calls) % period else truncating)(q, k, v, spec=spec)

    return wrapped(call)()


def test_a_kernel_that_errs_on_one_draw_only_is_not_accused() -> None:
    assert examined("statistics/bias", _wrong_now_and_then(1)).verdict is Verdict.SUSPECT
    for period in (2, 3):
        assert examined("statistics/bias", _wrong_now_and_then(period)).verdict is Verdict.CONFORMS


def test_one_element_that_is_certainly_wrong_needs_no_confirmation() -> None:
    calls: list[None] = []

    def call(honest: Any, q: Any, k: Any, v: Any, spec: Any) -> Any:
        calls.append(None)
        out, lse = honest(q, k, v, spec=spec)
        out[0, 0, 0, 0] = 100.0
        return out, lse

    finding = examined("statistics/rms", wrapped(call)())
    assert finding.verdict is Verdict.VIOLATES
    assert "out[0, 0, 0, 0] is 100" in finding.message
    assert len(calls) == 1


def test_a_kernel_that_raises_is_an_error_and_not_a_suspicion() -> None:
    def kernel(*_: Any, **__: Any) -> Any:
        raise ValueError("no such kernel")

    finding = examined("statistics/rms", kernel)
    assert (finding.verdict, finding.kind) == (Verdict.ERROR, "call")


def test_draws_are_those_of_the_seed() -> None:
    found = [examined("statistics/softmax", FAULTS["statistics/softmax"].honest(), seed=each) for each in (4, 4, 5)]
    assert (found[0].rms_z, found[0].max_z) == (found[1].rms_z, found[1].max_z)
    assert found[0].rms_z != found[2].rms_z


# The tests of one sample


def sample_of(z: Any) -> Sample:
    return Sample(SimpleNamespace(), np.asarray(z, np.float64))  # the evidence is not looked at


def context(**changes: Any) -> Any:
    target = SimpleNamespace(arithmetic_of=lambda case: Arithmetic.flash("bf16", **changes))
    return SimpleNamespace(target=target)


NORMAL = np.random.default_rng(0).standard_normal((400, 16))


def test_errors_of_the_size_of_the_model_are_not_too_large() -> None:
    for size in (0.3, 1.0, 1.15):
        assert too_large(context(), None, sample_of(NORMAL * size)) == ""
    assert too_large(context(), None, sample_of(NORMAL * 1.35)).startswith("the rms error is 1.3")
    # One format throughout: sums decide, and their order is not known.
    wide = context(output="fp32")
    assert too_large(wide, None, sample_of(NORMAL * 1.35)) == ""
    assert too_large(wide, None, sample_of(NORMAL * 1.8)) != ""


def test_rows_that_err_together_count_once() -> None:
    """Errors shared by a row are no evidence of as many elements."""
    alone = np.repeat(np.random.default_rng(3).standard_normal((12, 1)) * 1.3, 64, axis=1)
    assert too_large(context(), None, sample_of(alone)) == ""
    assert too_large(context(), None, sample_of(np.random.default_rng(3).standard_normal((12, 64)) * 1.5)) != ""


def test_the_largest_of_many_errors_is_no_outlier() -> None:
    assert outlier(context(), None, sample_of(NORMAL)) == ""
    limit = 1.2 * 1.25 * math.sqrt(2 * math.log(2 * NORMAL.size / 1e-8))
    spoilt = NORMAL.copy()
    spoilt[7, 3] = -0.99 * limit
    assert outlier(context(), None, sample_of(spoilt)) == ""
    spoilt[7, 3] = -1.01 * limit
    assert outlier(context(), None, sample_of(spoilt)).startswith("the largest error is")


def test_a_mean_away_from_zero_is_a_bias_if_it_matters() -> None:
    assert biased(context(), None, sample_of(NORMAL)) == ""
    assert biased(context(), None, sample_of(NORMAL + 0.1)) == ""
    assert biased(context(), None, sample_of(NORMAL + 0.4)).startswith("errors point away from zero")
    assert biased(context(), None, sample_of(NORMAL - 0.4)).startswith("errors point towards zero")
    assert biased(context(), None, sample_of([[5.0]])) == ""


# The inputs


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
def test_patterns_are_what_their_names_say(pattern: Pattern) -> None:
    case = pattern.case(np.random.default_rng(0), formats.bf16, None)
    assert case.generic
    assert case.shape.keys == pattern.keys
    assert pattern.name in case.regime
    signs = np.sign(case.v[0, 0, :, 0])
    if pattern.signs == -1:
        assert (signs > 0).all()
    elif pattern.signs:
        np.testing.assert_array_equal(
            np.flatnonzero(np.diff(signs)) + 1, np.arange(pattern.signs, pattern.keys, pattern.signs)
        )
    # 8192 numbers: their standard deviation is off by less than a twentieth.
    assert abs(case.q.std() / pattern.spread - 1.0) < 0.05
    assert pattern.case(np.random.default_rng(0), formats.bf16, 1).shape.queries == 1


def test_a_softmax_case_is_generic() -> None:
    case = softmax_case(np.random.default_rng(0), formats.fp16, "logsumexp", 4.0, 100)
    assert case.generic
    assert case.x.shape == (64, 100)
    assert abs(case.x.std() / 4.0 - 1.0) < 0.05


def test_the_chance_of_a_false_alarm_is_that_of_the_design() -> None:
    """Sub-Gaussian tails: beyond DEVIATIONS standard errors with a chance below 2 exp(-8), on every draw of a run of a
    few hundred statistics.
    """
    chance = (2 * math.exp(-(samples.DEVIATIONS**2) / 2)) ** (1 + CONFIRMATIONS)
    assert 300 * chance + 300 * samples.OUTLIER_CHANCE ** (1 + CONFIRMATIONS) < 1e-6
