"""From a regime to a case: sizes and features drawn, inputs built, upstream gradients added."""

from __future__ import annotations

from collections.abc import Iterable

from refattn.contract.spec import Alignment, AttentionSpec, Shape, SoftmaxSpec
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.inputs.regimes.regime import Regime, SoftmaxRegime
from refattn.inputs.regimes.sizes import Limits
from refattn.inputs.regimes.specs import EVERY_CLAIM, draw_spec, has_empty_rows
from refattn.inputs.sources import Source
from refattn.numbers import formats
from refattn.numbers.formats import Format


def make_case(
    regime: Regime,
    source: Source,
    format: Format,
    *,
    claims: Iterable[str] = EVERY_CLAIM,
    limits: Limits | None = None,
    alignment: Alignment = "bottom_right",
    features: Iterable[str] | None = None,
) -> AttentionCase:
    """A case of the regime with sizes, and with features of the spec, drawn from the source.

    `features` names the features to use besides the regime's own; None draws some. Where a row would see no key and
    "empty_rows" is not claimed, only the regime's own features are kept.
    """
    claimed, within = frozenset(claims), limits or Limits()
    sizes = regime.sizes(source, within, claimed)
    wanted = None if features is None else frozenset(features)
    if "empty_rows" not in claimed and wanted is not None and "causal" in wanted & claimed:
        # With fewer keys than queries, causal would have to be left out.
        sizes = _enough_keys(sizes)
    spec = draw_spec(source, sizes, claimed - regime.excludes, alignment, wanted, format=format)
    case = regime.build(source, sizes, format, spec)
    if "empty_rows" not in claimed and has_empty_rows(case.spec, sizes):
        plain = AttentionSpec(alignment=alignment)
        case = regime.build(source, sizes, format, plain)
        if has_empty_rows(case.spec, sizes):
            # With at least as many keys as queries, the regime alone leaves a key to each row.
            case = regime.build(source, _enough_keys(sizes), format, plain)
    source.leave_room()
    return case


def _enough_keys(sizes: Shape) -> Shape:
    """The same lengths, with no more queries than keys."""
    return sizes._replace(queries=min(sizes.queries, sizes.keys), keys=max(sizes.queries, sizes.keys))


def make_softmax_case(
    regime: SoftmaxRegime,
    source: Source,
    format: Format,
    *,
    spec: SoftmaxSpec | None = None,
    limits: Limits | None = None,
) -> SoftmaxCase:
    """A case of the regime; x has at most three axes, or as many as the spec's axis needs."""
    wanted, within = spec or SoftmaxSpec(), limits or Limits()
    fewest = wanted.axis + 1 if wanted.axis >= 0 else -wanted.axis
    most = max(3, fewest)
    rank = source.integer(fewest, most)
    sizes = [source.integer(1, 3) for _ in range(most)][:rank]
    sizes[wanted.axis] = regime.length(source, within)
    case = regime.build(source, tuple(sizes), format, wanted)
    source.leave_room()
    return case


def with_upstream(case: AttentionCase, source: Source, *, dlse: bool = True) -> AttentionCase:
    """The case with normal upstream gradients: do in the case's format, and dlse in fp32 or the format if wider."""
    b, h, _, nq, _, _, d_v = case.shape
    wide = case.format if case.format.precision > formats.fp32.precision else formats.fp32
    do = case.format.round(source.normal((b, h, nq, d_v)))
    return case.replace(do=do, dlse=wide.round(source.normal((b, h, nq))) if dlse else None)
