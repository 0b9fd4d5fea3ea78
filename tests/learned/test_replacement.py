"""Replaced attention in a language model: every layer's rows are read as the model means them."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest

from refattn import oracle
from refattn.contract.block_scales import BlockScales
from refattn.contract.spec import AttentionSpec
from refattn.errors import InvalidValue
from refattn.numbers.roundoff import gamma
from tests.support.extras import needed, skip_without

torch = needed("torch")
skip_without("transformers")

from transformers import DynamicCache

from refattn.learned.methods import METHODS, Exact, build
from refattn.learned.replacement import attend, attending, layers
from refattn.learned.rows import Rows, rows_of_call
from tests.support.language_models import CONFIGURATIONS, WINDOW, tiny, tokens

UNIT = 2.0**-53
BLOCKS = BlockScales(3, WINDOW)


def replaced(model, name: str, inputs, **options):
    """Logits of the model with a method in every layer, one that has observed nothing."""
    modules = build(name, list(layers(model).values()), BLOCKS, seed=1).to(model.dtype)
    with torch.no_grad(), attending(model, list(modules)):
        return model(inputs, **options).logits


@pytest.mark.parametrize("kind", list(CONFIGURATIONS))
def test_every_layer_attends_as_the_definition_says(kind: str) -> None:
    model = tiny(kind, dtype=torch.float64)
    seen: list[tuple[Rows, torch.Tensor]] = []

    def site(method: Exact):
        def attention(rows: Rows) -> torch.Tensor:
            seen.append((rows, method(rows)))
            return seen[-1][1]

        return attention

    with torch.no_grad(), attending(model, [site(Exact(layer, BLOCKS)) for layer in layers(model).values()]):
        model(tokens(2))
    assert len(seen) == 2
    for rows, out in seen:
        spec = AttentionSpec(mask=rows.visible.numpy(), scale=rows.scale, softcap=rows.softcap)
        truth = oracle.attention(rows.query.numpy(), rows.key.numpy(), rows.value.numpy(), spec).out
        sizes = (rows.scaled_query.abs() @ rows.for_heads(rows.key).abs().transpose(-1, -2)).max().item()
        error = 4 * gamma(rows.query.shape[3] + WINDOW + 10, UNIT) * (1 + sizes)
        relative = math.expm1(2 * error) + gamma(WINDOW + 10, UNIT)
        assert (np.abs(out.numpy() - truth.mid) <= truth.rad + relative * rows.value.abs().max().item()).all()


@pytest.mark.parametrize("kind", list(CONFIGURATIONS))
def test_the_model_with_exact_scales_is_the_model(kind: str) -> None:
    """In float32, as near to its own attention as that is to itself when its weights change in the last bit."""
    inputs = tokens(2)

    def own(last_bits: int, seed: int = 0) -> torch.Tensor:
        model = tiny(kind)
        model.set_attn_implementation("eager")
        generator = torch.Generator().manual_seed(seed)
        for weights in model.parameters():
            weights.mul_(1 + last_bits * 2.0**-23 * (2 * torch.rand(weights.shape, generator=generator) - 1))
        with torch.no_grad():
            return model(inputs).logits

    noise = max((own(1, seed) - own(0)).abs().max() for seed in range(5))
    assert (replaced(tiny(kind), "exact", inputs) - own(0)).abs().max() <= 2 * noise
    assert (replaced(tiny(kind), "none", inputs) - own(0)).abs().max() > 1000 * noise


@pytest.mark.parametrize("name", [name for name in METHODS if name != "original"])
def test_no_token_reads_the_future(name: str) -> None:
    model = tiny()
    inputs, changed = tokens(1), tokens(1)
    changed[:, 15:] = tokens(1, seed=9)[:, 15:]
    assert torch.equal(replaced(model, name, inputs)[:, :15], replaced(model, name, changed)[:, :15])


def test_the_published_method_reads_the_future() -> None:
    model = tiny()
    inputs, changed = tokens(1), tokens(1)
    changed[:, 15:] = tokens(1, seed=9)[:, 15:]
    assert not torch.equal(replaced(model, "original", inputs)[:, :8], replaced(model, "original", changed)[:, :8])


def given(model: Any, cache: Any) -> dict[str, Any]:
    """The cache by the name that this release of transformers has for it."""
    names = inspect.signature(type(model).forward).parameters
    return {"cache" if "cache" in names else "past_key_values": cache}


@pytest.mark.parametrize("kind", list(CONFIGURATIONS))
@pytest.mark.parametrize("name", ["static", "none"])
def test_decoding_from_a_cache_predicts_what_the_whole_predicts(kind: str, name: str) -> None:
    model = tiny(kind, dtype=torch.float64)
    inputs = tokens(2)
    whole = replaced(model, name, inputs)
    modules = build(name, list(layers(model).values()), BLOCKS, seed=1).double()
    parts, cache = [], DynamicCache()
    with torch.no_grad(), attending(model, list(modules)):
        for part in torch.split(inputs, [10, *[1] * (WINDOW - 10)], dim=1):
            prediction = model(part, **given(model, cache), use_cache=True)
            parts.append(prediction.logits)
    # A misread cache, block, position or mask moves logits by far more than roundings do.
    assert (torch.cat(parts, 1) - whole).abs().max() <= 2.0**-30 * whole.abs().max()


@pytest.mark.parametrize("length", [1, 2, 9, WINDOW, WINDOW + 7])
def test_any_length_runs(length: int) -> None:
    for name in METHODS:
        assert replaced(tiny(), name, tokens(1, length)).isfinite().all(), name


def test_a_cache_that_drops_keys_is_refused() -> None:
    model = tiny("gemma2")
    modules = build("none", list(layers(model).values()), BLOCKS)
    with torch.no_grad(), attending(model, list(modules)):
        cache = model(tokens(1), use_cache=True).past_key_values
        with pytest.raises(InvalidValue, match="the cache drops keys"):
            model(tokens(1, 1), **given(model, cache), use_cache=True)


def test_padding_is_invisible() -> None:
    model = tiny(dtype=torch.float64)
    inputs = tokens(1)
    mask = torch.ones_like(inputs)
    mask[:, :4] = 0
    changed = inputs.clone()
    changed[:, :4] = 7
    logits = [replaced(model, "moments", batch, attention_mask=mask)[:, 4:] for batch in (inputs, changed)]
    assert torch.equal(*logits)


def test_the_models_own_attention_comes_back() -> None:
    model = tiny()
    before = model.config._attn_implementation
    own = model(tokens(1)).logits
    assert not torch.equal(replaced(model, "none", tokens(1)), own)
    assert model.config._attn_implementation == before
    assert torch.equal(model(tokens(1)).logits, own)


def test_a_model_that_keeps_its_attention_to_itself_is_refused() -> None:
    class Closed(torch.nn.Module):
        config = tiny().config
        device = torch.device("cpu")

        def set_attn_implementation(self, name: str) -> None:
            del name

        def forward(self, tokens: torch.Tensor, use_cache: bool) -> torch.Tensor:
            del use_cache
            return tokens

    with pytest.raises(InvalidValue, match="model is a Closed: expected one that attends through AttentionInterface"):
        layers(Closed())


def test_too_few_methods_are_refused() -> None:
    model = tiny()
    methods = list(build("none", list(layers(model).values())[:1], BLOCKS))
    with (
        pytest.raises(InvalidValue, match="sites are 1: expected one for each of the model's 2 layers"),
        attending(model, methods),
    ):
        pass


@pytest.mark.parametrize(
    ("arguments", "message"), [({"s_aux": 1}, "called with s_aux"), ({"dropout": 0.1}, "dropout is 0.1")]
)
def test_what_blocks_know_nothing_of_is_refused(arguments: dict, message: str) -> None:
    array = torch.zeros(1, 1, 2, 4)
    with pytest.raises(InvalidValue, match=message):
        attend({}, torch.nn.Identity(), array, array, array, None, **arguments)


def test_an_additive_mask_is_refused() -> None:
    array = torch.zeros(1, 1, 2, 4)
    with pytest.raises(InvalidValue, match=r"attention_mask has dtype torch\.float32: expected booleans"):
        attend({}, torch.nn.Identity(), array, array, array, torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize(("causal", "seen"), [(True, [[1, 1, 1, 0], [1, 1, 1, 1]]), (False, [[1] * 4] * 2)])
def test_without_a_mask_a_query_sees_what_lies_before_it_or_everything(causal: bool, seen: list[list[int]]) -> None:
    rows = rows_of_call(torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), None, causal=causal)
    assert rows.visible[0, 0].int().tolist() == seen
    assert rows.positions[0, 0].tolist() == [2 if causal else 3, 3]
