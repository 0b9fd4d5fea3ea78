"""Schedules drawn at random, in which every operation errs as much as the theorems allow: proofs/summation.md.

A schedule is built bottom up, with its computed and its exact result. Errors are factors e^t and absolute parts, in
the direction that hurts. Float64 is exact enough: units are 2^-11 and more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random


@dataclass(frozen=True)
class Units:
    """Log-errors and absolute errors of the operations; tau is how far a reference may lie below a score."""

    argument: float
    exponential: float
    cast: float
    sum: float
    eta_weight: float
    eta_sum: float
    tau: float


@dataclass(frozen=True)
class Key:
    """A score and a value. A sink has value 0, or 1 in a normaliser, and no exponential of its own."""

    score: float
    value: float
    sink: bool = False


@dataclass(frozen=True)
class Partial:
    """A schedule: its reference, what it computes, and its counts."""

    reference: float
    computed: float
    keys: tuple[Key, ...]
    depth: int
    products: int


@dataclass(frozen=True)
class Adversary:
    """Pushes every result up (way = 1) or down (-1), or anywhere in between (`random`)."""

    units: Units
    way: int
    random: Random | None = None

    def error(self, most: float) -> float:
        """A number of magnitude at most `most`, of the sign that hurts."""
        return self.way * most * (1.0 if self.random is None else self.random.uniform(-1.0, 1.0))

    def grown(self, x: float, unit: float) -> float:
        """x e^t, |t| <= unit."""
        return x * math.exp(math.copysign(1.0, x) * self.error(unit))

    def leaf(self, key: Key, reference: float) -> Partial:
        """exp(score - reference) times the value, cast on the way."""
        if key.sink:
            assert reference == key.score
            return Partial(reference, key.value, (key,), 0, 0)
        units = self.units
        side = math.copysign(1.0, key.value)
        argument = key.score - reference
        exponent = argument + side * self.error(units.argument * abs(argument) + units.exponential + units.cast)
        weight = math.exp(exponent) + side * self.error(units.eta_weight)
        product = self.grown(weight * key.value, units.sum) + self.error(units.eta_sum)
        return Partial(reference, product, (key,), 1, 1)

    def add(self, a: Partial, b: Partial) -> Partial:
        """Two partial sums with one reference."""
        assert a.reference == b.reference
        total = self.grown(a.computed + b.computed, self.units.sum) + self.error(self.units.eta_sum)
        return Partial(a.reference, total, a.keys + b.keys, max(a.depth, b.depth), a.products + b.products)

    def rescale(self, a: Partial, reference: float) -> Partial:
        """The same keys seen from a larger reference; nothing happens at the same one."""
        assert reference >= a.reference
        if reference == a.reference:
            return a
        units = self.units
        side = math.copysign(1.0, a.computed)
        argument = a.reference - reference
        factor = math.exp(argument + side * self.error(units.argument * -argument + units.exponential))
        product = a.computed * (factor + side * self.error(units.eta_weight))
        product = self.grown(product, units.sum) + self.error(units.eta_sum)
        return replace(a, reference=reference, computed=product, depth=a.depth + 1, products=a.products + 1)


def any_tree(keys: list[Key], adversary: Adversary, random: Random) -> Partial:
    """A random tree of additions and rescales."""
    if len(keys) == 1:
        key = keys[0]
        if key.sink:
            return adversary.leaf(key, key.score)
        lag = random.choice([0.0, adversary.units.tau, -random.uniform(0.0, 3.0)])
        return adversary.leaf(key, key.score - lag)
    cut = random.randrange(1, len(keys))
    a, b = any_tree(keys[:cut], adversary, random), any_tree(keys[cut:], adversary, random)
    reference = max(a.reference, b.reference) + random.choice([0.0, 0.0, random.uniform(0.0, 2.0)])
    return adversary.add(adversary.rescale(a, reference), adversary.rescale(b, reference))


def tiled(keys: list[Key], tile: int, adversary: Adversary) -> Partial:
    """Tile by tile, the reference stays while it is stale by tau at most; a sink comes first."""
    state = adversary.leaf(keys[0], keys[0].score) if keys[0].sink else None
    rest = keys[1:] if keys[0].sink else keys
    for start in range(0, len(rest), tile):
        part = rest[start : start + tile]
        top = max(key.score for key in part)
        reference = top if state is None else state.reference
        if top > reference + adversary.units.tau:
            reference = top
        total = adversary.leaf(part[0], reference)
        for key in part[1:]:
            total = adversary.add(total, adversary.leaf(key, reference))
        state = total if state is None else adversary.add(adversary.rescale(state, reference), total)
    assert state is not None
    return state
