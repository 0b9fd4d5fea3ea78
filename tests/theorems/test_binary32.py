"""Theorem binary32_attention: rows in float32 with P in bfloat16, against the bound put together from its parts."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from refattn import AttentionSpec
from refattn.bounds import attention
from refattn.bounds.theorems.dot import dot_any_order
from refattn.bounds.theorems.normaliser import normaliser_error
from refattn.bounds.theorems.output import output_error, quotient_error
from refattn.bounds.theorems.schedule import additions, underflow
from refattn.bounds.theorems.scores import scaled_score
from refattn.contract.arithmetic import Arithmetic
from refattn.numbers.formats import Array, bf16, fp32
from refattn.numbers.roundoff import growth

CASES = int(os.environ.get("REFATTN_THEOREM_CASES", "3000"))
TIGHTNESS = {"binary32_attention": 0.95}

UNIT32, LOST32 = fp32.unit_roundoff, fp32.smallest_subnormal / 2
UNIT16, LOST16 = bf16.unit_roundoff, bf16.smallest_subnormal / 2


@dataclass
class Rows:
    """Many rows at once: q (r, d), k (r, n, d) and v (r, n), numbers of bfloat16, in tiles of `tile` keys."""

    q: Array
    k: Array
    v: Array
    scale: float
    tile: int

    def scores(self) -> Array:
        """Products and sums one after the other, then the scale, each rounded to binary32, (r, n)."""
        products = (self.q[:, None, :] * self.k).astype(np.float32)
        total = products[..., 0]
        for column in range(1, products.shape[-1]):
            total = total + products[..., column]
        return np.asarray(total * np.float32(self.scale))

    def output(self) -> tuple[Array, Array]:
        """The result of the kernel of Binary32Attention.v, (r,), and the number of changes of its reference."""
        x, v = self.scores(), self.v.astype(np.float32)
        state: tuple[Any, Any, Any] | None = None
        moved = np.zeros(len(x))
        for start in range(0, x.shape[1], self.tile):
            scores, values = x[:, start : start + self.tile], v[:, start : start + self.tile]
            reference = scores.max(axis=1) if state is None else np.maximum(state[0], scores.max(axis=1))
            p = exp32(scores - reference[:, None])
            products = bf16.round(p).astype(np.float32) * values
            total, numerator = p[:, 0], products[:, 0]
            for column in range(1, p.shape[1]):
                total, numerator = total + p[:, column], numerator + products[:, column]
            if state is not None:
                factor = exp32(state[0] - reference)
                moved += state[0] != reference
                total, numerator = state[1] * factor + total, state[2] * factor + numerator
            state = reference, total, numerator
        assert state is not None
        return bf16.round((state[2] / state[1]).astype(np.float64)), moved

    def exact(self) -> tuple[Array, Array, Array]:
        """Scores, weights e^(s - m) and output, to float64."""
        s = self.scale * (self.q[:, None, :] * self.k).sum(axis=2)
        p = np.exp(s - s.max(axis=1, keepdims=True))
        return s, p, (p * self.v).sum(axis=1) / p.sum(axis=1)

    def bound(self, moved: Array) -> Array:
        """output_bound32, from the functions that refattn.bounds calls."""
        s, p, exact = self.exact()
        keys, width = self.k.shape[1:]
        magnitude = np.abs(self.q[:, None, :] * self.k).sum(axis=2)
        dot = dot_any_order(width, UNIT32, magnitude, LOST32)
        doubt = scaled_score(dot, np.abs(s), abs(self.scale), 0.0, UNIT32, 0.0, LOST32)
        most = doubt.max(axis=1)
        total = p.sum(axis=1)
        distance = s.max(axis=1, keepdims=True) - s

        def path(narrow: float) -> Array:
            return np.asarray((1 + moved) * UNIT32 + narrow + additions(keys, moved, UNIT32))

        def terms(narrow: float) -> Array:
            return np.asarray(path(narrow)[:, None] + UNIT32 * (distance + 2 * most[:, None]) + doubt)

        def lost(seen: Any, narrow: float, cast: float) -> Array:
            below = underflow(keys, moved, seen, LOST32 + cast, LOST32, path(narrow))
            return np.asarray(below * np.exp(most) / total)

        relative = normaliser_error((p * growth(terms(0.0))).sum(axis=1) / total, lost(keys, 0.0, 0.0))
        size = np.abs(self.v)
        error = (p * size * growth(terms(UNIT16))).sum(axis=1) / total + lost(size.sum(axis=1), UNIT16, LOST16)
        quotient = quotient_error(error, relative, np.abs(exact))
        return np.asarray(output_error(quotient, np.abs(exact), UNIT32, LOST32, UNIT16, LOST16))


def exp32(z: Array) -> Array:
    """e^z rounded to binary32, by way of float64: at most one number in 2^28 is rounded the other way."""
    return np.exp(z.astype(np.float64)).astype(np.float32)


def random_rows(cases: int, seed: int = 1) -> list[Rows]:
    """Rows of several lengths and tiles, with scores from nearly equal to far apart."""
    rng = np.random.default_rng(seed)
    shapes = [(2, 1, 2), (3, 1, 1), (4, 4, 2), (16, 8, 4), (24, 16, 7)]
    spreads = [0.1, 1.0, 8.0]
    each = max(1, cases // (len(shapes) * len(spreads)))
    rows = []
    for keys, width, tile in shapes:
        for spread in spreads:
            q, k, v = (rng.normal(size=size) for size in ((each, width), (each, keys, width), (each, keys)))
            rows.append(Rows(bf16.round(spread * q), bf16.round(k), bf16.round(v), float(np.float32(0.7)), tile))
    return rows


def casts_up(keys: int, cases: int, seed: int = 1) -> Rows:
    """All weights but the largest lie just above the midpoint of two numbers of bfloat16, and are rounded up in the
    numerator, but not in the normaliser; among many values one output is rounded up too.
    """
    rng = np.random.default_rng(seed)
    k = np.ones((cases, keys, 1))
    k[:, 0] = 0.0
    scale = float(np.float32(math.log(0.5 * (1 + 1.01 * UNIT16))))
    return Rows(np.ones((cases, 1)), k, bf16.round(rng.uniform(1.0, 1.1, (cases, keys))), scale, keys)


def shares(rows: Rows) -> Array:
    output, moved = rows.output()
    return np.asarray(np.abs(output - rows.exact()[2]) / rows.bound(moved))


def test_no_row_in_binary32_errs_by_more_than_its_bound() -> None:
    worst = [float(shares(rows).max()) for rows in random_rows(CASES)]
    assert max(worst) <= 1
    assert min(worst) > 0.1


def test_the_bound_of_a_row_is_reached() -> None:
    rows = casts_up(128, 3000)
    output, moved = rows.output()
    error, bound = np.abs(output - rows.exact()[2]), rows.bound(moved)
    assert (error <= bound).all()
    assert (error / bound).max() >= TIGHTNESS["binary32_attention"]
    # Without the cast of P, or of the output, the bound would be about half.
    size = np.abs(rows.exact()[2])
    assert (error > bound - 0.1 * UNIT16 * size).any()


def test_bounds_of_the_declared_arithmetic_hold_the_theorem() -> None:
    """refattn.bounds takes the same route with more in hand: it is not below the theorem's bound, nor far above."""
    rows = random_rows(60, seed=5)[6]
    keys = rows.k.shape[1]
    arithmetic = Arithmetic.flash("bf16").replace(tile=rows.tile, exp_ulps=0.5)
    spec = AttentionSpec(scale=rows.scale)
    _, moved = rows.output()
    bound = rows.bound(moved)
    for row, expected in enumerate(bound):
        q, k, v = rows.q[row].reshape(1, 1, 1, -1), rows.k[row][None, None], rows.v[row].reshape(1, 1, keys, 1)
        certified = float(attention(q, k, v, spec, arithmetic).out.certified[0, 0, 0, 0])
        assert expected * (1 - 1e-9) <= certified <= 1.01 * expected
