"""Triton kernels are interpreted here, on the processor; without Triton these tests are skipped."""

from __future__ import annotations

import os

import pytest

# Triton reads it when a kernel is defined.
os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton", reason="Triton is not installed: its kernels cannot be interpreted")
