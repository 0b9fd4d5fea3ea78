"""Kernels of q, k and v that know no spec: their signature says what they can do, their code whose arrays they take."""

from __future__ import annotations

import functools
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import refattn as ra
from refattn import adapters
from refattn.adapters.origin import library_named, other_libraries
from refattn.adapters.session import CallFailure
from refattn.contract.spec import AttentionSpec
from refattn.inputs.cases import AttentionCase
from refattn.numbers.formats import fp32
from tests.support.extras import needed

CASE = AttentionCase(
    *np.random.default_rng(0).standard_normal((3, 1, 2, 5, 4)).astype(np.float32).astype(np.float64),
    AttentionSpec(),
    fp32,
)


def softmax_of(q: Any, k: Any, v: Any, causal: bool = False, scale: float | None = None) -> Any:
    scores = q @ np.swapaxes(k, -1, -2) * np.float32(q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:], k.shape[2] - q.shape[2], dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return (weights / weights.sum(-1, keepdims=True)) @ v


def noted(*names: str, required: bool = False) -> tuple[Any, list[dict[str, Any]]]:
    """A kernel with parameters of these names, and what they were given at each call."""
    calls: list[dict[str, Any]] = []
    default = "" if required else "=None"
    parameters = "".join(f", {name}{default}" for name in names)
    given = ", ".join(f"{name}={name}" for name in names)
    namespace: dict[str, Any] = {"calls": calls, "np": np}
    exec(f"def kernel(q, k, v{parameters}):\n    calls.append(dict({given}))\n    return q", namespace)
    return namespace["kernel"], calls


def claims_of(kernel: Any) -> frozenset[str]:
    return adapters.get("plain").default_claims(kernel)


def test_the_signature_says_what_the_kernel_claims() -> None:
    assert claims_of(softmax_of) == {"cross", "dv", "ragged", "causal", "scale"}
    assert claims_of(noted()[0]) == {"cross", "dv", "ragged"}
    assert claims_of(noted("is_causal")[0]) == {"cross", "dv", "ragged", "causal"}
    assert claims_of(functools.partial(softmax_of, scale=None)) >= {"causal"}


@pytest.mark.parametrize(("name", "value"), [("causal", True), ("is_causal", True)])
def test_a_causal_mask_is_given_where_it_is_asked_for(name: str, value: bool) -> None:
    kernel, calls = noted(name)
    adapters.get("plain").call(kernel, CASE)
    adapters.get("plain").call(kernel, CASE.replace(spec=AttentionSpec(causal=True)))
    assert calls == [{name: None}, {name: value}]


@pytest.mark.parametrize("name", ["scale", "sm_scale", "softmax_scale"])
def test_a_kernel_without_defaults_is_always_given_mask_and_scale(name: str) -> None:
    kernel, calls = noted("causal", name, required=True)
    assert adapters.guess("mine:kernel", kernel) in ("plain", "flash_attn")
    adapters.get("plain").call(kernel, CASE)
    adapters.get("plain").call(kernel, CASE.replace(spec=AttentionSpec(scale=0.25, causal=True)))
    assert calls == [{"causal": False, name: 0.5}, {"causal": True, name: 0.25}]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (AttentionSpec(window=(1, 0)), "the plain convention has no argument for window"),
        (AttentionSpec(scale=0.5), "the plain convention has no argument for scale"),
    ],
)
def test_what_the_signature_cannot_say_is_refused(spec: AttentionSpec, message: str) -> None:
    with pytest.raises(CallFailure, match=message):
        adapters.get("plain").call(noted("causal")[0], CASE.replace(spec=spec))


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("q, k, v", "plain"),
        ("query, key, value, *, is_causal=False", "plain"),
        ("q, k, v, causal, sm_scale", "plain"),
        ("q, k, v, block=64", "plain"),
        ("q, k, v, spec=None", "native"),
        ("q, k, v, length", "native"),
        ("q, k, v, **options", "native"),
        ("q, k", "native"),
    ],
)
def test_the_convention_is_guessed_from_the_signature(parameters: str, expected: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def kernel({parameters}): ...", namespace)
    assert adapters.guess("mine:kernel", namespace["kernel"]) == expected
    assert adapters.guess("", namespace["kernel"]) == expected


def test_a_parameter_spec_counts_for_more_than_a_name() -> None:
    def flash_attn(q: Any, k: Any, v: Any, *, spec: Any) -> None: ...

    assert adapters.guess("mine:flash_attn", flash_attn) == "native"


def test_a_plain_kernel_is_checked_without_a_word() -> None:
    report = ra.check(softmax_of, dtypes=("fp32",), only="values/features")
    assert report.call == "plain"
    assert report.conforms, report.findings


def module_with(source: str, **imports: str) -> Any:
    """The definitions of a module of a few lines; the libraries that it imports are empty modules of their names."""
    namespace: dict[str, Any] = {name: ModuleType(module) for name, module in imports.items()}
    exec(source, namespace)
    return SimpleNamespace(**{name: value for name, value in namespace.items() if name != "__builtins__"})


def test_a_kernels_code_says_whose_arrays_it_takes() -> None:
    source = "def by_name(q): return F.softmax(q)\ndef by_method(q): return q.sum()\ndef mixed(q): return np.asarray(F)"
    only_torch = module_with(source, F="torch.nn.functional")
    assert library_named(only_torch.by_name) == library_named(only_torch.by_method) == "torch"
    both = module_with(source, F="torch.nn.functional", np="numpy")
    assert library_named(both.by_name) == "torch"
    assert library_named(both.by_method) is None
    assert library_named(both.mixed) is None
    assert other_libraries(both.mixed) == ["torch"]
    assert library_named(module_with("def kernel(q): return jnp.sum(q)", jnp="jax.numpy").kernel) == "jax"
    nested = module_with("def outer(q):\n    def inner(): return F\n    return inner()", F="torch", np="numpy")
    assert library_named(nested.outer) == "torch"
    assert library_named(min) is None
    assert library_named(functools.partial(both.by_name)) == "torch"


def test_a_torch_kernel_gets_tensors_and_gradients() -> None:
    torch = needed("torch")
    source = (
        "def kernel(q, k, v, scale=None):\n"
        "    scores = q.float() @ k.float().mT * (q.shape[-1] ** -0.5 if scale is None else scale)\n"
        "    return (torch.softmax(scores, -1) @ v.float()).to(q.dtype)\n"
        "def softmax(x, dim): return torch.softmax(x, dim)\n"
    )
    namespace: dict[str, Any] = {"torch": torch, "np": np}
    exec(source, namespace)
    report = ra.check(namespace["kernel"], dtypes=("bf16",), only="values/features")
    assert report.conforms, report.findings
    claims = ("backward", "scale")
    report = ra.check(namespace["kernel"], dtypes=("bf16",), claims=claims, only="gradients/features")
    assert report.conforms, report.findings
    assert adapters.get("softmax").library(namespace["softmax"]).name == "torch"


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_a_line_of_torch_is_no_suspect(dtype: str) -> None:
    namespace: dict[str, Any] = {"torch": needed("torch")}
    source = (
        "def kernel(q, k, v):\n"
        "    scores = q.float() @ k.float().mT * q.shape[-1] ** -0.5\n"
        "    return (torch.softmax(scores, -1) @ v.float()).to(q.dtype)\n"
    )
    exec(source, namespace)
    report = ra.check(namespace["kernel"], dtypes=(dtype,), only="statistics/*")
    assert report.conforms, report.findings


def test_xla_flushes_what_is_subnormal() -> None:
    jnp = ModuleType("jax.numpy")
    adapter = adapters.get("plain")
    namespace: dict[str, Any] = {"jnp": jnp}
    exec("def kernel(q, k, v): return jnp.sum(q)", namespace)
    assert adapter.library_name(namespace["kernel"]) == "jax"
    needed("jax")
    assert adapter.arithmetic(namespace["kernel"], fp32).flush_to_zero
    assert not adapter.arithmetic(softmax_of, fp32).flush_to_zero


def test_a_failure_says_what_would_mend_it() -> None:
    torch = needed("torch")
    namespace: dict[str, Any] = {"torch": torch, "np": np}
    exec("def kernel(q, k, v, *, spec):\n    return q @ k.transpose(-1, -2) @ v", namespace)
    with pytest.raises(CallFailure, match=r"takes torch's, give it refattn_library = 'torch'$"):
        adapters.get("native").call(namespace["kernel"], CASE)
    with pytest.raises(
        CallFailure, match=r"native convention calls kernel.*refattn explain kernels` shows the others$"
    ):
        adapters.get("native").call(lambda q, k, v: q, CASE)
