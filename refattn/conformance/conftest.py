"""Says what is missing when the suite is run without a kernel."""

from __future__ import annotations

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Collect nothing without a kernel, and say so."""
    if metafunc.config.getoption("refattn_target", None) is None:
        raise pytest.Collector.CollectError(
            "refattn.conformance has no kernel to check: expected --refattn-target package.module:callable"
        )
