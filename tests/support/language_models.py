"""Tiny language models with random weights, one of each kind of attention, and texts without a tokenizer's download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from refattn.learned.language_models import LanguageModel, frozen

WINDOW = 24
SIZES = {
    "vocab_size": 128,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    # Spread out, so that attention is far from uniform.
    "initializer_range": 0.3,
}


def _llama() -> Any:
    return transformers.LlamaConfig(**SIZES, intermediate_size=48, num_key_value_heads=2)


def _opt() -> Any:
    sizes = {name: value for name, value in SIZES.items() if name != "initializer_range"}
    return transformers.OPTConfig(**sizes, ffn_dim=48, word_embed_proj_dim=32, init_std=0.3, dropout=0.1)


def _gemma() -> Any:
    return transformers.GemmaConfig(**SIZES, intermediate_size=48, num_key_value_heads=1, head_dim=16)


def _gemma2() -> Any:
    return transformers.Gemma2Config(
        **SIZES, intermediate_size=48, num_key_value_heads=2, head_dim=16, sliding_window=8, attn_logit_softcapping=2.0
    )


CONFIGURATIONS = {"llama": _llama, "opt": _opt, "gemma": _gemma, "gemma2": _gemma2}


def tiny(kind: str = "llama", seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """A frozen model of a kind, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return frozen(transformers.AutoModelForCausalLM.from_config(CONFIGURATIONS[kind]())).to(dtype)


def tokens(windows: int, length: int = WINDOW, seed: int = 0) -> torch.Tensor:
    """Windows of random tokens."""
    return torch.randint(3, 128, (windows, length), generator=torch.Generator().manual_seed(seed))


class Letters:
    """A tokenizer with a token a character."""

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        del options
        return {"input_ids": [ord(letter) % 128 for letter in text]}


def language(kind: str = "llama", seed: int = 0) -> LanguageModel:
    """A tiny model with a tokenizer."""
    return LanguageModel(tiny(kind, seed), Letters(), f"tiny {kind}")


def text_file(folder: Path, letters: int = 4000) -> Path:
    """A text of so many letters, which repeats itself as texts do."""
    generator = torch.Generator().manual_seed(1)
    words = ["".join(chr(int(c)) for c in torch.randint(97, 122, (4,), generator=generator)) for _ in range(30)]
    chosen = torch.randint(0, 30, (letters // 5 + 1,), generator=generator)
    path = folder / "text.txt"
    path.write_text(" ".join(words[int(each)] for each in chosen)[:letters], encoding="utf-8")
    return path
