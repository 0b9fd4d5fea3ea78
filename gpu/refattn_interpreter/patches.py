"""Changes of other modules that can be undone, last first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MISSING = object()


class Patches:
    """Attributes and items that were replaced, and what they were."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Replace an attribute, or add it."""
        # Of a class its own attribute, not an inherited one: a static method is seen as such only there.
        before = vars(owner).get(name, _MISSING) if hasattr(owner, "__dict__") else getattr(owner, name)
        setattr(owner, name, value)
        self._undo.append(
            (lambda: delattr(owner, name)) if before is _MISSING else lambda: setattr(owner, name, before)
        )

    def set_item(self, mapping: Any, key: Any, value: Any) -> None:
        """Replace an item, or add it."""
        before = mapping.get(key, _MISSING)
        mapping[key] = value
        self._undo.append(lambda: mapping.pop(key, None) if before is _MISSING else mapping.__setitem__(key, before))

    def restore(self) -> None:
        """Put everything back."""
        while self._undo:
            self._undo.pop()()
