"""Training scales in a frozen model: on the divergence of the scales, layer by layer, or on the model's own loss.

On the divergence the model stays exact and no gradient passes through it: one forward pass a batch serves all methods
and numbers of blocks at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from refattn.contract.block_scales import BlockScales
from refattn.errors import InvalidValue
from refattn.learned.methods import METHODS, Exact, LayerShape, Method, Objective, build
from refattn.learned.replacement import attending
from refattn.learned.rows import Rows


class Plan(NamedTuple):
    """How to train: all that decides the result besides the model and the text.

    objective    "scales" is the mean divergence of the scales from the exact ones, "lm" the language model's loss
    observed     windows of the exact model that are observed before training; with none, the published method starts
                 at random
    steps        of Adam, without weight decay, its rate falling linearly to 0
    batch        windows a step
    rate         the rate to start from
    seed         of the scales' start, where that is random, and of the order of windows
    """

    objective: Objective
    observed: int
    steps: int
    batch: int
    rate: float
    seed: int

    @property
    def observing(self) -> int:
        """Steps that only observe windows."""
        return -(-self.observed // self.batch)

    @property
    def total(self) -> int:
        """Steps of both kinds."""
        return self.observing + self.steps

    def batch_at(self, step: int, windows: Tensor) -> Tensor:
        """The windows of a step, (batch, window): in order while observing, then in a new order each time round.

        It depends on the seed and the step alone, so that no random state is stored.
        """
        if step < self.observing:
            first = step * self.batch
            return windows[first : min(first + self.batch, self.observed)]
        drawn = (step - self.observing) * self.batch + torch.arange(self.batch)
        rounds = {int(number): self._order(int(number), len(windows)) for number in torch.unique(drawn // len(windows))}
        chosen = [windows[rounds[int(n) // len(windows)][int(n) % len(windows)]] for n in drawn]
        return torch.stack(chosen)

    def _order(self, round: int, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + round)
        return torch.randperm(count, generator=generator)


@dataclass(eq=False)
class Trainee:
    """A method in training: its modules, one a layer, and its steps so far."""

    name: str
    blocks: BlockScales
    plan: Plan
    modules: nn.ModuleList
    optimizer: torch.optim.Adam | None
    step: int = 0
    seconds: float = 0.0

    @classmethod
    def new(cls, name: str, layers: Sequence[LayerShape], blocks: BlockScales, plan: Plan) -> Trainee:
        """A method at its start. Raises InvalidValue for a method that learns nothing, or not by the plan's
        objective.
        """
        modules = build(name, layers, blocks, plan.seed)
        if METHODS[name].objective is None:
            raise InvalidValue(f"method {name!r} has nothing to learn: expected one of {', '.join(learning())}")
        if METHODS[name].objective == "lm" and plan.objective == "scales":
            raise InvalidValue(f"objective is 'scales': expected 'lm' for method {name!r}, whose scales are unrelated")
        parameters = list(modules.parameters())
        optimizer = torch.optim.Adam(parameters, lr=plan.rate, weight_decay=0.0) if parameters else None
        return cls(name, blocks, plan, modules, optimizer)

    @property
    def total(self) -> int:
        """Steps until it is trained; a method with a closed form only observes."""
        trains = self.optimizer is not None and (self.plan.objective == "lm" or METHODS[self.name].descends)
        return self.plan.total if trains else self.plan.observing

    @property
    def done(self) -> bool:
        """Whether it is trained."""
        return self.step >= self.total

    @property
    def methods(self) -> list[Method]:
        """The modules, one a layer."""
        return [module for module in self.modules if isinstance(module, Method)]

    def begin_step(self) -> None:
        """Clear the last step's gradients, and settle the method once all windows are observed."""
        if self.step == self.plan.observing:
            self.settle()
        if self.optimizer is not None:
            self.optimizer.zero_grad()
            for group in self.optimizer.param_groups:
                past = max(self.step - self.plan.observing, 0)
                group["lr"] = self.plan.rate * (1 - past / max(self.plan.steps, 1))

    def end_step(self, seconds: float) -> None:
        """Take the optimizer's step, unless this one only observed."""
        if self.step >= self.plan.observing and self.optimizer is not None:
            self.optimizer.step()
        self.step += 1
        self.seconds += seconds
        if self.done and self.step == self.plan.observing:
            self.settle()

    def settle(self) -> None:
        """Compute the closed forms from the observed rows."""
        for method in self.methods:
            method.settle()


def learning() -> list[str]:
    """The names of the methods that learn."""
    return [name for name, method in METHODS.items() if method.objective is not None]


def train(
    model: Any, trainees: Sequence[Trainee], windows: Tensor, stepped: Callable[[Sequence[Trainee], float], None]
) -> None:
    """Train all trainees that are not done, each from its own step; after each step `stepped` gets those that made it
    and their mean loss.
    """
    while waiting := [trainee for trainee in trainees if not trainee.done]:
        first = min(waiting, key=lambda trainee: (trainee.step, trainee.plan))
        due = [trainee for trainee in waiting if (trainee.step, trainee.plan) == (first.step, first.plan)]
        if first.plan.objective == "lm" and first.step >= first.plan.observing:
            due = [first]
        started = time.monotonic()
        for trainee in due:
            trainee.begin_step()
        batch = first.plan.batch_at(first.step, windows).to(model.device)
        if first.step < first.plan.observing:
            _observe(model, due, batch)
            loss = float("nan")
        elif first.plan.objective == "lm":
            loss = _descend_on_loss(model, first, batch)
        else:
            loss = _descend_on_scales(model, due, batch)
        for trainee in due:
            trainee.end_step(time.monotonic() - started)
        stepped(due, loss)


def _observe(model: Any, trainees: Sequence[Trainee], batch: Tensor) -> None:
    def visit(layer: int, rows: Rows) -> None:
        for trainee in trainees:
            trainee.methods[layer].observe(rows)

    _visit_exact(model, visit, trainees[0], batch)


def _descend_on_scales(model: Any, trainees: Sequence[Trainee], batch: Tensor) -> float:
    losses = []

    def visit(layer: int, rows: Rows) -> None:
        with torch.enable_grad():
            for trainee in trainees:
                loss = trainee.methods[layer].loss(rows)
                torch.autograd.backward(loss)
                losses.append(loss.item())

    _visit_exact(model, visit, trainees[0], batch)
    return sum(losses) / max(len(losses), 1)


def _descend_on_loss(model: Any, trainee: Trainee, batch: Tensor) -> float:
    with attending(model, trainee.methods):
        loss = model(batch, labels=batch, use_cache=False).loss
        torch.autograd.backward(loss)
    value: float = loss.item()
    return value


def _visit_exact(model: Any, visit: Callable[[int, Rows], None], trainee: Trainee, batch: Tensor) -> None:
    """Run the exact model, and pass the rows of each layer to `visit`."""

    def site(layer: int, exact: Exact) -> Callable[[Rows], Tensor]:
        def attention(rows: Rows) -> Tensor:
            visit(layer, rows)
            return exact.forward(rows)

        return attention

    whole = BlockScales(1)
    sites = [site(layer, Exact(method.layer, whole)) for layer, method in enumerate(trainee.methods)]
    with torch.no_grad(), attending(model, sites):
        model.base_model(batch, use_cache=False)
