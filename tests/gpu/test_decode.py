"""Contract: refattn_gpu.decode conforms like anybody's kernel, and neither batch mates nor pages change a bit."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

import refattn
from refattn.errors import InvalidType, InvalidValue
from refattn.spec import AttentionSpec

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton", reason="Triton is not installed")

from refattn_gpu import interpreter  # noqa: E402
from refattn_gpu.decoding import Decode, decode, pages_of  # noqa: E402

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
    ("decode_split", "slots", without_the_table),
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


def changed_by_batch_mates(kernel: Decode) -> list[int]:
    """The sequences whose bits, alone, differ from those among others of other lengths."""
    q, k, v, table, lengths = problem(dtype=torch.bfloat16)
    with interpreter.active():
        together = kernel.paged(q, k, v, table, lengths, spec=CAUSAL)
        changed = []
        for one in range(len(lengths)):
            own = slice(one, one + 1)
            width = max(1, -(-int(lengths[one]) // 4))
            alone = kernel.paged(q[own], k, v, table[own, :width], lengths[own], spec=CAUSAL)
            if not all(torch.equal(a[own], b) for a, b in zip(together, alone, strict=True)):
                changed.append(one)
    return changed


def test_batch_mates_of_any_length_change_no_bit() -> None:
    assert changed_by_batch_mates(SMALL) == []


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


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"q": None}, "q is not a torch tensor of four axes"),
        ({"k_cache": torch.zeros(3)}, "k_cache is not a torch tensor of four axes"),
        ({"v_cache": torch.zeros((1, 4, 2, 8))}, "v_cache has shape"),
        ({"block_table": torch.zeros((4, 3))}, "block_table is not a torch tensor of torch.int32"),
        ({"lengths": torch.zeros(3, dtype=torch.int32)}, r"lengths has shape \(3,\)"),
        ({"spec": AttentionSpec(key_positions=np.arange(3))}, "spec has key_positions"),
        ({"spec": AttentionSpec(bias=np.zeros((1, 1, 1, 1)))}, "spec has bias"),
        ({"q": torch.zeros((4, 3, 1, 8))}, "q has 3 heads and k has 2"),
    ],
)
def test_what_it_cannot_take_is_refused_before_a_launch(changes: Any, complaint: str) -> None:
    names = ("q", "k_cache", "v_cache", "block_table", "lengths")
    with pytest.raises((InvalidType, InvalidValue), match=complaint):
        decode.paged(**(dict(zip(names, problem(), strict=True)) | changes))


def test_masks_and_odd_parts_are_refused() -> None:
    x = torch.zeros((1, 1, 1, 4))
    with pytest.raises(InvalidValue, match="spec has mask"):
        decode(x, x, x, spec=AttentionSpec(mask=np.ones((1, 1), bool)))
    with pytest.raises(InvalidValue, match="split_keys is 24: expected a multiple of tile_keys, 16"):
        Decode(tile_keys=16, split_keys=24)
