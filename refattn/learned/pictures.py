"""Pictures of block scales: attention maps, entropies, perplexity against blocks, and the certificate by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator, PercentFormatter

from refattn.learned.views import Views

# A colour for each method, distinct for colour-blind readers too (Okabe and Ito).
COLOURS = {
    "exact": "#000000",
    "none": "#999999",
    "original": "#D55E00",
    "original-sealed": "#E69F00",
    "static": "#CC79A7",
    "moments": "#56B4E9",
    "moments+learned": "#009E73",
}
MARKERS = {"none": "x", "original": "v", "original-sealed": "^", "static": "s", "moments": "D", "moments+learned": "o"}
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 130}
# Weights below this share one colour in a map; only weight 0 has none.
LEAST = 1e-4


def attention_maps(views: Views) -> Any:
    """A row of maps a head, a column a method: the weight of each key for each query."""
    names = list(views.heads[0].weights)
    with plt.rc_context(STYLE):
        size = (2.1 * len(names) + 0.9, 2.0 * len(views.heads) + 0.5)
        figure, axes = plt.subplots(len(views.heads), len(names), figsize=size, squeeze=False, layout="constrained")
        colours = plt.get_cmap("magma").with_extremes(bad="#ececec", under=plt.get_cmap("magma")(0))
        image = None
        for axis, name in zip(axes[0], names, strict=True):
            axis.set_title(name, color=COLOURS.get(name, "black"), fontweight="bold", fontsize=9)
        for row, head in zip(axes, views.heads, strict=True):
            for axis, name in zip(row, names, strict=True):
                weights = head.weights[name].numpy()
                shown = np.ma.masked_equal(weights, 0.0)
                image = axis.imshow(shown, norm=LogNorm(LEAST, 1.0), cmap=colours, interpolation="nearest")
                for keys in views.blocks.slices(weights.shape[1])[1:]:
                    axis.axvline(keys.start - 0.5, color="#3b7dd8", linewidth=0.7, linestyle=":")
                axis.set(xticks=[], yticks=[])
                axis.spines[["left", "bottom"]].set_visible(False)
            row[0].set_ylabel(f"layer {head.layer}, head {head.head}\nquery")
        for axis in axes[-1]:
            axis.set_xlabel("key")
        bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.01, extend="min")
        bar.set_label("weight")
        bar.outline.set_visible(False)
    return figure


def entropies(views: Views) -> Any:
    """A histogram of the rows' entropy for each method, over that of exact attention."""
    names = [name for name in views.entropies if name != "exact"]
    exact = views.entropy("exact").numpy()
    highest = max(float(views.entropy(name).max()) for name in views.entropies)
    bins = np.linspace(0.0, highest, 60)
    with plt.rc_context(STYLE):
        size = (2.3 * len(names) + 0.5, 2.5)
        figure, axes = plt.subplots(1, len(names), figsize=size, sharey=True, squeeze=False, layout="constrained")
        for axis, name in zip(axes[0], names, strict=True):
            values = views.entropy(name).numpy()
            axis.hist(exact, bins, density=True, color="#d0d0d0", label="exact")
            axis.hist(values, bins, density=True, histtype="step", color=COLOURS.get(name), linewidth=1.4, label=name)
            axis.axvline(exact.mean(), color="#808080", linewidth=1)
            axis.axvline(values.mean(), color=COLOURS.get(name), linewidth=1, linestyle="--")
            axis.set_title(f"{name}\nmean {values.mean():.2f}, exact {exact.mean():.2f}", fontsize=9)
            axis.set_xlabel("entropy of a row (nats)")
        axes[0][0].set_ylabel("density")
    return figure


def perplexities(results: Sequence[dict[str, Any]]) -> Any:
    """The change of perplexity, relative to the exact model's, against the number of blocks."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(5.4, 3.6), layout="constrained")
        blocks = sorted({result["blocks"] for result in results if result["method"] != "exact"})
        methods = _by_method(results)
        for index, (name, method_results) in enumerate(methods.items()):
            # Side by side: methods of nearly equal cost would hide one another.
            x = [result["blocks"] * 2 ** (0.03 * (index - (len(methods) - 1) / 2)) for result in method_results]
            y, doubt = [result["change"] for result in method_results], [result["doubt"] for result in method_results]
            style = {"color": COLOURS.get(name), "marker": MARKERS.get(name, "."), "markersize": 4.5, "linewidth": 1.2}
            axis.errorbar(x, y, doubt, capsize=2, label=name, **style)
        axis.axhline(0.0, color="black", linewidth=0.8)
        axis.set_yscale("symlog", linthresh=0.01, linscale=0.6)
        lowest = min((result["change"] - result["doubt"] for result in results), default=0.0)
        axis.set_ylim(bottom=min(-0.005, 1.3 * lowest))
        axis.set_xscale("log", base=2)
        axis.set_xticks(blocks, [str(number) for number in blocks])
        axis.minorticks_off()
        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axis.grid(axis="y", color="#e6e6e6", linewidth=0.7)
        axis.set(xlabel="blocks", ylabel="change of perplexity")
        axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def certificates(results: Sequence[dict[str, Any]]) -> Any:
    """The mean distance of each layer's weights from the exact ones, a panel a number of blocks; heads are a band."""
    learned = [result for result in results if result["method"] != "exact"]
    blocks = sorted({result["blocks"] for result in learned})
    with plt.rc_context(STYLE):
        size = (3.3 * len(blocks) + 1.2, 3.0)
        figure, axes = plt.subplots(1, len(blocks), figsize=size, sharey=True, squeeze=False, layout="constrained")
        for axis, number in zip(axes[0], blocks, strict=True):
            for result in learned:
                if result["blocks"] != number:
                    continue
                heads = np.array([layer["mean"] for layer in result["layers"]])
                colour = COLOURS.get(result["method"])
                axis.plot(heads.mean(1), color=colour, label=result["method"], linewidth=1.4)
                axis.fill_between(range(len(heads)), heads.min(1), heads.max(1), color=colour, alpha=0.12, linewidth=0)
            axis.set_title(f"{number} blocks", fontsize=9)
            axis.set_yscale("log")
            axis.set_xlabel("layer")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.grid(axis="y", color="#e6e6e6", linewidth=0.7)
        axes[0][0].set_ylabel("mean $\\sum_j |p'_j - p_j|$ of a row")
        fullest = max(axes[0], key=lambda axis: len(axis.lines))
        figure.legend(*fullest.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right center")
    return figure


def close(figure: Any) -> None:
    """Free a figure after it is written."""
    plt.close(figure)


def _by_method(results: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for result in sorted(results, key=lambda result: result["blocks"]):
        if result["method"] != "exact":
            grouped.setdefault(result["method"], []).append(result)
    return grouped
