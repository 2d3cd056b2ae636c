"""What a notebook shows: the HTML of runs, exponents, trees, summaries and answers, and their figures.

All text is escaped. A page's own colours are kept: nothing but rules, a figure excepted, which brings its background.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any

import altair
import numpy as np
import vl_convert
from markupsafe import Markup

from auxin.errors import AuxinError
from auxin.lab.sweep_record import Sweep
from auxin.measures.grokking import QUANTITIES, GrokkingSummary, grokking_summary
from auxin.measures.intervals import SHARES
from auxin.measures.pairs import PairScores
from auxin.measures.projection import Projection
from auxin.probes.check_report import CheckReport
from auxin.probes.transfer import TransferReport
from auxin.report import check_page, theory_figures
from auxin.report.check_page import Checked, fragment
from auxin.report.sweep_figures import sweep_figures
from auxin.report.theme import LIGHT, VERSION, specification
from auxin.report.training_figures import learning_curves, span_chart
from auxin.report.transfer_figures import transfer_figure
from auxin.report.words import layers
from auxin.runs import Run
from auxin.studies.analysis import Analysis
from auxin.tasks.trees import to_svg
from auxin.theory.diagram import PhaseDiagram
from auxin.theory.exponents import Exponents
from auxin.theory.profile import Profile

LAYERS = 24
"""Layers that exponents are drawn over where no depth was given."""


@singledispatch
def html(value: Any) -> str:
    """The HTML of a value."""
    raise NotImplementedError(type(value).__name__)


@singledispatch
def figure(value: Any) -> altair.TopLevelMixin:
    """The figure of a value."""
    raise NotImplementedError(type(value).__name__)


@html.register
def _(run: Run) -> str:
    config = run.config
    state = "finished" if run.finished else "not finished"
    rows = {
        "task": config.task,
        "model": f"{layers(config.model.depth)} of width {config.model.width}, {config.model.heads} heads",
        "seeds": ", ".join(map(str, config.seeds)),
        "steps": f"{config.steps:,}, {state}",
        "checkpoints": f"{len(run.checkpoints)}",
    }
    parts = [_heading(f"Run {run.path}"), _pairs(rows)]
    try:
        summary = grokking_summary(run.metrics)
        parts += [_members(summary), _picture(figure(run))]
    except AuxinError as error:
        parts.append(_paragraph(str(error)))
    return _all(parts)


@figure.register
def _(run: Run) -> altair.TopLevelMixin:
    saturation = grokking_summary(run.metrics).saturation
    return learning_curves(run.metrics, saturation=saturation, accuracy=run.accuracy)


@figure.register
def _(report: TransferReport) -> altair.TopLevelMixin:
    return transfer_figure(report.table)


@html.register
def _(sweep: Sweep) -> str:
    rows = {axis.name: ", ".join(map(str, axis.values)) for axis in sweep.axes}
    state = f"{len(sweep.finished)} of {len(sweep.runs)} runs have finished"
    parts = [_heading(f"Sweep {sweep.path}"), _paragraph(state), _pairs(rows)]
    return _all([*parts, *([_picture(found[0].chart)] if (found := sweep_figures(sweep)) else [])])


@figure.register
def _(sweep: Sweep) -> altair.TopLevelMixin:
    found = sweep_figures(sweep)
    if not found:
        raise AuxinError(
            f"{sweep.path}: nothing to draw; allowed: a sweep of two values or more that has finished runs"
        )
    return found[0].chart


@html.register
def _(summary: GrokkingSummary) -> str:
    parts = [_members(summary)]
    if len(summary.members) > 1:
        rows = [
            [_words(row["quantity"]), *(_quantity(row["quantity"], row[n]) for n in ("value", "low", "high"))]
            for row in summary.overall.to_dicts()
        ]
        parts.append(_table("Over seeds", ("", "mean", "95% from", "to"), rows))
    return _all(parts)


def _members(summary: GrokkingSummary) -> Markup:
    names = (*QUANTITIES, "relapsed")
    rows = [
        [str(row["member"]), *(_quantity(name, row[name]) for name in names)]
        for row in summary.members.to_dicts()
    ]
    return _table("Grokking", ("seed", *map(_words, names)), rows)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _quantity(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or not name.endswith("step"):
        return f"{value:.1%}" if value is not None and name in SHARES else number(value)
    return f"{value:,.0f}"


@html.register
def _(projection: Projection) -> str:
    score = _paragraph(f"tree score {number(projection.tree_score)}")
    return _all([Markup(to_svg(projection.tree)), score])


@figure.register
def _(projection: Projection) -> altair.TopLevelMixin:
    return span_chart(projection)


@html.register
def _(scores: PairScores) -> str:
    rows = [
        [name, f"{pairs:,}", *(f"{share:.1%}" for share in shares)]
        for name, pairs, *shares in scores.accuracy.iter_rows()
    ]
    return _all([_table("Minimal pairs", ("", "pairs", "accuracy", "95% from", "to"), rows)])


@html.register
def _(found: Exponents) -> str:
    if np.ndim(found.angle):
        shape = " × ".join(map(str, np.shape(found.angle)))
        return _all([_paragraph(f"Exponents of {shape} points")])
    rows = {
        "phase": str(found.phase),
        "angle exponent, per layer": number(found.angle),
        "gradient exponent, per layer": number(found.gradient),
        "norm² at the fixed point": number(found.norm),
        "cosine at the fixed point": number(found.cosine),
    }
    if found.angle_total is not None:
        rows |= {"angle, over the depth": number(found.angle_total)}
    if found.gradient_total is not None:
        rows |= {"gradient, over the depth": number(found.gradient_total)}
    return _all([_pairs(rows)])


@figure.register
def _(found: Exponents) -> altair.TopLevelMixin:
    if np.ndim(found.angle):
        raise AuxinError("exponents of a grid have no figure of their own; allowed: phase_diagram(…).plot()")
    if found.depth and found.angle_total is not None and found.gradient_total is not None:
        return theory_figures.growth(
            found.angle_total / found.depth, found.gradient_total / found.depth, found.depth, found.phase
        )
    return theory_figures.growth(found.angle, found.gradient, LAYERS, found.phase)


@figure.register
def _(found: Profile) -> altair.TopLevelMixin:
    return theory_figures.profile_figure(*((None, found) if found.draws else (found,)))


@figure.register
def _(diagram: PhaseDiagram) -> altair.TopLevelMixin:
    return theory_figures.phase_diagram(diagram, diagram.names)


@figure.register
def _(report: CheckReport) -> altair.TopLevelMixin:
    return theory_figures.profile_figure(
        report.predicted, report.observation, title=f"{report.name} at initialization"
    )


@html.register
def _(report: CheckReport) -> str:
    return fragment(_checked(report))


def save_check(report: CheckReport, path: str | Path, *, force: bool = False) -> Path:
    """Write the page of a check, see ``CheckReport.to_html``."""
    return check_page.save_check(_checked(report), figure(report), path, force=force)


def _checked(report: CheckReport) -> Checked:
    found: list[tuple[str, str]] = []
    for finding in report.findings:
        found.append((finding.kind, finding.sentence))
        found += [(f"follows: {effect.kind}", effect.sentence) for effect in finding.consequences]
    encoder = None if report.encoder is None else report.encoder.layers
    return Checked(report.name, found, report.notes, report.layers, encoder)


@html.register
def _(analysis: Analysis) -> str:
    claims = [[claim.verdict, claim.statement, claim.evidence] for claim in analysis.claims]
    findings = [[f.sentence, *(number(v) for v in (f.value, f.low, f.high))] for f in analysis.findings]
    return _all(
        [
            _heading(analysis.question),
            _paragraph(analysis.text),
            _table("Claims", ("", "claim", "evidence"), claims),
            _table("Findings", ("", "value", "95% from", "to"), findings),
        ]
    )


def number(value: Any) -> str:
    """A number to three digits, large ones whole; – for none."""
    if value is None or math.isnan(value):
        return "–"
    text = f"{value:,.0f}" if 1000 <= abs(value) < math.inf else f"{value:.3g}"
    return text.replace("-", "−")


def _all(parts: Iterable[Markup]) -> str:
    return str(Markup('<div style="overflow-x: auto">{}</div>').format(Markup("").join(parts)))


def _picture(chart: altair.TopLevelMixin) -> Markup:
    svg = vl_convert.vegalite_to_svg(specification(chart), vl_version=VERSION, config=LIGHT)
    return Markup(svg)  # made here, of text that vl-convert has escaped


def _heading(text: str) -> Markup:
    return Markup("<h4>{}</h4>").format(text)


def _paragraph(text: str) -> Markup:
    return Markup("<p>{}</p>").format(text)


def _pairs(rows: Mapping[str, str]) -> Markup:
    lines = [
        Markup('<tr><th style="text-align: left">{}</th><td>{}</td></tr>').format(*row)
        for row in rows.items()
    ]
    return Markup("<table><tbody>{}</tbody></table>").format(Markup("").join(lines))


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    head = Markup("").join(Markup("<th>{}</th>").format(name) for name in heads)
    body = (
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row))
        for row in rows
    )
    form = Markup("<table><caption>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table>")
    return form.format(caption, head, Markup("").join(body))
