"""Faults in the exponential: relative errors and polynomials that nobody declares, and roundings of its argument."""

from __future__ import annotations

from typing import Any

import numpy as np

from refattn.models import TiledAttention as Tiled
from refattn.models import polynomial_exp2
from tests.mutants.registry import forward
from tests.mutants.samples import sample
from tests.mutants.scores import BF16, FP16


def _wavy(size: float) -> Any:
    def exponential(kernel: Any, problem: Any, s: Any, reference: Any) -> Any:
        # Where everything is NaN or infinite there is no wave.
        wave = np.sin(37.0 * np.nan_to_num(s - reference, nan=0.0, posinf=0.0, neginf=0.0))
        return problem.stages.scores(Tiled.exponential(kernel, problem, s, reference) * (1.0 + size * wave))

    return exponential


@forward("P36", "exp", "", "exponential")
def exponential_off_by_a_hundredth(kernel: Any, problem: Any, s: Any, reference: Any) -> Any:
    """exp has a relative error of 1 %, of either sign."""
    return _wavy(1e-2)(kernel, problem, s, reference)


@forward("P37", "exp", "", "exponential")
def exponential_off_by_a_thousandth(kernel: Any, problem: Any, s: Any, reference: Any) -> Any:
    """exp has a relative error of 0.1 %, of either sign."""
    return _wavy(1e-3)(kernel, problem, s, reference)


@forward("P38", "exp", "", "exponential_base_2", fields={"exp": "exp2"})
def polynomial_of_degree_1(_kernel: Any, problem: Any, x: Any) -> Any:
    """2**x is a polynomial of degree 1 (3.8 %), undeclared."""
    return polynomial_exp2(x, 1, problem.stages.scores)


@forward("P39", "exp", "", "exponential_base_2", fields={"exp": "exp2"})
def polynomial_of_degree_2(_kernel: Any, problem: Any, x: Any) -> Any:
    """2**x is a polynomial of degree 2 (0.2 %), undeclared."""
    return polynomial_exp2(x, 2, problem.stages.scores)


@forward("P40", "exp", "", "exponential", formats=("fp32",))
def polynomial_of_degree_3_in_fp32(_kernel: Any, problem: Any, s: Any, reference: Any) -> Any:
    """exp of an fp32 kernel is a polynomial of degree 3 (9e-5), undeclared."""
    return polynomial_exp2((s - reference) * np.log2(np.e), 3, problem.stages.scores)


@forward("P41", "exp", "", "exponential")
def exponent_rounded_to_bf16(kernel: Any, problem: Any, s: Any, reference: Any) -> Any:
    """s - m is rounded to bf16 before the exponential."""
    return Tiled.exponential(kernel, problem, BF16(s - reference), np.zeros_like(reference))


@forward("P42", "exp", "", "exponential")
def exponent_rounded_to_fp16(kernel: Any, problem: Any, s: Any, reference: Any) -> Any:
    """s - m is rounded to fp16 before the exponential (a half-precision exp2 unit)."""
    return Tiled.exponential(kernel, problem, FP16(s - reference), np.zeros_like(reference))


@forward("P43", "exp", "", "exponential", shows=sample(factor=8.0))
def exponent_clamped(kernel: Any, problem: Any, s: Any, reference: Any) -> Any:
    """s - m is clamped at -10, so that far keys keep a weight of e**-10."""
    clamped = np.where(np.isneginf(s), s, np.maximum(s, reference - 10.0))
    return Tiled.exponential(kernel, problem, clamped, reference)


@forward("Z03", "batchinv", "https://github.com/Dao-AILab/flash-attention/pull/2595", "probabilities",
         fields={"exp": "poly"}, claims=("mask", "batch_invariant"), shows=sample("causal"))  # fmt: skip
def polynomial_on_full_tiles_only(kernel: Any, problem: Any, s: Any, maximum: Any) -> Any:
    """2**x is a polynomial on full tiles and the library's on masked ones: a row's bits depend on its neighbours."""
    masked = np.isneginf(s).any()
    return (Tiled(exp="exp2") if masked else kernel).exponential(problem, s, kernel.guarded(maximum)[..., None])
