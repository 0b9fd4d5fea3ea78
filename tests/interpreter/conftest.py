"""Triton kernels are interpreted here, on the processor: Triton asks the environment when a kernel is defined."""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"
