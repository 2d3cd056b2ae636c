"""The page of a checked model: what was found, the table, the figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import polars as pl

from auxin.outputs import marked_text, write_output
from auxin.report.marks import Drawings, Figure
from auxin.report.markup import Table, fill
from auxin.report.words import number

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
    encoder: pl.DataFrame | None = None
    """Of a decoder's encoder."""

    @property
    def tables(self) -> list[tuple[str, Table]]:
        """The tables by their captions."""
        found = [] if self.encoder is None else [("The encoder, layer by layer", _table(self.encoder))]
        return [*found, ("Layer by layer", _table(self.layers))]


def save_check(checked: Checked, chart: alt.TopLevelMixin, path: str | Path, *, force: bool = False) -> Path:
    """Write the page, which loads nothing from elsewhere, by the rule of ``write_output``."""
    drawings = Drawings()
    placed = drawings.place([Figure("check", chart)])
    text = fill("check.html", checked=checked, drawings=drawings, placed=placed)
    write_output(path, marked_text(text), force=force)
    return Path(path)


def fragment(checked: Checked) -> str:
    """The findings and the table as HTML, for a notebook."""
    return fill("checked.html", checked=checked)


def _table(layers: pl.DataFrame) -> Table:
    shown = [name for name in HEADS if name == "layer" or layers[name].is_not_null().any()]
    rows = [
        ["input" if row[0] == 0 else str(row[0]), *map(number, row[1:])]
        for row in layers.select(shown).iter_rows()
    ]
    return Table([HEADS[name] for name in shown], rows)
