"""Faults planted in the Triton kernels by changing their text, each with the property that must see it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Whoever uses a kernel must have imported it before it is changed, and not keep the changed one.
import tests.support.gpu.small_tiles  # noqa: F401


@dataclass(frozen=True)
class Mutant:
    """In a module of refattn_gpu the text `old`, which is there `times` times, is replaced by `new`.

    kernel    that of tests/support/gpu/small_tiles.py whose `property` must fail in `format`
    features  those of ordinary inputs that show the fault, if any do: what a peer's test would use
    """

    name: str
    module: str
    old: str
    new: str
    property: str
    kernel: str = "attention"
    format: str = "bf16"
    features: tuple[str, ...] = ()
    times: int = 1


FORWARD, BACKWARD = "kernels.attention_forward", "kernels.attention_backward"
ONLINE, SCORES, VISIBILITY = "kernels.online", "kernels.scores", "kernels.visibility"
COMBINE, SPLIT, ROWS = "kernels.decode_combine", "kernels.decode_split", "kernels.softmax_forward"

MUTANTS = (
    # Online softmax
    Mutant("accumulator never rescaled", ONLINE, "acc * rescale[:, None]", "acc * 1.0", "values/maxima"),
    Mutant("normaliser never rescaled", ONLINE, "normaliser * rescale", "normaliser * 1.0", "values/maxima"),
    Mutant(
        "stale maximum, however far it is passed", ONLINE,
        "    m_new = tl.maximum(m, tile_max)\n",
        '    m_new = tl.where(m == float("-inf"), tile_max, tl.maximum(m, 0.0))\n',
        "values/maxima",
    ),
    Mutant(
        "log-sum-exp in base 2", ONLINE,
        "tl.log2(tl.where(empty, 1.0, normaliser))) * LN_2)", "tl.log2(tl.where(empty, 1.0, normaliser))))",
        "lse/search",
    ),
    Mutant(
        "rows that see nothing divided by 0", ONLINE,
        "1.0 / tl.where(normaliser == 0.0, 1.0, normaliser)", "1.0 / normaliser", "values/masks", features=("mask",),
    ),
    Mutant(
        "accumulator in bf16", ONLINE,
        "acc * rescale[:, None]", "(acc * rescale[:, None]).to(tl.bfloat16).to(tl.float32)",
        "values/generic", format="fp32",
    ),
    Mutant(
        "weights rounded before the normaliser", ONLINE,
        "p = exp2(scores - reference[:, None], DEGREE)",
        "p = exp2(scores - reference[:, None], DEGREE).to(tl.bfloat16).to(tl.float32)", "values/generic",
    ),
    Mutant(
        "products in tf32", FORWARD,
        "products = tl.dot(q, k, input_precision=PRECISION)", 'products = tl.dot(q, k, input_precision="tf32")',
        "values/generic", format="fp32",
    ),
    Mutant(
        "scores in bf16", FORWARD,
        "products = tl.dot(q, k, input_precision=PRECISION)",
        "products = tl.dot(q, k, input_precision=PRECISION).to(tl.bfloat16).to(tl.float32)", "values/generic",
    ),
    Mutant(
        "wholly visible tiles in the base of e", FORWARD,
        "scores, visible = products * (scale * LOG2_E), key_mask", "scores, visible = products * scale, key_mask",
        "values/generic",
    ),
    # Visibility
    Mutant(
        "tail of the keys seen", SCORES, "    visible = in_bounds\n",
        "    visible = (rows < queries) & (columns >= 0)\n",
        "values/generic",
    ),
    Mutant(
        "invisible keys as scores of 0", SCORES,
        'scores = tl.where(visible, scores, float("-inf"))', "scores = tl.where(visible, scores, 0.0)",
        "values/masks", features=("causal",),
    ),
    Mutant(
        "causal mask one too narrow", VISIBILITY,
        "mask & (columns <= rows + right)", "mask & (columns < rows + right)", "values/needles", features=("causal",),
    ),
    Mutant(
        "causal mask one too wide", VISIBILITY,
        "mask & (columns <= rows + right)", "mask & (columns <= rows + right + 1)",
        "values/needles", features=("causal",),
    ),
    Mutant(
        "window one too narrow", VISIBILITY,
        "mask & (columns >= rows - left)", "mask & (columns > rows - left)", "values/features", features=("window",),
    ),
    Mutant(
        "diagonal tile taken for wholly visible", VISIBILITY,
        "full_end = visible_end(low, length, ahead, HAS_AHEAD)",
        "full_end = visible_end(high, length, ahead, HAS_AHEAD)",
        "values/needles", features=("causal",),
    ),
    Mutant(
        "tile at the edge of a window taken for wholly visible", VISIBILITY,
        "    full_end = visible_end(low", "    full_start = start\n    full_end = visible_end(low",
        "values/masks", features=("window",),
    ),
    Mutant(
        "first tile of a window left out", VISIBILITY,
        "start = tl.maximum(position - back, 0) // BLOCK * BLOCK",
        "start = tl.cdiv(tl.maximum(position - back, 0), BLOCK) * BLOCK", "values/masks", features=("window",),
    ),
    Mutant(
        "NaN of values not kept from rows", ONLINE, "v = zero_nonfinite(v)", "v = v",
        "visibility/nan", features=("causal",),
    ),
    # Features
    Mutant(
        "groups of heads interleaved", FORWARD,
        "kv_head = head // sizes.group", "kv_head = head % (sizes.heads // sizes.group)", "values/shapes",
    ),
    Mutant(
        "slopes with the wrong sign", SCORES,
        "scores -= slope * distance", "scores += slope * distance", "values/terms", features=("alibi",),
    ),
    Mutant(
        "sinks counted twice", ONLINE, 'm == float("-inf"), 0.0, 1.0)', 'm == float("-inf"), 0.0, 2.0)',
        "values/terms", features=("sinks",),
    ),
    # Backward
    Mutant(
        "derivative of the softcap forgotten", "kernels.score_gradients",
        "dx = ds * (1.0 - tanh * tanh)", "dx = ds * 1.0", "gradients/terms", features=("softcap",),
    ),
    Mutant(
        "weights recomputed from nats", "kernels.score_gradients", "safe_max(lse) * LOG2_E", "safe_max(lse) * 1.0",
        "gradients/generic",
    ),
    Mutant(
        "rows of dO past the last hold what lies behind", f"{BACKWARD}_keys",
        "row_place = head_place + rows\n",
        'row_place = head_place + rows; do = tl.where(row_mask[:, None], do, float("nan"))\n',
        "gradients/generic",
    ),
    Mutant(
        "gradient of the log-sum-exp with the wrong sign", f"{BACKWARD}_delta",
        "delta -= load_vector(dlse_pointers", "delta += load_vector(dlse_pointers", "gradients/generic",
    ),
    Mutant(
        "tile of queries on the diagonal left out", VISIBILITY,
        "start = tl.maximum(position - back, 0) // BLOCK * BLOCK",
        "start = tl.cdiv(tl.maximum(position - back, 0) + 1, BLOCK) * BLOCK", "gradients/masks", features=("causal",),
    ),
    Mutant(
        "gradients of interleaved groups", f"{BACKWARD}_keys",
        "head = kv_head * sizes.group + member", "head = member * kv_heads + kv_head", "gradients/shapes",
    ),
    Mutant(
        "gradient of scores rounded away from Delta", f"{BACKWARD}_keys",
        "delta = load_vector(delta_base + row_place, row_mask, FULL)",
        "delta = load_vector(delta_base + row_place, row_mask, FULL).to(tl.bfloat16).to(tl.float32)",
        "gradients/generic", format="fp32",
    ),
    # Decoding
    Mutant(
        "combined log-sum-exp in base 2", COMBINE, "tl.log2(total) * LN_2", "tl.log2(total)",
        "values/generic", "decode",
    ),
    Mutant(
        "parts weighted by powers of two", COMBINE,
        "tl.exp2((log_weight - reference) * LOG2_E)", "tl.exp2(log_weight - reference)", "values/generic", "decode",
    ),
    Mutant(
        "last part not combined", COMBINE,
        "range(splits):\n        log_weight", "range(tl.maximum(splits - 1, 1)):\n        log_weight",
        "values/needles", "decode",
    ),
    Mutant(
        "parts race for one place", SPLIT,
        "row = split.to(tl.int64) * all_rows", "row = (split // 2).to(tl.int64) * all_rows",
        "values/needles", "decode",
    ),
    Mutant(
        "table not asked after the first page", SPLIT,
        "offsets = page * page_stride", "offsets = tl.where(positions < PAGE, page, positions // PAGE) * page_stride",
        "invariance/paged", "decode", features=("paged",),
    ),
    # Other kernels
    Mutant("-inf taken from -inf", ROWS, "safe_max(m_new)", "m_new", "softmax/empty", "logsumexp", "fp32"),
    Mutant(
        "rows padded with 0", ROWS,
        'X.column, float("-inf"), BLOCK_N)', "X.column, 0.0, BLOCK_N)", "softmax/values", "softmax", times=2,
    ),
    Mutant(
        "log2(e) to five digits", "kernels.exponential", "tl.constexpr(1.4426950408889634)", "tl.constexpr(1.4427)",
        "softmax/values", "softmax", "fp32",
    ),
    Mutant(
        "last element of a row left out", ROWS,
        "mask=row_mask[:, None] & (place < columns)[None, :],\n        other",
        "mask=row_mask[:, None] & (place < columns - 1)[None, :],\n        other", "softmax/values", "softmax",
    ),
    Mutant(
        "sum of a row never rescaled", ROWS, "normaliser * rescale", "normaliser * 1.0",
        "softmax/values", "log_softmax",
    ),
    Mutant(
        "blocks see a tile of the next one", "kernels.block_scaled_forward",
        "columns[None, :], queries, block_end,", "columns[None, :], queries, keys,",
        "values/generic", "exactly_scaled",
    ),
    Mutant(
        "keys of the next bucket seen", "kernels.sparse_forward",
        "visible = in_intervals(key_slots, starts, ends)", "visible = in_intervals(key_slots, starts, ends + 1)",
        "values/masks", "sparse_attention", features=("sparse",),
    ),
)  # fmt: skip


@contextmanager
def planted(mutant: Mutant, folder: Path) -> Iterator[None]:
    """The fault in every module that uses what it changes; `folder` takes the changed text."""
    module = importlib.import_module(f"refattn_gpu.{mutant.module}")
    text = Path(str(module.__file__)).read_text()
    assert text.count(mutant.old) == mutant.times, f"{mutant.module} has {text.count(mutant.old)} of {mutant.old!r}"
    file = folder / f"{mutant.name.replace(' ', '_')}.py"
    file.write_text(text.replace(mutant.old, mutant.new))
    spec = importlib.util.spec_from_file_location(f"mutant_of_{mutant.module.replace('.', '_')}", file)
    assert spec is not None
    assert spec.loader is not None
    changed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(changed)
    undo: list[tuple[Any, str, Any]] = []
    users = [found for name, found in list(sys.modules.items()) if name.startswith("refattn_gpu")]
    try:
        for name, original in list(vars(module).items()):
            replacement = vars(changed).get(name)
            # What the module imports is the same object in both.
            if name.startswith("__") or replacement is original or not _made_here(original, module.__name__):
                continue
            for user in users:
                for own, value in list(vars(user).items()):
                    if value is original:
                        undo.append((user, own, value))
                        setattr(user, own, replacement)
        assert undo, f"{mutant.name} changes nothing that is used"
        yield
    finally:
        for user, own, value in undo:
            setattr(user, own, value)


def _made_here(value: Any, module: str) -> bool:
    """True for a kernel, a device function or a number of the module."""
    function = getattr(value, "fn", value)
    return getattr(function, "__module__", None) == module or type(value).__name__ == "constexpr"
