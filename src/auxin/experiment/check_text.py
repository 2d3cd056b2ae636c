"""A checked model as text of at most 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

import polars as pl

from auxin.probes.diagnosis import Diagnosis
from auxin.probes.observe import PROBES
from auxin.probes.remedy import Remedy

COLUMNS = (
    ("norm", "norm²", 9),
    ("predicted_norm", "predicted", 9),
    ("cosine", "cosine", 7),
    ("predicted_cosine", "predicted", 9),
    ("gradient", "gradient", 9),
    ("predicted_gradient", "predicted", 9),
    ("attention_share", "attn", 5),
    ("cross_share", "cross", 5),
    ("mlp_share", "MLP", 5),
)
MOST = 26
"""Layers that are all shown; of more, every second, third …"""
WIDTH = 80


def summary(layers: pl.DataFrame, diagnosis: Diagnosis) -> str:
    """The table, the findings and the notes."""
    found = diagnosis.findings
    lines = [*_table(layers), ""]
    for finding in found:
        lines += _wrapped(f"{finding.kind}: {finding.sentence}")
        for each in finding.consequences:
            lines += _wrapped(f"  follows: {each.sentence}")
    seen = diagnosis.observation
    if not found and seen is not None and not seen.closed:
        lines += ["No verdict: what the layers add to the stream was not found."]
    elif not found:
        lines += ["Nothing found: the initialization is what it should be."]
    if seen is not None and seen.excess_loss is not None:
        lines += _wrapped(
            f"loss at initialization: ln {seen.vocabulary:,} + {seen.excess_loss:.3g} (logits have std "
            f"{seen.logit_std:.3g})"
        )
    if seen is not None:
        error = seen.errors["gradient"][0] / seen.gradient[0]
        lines += _wrapped(
            f"gradient at the input: ± {error:.0%}, the standard error of {PROBES} random probes"
        )
    for note in diagnosis.notes:
        lines += _wrapped(f"({note})")
    return "\n".join(lines)


def remedy_table(rows: Sequence[Remedy]) -> str:
    """What rules for the branches come to."""
    lines = [f"{'branches':<24}{'factor':>9}{'skip':>6}{'cosine':>8}{'norm²':>9}{'angle':>8}{'gradient':>9}"]
    for row in rows:
        lines.append(
            f"{row.name:<24}{row.branch:>9.3g}{row.skip:>6.3g}{row.cosine:>8.3f}{row.norm:>9.3g}"
            f"{row.angle_total:>8.2f}{row.gradient_total:>9.2f}"
        )
    return "\n".join(lines)


def _table(layers: pl.DataFrame) -> Iterable[str]:
    shown = [(name, head, width) for name, head, width in COLUMNS if layers[name].is_not_null().any()]
    yield "layer" + "".join(f" {head:>{width}}" for _, head, width in shown)
    step = -(-layers.height // MOST)
    for row in layers.iter_rows(named=True):
        layer = row["layer"]
        if layer % step == 0 or layer in (1, layers.height - 1):
            name = "input" if layer == 0 else f"{layer:5}"
            yield name + "".join(f" {_number(row[name], width):>{width}}" for name, _, width in shown)


def _number(value: float | None, width: int) -> str:
    if value is None:
        return "–"
    if abs(value) < 1 and width <= 7:
        return f"{value:.{min(3, width - 2)}f}".replace("-0.000", "0.000")
    return f"{value:.3g}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
