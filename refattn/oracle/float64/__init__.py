"""The first rung: float64, with a proved radius."""

from __future__ import annotations

from refattn.oracle.float64.forward import attention, softmax
from refattn.oracle.float64.gradients import attention_backward

__all__ = ["attention", "attention_backward", "softmax"]
