"""The page of a checked model: what was found, the table, the figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import polars as pl

from auxin.disk.output import marked_text, write_output
from auxin.report.drawings import Drawings
from auxin.report.marks import Figure
from auxin.report.markup import Markup, element, join, number, table
from auxin.report.theme import DARK, LIGHT, bundle, fill, script_json

HEADS = {
    "layer": "layer",
    "norm": "norm²",
    "predicted_norm": "predicted",
    "cosine": "cosine",
    "predicted_cosine": "predicted",
    "gradient": "gradient",
    "predicted_gradient": "predicted",
    "attention_share": "attention's share",
    "mlp_share": "MLP's share",
    "entropy": "attention entropy",
    "spread": "logit spread",
}


@dataclass(frozen=True)
class Checked:
    """What a page says of a model."""

    name: str
    findings: Sequence[tuple[str, str]]
    """Kind and sentence."""
    notes: Sequence[str]
    layers: pl.DataFrame


def save_check(checked: Checked, chart: alt.TopLevelMixin, path: str | Path, *, force: bool = False) -> Path:
    """Write the page, which loads nothing from elsewhere, by the rule of ``write_output``."""
    drawings = Drawings()
    figure = drawings.place(Figure("check", chart))
    header = element("header", element("h1", f"Is the start of {checked.name} all right?"))
    filled = {
        "title": join([f"auxin check: {checked.name}"]),
        "body": join([header, element("main", _words(checked), figure, _table(checked.layers), id="main")]),
        "specifications": script_json({"figures": drawings.specifications, "light": LIGHT, "dark": DARK}),
        "bundle": bundle(),
    }
    write_output(path, marked_text(fill("page.html", filled)), force=force)
    return Path(path)


def fragment(checked: Checked) -> str:
    """The findings and the table as HTML, for a notebook."""
    return str(element("div", element("h3", checked.name), _words(checked), _table(checked.layers)))


def _words(checked: Checked) -> Markup:
    items = [
        element("li", element("span", kind, class_="verdict"), f": {said}") for kind, said in checked.findings
    ]
    found = element("ul", *items) if items else element("p", "Nothing found.", class_="answer")
    notes = element("p", "; ".join(checked.notes), class_="soft")
    return join([found, notes])


def _table(layers: pl.DataFrame) -> Markup:
    shown = [name for name in HEADS if name == "layer" or layers[name].is_not_null().any()]
    rows = [
        ["input" if row[0] == 0 else str(row[0]), *(number(value) for value in row[1:])]
        for row in layers.select(shown).iter_rows()
    ]
    return table("Layer by layer", [HEADS[name] for name in shown], rows)
