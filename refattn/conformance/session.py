"""The state of a pytest run on one kernel: its tests, their reports, and what is written at the end.

Findings travel with pytest's own reports, so that they arrive whole under pytest-xdist too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import pytest

from refattn import options
from refattn.errors import InvalidValue, RefattnError
from refattn.reports import files, json, merging, terminal
from refattn.suite import xfails
from refattn.suite.findings import Finding, Report

_REPORT_JSON = pytest.StashKey[str]()
_REPORT_ATTRIBUTE = "refattn_report"


@dataclass(frozen=True)
class Check:
    """One property in one format."""

    property: str
    dtype: str
    conformance: Conformance
    stash: pytest.Stash

    def run(self) -> None:
        """Examine the property; then pass, skip what is not claimed or not run, or fail with the evidence."""
        __tracebackhide__ = True
        report = self.conformance.examine(self.property, self.dtype)
        (finding,) = report.findings
        xfails.mark(finding, self.conformance.expected)
        self.stash[_REPORT_JSON] = json.render(report)
        if not finding.checked:
            pytest.skip(finding.message)
        if finding.expected is not None:
            pytest.xfail(finding.expected)
        if finding.unexpected_pass or (finding.bad and finding.gating):
            pytest.fail(terminal.evidence(finding), pytrace=False)


@dataclass(eq=False)
class Conformance:
    """A pytest plugin that is registered when a kernel is named."""

    kernel: Callable[..., Any]
    target: str
    call: str
    dtypes: tuple[str, ...]
    claims: tuple[str, ...] | None
    profile: str
    seed: int
    expected: tuple[xfails.ExpectedFailure, ...]
    json_file: str | None
    largest: int | None = None
    reports: list[Report] = field(default_factory=list)

    @classmethod
    def from_config(cls, config: pytest.Config) -> Conformance:
        """The run that the options describe. Raises pytest.UsageError, in one sentence."""
        try:
            return cls._from_options({name: config.getoption(f"refattn_{name}") for name in _NAMES})
        except RefattnError as error:
            raise pytest.UsageError(f"refattn: {error}") from None

    @classmethod
    def _from_options(cls, given: dict[str, Any]) -> Conformance:
        from refattn import adapters
        from refattn.adapters.loading import import_target

        dtypes = options.formats(given["dtype"], "--refattn-dtype")
        profile = options.one_of(given["profile"], options.PROFILES, "--refattn-profile")
        if not given["seed"].isdecimal():
            raise InvalidValue(f"--refattn-seed is {given['seed']!r}: expected an integer of at least 0")
        if given["largest"] is not None and not given["largest"].isdecimal():
            raise InvalidValue(f"--refattn-largest is {given['largest']!r}: expected an integer")
        if given["json"] is not None:
            files.check_writable(given["json"], "--refattn-json")
        expected = () if given["xfails"] is None else xfails.load(given["xfails"])
        kernel = import_target(given["target"])
        call = options.convention(given["call"], given["target"], kernel, "--refattn-call")
        usual = adapters.get(call).default_claims(kernel)
        claims = options.claims(usual, given["claim"], "--refattn-claim") if given["claim"] else None
        largest = None if given["largest"] is None else int(given["largest"])
        return cls(
            kernel, given["target"], call, dtypes, claims, profile, int(given["seed"]), expected, given["json"], largest
        )

    def examine(self, property: str, dtype: str) -> Report:
        """The report on one property in one format."""
        from refattn.suite import checking

        return checking.check(
            self.kernel,
            self.call,
            (dtype,),
            self.claims,
            self.profile,
            seed=self.seed,
            target_name=self.target,
            only=property,
            largest=self.largest,
        )

    def properties(self) -> list[str]:
        """The names of the properties of what the convention computes."""
        from refattn import adapters
        from refattn.suite import choosing

        return [prop.name for prop in choosing.applicable(adapters.get(self.call), self.kernel)]

    @pytest.hookimpl
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each property and format."""
        if "refattn_check" in metafunc.fixturenames:
            cells = [(name, dtype) for dtype in self.dtypes for name in self.properties()]
            ids = [f"{name}-{dtype}" for name, dtype in cells]
            metafunc.parametrize("refattn_check", cells, ids=ids, indirect=True)

    @pytest.fixture
    def refattn_check(self, request: pytest.FixtureRequest) -> Check:
        """The property and format of this test."""
        name, dtype = request.param
        return Check(name, dtype, self, request.node.stash)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the report to the outcome."""
        report = yield
        if call.when == "call" and _REPORT_JSON in item.stash:
            setattr(report, _REPORT_ATTRIBUTE, item.stash[_REPORT_JSON])
        return report

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the report, from whichever process."""
        text = getattr(report, _REPORT_ATTRIBUTE, None)
        if text is not None:
            self.reports.append(json.load(text))

    @pytest.hookimpl
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report, once: not in a worker of pytest-xdist."""
        if self.json_file is not None and self.reports and not hasattr(session.config, "workerinput"):
            files.write(self.json_file, json.render(self.merged()), "--refattn-json")

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List failures that do not fail a test, and stale expectations."""
        if not self.reports:
            return
        report = self.merged()
        lines = [_noted(finding) for finding in report.findings if finding.bad and not finding.gating]
        lines += [f"warning: {warning}" for warning in report.warnings]
        if lines:
            terminalreporter.section("refattn: not gating")
            for line in lines:
                terminalreporter.line(line)

    def merged(self) -> Report:
        """All reports, merged into one."""
        report = merging.merged(self.reports)
        names = {(finding.property, finding.dtype) for finding in report.findings}
        whole = len(names) == len(self.properties()) * len(self.dtypes)
        xfails.apply(report, self.expected, whole=whole)
        return report


_NAMES = ("target", "call", "dtype", "profile", "seed", "largest", "xfails", "json", "claim")


def _noted(finding: Finding) -> str:
    return f"{finding.property} in {finding.dtype}: {finding.verdict.value}. {finding.message}"
