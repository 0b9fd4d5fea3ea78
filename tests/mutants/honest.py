"""Honest variants, which a checker must not accuse: other tiles, orders, exponentials and formats, all declared."""

from __future__ import annotations

from typing import Any

from refattn.contract.arithmetic import Arithmetic
from refattn.models import TiledAttention, TiledBackward, log_softmax, logsumexp, online_softmax, safe_softmax
from tests.mutants.online import Fp8
from tests.mutants.registry import HONEST, register
from tests.mutants.softmaxes import softmax_fault

FEATURES = (
    "strict_causal", "window", "softcap", "alibi", "bias", "mask", "sinks", "backward", "varlen", "paged", "sparse",
    "dropout", "deterministic", "batch_invariant", "nan_safe", "ieee", "zero_length",
)  # fmt: skip


def _honest(id: str, name: str, title: str, make: Any, **options: Any) -> None:
    def named() -> None:
        pass

    named.__name__, named.__doc__ = name, title
    register(id, "honest", "", named, make, make, into=HONEST, **options)


def _tiled(id: str, name: str, title: str, *, claims: Any = (), formats: Any = ("bf16",), **fields: Any) -> None:
    _honest(id, name, title, lambda: TiledAttention(**fields), claims=claims, formats=formats)


def _naive(**changes: Any) -> Arithmetic:
    return Arithmetic.naive("bf16", **changes)


_tiled("H01", "every_feature", "The tiled model with everything that it claims", claims=FEATURES)
_tiled("H02", "fp16", "The tiled model on fp16", formats=("fp16",), claims=("backward",))
_tiled("H03", "fp32", "The tiled model on fp32", formats=("fp32",), claims=("backward",))
_tiled("H04", "tiles_of_16", "Tiles of 16 keys and queries", key_tile=16, query_tile=16, claims=("backward",))
_tiled("H05", "tiles_of_128", "Tiles of 128 keys and queries", key_tile=128, query_tile=128, claims=("backward",))
_tiled("H06", "reverse_order", "Tiles from the last to the first", tile_order="reverse", claims=("backward",))
_tiled("H07", "conditional_rescale", "A rescale only where the maximum grows by 8 bits", rescale_threshold=8.0)
_tiled("H08", "base_2", "exp2 of a fused multiply-add", exp="exp2", claims=("backward", "sinks", "softcap"))
_tiled("H09", "polynomial", "exp2 by a polynomial of degree 3, declared", exp="poly")
_tiled("H10", "splits", "Keys in three parts, combined by their log-sum-exp", splits=3, claims=("window", "sinks"))
_tiled(
    "H11", "naive", "A stored matrix of bf16 scores, P cast after it is normalised", arithmetic=_naive(), key_tile=None
)
_tiled(
    "H12",
    "naive_with_fp32_softmax",
    "As torch's math path: bf16 scores, softmax in fp32, P cast after it is normalised",
    arithmetic=_naive(scores="fp32", dot="fp32"),
)
_tiled(
    "H13",
    "scaled_queries",
    "Q scaled and rounded first, declared",
    arithmetic=Arithmetic.flash("bf16", scale_query=True),
)
_tiled(
    "H14",
    "sum_of_cast",
    "The row sum adds the cast weights, declared",
    arithmetic=Arithmetic.flash("bf16", sum_of_cast=True),
)
_tiled(
    "H15",
    "narrow_accumulator",
    "A bf16 accumulator, declared",
    arithmetic=Arithmetic.flash("bf16", accumulator="bf16", group_sum="bf16"),
)
_honest(
    "H16",
    "fp8",
    "P in e4m3 with an offset of 2**8",
    lambda: Fp8(probability_offset=8),
    formats=("e4m3",),
)


class DropoutAfterCast(TiledBackward):
    """P is cast before it is divided by 1 - p, which a report took for an error; it is one rounding less."""

    def dropout(self, problem: Any, tile: Any, x: Any) -> Any:
        return x if problem.spec.keep is None else x * self.kept(problem, tile)

    def probability_gradient(self, problem: Any, tile: Any, do: Any) -> Any:
        gradient = TiledBackward.probability_gradient(self, problem, tile, do)
        return problem.stages.accumulator(gradient * self.dropout_factor(problem))

    def value_gradient(self, problem: Any, tile: Any, weights: Any, do: Any) -> Any:
        gradient = TiledBackward.value_gradient(self, problem, tile, weights, do)
        return problem.stages.accumulator(gradient * self.dropout_factor(problem))


class DropoutAfterCastKernel(TiledAttention):
    """The forward pass of DropoutAfterCast."""

    def backward_kernel(self) -> Any:
        return DropoutAfterCast()


_honest(
    "R04", "dropout_after_cast", "The backward pass casts P before it divides by 1 - p", DropoutAfterCastKernel,
    claims=("backward", "dropout"),
)  # fmt: skip


@softmax_fault("H20", "honest", "", into=HONEST)
def softmax_in_three_passes(x: Any, axis: int) -> Any:
    """The safe softmax of the whole row."""
    return safe_softmax(x, axis)


@softmax_fault("H21", "honest", "", into=HONEST)
def softmax_in_one_pass(x: Any, axis: int) -> Any:
    """The online softmax, element by element."""
    return online_softmax(x, axis)


@softmax_fault("H22", "honest", "", kind="log_softmax", formats=("fp32",), into=HONEST)
def log_softmax_of_tiles(x: Any, axis: int) -> Any:
    """The model's log_softmax in fp32."""
    return log_softmax(x, axis)


@softmax_fault("H23", "honest", "", kind="logsumexp", into=HONEST)
def log_sum_exp_of_tiles(x: Any, axis: int) -> Any:
    """The model's logsumexp."""
    return logsumexp(x, axis)
