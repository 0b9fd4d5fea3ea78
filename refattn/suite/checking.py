"""Run properties on a target and report: what the command line, the pytest plugin and `refattn.check` share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from refattn import adapters
from refattn.adapters.target import Target
from refattn.contract.arithmetic import Arithmetic
from refattn.errors import InvalidType, InvalidValue
from refattn.numbers import formats
from refattn.numbers.formats import Format
from refattn.suite import xfails as expectations
from refattn.suite.choosing import applicable, matching
from refattn.suite.context import context_of
from refattn.suite.drawing import SMALL, left_out
from refattn.suite.environment import environment, name_of
from refattn.suite.examining import examine
from refattn.suite.findings import Finding, Report
from refattn.suite.profile import PROFILES, Profile
from refattn.suite.xfails import ExpectedFailure


class Observer(Protocol):
    """Callbacks of a run."""

    def started(self, total_steps: int, dtype: str) -> None:
        """A run of so many properties over all formats begins."""

    def stepped(self, property: str, dtype: str) -> None:
        """A property is about to be examined."""

    def found(self, finding: Finding) -> None:
        """A property has been examined."""

    def finished(self, report: Report) -> None:
        """The run is over."""


def check(
    kernel: Callable[..., Any],
    call: str | None = None,
    dtypes: Iterable[Any] = ("bfloat16",),
    claims: Iterable[str] | None = None,
    profile: str = "quick",
    arithmetic: Arithmetic | None = None,
    seed: int = 0,
    *,
    target_name: str | None = None,
    only: str | None = None,
    time_limit: float = 30.0,
    xfails: str | None = None,
    fail_fast: bool = False,
    observer: Observer | None = None,
    library: str | None = None,
    largest: int | None = None,
) -> Report:
    """Examine every property that the kernel's claims make applicable, cheap and sharp ones first.

    call is the calling convention (refattn.adapters); None guesses it from the kernel. dtypes are the input formats;
    claims replaces what the convention usually claims; arithmetic replaces the contract usual for the convention, for
    every format; only keeps the properties whose name matches the pattern; time_limit is in seconds per call of the
    kernel; xfails is a file of expected failures; fail_fast stops at the first failure; largest limits every
    sequence, for slow kernels such as interpreted ones; the report says what that leaves out. The same seed gives the
    same inputs.

    Raises InvalidValue or InvalidType for arguments that cannot be used; whatever the kernel does is reported instead.
    """
    if not callable(kernel):
        raise InvalidType(f"kernel is {type(kernel).__name__}: expected a callable")
    if arithmetic is not None and not isinstance(arithmetic, Arithmetic):
        raise InvalidType(f"arithmetic is {type(arithmetic).__name__}: expected an Arithmetic or None")
    _check_seed(seed)
    call = adapters.guess("", kernel) if call is None else call
    adapter = adapters.get(call, library)
    wanted = _formats(dtypes, adapter.formats(kernel))
    whole = _profile(profile)
    chosen = matching(only, applicable(adapter, kernel))
    expected = () if xfails is None else expectations.load(xfails)
    arithmetics = None if arithmetic is None else dict.fromkeys(wanted, arithmetic)
    target = Target(kernel, adapter, claims=claims, arithmetics=arithmetics, time_limit=time_limit)
    limited = whole.within(_checked_largest(largest, target.claims))
    report = Report(
        target=target_name or name_of(kernel),
        call=call,
        dtypes=tuple(format.name for format in wanted),
        claims=tuple(sorted(target.claims)),
        profile=profile,
        seed=seed,
        largest=largest,
        arithmetics={format.name: target.arithmetic(format).name for format in wanted},
        environment=environment(),
    )
    start = time.perf_counter()
    contexts = [context_of(target, format, limited, seed) for format in wanted]
    if left := dict.fromkeys(name for context in contexts for name in left_out(context, whole, adapter.quantity)):
        report.warnings.append(f"no sequence is longer than {largest}, which leaves out {', '.join(left)}")
    if observer is not None:
        observer.started(len(chosen) * len(contexts), ", ".join(report.dtypes))
    for stage in sorted({prop.stage for prop in chosen}):
        for context in contexts:
            for prop in (prop for prop in chosen if prop.stage == stage):
                if observer is not None:
                    observer.stepped(prop.name, context.format.name)
                finding = examine(prop, context, report)
                expectations.mark(finding, expected)
                report.findings.append(finding)
                if observer is not None:
                    observer.found(finding)
                if fail_fast and finding.fails:
                    return _finished(report, expected, False, start, observer)
    return _finished(report, expected, only is None, start, observer)


def _finished(
    report: Report, expected: Sequence[ExpectedFailure], whole: bool, start: float, observer: Observer | None
) -> Report:
    report.seconds = time.perf_counter() - start
    expectations.apply(report, expected, whole)
    if observer is not None:
        observer.finished(report)
    return report


def _checked_largest(largest: Any, claims: frozenset[str]) -> int | None:
    """The largest length, if cases that Hypothesis draws fit it, of whole tiles where the kernel takes no others."""
    if largest is None:
        return None
    if isinstance(largest, bool) or not isinstance(largest, int):
        raise InvalidType(f"largest is {largest!r}: expected an integer or None")
    least = SMALL.long if "ragged" in claims else SMALL.multiple
    if largest < least:
        raise InvalidValue(f"largest is {largest}: expected at least {least} for this kernel")
    return largest


def _check_seed(seed: Any) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InvalidType(f"seed is {seed!r}: expected an integer of at least 0")
    if seed < 0:
        raise InvalidValue(f"seed is {seed!r}: expected an integer of at least 0")


def _formats(dtypes: Iterable[Any], known: tuple[Format, ...]) -> list[Format]:
    if isinstance(dtypes, str):
        dtypes = (dtypes,)
    if not isinstance(dtypes, Iterable):
        raise InvalidType(f"dtypes is {dtypes!r}: expected a collection of formats")
    wanted = list(dict.fromkeys(formats.get(dtype) for dtype in dtypes))
    if not wanted:
        raise InvalidValue("dtypes is empty: expected at least one input format")
    for format in wanted:
        if format not in known:
            names = ", ".join(accepted.name for accepted in known)
            raise InvalidValue(f"dtypes holds {format.name}: expected some of {names} for this kernel")
    return wanted


def _profile(name: str) -> Profile:
    if name not in PROFILES:
        raise InvalidValue(f"profile is {name!r}: expected one of {', '.join(PROFILES)}")
    return PROFILES[name]
