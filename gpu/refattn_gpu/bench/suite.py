"""refattn's suite on every kernel of the package, each in processes of its own, some at a time.

May import: refattn.adapters, refattn_gpu.
"""

from __future__ import annotations

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

FORMATS = ("bf16", "fp16", "fp32")
CONFORMS, FAILS, UNFINISHED, UNCHECKED = "conforms", "fails", "unfinished", "unchecked"
# An interpreter takes seconds for what a GPU does at once: one sharp property stands for all, on short sequences.
INTERPRETED = ("--triton-cpu", "--largest", "64", "--only")
SHARPEST = {"attention": "values/needles", "gradients": "gradients/search", "softmax": "softmax/nan"}
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Check:
    """What the suite said of a kernel in one format; `failures` are the messages of what failed."""

    target: str
    format: str
    profile: str
    verdict: str
    seconds: float = 0.0
    properties: int = 0
    failures: list[str] = field(default_factory=list)


def targets() -> Iterator[str]:
    """package.module:object of every kernel of the public face, those that are timed first."""
    names = [name for name in refattn_gpu.__all__ if name != "interpreter"]
    first = ("attention", "sparse_attention", "decode", "softmax")
    for name in sorted(names, key=lambda name: (name not in first, name)):
        if hasattr(getattr(refattn_gpu, name), "refattn_claims"):
            yield f"refattn_gpu:{name}"


def checks(
    wanted: list[tuple[str, str]],
    profile: str,
    deadline: float,
    *,
    interpreted: bool = False,
    workers: int | None = None,
) -> Iterator[Check]:
    """Those of (target, format) pairs, as they end; what has not ended at `deadline` (time.monotonic) is stopped."""
    waiting = list(wanted)
    running: list[Running] = []
    workers = workers or max(1, (os.cpu_count() or 2) - 2)
    with tempfile.TemporaryDirectory() as folder:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    target, format = waiting.pop(0)
                    running.append(Running(target, format, profile, Path(folder), interpreted))
                ended = [each for each in running if each.process.poll() is not None]
                for each in ended:
                    running.remove(each)
                    yield each.result()
                if time.monotonic() > deadline:
                    for each in running:
                        yield Check(each.target, each.format, profile, UNFINISHED, each.seconds)
                    for target, format in waiting:
                        yield Check(target, format, profile, UNFINISHED)
                    return
                if not ended:
                    time.sleep(POLL_SECONDS)
        finally:
            for each in running:
                each.stop()


class Running:
    """`refattn check` in a process of its own."""

    def __init__(self, target: str, format: str, profile: str, folder: Path, interpreted: bool) -> None:
        self.target, self.format, self.profile = target, format, profile
        self.report = folder / f"{target.replace(':', '.')}.{format}.json"
        self.log = self.report.with_suffix(".log")
        self.started = time.monotonic()
        command = [sys.executable, "-m", "refattn", "check", target, "--dtype", format, "--profile", profile, "--quiet"]
        command += ["--time-limit", "120", "--json", str(self.report)]
        if interpreted:
            kernel = getattr(refattn_gpu, target.partition(":")[2])
            command += [*INTERPRETED, SHARPEST[adapters.get(adapters.guess(target, kernel)).quantity]]
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
            return Check(self.target, self.format, self.profile, FAILS, self.seconds, 0, [last])
        failed = [f"{each['property']}: {each['message']}" for each in report["findings"] if each["fails"]]
        verdict = CONFORMS if report["conforms"] and self.process.returncode == 0 else FAILS
        return Check(self.target, self.format, self.profile, verdict, self.seconds, len(report["findings"]), failed[:5])

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10)


def verdict_on(target: str, found: list[dict[str, Any]]) -> str:
    """What the checks in results say of a kernel: fails if it does in some format, conforms if it does in all."""
    verdicts = [each["verdict"] for each in found if each["target"] == target]
    for verdict in (FAILS, UNFINISHED):
        if verdict in verdicts:
            return verdict
    return CONFORMS if verdicts else UNCHECKED


def as_entry(check: Check) -> dict[str, Any]:
    """As it stands in results."""
    return asdict(check)
