"""A kernel under test; a worker thread calls it, so that a hang or an exception ends one case and not the run."""

from __future__ import annotations

import queue
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from refattn import adapters
from refattn.adapters import Adapter, CallFailure, Outcome
from refattn.contract.arithmetic import Arithmetic
from refattn.errors import InvalidType, InvalidValue
from refattn.numbers import formats
from refattn.numbers.formats import Format

HANGS_ALLOWED = 3
Job = Callable[[], Any]


class Target:
    """A kernel, its convention, its claims, and the arithmetic or approximation that it declares.

    claims       names in adapters.CLAIMS; None takes the kernel's own or the convention's
    arithmetics  by format; a missing format takes the kernel's own or the convention's
    time_limit   seconds for one call; after three calls that exceed it the kernel is not called again

    Raises InvalidValue or InvalidType for an unknown claim or a time limit that is no positive number.
    """

    def __init__(
        self,
        kernel: Callable[..., Any],
        adapter: str | Adapter = "native",
        claims: Iterable[str] | None = None,
        arithmetics: Mapping[Any, Arithmetic] | None = None,
        time_limit: float = 60.0,
        name: str | None = None,
    ) -> None:
        if isinstance(time_limit, bool) or not isinstance(time_limit, (int, float)):
            raise InvalidType(f"time_limit is {time_limit!r}: expected a positive number of seconds")
        if not time_limit > 0:
            raise InvalidValue(f"time_limit is {time_limit!r}: expected a positive number of seconds")
        self.kernel = kernel
        self.adapter = adapters.get(adapter)
        self.claims = self.adapter.default_claims(kernel) if claims is None else adapters.checked_claims(claims)
        self.approximation = self.adapter.approximation(kernel)
        self.time_limit = time_limit
        self.name = name or str(getattr(kernel, "__name__", type(kernel).__name__))
        self.hangs = 0
        self._arithmetics = {formats.get(key): value for key, value in (arithmetics or {}).items()}
        self._worker: _Worker | None = None

    def arithmetic(self, format: Format, spec: Any = None, shape: Any = None) -> Arithmetic:
        """The arithmetic for inputs of a format; spec and shape refine the convention's usual one."""
        given = self._arithmetics.get(format)
        return self.adapter.arithmetic(self.kernel, format, spec, shape) if given is None else given

    def arithmetic_of(self, case: Any) -> Arithmetic:
        """The arithmetic for a case."""
        return self.arithmetic(case.format, case.spec, case.shape)

    def run(self, case: Any, **options: Any) -> Outcome:
        """Call the kernel on a case; options are those of Adapter.call (want_lse, want_gradients, layout).

        The kernel's warnings are not shown. Raises CallFailure, which says in one sentence what went wrong.
        """
        if self.hangs >= HANGS_ALLOWED:
            raise CallFailure("timeout", f"the kernel hung {self.hangs} times: it is not called again")
        output = self.arithmetic_of(case).output.format
        if self._worker is None:
            self._worker = _Worker()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                outcome: Outcome = self._worker.do(
                    lambda: self.adapter.call(self.kernel, case, output=output, **options), self.time_limit
                )
            except queue.Empty:
                self.hangs += 1
                self._worker = None
                raise CallFailure(
                    "timeout", f"the kernel did not return within {self.time_limit:g} s: expected a result"
                ) from None
        return outcome

    def close(self) -> None:
        """End the worker thread; the next call starts another."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None


class _Worker:
    """A daemon thread that does one job at a time; one that hangs is left behind."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="refattn-kernel", daemon=True).start()

    def do(self, job: Job, time_limit: float) -> Any:
        """The job's result, or what it raised; queue.Empty when it takes too long."""
        self._jobs.put(job)
        result, error = self._results.get(timeout=time_limit)
        if error is not None:
            raise error
        return result

    def stop(self) -> None:
        self._jobs.put(None)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._results.put((job(), None))
            except BaseException as error:
                self._results.put((None, error))
            del job
