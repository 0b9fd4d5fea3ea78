"""The oldest versions that pyproject.toml allows are those that tox's `minimum` installs."""

from __future__ import annotations

import configparser
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
# What the tests themselves need, of `dev`.
TO_RUN_TESTS = ("pytest", "pytest-xdist")


def version_of(requirement: str, operator: str) -> tuple[str, Version]:
    """A requirement's name and its one version, which must be given with this operator."""
    parsed = Requirement(requirement)
    (specifier,) = parsed.specifier
    assert specifier.operator == operator, requirement
    return parsed.name, Version(specifier.version)


def floors() -> dict[str, Version]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    dev = [line for line in extras["dev"] if Requirement(line).name in TO_RUN_TESTS]
    return dict(version_of(line, ">=") for line in (*project["dependencies"], *extras["arb"], *dev))


def pinned() -> dict[str, Version]:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    return dict(version_of(line, "==") for line in tox["testenv:minimum"]["deps"].split())


def test_tox_tries_exactly_the_oldest_versions() -> None:
    assert pinned() == floors()
