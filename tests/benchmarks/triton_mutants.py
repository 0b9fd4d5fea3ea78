"""Which faults of Triton kernels (tests/support/gpu/kernel_mutants.py) a tolerance of 1e-2 sees, beside their property.

    python -m tests.benchmarks.triton_mutants

Outputs and gradients on ordinary inputs, a typical use of the feature included, held to the exact ones by
|actual - exact| <= 1e-2 + 1e-2 |exact|, which is what most projects' tests ask of half precision. That the properties
see every fault is tested in tests/gpu/test_kernel_mutants.py.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

os.environ["TRITON_INTERPRET"] = "1"

PEER = 1e-2


def accepted(mutant: Any) -> bool:
    """True if the tolerance lets the planted fault pass."""
    import refattn_interpreter as interpreter
    from refattn import adapters, oracle
    from tests.mutants.samples import sample, softmax_sample
    from tests.support.gpu.small_tiles import KERNELS

    kernel, call = KERNELS[mutant.kernel]
    adapter = adapters.get(call)
    if adapter.quantity == "softmax":
        (case,) = softmax_sample(4, 40, kind=mutant.kernel, format=mutant.format)()
        outcome = adapter.call(interpreter.in_any_thread(kernel), case)
        return close(outcome.out, oracle.softmax(case.x, spec=case.spec).mid)
    backward = mutant.property.startswith("gradients")
    sizes = {"batch": 1, "heads": 4, "kv_heads": 2, "queries": 24, "keys": 40, "d_qk": 16, "d_v": 16}
    (case,) = sample(*mutant.features, **sizes, format=mutant.format, upstream=backward)()
    outcome = adapter.call(interpreter.in_any_thread(kernel), case, want_gradients=backward)
    if not backward:
        return close(outcome.out, oracle.attention(case.q, case.k, case.v, case.spec).out.mid)
    truth = oracle.attention_backward(case.q, case.k, case.v, case.do, case.spec, dlse=case.dlse)
    return all(close(outcome.gradients[name], getattr(truth, name).mid) for name in ("dq", "dk", "dv"))


def close(actual: Any, exact: Any) -> bool:
    """A peer's criterion."""
    return bool(np.all(np.abs(np.asarray(actual) - exact) <= PEER + PEER * np.abs(exact)))


def main() -> None:
    """A line for each fault, and the sums."""
    import refattn_interpreter as interpreter
    from tests.support.gpu.kernel_mutants import MUTANTS, planted

    passed = 0
    with tempfile.TemporaryDirectory() as folder:
        for mutant in MUTANTS:
            with interpreter.active(), planted(mutant, Path(folder)):
                lets_pass = accepted(mutant)
            passed += lets_pass
            verdict = "passes" if lets_pass else "is seen"
            print(
                f"{mutant.name:<50} {mutant.kernel:<16} {mutant.format:<5} {mutant.property:<18} {verdict}", flush=True
            )
    print(f"refattn sees {len(MUTANTS)} of {len(MUTANTS)}; a tolerance of {PEER:g} lets {passed} pass")


if __name__ == "__main__":
    main()
