"""One HTML file that holds pictures and the table of results, and needs no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from typing import Any

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 1100px; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #e4e4e4; }
th:first-child, td:first-child { text-align: left; }
td.leak { color: #b00020; font-weight: bold; }
.wide { overflow-x: auto; } img { max-width: 100%; } p.about { color: #555; }
@media (prefers-color-scheme: dark) { body { background: #fff; } }
"""
COLUMNS = ("method", "blocks", "perplexity", "change", "±", "mean distance", "largest", "leak", "row sum off by")


def page(report: Mapping[str, Any], pictures: Mapping[str, tuple[str, bytes]]) -> str:
    """The page of a report as eval writes it; pictures are PNGs by title, each with a caption."""
    setting = report["setting"]
    about = (
        f"{setting['model']}: {setting['test']} windows of {setting['window']} tokens to test on, "
        f"{report['tokens']} of them predicted; {setting['train']} others to train on. {report['machine']}."
    )
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Block scales in a language model</title>",
        f"<style>{STYLE}</style></head><body><h1>Block scales in a language model</h1>",
        f"<p class='about'>{html.escape(about)}</p>",
        "<p>Each block of keys has a softmax of its own, and its scale takes the place of exp(LSE<sub>i</sub> &minus; "
        "LSE). The distance of a row is &sum;<sub>j</sub> |p&prime;<sub>j</sub> &minus; p<sub>j</sub>| = "
        "&sum;<sub>i</sub> |a<sub>i</sub> &minus; a*<sub>i</sub>|, exactly; at most 2 where scales sum to 1. Leak is "
        "weight on keys that the query may not see.</p>",
        table(report),
    ]
    for title, (caption, data) in pictures.items():
        source = base64.b64encode(data).decode("ascii")
        parts += [
            f"<h2>{html.escape(title)}</h2><p>{html.escape(caption)}</p>",
            f"<img alt='{html.escape(title)}' src='data:image/png;base64,{source}'>",
        ]
    return "\n".join([*parts, "</body></html>", ""])


def table(report: Mapping[str, Any]) -> str:
    """The results as an HTML table."""
    lines = ["<div class='wide'><table><tr>", *(f"<th>{name}</th>" for name in COLUMNS), "</tr>"]
    for result in report["results"]:
        exact = result["method"] == "exact"
        heads = [value for layer in result["layers"] for value in layer["mean"]]
        largest = {
            name: max((value for layer in result["layers"] for value in layer[name]), default=0.0)
            for name in ("largest", "leak", "row_sum_error")
        }
        cells = [
            html.escape(result["method"]),
            "" if exact else str(result["blocks"]),
            f"{result['perplexity']:.3f}",
            "" if exact else f"{result['change']:+.2%}",
            "" if exact else f"{result['doubt']:.2%}",
            f"{sum(heads) / max(len(heads), 1):.4f}",
            f"{largest['largest']:.3f}",
            f"{largest['leak']:.3g}",
            f"{largest['row_sum_error']:.1e}",
        ]
        marks = [" class='leak'" if name == "leak" and largest["leak"] else "" for name in COLUMNS]
        lines.append("<tr>" + "".join(f"<td{mark}>{cell}</td>" for mark, cell in zip(marks, cells, strict=True)))
    return "".join([*lines, "</table></div>"])
