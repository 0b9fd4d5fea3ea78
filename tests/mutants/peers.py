"""The criteria of other projects' tests, applied to a kernel on the inputs that they use.

Normal inputs, several shapes (ragged, with unlike numbers of queries and keys, long), three seeds, each feature that
the kernel claims alone and with causal: a diligent test, and one element of one output out of tolerance is enough.
The reference is computed in float64, the same-precision baseline as flash-attention's attention_ref does it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from refattn import adapters
from refattn.adapters import CallFailure, Outcome
from refattn.contract.spec import Shape, SoftmaxSpec
from refattn.contract.visibility import Visibility, visible
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.numbers import formats
from tests.mutants.registry import Mutant
from tests.mutants.samples import FEATURES, draw

Arrays = dict[str, Any]
Round = Callable[[Any], Any]
SEEDS = 3
# (queries, keys, head dimension, head dimension of V if that is claimed)
SHAPES = (
    (128, 128, 64, 64),
    (113, 203, 64, 32),
    (256, 113, 40, 40),
    (1, 239, 64, 64),
    (64, 512, 128, 128),
    (4, 2048, 64, 64),
)
SOFTMAX_SHAPES = ((64, 128), (33, 203), (128, 1000), (4, 4096))


def exactly(x: Any) -> Any:
    """Float64, not rounded."""
    return np.asarray(x, np.float64)


def stored_as(format: formats.Format) -> Round:
    """Rounded to the format, and computed with in float32, as a library does between two of its calls."""
    return lambda x: np.asarray(x).astype(np.float32).astype(format.storage).astype(np.float32)


def dense(case: AttentionCase, rounded: Round = exactly) -> Arrays:
    """Attention and its gradients by whole matrices, every stored intermediate rounded.

    The rounding also decides in which of NumPy's types the products and the softmax run.
    """
    spec, shape = case.spec, case.shape
    scale = 1.0 / np.sqrt(shape.d_qk) if spec.scale is None else spec.scale
    q, k, v = rounded(case.q), *(rounded(np.repeat(x, shape.group, axis=1)) for x in (case.k, case.v))
    scaled = rounded(k * scale)
    s = raw = rounded(q @ np.swapaxes(scaled, -1, -2))
    if spec.softcap is not None:
        s = rounded(spec.softcap * np.tanh(raw / spec.softcap))
    if spec.bias is not None or spec.alibi_slopes is not None:
        s = rounded(s + (0.0 if spec.bias is None else spec.bias) + _alibi(case))
    s = np.where(visible(spec, shape), s, -np.inf)
    columns = s
    if spec.sinks is not None:
        sinks = np.broadcast_to(spec.sinks[:, None, None], (*s.shape[:-1], 1)).astype(s.dtype)
        columns = np.concatenate([s, sinks], axis=-1)
    maximum = columns.max(axis=-1, initial=-np.inf, keepdims=True)
    weights = np.exp(columns - np.where(np.isneginf(maximum), 0.0, maximum))
    total = weights.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        lse = (maximum + np.log(total))[..., 0]
    whole = weights / np.where(total == 0.0, 1.0, total)
    p = rounded(whole[..., : shape.keys])
    kept = np.asarray(1.0 if spec.keep is None else spec.keep / (1.0 - spec.dropout)).astype(s.dtype)
    out = rounded(rounded(p * kept) @ v)
    results = {"out": out, "lse": lse}
    if case.do is None:
        return results
    do, dlse = rounded(case.do), np.zeros(lse.shape) if case.dlse is None else case.dlse
    dp = rounded(do @ np.swapaxes(v, -1, -2)) * kept
    ds = rounded(p * (dp - (p * dp).sum(axis=-1, keepdims=True) + dlse[..., None]))
    results["dv"] = _summed(rounded(np.swapaxes(rounded(p * kept), -1, -2) @ do), shape, rounded)
    if spec.bias is not None:
        four = (1,) * (4 - spec.bias.ndim) + spec.bias.shape
        results["dbias"] = ds.sum(axis=tuple(np.flatnonzero(np.equal(four, 1))), keepdims=True).reshape(spec.bias.shape)
    if spec.sinks is not None:
        share = whole[..., shape.keys]
        results["dsinks"] = (share * (dlse - (p * dp).sum(axis=-1))).sum(axis=(0, 2))
    if spec.softcap is not None:
        ds = rounded(ds * (1.0 - np.tanh(raw / spec.softcap) ** 2))
    results["dq"] = rounded(ds @ scaled)
    results["dk"] = _summed(rounded(rounded(np.swapaxes(ds, -1, -2) @ q) * scale), shape, rounded)
    return results


def _alibi(case: AttentionCase) -> Any:
    if case.spec.alibi_slopes is None:
        return 0.0
    slopes = np.atleast_2d(case.spec.alibi_slopes)[:, :, None, None]
    return -slopes * Visibility.of(case.spec, case.shape).distance()


def _summed(array: Any, shape: Shape, rounded: Round) -> Any:
    return rounded(array.reshape(shape.batch, shape.kv_heads, shape.group, *array.shape[2:]).sum(axis=2))


def dense_softmax(case: SoftmaxCase, rounded: Round = exactly) -> Arrays:
    """Softmax, log-softmax or log-sum-exp, the result rounded."""
    rows = np.moveaxis(rounded(case.x), case.spec.axis, -1)
    maximum = rows.max(axis=-1, keepdims=True)
    shifted = rows - maximum
    total = np.exp(shifted).sum(axis=-1, keepdims=True)
    if case.spec.kind == "logsumexp":
        return {"out": rounded((maximum + np.log(total))[..., 0])}
    whole = np.exp(shifted) / total if case.spec.kind == "softmax" else shifted - np.log(total)
    return {"out": rounded(np.moveaxis(whole, -1, case.spec.axis))}


def cases(mutant: Mutant) -> Iterator[Any]:
    """The inputs of a diligent test of what the kernel claims."""
    for seed in range(SEEDS):
        for format in mutant.formats:
            yield from (
                _softmax_cases(mutant, seed, format) if mutant.call == "softmax" else _cases(mutant, seed, format)
            )


def _softmax_cases(mutant: Mutant, seed: int, format: str) -> Iterator[SoftmaxCase]:
    (shown,) = {case.spec.kind for case in mutant.shows()}
    for place, shape in enumerate(SOFTMAX_SHAPES):
        rng = np.random.default_rng([seed, place])
        number_format = formats.get(format)
        yield SoftmaxCase(number_format.round(rng.standard_normal(shape)), SoftmaxSpec(kind=shown), number_format)


def _cases(mutant: Mutant, seed: int, format: str) -> Iterator[AttentionCase]:
    features = [name for name in FEATURES if name in mutant.claims]
    sets: list[tuple[str, ...]] = [(), *((name,) for name in features)]
    sets += [("causal", name) for name in features if name not in ("causal", "strict_causal")]
    for place, (queries, keys, d_qk, d_v) in enumerate(SHAPES):
        shape = Shape(2, 6 if place % 2 else 4, 2, queries, keys, d_qk, d_v)
        for names in sets:
            if queries == 1 and "varlen" in names:
                continue
            rng = np.random.default_rng([seed, zlib.crc32(repr((shape, names)).encode())])
            yield draw(rng, shape, names, format, upstream="backward" in mutant.claims)


def flash_attn(actual: Any, exact: Any, baseline: Any, quantity: str) -> bool:
    """max|actual - ref| <= 2 max|baseline - ref| + 1e-5, for gradients 3 times; LSE is not compared."""
    if quantity == "lse":
        return True
    factor = 3.0 if quantity.startswith("d") else 2.0
    return bool(_largest(actual - exact) <= factor * _largest(baseline - exact) + 1e-5)


def allclose(actual: Any, exact: Any, _baseline: Any, _quantity: str) -> bool:
    """True if |actual - ref| <= 1e-2 + 1e-2 |ref| everywhere."""
    return bool(np.allclose(actual, exact, rtol=1e-2, atol=1e-2))


def flashinfer_bench(actual: Any, exact: Any, _baseline: Any, _quantity: str) -> bool:
    """True unless some element errs by more than 1e-2 absolutely and relatively, or is wrongly not finite."""
    same = actual == exact
    with np.errstate(all="ignore"):
        error = np.where(same, 0.0, np.abs(actual - exact))
        wrong = (error > 1e-2) & (error / np.abs(exact) > 1e-2)
    return not bool(wrong.any() or (~np.isfinite(actual) & ~same).any())


CRITERIA = {"flash-attn": flash_attn, "allclose": allclose, "flashinfer-bench": flashinfer_bench}


def _largest(error: Any) -> float:
    return float(np.max(np.abs(error), initial=0.0))


def references(case: Any) -> tuple[Arrays, Arrays]:
    """The references: the exact results, and those of the same precision."""
    reference = dense_softmax if isinstance(case, SoftmaxCase) else dense
    with np.errstate(all="ignore"):
        return reference(case, exactly), reference(case, stored_as(case.format))


def judge(outcome: Outcome, exact: Arrays, baseline: Arrays) -> dict[str, bool]:
    """The verdict of each criterion on one call: True is accepted."""
    actual = {"out": outcome.out, "lse": outcome.lse, **outcome.gradients}
    with np.errstate(all="ignore"):
        return {
            name: all(
                criterion(values, exact[quantity], baseline[quantity], quantity)
                for quantity, values in actual.items()
                if values is not None and quantity in exact
            )
            for name, criterion in CRITERIA.items()
        }


def called(mutant: Mutant, kernel: Any, case: Any) -> Outcome:
    """One call. Raises CallFailure."""
    wants = {"want_lse": True, "want_gradients": case.do is not None} if isinstance(case, AttentionCase) else {}
    return adapters.get(mutant.call).call(kernel, case, **wants)


def verdicts(mutant: Mutant) -> dict[str, bool]:
    """For each criterion, True if it detects the fault on some case.

    A case on which the honest kernel is refused too shows nothing: such a test would have been loosened. A call that
    raises is seen by all, inputs that were changed by none.
    """
    kernel, honest = mutant.make(), mutant.honest()
    seen = dict.fromkeys(CRITERIA, False)
    for case in cases(mutant):
        try:
            outcome = called(mutant, kernel, case)
        except CallFailure as error:
            if error.kind == "inputs":
                continue
            return dict.fromkeys(CRITERIA, True)
        compared = references(case)
        accepted = judge(outcome, *compared)
        if not all(accepted[name] for name in CRITERIA if not seen[name]):
            right = judge(called(mutant, honest, case), *compared)
            seen = {name: seen[name] or (right[name] and not accepted[name]) for name in CRITERIA}
        if all(seen.values()):
            break
    return seen


def refusals(mutant: Mutant) -> tuple[dict[str, int], int]:
    """How many cases of an honest variant each criterion refuses, and how many there are."""
    kernel, count, refused = mutant.make(), 0, dict.fromkeys(CRITERIA, 0)
    for case in cases(mutant):
        accepted = judge(called(mutant, kernel, case), *references(case))
        refused = {name: refused[name] + (not accepted[name]) for name in CRITERIA}
        count += 1
    return refused, count
