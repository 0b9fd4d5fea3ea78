"""Contract: the table of what the compiler makes of the kernels is compared by line, and slow products are found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from refattn.errors import InvalidValue
from tests.support.extras import skip_without

skip_without("torch", "triton")

from refattn_gpu.ahead_of_time import TARGETS, Row, by_pair, table
from refattn_gpu.ahead_of_time import __main__ as command

FORWARD = Row("attention_forward bf16 d=64 plain", "sm_90", "wgmma", 40960, 168, 0)
AMD = Row("attention_forward fp16 d=64 plain", "gfx942", "v_mfma", 40960, None, None)
ROWS = [FORWARD, AMD]
VERSION = "9.8.7"


def test_the_same_rows_do_not_differ_whatever_their_order() -> None:
    committed = table.render(ROWS, VERSION)
    assert table.differences(ROWS[::-1], VERSION, committed) == []
    assert committed.startswith("Triton 9.8.7\n")
    assert "   - registers   40960 shared     - spilled" in committed


@pytest.mark.parametrize(
    "changed",
    [replace(FORWARD, registers=255), replace(FORWARD, spilled_bytes=8), replace(FORWARD, shared_bytes=1), None],
    ids=["registers", "spills", "shared memory", "missing"],
)
def test_a_figure_that_differs_is_shown(changed: Row | None) -> None:
    rows = [AMD] if changed is None else [AMD, changed]
    lines = table.differences(rows, VERSION, table.render(ROWS, VERSION))
    assert f"-{table.line(FORWARD)}" in lines
    assert changed is None or f"+{table.line(changed)}" in lines


def test_figures_of_another_release_are_not_compared() -> None:
    assert table.differences([AMD], "9.8.8", table.render(ROWS, VERSION)) == []
    with pytest.raises(InvalidValue, match="table begins with 'nothing': expected 'Triton '"):
        table.release_of("nothing")


@pytest.mark.parametrize("row", ROWS)
def test_products_outside_the_matrix_unit_are_found(row: Row) -> None:
    assert table.slow(ROWS) == []
    slow = replace(row, matrix_instruction="none")
    assert table.slow([slow]) == [f"{row.configuration} for {row.target} uses none: expected {row.matrix_instruction}"]
    assert table.slow([replace(slow, configuration="attention_forward fp32 d=64 plain")]) == []


def test_the_table_has_what_must_compile_everywhere() -> None:
    pairs = set(by_pair())
    for kernel in ("attention_forward", "attention_backward_keys", "attention_backward_queries"):
        for element in ("bf16", "fp16", "fp32"):
            name = f"{kernel} {element} d=64 plain"
            assert all((name, target) in pairs and table.in_table(name, target) for target in TARGETS)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], Any]:
    """Stands in for the compiler: what it makes of a pair, a row by default."""
    made: dict[tuple[str, str], Any] = {}

    def compiled_all(pairs: Any, named: Any) -> Any:
        assert named is by_pair
        for name, target in pairs:
            row = Row(name, target, table.WANTED[target], 1, 2, 0)
            yield (name, target), made.get((name, target), row)

    monkeypatch.setattr(command, "compiled_all", compiled_all)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    return made


def test_what_was_written_is_found_again(compiler: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "compiled.txt"
    assert command.main(["--write", "--table", str(file)]) == 0
    assert command.main(["--check", "--table", str(file)]) == 0
    pair = ("attention_forward bf16 d=64 plain", "sm_80")
    compiler[pair] = Row(*pair, "mma.sync", 1, 2, 64)
    assert command.main(["--check", "--table", str(file)]) == 1
    assert f"+{table.line(compiler[pair])}" in capsys.readouterr().err
    file.write_text(file.read_text().replace("Triton ", "Triton 0.", 1))
    assert command.main(["--check", "--table", str(file)]) == 0
    assert "figures are not compared" in capsys.readouterr().out


def test_what_does_not_compile_is_said_and_nothing_written(
    compiler: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "compiled.txt"
    compiler["attention_backward_keys fp32 d=64 plain", "gfx942"] = "OutOfResources: shared memory"
    assert command.main(["--write", "--table", str(file)]) == 1
    assert not file.exists()
    assert "attention_backward_keys fp32 d=64 plain gfx942: OutOfResources: shared memory" in capsys.readouterr().err
    assert command.main(["--check", "--table", str(file)]) == 1
    assert "cannot be read" in capsys.readouterr().err
