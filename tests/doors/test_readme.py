"""The examples of README.md and of the guide: their Python runs, their commands print what stands below them.

A block of Python whose first line is a comment with a file's name is that file; the others run in order, in one
namespace, as doctests if they have prompts. In a block of console, lines that begin with "$ " are commands, and the
lines below are what they print, where "..." stands for anything; a command ends with "# exit code N" if N is not 0.
Commands that install something, or run these very tests, are not run.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.extras import skip_without

ROOT = Path(__file__).parents[2]
PAGES = {
    "README": ROOT / "README.md",
    **{path.stem: path for path in sorted((ROOT / "refattn" / "guide").glob("*.md"))},
}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE_NAME = re.compile(r"\A# ([\w/]+\.\w+)\n")
_EXIT_CODE = re.compile(r"\s+# exit code (\d+)$")
_INSTALLS = re.compile(r"^(python -m )?pip install|^git clone|^tox\b|^bash \.ci/run|^(python -m )?pytest -n\b")


class Command(NamedTuple):
    """One command of a console block, and what it prints."""

    line: str
    code: int
    output: str


def blocks(text: str, language: str) -> list[str]:
    return [body for kind, body in _BLOCK.findall(text) if kind == language]


def files_of(text: str) -> dict[str, str]:
    files = {}
    for body in blocks(text, "python"):
        name = _FILE_NAME.match(body)
        if name:
            files[name[1]] = body
    return files


def scripts_of(text: str) -> list[str]:
    return [body for body in blocks(text, "python") if not _FILE_NAME.match(body)]


def commands_of(text: str) -> list[Command]:
    commands = []
    for body in blocks(text, "console"):
        for entry in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            line, _, output = entry.partition("\n")
            code = _EXIT_CODE.search(line)
            commands.append(Command(_EXIT_CODE.sub("", line), int(code[1]) if code else 0, output.strip()))
    return [command for command in commands if not _INSTALLS.match(command.line)]


def prints(expected: str, printed: str) -> bool:
    """True if the text is as expected, "..." standing for anything and blanks at ends of lines for nothing."""
    pattern = ".*".join(re.escape(part) for part in _bare(expected).split("..."))
    return re.fullmatch(pattern, _bare(printed), re.DOTALL) is not None


def _bare(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def run_scripts(scripts: list[str]) -> None:
    namespace: dict[str, object] = {"__name__": "readme"}
    for number, script in enumerate(scripts):
        if ">>>" not in script:
            exec(compile(script, f"block {number}", "exec"), namespace)
            continue
        example = doctest.DocTestParser().get_doctest(script, namespace, f"block {number}", "a page", 0)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        report: list[str] = []
        runner.run(example, out=report.append, clear_globs=False)
        assert not report, "".join(report)
        namespace.update(example.globs)


TEXTS = {name: path.read_text(encoding="utf-8") for name, path in PAGES.items()}
COMMANDS = [
    pytest.param(page, command, id=f"{page}: {command.line[:60]}")
    for page, text in TEXTS.items()
    for command in commands_of(text)
]


def libraries_of(command: Command, files: dict[str, str]) -> set[str]:
    """The libraries that a command names, or that the file imports that it names."""
    named = [command.line, *(body for name, body in files.items() if name.removesuffix(".py") in command.line)]
    return {library for library in ("torch", "triton", "jax") for text in named if re.search(rf"\b{library}\b", text)}


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Path]:
    """A folder with the files that a page shows, and the tests' own."""

    def filled(page: str) -> Path:
        for name, body in files_of(TEXTS[page]).items():
            (tmp_path / name).write_text(body, encoding="utf-8")
        (tmp_path / "tests").symlink_to(ROOT / "tests", target_is_directory=True)
        return tmp_path

    return filled


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if scripts_of(text)])
def test_the_python_of_a_page_runs(page: str, folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(page)
    monkeypatch.chdir(path)
    monkeypatch.syspath_prepend(str(path))
    run_scripts(scripts_of(TEXTS[page]))


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_prints_what_its_page_says(page: str, command: Command, folder: Callable[[str], Path]) -> None:
    skip_without(*sorted(libraries_of(command, files_of(TEXTS[page]))))
    path = folder(page)
    if command.line.startswith("refattn "):
        line = f"{sys.executable} -m {command.line}"
    else:
        line = re.sub(r"^python\b", sys.executable, command.line)
        line = re.sub(r"^pytest\b", f"{sys.executable} -m pytest", line)
    paths = [str(path), str(ROOT), str(ROOT / "gpu"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "120", "NO_COLOR": "1"}
    done = subprocess.run(
        ["bash", "-c", line], cwd=path, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == command.code, done.stdout + done.stderr
    if command.output:
        assert prints(command.output, done.stdout) or prints(command.output, done.stdout + done.stderr), done.stdout


# The reader of examples itself

SAMPLE = """
```console
$ pip install refattn
$ refattn check x:y   # exit code 1
one ... two
...
end
$ true
```
```python
# kernels.py
def kernel(): ...
```
```python
a = 1
```
```python
>>> a + 1
2
```
"""


def test_examples_are_found_and_told_apart() -> None:
    assert commands_of(SAMPLE) == [Command("refattn check x:y", 1, "one ... two\n...\nend"), Command("true", 0, "")]
    assert list(files_of(SAMPLE)) == ["kernels.py"]
    assert scripts_of(SAMPLE) == ["a = 1\n", ">>> a + 1\n2\n"]
    run_scripts(scripts_of(SAMPLE))


def test_what_a_command_needs_is_told_from_the_file_that_it_checks() -> None:
    files = {"mine.py": "import jax.numpy as jnp\n", "other.py": "import torch\n"}
    assert libraries_of(Command("refattn check mine:kernel", 0, ""), files) == {"jax"}
    assert libraries_of(Command("refattn check torch:softmax", 0, ""), files) == {"torch"}
    assert libraries_of(Command("refattn check refattn.models:naive", 0, ""), files) == set()


def test_an_example_that_does_not_do_what_it_says_is_caught() -> None:
    with pytest.raises(AssertionError, match="Expected"):
        run_scripts(["a = 1\n", ">>> a + 1\n3\n"])
    with pytest.raises(ZeroDivisionError):
        run_scripts(["1 / 0\n"])
    assert prints("one ... two\n...\nend", "one and two  \nmore\nlines\nend\n")
    assert not prints("one ... two\n...\nend", "one and three\nmore\nend")
    assert not prints("one", "one more")
