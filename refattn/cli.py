"""The command line: `refattn check`, `refattn replay`, `refattn explain`, `refattn properties`.

Exit codes: 0 the kernel conforms; 1 it does not; 2 an argument cannot be used; 3 the kernel cannot be imported or
called. Any other code is a fault of refattn. Errors are one sentence on stderr, reports go to stdout.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import Abort, Exit

import refattn
from refattn import options
from refattn.adapters import interpreting
from refattn.adapters.loading import FORM
from refattn.errors import InvalidValue, MissingExtra, RefattnError, TargetError
from refattn.suite.findings import Finding, Report, Verdict

CONFORMS, DOES_NOT_CONFORM, BAD_USAGE, NO_TARGET = range(4)
OWN_FAULT = 70
INTERRUPTED = 130


if TYPE_CHECKING:
    _Numbers = click.ParamType[float]
else:
    _Numbers = click.ParamType  # not generic in click 8.1


class _Number(_Numbers):
    """A number; any other value is an error such as "--seed is 'x': expected an integer of at least 0"."""

    def __init__(self, kind: type[int] | type[float], is_fit: Callable[[float], bool], name: str) -> None:
        self.kind, self.is_fit, self.name = kind, is_fit, name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Raises InvalidValue."""
        del ctx
        try:
            number = self.kind(value)
        except ValueError:
            number = None
        if number is None or not self.is_fit(number):
            option = "value" if param is None else param.opts[-1]
            raise InvalidValue(f"{option} is {str(value)!r}: expected {self.name}")
        return number


_SEED = _Number(int, lambda number: number >= 0, "an integer of at least 0")
_LENGTH = _Number(int, lambda number: number >= 1, "an integer of at least 1")
_SECONDS = _Number(float, lambda number: number > 0, "a positive number of seconds")


class _Command(click.Command):
    """A command that says which argument is one too many."""

    allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        extra = super().parse_args(ctx, args)
        if extra and not ctx.resilient_parsing:
            takes_kernel = any(isinstance(param, click.Argument) for param in self.params)
            expected = f"one kernel, {FORM}" if takes_kernel else "none"
            raise click.UsageError(f"argument {extra[0]!r} is one too many: expected {expected}")
        return extra


class _Commands(click.Group):
    """A group that suggests the closest command."""

    command_class = _Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise click.UsageError(
                f"command {name!r} is not known: {options.suggestion(name, self.list_commands(ctx))}"
            )
        return super().resolve_command(ctx, args)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line on the given arguments, by default the process's, and return the exit code."""
    try:
        code = cli.main(args=None if args is None else list(args), prog_name="refattn", standalone_mode=False)
    except click.ClickException as error:
        return _fail(_said_of(error), BAD_USAGE)
    except (TargetError, MissingExtra) as error:
        return _fail(str(error), NO_TARGET)
    except RefattnError as error:
        return _fail(str(error), BAD_USAGE)
    except (Abort, KeyboardInterrupt):
        return _fail("interrupted", INTERRUPTED)
    except Exit as leaving:
        return leaving.exit_code
    except Exception:
        traceback.print_exc()
        return _fail("this is a fault of refattn, not of the kernel; please report it with the lines above", OWN_FAULT)
    return code if isinstance(code, int) else CONFORMS


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(refattn.__version__, prog_name="refattn")
@click.pass_context
def cli(context: click.Context) -> None:
    """Is what an attention kernel returns right, to the last bit that its arithmetic allows?"""
    if context.invoked_subcommand is None:
        names = ", ".join(cli.list_commands(context))
        raise click.UsageError(f"no command is given: expected one of {names} (refattn --help says more)")


_on_cpu = click.option(
    "--triton-cpu", is_flag=True, help="Interpret the kernel's Triton code on the CPU, as a GPU would compute."
)


@cli.command()
@click.argument("target", default=options.DEFAULT_TARGET)
@click.option(
    "--call",
    metavar="CONVENTION",
    help="The convention, one that `refattn explain kernels` lists; guessed from the kernel by default.",
)
@click.option("--dtype", metavar="LIST", default=options.DEFAULT_FORMATS, show_default=True, help="Input formats.")
@click.option(
    "--claim",
    "claims",
    metavar="LIST",
    multiple=True,
    help="Changes to the usual claims of the convention, from left to right: NAME adds a claim, no-NAME takes one "
    "away, none takes all away. `refattn explain claims` lists them.",
)
@click.option("--profile", metavar="NAME", default="quick", show_default=True, help="How much to run: quick, ci, deep.")
@click.option(
    "--seed", type=_SEED, metavar="N", default=0, show_default=True, help="The same seed gives the same inputs."
)
@click.option(
    "--largest",
    type=_LENGTH,
    metavar="N",
    help="The longest sequence, for slow kernels; the report says what that leaves out.",
)
@click.option(
    "--time-limit",
    type=_SECONDS,
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    help="Seconds for one call of the kernel.",
)
@click.option("--only", metavar="PATTERN", help="Only properties whose name matches, such as 'values/*'.")
@click.option("--xfails", metavar="FILE", help="Expected failures, one a line: property, format and reason.")
@click.option("--json", "json_file", metavar="FILE", help="Write the report as JSON.")
@click.option("--junit", "junit_file", metavar="FILE", help="Write the report as JUnit XML.")
@click.option("--quiet", is_flag=True, help="Print failures and the closing line only.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first failure.")
@_on_cpu
@click.pass_context
def check(
    context: click.Context,
    target: str,
    call: str | None,
    dtype: str,
    claims: tuple[str, ...],
    profile: str,
    seed: int,
    largest: int | None,
    time_limit: float,
    only: str | None,
    xfails: str | None,
    json_file: str | None,
    junit_file: str | None,
    quiet: bool,
    fail_fast: bool,
    triton_cpu: bool,
) -> int:
    """Check the kernel TARGET, package.module:callable; without one, refattn's own tiled model in NumPy."""
    from refattn.reports import files, terminal
    from refattn.reports.progress import LiveProgress

    wanted = options.formats(dtype)
    options.one_of(profile, options.PROFILES, "--profile")
    outputs = [(path, name) for path, name in ((json_file, "--json"), (junit_file, "--junit")) if path is not None]
    for path, name in outputs:
        files.check_writable(path, name)
    kernel = _imported(target, context, triton_cpu)
    convention = options.convention(call, target, kernel)
    chosen = _claims(kernel, convention, claims)
    from refattn.suite import checking
    from refattn.suite.properties import ALL

    options.pattern(only, [row.name for row in ALL])
    progress = None if quiet else LiveProgress()
    with progress or nullcontext():
        report = checking.check(
            kernel,
            convention,
            wanted,
            chosen,
            profile,
            seed=seed,
            target_name=target,
            only=only,
            time_limit=time_limit,
            xfails=xfails,
            fail_fast=fail_fast,
            observer=progress,
            largest=largest,
        )
    for finding in report.findings if triton_cpu else ():
        finding.replay = finding.replay and f"{finding.replay} --triton-cpu"
    terminal.render(report, terminal.console(), quiet=quiet)
    for path, name in outputs:
        files.write(path, report.to_json() if name == "--json" else report.to_junit(), name)
    return _exit_code(report)


@cli.command()
@click.argument("target")
@click.option("--call", metavar="CONVENTION", help="The convention; guessed from the kernel by default.")
@click.option("--case", "token", metavar="TOKEN", required=True, help="The case, as a failure message gives it.")
@click.option(
    "--property", "name", metavar="NAME", help="The property; by default, that the values are in their bounds."
)
@click.option("--claim", "claims", metavar="LIST", multiple=True, help="As for `check`.")
@_on_cpu
@click.pass_context
def replay(
    context: click.Context,
    target: str,
    call: str | None,
    token: str,
    name: str | None,
    claims: tuple[str, ...],
    triton_cpu: bool,
) -> int:
    """Run one case of the kernel TARGET again."""
    from refattn.reports import terminal

    kernel = _imported(target, context, triton_cpu)
    convention = options.convention(call, target, kernel)
    chosen = _claims(kernel, convention, claims)
    from refattn.suite import replaying
    from refattn.suite.properties import ALL

    if name is not None:
        options.one_of(name, [row.name for row in ALL], "--property")
    finding = replaying.replay(kernel, convention, token, name, claims=chosen, target_name=target)
    terminal.render_finding(finding, terminal.console())
    return _exit_code_of([finding], fails=finding.fails)


@cli.command(short_help="Explain a word of a report, or show a page of the guide.")
@click.argument("topic", nargs=-1)
def explain(topic: tuple[str, ...]) -> None:
    """Explain TOPIC: a property, verdict, claim, stage, convention, or a page of the guide; without one, list them."""
    from refattn import guide
    from refattn.reports import terminal

    out = terminal.console()
    if topic:
        terminal.render_markdown(guide.explain(" ".join(topic)), out)
    else:
        terminal.render_topics(guide.contents(), guide.listed(), out)


@cli.command()
def properties() -> None:
    """List the properties, and the claims that each needs."""
    from refattn.reports import terminal
    from refattn.suite.properties import ALL

    terminal.render_properties(
        [(row.name, ", ".join(sorted(row.needs)), row.summary) for row in ALL], terminal.console()
    )


def _imported(target: str, context: click.Context, triton_cpu: bool) -> Any:
    """The kernel; with triton_cpu, its Triton code is interpreted until the command ends."""
    from refattn.adapters.loading import import_target

    if not triton_cpu:
        return import_target(target)
    for_any_thread = context.with_resource(interpreting.interpreted())
    return for_any_thread(import_target(target))


def _claims(kernel: Any, convention: str, changes: tuple[str, ...]) -> tuple[str, ...] | None:
    from refattn import adapters

    return options.claims(adapters.get(convention).default_claims(kernel), changes) if changes else None


def _exit_code(report: Report) -> int:
    return _exit_code_of(report.findings, fails=not report.conforms)


def _exit_code_of(findings: list[Finding], fails: bool) -> int:
    """0, 1, or 3 when every failure is a failed call and no value was checked."""
    if not fails:
        return CONFORMS
    bad = [finding for finding in findings if finding.bad]
    uncallable = all(finding.verdict is Verdict.ERROR and finding.kind == "call" for finding in bad)
    judged = any(finding.share is not None for finding in findings)
    return NO_TARGET if bad and uncallable and not judged else DOES_NOT_CONFORM


def _said_of(error: click.ClickException) -> str:
    """The error in one sentence: the argument, what is wrong and what is expected."""
    command = getattr(error, "ctx", None) and error.ctx.command  # type: ignore[attr-defined]
    if isinstance(error, click.NoSuchOption) and command is not None:
        known = [name for param in command.params for name in param.opts if name.startswith("--")]
        return f"option {error.option_name!r} is not known: {options.suggestion(error.option_name, known)}"
    if isinstance(error, click.BadOptionUsage):
        return f"option {error.option_name!r} has no value: expected one, as --help says"
    if isinstance(error, click.MissingParameter) and error.param is not None:
        text = getattr(error.param, "help", None) or f"a kernel, {FORM}"
        return f"{error.param.opts[-1]} is missing: expected {text[0].lower()}{text[1:].rstrip('.')}"
    return " ".join(error.format_message().split())


def _fail(message: str, code: int) -> int:
    click.echo(f"refattn: {message}", err=True)
    return code
