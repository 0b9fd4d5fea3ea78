"""Text for a language model: windows of tokens for training and, disjoint from them, for testing."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refattn.errors import InvalidValue

# The first bytes of a gzip file, also of a dictionary for dictd (.dz).
GZIP = b"\x1f\x8b"


class Windows(NamedTuple):
    """Windows of tokens, (count, window) each, that have no token in common."""

    train: Tensor
    test: Tensor


def read(path: str) -> str:
    """A text file in UTF-8, compressed by gzip or not. Raises InvalidValue."""
    try:
        data = Path(path).read_bytes()
        data = gzip.decompress(data) if data.startswith(GZIP) else data
    except (OSError, EOFError) as error:
        raise InvalidValue(f"text {path!r} cannot be read: expected a text file, gzipped or not ({error})") from error
    return data.decode("utf-8", errors="replace")


def windows(tokenizer: Any, paths: Sequence[str], window: int, train: int, test: int) -> Windows:
    """Windows from the texts, as many of each: training windows from each text's beginning, test windows from its end,
    spread evenly over the last half.

    Raises InvalidValue where a text is shorter than the windows that it must yield.
    """
    if window < 2:
        raise InvalidValue(f"window is {window}: expected at least 2 tokens, one to predict the other from")
    if not paths:
        raise InvalidValue("text is missing: expected a file or more")
    shares = [_share(train, part, len(paths)) for part in range(len(paths))]
    tests = [_share(test, part, len(paths)) for part in range(len(paths))]
    cuts = [
        _cut(_tokens(tokenizer, path), path, window, trained, tested)
        for path, trained, tested in zip(paths, shares, tests, strict=True)
    ]
    return Windows(torch.cat([cut.train for cut in cuts]), torch.cat([cut.test for cut in cuts]))


def _tokens(tokenizer: Any, path: str) -> Tensor:
    return torch.tensor(tokenizer(read(path), verbose=False)["input_ids"], dtype=torch.long)


def _cut(tokens: Tensor, path: str, window: int, train: int, test: int) -> Windows:
    count = len(tokens) // window
    if count < train + test or count == 0:
        raise InvalidValue(
            f"text {path!r} has {len(tokens)} tokens: expected at least {max(train + test, 1) * window}, "
            f"{train} windows of {window} to train on and {test} others to test on"
        )
    whole = tokens[: count * window].view(count, window)
    # The last window is always a test window, and the first test window lies past all training windows.
    first = max(train, count // 2) if count - max(train, count // 2) >= test else count - test
    tested = torch.linspace(first, count - 1, max(test, 1)).round().long()[:test]
    return Windows(whole[torch.linspace(0, first - 1, max(train, 1)).round().long()[:train]], whole[tested])


def _share(total: int, part: int, parts: int) -> int:
    """The share of `total` of one part, as a whole number."""
    return total // parts + (part < total % parts)
