"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from refattn.errors import InvalidValue


def check_writable(path: str | os.PathLike[str], name: str) -> None:
    """Raises InvalidValue, naming the argument, if `write` is bound to fail; to be called before a long run."""
    target = Path(path)
    if target.is_dir():
        raise InvalidValue(f"{name} {os.fspath(path)!r} is a folder: expected a file to write")
    if not target.absolute().parent.is_dir():
        raise InvalidValue(f"{name} {os.fspath(path)!r} cannot be written: its folder does not exist")


def write(path: str | os.PathLike[str], text: str, name: str) -> None:
    """Write UTF-8 text, so that at any moment the file holds either its old content or all of the text.

    A pipe or a device is written to directly. Raises InvalidValue, naming the argument.
    """
    target = Path(path).resolve()
    try:
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            target.write_text(text, encoding="utf-8")
            return
        _replace(target, text)
    except OSError as error:
        raise InvalidValue(f"{name} {os.fspath(path)!r} cannot be written: {error.strerror}") from error


def _replace(target: Path, text: str) -> None:
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
