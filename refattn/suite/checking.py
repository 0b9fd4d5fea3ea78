"""Run properties on a target and report: what the command line, the pytest plugin and `refattn.check` share."""

from __future__ import annotations

import fnmatch
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any, Protocol

from refattn import adapters
from refattn.adapters import Adapter
from refattn.adapters.softmax import Softmax
from refattn.adapters.target import Target
from refattn.contract.arithmetic import Arithmetic
from refattn.errors import InvalidType, InvalidValue
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.inputs.replay import case_of
from refattn.inputs.replay import token as token_of
from refattn.numbers import formats
from refattn.numbers.formats import Format
from refattn.suite import xfails as expectations
from refattn.suite.drawing import SMALL, left_out
from refattn.suite.findings import Finding, Report, Verdict
from refattn.suite.properties import ALL, PROFILES, Context, Observation, Profile, Property
from refattn.suite.xfails import ExpectedFailure

LONGEST_TOKEN = 3000
# What is said of a property of exact kernels where the kernel approximates.
REPLACED = "replaced by approximation/*, as the kernel declares an approximation"
UNKNOWN = "nothing is known of it, as the kernel declares an approximation of the output"


class Observer(Protocol):
    """Whoever watches a run."""

    def started(self, total_steps: int, dtype: str) -> None:
        """A run of so many properties over all formats begins."""

    def stepped(self, property: str, dtype: str) -> None:
        """A property is about to be examined."""

    def found(self, finding: Finding) -> None:
        """A property has been examined."""

    def finished(self, report: Report) -> None:
        """The run is over."""


def properties() -> tuple[Property, ...]:
    """Every property, in the order in which they run."""
    return ALL


def applicable(adapter: Adapter, kernel: Callable[..., Any]) -> tuple[Property, ...]:
    """The properties of what the convention computes, in order.

    Those of approximations are among them if the kernel declares one, and then replace those of exact kernels.
    """
    approximates = adapter.approximation(kernel) is not None
    return tuple(
        prop
        for prop in ALL
        if adapter.quantity in (prop.quantity, "any") and (approximates or prop.of != "approximate")
    )


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
    kernel; xfails is a file of expected failures; fail_fast stops at the first failure; largest is for kernels that are
    slow, interpreted ones for instance: no sequence is longer, and the report says what was left out for that. The same
    seed gives the same inputs.

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
    chosen = _chosen(only, applicable(adapter, kernel))
    expected = () if xfails is None else expectations.load(xfails)
    given = None if arithmetic is None else dict.fromkeys(wanted, arithmetic)
    target = Target(kernel, adapter, claims=claims, arithmetics=given, time_limit=time_limit)
    scale = whole.within(_checked_largest(largest, target.claims))
    report = Report(
        target=target_name or _name_of(kernel),
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
    contexts = [_context(target, format, scale, seed) for format in wanted]
    if left := dict.fromkeys(name for context in contexts for name in left_out(context, whole, adapter.quantity)):
        report.warnings.append(f"no sequence is longer than {largest}, which leaves out {', '.join(left)}")
    if observer is not None:
        observer.started(len(chosen) * len(contexts), ", ".join(report.dtypes))
    for stage in sorted({prop.stage for prop in chosen}):
        for context in contexts:
            for prop in (each for each in chosen if each.stage == stage):
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


def examine(prop: Property, context: Context, report: Report) -> Finding:
    """One property in one format."""
    dtype = context.format.name
    missing = sorted(prop.needs - context.claims)
    gating = prop.gate is None or prop.gate in context.claims
    if missing:
        reason = f"the kernel does not claim {', '.join(missing)}"
        return Finding(prop.name, dtype, Verdict.NOT_CLAIMED, reason, kind=prop.kind, gating=gating)
    if prop.of == "exact" and context.approximation is not None:
        reason = UNKNOWN if prop.needs & {"backward", "lse"} else REPLACED
        return Finding(prop.name, dtype, Verdict.REPLACED, reason, kind=prop.kind, gating=gating)
    start = time.perf_counter()
    seen = prop.examine(context)
    if seen.verdict is Verdict.NOT_RUN:
        return Finding(prop.name, dtype, seen.verdict, seen.message, kind=prop.kind, gating=gating)
    if seen.cases == 0:
        reason = "the claims and the arithmetic leave no case to examine"
        if context.profile.largest is not None:
            reason = f"the claims, the arithmetic and lengths of at most {context.profile.largest} leave no case"
        return Finding(prop.name, dtype, Verdict.NOT_CLAIMED, reason, kind=prop.kind, gating=gating)
    finding = finding_of(prop, dtype, seen, gating)
    finding.seconds = time.perf_counter() - start
    if finding.bad and seen.case is not None:
        finding.replay = replay_line(report, prop.name, seen.case)
    return finding


def finding_of(prop: Property, dtype: str, seen: Observation, gating: bool) -> Finding:
    """An observation as a finding."""
    return Finding(
        property=prop.name,
        dtype=dtype,
        verdict=seen.verdict,
        message=seen.message,
        share=seen.share,
        rms_z=seen.rms_z,
        max_z=seen.max_z,
        worst=seen.worst,
        case=seen.case,
        kind=seen.kind or prop.kind,
        gating=gating or seen.verdict is Verdict.ERROR,
        cases=seen.cases,
    )


def replay_line(report: Report, name: str, case: AttentionCase | SoftmaxCase) -> str:
    """The command that looks at one case again, or at its property if the case is too long for a command line."""
    if len(token_of(case)) > LONGEST_TOKEN:
        options = f"--dtype {case.format.name} --only {name} --profile {report.profile} --seed {report.seed}"
        options += "" if report.largest is None else f" --largest {report.largest}"
        return f"refattn check {report.target} --call {report.call} {options}"
    return f"refattn replay {report.target} --call {report.call} --property {name} --case '{token_of(case)}'"


def replay(
    kernel: Callable[..., Any],
    call: str,
    token: str,
    property: str | None = None,
    *,
    claims: Iterable[str] | None = None,
    arithmetic: Arithmetic | None = None,
    target_name: str | None = None,
    time_limit: float = 30.0,
) -> Finding:
    """Look at one case again, through one property (by default, whether its values lie within their bounds).

    Raises InvalidValue when the token or the property's name is of no use.
    """
    adapter = adapters.get(call)
    kind: Any = SoftmaxCase if adapter.quantity == "softmax" else AttentionCase
    case: AttentionCase | SoftmaxCase = case_of(token, kind)
    approximates = adapter.approximation(kernel) is not None
    fallback = {"softmax": "softmax/values", "gradients": "gradients/search"}.get(adapter.quantity, "values/search")
    prop = _named(property or ("approximation/values" if approximates else fallback))
    if prop.of == ("exact" if approximates else "approximate"):
        whom = "declares" if approximates else "does not declare"
        raise InvalidValue(f"property is {prop.name!r}, and the kernel {whom} an approximation: expected another one")
    given = None if arithmetic is None else {case.format: arithmetic}
    target = Target(kernel, adapter, claims=claims, arithmetics=given, time_limit=time_limit)
    context = _context(target, case.format, PROFILES["quick"], 0)
    seen = prop.observe(context, case).on(case)
    finding = finding_of(prop, case.format.name, seen, prop.gate is None or prop.gate in target.claims)
    report = Report(target_name or _name_of(kernel), call, (case.format.name,), (), "quick", 0)
    return replace(finding, replay=replay_line(report, prop.name, case))


def environment() -> dict[str, str]:
    """Versions and machine, for whoever reads the report elsewhere; only libraries already loaded are named."""
    found = {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
    }
    for name in ("refattn", "numpy", "ml_dtypes", "mpmath", "hypothesis", "torch", "jax", "triton"):
        if name in sys.modules:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                found[name] = str(getattr(sys.modules[name], "__version__", "unknown"))
    return found


def _context(target: Target, format: Format, profile: Profile, seed: int) -> Context:
    adapter = target.adapter
    kind = adapter.kind(target.kernel) if isinstance(adapter, Softmax) else "softmax"
    return Context(
        target,
        format,
        profile,
        seed,
        alignment=adapter.alignment,
        queries=adapter.queries,
        lse_gradient=adapter.lse_gradient,
        softmax_kind=kind,
    )


def _finished(
    report: Report, expected: Sequence[ExpectedFailure], whole: bool, start: float, observer: Observer | None
) -> Report:
    report.seconds = time.perf_counter() - start
    expectations.apply(report, expected, whole)
    if observer is not None:
        observer.finished(report)
    return report


def _checked_largest(largest: Any, claims: frozenset[str]) -> int | None:
    """The largest length, if there are cases for it: those that Hypothesis draws, of whole tiles if the kernel asks."""
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
            names = ", ".join(each.name for each in known)
            raise InvalidValue(f"dtypes holds {format.name}: expected some of {names} for this kernel")
    return wanted


def _profile(name: str) -> Profile:
    if name not in PROFILES:
        raise InvalidValue(f"profile is {name!r}: expected one of {', '.join(PROFILES)}")
    return PROFILES[name]


def _chosen(only: str | None, fitting: Sequence[Property]) -> list[Property]:
    if only is None:
        return list(fitting)
    if not isinstance(only, str):
        raise InvalidType(f"only is {only!r}: expected a pattern or None")
    chosen = [prop for prop in fitting if fnmatch.fnmatchcase(prop.name, only)]
    if not chosen:
        raise InvalidValue(f"only is {only!r}: no property of this calling convention matches it")
    return chosen


def _named(name: str) -> Property:
    for prop in ALL:
        if prop.name == name:
            return prop
    raise InvalidValue(f"property is {name!r}: expected one of {', '.join(prop.name for prop in ALL)}")


def _name_of(kernel: Any) -> str:
    module = getattr(kernel, "__module__", None) or type(kernel).__module__
    name = getattr(kernel, "__qualname__", None) or type(kernel).__qualname__
    return f"{module}:{name}"
