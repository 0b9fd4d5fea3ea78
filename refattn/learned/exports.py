"""The output of the command `show`: a PNG a picture, and a page with all of them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from refattn.errors import InvalidValue
from refattn.learned import page, pictures
from refattn.learned.experiment import Experiment
from refattn.learned.methods import METHODS, Method
from refattn.learned.views import look
from refattn.reports import files

MAPS = (
    "Weights of keys (across) for queries (down), on a logarithmic scale, of exact attention and of methods on the "
    "same rows; dotted lines part the blocks. Weight above the diagonal is leaked from the future."
)
ENTROPY = (
    "Entropy of rows that see two blocks or more, over all layers and heads; grey is exact attention, lines are means. "
    "Without scales rows are flatter than they should be."
)
PERPLEXITY = "Change of perplexity relative to the exact model's, and one standard error from differences of windows."
CERTIFICATE = (
    "Mean distance of the weights from exact attention on the same rows, which is that of the scales; the line is the "
    "mean over heads and the band reaches from the best head to the worst."
)


def read_report(path: str) -> dict[str, Any]:
    """A report that eval --json wrote. Raises InvalidValue."""
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
        rows = [(result["method"], result["blocks"], result["layers"][0]["mean"]) for result in report["results"]]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InvalidValue(f"--results {path!r} cannot be read: expected a file that eval --json wrote") from error
    if not any(method != "exact" for method, *_ in rows):
        raise InvalidValue(f"--results {path!r} holds no method: expected results of one or more")
    loaded: dict[str, Any] = report
    return loaded


def joined(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Reports of different methods or numbers of blocks as one, ordered by blocks and method; the later of two results
    of the same method and blocks. Raises InvalidValue if their texts differ.
    """
    first = reports[0]
    by_method = {(result["method"], result["blocks"]): result for report in reports for result in report["results"]}
    exact = {report["results"][0]["perplexity"] for report in reports}
    if len(exact) > 1 or any(report["tokens"] != first["tokens"] for report in reports):
        raise InvalidValue("--results are of different models or texts: expected the same exact perplexity in each")
    order = list(METHODS)

    def place(result: Mapping[str, Any]) -> tuple[int, int]:
        return result["blocks"], order.index(result["method"]) if result["method"] in order else len(order)

    return {**first, "results": sorted(by_method.values(), key=place)}


def write(
    experiment: Experiment, methods: Mapping[str, Sequence[Method]], report: Mapping[str, Any], folder: Path
) -> list[Path]:
    """Write the pictures and the page, and return their paths. Raises InvalidValue where they cannot be written."""
    window = experiment.windows.test[:1].to(experiment.setting.device)
    views = look(experiment.language.model, experiment.layers, methods, window)
    blocks = views.blocks.blocks
    drawn = {
        "perplexity": ("Perplexity against blocks", PERPLEXITY, pictures.perplexities(report["results"])),
        "attention": (f"Attention maps, {blocks} blocks", MAPS, pictures.attention_maps(views)),
        "entropy": (f"Entropy, {blocks} blocks", ENTROPY, pictures.entropies(views)),
        "certificate": ("Certificate by layer", CERTIFICATE, pictures.certificates(report["results"])),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data = {name: _png(figure) for name, (_, _, figure) in drawn.items()}
        paths = []
        for name, png in data.items():
            paths.append(folder / f"{name}.png")
            paths[-1].write_bytes(png)
    except OSError as error:
        raise InvalidValue(f"--pictures {str(folder)!r} cannot be written: {error.strerror}") from error
    titled = {title: (caption, data[name]) for name, (title, caption, _) in drawn.items()}
    paths.append(folder / "index.html")
    files.write(paths[-1], page.page(report, titled), "--pictures")
    return paths


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    pictures.close(figure)
    return buffer.getvalue()
