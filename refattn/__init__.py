"""refattn: is the result of my attention kernel right, to the last bit that its arithmetic allows?

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
    from refattn.suite.checking import check
    from refattn.suite.findings import Evidence, Finding, Report, Verdict

__version__ = "0.1.0"

_MODULES = {
    "adapters": "adapters",
    "bounds": "bounds",
    "formats": "numbers.formats",
    "models": "models",
    "oracle": "oracle",
    "strategies": "inputs.strategies",
}
_NAMES = {
    "Arithmetic": "contract.arithmetic",
    "AttentionSpec": "contract.spec",
    "BlockScales": "contract.block_scales",
    "Certificate": "suite.certificates",
    "Enclosure": "oracle.enclosure",
    "Evidence": "suite.findings",
    "Finding": "suite.findings",
    "InvalidType": "errors",
    "InvalidValue": "errors",
    "MissingExtra": "errors",
    "PlatformError": "errors",
    "RefattnError": "errors",
    "Report": "suite.findings",
    "SoftmaxSpec": "contract.spec",
    "Stage": "contract.arithmetic",
    "TargetError": "errors",
    "Verdict": "suite.findings",
    "assert_attention": "assertions",
    "assert_softmax": "assertions",
    "certificate": "suite.certificates",
    "check": "suite.checking",
    "select_rows": "contract.rows",
}
# Names that give reports: refattn.reports adds their renderers.
_RENDERED = ("Report", "check")

__all__ = [
    "Arithmetic",
    "AttentionSpec",
    "BlockScales",
    "Certificate",
    "Enclosure",
    "Evidence",
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
        return importlib.import_module(f"refattn.{_MODULES[name]}")
    if name in _RENDERED:
        importlib.import_module("refattn.reports")
    if name in _NAMES:
        return getattr(importlib.import_module(f"refattn.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'refattn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
