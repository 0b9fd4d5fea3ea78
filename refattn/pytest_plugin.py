"""The pytest plugin: options that name a kernel for `pytest --pyargs refattn.conformance`, and fixtures for own tests.

It is loaded in every pytest run of the environment, so it imports nothing but pytest until it is asked for something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# destination, option, metavar, default, help
_OPTIONS = [
    ("target", "MODULE:CALLABLE", None, "the kernel under test"),
    ("call", "CONVENTION", None, "how the kernel is called; guessed from it by default"),
    ("dtype", "LIST", "bf16,fp16,fp32", "input formats (default: bf16,fp16,fp32)"),
    ("profile", "NAME", "quick", "how much to run: quick (default), ci or deep"),
    ("seed", "N", "0", "the same seed gives the same inputs (default: 0)"),
    ("largest", "N", None, "no sequence longer than this, for slow kernels; what that leaves out is skipped"),
    ("xfails", "FILE", None, "failures that are expected: property, format and reason a line"),
    ("json", "FILE", None, "write the report as JSON"),
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the conformance suite."""
    group = parser.getgroup("refattn", "refattn: conformance of attention and softmax kernels")
    for name, metavar, default, text in _OPTIONS:
        group.addoption(f"--refattn-{name}", dest=f"refattn_{name}", metavar=metavar, default=default, help=text)
    group.addoption(
        "--refattn-claim",
        dest="refattn_claim",
        metavar="LIST",
        action="append",
        default=[],
        help="what the kernel can do, if not just what its convention usually can: NAME adds a claim, no-NAME takes "
        "one away, none takes all away",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set the conformance suite up when a kernel is named. Raises pytest.UsageError, in one sentence."""
    if config.getoption("refattn_target") is None:
        return
    from refattn.conformance.session import Conformance

    config.pluginmanager.register(Conformance.from_config(config), "refattn-conformance")


@pytest.fixture
def assert_attention() -> Callable[..., None]:
    """refattn.assert_attention: fails with the worst element and why when an output is not right."""
    from refattn.assertions import assert_attention as assertion

    return assertion


@pytest.fixture
def assert_softmax() -> Callable[..., None]:
    """refattn.assert_softmax: fails with the worst element and why when an output is not right."""
    from refattn.assertions import assert_softmax as assertion

    return assertion
