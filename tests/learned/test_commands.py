"""The commands that train, evaluate and show, on a tiny model; bad arguments get one clear sentence."""

from __future__ import annotations

import gzip
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.extras import needed, skip_without

torch = needed("torch")
skip_without("transformers", "safetensors", "matplotlib")

from refattn.learned import cli, exports, language_models, text
from refattn.learned.methods import METHODS
from refattn.learned.training import learning
from tests.support.language_models import WINDOW, Letters, language, text_file

SMALL = ("--window", str(WINDOW), "--train", "6", "--test", "4", "--batch", "2")
PNGS = ("attention", "certificate", "entropy", "perplexity")


@pytest.fixture(autouse=True)
def _the_model_is_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_models, "load", lambda name: language())


def run(command: str, folder: Path, *more: str) -> int:
    path = folder / "text.txt"
    if not path.exists():
        text_file(folder)
    return cli.main([command, "--model", "tiny", "--text", str(path), "--out", str(folder / "out"), *SMALL, *more])


def tensors(checkpoint: bytes) -> bytes:
    """A report without its seconds."""
    return checkpoint[8 + int.from_bytes(checkpoint[:8], "little") :]


def refusal(capsys: pytest.CaptureFixture[str], code: int) -> str:
    """The sentence on stderr of a command that refused."""
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


def test_train_then_evaluate_then_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learners = ("--methods", ",".join(learning()))
    every = ("--methods", ",".join(name for name in METHODS if name != "exact"))
    assert run("train", tmp_path, "--blocks", "2,3", "--steps", "2", *learners) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{name}-{blocks}.safetensors" for name in learning() for blocks in (2, 3)
    }
    json_file = tmp_path / "results.json"
    assert run("eval", tmp_path, "--blocks", "2,3", "--json", str(json_file), *every) == 0
    printed = capsys.readouterr().out
    report = json.loads(json_file.read_text(encoding="utf-8"))
    assert [(each["method"], each["blocks"]) for each in report["results"]] == [
        ("exact", 1),
        *((name, blocks) for blocks in (2, 3) for name in METHODS if name != "exact"),
    ]
    assert report["tokens"] == 4 * (WINDOW - 1)
    for each in report["results"]:
        assert each["method"] in printed
        leaks = max(value for layer in each["layers"] for value in layer["leak"])
        assert (leaks > 0) == (each["method"] == "original")
        off = max(value for layer in each["layers"] for value in layer["row_sum_error"])
        # Scales are float32: each is off by a few units, and their sum by no more than that of so many.
        assert (off <= 32 * 2.0**-24) == (each["method"] not in ("none", "original", "original-sealed"))
        assert len(each["layers"]) == 2
        assert all(len(values) == 4 for layer in each["layers"] for values in layer.values())
    pictures = tmp_path / "pictures"
    again = tmp_path / "again.json"
    assert run("eval", tmp_path, "--blocks", "4", "--methods", "none", "--json", str(again)) == 0
    options = (
        "--blocks",
        "2",
        *every,
        "--results",
        str(json_file),
        "--results",
        str(again),
        "--pictures",
        str(pictures),
    )
    assert run("show", tmp_path, *options) == 0
    assert {path.name for path in pictures.iterdir()} == {f"{name}.png" for name in PNGS} | {"index.html"}
    page = (pictures / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(PNGS)
    assert "http" not in page
    assert page.count("<td>none</td>") == 3
    foreign = {**report, "tokens": 1}
    again.write_text(json.dumps(foreign), encoding="utf-8")
    assert "of different models or texts" in refusal(capsys, run("show", tmp_path, *options))


def test_results_are_joined_in_the_order_of_methods_and_the_later_ones_count() -> None:
    def report(*results: tuple[str, int, float]) -> dict:
        rows = [{"method": name, "blocks": blocks, "perplexity": perplexity} for name, blocks, perplexity in results]
        return {"tokens": 9, "results": [{"method": "exact", "blocks": 1, "perplexity": 5.0}, *rows]}

    parts = [report(("moments", 4, 6.0), ("moments", 2, 7.0)), report(("static", 2, 8.0), ("moments", 2, 9.0))]
    joined = exports.joined(parts)["results"]
    assert [(result["method"], result["blocks"], result["perplexity"]) for result in joined] == [
        ("exact", 1, 5.0),
        ("static", 2, 8.0),
        ("moments", 2, 9.0),
        ("moments", 4, 6.0),
    ]


def test_training_again_goes_on_or_has_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--methods", "moments+learned", "--steps", "3", "--save-every", "1")
    assert run("train", tmp_path, *options) == 0
    path = tmp_path / "out" / "moments+learned-2.safetensors"
    data = path.read_bytes()
    assert run("train", tmp_path, *options) == 0
    assert path.read_bytes() == data
    capsys.readouterr()
    refused = refusal(capsys, run("train", tmp_path, *options, "--rate", "0.5"))
    assert "has plan" in refused
    assert path.read_bytes() == data


def test_a_start_is_said_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--methods", "original", "--steps", "1")
    assert run("train", tmp_path, *options, "--start", "observed", "--observed", "4") == 0
    path = tmp_path / "out" / "original-2.safetensors"
    data = path.read_bytes()
    capsys.readouterr()
    for other in ((), ("--start", "random"), ("--start", "observed")):
        refused = refusal(capsys, run("train", tmp_path, *options, *other))
        assert "has plan" in refused
        assert "'observed': 4" in refused
        assert f"'observed': {6 if 'observed' in other else 0}" in refused
        assert path.read_bytes() == data
    path.unlink()
    assert run("train", tmp_path, *options) == 0
    random = path.read_bytes()
    path.unlink()
    assert run("train", tmp_path, *options, "--start", "random") == 0
    assert tensors(path.read_bytes()) == tensors(random) != tensors(data)


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("train", ("--blocks", "25"), "--blocks has 25: expected at most a block for each of 24 keys"),
        ("train", ("--blocks", "0"), "--blocks is 0: expected at least 1"),
        ("train", ("--blocks", "two"), "--blocks has 'two': expected whole numbers"),
        ("train", ("--blocks", ","), "--blocks is empty"),
        ("train", ("--methods", "learned"), "--methods has 'learned': expected some of exact"),
        ("train", ("--methods", "none"), "method 'none' has nothing to learn"),
        ("train", ("--objective", "scales", "--methods", "original"), "objective is 'scales': expected 'lm'"),
        ("train", ("--observed", "7"), "--observed is 7: expected at most the 6 windows"),
        ("train", ("--start", "observed"), "--start is 'observed': expected --methods with one of original, original-"),
        ("train", ("--start", "zero"), "'zero' is not one of 'random', 'observed'"),
        ("train", ("--train", "9999"), "tokens: expected at least"),
        ("train", ("--train", "0"), "--train is 0: expected at least 1"),
        ("train", ("--window", "1", "--blocks", "1"), "window is 1: expected at least 2 tokens"),
        ("train", ("--device", "abacus"), "device 'abacus' cannot be used"),
        ("train", ("--steps", "-1"), "--steps is -1: expected at least 0"),
        ("eval", ("--methods", "static"), "does not exist: expected one that `train --out` left"),
        ("eval", ("--methods", "none", "--json", "nowhere/results.json"), "its folder does not exist"),
        ("show", ("--results", "nothing.json"), "--results 'nothing.json' cannot be read"),
    ],
)
def test_what_cannot_be_used_is_named(
    command: str, options: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = refusal(capsys, run(command, tmp_path, *options))
    assert message in sentence
    assert not (tmp_path / "out").exists()


def test_an_interruption_is_said_and_leaves_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--methods", "moments+learned", "--steps", "4", "--save-every", "1")
    from refattn.learned import training

    descend = training._descend_on_scales
    calls = []

    def interrupted(*arguments: object) -> float:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return descend(*arguments)

    monkeypatch.setattr(training, "_descend_on_scales", interrupted)
    assert run("train", tmp_path, *options) == 130
    assert "goes on from the last checkpoint" in capsys.readouterr().err
    path = tmp_path / "out" / "moments+learned-2.safetensors"
    assert run("train", tmp_path, *options) == 0
    resumed = path.read_bytes()
    path.unlink()
    assert run("train", tmp_path, *options) == 0
    assert tensors(resumed) == tensors(path.read_bytes())


def test_windows_to_test_on_have_no_token_of_those_to_train_on(tmp_path: Path) -> None:
    class Places(Letters):
        def __call__(self, text: str, **options: object) -> dict[str, list[int]]:
            del options
            return {"input_ids": list(range(len(text)))}

    paths = []
    for part in "ab":
        (tmp_path / part).mkdir()
        paths.append(str(text_file(tmp_path / part, 20 * WINDOW + 5)))
    for train, test in ((6, 4), (1, 1), (30, 10), (0, 4), (2, 38), (38, 2)):
        windows = text.windows(Places(), paths, WINDOW, train, test)
        assert (len(windows.train), len(windows.test)) == (train, test)
        halves = [windows.train[: (train + 1) // 2], windows.test[: (test + 1) // 2]]
        every = torch.cat(halves).flatten().tolist()
        assert len(every) == len(set(every))
        assert all(b - a == 1 for window in windows.train for a, b in itertools.pairwise(window))


def test_compressed_text_is_read(tmp_path: Path) -> None:
    path = text_file(tmp_path)
    packed = tmp_path / "text.dict.dz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert text.read(str(packed)) == path.read_text(encoding="utf-8")
    packed.write_bytes(gzip.compress(path.read_bytes())[:-20])
    with pytest.raises(ValueError, match="cannot be read: expected a text file"):
        text.read(str(packed))


def test_a_model_that_is_not_there_is_named_in_a_sentence(tmp_path: Path) -> None:
    code = (
        "from refattn.learned import cli; import sys; "
        "sys.exit(cli.main(['eval', '--model', sys.argv[1], '--text', 'x', '--methods', 'none']))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("refattn.learned: model ")
    assert "holds 0 GGUF files: expected one, or a config.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_its_libraries_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from refattn.learned import __main__ as module

    monkeypatch.setattr(module, "NEEDED", ("torch", "no_such_library"))
    assert module.main() == 3
    assert "no_such_library is not installed: expected pip install 'refattn[learned]'" in capsys.readouterr().err
