"""Leaks through each field of a spec that hides keys: what that field alone hides has an influence all the same.

Each kernel claims the feature of the field and no other, so that nothing else hides keys from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from refattn.contract.features import TABLE
from refattn.contract.spec import AttentionSpec
from refattn.contract.visibility import Visibility
from refattn.models import TiledAttention as Tiled
from tests.mutants.registry import register
from tests.mutants.samples import sample

BASE = ("cross", "ragged", "empty_rows")
# Little enough to lie within bf16's bounds while the values are ordinary.
LITTLE = 2.0**-12
PLAIN = AttentionSpec()
QUERIES, KEYS = 70, 150
# How a field hides keys that is not used, or hides nothing, in the samples of its feature.
VALUES = {
    "bias": np.where(np.arange(KEYS) % 3 == 0, -np.inf, 0.5),
    "kept_queries": np.arange(QUERIES) % 3 > 0,
    "buckets": (np.arange(QUERIES) % 3, np.arange(KEYS) % 3),
}


def hidden_by(field: str, spec: AttentionSpec, shape: Any) -> Any:
    """hidden(i, j), (B, H, Nq, Nk): what is seen without that field of the spec, and not with it."""
    without = spec.replace(**{field: getattr(PLAIN, field)})
    return Visibility.of(without, shape).full() & ~Visibility.of(spec, shape).full()


def leaking(field: str, weight: float) -> type[Tiled]:
    """A kernel that adds to each output the values of the keys that the field hides, all with one weight."""

    class Leaking(Tiled):
        def forward(self, problem: Any) -> Any:
            out, lse = Tiled.forward(self, problem)
            hidden = hidden_by(field, problem.spec, problem.shape)
            values = self.load_values(problem, slice(0, problem.shape.keys))
            leak = self.visible_product(np.where(hidden, weight, 0.0), values, hidden, problem.stages.accumulator)
            return problem.stages.output(out + leak), lse

    return Leaking


def with_nan(field: str, case: Any) -> Any:
    """The case with NaN in the value of the key that the field hides from most queries."""
    v = case.v.copy()
    v[:, :, int(hidden_by(field, case.spec, case.shape).sum(axis=(0, 1, 2)).argmax())] = np.nan
    return case.replace(v=v)


def _register(id: str, feature: str, field: str, weight: float, *claims: str) -> None:
    def change(case: Any) -> Any:
        found = case.replace(spec=case.spec.replace(**{field: VALUES[field]})) if field in VALUES else case
        return found if weight else with_nan(field, found)

    kernel = leaking(field, weight)
    kernel.__name__ = f"{field}_leaks_{'a_little' if weight else 'nan'}"
    kernel.__doc__ = f"Of keys that {field} hides, the values are added with weight {weight:g}."
    shows = sample(feature, queries=QUERIES, keys=KEYS, change=change)
    register(id, "leak", "", kernel, kernel, Tiled, base=BASE, claims=(feature, *claims), shows=shows)


LEAKS = [(row.name, field) for row in TABLE if row.hides is not None for field in row.fields]
for number, (feature, field) in enumerate(LEAKS):
    _register(f"P{170 + 2 * number}", feature, field, LITTLE)
    _register(f"P{171 + 2 * number}", feature, field, 0.0, "nan_safe")
