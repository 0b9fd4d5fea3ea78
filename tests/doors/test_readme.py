"""The examples of README.md do what it says: its Python runs, its commands print what stands below them.

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
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.extras import skip_without

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
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
            exec(compile(script, f"README.md, block {number}", "exec"), namespace)
            continue
        example = doctest.DocTestParser().get_doctest(script, namespace, f"block {number}", "README.md", 0)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        report: list[str] = []
        runner.run(example, out=report.append, clear_globs=False)
        assert not report, "".join(report)
        namespace.update(example.globs)


TEXT = README.read_text(encoding="utf-8") if README.exists() else ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that README shows, and the tests' own."""
    path = tmp_path_factory.mktemp("readme")
    for name, body in files_of(TEXT).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(body, encoding="utf-8")
    (path / "tests").symlink_to(ROOT / "tests", target_is_directory=True)
    return path


def test_the_python_of_readme_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    run_scripts(scripts_of(TEXT))


@pytest.mark.parametrize("command", commands_of(TEXT), ids=lambda command: command.line[:60])
def test_a_command_of_readme_prints_what_it_says(command: Command, folder: Path) -> None:
    for library in ("torch", "triton"):
        if library in command.line:
            skip_without(library)
    if command.line.startswith("refattn "):
        line = f"{sys.executable} -m {command.line}"
    else:
        line = re.sub(r"^python\b", sys.executable, command.line)
        line = re.sub(r"^pytest\b", f"{sys.executable} -m pytest", line)
    paths = [str(folder), str(ROOT), str(ROOT / "gpu"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "120", "NO_COLOR": "1"}
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
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


def test_an_example_that_does_not_do_what_it_says_is_caught() -> None:
    with pytest.raises(AssertionError, match="Expected"):
        run_scripts(["a = 1\n", ">>> a + 1\n3\n"])
    with pytest.raises(ZeroDivisionError):
        run_scripts(["1 / 0\n"])
    assert prints("one ... two\n...\nend", "one and two  \nmore\nlines\nend\n")
    assert not prints("one ... two\n...\nend", "one and three\nmore\nend")
    assert not prints("one", "one more")
