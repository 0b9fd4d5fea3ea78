"""The methods as kernels, judged by refattn's own suite: they conform to their claims, and the published one leaks."""

from __future__ import annotations

import pytest

from refattn.suite import checking
from refattn.suite.findings import Verdict
from tests.support.extras import needed, skip_without

torch = needed("torch")
skip_without("transformers")

from refattn.learned import kernels


@pytest.mark.parametrize("name", ["static", "moments", "corrected"])
def test_methods_conform_to_the_approximation_that_they_declare(name: str) -> None:
    report = checking.check(getattr(kernels, name), dtypes=("fp32",), only="approximation/*", seed=1)
    assert report.conforms, [finding.message for finding in report.findings if finding.fails]
    judged = {finding.property for finding in report.findings if finding.checked}
    assert {"approximation/scales", "approximation/certificate"} <= judged


def test_the_published_method_is_found_to_leak() -> None:
    report = checking.check(kernels.original, dtypes=("fp32",), only="approximation/*", seed=1)
    assert not report.conforms
    failed = [finding for finding in report.findings if finding.fails]
    assert all(finding.verdict is Verdict.VIOLATES for finding in failed)
    assert any("sees nothing" in finding.message or "not see" in finding.message for finding in failed)
