"""Faults of the backward pass, under an honest forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from refattn.contract.visibility import block_of
from refattn.models import Tile, TiledAttention
from refattn.models import TiledBackward as Tiled
from refattn.models.backward import Sums
from tests.mutants.hiding import seen_of
from tests.mutants.registry import backward, factory
from tests.mutants.samples import sample
from tests.mutants.scores import BF16
from tests.mutants.storage import with_pitch


@backward("A04", "bias", "https://github.com/Dao-AILab/flash-attention/pull/1033", "softcap_slope",
          claims=("softcap",), shows=sample("softcap", upstream=True))  # fmt: skip
def softcap_missing_in_backward(_kernel: Any, _problem: Any, _tile: Any, capped: Any) -> Any:
    """dS lacks the softcap's factor 1 - tanh^2."""
    return np.ones_like(capped)


@backward("P130", "bias", "", "softcap_slope", claims=("softcap",), shows=sample("softcap", upstream=True))
def softcap_slope_of_scaled_score(kernel: Any, _problem: Any, tile: Any, capped: Any) -> Any:
    """The softcap's slope is 1 - (s / c)^2 with the capped s taken for tanh."""
    return kernel.mask_gradient(1.0 - capped**2, tile)


@backward("B05", "bwd", "https://github.com/fla-org/flash-linear-attention/pull/1033", "delta")
def delta_subtracted_twice(kernel: Any, problem: Any, upstream: Any, rows: Any, sees: Any) -> Any:
    """Delta is subtracted once for each tile of V's dimensions."""
    return 2.0 * Tiled.delta(kernel, problem, upstream, rows, sees)


@backward("P131", "bwd", "", "delta")
def delta_dropped(_kernel: Any, _problem: Any, upstream: Any, rows: Any, _sees: Any) -> Any:
    """Delta's sum is dropped."""
    return -upstream.dlse[:, :, rows]


@backward("L14", "lse", "https://github.com/Dao-AILab/flash-attention/issues/404", "delta")
def gradient_of_log_sum_exp_ignored(kernel: Any, problem: Any, upstream: Any, rows: Any, sees: Any) -> Any:
    """The gradient through the log-sum-exp is ignored."""
    return Tiled.delta(kernel, problem, upstream, rows, sees) + upstream.dlse[:, :, rows]


@backward("P132", "lse", "", "delta")
def gradient_of_log_sum_exp_negated(kernel: Any, problem: Any, upstream: Any, rows: Any, sees: Any) -> Any:
    """The gradient through the log-sum-exp has the wrong sign."""
    return Tiled.delta(kernel, problem, upstream, rows, sees) + 2.0 * upstream.dlse[:, :, rows]


@backward("P133", "prec", "", "delta")
def delta_in_bf16(kernel: Any, problem: Any, upstream: Any, rows: Any, sees: Any) -> Any:
    """Delta is stored in bf16."""
    return BF16(Tiled.delta(kernel, problem, upstream, rows, sees))


@backward("B04", "bwd", "https://github.com/fla-org/flash-linear-attention/pull/941", "probability_gradient")
def half_of_value_dimensions(kernel: Any, problem: Any, tile: Any, do: Any) -> Any:
    """dP sums only the first half of V's dimensions."""
    half = -(-problem.shape.d_v // 2)
    return Tiled.probability_gradient(kernel, problem, tile, np.where(np.arange(do.shape[-1]) < half, do, 0.0))


@factory("B06", "bwd", "https://github.com/pytorch/pytorch/pull/188302", claims=("backward", "bias"),
         shows=sample("bias", upstream=True))  # fmt: skip
def gradient_of_bias_without_log_sum_exp() -> Any:
    """dbias is computed with a log-sum-exp that was never stored."""

    class Backward(Tiled):
        def __call__(self, q: Any, k: Any, v: Any, out: Any, lse: Any, do: Any, **options: Any) -> Any:
            right = Tiled.__call__(self, q, k, v, out, lse, do, **options)
            wrong = Tiled.__call__(self, q, k, v, out, np.zeros_like(lse), do, **options)
            return right._replace(dbias=wrong.dbias)

    class Kernel(TiledAttention):
        def backward_kernel(self) -> Any:
            return Backward()

    return Kernel()


@backward("B09", "bwd", "https://github.com/Dao-AILab/flash-attention/pull/818", "finalize")
def gradient_of_values_with_strides_of_keys(kernel: Any, problem: Any, sums: Any) -> Any:
    """dV is written with the strides of K, which differ where its head dimension does."""
    gradients = Tiled.finalize(kernel, problem, sums)
    wrong = with_pitch(gradients.dv.astype(np.float64), problem.shape.d_qk)
    return gradients._replace(dv=wrong.astype(gradients.dv.dtype))


@backward("R01", "dropout", "https://github.com/pytorch/pytorch/pull/188015", "kept", claims=("dropout",),
          shows=sample("dropout", upstream=True))  # fmt: skip
def dropout_offset_wraps(_kernel: Any, problem: Any, tile: Any) -> Any:
    """The backward pass' dropout offset overflows (here beyond 2**14) and so reads another mask than the forward's."""
    keep = block_of(problem.spec.keep, slice(None))
    wrapped = keep.ravel()[np.arange(keep.size).reshape(keep.shape) % 2**14]
    rows = slice(None) if keep.shape[2] == 1 else tile.rows
    columns = slice(None) if keep.shape[3] == 1 else tile.columns
    return wrapped[:, :, rows, columns].astype(np.float64)


@backward("R02", "dropout", "https://github.com/facebookresearch/xformers/commit/70161e5592a116801f1ba588f7797a3b1becb0f3",
          "finalize", claims=("dropout",), shows=sample("dropout", upstream=True))  # fmt: skip
def dropout_of_padding_rows_uninitialised(kernel: Any, problem: Any, sums: Any) -> Any:
    """With dropout and a ragged tile of queries, the mask's padding rows hold garbage and dK, dV are NaN."""
    gradients = Tiled.finalize(kernel, problem, sums)
    if problem.spec.keep is None or problem.shape.queries % kernel.query_tile == 0:
        return gradients
    return gradients._replace(dk=gradients.dk * np.float32(np.nan), dv=gradients.dv * np.float32(np.nan))


@backward("P134", "dropout", "", "dropout_factor", claims=("dropout",), shows=sample("dropout", upstream=True))
def dropout_not_compensated_in_backward(_kernel: Any, _problem: Any) -> Any:
    """The backward pass does not divide the kept weights by 1 - p."""
    return 1.0


@backward("E18", "empty", "https://github.com/pytorch/pytorch/issues/41508", "probabilities", claims=("mask",),
          shows=sample("causal", queries=150, keys=100, upstream=True))  # fmt: skip
def empty_rows_are_nan_in_backward(kernel: Any, problem: Any, s: Any, lse: Any) -> Any:
    """exp(s - LSE) is NaN in rows that see no key."""
    return kernel.exponential(problem, s, lse[..., None])


@backward("G03", "gqa", "https://github.com/XunhaoLai/native-sparse-attention-triton/issues/27", "sum_over_group")
def gradients_of_keys_to_interleaved_heads(_kernel: Any, problem: Any, array: Any) -> Any:
    """dK and dV of head h are added to key-value head h % Hkv."""
    shape = problem.shape
    return array.reshape(shape.batch, shape.group, shape.kv_heads, *array.shape[2:]).sum(axis=1)


@backward("P135", "gqa", "", "sum_over_group")
def gradients_of_first_head_of_group(_kernel: Any, problem: Any, array: Any) -> Any:
    """dK and dV are those of the first head of each group."""
    return array[:, :: problem.shape.group]


@backward("P136", "gqa", "", "sum_over_group")
def gradients_of_group_in_bf16(_kernel: Any, problem: Any, array: Any) -> Any:
    """dK and dV of each head are rounded to bf16 and added up in bf16, which is not declared."""
    shape = problem.shape
    grouped = array.reshape(shape.batch, shape.kv_heads, shape.group, *array.shape[2:])
    return BF16.sum(BF16(grouped), 2)


@backward("M04", "mask", "https://github.com/triton-lang/triton/issues/4541", "visible")
def always_causal_in_backward(_kernel: Any, problem: Any, rows: Any) -> Any:
    """The backward pass is always causal."""
    return seen_of(problem, rows, causal=True)


@backward("P137", "mask", "", "visible", claims=("window",), shows=sample("window", upstream=True))
def window_ignored_in_backward(_kernel: Any, problem: Any, rows: Any) -> Any:
    """The backward pass ignores the window."""
    return seen_of(problem, rows, window=(None, None))


@backward("P138", "mask", "", "visible", shows=sample("causal", upstream=True))
def causal_aligned_top_left_in_backward(_kernel: Any, problem: Any, rows: Any) -> Any:
    """The backward pass aligns the causal mask at the top left."""
    return seen_of(problem, rows, alignment="top_left")


@backward("T04", "tail", "https://github.com/Dao-AILab/flash-attention/issues/443", "absorb",
          shows=sample("causal", queries=150, keys=20, upstream=True))  # fmt: skip
def tail_masked_on_first_tile_only(kernel: Any, problem: Any, tile: Any, upstream: Any, delta: Any, sums: Any) -> None:
    """Causal: only the first tile of queries masks the keys that the last tile of keys lacks."""
    Tiled.absorb(kernel, problem, tile, upstream, delta, sums)
    size = problem.arithmetic.tile - (tile.columns.stop - tile.columns.start)
    stale = slice(0, min(size, problem.shape.keys))
    if problem.spec.causal and tile.rows.start and stale.stop and tile.columns.stop == problem.shape.keys:
        seen = np.ones((1, 1, tile.rows.stop - tile.rows.start, stale.stop), np.bool_)
        scratch = Sums(sums.dq, np.zeros_like(sums.dk), np.zeros_like(sums.dv), None, None)
        Tiled.absorb(kernel, problem, Tile(tile.rows, stale, seen), upstream, delta, scratch)


@backward("T08", "tail", "https://github.com/tile-ai/tilelang/pull/2461", "finalize")
def padding_rows_of_statistics_uninitialised(kernel: Any, problem: Any, sums: Any) -> Any:
    """LSE and Delta of a ragged last tile's padding rows hold garbage: dK is NaN."""
    gradients = Tiled.finalize(kernel, problem, sums)
    ragged = problem.shape.queries % kernel.query_tile
    return gradients._replace(dk=gradients.dk * np.float32(np.nan)) if ragged else gradients


@backward("P139", "tail", "", "row_tiles", shows=sample(queries=150, upstream=True))
def ragged_tile_of_queries_dropped(kernel: Any, problem: Any) -> Any:
    """The backward pass drops the ragged last tile of queries."""
    tiles = Tiled.row_tiles(kernel, problem)
    return tiles[: max(1, problem.shape.queries // kernel.query_tile)]


@backward("P140", "scale", "", "key_gradient")
def gradient_of_keys_not_scaled(kernel: Any, problem: Any, tile: Any, ds: Any) -> Any:
    """dK is not multiplied by the scale."""
    return Tiled.key_gradient(kernel, problem, tile, ds) / kernel.scale(problem)


@backward("P141", "scale", "", "query_gradient")
def gradient_of_queries_off_by_a_hundredth(kernel: Any, problem: Any, tile: Any, ds: Any) -> Any:
    """dQ is 1 % too large."""
    return Tiled.query_gradient(kernel, problem, tile, ds) * 1.01


@backward("P142", "bwd", "", "probabilities")
def probabilities_with_base_2_log_sum_exp(kernel: Any, problem: Any, s: Any, lse: Any) -> Any:
    """P is recomputed with a natural log-sum-exp taken for one in base 2."""
    return Tiled.probabilities(kernel, problem, s, lse * np.log(2.0))


@backward("P143", "prec", "", "probabilities")
def probabilities_of_rounded_log_sum_exp(kernel: Any, problem: Any, s: Any, lse: Any) -> Any:
    """P is recomputed with a log-sum-exp rounded to bf16."""
    return Tiled.probabilities(kernel, problem, s, BF16(lse))


@backward("P144", "bias", "", "accumulate_bias", claims=("bias",), shows=sample("bias", upstream=True))
def gradient_of_bias_of_last_batch(kernel: Any, problem: Any, tile: Any, ds: Any, dbias: Any) -> None:
    """The gradient of a bias that the batch shares is that of the last batch element."""
    Tiled.accumulate_bias(kernel, problem, tile, ds[-1:] if dbias.shape[0] == 1 else ds, dbias)


@backward("P145", "bias", "", "accumulate_bias", claims=("bias",), shows=sample("bias", upstream=True))
def gradient_of_bias_scaled(kernel: Any, problem: Any, tile: Any, ds: Any, dbias: Any) -> None:
    """dbias is multiplied by the softmax scale."""
    Tiled.accumulate_bias(kernel, problem, tile, ds * kernel.scale(problem), dbias)


@backward("P146", "bias", "", "biased_scores", claims=("alibi",), shows=sample("alibi", upstream=True))
def alibi_missing_in_backward(kernel: Any, problem: Any, tile: Any, s: Any) -> Any:
    """The backward pass recomputes the scores without ALiBi."""
    if problem.spec.alibi_slopes is not None:
        return s if problem.spec.bias is None else problem.stages.scores(s + kernel.bias(problem, tile))
    return Tiled.biased_scores(kernel, problem, tile, s)


@backward("P147", "sink", "", "accumulate_sinks", claims=("sinks",), shows=sample("sinks", upstream=True))
def gradient_of_sinks_negated(kernel: Any, problem: Any, dsinks: Any, lse: Any, delta: Any) -> Any:
    """The sinks' gradient has the wrong sign."""
    return -Tiled.accumulate_sinks(kernel, problem, -dsinks, lse, delta)


@backward("P148", "prec", "", "absorb")
def gradient_of_queries_accumulated_in_bf16(
    kernel: Any, problem: Any, tile: Any, upstream: Any, delta: Any, sums: Any
) -> None:
    """dQ is accumulated in bf16 from tile to tile (atomic adds to a bf16 array)."""
    Tiled.absorb(kernel, problem, tile, upstream, delta, sums)
    sums.dq[:, :, tile.rows] = BF16(sums.dq[:, :, tile.rows])


@backward("P149", "prec", "", "probability_gradient")
def probability_gradient_in_bf16(kernel: Any, problem: Any, tile: Any, do: Any) -> Any:
    """dP is stored in bf16."""
    return BF16(Tiled.probability_gradient(kernel, problem, tile, do))


@factory("N01", "race", "https://github.com/Dao-AILab/flash-attention/issues/359",
         claims=("backward", "deterministic"), shows=sample(keys=300, upstream=True, repeats=8))  # fmt: skip
def key_tile_overwritten_early() -> Any:
    """Now and then dQ's product reads the next tile's keys, which overwrote this one's."""
    random = np.random.default_rng(0)

    class Backward(Tiled):
        def query_gradient(self, problem: Any, tile: Any, ds: Any) -> Any:
            size = tile.columns.stop - tile.columns.start
            following = slice(tile.columns.start + size, tile.columns.stop + size)
            if following.stop <= problem.shape.keys and random.random() < 0.02:
                tile = Tile(tile.rows, following, tile.seen)
            return Tiled.query_gradient(self, problem, tile, ds)

    class Kernel(TiledAttention):
        def backward_kernel(self) -> Any:
            return Backward()

    return Kernel()
