"""Settings of every test: a Hypothesis profile, mpmath's own precision, gradual underflow."""

from __future__ import annotations

import os
from collections.abc import Iterator

import mpmath
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tests.support.extras import skip_without

# Time limits say more about the machine than about the code under test.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=25, **_COMMON)
settings.register_profile("ci", max_examples=50, **_COMMON)
settings.register_profile("deep", max_examples=1000, **_COMMON)
PROFILE = os.environ.get("REFATTN_TEST_PROFILE", "quick")
settings.load_profile(PROFILE)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked: `needs("flint", ...)` where a library is missing, and `slow` in the quick profile."""
    for marker in item.iter_markers("needs"):
        skip_without(*marker.args)
    if PROFILE == "quick" and item.get_closest_marker("slow"):
        pytest.skip("slow: runs where REFATTN_TEST_PROFILE is ci or deep")


@pytest.fixture(autouse=True)
def _mpmath_precision_is_the_default() -> Iterator[None]:
    mpmath.mp.prec = 53
    yield
    mpmath.mp.prec = 53


@pytest.fixture(autouse=True)
def _the_terminal_is_plain_and_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True, scope="session")
def _subnormals_are_kept() -> None:
    """The oracle's proofs assume gradual underflow; a library that sets flush-to-zero would void them silently."""
    assert np.float64(2.0**-1074) * np.float64(1.0) > 0.0
    assert np.float32(2.0**-149) * np.float32(1.0) > np.float32(0.0)
