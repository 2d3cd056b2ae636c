"""From tidy tables to what is drawn and read: checked columns, curves thinned so that jumps stay, runs in rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from auxin.errors import DataError
from auxin.measures.grokking import GrokkingSummary
from auxin.report.markup import Table, layers, number

Tables = Mapping[str, pl.DataFrame]
MOST_POINTS = 400
"""Of a curve: more than a screen shows."""
DIGITS = 5
"""Of a number that is drawn."""


def columns(tables: Tables, name: str, numbers: str, words: str = "") -> pl.DataFrame:
    """The named columns of a table, numbers as floats and words as text; raises ``DataError`` when one lacks."""
    if name not in tables:
        raise DataError(f"the study has no table {name!r}")
    if tables[name].is_empty():
        raise DataError(f"table {name!r} is empty")
    kinds = dict.fromkeys(numbers.split(), pl.Float64) | dict.fromkeys(words.split(), pl.String)
    try:
        chosen = tables[name].select(pl.col(column).cast(kind) for column, kind in kinds.items())
    except PolarsError as error:
        raise DataError(f"table {name!r} cannot be drawn: {str(error).splitlines()[0]}") from None
    return chosen.with_columns(pl.col(pl.String).fill_null(""))


def estimates(tables: Tables, name: str, quantity: str, numbers: str, words: str) -> pl.DataFrame:
    """``columns`` with a quantity and its interval as value, low and high."""
    ends = {quantity: "value", f"{quantity}_low": "low", f"{quantity}_high": "high"}
    return columns(tables, name, f"{numbers} {' '.join(ends)}", words).rename(ends)


def drawable(frame: pl.DataFrame, what: str, column: str = "value") -> pl.DataFrame:
    """The rows that can be drawn; raises ``DataError`` when none is left, instead of an empty figure."""
    frame = frame.filter(pl.col(column).is_finite())
    if frame.is_empty():
        raise DataError(f"there is no {what} to draw")
    return frame


def rounded(frame: pl.DataFrame) -> pl.DataFrame:
    """Numbers to the digits that are drawn, which is most of a page's weight."""
    return frame.with_columns(pl.col(pl.Float64).round_sig_figs(DIGITS))


def thinned(frame: pl.DataFrame, *keys: str, most: int = MOST_POINTS) -> pl.DataFrame:
    """At most about ``most`` rows of every curve, which the ``keys`` tell apart: of each stretch of steps the lowest
    and the highest ``value``, so that jumps stay, the first row and the last."""
    if frame.is_empty() or stretch_length(frame, *keys, most=most) == 1:
        return frame
    steps = pl.col("step").cast(pl.Float64)
    first, last = frame["step"].min(), frame["step"].max()
    place = ((steps - first) / (last - first) * (most // 2)).floor()  # pyright: ignore[reportOperatorIssue]
    numbered = frame.with_row_index("row").with_columns(stretch=place)
    row = pl.col("row")
    kept = [
        numbered.group_by(by).agg(low=row.get(pl.col(of).arg_min()), high=row.get(pl.col(of).arg_max()))
        for by, of in (([*keys, "stretch"], "value"), (keys or pl.lit(0), "step"))
    ]
    rows = pl.concat(part[side] for part in kept for side in ("low", "high"))
    return frame[rows.drop_nulls().unique().sort()]


def stretch_length(frame: pl.DataFrame, *keys: str, most: int = MOST_POINTS) -> int:
    """How many rows of a curve ``thinned`` takes two from; 1 where it leaves them as they are."""
    longest = frame.group_by(keys).len()["len"].max() if keys else frame.height
    assert isinstance(longest, int)
    return 1 if longest <= most else -(-longest * 2 // most)


def in_words(rows: Iterable[tuple[str, float | None, float | None, float | None]], form: str) -> str:
    """``2: 10% (4% to 20%); 4: …`` for those who do not see the figure."""
    form = f"z{form}"  # no "-0"

    def interval(value: float | None, low: float | None, high: float | None) -> str:
        bounds = "" if low is None or high is None else f" ({low:{form}} to {high:{form}})"
        return "unknown" if value is None else f"{value:{form}}{bounds}".replace("-", "−")

    return "; ".join(f"{label}: {interval(*estimate)}" for label, *estimate in rows)


def layers_of(column: str) -> pl.Expr:
    """``8 layers`` of a column of depths."""
    return pl.col(column).map_elements(layers, return_dtype=pl.String)


_share = "{:.1%}".format
COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "saturation_step": ("val≥99%", "{:,.0f}".format),
    "at_saturation": ("gen then", _share),
    "early_stopping": ("early stop", _share),
    "final": ("final", _share),
    "best": ("best", _share),
    "grokking_step": ("gen>80%", "{:,.0f}".format),
    "delay_ratio": ("delay", "{:.1f}×".format),
    "total_variation": ("varies", "{:.2f}".format),
    "committed": ("keeps", "{:.0%}".format),
}
"""Quantities of the grokking summary: heading, and how a value is written."""


def members(summary: GrokkingSummary) -> Table:
    """The quantities, a row a seed."""
    rows = [
        [
            str(member["member"]),
            *(written(member[name], write) for name, (_, write) in COLUMNS.items()),
            "yes" if member["relapsed"] else "no",
        ]
        for member in summary.members.to_dicts()
    ]
    return Table(["seed", *(heading for heading, _ in COLUMNS.values()), "relapsed"], rows)


def overall(summary: GrokkingSummary) -> Table:
    """Means and shares over several members, with their 95% intervals; no row of one."""
    rows: list[list[str]] = []
    several = len(summary.members) > 1
    for row in summary.overall.filter(several, pl.col("members") > 0).to_dicts():
        heading, write = COLUMNS.get(row["quantity"], (row["quantity"], "{:.0%}".format))
        low, high = (written(row[side], write) for side in ("low", "high"))
        rows.append([heading, written(row["value"], write), f"{low} to {high}", str(row["members"])])
    return Table(["over seeds", "mean", "95% interval", "seeds"], rows)


def written(value: Any, write: Callable[[Any], str]) -> str:
    """A value in its format; – for none."""
    return "–" if value is None else write(value)


def stability(members: pl.DataFrame) -> str:
    """How steady generalization was: means over seeds."""
    varies, keeps = members["total_variation"].mean(), members["committed"].mean()
    kept = "" if keeps is None else f", committed to a rule {keeps:.0%} of the time since in-domain ≥ 99%"
    return f"generalization varies by {varies:.2f} in total{kept}"


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


def by_layer(layers: pl.DataFrame) -> Table:
    """The signals of a check, a row a layer; without columns that it has not measured."""
    shown = [name for name in HEADS if name == "layer" or layers[name].is_not_null().any()]
    rows = [
        ["input" if row[0] == 0 else str(row[0]), *map(number, row[1:])]
        for row in layers.select(shown).iter_rows()
    ]
    return Table([HEADS[name] for name in shown], rows)
