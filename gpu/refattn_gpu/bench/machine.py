"""What the figures were measured on: device, driver, clocks, versions, and which sources of the kernels."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGE = Path(__file__).resolve().parents[1]
BESIDE_LAUNCHES = ("ahead_of_time", "bench")
# Of nvidia-smi; all are only read.
READINGS = ("driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "power.limit", "pstate")
LIBRARIES = ("refattn", "torch", "triton", "numpy")


def description(device: str) -> dict[str, Any]:
    """The machine, as the results have it."""
    facts: dict[str, Any] = {"device": platform.processor() or platform.machine(), "system": platform.platform()}
    if device != "cpu":
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "device": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "cache_bytes": getattr(properties, "L2_cache_size", None),
        }
        facts |= readings()
    return facts


def readings() -> dict[str, str]:
    """Driver and clocks, as far as nvidia-smi says; nothing where there is none."""
    command = ["nvidia-smi", f"--query-gpu={','.join(READINGS)}", "--format=csv,noheader", "--id=0"]
    try:
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    values = printed.strip().splitlines()[0].split(", ") if printed.strip() else []
    return dict(zip(READINGS, values, strict=False))


def versions() -> dict[str, str]:
    """Of Python, the libraries, CUDA or ROCm, and cuDNN."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed as a package"
    for name, value in (("cuda", torch.version.cuda), ("hip", torch.version.hip)):
        if value is not None:
            versions[name] = str(value)
    cudnn: Any = torch.backends.cudnn
    if torch.cuda.is_available() and cudnn.is_available():
        versions["cudnn"] = str(cudnn.version())
    return versions


def sources(commit: str | None = None) -> dict[str, str | None]:
    """Of the kernels: a digest of their files, and the commit, given or asked of git ("+" where files differ)."""
    return {"kernels": digest(), "commit": commit or git_commit()}


def digest() -> str:
    """A digest of the files that launches are made of."""
    hasher = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in BESIDE_LAUNCHES:
            continue
        hasher.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return hasher.hexdigest()[:16]


def git_commit() -> str | None:
    """The commit that is checked out; None where this is no checkout."""
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PACKAGE), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=20, env=environment
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None
