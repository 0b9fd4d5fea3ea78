"""A torch.profiler trace of the rows' own calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from refattn_gpu.bench.row import Row, Unavailable


def write_trace(path: Path, rows: Sequence[Row], device: str) -> None:
    """One warm call of each row, under the row's name, for chrome://tracing or Perfetto."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device != "cpu":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.profiler.profile(activities=activities) as profile:
        for row in rows:
            try:
                ours = row.problem(device).ours
            except Unavailable:
                continue
            ours.call()
            with torch.profiler.record_function(row.name):
                ours.call()
                if device != "cpu":
                    torch.cuda.synchronize()
    profile.export_chrome_trace(str(path))
