"""Errors of a softmax over blocks whose scales differ from exp(LSE_i - LSE) (proofs/block_scales.md; theories
BlockScales, BlockScalesUniversal, SplitsPerturbation).

A difference is the kernel's scale of a block less the exact one.
"""

from __future__ import annotations

from typing import Any

from refattn.numbers.roundoff import growth


def block_scale_distance(*differences: Any) -> Any:
    """Sum of |p' - p| over a row of weights, exactly (theorem distance_exact)."""
    return sum(abs(difference) for difference in differences)


def block_scale_output_error(*differences_and_sizes: Any) -> Any:
    """Error of the output, given block by block a difference and the block's largest |v| (theorem output_error, reached
    by theorem output_error_reached).
    """
    blocks = zip(differences_and_sizes[::2], differences_and_sizes[1::2], strict=True)
    return sum(abs(difference) * size for difference, size in blocks)


def block_scale_row_sum(*differences: Any) -> Any:
    """Distance of the weights' sum from 1, exactly (theorem row_sum_error)."""
    return abs(sum(differences))


def least_scale_distance(blocks: Any) -> Any:
    """The error, or nearly, in some row of scales that do not depend on the scores and sum to 1 (theorem
    no_scales_for_all_rows).
    """
    return 2 * (1 - 1 / blocks)


def softmax_distance(spread: Any) -> Any:
    """Sum of |p' - p| over a row of softmax weights whose scores are off by d, spread = max d - min d: at most
    2 tanh(spread / 4) (theorem softmax_distance_bounds).
    """
    grown = growth(spread / 2)
    return 2 * grown / (grown + 2)
