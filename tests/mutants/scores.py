"""Faults in the scores: scale, softcap, bias, ALiBi, the product Q K^T."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from refattn.contract.arithmetic import Stage
from refattn.contract.visibility import block_of
from refattn.models import Rounder
from refattn.models import TiledAttention as Tiled
from refattn.numbers import formats
from tests.mutants.registry import factory, forward, forward_class
from tests.mutants.samples import sample

FP16 = Rounder(Stage(formats.fp16))
BF16 = Rounder(Stage(formats.bf16))
TF32 = Rounder(Stage(formats.tf32))


@forward("S01", "scale", "https://github.com/flashinfer-ai/flashinfer/pull/787", "scale")
def scale_without_log2e(kernel: Any, problem: Any) -> Any:
    """The scale lacks the factor log2(e) that exp2 wants: the softmax is too flat."""
    return Tiled.scale(kernel, problem) * math.log(2.0)


@forward("S03", "scale", "https://github.com/vllm-project/vllm/pull/32149", "scale", shows=sample("scale"))
def scale_ignored(_kernel: Any, problem: Any) -> Any:
    """The scale that the caller gives is ignored: always 1 / sqrt(D)."""
    return 1.0 / math.sqrt(problem.shape.d_qk)


@forward("P20", "scale", "", "scale")
def scale_off_by_a_hundredth(kernel: Any, problem: Any) -> Any:
    """The scale is 1 % too large."""
    return Tiled.scale(kernel, problem) * 1.01


@forward("P21", "scale", "", "scale")
def scale_off_by_a_thousandth(kernel: Any, problem: Any) -> Any:
    """The scale is 0.1 % too large."""
    return Tiled.scale(kernel, problem) * 1.001


@forward("P22", "scale", "", "load_queries")
def scale_rounded_into_query(kernel: Any, problem: Any, rows: Any) -> Any:
    """Q is multiplied by the scale and rounded to bf16 before the product, which nobody declares."""
    scale = kernel.scale(problem)
    return problem.stages.inputs(Tiled.load_queries(kernel, problem, rows) * scale) / scale


@forward("P23", "scale", "", "scale", shows=sample(d_v=16, d_qk=24))
def scale_of_value_dimension(kernel: Any, problem: Any) -> Any:
    """The default scale is 1 / sqrt of V's head dimension."""
    given = problem.spec.scale
    return Tiled.scale(kernel, problem) if given is not None else 1.0 / math.sqrt(problem.shape.d_v)


SOFTCAP = {"claims": ("softcap",), "shows": sample("softcap", factor=4.0)}


@forward("A02", "bias", "https://github.com/Dao-AILab/flash-attention/pull/2402", "softcap", **SOFTCAP)
def softcap_times_score(kernel: Any, problem: Any, s: Any) -> Any:
    """The softcap is s * tanh(s / c) instead of c * tanh(s / c)."""
    return s / problem.spec.softcap * Tiled.softcap(kernel, problem, s)


@forward(
    "A03",
    "bias",
    "https://github.com/vllm-project/vllm/issues/56578",
    "softcap",
    claims=("softcap",),
    shows=sample("softcap", factor=200.0),
)
def softcap_of_exponentials(_kernel: Any, problem: Any, s: Any) -> Any:
    """tanh is (e^x - e^-x) / (e^x + e^-x), NaN beyond 88."""
    rounded, cap = problem.stages.scores, problem.spec.softcap
    up, down = rounded(np.exp(rounded(s / cap))), rounded(np.exp(rounded(-s / cap)))
    return rounded(cap * rounded(rounded(up - down) / rounded(up + down)))


@forward("P24", "bias", "", "softcap", **SOFTCAP)
def softcap_doubled(kernel: Any, problem: Any, s: Any) -> Any:
    """tanh's argument is s / (2 c): a base-2 factor applied twice."""
    return 2.0 * Tiled.softcap(kernel, problem, s / 2.0) if s.size else s


@forward_class("P25", "bias", "", claims=("softcap", "bias"), shows=sample("softcap", "bias", factor=4.0))
class SoftcapAfterBias(Tiled):
    """The softcap is applied after the bias."""

    def softcap(self, _problem: Any, s: Any) -> Any:
        return s

    def biased_scores(self, problem: Any, tile: Any, s: Any) -> Any:
        biased = Tiled.biased_scores(self, problem, tile, s)
        return biased if problem.spec.softcap is None else Tiled.softcap(self, problem, biased)


@forward("P26", "bias", "", "capped_scores", **SOFTCAP)
def softcap_before_scale(kernel: Any, problem: Any, tile: Any) -> Any:
    """The softcap is applied to Q K^T before the scale."""
    s = kernel.dot(problem, kernel.load_queries(problem, tile.rows), kernel.load_keys(problem, tile.columns))
    capped = s if problem.spec.softcap is None else kernel.softcap(problem, s)
    return problem.stages.scores(capped * kernel.scale(problem))


BIAS = {"claims": ("bias",), "shows": sample("bias")}


@forward("S02", "scale", "https://github.com/meta-pytorch/segment-anything-fast/pull/71", "bias", **BIAS)
def bias_without_log2e(kernel: Any, problem: Any, tile: Any) -> Any:
    """Q K^T is scaled by log2(e) and the bias is not."""
    return Tiled.bias(kernel, problem, tile) * math.log(2.0)


@forward("P27", "bias", "", "bias", **BIAS)
def bias_before_scale(kernel: Any, problem: Any, tile: Any) -> Any:
    """The bias is added before the scale, and so is scaled too."""
    return Tiled.bias(kernel, problem, tile) * kernel.scale(problem)


@forward("P28", "bias", "", "bias", claims=("bias",), shows=sample("bias"))
def bias_of_first_head(kernel: Any, problem: Any, tile: Any) -> Any:
    """A bias per head is read with a head stride of 0: every head takes the first one's."""
    return Tiled.bias(kernel, problem, tile)[:, :1]


@forward("I05", "int", "https://github.com/facebookresearch/xformers/commit/471569b4", "bias", **BIAS)
def bias_offset_wraps(_kernel: Any, problem: Any, tile: Any) -> Any:
    """The flat offset into the bias overflows (here beyond 2**14 elements)."""
    bias = block_of(problem.spec.bias, slice(None))
    wrapped = bias.ravel()[np.arange(bias.size).reshape(bias.shape) % 2**14]
    rows = slice(None) if bias.shape[2] == 1 else tile.rows
    return problem.stages.constant(wrapped[:, :, rows] if bias.shape[3] == 1 else wrapped[:, :, rows, tile.columns])


ALIBI = {"claims": ("alibi",), "shows": sample("alibi")}


@forward("A05", "bias", "https://github.com/meta-pytorch/attention-gym/pull/86", "alibi", **ALIBI)
def alibi_sign_flipped(kernel: Any, problem: Any, tile: Any) -> Any:
    """ALiBi adds +slope * distance: far keys win."""
    return -Tiled.alibi(kernel, problem, tile)


@forward("P29", "bias", "", "alibi", **ALIBI)
def alibi_of_mirrored_head(kernel: Any, problem: Any, tile: Any) -> Any:
    """The slopes are in reverse order of the heads."""
    return np.flip(Tiled.alibi(kernel, problem, tile), axis=1)


@forward("P30", "bias", "", "alibi", **ALIBI)
def alibi_without_offset(_kernel: Any, problem: Any, tile: Any) -> Any:
    """ALiBi's distance is |i - j|, although the queries stand at the end of the keys."""
    slopes = problem.stages.constant(np.atleast_2d(problem.spec.alibi_slopes))[:, :, None, None]
    i = np.arange(tile.rows.start, tile.rows.stop)[:, None]
    return problem.stages.scores(-slopes * np.abs(i - np.arange(tile.columns.start, tile.columns.stop)))


@forward("P05", "prec", "https://github.com/ggml-org/llama.cpp/pull/10232", "dot", shows=sample(factor=4.0))
def product_accumulated_in_fp16(_kernel: Any, _problem: Any, q: Any, k: Any) -> Any:
    """Q K^T is accumulated in fp16: it overflows beyond 65504."""
    return FP16.product(q, np.swapaxes(k, -1, -2))


@forward("P31", "prec", "", "dot")
def product_accumulated_in_bf16(_kernel: Any, _problem: Any, q: Any, k: Any) -> Any:
    """Q K^T is accumulated in bf16."""
    return BF16.product(q, np.swapaxes(k, -1, -2))


@forward("P32", "prec", "", "scores")
def scores_stored_in_bf16(kernel: Any, problem: Any, tile: Any) -> Any:
    """The scores are stored in bf16 between two kernels."""
    return BF16(Tiled.scores(kernel, problem, tile))


@forward("P33", "prec", "", "scores", formats=("fp16",))
def scores_stored_in_fp16(kernel: Any, problem: Any, tile: Any) -> Any:
    """The scores are stored in fp16 between two kernels."""
    return FP16(Tiled.scores(kernel, problem, tile))


@forward_class("P08", "prec", "https://github.com/triton-lang/triton/issues/1671", formats=("fp32",))
class ProductsInTf32(Tiled):
    """Both products of an fp32 kernel run in TF32."""

    def dot(self, problem: Any, q: Any, k: Any) -> Any:
        return Tiled.dot(self, problem, TF32(q), TF32(k))

    def values_product(self, problem: Any, tile: Any, operand: Any) -> Any:
        return problem.stages.accumulator.product(TF32(operand), TF32(self.load_values(problem, tile.columns)))


@forward("P09", "prec", "https://github.com/pytorch/pytorch/issues/161022", "dot", formats=("fp32",))
def scores_in_tf32(kernel: Any, problem: Any, q: Any, k: Any) -> Any:
    """Q K^T of an fp32 kernel runs in TF32, the default having changed."""
    return Tiled.dot(kernel, problem, TF32(q), TF32(k))


@forward("P34", "prec", "", "dot", shows=sample(d_qk=24))
def product_of_power_of_two_dimensions(kernel: Any, problem: Any, q: Any, k: Any) -> Any:
    """Only the first power of two of the head dimensions enters Q K^T."""
    kept = 2 ** int(math.log2(q.shape[-1]))
    return Tiled.dot(kernel, problem, q[..., :kept], k[..., :kept])


def _with_descales(name: str, forgotten: str) -> Any:
    class Descaled(Tiled):
        def load_keys(self, problem: Any, columns: Any) -> Any:
            keys = problem.k[:, :, columns] / descale(problem.k)
            back = 1.0 if forgotten == "key" else descale(problem.k)
            return self.for_each_query_head(problem, keys * back)

        def load_values(self, problem: Any, columns: Any) -> Any:
            values = problem.v[:, :, columns] / descale(problem.v)
            back = descale(problem.k) if forgotten == "value" else descale(problem.v)
            return self.for_each_query_head(problem, values * back)

    Descaled.__name__ = name
    return Descaled


def descale(array: Any) -> Any:
    """A power of two for each head, (B, Hkv, 1, 1), that brings its numbers within 16; 1 where they are already."""
    largest = np.nan_to_num(np.abs(array), nan=0.0, posinf=0.0).max(axis=(-2, -1), initial=1.0, keepdims=True)
    return 2.0 ** np.maximum(0.0, np.ceil(np.log2(largest / 16.0)))


def _loud_keys(case: Any) -> Any:
    return case.replace(k=case.k * np.where(np.arange(case.k.shape[1]) == 1, 32.0, 1.0)[:, None, None])


@factory("Q05", "fp8", "https://github.com/vllm-project/vllm/pull/51363", shows=sample(change=_loud_keys))
def descale_of_keys_dropped() -> Any:
    """Heads of large keys are scaled down, and their scores are not scaled up again."""
    return _with_descales("DescaleOfKeysDropped", "key")()


@factory("Q07", "fp8", "https://github.com/sgl-project/sglang/pull/26852", shows=sample(change=_loud_keys))
def descale_of_values_from_keys() -> Any:
    """The values are scaled up by the keys' factor instead of their own."""
    return _with_descales("DescaleOfValuesFromKeys", "value")()


@forward_class("P35", "scale", "", claims=("softcap", "bias"), fields={"exp": "exp2"}, shows=sample("bias"))
class ScaleFoldedTwice(Tiled):
    """With a bias the scale is applied to the scores, and again in the exponential's factor."""

    def exponent_factor(self, problem: Any) -> Any:
        twice = problem.spec.bias is not None
        return Tiled.exponent_factor(self, problem) * (self.scale(problem) if twice else 1.0)
