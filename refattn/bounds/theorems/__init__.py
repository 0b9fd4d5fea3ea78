"""The formulas that proofs/ proves, one function a theorem, of the same name: of floats, arrays or exact Fractions."""

from refattn.bounds.theorems.dot import dot_any_order
from refattn.bounds.theorems.exponential import (
    argument_fma,
    argument_lost,
    argument_subtract,
    argument_subtract_exp2,
    exponential_error,
    polynomial_exp2,
)
from refattn.bounds.theorems.gradients import (
    delta_error,
    gradient_additions,
    gradient_sum,
    gradient_underflow,
    p_recompute,
    probability_gradient_error,
    score_gradient_error,
    slope_error,
    softcap_gradient,
    through_softcap,
    value_weight_error,
    weight_error,
)
from refattn.bounds.theorems.lse import lse_error
from refattn.bounds.theorems.normaliser import common_excess, least_normaliser, normaliser_error
from refattn.bounds.theorems.output import hull_error, output_error, quotient_error
from refattn.bounds.theorems.schedule import additions, gibbs_normaliser, log_at_most, underflow
from refattn.bounds.theorems.scores import (
    alibi_score,
    biased_alibi_score,
    biased_score,
    capped_score,
    divided_score,
    scaled_query,
    scaled_query_score,
    scaled_score,
)
from refattn.bounds.theorems.softmax import log_softmax_error, log_sum_exp_error, softmax_error
from refattn.bounds.theorems.splits import split_error, split_gap, split_lost, split_lse_rounding, split_output_error

__all__ = [
    "additions",
    "alibi_score",
    "argument_fma",
    "argument_lost",
    "argument_subtract",
    "argument_subtract_exp2",
    "biased_alibi_score",
    "biased_score",
    "capped_score",
    "common_excess",
    "delta_error",
    "divided_score",
    "dot_any_order",
    "exponential_error",
    "gibbs_normaliser",
    "gradient_additions",
    "gradient_sum",
    "gradient_underflow",
    "hull_error",
    "least_normaliser",
    "log_at_most",
    "log_softmax_error",
    "log_sum_exp_error",
    "lse_error",
    "normaliser_error",
    "output_error",
    "p_recompute",
    "polynomial_exp2",
    "probability_gradient_error",
    "quotient_error",
    "scaled_query",
    "scaled_query_score",
    "scaled_score",
    "score_gradient_error",
    "slope_error",
    "softcap_gradient",
    "softmax_error",
    "split_error",
    "split_gap",
    "split_lost",
    "split_lse_rounding",
    "split_output_error",
    "through_softcap",
    "underflow",
    "value_weight_error",
    "weight_error",
]
