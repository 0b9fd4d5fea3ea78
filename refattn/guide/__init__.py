"""The guide: Markdown pages for people, and an explanation of every name that refattn prints.

A topic is a page (refattn/guide/*.md), a section of a page whose heading has a name in backticks, or a name from code:
a property, a claim, a stage of Arithmetic, a convention, a number format, a profile, a regime. The text about a name
from code is derived from that code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from refattn.errors import InvalidValue
from refattn.guide import entries, pages

__all__ = ["contents", "explain", "listed", "topics"]

# Kinds with too many names for the list of topics, and the page that lists them.
_ON_PAGES = {"regime": "regimes"}


def topics() -> dict[str, tuple[str, ...]]:
    """The topics by kind, in the order in which they are shown."""
    sections = tuple(dict.fromkeys(name for page in pages.names() for name in pages.sections(page)))
    return {"page": pages.names(), **{kind.name: kind.topics() for kind in entries.KINDS}, "word": sections}


def listed() -> list[tuple[str, str]]:
    """(kind in the plural, its names in a row) for each kind of topic but pages."""
    known = topics()
    named = {name for kind, names in known.items() if kind != "word" for name in names}
    known["word"] = tuple(name for name in known["word"] if name not in named)
    rows = [(kind, names) for kind, names in known.items() if kind != "page" and names]
    return [
        (_plural(kind), f"`refattn explain {_ON_PAGES[kind]}` lists them" if kind in _ON_PAGES else ", ".join(names))
        for kind, names in rows
    ]


def contents() -> list[tuple[str, str]]:
    """(name, title) of each page."""
    return [(name, pages.title(name)) for name in pages.names()]


def explain(topic: str) -> str:
    """The guide's text about a topic, in Markdown; about all topics of that name, if there are several.

    Blanks and hyphens count as underscores. Raises InvalidValue, with a suggestion, when no topic has the name.
    """
    name = _known(topic)
    parts = [pages.page(name)] if name in pages.names() else []
    parts += [kind.explain(name) for kind in entries.KINDS if name in kind.topics()]
    if name not in pages.names():
        sections = [pages.sections(page).get(name, "") for page in pages.names()]
        parts += [text for text in sections if text and text not in parts]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _known(topic: str) -> str:
    """The topic as the guide spells it."""
    every = list(dict.fromkeys(name for names in topics().values() for name in names))
    spelled = {_key(name): name for name in reversed(every)}
    if _key(topic) in spelled:
        return spelled[_key(topic)]
    near = _holding(_key(topic), spelled) or difflib.get_close_matches(_key(topic), spelled, n=3)
    hint = f"did you mean {' or '.join(spelled[key] for key in near)}?" if near else "`refattn explain` lists them"
    raise InvalidValue(f"topic {topic!r} is not known: {hint}")


def _key(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _holding(part: str, keys: Iterable[str]) -> list[str]:
    """The first three names that contain the word, if it has three letters or more."""
    return [key for key in keys if part in key][:3] if len(part) > 2 else []


def _plural(kind: str) -> str:
    return {"property": "properties"}.get(kind, f"{kind}s")
