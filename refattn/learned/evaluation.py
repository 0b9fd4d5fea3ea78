"""The cost of scales: perplexity, and the certificate on the rows that the model attends with."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from refattn.contract.block_scales import BlockScales
from refattn.learned.methods import Method
from refattn.learned.replacement import attending
from refattn.learned.rows import Rows
from refattn.learned.scales import block_softmax, distances


@dataclass
class LayerCertificate:
    """Distances of one layer's scales from the exact ones, a number a head: over all rows of all windows.

    mean, largest  of sum_j |p'_j - p_j| = sum_i |a_i - a*_i|
    output_bound   the largest of that times the largest |v| of the head: it bounds the error of every output element,
                   but for roundings
    leak           the largest weight on keys that a query does not see
    row_sum_error  the largest |sum_j p'_j - 1|
    """

    mean: list[float]
    largest: list[float]
    output_bound: list[float]
    leak: list[float]
    row_sum_error: list[float]


@dataclass
class Cost:
    """Perplexity of tokens.

    change       relative to the exact model's
    doubt        one standard error of it, from the differences between windows
    """

    perplexity: float
    change: float = 0.0
    doubt: float = 0.0

    @classmethod
    def of(cls, loss: Tensor, exact: Tensor | None) -> Cost:
        """From losses (windows, tokens), in nats, and the exact model's."""
        cost = cls(math.exp(loss.mean(1).mean()))
        if exact is not None:
            difference = loss.mean(1) - exact.mean(1)
            cost.change = math.expm1(difference.mean())
            spread = difference.std().item() if len(difference) > 1 else 0.0
            cost.doubt = (1 + cost.change) * spread / math.sqrt(len(difference))
        return cost


@dataclass
class Result(Cost):
    """One method, with one number of blocks, on the windows to test on.

    parts        the cost of the queries of each block
    """

    method: str = ""
    blocks: int = 1
    seconds: float = 0.0
    training_seconds: float = 0.0
    steps: int = 0
    parts: list[Cost] = field(default_factory=list)
    layers: list[LayerCertificate] = field(default_factory=list)

    @property
    def mean_distance(self) -> float:
        """Mean distance over all layers and heads."""
        means = [value for layer in self.layers for value in layer.mean]
        return sum(means) / max(len(means), 1)

    def largest(self, name: str) -> float:
        """The largest of a field of the layers' certificates."""
        return max((value for layer in self.layers for value in getattr(layer, name)), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class _Judge:
    """A site that attends by a method and measures its scales."""

    def __init__(self, method: Method) -> None:
        self.method = method
        heads = method.layer.heads
        self.rows = 0
        self.total = torch.zeros(heads, dtype=torch.float64)
        self.most = {name: torch.zeros(heads, dtype=torch.float64) for name in ("distance", "output", "leak", "sum")}

    def __call__(self, rows: Rows) -> Tensor:
        softmax = block_softmax(rows, self.method.blocks)
        scales = self.method.scales(rows, softmax)
        certificate = distances(softmax, scales)
        self.rows += certificate.distance[:, 0].numel()
        self.total += certificate.distance.sum((0, 2)).cpu()
        largest_value = rows.for_heads(rows.value.abs().amax((2, 3), keepdim=True))[..., 0]
        for name, values in (
            ("distance", certificate.distance),
            ("output", certificate.distance * largest_value),
            ("leak", certificate.leak),
            ("sum", certificate.row_sum_error),
        ):
            self.most[name] = torch.maximum(self.most[name], values.amax((0, 2)).cpu())
        return rows.output(self.method.weights(softmax, scales))

    def certificate(self) -> LayerCertificate:
        most = {name: values.tolist() for name, values in self.most.items()}
        mean = (self.total / max(self.rows, 1)).tolist()
        return LayerCertificate(mean, most["distance"], most["output"], most["leak"], most["sum"])


def losses(model: Any, windows: Tensor, batch: int, advanced: Callable[[int], None]) -> Tensor:
    """Negative log-likelihood of the tokens of each window but its first, (windows, tokens - 1), in nats."""
    by_batch = []
    with torch.no_grad():
        for part in torch.split(windows, batch):
            tokens = part.to(model.device)
            logits = model(tokens, use_cache=False).logits[:, :-1].flatten(0, 1).float()
            token_losses = torch.nn.functional.cross_entropy(logits, tokens[:, 1:].flatten(), reduction="none")
            by_batch.append(token_losses.view(len(part), -1).double().cpu())
            advanced(len(part))
    return torch.cat(by_batch)


def evaluate(
    model: Any,
    methods: Sequence[Method],
    windows: Tensor,
    batch: int,
    exact: Tensor | None = None,
    advanced: Callable[[int], None] = lambda count: None,
) -> tuple[Result, Tensor]:
    """The result of methods, one a layer, and their `losses`; `exact` are the exact model's."""
    started = time.monotonic()
    judges = [_Judge(method) for method in methods]
    with attending(model, judges):
        loss = losses(model, windows, batch, advanced)
    blocks = methods[0].blocks
    result = Result(
        **asdict(Cost.of(loss, exact)),
        method=methods[0].name,
        blocks=blocks.blocks,
        seconds=time.monotonic() - started,
        parts=parts(loss, exact, blocks),
        layers=[judge.certificate() for judge in judges],
    )
    return result, loss


def parts(loss: Tensor, exact: Tensor | None, blocks: BlockScales) -> list[Cost]:
    """The cost of the queries of each block, from losses (windows, queries); blocks without queries are left out."""
    taken = [queries for queries in blocks.slices(loss.shape[1]) if queries.stop > queries.start]
    return [Cost.of(loss[:, each], None if exact is None else exact[:, each]) for each in taken]
