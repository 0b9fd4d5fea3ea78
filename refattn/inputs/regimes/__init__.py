"""Regimes: named ways of making inputs that break kernels, for seeded and drawn cases alike.

regimes.ALL and regimes.SOFTMAX hold them all; `make_case` makes a case of a regime from a Source; a `Recipe` is a
seeded case in one line.
"""

from refattn.contract.features import FEATURES
from refattn.inputs.regimes.making import make_case, make_softmax_case, with_upstream
from refattn.inputs.regimes.recipes import Recipe, rebuild
from refattn.inputs.regimes.regime import Inputs, Kind, Regime, SoftmaxKind, SoftmaxRegime
from refattn.inputs.regimes.registry import ALL, SOFTMAX, get
from refattn.inputs.regimes.sizes import Claims, Limits, draw_shape
from refattn.inputs.regimes.specs import (
    EVERY_CLAIM,
    claimed_features,
    draw_spec,
    feature_specs,
    has_empty_rows,
)

__all__ = [
    "ALL",
    "EVERY_CLAIM",
    "FEATURES",
    "SOFTMAX",
    "Claims",
    "Inputs",
    "Kind",
    "Limits",
    "Recipe",
    "Regime",
    "SoftmaxKind",
    "SoftmaxRegime",
    "claimed_features",
    "draw_shape",
    "draw_spec",
    "feature_specs",
    "get",
    "has_empty_rows",
    "make_case",
    "make_softmax_case",
    "rebuild",
    "with_upstream",
]
