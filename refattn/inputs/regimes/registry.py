"""Every regime, simplest first, and a regime by its name."""

from __future__ import annotations

import difflib

from refattn.errors import InvalidValue
from refattn.inputs.regimes import generic, lengths, masks, needles, scores, softmax, specials, terms, ties
from refattn.inputs.regimes.regime import Regime, SoftmaxRegime

ALL: tuple[Regime, ...] = (
    *generic.REGIMES,
    *lengths.REGIMES,
    *needles.REGIMES,
    *ties.REGIMES,
    *scores.REGIMES,
    *terms.REGIMES,
    *masks.REGIMES,
    *specials.REGIMES,
)
SOFTMAX: tuple[SoftmaxRegime, ...] = softmax.REGIMES

_BY_NAME: dict[str, Regime | SoftmaxRegime] = {
    **{regime.name: regime for regime in ALL},
    **{regime.name: regime for regime in SOFTMAX},
}


def get(name: str) -> Regime | SoftmaxRegime:
    """The regime of a name; those of softmax begin with "softmax/". Raises InvalidValue when there is none."""
    regime = _BY_NAME.get(name)
    if regime is None:
        close = difflib.get_close_matches(name, _BY_NAME, 3)
        expected = f"one of {', '.join(close)}" if close else "a name such as generic/x1"
        raise InvalidValue(f"regime {name!r} is not known: expected {expected}")
    return regime
