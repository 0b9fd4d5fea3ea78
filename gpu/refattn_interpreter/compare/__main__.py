"""The command line."""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import refattn_interpreter as interpreter
from refattn_interpreter.compare import __doc__ as purpose
from refattn_interpreter.compare.results import Difference, Found, differences, gathered, load, save

AGREE, DIFFER, UNUSABLE = range(3)
USUAL = "as it is"
# The interpreter's models of what Triton's source leaves open.
VARIANTS = {
    USUAL: interpreter.Options(),
    "fuse": interpreter.Options(fuse=True),
    "flush_subnormals": interpreter.Options(flush_subnormals=True),
    "dot_rounding=truncate": interpreter.Options(dot_rounding="truncate"),
    "dot=exact": interpreter.Options(dot="exact"),
    "dot=exact, dot_rounding=truncate": interpreter.Options(dot="exact", dot_rounding="truncate"),
    "tf32_operands=nearest": interpreter.Options(tf32_operands="nearest"),
    "reduction=sequential": interpreter.Options(reduction="sequential"),
}


def interpreted() -> dict[str, Found]:
    """What the interpreter gives under each of the variants, in a process where triton was not imported to compile."""
    results = {}
    for name, options in VARIANTS.items():
        with interpreter.active(options):
            from refattn_interpreter.compare.operations import operations

            results[name] = gathered(operations(), "cpu")
    return results


def interpreted_elsewhere() -> dict[str, Found]:
    """The same from another process, whatever this one has imported."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "interpreted.npz"
        command = [sys.executable, "-m", "refattn_interpreter.compare", "--interpreted", str(path)]
        subprocess.run(command, env=environment, check=True)
        return load(path)


def text(difference: Difference) -> str:
    """A line."""
    if difference.refused:
        return f"{difference.name:<44} not compared: {difference.refused}"
    if difference.agrees:
        return f"{difference.name:<44} {difference.elements:>5} agree"
    apart = f"{difference.differing} of {difference.elements} differ, by up to {difference.ulps:g} ulp"
    agreeing = f"; agrees with {' and with '.join(difference.variants)}" if difference.variants else ""
    return f"{difference.name:<44} {apart}: {difference.example}{agreeing}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, and print what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m refattn_interpreter.compare", description=(purpose or "").split("\n")[0]
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was found to a file")
    parser.add_argument(
        "--time-limit", type=float, default=math.inf, metavar="SECONDS", help="for compiling and running on the GPU"
    )
    parser.add_argument("--interpreted", type=Path, metavar="FILE", help="write the interpreter's results, and no more")
    options = parser.parse_args(arguments)
    if options.interpreted:
        save(options.interpreted, interpreted())
        return AGREE
    # Triton 3.10 stops contracting a * b + c of its own accord; what its predecessors do is compared.
    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
    import torch
    import triton

    from refattn_interpreter.compare import kernels

    if not (isinstance(kernels.binary, triton.JITFunction) and torch.cuda.is_available()):
        print("this machine has no GPU that torch and Triton can use: expected one to compare with", file=sys.stderr)
        return UNUSABLE
    from refattn_interpreter.compare.operations import operations

    ours = gathered(operations(), "cuda", time.monotonic() + options.time_limit)
    compared = differences(ours, interpreted_elsewhere(), USUAL)
    for each in sorted(compared, key=lambda each: (not each.agrees, bool(each.refused))):
        print(text(each))
    agreeing, refused = sum(each.agrees for each in compared), sum(bool(each.refused) for each in compared)
    device = torch.cuda.get_device_name()
    print(f"{agreeing} of {len(compared)} operations agree to the bit with {device}, {refused} not compared")
    if options.json:
        contents = {"device": device, "differences": [asdict(each) for each in compared]}
        options.json.write_text(json.dumps(contents, indent=1) + "\n")
    return AGREE if agreeing + refused == len(compared) else DIFFER


if __name__ == "__main__":
    sys.exit(main())
