"""How much is tried: quick while developing, more in CI, deep overnight."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Profile:
    """How much to try.

    seeds of each seeded regime; Hypothesis examples of each search and of each shrinking; the longest sequence, and
    twice as many keys where there are few queries. `largest` limits both.
    """

    name: str
    seeds: int
    examples: int
    shrinks: int
    longest: int
    largest: int | None = None

    @property
    def most_keys(self) -> int:
        """The most keys of a case with few queries, and columns of a softmax."""
        return 2 * self.longest if self.largest is None else self.largest

    def within(self, largest: int | None) -> Profile:
        """The same for kernels so slow that no sequence may be longer than `largest`."""
        return self if largest is None else replace(self, longest=min(self.longest, largest), largest=largest)


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("quick", seeds=1, examples=30, shrinks=150, longest=2048),
        Profile("ci", seeds=3, examples=150, shrinks=400, longest=4096),
        Profile("deep", seeds=12, examples=1500, shrinks=1500, longest=16384),
    )
}
