"""Switching the interpreter on and off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from triton.runtime import interpreter as stock
from triton.runtime.interpreter import InterpretedFunction

from refattn.errors import InvalidValue
from refattn_interpreter import device, language
from refattn_interpreter.builder import Builder, numpy_dtype
from refattn_interpreter.options import Options
from refattn_interpreter.patches import Patches
from refattn_interpreter.reductions import Reduction, Scan
from refattn_interpreter.shortcuts import shorten


class Session:
    """Everything that is changed in Triton and torch, from `start` to `stop`."""

    def __init__(self, options: Options) -> None:
        if not isinstance(stock.tl.sum, InterpretedFunction):
            raise InvalidValue(
                "triton was imported without TRITON_INTERPRET=1: expected it to be set before triton is imported, as "
                "`refattn check --triton-cpu` does"
            )
        self.options = options
        self.patches = Patches()
        self.mode: Any = device.OnProcessor()

    def start(self) -> None:
        """Change them; undone again if that fails halfway."""
        try:
            self._arithmetic()
            self._language()
            shorten(self.patches)
            device.pretend(self.options, self.patches)
        except BaseException:
            self.patches.restore()
            raise
        self.mode.__enter__()

    def stop(self) -> None:
        """Put them back."""
        self.mode.__exit__(None, None, None)
        self.patches.restore()

    def _arithmetic(self) -> None:
        builder = Builder(self.options)
        self.patches.set(stock, "interpreter_builder", builder)
        self.patches.set(stock.interpreter_semantic, "builder", builder)
        self.patches.set(stock, "_get_np_dtype", numpy_dtype)
        self.patches.set(stock, "ReduceOps", Reduction)
        self.patches.set(stock, "ScanOps", Scan)
        self.patches.set(stock.GridExecutor, "__call__", _quiet(stock.GridExecutor.__call__))

    def _language(self) -> None:
        self.patches.set(stock, "_patch_lang", language.Language(self.patches))
        self.patches.set(stock, "_implicit_cvt", language.argument(stock._implicit_cvt))
        # The functions that rewritten kernels call; kernels get the names of Triton's module as globals.
        self.patches.set(stock, language._CHOICE, language.choice)
        self.patches.set(stock, language._NEGATION, language.negation)
        rewriter = stock.FunctionRewriter
        self.patches.set(rewriter, "ast_transformer", language.Transformer(rewriter.ast_transformer))
        self.patches.set(InterpretedFunction, "rewritten_fn", {})


def _quiet(launch: Callable[..., Any]) -> Callable[..., Any]:
    """A launch without NumPy's warnings: overflow and NaN are what a GPU computes without a word."""

    def launched(self: Any, *arguments: Any, **keywords: Any) -> Any:
        with np.errstate(all="ignore"):
            return launch(self, *arguments, **keywords)

    return launched
