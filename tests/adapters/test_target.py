"""A target survives whatever its kernel does."""

from __future__ import annotations

import sys
import threading
import time
import warnings
from typing import Any

import numpy as np
import pytest

from refattn.adapters import CallFailure
from refattn.adapters.target import HANGS_ALLOWED, Target
from refattn.contract.arithmetic import Arithmetic
from refattn.contract.spec import AttentionSpec
from refattn.errors import InvalidValue
from refattn.inputs.cases import AttentionCase
from refattn.numbers import formats


def small_case() -> AttentionCase:
    q = np.arange(8.0).reshape(1, 1, 2, 4)
    return AttentionCase(q=q, k=q, v=q, spec=AttentionSpec(), format=formats.fp32)


def returns_queries(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
    del k, v, spec
    return q.copy()


def test_the_result_is_the_kernels() -> None:
    case = small_case()
    np.testing.assert_array_equal(Target(returns_queries).run(case).out, case.q)


def test_an_exception_becomes_one_sentence_with_the_innermost_line() -> None:
    def inner() -> None:
        raise ZeroDivisionError("tile is 0\nand more")

    def kernel(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        del q, k, v, spec
        inner()

    with pytest.raises(CallFailure) as caught:
        Target(kernel).run(small_case())
    assert caught.value.kind == "raised"
    assert "ZeroDivisionError: tile is 0" in caught.value.message
    assert "test_target.py, line" in caught.value.message
    assert "in inner" in caught.value.message
    assert "\n" not in caught.value.message


def test_a_kernel_that_exits_does_not_end_the_run() -> None:
    def kernel(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        del q, k, v, spec
        sys.exit("gone")

    target = Target(kernel)
    for _ in range(2):
        with pytest.raises(CallFailure, match="SystemExit: gone"):
            target.run(small_case())


def test_a_kernel_without_the_arguments_of_its_convention_is_a_signature_failure() -> None:
    def kernel(q: Any, k: Any) -> Any:
        return q, k

    with pytest.raises(CallFailure) as caught:
        Target(kernel).run(small_case())
    assert caught.value.kind == "signature"


def test_a_hang_fails_its_call_only_and_the_fourth_call_after_three_hangs_at_once() -> None:
    release = threading.Event()
    calls: list[bool] = []

    def kernel(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        del k, v, spec
        calls.append(True)
        if len(calls) != 2:
            release.wait()
        return q.copy()

    target = Target(kernel, time_limit=0.1)
    case = small_case()
    try:
        with pytest.raises(CallFailure, match=r"within 0\.1 s") as caught:
            target.run(case)
        assert caught.value.kind == "timeout"
        np.testing.assert_array_equal(target.run(case).out, case.q)
        for _ in range(HANGS_ALLOWED - 1):
            with pytest.raises(CallFailure):
                target.run(case)
        called = len(calls)
        start = time.perf_counter()
        with pytest.raises(CallFailure, match="not called again"):
            target.run(case)
        assert time.perf_counter() - start < 0.1
        assert len(calls) == called
    finally:
        release.set()


def test_a_result_that_arrives_too_late_is_not_taken_for_the_next_one() -> None:
    release = threading.Event()
    finished = threading.Event()

    def kernel(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        del k, v
        if spec.scale == 2.0:
            release.wait()
            finished.set()
            return q * 0
        return q.copy()

    target = Target(kernel, time_limit=0.2)
    case = small_case()
    with pytest.raises(CallFailure):
        target.run(case.replace(spec=AttentionSpec(scale=2.0)))
    release.set()
    assert finished.wait(5)
    np.testing.assert_array_equal(target.run(case).out, case.q)


def test_the_kernels_warnings_are_not_shown_and_the_filters_are_restored() -> None:
    def kernel(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        del k, v, spec
        warnings.warn("slow path", UserWarning, stacklevel=1)
        return np.log(q * 0)

    before = list(warnings.filters)
    outcome = Target(kernel).run(small_case())
    assert outcome.out is not None
    assert np.isneginf(outcome.out).all()
    assert warnings.filters == before


def test_given_arithmetics_come_before_the_conventions() -> None:
    own = Arithmetic.naive("bf16")
    target = Target(returns_queries, arithmetics={"bfloat16": own})
    assert target.arithmetic(formats.bf16) is own
    assert target.arithmetic(formats.fp32) == Arithmetic.flash("fp32")


def test_a_wider_declared_output_is_expected_of_the_kernel() -> None:
    case = AttentionCase(**dict.fromkeys("qkv", np.ones((1, 1, 1, 2))), spec=AttentionSpec(), format=formats.bf16)

    def kernel(q: Any, k: Any, v: Any, *, spec: Any) -> Any:
        del k, v, spec
        return q.astype(np.float32)

    with pytest.raises(CallFailure) as caught:
        Target(kernel).run(case)
    assert caught.value.kind == "dtype"
    widened = {formats.bf16: Arithmetic.flash("bf16", output="fp32")}
    np.testing.assert_array_equal(Target(kernel, arithmetics=widened).run(case).out, case.q)


def test_unknown_claims_and_time_limits_are_refused() -> None:
    with pytest.raises(InvalidValue, match="claim 'speed' is not known"):
        Target(returns_queries, claims=["causal", "speed"])
    with pytest.raises(InvalidValue, match="time_limit is 0"):
        Target(returns_queries, time_limit=0)


def test_closing_ends_the_thread_and_another_call_starts_one() -> None:
    target = Target(returns_queries)
    target.run(small_case())
    target.close()
    assert target.run(small_case()).out is not None
    target.close()
