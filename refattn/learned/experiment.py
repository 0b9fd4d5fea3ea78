"""One model on one text, for training, evaluation and pictures."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from refattn.contract.block_scales import BlockScales
from refattn.errors import InvalidValue
from refattn.learned import checkpoint, language_models, text, training
from refattn.learned.evaluation import Result, evaluate
from refattn.learned.language_models import LanguageModel
from refattn.learned.methods import METHODS, Exact, LayerShape, Method, build
from refattn.learned.replacement import layers
from refattn.learned.text import Windows
from refattn.learned.training import Plan, Trainee


@dataclass(frozen=True)
class Setting:
    """The command line's options of the same names."""

    model: str
    texts: tuple[str, ...]
    blocks: tuple[int, ...] = (2,)
    methods: tuple[str, ...] = ()
    window: int = 256
    train: int = 64
    test: int = 32
    batch: int = 4
    device: str = "cpu"
    out: str = "learned-scales"


class Ready(NamedTuple):
    """The modules of a method, one a layer, ready to run, with the seconds and steps of their training."""

    methods: list[Method]
    seconds: float
    steps: int


@dataclass
class Report:
    """Results on the windows to test on; the first is the exact model's."""

    setting: Setting
    tokens: int
    machine: str
    results: list[Result] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(eq=False)
class Experiment:
    """A loaded model, its layers, and windows of the texts."""

    setting: Setting
    language: LanguageModel
    windows: Windows
    layers: list[LayerShape]
    origin: checkpoint.Origin

    @classmethod
    def prepared(cls, setting: Setting) -> Experiment:
        """Load the model, and cut the texts. Raises InvalidValue."""
        try:
            device = torch.device(setting.device)
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise InvalidValue(f"device {setting.device!r} cannot be used: expected cpu, or cuda with a GPU") from error
        language = language_models.load(setting.model)
        windows = text.windows(language.tokenizer, setting.texts, setting.window, setting.train, setting.test)
        return cls.of(setting, language, windows)

    @classmethod
    def of(cls, setting: Setting, language: LanguageModel, windows: Windows) -> Experiment:
        """An experiment with a loaded model and given windows."""
        language.model.to(setting.device)
        digest = hashlib.sha256(windows.train.numpy().tobytes()).hexdigest()[:16]
        origin = checkpoint.Origin(language_models.fingerprint(language.model), digest)
        return cls(setting, language, windows, list(layers(language.model).values()), origin)

    def division(self, blocks: int) -> BlockScales:
        """The blocks of a window."""
        return BlockScales(blocks, self.setting.window)

    def trainee(self, name: str, blocks: int, plan: Plan) -> Trainee:
        """A method at its start."""
        trainee = Trainee.new(name, self.layers, self.division(blocks), plan)
        trainee.modules.to(self.setting.device)
        return trainee

    def loaded(self, name: str, blocks: int, folder: Path) -> Ready:
        """A method from its checkpoint in a folder, or a new one if it does not learn. Raises InvalidValue."""
        division = self.division(blocks)
        if METHODS[name].objective is None:
            modules = build(name, self.layers, division)
            return Ready([module for module in modules if isinstance(module, Method)], 0.0, 0)
        trainee = Trainee.new(name, self.layers, division, Plan("lm", 0, 0, 1, 0.0, 0))
        checkpoint.read(checkpoint.path_of(folder, trainee), trainee, self.origin, to_resume=False)
        trainee.modules.to(self.setting.device)
        return Ready(trainee.methods, trainee.seconds, trainee.step)

    def train(self, trainees: Sequence[Trainee], stepped: Callable[[Sequence[Trainee], float], None]) -> None:
        """Train on the training windows."""
        training.train(self.language.model, trainees, self.windows.train, stepped)

    def evaluate(self, methods: Sequence[Ready], advanced: Callable[[int], None]) -> Report:
        """The exact model's perplexity, and that of methods, on the windows to test on."""
        model, windows, batch = self.language.model, self.windows.test, self.setting.batch
        machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
        report = Report(self.setting, windows[:, 1:].numel(), machine)
        exact = [Exact(layer, BlockScales(1)) for layer in self.layers]
        result, losses = evaluate(model, exact, windows, batch, None, advanced)
        report.results.append(result)
        for ready in methods:
            result, _ = evaluate(model, ready.methods, windows, batch, losses, advanced)
            result.training_seconds, result.steps = ready.seconds, ready.steps
            report.results.append(result)
        return report
