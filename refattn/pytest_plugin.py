"""The pytest plugin: options that name a kernel for `pytest --pyargs refattn.conformance`, and fixtures for any tests.

Every pytest run of the environment loads it, so it imports only pytest until an option or a fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# destination, option, metavar, default, help
_OPTIONS = [
    ("target", "MODULE:CALLABLE", None, "the kernel under test"),
    ("call", "CONVENTION", None, "the convention; guessed from the kernel by default"),
    ("dtype", "LIST", "bf16,fp16,fp32", "input formats (default: bf16,fp16,fp32)"),
    ("profile", "NAME", "quick", "how much to run: quick (default), ci or deep"),
    ("seed", "N", "0", "the same seed gives the same inputs (default: 0)"),
    ("largest", "N", None, "the longest sequence, for slow kernels; what that leaves out is skipped"),
    ("xfails", "FILE", None, "expected failures, one a line: property, format and reason"),
    ("json", "FILE", None, "write the report as JSON"),
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the conformance suite."""
    group = parser.getgroup("refattn", "refattn: conformance of attention and softmax kernels")
    for name, metavar, default, text in _OPTIONS:
        group.addoption(f"--refattn-{name}", dest=f"refattn_{name}", metavar=metavar, default=default, help=text)
    group.addoption(
        "--refattn-claim",
        dest="refattn_claim",
        metavar="LIST",
        action="append",
        default=[],
        help="changes to the usual claims of the convention, from left to right: NAME adds a claim, no-NAME takes one "
        "away, none takes all away",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set up the conformance suite if an option names a kernel. Raises pytest.UsageError, in one sentence."""
    if config.getoption("refattn_target") is None:
        return
    from refattn.conformance.session import Conformance

    config.pluginmanager.register(Conformance.from_config(config), "refattn-conformance")


@pytest.fixture
def assert_attention() -> Callable[..., None]:
    """refattn.assert_attention: fails with the worst element, and why, when an output is wrong."""
    from refattn.assertions import assert_attention as assertion

    return assertion


@pytest.fixture
def assert_softmax() -> Callable[..., None]:
    """refattn.assert_softmax: fails with the worst element, and why, when an output is wrong."""
    from refattn.assertions import assert_softmax as assertion

    return assertion
