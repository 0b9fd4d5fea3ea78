"""A report as JSON, and back.

Numbers that JSON cannot hold are the strings "nan", "inf" and "-inf". Every field is always there; null is "none".

schema_version   1; raised when a field changes its meaning or disappears
refattn          version of refattn that wrote the report
target, call     the kernel (package.module:callable, or a name) and its calling convention
dtypes           formats of the inputs that were run, in order
claims           what the kernel says that it can do
profile, seed    how much was run, and from which seed
largest          the longest sequence that was allowed, if one was given
conforms         true if something was checked and nothing fails
seconds          wall time of the run
arithmetics      by format: the arithmetic that the kernel was held to
environment      versions and machine, by name
warnings         sentences about the run as a whole
findings         one for each property and format:
  property, dtype  what was checked
  verdict          "conforms", "suspect", "violates", "not claimed", "not run" (nothing is short enough),
                   "replaced" (by others, as the kernel approximates) or "error"
  kind             "value", "poison", "ieee" or "call"
  gating           whether a bad verdict makes the run fail
  fails            whether this finding does make the run fail
  expected         the reason, when an xfails file expects the failure
  unexpected_pass  true when an xfails file expects a failure that did not come
  message          the finding in a sentence or two
  share            largest error, as a share of the certified bound
  rms_z, max_z     root mean square and largest error, in units of the rms budget
  cases, seconds   how many problems were run, and for how long
  replay           a command that runs the failing case again
  worst            the element with the largest share: quantity ("out", "lse", "dq", ...), index, actual, exact (to
                   float64), error, bound, ratio (error / bound), part (the largest part of the bound)
  case             the smallest failing problem: token (from which it can be made again) and description
"""

from __future__ import annotations

import json
import math
from typing import Any

import refattn
from refattn.errors import InvalidValue
from refattn.inputs import replay
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.reports import schema
from refattn.suite.findings import Evidence, Finding, Report, Verdict, Worst

SCHEMA_VERSION = 1

_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_COUNT = {"type": "integer"}
_NUMBER = {"anyOf": [{"type": "string", "enum": ["nan", "inf", "-inf"]}, {"type": "number"}]}
_TEXTS = {"type": "array", "items": _TEXT}
_NAMED_TEXTS = {"type": "object", "additionalProperties": _TEXT}


def _or_null(inner: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"type": "null"}, inner]}


def _object(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(fields), "properties": fields, "additionalProperties": False}


_WORST = _object(
    {
        "quantity": _TEXT,
        "index": {"type": "array", "items": _COUNT},
        **dict.fromkeys(("actual", "exact", "error", "bound", "ratio"), _NUMBER),
        "part": _TEXT,
    }
)
_FINDING = _object(
    {
        "property": _TEXT,
        "dtype": _TEXT,
        "verdict": {"enum": [verdict.value for verdict in Verdict]},
        "kind": _TEXT,
        "gating": _FLAG,
        "fails": _FLAG,
        "expected": _or_null(_TEXT),
        "unexpected_pass": _FLAG,
        "message": _TEXT,
        **dict.fromkeys(("share", "rms_z", "max_z"), _or_null(_NUMBER)),
        "cases": _COUNT,
        "seconds": _NUMBER,
        "replay": _or_null(_TEXT),
        "worst": _or_null(_WORST),
        "case": _or_null(_object({"token": _TEXT, "description": _TEXT})),
    }
)
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "A report of refattn",
    **_object(
        {
            "schema_version": {"enum": [SCHEMA_VERSION]},
            "refattn": _TEXT,
            "target": _TEXT,
            "call": _TEXT,
            "dtypes": _TEXTS,
            "claims": _TEXTS,
            "profile": _TEXT,
            "seed": _COUNT,
            "largest": _or_null(_COUNT),
            "conforms": _FLAG,
            "seconds": _NUMBER,
            "arithmetics": _NAMED_TEXTS,
            "environment": _NAMED_TEXTS,
            "warnings": _TEXTS,
            "findings": {"type": "array", "items": _FINDING},
        }
    ),
}


def render(report: Report) -> str:
    """The report as JSON text that ends with a newline."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "refattn": refattn.__version__,
        "target": report.target,
        "call": report.call,
        "dtypes": list(report.dtypes),
        "claims": list(report.claims),
        "profile": report.profile,
        "seed": report.seed,
        "largest": report.largest,
        "conforms": report.conforms,
        "seconds": _number(report.seconds),
        "arithmetics": report.arithmetics,
        "environment": report.environment,
        "warnings": report.warnings,
        "findings": [_finding(finding) for finding in report.findings],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def load(text: str) -> Report:
    """The report of a JSON text.

    A case that this version cannot make again from its token is left out, and a warning says so. Raises InvalidValue,
    naming the place, when the text is no report of this schema version.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InvalidValue(f"report is not JSON: {error}") from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version != SCHEMA_VERSION:
        raise InvalidValue(f"report.schema_version is {version}: expected {SCHEMA_VERSION}, the one this version reads")
    schema.check(document, SCHEMA)
    report = Report(
        **{
            name: document[name]
            for name in ("target", "call", "profile", "seed", "largest", "arithmetics", "environment")
        },
        dtypes=tuple(document["dtypes"]),
        claims=tuple(document["claims"]),
        warnings=document["warnings"],
        seconds=float(document["seconds"]),
    )
    report.findings = [_loaded(entry, report.warnings) for entry in document["findings"]]
    return report


def _finding(finding: Finding) -> dict[str, Any]:
    worst, case = finding.worst, finding.case
    return {
        "property": finding.property,
        "dtype": finding.dtype,
        "verdict": finding.verdict.value,
        "kind": finding.kind,
        "gating": finding.gating,
        "fails": finding.fails,
        "expected": finding.expected,
        "unexpected_pass": finding.unexpected_pass,
        "message": finding.message,
        "share": _number(finding.share),
        "rms_z": _number(finding.rms_z),
        "max_z": _number(finding.max_z),
        "cases": finding.cases,
        "seconds": _number(finding.seconds),
        "replay": finding.replay,
        "worst": None if worst is None else _worst(worst),
        "case": None if case is None else {"token": replay.token(case), "description": case.describe()},
    }


def _worst(worst: Worst) -> dict[str, Any]:
    return {
        "quantity": worst.quantity,
        "index": [int(i) for i in worst.index],
        "actual": _number(worst.actual),
        "exact": _number(worst.exact),
        "error": _number(worst.error),
        "bound": _number(worst.bound),
        "ratio": _number(worst.ratio),
        "part": worst.part,
    }


def _loaded(entry: dict[str, Any], warnings: list[str]) -> Finding:
    seen = {name: entry[name] for name in ("message", "kind", "cases")}
    seen["verdict"] = Verdict(entry["verdict"])
    for name in ("share", "rms_z", "max_z"):
        seen[name] = None if entry[name] is None else float(entry[name])
    if entry["worst"] is not None:
        seen["worst"] = _loaded_worst(entry["worst"])
    if entry["case"] is not None:
        try:
            seen["case"] = _loaded_case(entry["case"]["token"])
        except InvalidValue as error:
            warnings.append(f"the case of {entry['property']} in {entry['dtype']} cannot be made again: {error}")
    about = {name: entry[name] for name in ("property", "dtype", "gating", "replay", "expected", "unexpected_pass")}
    return Finding(**about, evidence=Evidence(**seen), seconds=float(entry["seconds"]))


def _loaded_worst(entry: dict[str, Any]) -> Worst:
    numbers = {name: float(entry[name]) for name in ("actual", "exact", "error", "bound")}
    return Worst(entry["quantity"], tuple(entry["index"]), part=entry["part"], **numbers)


def _loaded_case(token: str) -> AttentionCase | SoftmaxCase:
    try:
        return replay.case_of(token, AttentionCase)
    except InvalidValue:
        return replay.case_of(token, SoftmaxCase)


def _number(value: float | None) -> float | str | None:
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else str(number)
