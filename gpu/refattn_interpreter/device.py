"""A CUDA device that is not there: what torch.cuda and Triton's driver say to code that asks for one.

Kernels written for CUDA ask for the device's name, its number of multiprocessors, its current stream; they allocate on
"cuda" and time their configurations. Here they are told of a GPU, get tensors of the processor, and every autotuner
takes the first configuration that its own pruning leaves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.autotuner import Autotuner

from refattn_interpreter.options import Options
from refattn_interpreter.patches import Patches

# An H200's figures, where a kernel asks for more than the capability; few multiprocessors, so that persistent kernels
# run few programs.
_MULTIPROCESSORS = 4
_SHARED_MEMORY = 227 * 1024
_NAME = "refattn's interpreter"


def _properties(options: Options) -> SimpleNamespace:
    major, minor = options.capability
    return SimpleNamespace(
        name=_NAME,
        major=major,
        minor=minor,
        multi_processor_count=_MULTIPROCESSORS,
        total_memory=141 << 30,
        shared_memory_per_block=48 * 1024,
        shared_memory_per_block_optin=_SHARED_MEMORY,
        shared_memory_per_multiprocessor=_SHARED_MEMORY + 1024,
        max_threads_per_multi_processor=2048,
        regs_per_multiprocessor=65536,
        warp_size=32,
        L2_cache_size=50 << 20,
        gcnArchName="",
    )


class _Context(contextlib.ContextDecorator):
    """torch.cuda.device, torch.cuda.stream and the like: nothing to switch."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> _Context:
        return self

    def __exit__(self, *_: object) -> None: ...


class _Stream(_Context):
    """A stream on which everything has already happened."""

    cuda_stream = 0
    device_index = 0

    def wait_stream(self, _: Any) -> None: ...

    def synchronize(self) -> None: ...


class Driver:
    """What triton.runtime.driver.active answers."""

    def __init__(self, options: Options) -> None:
        self.capability = options.capability
        major, minor = options.capability
        self.target = GPUTarget("cuda", 10 * major + minor, 32)
        self.utils = SimpleNamespace(get_device_properties=self._device_properties)

    def _device_properties(self, device: int = 0) -> dict[str, int]:
        del device
        return {
            "max_shared_mem": _SHARED_MEMORY,
            "max_num_regs": 65536,
            "multiprocessor_count": _MULTIPROCESSORS,
            "warpSize": 32,
            "sm_clock_rate": 1,
            "mem_clock_rate": 1,
            "mem_bus_width": 1,
        }

    def is_active(self) -> bool:
        return True

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_device_interface(self) -> Any:
        return torch.cuda

    def get_device_capability(self, device: int = 0) -> tuple[int, int]:
        del device
        return self.capability

    def get_current_device(self) -> int:
        return 0

    def set_current_device(self, device: int) -> None:
        del device

    def get_current_stream(self, device: int | None = None) -> int:
        del device
        return 0

    def get_benchmarker(self) -> Callable[..., list[float]]:
        def run_once(call: Callable[[], Any], quantiles: Sequence[float] = (0.5,), **_: Any) -> list[float]:
            call()
            return [0.0] * len(quantiles)

        return run_once

    def get_empty_cache_for_benchmark(self) -> torch.Tensor:
        return torch.empty(1)

    def clear_cache(self, cache: Any) -> None:
        del cache


_IS_CUDA: Any = vars(torch._C.TensorBase)["is_cuda"].__get__  # a new object each time, equal to the others


class OnProcessor(TorchFunctionMode):
    """Tensors that are asked for on "cuda" come from the processor, and say that they are on a GPU when asked."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        keywords = dict(kwargs or {})
        if func is torch.Tensor.cuda:
            return args[0]
        if func == _IS_CUDA:
            return True
        if "device" in keywords:
            keywords["device"] = _processor(keywords["device"])
        if func is torch.Tensor.to:
            args = tuple(_processor(each) if isinstance(each, (str, torch.device)) else each for each in args)
        return func(*args, **keywords)


def _processor(device: Any) -> Any:
    if device is None:
        return None
    return "cpu" if isinstance(device, int) or str(device).startswith("cuda") else device


def pretend(options: Options, patches: Patches) -> None:
    """Make torch.cuda and Triton speak of a device of the options' capability."""
    properties = _properties(options)
    answers: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_capability": lambda *_, **__: options.capability,
        "get_device_properties": lambda *_, **__: properties,
        "get_device_name": lambda *_, **__: _NAME,
        "set_device": lambda *_, **__: None,
        "synchronize": lambda *_, **__: None,
        "empty_cache": lambda: None,
        "current_stream": lambda *_, **__: _Stream(),
        "Stream": _Stream,
        "device": _Context,
        "device_of": _Context,
        "stream": _Context,
    }
    for name, answer in answers.items():
        patches.set(torch.cuda, name, answer)
    _replace_driver(Driver(options), patches)
    patches.set(Autotuner, "prune_configs", _first(Autotuner.prune_configs))
    patches.set(Autotuner, "__init__", _lenient(Autotuner.__init__))


def _replace_driver(fake: Driver, patches: Patches) -> None:
    for name in ("_default", "_active"):
        patches.set(driver.driver if hasattr(driver, "driver") else driver, name, fake)


def _first(prune: Callable[..., Any]) -> Callable[..., Any]:
    """The first configuration alone: nothing is to be gained by timing an interpreter."""

    def first(self: Any, keywords: dict[str, Any], *rest: Any) -> Any:
        return (prune(self, keywords, *rest) or self.configs)[:1]

    return first


def _lenient(initialise: Callable[..., None]) -> Callable[..., None]:
    """Triton 3.9 refuses tuning keys that are not arguments of the kernel; 3.6 ignored them, and packages still have
    some.
    """

    def initialised(self: Any, fn: Any, arg_names: Any, configs: Any, key: Any, *rest: Any, **more: Any) -> None:
        initialise(self, fn, arg_names, configs, [each for each in key if each in arg_names], *rest, **more)

    return initialised
