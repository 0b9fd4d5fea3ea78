"""Checkpoints: a trainee's learned numbers and the state that its training needs to go on, in one safetensors file.

A file is written whole or not at all, so that an interruption leaves the last one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from refattn.errors import InvalidValue
from refattn.learned.training import Trainee

FORMAT = 1


class Origin(NamedTuple):
    """The model and the windows that scales were trained on, by their fingerprints."""

    model: str
    text: str


def path_of(folder: Path, trainee: Trainee) -> Path:
    """The path of a trainee's checkpoint in a folder."""
    return folder / f"{trainee.name}-{trainee.blocks.blocks}.safetensors"


def write(path: Path, trainee: Trainee, origin: Origin) -> None:
    """Write the checkpoint of a trainee. Raises InvalidValue where the file cannot be written."""
    tensors = {f"method.{name}": value for name, value in trainee.modules.state_dict().items()}
    if trainee.optimizer is not None:
        for index, moments in trainee.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    about = {**_identity(trainee, origin), "step": trainee.step, "seconds": trainee.seconds}
    data = save({name: value.contiguous() for name, value in tensors.items()}, {"refattn": json.dumps(about)})
    _replace(path, data)


def read(path: Path, trainee: Trainee, origin: Origin, *, to_resume: bool) -> None:
    """Load a checkpoint into a new trainee; unless `to_resume`, it may have been trained by any plan and text.

    Raises InvalidValue, and leaves the trainee as it is, where the file is missing, truncated, or of something else.
    """
    about, tensors = _load(path)
    wanted = _identity(trainee, origin)
    for name in wanted if to_resume else ("format", "method", "blocks", "window", "model"):
        if about.get(name) != wanted[name]:
            raise InvalidValue(f"checkpoint {str(path)!r} has {name} {about.get(name)!r}: expected {wanted[name]!r}")
    learned = {name.removeprefix("method."): value for name, value in tensors.items() if name.startswith("method.")}
    shapes = {name: value.shape for name, value in learned.items()}
    if shapes != {name: value.shape for name, value in trainee.modules.state_dict().items()}:
        raise InvalidValue(f"checkpoint {str(path)!r} holds other arrays: expected those of this version of the method")
    trainee.modules.load_state_dict(learned)
    if trainee.optimizer is not None:
        _load_optimizer(trainee.optimizer, tensors)
    trainee.step, trainee.seconds = about["step"], about["seconds"]


def _identity(trainee: Trainee, origin: Origin) -> dict[str, Any]:
    """The entries that a checkpoint and a trainee must agree on to resume."""
    return {
        "format": FORMAT,
        "method": trainee.name,
        "blocks": trainee.blocks.blocks,
        "window": trainee.blocks.window,
        "model": origin.model,
        "text": origin.text,
        "plan": trainee.plan._asdict(),
    }


def _load(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise InvalidValue(f"checkpoint {str(path)!r} does not exist: expected one that `train --out` left")
    try:
        with safe_open(path, framework="pt") as opened:
            about = json.loads((opened.metadata() or {})["refattn"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InvalidValue(f"checkpoint {str(path)!r} is truncated or no checkpoint: expected one to read") from error
    return about, tensors


def _load_optimizer(optimizer: torch.optim.Adam, tensors: dict[str, Tensor]) -> None:
    state = optimizer.state_dict()
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, moment = rest.partition(".")
            state["state"].setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict(state)


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(draft, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        raise InvalidValue(f"checkpoint {str(path)!r} cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
