"""Language models from a folder, a Python package that carries one, or the hub, and fingerprints of them."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from refattn.errors import InvalidValue


class LanguageModel(NamedTuple):
    """A frozen model in evaluation mode, and its tokenizer."""

    model: Any
    tokenizer: Any
    name: str


def load(name: str) -> LanguageModel:
    """The model of a name: a folder, a GGUF file, a Python package that carries one, or else a name on the hub.

    It is frozen, in evaluation mode, and computes in float32. Raises InvalidValue where nothing can be loaded.
    """
    folder, options = _place(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidValue(f"model {name!r} cannot be loaded: expected a causal language model ({reason})") from error
    return LanguageModel(frozen(model), tokenizer, name)


def frozen(model: Any) -> Any:
    """The model without gradients of its own, and without dropout."""
    model.requires_grad_(False)
    return model.eval()


def fingerprint(model: Any) -> str:
    """A name of the model's weights: their names, shapes, and some of their numbers, hashed."""
    digest = hashlib.sha256()
    for name, weights in sorted(model.state_dict().items()):
        flat = weights.detach().flatten()
        few = flat[:: max(1, flat.numel() // 64)].to(torch.float64).cpu().numpy()
        digest.update(f"{name}{tuple(weights.shape)}".encode() + few.tobytes())
    return digest.hexdigest()[:16]


def _place(name: str) -> tuple[str, dict[str, str]]:
    """The place from which transformers loads the model, and the options for that."""
    path = Path(name)
    if not path.exists() and name.replace("-", "_").isidentifier():
        package = importlib.util.find_spec(name.replace("-", "_"))
        if package is not None and package.origin is not None:
            path = Path(package.origin).parent
    if path.is_file():
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir() and not (path / "config.json").exists():
        files = sorted(path.glob("*.gguf"))
        if len(files) != 1:
            raise InvalidValue(f"model {name!r} holds {len(files)} GGUF files: expected one, or a config.json")
        return str(path), {"gguf_file": files[0].name}
    return (str(path) if path.is_dir() else name), {}
