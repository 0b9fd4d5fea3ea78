"""The command line: `python -m refattn.learned train|eval|show`.

Exit codes: 0 done; 2 an argument, a text or a checkpoint cannot be used; 130 interrupted.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from refattn.errors import InvalidValue, RefattnError
from refattn.learned import checkpoint, tables
from refattn.learned.experiment import Experiment, Setting
from refattn.learned.methods import METHODS, Objective
from refattn.learned.methods.original import Original
from refattn.learned.training import Plan, Trainee
from refattn.reports import files, terminal

Command = TypeVar("Command", bound=Callable[..., Any])
BAD_USAGE, INTERRUPTED = 2, 130
# Methods trained by default; those that need a backward pass of the whole model are trained and shown only by name.
TRAINED = tuple(name for name in METHODS if METHODS[name].objective == "scales")
SHOWN = ("none", *TRAINED)
# Methods that start at random, as published, and then observe nothing.
RANDOM = tuple(name for name in METHODS if issubclass(METHODS[name], Original))


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line on the given arguments, by default the process's, and return the exit code."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        cli.main(args=None if args is None else list(args), prog_name="refattn.learned", standalone_mode=False)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except (click.ClickException, RefattnError) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"refattn.learned: {' '.join(message.split())}", err=True)
        return BAD_USAGE
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("refattn.learned: interrupted; the same command goes on from the last checkpoint", err=True)
        return INTERRUPTED
    return 0


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Block scales, learned or predicted, in the attention of a frozen language model."""


def _common(command: Command) -> Command:
    options = (
        click.option(
            "--model", required=True, metavar="NAME", help="A folder, a Python package with a GGUF file, or a hub name."
        ),
        click.option("--text", "texts", required=True, multiple=True, metavar="FILE", help="Text, gzipped or not."),
        click.option("--blocks", default="2", show_default=True, metavar="LIST", help="Numbers of blocks: 2,4,8."),
        click.option("--methods", metavar="LIST", help=f"Of {', '.join(METHODS)}; by default {', '.join(SHOWN)}."),
        click.option("--window", default=256, show_default=True, help="Tokens of a window."),
        click.option("--train", default=64, show_default=True, help="Windows to train on."),
        click.option("--test", default=32, show_default=True, help="Other windows, to test on."),
        click.option("--batch", default=4, show_default=True, help="Windows at a time."),
        click.option("--device", default="cpu", show_default=True, help="A torch device: cpu, cuda."),
        click.option("--out", default="learned-scales", show_default=True, metavar="FOLDER", help="For checkpoints."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@_common
@click.option("--objective", type=click.Choice(["scales", "lm"]), help="What to train on; each method has its own.")
@click.option(
    "--start",
    type=click.Choice(["random", "observed"]),
    help=f"Of {', '.join(RANDOM)}: random, which is published and the default, or the mean scales observed.",
)
@click.option("--observed", default=None, type=int, help="Windows to observe first; by default all to train on.")
@click.option("--steps", default=40, show_default=True, help="Steps of training after that.")
@click.option("--rate", default=0.02, show_default=True, help="Adam's rate at the start.")
@click.option("--seed", default=0, show_default=True, help="Of the start and of the order of windows.")
@click.option("--save-every", default=10, show_default=True, help="Steps between checkpoints.")
def train(
    objective: Objective | None,
    start: Literal["random", "observed"] | None,
    observed: int | None,
    steps: int,
    rate: float,
    seed: int,
    save_every: int,
    **common: Any,
) -> None:
    """Train the scales of methods, the model frozen; go on from checkpoints that are there.

    With the defaults a model of 135 million weights takes some 10 minutes a number of blocks on two processor cores,
    which share the model's forward passes if there are several. That is some 20 TFLOP, so that a GPU (--device cuda)
    should need a minute: longer windows, more text and --objective lm, whose backward passes cost more, are for that.
    """
    setting = _setting(**common)
    names = setting.methods or TRAINED
    observed_windows = setting.train if observed is None else observed
    for value, name in ((setting.train, "--train"), (observed_windows, "--observed"), (save_every, "--save-every")):
        _at_least(value, 1, name)
    _at_least(steps, 0, "--steps")
    if observed_windows > setting.train:
        raise InvalidValue(
            f"--observed is {observed_windows}: expected at most the {setting.train} windows to train on"
        )
    if start is not None and not any(name in RANDOM for name in names):
        raise InvalidValue(f"--start is {start!r}: expected --methods with one of {', '.join(RANDOM)}")
    experiment = _prepared(setting)

    def plan(name: str) -> Plan:
        chosen = objective or METHODS[name].objective or "scales"
        at_random = name in RANDOM and start != "observed"
        return Plan(chosen, 0 if at_random else observed_windows, steps, setting.batch, rate, seed)

    trainees = [experiment.trainee(name, blocks, plan(name)) for blocks in setting.blocks for name in names]
    folder = Path(setting.out)
    folder.mkdir(parents=True, exist_ok=True)
    for trainee in trainees:
        path = checkpoint.path_of(folder, trainee)
        if path.exists():
            checkpoint.read(path, trainee, experiment.origin, to_resume=True)
    with _bar("training", sum(one.total for one in trainees), sum(one.step for one in trainees)) as advance:

        def stepped(moved: Sequence[Trainee], loss: float) -> None:
            for trainee in moved:
                if trainee.done or trainee.step % save_every == 0:
                    checkpoint.write(checkpoint.path_of(folder, trainee), trainee, experiment.origin)
            advance(len(moved), f"{moved[0].name} {moved[0].blocks.blocks} {'' if loss != loss else f'{loss:.4f}'}")

        experiment.train(trainees, stepped)
    terminal.console().print(tables.training(trainees, folder))


@cli.command(name="eval")
@_common
@click.option("--json", "json_file", metavar="FILE", help="Write the results as JSON.")
def evaluate(json_file: str | None, **common: Any) -> None:
    """Perplexity and certificate of methods, from their checkpoints, beside the exact model's."""
    setting = _setting(**common)
    if json_file is not None:
        files.check_writable(json_file, "--json")
    experiment = _prepared(setting)
    names = setting.methods or SHOWN
    methods = [(experiment.loaded(name, blocks, Path(setting.out))) for blocks in setting.blocks for name in names]
    with _bar("evaluating", (len(methods) + 1) * setting.test) as advance:
        report = experiment.evaluate(methods, lambda count: advance(count, ""))
    out = terminal.console()
    out.print(tables.results(report))
    if json_file is not None:
        files.write(json_file, json.dumps(report.as_dict(), indent=1), "--json")


@cli.command()
@_common
@click.option("--results", required=True, multiple=True, metavar="FILE", help="What eval --json wrote, once or more.")
@click.option("--pictures", default="pictures", show_default=True, metavar="FOLDER", help="For PNGs and index.html.")
def show(results: tuple[str, ...], pictures: str, **common: Any) -> None:
    """Pictures of methods, with the first number of blocks on one window, and of the results of eval."""
    from refattn.learned import exports

    setting = _setting(**common)
    report = exports.joined([exports.read_report(path) for path in results])
    experiment = _prepared(setting)
    names = setting.methods or SHOWN
    methods = {name: experiment.loaded(name, setting.blocks[0], Path(setting.out)).methods for name in names}
    for path in exports.write(experiment, methods, report, Path(pictures)):
        click.echo(path)


def _setting(**common: Any) -> Setting:
    """The options that all commands share, checked. Raises InvalidValue."""
    blocks = tuple(_number(part) for part in common.pop("blocks").split(",") if part.strip())
    names = tuple(part.strip() for part in (common.pop("methods") or "").split(",") if part.strip())
    for name in names:
        if name not in METHODS:
            raise InvalidValue(f"--methods has {name!r}: expected some of {', '.join(METHODS)}")
    for option in ("window", "test", "batch"):
        _at_least(common[option], 1, f"--{option}")
    _at_least(common["train"], 0, "--train")
    if not blocks:
        raise InvalidValue("--blocks is empty: expected numbers of blocks, such as 2,4,8")
    for number in blocks:
        _at_least(number, 1, "--blocks")
        if number > common["window"]:
            raise InvalidValue(f"--blocks has {number}: expected at most a block for each of {common['window']} keys")
    return Setting(blocks=blocks, methods=names, **common)


def _prepared(setting: Setting) -> Experiment:
    """The model and the windows; loading prints errors only."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Experiment.prepared(setting)


@contextlib.contextmanager
def _bar(title: str, total: int, done: int = 0) -> Iterator[Callable[[int, str], None]]:
    """A progress bar on stderr, silent when that is no terminal."""
    console = terminal.console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total, completed=done)

        def advance(count: int, what: str) -> None:
            progress.update(task, advance=count, description=f"{title} {what}".strip())

        yield advance


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidValue(f"--blocks has {text.strip()!r}: expected whole numbers, such as 2,4,8") from None


def _at_least(value: int, least: int, name: str) -> None:
    if value < least:
        raise InvalidValue(f"{name} is {value}: expected at least {least}")
