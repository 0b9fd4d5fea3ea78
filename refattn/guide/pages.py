"""The pages of the guide, their sections, and the lists in them that are derived from code."""

from __future__ import annotations

import functools
import re
from importlib import resources

from refattn.guide import lists

# The line of a page that a list replaces when the page is shown.
_LIST = re.compile(r"^\*`refattn explain [\w-]+` lists (.+) here\.\*$", re.MULTILINE)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_NAMES = re.compile(r"`([^`]+)`")
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
# The pages in the order in which to read them; the rest follow by name.
_ORDER = ("getting-started", "kernels", "claims", "arithmetic", "verdicts", "properties", "regimes", "ci", "triton")
_LAST = ("figures", "changes")


@functools.cache
def names() -> tuple[str, ...]:
    """The names of the pages."""
    folder = resources.files("refattn.guide")
    known = sorted(entry.name.removesuffix(".md") for entry in folder.iterdir() if entry.name.endswith(".md"))
    middle = [name for name in known if name not in _ORDER + _LAST]
    return (*_ORDER, *middle, *_LAST)


@functools.cache
def page(name: str) -> str:
    """The page in Markdown, with its lists."""
    text = (resources.files("refattn.guide") / f"{name}.md").read_text(encoding="utf-8")
    return _LIST.sub(lambda line: lists.BY_NAME[line[1]](), text)


def title(name: str) -> str:
    """The page's title."""
    heading = _HEADING.search(page(name))
    return heading[2] if heading else name


@functools.cache
def sections(name: str) -> dict[str, str]:
    """The sections of a page that explain names, by name; their headings are such as "## `suspect`"."""
    text = page(name)
    fences = [fence.span() for fence in _FENCE.finditer(text)]
    headings = [
        heading
        for heading in _HEADING.finditer(text)
        if not any(start < heading.start() < end for start, end in fences)
    ]
    by_name: dict[str, str] = {}
    for heading in headings:
        level = len(heading[1])
        ends = [other.start() for other in headings if other.start() > heading.start() and len(other[1]) <= level]
        if level > 1 and heading[2].startswith("`"):
            body = text[heading.start() : min(ends, default=len(text))]
            by_name |= dict.fromkeys(_NAMES.findall(heading[2]), body)
    return by_name
