"""A report as JUnit XML, one test case per property and format, for the tools of continuous integration.

A property that fails is a failure, or an error when the kernel could not be judged. A property that is not claimed, not
run or replaced is skipped with the reason, as is a failure that an xfails file expects. Findings that do not gate pass
and say so.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as xml

from refattn.suite.findings import Finding, Report, Verdict

# Characters that XML 1.0 cannot hold, even escaped: a kernel's message may have them.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Report) -> str:
    """The report as the text of an XML document."""
    suite = xml.Element("testsuite", name=_clean(f"refattn {report.target}"), time=_seconds(report.seconds))
    described = {"call": report.call, "profile": report.profile, "seed": str(report.seed)}
    described |= {} if report.largest is None else {"largest": str(report.largest)}
    described |= {"claims": ", ".join(report.claims)} | report.environment
    described |= {f"arithmetic {dtype}": name for dtype, name in report.arithmetics.items()}
    properties = xml.SubElement(suite, "properties")
    for name, value in described.items():
        xml.SubElement(properties, "property", name=_clean(name), value=_clean(value))
    for finding in report.findings:
        _add_case(suite, finding)
    if report.warnings:
        xml.SubElement(suite, "system-err").text = _clean("\n".join(report.warnings))
    counts = {
        "tests": len(report.findings),
        "failures": len(suite.findall("testcase/failure")),
        "errors": len(suite.findall("testcase/error")),
        "skipped": len(suite.findall("testcase/skipped")),
    }
    root = xml.Element("testsuites")
    root.append(suite)
    for element in (root, suite):
        for name, count in counts.items():
            element.set(name, str(count))
    xml.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n"


def _add_case(suite: xml.Element, finding: Finding) -> None:
    case = xml.SubElement(
        suite,
        "testcase",
        classname=_clean(f"refattn.{finding.dtype}"),
        name=_clean(finding.property),
        time=_seconds(finding.seconds),
    )
    if finding.unexpected_pass:
        _add(case, "failure", "the xfails file expects this property to fail, and it passes", "unexpected pass")
    elif not finding.checked:
        _add(case, "skipped", finding.message or finding.verdict.value, finding.verdict.value)
    elif finding.bad and finding.expected is not None:
        _add(case, "skipped", f"expected failure: {finding.expected}", "expected failure").text = _evidence(finding)
    elif finding.fails:
        tag = "error" if finding.verdict is Verdict.ERROR else "failure"
        _add(case, tag, finding.message, finding.verdict.value).text = _evidence(finding)
    elif finding.bad:
        xml.SubElement(case, "system-out").text = f"{finding.verdict.value}, but not gating\n{_evidence(finding)}"


def _add(case: xml.Element, tag: str, message: str, kind: str) -> xml.Element:
    return xml.SubElement(case, tag, message=_clean(message), type=kind)


def _evidence(finding: Finding) -> str:
    parts = [finding.message]
    if finding.case is not None:
        parts.append(finding.case.describe())
    if finding.replay is not None:
        parts.append(f"replay: {finding.replay}")
    return _clean("\n".join(parts))


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"
