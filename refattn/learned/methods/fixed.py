"""Methods with nothing to learn: the exact scales, and no scales at all."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from refattn.learned.methods.base import Method
from refattn.learned.rows import Rows
from refattn.learned.scales import BlockSoftmax


class Exact(Method):
    """a_i = exp(LSE_i - LSE): exact attention, computed by blocks."""

    name: ClassVar[str] = "exact"

    def scales(self, rows: Rows, softmax: BlockSoftmax) -> Tensor:
        """The exact scales."""
        del rows
        return softmax.exact


class Uncorrected(Method):
    """Scale 1 for each seen block: the result of blocks that share nothing."""

    name: ClassVar[str] = "none"

    def scales(self, rows: Rows, softmax: BlockSoftmax) -> Tensor:
        """Ones and zeros."""
        del rows
        return torch.where(softmax.seen, torch.ones_like(softmax.totals), 0.0)
