"""The committed table of what the compiler makes of the kernels, gpu/compiled.txt: written, read and compared.

It holds the head dimension that is used most, for each target, and more of it for sm_90; all of the configurations take
too long for every change. Figures are those of one release of Triton, which the first line names.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

from refattn.errors import InvalidValue
from refattn_gpu.ahead_of_time.compiling import Row

TABLE = Path(__file__).parents[2] / "compiled.txt"
HEADING = "Triton "
# The targets whose 16-bit products must be formed by these: anything else is several times slower.
WANTED = {"sm_90": "wgmma", "sm_100": "tcgen05.mma", "gfx942": "v_mfma", "sm_80": "mma.sync"}
FASTEST = "attention_forward"


def in_table(configuration: str, target: str) -> bool:
    """True for what the table holds, by name."""
    plain, bf16 = configuration.endswith("plain"), "bf16" in configuration
    if "d=" not in configuration:
        return target == "sm_90" and "fp32" not in configuration
    if target == "sm_90":
        common = "d=64" in configuration and (bf16 or plain)
        return common or ("d=128" in configuration and bf16 and configuration.startswith("attention") and plain)
    return "d=64" in configuration and plain


def line(row: Row) -> str:
    """One line of the table; "-" where the target's tools do not say."""
    numbers = (
        f"{'-' if row.registers is None else row.registers:>4} registers {row.shared_bytes:>7} shared "
        f"{'-' if row.spilled_bytes is None else row.spilled_bytes:>5} spilled"
    )
    return f"{row.configuration:<58} {row.target:<7} {row.matrix_instruction:<12} {numbers}"


def render(rows: Iterable[Row], version: str) -> str:
    """The file's text, in the order of names and targets."""
    return "".join(f"{text}\n" for text in (f"{HEADING}{version}", *sorted(map(line, rows))))


def differences(rows: Iterable[Row], version: str, committed: str) -> list[str]:
    """Lines of a diff from the committed text; none if it is of another release of Triton. Raises InvalidValue."""
    release = release_of(committed)
    if release != version:
        return []
    lines = difflib.unified_diff(
        committed.splitlines(), render(rows, version).splitlines(), "committed", "compiled", lineterm="", n=0
    )
    return list(lines)


def release_of(committed: str) -> str:
    """The release of Triton that a table's figures are of. Raises InvalidValue."""
    first = committed.partition("\n")[0]
    if not first.startswith(HEADING):
        raise InvalidValue(f"table begins with {first!r}: expected {HEADING!r} and a version")
    return first.removeprefix(HEADING)


def slow(rows: Sequence[Row]) -> list[str]:
    """What must hold whatever the release: that matrix units form the forward pass's products of 16-bit numbers."""
    return [
        f"{row.configuration} for {row.target} uses {row.matrix_instruction}: expected {WANTED[row.target]}"
        for row in rows
        if row.configuration.startswith(FASTEST)
        and "fp32" not in row.configuration
        and row.matrix_instruction != WANTED[row.target]
    ]
