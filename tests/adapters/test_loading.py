"""A target that cannot be imported gives one sentence that says why."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from refattn.adapters.loading import import_target
from refattn.errors import TargetError

MODULE = """
class Kernels:
    class Inner:
        @staticmethod
        def attention(q, k, v):
            return "inner"

def tiled_attention(q, k, v):
    return "tiled"

block_size = 64
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    (tmp_path / "kernels_of_mine.py").write_text(MODULE)
    (tmp_path / "package_of_mine").mkdir()
    (tmp_path / "package_of_mine" / "__init__.py").write_text("")
    (tmp_path / "package_of_mine" / "broken.py").write_text("import a_module_that_is_missing\n")
    (tmp_path / "package_of_mine" / "failing.py").write_text("raise RuntimeError('no device\\nmore text')\n")
    (tmp_path / "package_of_mine" / "leaving.py").write_text("raise SystemExit(3)\n")
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith(("kernels_of_mine", "package_of_mine"))]:
        del sys.modules[name]


@pytest.mark.usefixtures("here")
def test_a_function_of_a_module_in_the_current_directory_is_found() -> None:
    assert import_target("kernels_of_mine:tiled_attention")(1, 2, 3) == "tiled"


@pytest.mark.usefixtures("here")
def test_dotted_attributes_are_followed() -> None:
    assert import_target("kernels_of_mine:Kernels.Inner.attention")(1, 2, 3) == "inner"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("kernels_of_mine", ["malformed", "package.module:callable"]),
        ("kernels_of_mine:", ["malformed"]),
        (":tiled_attention", ["malformed"]),
        ("kernels_of_mine.py:tiled attention", ["malformed"]),
        ("kernels_of_yours:attention", ["'kernels_of_yours' is not found"]),
        ("package_of_mine.absent:attention", ["'package_of_mine.absent' is not found"]),
        ("package_of_mine.broken:attention", ["ModuleNotFoundError", "a_module_that_is_missing"]),
        ("package_of_mine.failing:attention", ["RuntimeError", "no device"]),
        ("package_of_mine.leaving:attention", ["SystemExit"]),
        ("kernels_of_mine:tiled_atention", ["no attribute 'tiled_atention'", "did you mean tiled_attention?"]),
        ("kernels_of_mine:Kernels.Iner.attention", ["'kernels_of_mine:Kernels'", "did you mean Inner?"]),
        ("kernels_of_mine:zzzzzz", ["no attribute 'zzzzzz'"]),
        ("kernels_of_mine:block_size", ["int", "cannot be called"]),
    ],
)
def test_each_failure_is_one_sentence_that_names_what_was_wrong(target: str, parts: list[str]) -> None:
    with pytest.raises(TargetError) as caught:
        import_target(target)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_target_that_is_not_a_string_is_refused() -> None:
    with pytest.raises(TargetError, match="the kernel's name is int"):
        import_target(3)  # type: ignore[arg-type]
