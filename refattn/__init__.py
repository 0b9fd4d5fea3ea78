"""refattn: is what my attention kernel returned right, to the last bit that its arithmetic allows?

A lazy table of contents (PEP 562): importing refattn loads neither torch, jax, triton, hypothesis nor pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refattn import adapters, bounds, models, oracle
    from refattn.assertions import assert_attention, assert_softmax
    from refattn.contract.arithmetic import Arithmetic, Stage
    from refattn.contract.block_scales import BlockScales
    from refattn.contract.rows import select_rows
    from refattn.contract.spec import AttentionSpec, SoftmaxSpec
    from refattn.errors import InvalidType, InvalidValue, MissingExtra, PlatformError, RefattnError, TargetError
    from refattn.inputs import strategies
    from refattn.numbers import formats
    from refattn.oracle.enclosure import Enclosure
    from refattn.suite.certificates import Certificate, certificate
    from refattn.suite.check import check
    from refattn.suite.findings import Finding, Report, Verdict

__version__ = "0.1.0"

_MODULES = ("adapters", "bounds", "formats", "models", "oracle", "strategies")
_NAMES = {
    "Arithmetic": "arithmetic",
    "AttentionSpec": "spec",
    "BlockScales": "blocks",
    "Certificate": "certificates",
    "Enclosure": "oracle.enclosure",
    "Finding": "judge",
    "InvalidType": "errors",
    "InvalidValue": "errors",
    "MissingExtra": "errors",
    "PlatformError": "errors",
    "RefattnError": "errors",
    "Report": "judge",
    "SoftmaxSpec": "spec",
    "Stage": "arithmetic",
    "TargetError": "errors",
    "Verdict": "judge",
    "assert_attention": "assertions",
    "assert_softmax": "assertions",
    "certificate": "certificates",
    "check": "suite",
    "select_rows": "rows",
}

__all__ = [
    "Arithmetic",
    "AttentionSpec",
    "BlockScales",
    "Certificate",
    "Enclosure",
    "Finding",
    "InvalidType",
    "InvalidValue",
    "MissingExtra",
    "PlatformError",
    "RefattnError",
    "Report",
    "SoftmaxSpec",
    "Stage",
    "TargetError",
    "Verdict",
    "adapters",
    "assert_attention",
    "assert_softmax",
    "bounds",
    "certificate",
    "check",
    "formats",
    "models",
    "oracle",
    "select_rows",
    "strategies",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"refattn.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"refattn.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'refattn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
