"""Which kernels of the package conform: `refattn check` on each, in parts, in processes of their own, one a core."""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import refattn_gpu
from refattn import adapters
from refattn.suite.choosing import applicable

FORMATS = ("bf16", "fp16", "fp32")
# Patterns that share out the properties: values and visibility, gradients, statistics and specials, and the others.
PARTS = ("v*", "g*", "s*", "[!vgs]*")
CONFORMS, FAILS, UNFINISHED, UNCHECKED = "conforms", "fails", "unfinished", "unchecked"
NOT_CLAIMED = "not claimed"
# An interpreter takes seconds for what a GPU does at once: one sharp property stands for all, on short sequences.
INTERPRETED = ("--triton-cpu", "--largest", "64")
SHARPEST = {"attention": "values/needles", "gradients": "gradients/search", "softmax": "softmax/nan"}
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Part:
    """What one process checks: a kernel in a format, by the properties that match a pattern."""

    target: str
    format: str
    pattern: str


@dataclass(frozen=True)
class Check:
    """What the suite said of a part; `failures` are the messages of what failed."""

    part: Part
    profile: str
    verdict: str
    seconds: float = 0.0
    properties: int = 0
    failures: list[str] = field(default_factory=list)


def targets() -> Iterator[str]:
    """package.module:object of every kernel of the public face, those that are timed first."""
    names = list(refattn_gpu.__all__)
    first = ("attention", "sparse_attention", "decode", "softmax")
    for name in sorted(names, key=lambda name: (name not in first, name)):
        if hasattr(getattr(refattn_gpu, name), "refattn_claims"):
            yield f"refattn_gpu:{name}"


def parts(target: str, format: str, *, interpreted: bool = False) -> list[Part]:
    """Those of a kernel in a format."""
    kernel = getattr(refattn_gpu, target.partition(":")[2])
    adapter = adapters.get(adapters.guess(target, kernel))
    if interpreted:
        return [Part(target, format, SHARPEST[adapter.quantity])]
    names = [prop.name for prop in applicable(adapter, kernel)]
    return [Part(target, format, pattern) for pattern in PARTS if fnmatch.filter(names, pattern)]


def checks(
    wanted: list[Part], profile: str, deadline: float, *, interpreted: bool = False, workers: int | None = None
) -> Iterator[Check]:
    """Of parts, as they end; what has not ended at `deadline` (time.monotonic) is stopped."""
    waiting = list(wanted)
    running: list[Running] = []
    workers = workers or max(2, (os.cpu_count() or 2) - 2)
    with tempfile.TemporaryDirectory() as folder:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    part = waiting.pop(0)
                    stem = Path(folder) / str(len(wanted) - len(waiting))
                    running.append(Running(part, profile, stem, INTERPRETED if interpreted else ()))
                ended = [each for each in running if each.process.poll() is not None]
                for each in ended:
                    running.remove(each)
                    yield each.result()
                if time.monotonic() > deadline:
                    for each in running:
                        yield Check(each.part, profile, UNFINISHED, each.seconds)
                    for part in waiting:
                        yield Check(part, profile, UNFINISHED)
                    return
                if not ended:
                    time.sleep(POLL_SECONDS)
        finally:
            for each in running:
                each.stop()


class Running:
    """`refattn check` in a process of its own."""

    def __init__(self, part: Part, profile: str, stem: Path, options: tuple[str, ...]) -> None:
        self.part, self.profile = part, profile
        self.report, self.log = stem.with_suffix(".json"), stem.with_suffix(".log")
        self.started = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "refattn",
            "check",
            part.target,
            "--dtype",
            part.format,
            "--only",
            part.pattern,
        ]
        command += ["--profile", profile, "--quiet", "--time-limit", "120", "--json", str(self.report), *options]
        # One thread each: there are as many processes as cores.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    def result(self) -> Check:
        """Of a process that has ended."""
        try:
            report: dict[str, Any] = json.loads(self.report.read_text())
        except (OSError, ValueError):
            last = (self.log.read_text().strip().splitlines() or ["nothing was printed"])[-1]
            return Check(self.part, self.profile, FAILS, self.seconds, 0, [last])
        failed = [f"{each['property']}: {each['message']}" for each in report["findings"] if each["fails"]]
        checked = sum(each["verdict"] != NOT_CLAIMED for each in report["findings"])
        verdict = FAILS if failed else CONFORMS if checked else NOT_CLAIMED
        return Check(self.part, self.profile, verdict, self.seconds, checked, failed[:5])

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10)


def verdict_on(target: str, entries: list[dict[str, Any]]) -> str:
    """What the checks in results say of a kernel: fails if a part does, conforms if all do."""
    verdicts = [each["verdict"] for each in entries if each["target"] == target]
    for verdict in (FAILS, UNFINISHED, CONFORMS):
        if verdict in verdicts:
            return verdict
    return UNCHECKED


def as_entry(check: Check) -> dict[str, Any]:
    """As it stands in results."""
    entry = asdict(check)
    return {**entry.pop("part"), **entry}
