"""Contract: a case holds only numbers of its format, says what it is, and survives its token bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from refattn.contract.spec import AttentionSpec, SoftmaxSpec
from refattn.errors import InvalidType, InvalidValue
from refattn.inputs import replay
from refattn.inputs.cases import AttentionCase, SoftmaxCase
from refattn.inputs.tokens import same_bits
from refattn.numbers import formats

ALL_FORMATS = st.sampled_from(formats.ALL)


def numbers_of(format, shape):
    finite = st.floats(width=64).map(lambda x: float(format.round(x)))
    edges = [0.0, -0.0, format.smallest_subnormal, -format.smallest_subnormal, format.max_finite, np.nan]
    if format.has_infinity:
        edges += [np.inf, -np.inf]
    return hnp.arrays(np.float64, shape, elements=finite | st.sampled_from(edges))


@st.composite
def cases(draw):
    format = draw(ALL_FORMATS)
    q, k, v, do = (draw(numbers_of(format, (1, 2, n, 2))) for n in (2, 3, 3, 2))
    spec = AttentionSpec(
        scale=draw(st.none() | st.floats(allow_nan=False, allow_infinity=False)),
        causal=draw(st.booleans()),
        alignment=draw(st.sampled_from(["bottom_right", "top_left"])),
        window=draw(st.tuples(*[st.none() | st.integers(0, 5)] * 2)),
        softcap=draw(st.none() | st.floats(0.125, 8)),
        alibi_slopes=draw(st.none() | hnp.arrays(np.float64, 2, elements=st.floats(-1, 1))),
        bias=draw(st.none() | hnp.arrays(np.float64, (2, 3), elements=st.sampled_from([-0.0, 0.1, -np.inf]))),
        mask=draw(st.none() | hnp.arrays(np.bool_, (1, 1, 2, 3))),
        sinks=draw(st.none() | hnp.arrays(np.float64, 2, elements=st.floats(-9, 9, width=32))),
        documents=draw(st.none() | st.just((np.array([0, 300]), np.array([0, 0, 300])))),
        kept_queries=draw(st.none() | hnp.arrays(np.bool_, (2, 2))),
        empty_rows=draw(st.sampled_from(["zero", "nan"])),
    )
    with_do = draw(st.booleans())
    return AttentionCase(q, k, v, spec, format, regime="test/é", generic=True, do=do if with_do else None)


@given(cases())
def test_a_token_gives_back_the_same_case_bit_for_bit(case):
    restored = replay.case_of(replay.token(case), AttentionCase)
    assert restored.same_as(case)
    for name, array in case.arrays().items():
        assert same_bits(array, restored.arrays()[name])
    assert list(restored.spec.features()) == list(case.spec.features())
    assert restored.format is case.format


@given(ALL_FORMATS.flatmap(lambda format: st.tuples(st.just(format), numbers_of(format, (2, 3)))), st.data())
def test_a_softmax_token_gives_back_the_same_case(drawn, data):
    format, x = drawn
    spec = SoftmaxSpec(axis=data.draw(st.sampled_from([-2, -1, 0, 1])), kind="logsumexp", empty_rows="zero")
    case = SoftmaxCase(x, spec, format)
    restored = replay.case_of(replay.token(case), SoftmaxCase)
    assert restored.same_as(case)
    assert restored.spec == spec
    assert same_bits(restored.x, x)


def small_case(**changes):
    zeros = np.zeros((1, 1, 1, 1))
    return AttentionCase(**{"q": zeros, "k": zeros, "v": zeros, "spec": AttentionSpec(), "format": "fp32", **changes})


def test_same_as_tells_every_difference_apart():
    case = small_case()
    assert case.same_as(small_case())
    minus = small_case(q=-np.zeros((1, 1, 1, 1)))
    causal = small_case(spec=AttentionSpec(causal=True))
    sunk = [small_case(spec=AttentionSpec(sinks=[value])) for value in (0.0, -0.0)]
    others = [minus, causal, *sunk, small_case(format="bf16"), small_case(generic=True), small_case(dlse=[[[0.0]]])]
    for i, first in enumerate([case, *others]):
        for second in [case, *others][:i]:
            assert not first.same_as(second)


def test_a_small_token_fits_in_a_command_line():
    rng = np.random.default_rng(0)
    q, k, v = (formats.bf16.round(rng.normal(size=(1, 2, n, 4))) for n in (4, 8, 8))
    spec = AttentionSpec(causal=True, window=(3, None), sinks=np.array([0.5, -1.0]), mask=rng.random((4, 8)) < 0.5)
    token = replay.token(AttentionCase(q, k, v, spec, formats.bf16))
    assert len(token) < 600
    assert set(token) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@given(st.text() | st.text(alphabet="as0Az-_").map(lambda text: "a" + text) | st.just("recipe:") | st.just("recipe:x"))
def test_rubbish_is_refused_by_name(text):
    for kind in (AttentionCase, SoftmaxCase):
        with pytest.raises(InvalidValue, match=r"token|recipe|regime"):
            replay.case_of(text, kind)


@given(st.data())
def test_a_damaged_token_is_refused(data):
    token = replay.token(small_case())
    at = data.draw(st.integers(1, len(token) - 1))
    for damaged in (token[:at], token + "AAAA", "s" + token[1:]):
        with pytest.raises(InvalidValue, match="token"):
            replay.case_of(damaged, AttentionCase)


def test_a_token_of_the_other_kind_is_refused():
    softmax = SoftmaxCase(np.zeros(3), SoftmaxSpec(), formats.fp32)
    with pytest.raises(InvalidValue, match="not an attention case's"):
        replay.case_of(replay.token(softmax), AttentionCase)
    with pytest.raises(InvalidValue, match="holds no case"):
        replay.case_of("a" + replay.token(softmax)[1:], AttentionCase)
    with pytest.raises(InvalidType, match="token is int"):
        replay.case_of(3, AttentionCase)


@pytest.mark.parametrize("name", ["q", "k", "v", "do"])
def test_numbers_outside_the_format_are_refused_by_name(name):
    with pytest.raises(InvalidValue, match=rf"{name} holds .*0\.1.*bf16"):
        small_case(format="bf16", **{name: np.full((1, 1, 1, 1), 0.1)})


def test_gradients_of_other_shapes_are_refused():
    with pytest.raises(InvalidValue, match="do has shape"):
        small_case(do=np.zeros((1, 1, 2, 1)))
    with pytest.raises(InvalidValue, match="dlse has shape"):
        small_case(dlse=np.zeros((1, 1, 1, 1)))
    with pytest.raises(InvalidValue, match="dlse holds"):
        small_case(format="bf16", dlse=np.full((1, 1, 1), 0.1))


def test_a_softmax_axis_that_x_lacks_is_refused():
    with pytest.raises(InvalidValue, match="axis is 1"):
        SoftmaxCase(np.zeros(3), SoftmaxSpec(axis=1), formats.fp32)


def test_a_description_shows_sizes_features_and_small_arrays_whole():
    case = small_case(
        q=[[[[1.0, -0.0]]]],
        k=[[[[0.5, np.nan], [np.inf, 2.0**-149]]]],
        v=np.zeros((1, 1, 2, 30)),
        spec=AttentionSpec(causal=True, documents=([0], [0, 1])),
        regime="needle/first",
    )
    assert case.describe() == (
        "needle/first in fp32: B=1 H=1 Hkv=1 Nq=1 Nk=2 D=2 Dv=30\n"
        "  causal = True\n"
        "  documents = queries [0], keys [0, 1]\n"
        "  q = [[[[1, -0]]]]\n"
        "  k = [[[[0.5, nan], [inf, 1.40129846e-45]]]]\n"
        "  v = (1, 1, 2, 30), 0 .. 0"
    )


def test_a_description_counts_what_is_not_finite_in_a_large_array():
    x = np.zeros(30)
    x[:3] = np.nan, -np.inf, -np.inf
    text = SoftmaxCase(x, SoftmaxSpec(), formats.fp32).describe()
    assert "x = (30,), 0 .. 0, 1 NaN, 2 -inf" in text


def test_softmax_rows_put_the_axis_last():
    x = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(SoftmaxCase(x, SoftmaxSpec(axis=0), formats.fp32).rows(), x.T)
