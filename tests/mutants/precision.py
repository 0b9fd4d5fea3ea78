"""Faults of precision: narrower or biased roundings than the kernel declares, after the scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from refattn.contract.arithmetic import Stage
from refattn.models import Rounder, State
from refattn.models import TiledAttention as Tiled
from refattn.numbers import formats
from tests.mutants.registry import forward
from tests.mutants.samples import sample
from tests.mutants.scores import BF16, FP16, TF32

BF16_TOWARDS_ZERO = Rounder(Stage(formats.bf16, "truncate"))
FP32_TOWARDS_ZERO = Rounder(Stage(formats.fp32, "truncate"))
E4M3 = Rounder(Stage(formats.e4m3))


def _two_maxima(case: Any) -> Any:
    """Two equal maxima, the other scores some 14 nats lower, and V below zero."""
    q, k = np.zeros_like(case.q), np.zeros_like(case.k)
    q[..., 0] = 8.0
    k[..., 0] = np.where(np.arange(case.shape.keys) < 2, 8.0, -1.0)
    return case.replace(q=q, k=k, v=-np.abs(case.v))


@forward("P90", "prec", "", "accumulate_values", shows=sample(keys=400))
def accumulator_in_bf16(kernel: Any, problem: Any, tile: Any, old: Any, factor: Any, operand: Any) -> Any:
    """The accumulator is kept in bf16 from tile to tile."""
    return BF16(Tiled.accumulate_values(kernel, problem, tile, old, factor, operand))


@forward("P91", "prec", "", "accumulate_values", formats=("fp16",))
def accumulator_in_fp16(kernel: Any, problem: Any, tile: Any, old: Any, factor: Any, operand: Any) -> Any:
    """The accumulator is kept in fp16 from tile to tile: it overflows, too."""
    return FP16(Tiled.accumulate_values(kernel, problem, tile, old, factor, operand))


@forward("P92", "prec", "", "values_product", formats=("fp16",))
def product_with_values_in_fp16(kernel: Any, problem: Any, tile: Any, operand: Any) -> Any:
    """P V is accumulated in fp16 within a tile."""
    return FP16.product(operand, kernel.load_values(problem, tile.columns))


@forward("P02", "prec", "https://arxiv.org/abs/2510.04212", "values_product", shows=sample(change=_two_maxima))
def product_with_values_rounded_to_bf16(kernel: Any, problem: Any, tile: Any, operand: Any) -> Any:
    """P V of every tile is rounded to bf16: biased where several weights are exactly 1."""
    return BF16(Tiled.values_product(kernel, problem, tile, operand))


@forward("P93", "prec", "", "accumulate_normaliser", formats=("fp16",))
def row_sum_in_fp16(_kernel: Any, _problem: Any, old: Any, factor: Any, p: Any) -> Any:
    """The row sum is accumulated in fp16: it stalls at 2048."""
    total = FP16(old * factor)
    for column in range(p.shape[-1]):
        total = FP16(total + p[..., column])
    return total


@forward("P94", "prec", "", "accumulate_normaliser")
def row_sum_in_bf16(kernel: Any, problem: Any, old: Any, factor: Any, p: Any) -> Any:
    """The row sum is kept in bf16 from tile to tile."""
    return BF16(Tiled.accumulate_normaliser(kernel, problem, old, factor, p))


@forward("P95", "prec", "", "cast_operand")
def probabilities_truncated(_kernel: Any, _problem: Any, x: Any) -> Any:
    """P is truncated to bf16 instead of rounded."""
    return BF16_TOWARDS_ZERO(x)


@forward("P96", "prec", "", "fill_empty_rows")
def output_truncated(kernel: Any, problem: Any, seen: Any, out: Any, lse: Any) -> Any:
    """The output is truncated to bf16 instead of rounded."""
    return BF16_TOWARDS_ZERO(Tiled.fill_empty_rows(kernel, problem, seen, out, lse))


@forward("P97", "prec", "", "accumulate_values", formats=("fp32",), shows=sample(format="fp32"))
def accumulator_truncated(kernel: Any, problem: Any, tile: Any, old: Any, factor: Any, operand: Any) -> Any:
    """The fp32 accumulator truncates (as some tensor cores do), although rounding is declared."""
    values = kernel.load_values(problem, tile.columns)
    return FP32_TOWARDS_ZERO(FP32_TOWARDS_ZERO(old * factor[..., None]) + FP32_TOWARDS_ZERO.product(operand, values))


@forward("P98", "prec", "", "cast_operand")
def probabilities_in_e4m3(_kernel: Any, _problem: Any, x: Any) -> Any:
    """P is cast to e4m3 in a bf16 kernel."""
    return E4M3(x)


@forward("P99", "prec", "", "cast_operand", formats=("fp16",))
def probabilities_through_bf16(kernel: Any, problem: Any, x: Any) -> Any:
    """P passes through bf16 in an fp16 kernel."""
    return Tiled.cast_operand(kernel, problem, BF16(x))


@forward("P100", "prec", "", "cast_operand", formats=("fp32",))
def probabilities_in_tf32(_kernel: Any, _problem: Any, x: Any) -> Any:
    """P V of an fp32 kernel takes P in TF32."""
    return TF32(x)


@forward("P101", "prec", "", "cast_operand", formats=("fp16",), shows=sample(format="fp16", factor=6.0))
def small_probabilities_flushed(kernel: Any, problem: Any, x: Any) -> Any:
    """Subnormal fp16 weights are flushed to zero: the mass of a long tail is lost."""
    cast = Tiled.cast_operand(kernel, problem, x)
    return np.where(np.abs(cast) < formats.fp16.smallest_normal, 0.0, cast)


@forward("P102", "prec", "", "finalize")
def reciprocal_in_bf16(kernel: Any, problem: Any, state: Any) -> Any:
    """The accumulator is multiplied by 1 / l rounded to bf16."""
    _, lse = Tiled.finalize(kernel, problem, state)
    reciprocal = BF16(1.0 / np.where(state.normaliser == 0.0, 1.0, state.normaliser))
    one = np.where(state.normaliser == 0.0, 0.0, 1.0)
    scaled = problem.stages.accumulator(state.accumulator * reciprocal[..., None])
    return Tiled.finalize(kernel, problem, State(state.maximum, one, scaled))[0], lse


@forward("P103", "prec", "", "fill_empty_rows",
         shows=sample(change=lambda case: case.replace(v=case.v * 2.0**20)))  # fmt: skip
def output_through_fp16(kernel: Any, problem: Any, seen: Any, out: Any, lse: Any) -> Any:
    """The output passes through fp16 on its way to bf16: it overflows, and small numbers lose bits."""
    return FP16(Tiled.fill_empty_rows(kernel, problem, seen, out, lse))


@forward("P104", "prec", "", "rescale_factor")
def rescale_factor_in_bf16(kernel: Any, problem: Any, old: Any, new: Any) -> Any:
    """The factor exp(m_old - m_new) of the accumulator and the row sum is rounded to bf16."""
    return BF16(Tiled.rescale_factor(kernel, problem, old, new))


@forward("P105", "prec", "", "accumulate_normaliser", fields={"exp": "exp2"})
def row_sum_with_epsilon(kernel: Any, problem: Any, old: Any, factor: Any, p: Any) -> Any:
    """1e-6 is added to the row sum of each tile against division by zero."""
    return Tiled.accumulate_normaliser(kernel, problem, old, factor, p) + 1e-6
