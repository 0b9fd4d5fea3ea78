"""The promises of regimes, checked on the numbers of a case: CHECKS holds one check per regime.

Its modules hold the checks by what they look at.
"""

from __future__ import annotations

from tests.inputs.regime_checks import masks, needles, scores, shapes, special, values

CHECKS = {
    name: check for module in (shapes, values, scores, needles, masks, special) for name, check in module.CHECKS.items()
}
