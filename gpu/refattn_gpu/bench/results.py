"""The file of results: what was measured, on what, and what was not.

schema      1
interpreted true where nothing was timed; such files are no results
date        when the first row was begun, UTC
command     the arguments of the first call
machine     device, driver, clocks as the program found them (refattn_gpu.bench.machine)
after       driver and clocks after the last row
versions    of Python, torch, triton, CUDA, ...
sources     a digest of the kernels' files, and the commit if known
checks      a list of what the suite said, one entry for a kernel, a format and a pattern of properties: target, format,
            pattern, profile, verdict ("conforms", "fails", "unfinished", "not claimed"), seconds, properties (how many
            were examined), failures (messages)
rows        a list, one entry a row:
  name, group, tier, target, sizes, unit
  status    "measured", "run" (interpreted), or why not
  suite     the suite's verdict on the target when the row was begun
  share     largest error of the very call that was timed, as a share of its certified bound
  entries   by contender: "ms" (median), "low_ms", "high_ms" (quantiles 0.2 and 0.8), "samples", "rate" (in the row's
            unit); or "unavailable" and torch's reason
  ratios    by rival: our rate divided by theirs
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from refattn.errors import InvalidValue

SCHEMA = 1
MEASURED, RUN = "measured", "run"
# What must be as it was for a file to be continued.
SAME = ("interpreted", ("machine", "device"), ("sources", "kernels"), ("versions", "torch"), ("versions", "triton"))


class Results:
    """The contents of one file, written after each change."""

    def __init__(self, path: Path, contents: dict[str, Any]) -> None:
        self.path = path
        self.contents = contents

    @classmethod
    def opened(cls, path: Path, header: dict[str, Any]) -> Results:
        """A new file, or one to be continued. Raises InvalidValue where it was made elsewhere or of other kernels."""
        if not path.exists():
            return cls(path, {"schema": SCHEMA, **header, "checks": [], "rows": []})
        contents = loaded(path)
        for key in SAME:
            before, now = (reached(each, key) for each in (contents, header))
            if before != now:
                name = key if isinstance(key, str) else ".".join(key)
                raise InvalidValue(f"{path} has {name} {before!r}, and here it is {now!r}: expected another --output")
        return cls(path, contents)

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """By name."""
        return {row["name"]: row for row in self.contents["rows"]}

    @property
    def checks(self) -> list[dict[str, Any]]:
        """What the suite said."""
        checks: list[dict[str, Any]] = self.contents["checks"]
        return checks

    def put_row(self, row: dict[str, Any]) -> None:
        """In place of one of the same name."""
        self.contents["rows"] = [*(each for each in self.contents["rows"] if each["name"] != row["name"]), row]
        self.save()

    def put_check(self, check: dict[str, Any]) -> None:
        """In place of one of the same part."""
        part = ("target", "format", "pattern")
        others = [each for each in self.checks if any(each[name] != check[name] for name in part)]
        self.contents["checks"] = [*others, check]
        self.save()

    def save(self) -> None:
        """Whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.contents, indent=1) + "\n")
        partial.replace(self.path)


def loaded(path: Path) -> dict[str, Any]:
    """The contents of a file. Raises InvalidValue where they are not results."""
    try:
        contents: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidValue(f"{path} cannot be read as results: {error}") from None
    if not isinstance(contents, dict) or contents.get("schema") != SCHEMA:
        raise InvalidValue(f"{path} is not a file of results of schema {SCHEMA}: expected one of refattn_gpu.bench")
    return contents


def reached(contents: dict[str, Any], key: str | tuple[str, str]) -> Any:
    """The value of a key, or of a key of a dictionary."""
    return contents.get(key) if isinstance(key, str) else contents.get(key[0], {}).get(key[1])


def usual_name(header: dict[str, Any], number: int) -> str:
    """<device>-<date>.json, lower case with hyphens; from the second of a day on, of other kernels say, numbered."""
    device = re.sub(r"[^a-z0-9]+", "-", header["machine"]["device"].lower()).strip("-")
    return f"{device}-{header['date'][:10]}{f'-{number}' if number > 1 else ''}.json"


def usual(folder: Path, header: dict[str, Any]) -> Results:
    """The first file of the usual name that is new or can be continued."""
    number = 1
    while True:
        with suppress(InvalidValue):
            return Results.opened(folder / usual_name(header, number), header)
        number += 1
