"""What differs between two reports of `refattn check --json`, but for the seconds.

    python -m tests.benchmarks.report_differences BEFORE AFTER

A property that was examined on more cases may show a larger share, and another worst element: that is printed as added.
Exits with 1 if anything else differs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# What a larger number of cases may change in a finding that still says the same.
OF_CASES = frozenset({"cases", "share", "rms_z", "max_z", "worst", "case"})
UNCOMPARED = frozenset({"seconds", "environment"})
Difference = tuple[str, Any, Any]


def differences(before: dict[str, Any], after: dict[str, Any]) -> tuple[list[Difference], list[Difference]]:
    """The differences of two documents, as (place, before, after): those that added cases explain, and the others."""
    added: list[Difference] = []
    other: list[Difference] = [
        (name, before.get(name), after.get(name))
        for name in sorted((before.keys() | after.keys()) - UNCOMPARED - {"findings"})
        if before.get(name) != after.get(name)
    ]
    old, new = (_by_place(document["findings"]) for document in (before, after))
    for place in [*old, *(place for place in new if place not in old)]:
        for difference in _of_finding(place, old.get(place), new.get(place)):
            more = _more_cases(old.get(place), new.get(place))
            (added if more and difference[0].rpartition(" ")[2] in OF_CASES else other).append(difference)
    if list(old) != [place for place in new if place in old]:
        other.append(("order of findings", list(old), list(new)))
    return added, other


def _by_place(findings: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {f"{finding['property']} in {finding['dtype']}": finding for finding in findings}


def _more_cases(old: dict[str, Any] | None, new: dict[str, Any] | None) -> bool:
    return old is not None and new is not None and new["cases"] > old["cases"]


def _of_finding(place: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> Iterator[Difference]:
    if old is None or new is None:
        yield place, None if old is None else old["verdict"], None if new is None else new["verdict"]
        return
    for name in sorted((old.keys() | new.keys()) - UNCOMPARED):
        if old.get(name) != new.get(name):
            yield f"{place}: {name}", old.get(name), new.get(name)


def main(arguments: Sequence[str]) -> int:
    """Print the differences of two files; 0 if added cases explain them all."""
    if len(arguments) != 2:
        print(f"expected two files, and got {len(arguments)}", file=sys.stderr)
        return 2
    added, other = differences(*(json.loads(Path(name).read_text(encoding="utf-8")) for name in arguments))
    for kind, listed in (("added", added), ("differs", other)):
        for place, old, new in listed:
            print(f"{kind}: {place}: {_short(old)} -> {_short(new)}")
    print(f"{len(other)} differences, and {len(added)} by added cases")
    return 1 if other else 0


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 160 else f"{text[:157]}..."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
