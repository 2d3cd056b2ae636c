"""What a notebook shows: the HTML of runs, exponents, trees, summaries and answers, and their figures.

All text is escaped. A page's own colours are kept: nothing but rules, a figure excepted, which brings its background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any

import altair
import numpy as np
import vl_convert
from markupsafe import Markup

from auxin.errors import AuxinError
from auxin.lab.sweep_record import Sweep
from auxin.measures.grokking import GrokkingSummary, grokking_summary
from auxin.measures.pairs import PairScores
from auxin.measures.projection import Projection
from auxin.outputs import marked_text, write_output
from auxin.probes.check_report import CheckReport
from auxin.probes.transfer import TransferReport
from auxin.report import theory_figures
from auxin.report.markup import Table, fill, layers, number
from auxin.report.sweep_figures import sweep_figures
from auxin.report.tables import by_layer, members, overall
from auxin.report.theme import LIGHT, VERSION, Drawings, Figure, specification
from auxin.report.training_figures import learning_curves, span_chart
from auxin.runs import Run
from auxin.studies.analysis import Analysis
from auxin.tasks.trees import to_svg
from auxin.theory.exponents import Exponents
from auxin.theory.phase import PhaseDiagram
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
    facts = {
        "task": config.task,
        "model": f"{layers(config.model.depth)} of width {config.model.width}, {config.model.heads} heads",
        "seeds": ", ".join(map(str, config.seeds)),
        "steps": f"{config.steps:,}, {'finished' if run.finished else 'not finished'}",
        "checkpoints": f"{len(run.checkpoints)}",
    }
    try:
        tables = [("Grokking", members(grokking_summary(run.metrics)))]
        return _shown(f"Run {run.path}", facts=facts, tables=tables, drawing=_picture(figure(run)))
    except AuxinError as error:
        return _shown(f"Run {run.path}", str(error), facts=facts)


@figure.register
def _(run: Run) -> altair.TopLevelMixin:
    saturation = grokking_summary(run.metrics).saturation
    return learning_curves(run.metrics, saturation=saturation, accuracy=run.accuracy)


@figure.register
def _(report: TransferReport) -> altair.TopLevelMixin:
    return theory_figures.transfer_figure(report.table)


@html.register
def _(sweep: Sweep) -> str:
    facts = {axis.name: ", ".join(map(str, axis.values)) for axis in sweep.axes}
    state = f"{len(sweep.finished)} of {len(sweep.runs)} runs have finished"
    found = sweep_figures(sweep)
    drawing = _picture(found[0].chart) if found else ""
    return _shown(f"Sweep {sweep.path}", state, facts=facts, drawing=drawing)


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
    several = overall(summary)
    tables = [("Grokking", members(summary)), *([("Over seeds", several)] if several.rows else [])]
    return _shown(tables=tables)


@html.register
def _(projection: Projection) -> str:
    return _shown("", f"tree score {number(projection.tree_score)}", drawing=Markup(to_svg(projection.tree)))


@figure.register
def _(projection: Projection) -> altair.TopLevelMixin:
    return span_chart(projection)


@html.register
def _(scores: PairScores) -> str:
    rows = [
        [name, f"{pairs:,}", *(f"{share:.1%}" for share in shares)]
        for name, pairs, *shares in scores.accuracy.iter_rows()
    ]
    return _shown(tables=[("Minimal pairs", Table(("", "pairs", "accuracy", "95% from", "to"), rows))])


@html.register
def _(found: Exponents) -> str:
    if np.ndim(found.angle):
        shape = " × ".join(map(str, np.shape(found.angle)))
        return _shown("", f"Exponents of {shape} points")
    facts = {
        "phase": str(found.phase),
        "angle exponent, per layer": number(found.angle),
        "gradient exponent, per layer": number(found.gradient),
        "norm² at the fixed point": number(found.norm),
        "cosine at the fixed point": number(found.cosine),
    }
    totals = {"angle, over the depth": found.angle_total, "gradient, over the depth": found.gradient_total}
    facts |= {name: number(total) for name, total in totals.items() if total is not None}
    return _shown(facts=facts)


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
    return fill("checked.html", report=report, tables=_layers(report))


def save_check(report: CheckReport, path: str | Path, *, force: bool = False) -> Path:
    """Write the page of a check, see ``CheckReport.to_html``."""
    drawings = Drawings()
    placed = drawings.place([Figure("check", figure(report))])
    values = {"report": report, "tables": _layers(report), "drawings": drawings, "placed": placed}
    write_output(path, marked_text(fill("check.html", **values)), force=force)
    return Path(path)


def _layers(report: CheckReport) -> list[tuple[str, Table]]:
    """The tables of a check by their captions."""
    found = [("Layer by layer", by_layer(report.layers))]
    if report.encoder is not None:
        found.insert(0, ("The encoder, layer by layer", by_layer(report.encoder.layers)))
    return found


@html.register
def _(analysis: Analysis) -> str:
    claims = [[claim.verdict, claim.statement, claim.evidence] for claim in analysis.claims]
    findings = [[f.sentence, *(number(v) for v in (f.value, f.low, f.high))] for f in analysis.findings]
    tables = [
        ("Claims", Table(("", "claim", "evidence"), claims)),
        ("Findings", Table(("", "value", "95% from", "to"), findings)),
    ]
    return _shown(analysis.question, analysis.text, tables=tables)


def _shown(
    heading: str = "",
    *texts: str,
    facts: Mapping[str, str] = {},
    tables: Sequence[tuple[str, Table]] = (),
    drawing: str = "",
) -> str:
    """A heading, paragraphs, facts by name, tables by caption, and a drawing."""
    values = {"texts": texts, "facts": facts, "tables": tables, "drawing": drawing}
    return fill("shown.html", heading=heading, **values)


def _picture(chart: altair.TopLevelMixin) -> Markup:
    svg = vl_convert.vegalite_to_svg(specification(chart), vl_version=VERSION, config=LIGHT)
    return Markup(svg)  # made here, of text that vl-convert has escaped
