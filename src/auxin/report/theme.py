"""How every figure looks, light and dark, and how it is saved: PNG, SVG, and a page that needs no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import altair
import vl_convert
from markupsafe import Markup

from auxin.files import replace, subdirectory
from auxin.outputs import check_output, marked_png, marked_text, write_output
from auxin.report.markup import fill

Panel: TypeAlias = altair.LayerChart | altair.FacetChart
"""What layering charts gives."""

BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
PALETTE = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
"""Okabe & Ito's colours that can be told apart by everyone, on white and on black."""
GRAY = "#808080"
"""For rules and captions; readable on both backgrounds."""


def _config(ink: str, faint: str, background: str, ordered: tuple[float, float]) -> dict[str, Any]:
    """A Vega-Lite configuration: thin axes, a faint horizontal grid, no box; ``ordered`` is a part of plasma."""
    text = {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12}
    return {
        "background": background,
        "font": "system-ui, Helvetica, Arial, sans-serif",
        "view": {"stroke": None},
        "axis": {
            **text,
            "titleFontWeight": "normal",
            "domainColor": GRAY,
            "tickColor": GRAY,
            "titlePadding": 8,
        },
        "axisX": {"grid": False, "labelFlush": False},
        "axisY": {"gridColor": faint, "domain": False, "ticks": False, "labelPadding": 6},
        "legend": {**text, "titleFontWeight": "normal", "titleLimit": 400},
        "header": {**text, "titleFontWeight": "normal"},
        "title": {
            "color": ink,
            "subtitleColor": GRAY,
            "anchor": "start",
            "fontSize": 14,
            "subtitleFontSize": 12,
            "offset": 12,
        },
        "range": {"category": list(PALETTE), "ordinal": {"scheme": "plasma", "extent": list(ordered)}},
    }


VERSION = altair.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
"""Of Vega-Lite: the one that altair writes."""
LIGHT = _config("#222222", "#e6e6e6", "#ffffff", (0.02, 0.82))
DARK = _config("#e6e6e6", "#33363d", "#16181d", (0.3, 1.0))


def save(figure: altair.TopLevelMixin | str, stem: str | Path, *, force: bool = False) -> list[Path]:
    """Write a chart, or a drawing given as SVG text, to ``stem`` + .png (twice the size), .svg and .html.

    Each file is replaced as a whole, by the rule of ``write_output``; the page follows the reader's light or dark mode
    and loads nothing from elsewhere. Returns the three paths. Raises ``RunError`` naming the file when one cannot be
    written.
    """
    contents = {Path(f"{stem}{ending}"): content for ending, content in _files(figure).items()}
    for path, content in contents.items():  # all or none
        check_output(path, content, force=force)
    for path, content in contents.items():
        write_output(path, content, force=force)
    return list(contents)


def save_inside(
    directory: Path, figures: Mapping[str, altair.TopLevelMixin | str], sub: str = ""
) -> list[Path]:
    """As ``save``, by name among the files of a run, study or sweep, which are auxin's own and replaced."""
    where = subdirectory(directory / sub, make=True) if sub else directory
    contents = {
        where / f"{name}{ending}": content
        for name, figure in figures.items()
        for ending, content in _files(figure).items()
    }
    for path, content in contents.items():
        replace(path, content)
    return list(contents)


def _files(figure: altair.TopLevelMixin | str) -> dict[str, bytes]:
    """The content of each file by its ending."""
    if isinstance(figure, str):
        png, svg = vl_convert.svg_to_png(figure, scale=2), figure
        page = figure_page("drawing", drawing=figure)
    else:
        spec = specification(figure)
        png = vl_convert.vegalite_to_png(spec, vl_version=VERSION, scale=2, config=LIGHT)
        svg = vl_convert.vegalite_to_svg(spec, vl_version=VERSION, config=LIGHT)
        page = figure_page(title(spec), spec=spec)
    return {".png": marked_png(png), ".svg": marked_text(svg), ".html": marked_text(page)}


def specification(chart: altair.TopLevelMixin) -> dict[str, Any]:
    """The one Vega-Lite specification from which a chart's every file and page is made."""
    with altair.data_transformers.enable("default", max_rows=None):
        spec = chart.to_dict()
    spec.pop("config", None)  # altair's default, which would win over ours
    return spec


def title(spec: dict[str, Any], part: str = "text") -> str:
    """The title of a specification, or its ``subtitle``."""
    found = spec.get("title", {})
    lines = found.get(part, "") if isinstance(found, dict) else found if part == "text" else ""
    return lines if isinstance(lines, str) else "; ".join(lines)


@cache
def bundle() -> Markup:
    """JavaScript that defines ``window.vegaEmbed``, with all that it needs; 0.9 MB that take seconds to make."""
    return Markup(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VERSION))


@dataclass(frozen=True)
class Figure:
    """A chart with its title; its ``description`` says in words what it shows."""

    name: str
    """Stem of its files."""
    chart: altair.TopLevelMixin


@dataclass(frozen=True)
class Placed:
    """A figure on the page: the element that it will be drawn in, and its words."""

    id: str
    title: str
    subtitle: str
    words: str


@dataclass
class Drawings:
    """Specifications by the identifier of the element that they are drawn in, with what draws them."""

    more: dict[str, Any] = field(default_factory=dict)
    """Configuration beside that of both modes."""
    figures: dict[str, Any] = field(default_factory=dict)
    bundle = staticmethod(bundle)

    @property
    def content(self) -> dict[str, Any]:
        """What the page's script reads."""
        return {"figures": self.figures, "light": LIGHT | self.more, "dark": DARK | self.more}

    def place(self, figures: Iterable[Figure]) -> list[Placed]:
        """The figures' elements and words. Titles stand on the page, where they wrap, not in the drawing."""
        placed: list[Placed] = []
        for figure in figures:
            spec = specification(figure.chart)
            words = title(spec), title(spec, "subtitle"), spec.get("description", "")
            placed.append(Placed(f"figure-{len(self.figures) + 1}", *words))
            self.figures[placed[-1].id] = {k: v for k, v in spec.items() if k not in ("title", "$schema")}
        return placed


def figure_page(
    heading: str, *, drawing: str = "", spec: dict[str, Any] | None = None, more: dict[str, Any] | None = None
) -> str:
    """A page of one drawing, or of one interactive figure, with ``more`` of its configuration."""
    drawings = Drawings(more or {}, {} if spec is None else {"figure-1": spec})
    return fill("figure.html", title=heading, drawing=Markup(drawing), drawings=drawings)
