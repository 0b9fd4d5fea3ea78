"""Contract: refattn_gpu.decode conforms like anybody's kernel, and neither batch mates nor pages change a bit."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

import refattn
from refattn.contract.spec import AttentionSpec
from refattn.errors import InvalidType, InvalidValue
from tests.support.extras import needed

torch = needed("torch")
triton = needed("triton")

import refattn_interpreter as interpreter
from refattn_gpu.decoding.decode import Decode, decode, pages_of

# Of tiny tiles and few parts, so that the lengths that properties choose take several, and longer ones than split_keys.
SMALL = Decode(tile_keys=16, split_keys=16, most_splits=4)
# Interpreted kernels are slow: the sharpest properties here, all by `refattn check refattn_gpu:decode`.
FAMILIES = [
    ("native", "bf16", "values/needles"),
    ("native", "fp16", "visibility/nan"),
    ("native", "fp32", "invariance/paged"),
]


def judged(kernel: Any, call: str, format: str, only: str) -> Any:
    with interpreter.active():
        return refattn.check(interpreter.in_any_thread(kernel), call, (format,), only=only)


@pytest.mark.parametrize(("call", "format", "only"), FAMILIES)
def test_decoding_conforms(call: str, format: str, only: str) -> None:
    report = judged(SMALL, call, format, only)
    assert report.conforms, [finding.message for finding in report.findings if finding.fails]
    assert len(report.findings) == 1


def module(name: str) -> Any:
    return importlib.import_module(f"refattn_gpu.kernels.{name}")


@triton.jit
def half_a_part(_length, split_keys, _most_splits):  # type: ignore[no-untyped-def]
    """Parts that leave out keys."""
    return split_keys // 2


@triton.jit
def in_powers_of_two(m, normaliser):  # type: ignore[no-untyped-def]
    """A log-sum-exp in base 2."""
    return triton.language.where(normaliser == 0.0, float("-inf"), m + triton.language.log2(normaliser))


def without_the_table(original: Any) -> Any:
    return lambda table, stride, batch, positions, held, page, row, _has_table, size: original(
        table, stride, batch, positions, held, page, row, False, size
    )


FAULTS = [
    ("decode_split", "split_size", lambda _: half_a_part),
    ("decode_split", "log_sum_exp", lambda _: in_powers_of_two),
    ("decode_split", "slot_offsets", without_the_table),
    ("decode_combine", "LOG2_E", lambda _: 1.0),
]


def assert_in_pages() -> None:
    """Two queries to 70 keys in shuffled pages, held to the declared bounds."""
    generator = np.random.default_rng(0)
    q, k, v = (generator.standard_normal((1, 2, n, 8)).astype(np.float32) for n in (2, 72, 72))
    pages = generator.permutation(18)
    positions = (pages[:, None] * 4 + np.arange(4)).ravel()
    spec = AttentionSpec(causal=True, key_positions=np.where(positions < 70, positions, -1))
    with interpreter.active():
        out, lse = SMALL(*map(torch.from_numpy, (q, k, v)), spec=spec)
    arithmetic = SMALL.arithmetic_for("fp32")
    refattn.assert_attention(out.numpy(), q, k, v, spec=spec, arithmetic=arithmetic, lse=lse.numpy())


def test_a_paged_problem_lies_within_its_bounds() -> None:
    assert_in_pages()


@pytest.mark.parametrize(("kernel", "name", "fault"), FAULTS)
def test_a_planted_fault_is_found(kernel: str, name: str, fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module(kernel), name, fault(getattr(module(kernel), name)))
    with pytest.raises(AssertionError, match="times the bound"):
        assert_in_pages()


NUMBERS = np.random.default_rng(4)
BIAS = NUMBERS.normal(size=(1, 4, 2, 72))
BIAS[0, 1, :, 20:30] = -np.inf
MASK = NUMBERS.random((1, 4, 2, 72)) < 0.6
MASK[0, 2, 0] = False


def masked_problem() -> tuple[list[Any], Any]:
    """q of two queries and four heads, k and v of two heads and 72 slots of 4 shuffled pages, and their positions."""
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn((1, heads, n, 8), generator=generator) for heads, n in ((4, 2), (2, 72), (2, 72))]
    positions = (np.random.default_rng(0).permutation(18)[:, None] * 4 + np.arange(4)).ravel()
    return tensors, np.where(positions < 70, positions, -1)


def assert_masked(spec: AttentionSpec) -> None:
    tensors, _ = masked_problem()
    with interpreter.active():
        out, lse = SMALL(*tensors, spec=spec)
    arithmetic = SMALL.arithmetic_for("fp32")
    arrays = [x.numpy() for x in tensors]
    refattn.assert_attention(out.numpy(), *arrays, spec=spec, arithmetic=arithmetic, lse=lse.numpy())


@pytest.mark.parametrize("paged", [False, True], ids=["in order", "in pages"])
@pytest.mark.parametrize("names", [("bias",), ("mask",), ("bias", "mask")], ids="+".join)
def test_bias_and_mask_of_each_head_lie_within_their_bounds(names: tuple[str, ...], paged: bool) -> None:
    changes: dict[str, Any] = {name: {"bias": BIAS, "mask": MASK}[name] for name in names}
    if paged:
        changes["key_positions"] = masked_problem()[1]
    assert_masked(AttentionSpec(causal=True, softcap=2.0, **changes))


def test_a_bias_that_is_the_same_for_all_keys_or_heads_is_taken() -> None:
    assert_masked(AttentionSpec(bias=np.array([0.5]), mask=np.array([[True], [False]])))
    assert_masked(AttentionSpec(bias=BIAS[:, :1, :1], key_positions=masked_problem()[1]))


def test_the_bias_of_another_head_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = module("decode_split")
    original = kernel.visible_scores
    monkeypatch.setattr(kernel, "visible_scores", lambda p, b, head, *rest: original(p, b, head // 2 * 2, *rest))
    with pytest.raises(AssertionError, match="times the bound"):
        assert_masked(AttentionSpec(bias=BIAS))


def test_a_bias_in_the_order_of_slots_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refattn_gpu.decoding.decode.by_position", lambda spec, _: spec.replace(key_positions=None))
    with pytest.raises(AssertionError, match="times the bound"):
        assert_masked(AttentionSpec(bias=BIAS, key_positions=masked_problem()[1]))


def test_bias_and_mask_of_a_paged_cache_are_by_position() -> None:
    q, k, v, table, lengths = problem((70,))
    order = table[0].long()
    together = [x[order].reshape(1, -1, 2, 8).transpose(1, 2)[:, :, :70] for x in (k, v)]
    spec = AttentionSpec(causal=True, bias=BIAS, mask=MASK)
    with interpreter.active():
        expected = SMALL(q, *together, spec=spec.replace(bias=BIAS[..., :70], mask=MASK[..., :70]))
        found = SMALL.paged(q, k, v, table, lengths, spec=spec)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def problem(lengths: tuple[int, ...] = (5, 70, 33, 0), page: int = 4, dtype: Any = None) -> tuple[Any, ...]:
    """q of two queries and four heads, caches of two heads in shuffled pages, the table and the lengths."""
    generator = torch.Generator().manual_seed(0)
    batch, pages = len(lengths), -(-max(lengths) // page)
    q = torch.randn((batch, 4, 2, 8), generator=generator).to(dtype or torch.float32)
    k, v = (torch.randn((batch * pages + 1, page, 2, 8), generator=generator).to(q.dtype) for _ in range(2))
    table = torch.randperm(batch * pages, generator=generator).reshape(batch, pages).to(torch.int32)
    return q, k, v, table, torch.tensor(lengths, dtype=torch.int32)


CAUSAL = AttentionSpec(causal=True, sinks=np.array([0.5, -1.0, 2.0, 0.0]))


class SplitByTheLongest(Decode):
    """As many parts as fill the device: they depend on the longest sequence of the batch."""

    def launch(self, q: Any, cache: Any, shape: Any, spec: Any) -> Any:
        longest = max(16, int(cache.lengths.max()) // 2 // 16 * 16)
        return Decode(tile_keys=16, split_keys=longest, most_splits=4).launch(q, cache, shape, spec)


def changed_by_batch_mates(kernel: Decode, spec: AttentionSpec = CAUSAL) -> set[int]:
    """The sequences whose bits, alone or in a smaller batch, differ from those among others of other lengths.

    Batches are of one to four sequences, and launched in one to four parts.
    """
    q, k, v, table, lengths = problem(dtype=torch.bfloat16)
    changed = set()
    with interpreter.active():
        together = kernel.paged(q, k, v, table, lengths, spec=spec)
        for group in ([0], [1], [2], [3], [2, 0], [0, 2, 2]):
            width = max(1, -(-int(lengths[group].max()) // 4))
            mask = None if spec.mask is None else spec.mask[group][..., : 4 * width]
            own = spec.replace(mask=mask)
            fewer = kernel.paged(q[group], k, v, table[group, :width], lengths[group], spec=own)
            for place, sequence in enumerate(group):
                if not all(torch.equal(a[sequence], b[place]) for a, b in zip(together, fewer, strict=True)):
                    changed.add(sequence)
    return changed


def test_batch_mates_of_any_length_change_no_bit() -> None:
    assert changed_by_batch_mates(SMALL) == set()
    mask = np.random.default_rng(1).random((4, 4, 2, 72)) < 0.6
    assert changed_by_batch_mates(SMALL, CAUSAL.replace(mask=mask)) == set()


def test_parts_that_depend_on_the_batch_are_found() -> None:
    assert changed_by_batch_mates(SplitByTheLongest(tile_keys=16, split_keys=16, most_splits=4))


def test_pages_change_no_bit() -> None:
    q, k, v, table, lengths = problem((70,))
    order = table[0].long()
    together = [x[order].reshape(1, -1, 2, 8).transpose(1, 2)[:, :, :70] for x in (k, v)]
    positions = np.full(k.shape[0] * 4, -1)
    for logical, place in enumerate(order.tolist()):
        inside = np.arange(4 * logical, 4 * logical + 4)
        positions[4 * place : 4 * place + 4] = np.where(inside < 70, inside, -1)
    stored = [x.reshape(1, -1, 2, 8).transpose(1, 2) for x in (k, v)]
    with interpreter.active():
        expected = SMALL(q, *together, spec=CAUSAL)
        by_table = SMALL.paged(q, k, v, table, lengths, spec=CAUSAL)
        by_positions = SMALL(q, *stored, spec=CAUSAL.replace(key_positions=positions))
    for a, b, c in zip(expected, by_table, by_positions, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_a_table_holds_the_largest_pages_that_there_are() -> None:
    in_pages = np.array([[4, 5, 6, 7, 0, 1, 2, 3, -1, -1, -1, -1, 8, 9, -1, -1]])
    page, table, lengths = pages_of(in_pages)
    assert (page, table.tolist(), lengths.tolist()) == (4, [[1, 0, 3, 0]], [10])
    page, table, _ = pages_of(np.array([[1, 0], [0, 1]]))
    assert (page, table.tolist()) == (1, [[1, 0], [0, 1]])


def changed_table(sequence: int, place: int, page: int) -> Any:
    table = problem()[3].clone()
    table[sequence, place] = page
    return table


def test_pages_beyond_a_sequences_length_may_be_anything() -> None:
    q, k, v, table, lengths = problem()
    wild = changed_table(2, 9, 1 << 30)
    wild[3] = -1
    trusting = Decode(tile_keys=16, split_keys=16, most_splits=4, check_indices=False)
    with interpreter.active():
        expected, found, trusted = (
            kernel.paged(q, k, v, pages, lengths, spec=CAUSAL)
            for kernel, pages in ((SMALL, table), (SMALL, wild), (trusting, wild))
        )
    for other in (found, trusted):
        assert all(torch.equal(a, b) for a, b in zip(expected, other, strict=True))


def test_unchecked_indices_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v, table, lengths = problem((5,))
    calls: list[Any] = []
    monkeypatch.setattr("refattn_gpu.decoding.decode.checked_indices", lambda *found: calls.append(found))
    with interpreter.active():
        Decode(check_indices=False).paged(q, k, v, table, lengths)
        assert not calls
        Decode().paged(q, k, v, table, lengths)
    assert calls


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"q": None}, "q is not a torch tensor of four axes"),
        ({"k_cache": torch.zeros(3)}, "k_cache is not a torch tensor of four axes"),
        ({"v_cache": torch.zeros((1, 4, 2, 8))}, "v_cache has shape"),
        ({"block_table": torch.zeros((4, 3))}, "block_table is not a torch tensor of torch.int32"),
        ({"lengths": torch.zeros(3, dtype=torch.int32)}, r"lengths has shape \(3,\)"),
        ({"spec": AttentionSpec(key_positions=np.arange(3))}, "spec has key_positions"),
        ({"spec": AttentionSpec(bias=np.zeros((1, 1, 1, 71)))}, r"bias has shape \(1, 1, 1, 71\)"),
        ({"k_cache": torch.zeros((1, 0, 2, 8))}, "expected pages of at least one slot"),
        ({"lengths": torch.tensor([5, 73, 33, 0], dtype=torch.int32)}, r"lengths\[1\] is 73: expected 0 .. 72"),
        ({"lengths": torch.tensor([5, 70, -1, 0], dtype=torch.int32)}, r"lengths\[2\] is -1: expected 0 .. 72"),
        ({"block_table": changed_table(2, 8, 73)}, r"block_table\[2, 8\] is 73: expected 0 .. 72, a page of k_cache"),
        ({"block_table": changed_table(0, 1, -1)}, r"block_table\[0, 1\] is -1: expected 0 .. 72, a page of k_cache"),
        ({"q": torch.zeros((4, 3, 1, 8))}, "q has 3 heads and k has 2"),
    ],
)
def test_what_it_cannot_take_is_refused_before_a_launch(changes: Any, complaint: str) -> None:
    names = ("q", "k_cache", "v_cache", "block_table", "lengths")
    with pytest.raises((InvalidType, InvalidValue), match=complaint):
        decode.paged(**(dict(zip(names, problem(), strict=True)) | changes))


def test_odd_parts_are_refused() -> None:
    with pytest.raises(InvalidValue, match="split_keys is 24: expected a multiple of tile_keys, 16"):
        Decode(tile_keys=16, split_keys=24)
    with pytest.raises(InvalidValue, match="tile_keys is 256: expected a power of two from 16 to 128"):
        Decode(tile_keys=256)
