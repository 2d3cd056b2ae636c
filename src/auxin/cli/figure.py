"""The verb that draws one figure of a page for a paper."""

from __future__ import annotations

import re
import sys
import warnings
from dataclasses import dataclass
from typing import Annotated

import tyro

from auxin.cli.options import Directories, Out, Result, Writing
from auxin.cli.report import opened
from auxin.errors import ConfigError
from auxin.values import check

UNITS = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72}
"""Inches."""


@dataclass(frozen=True, kw_only=True)
class FigureOptions(Writing):
    """Draw one figure of a page for a paper, with the data behind it as CSV beside it.

    Its name is the stem of a file in the figures of a study or sweep; a run has learning-curves and dynamics, several
    runs also runs. Another name gives the list. The caption is printed.

    Example: auxin figure by-depth runs/studies/depth --out by-depth.pdf
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Which figure."""
    paths: Directories
    """Directories that auxin study, auxin sweep or auxin train wrote."""
    out: Out
    """The file; its ending decides: .pdf, .svg, .png (300 dots an inch) or .html."""
    width: Annotated[str, tyro.conf.arg(metavar="LENGTH")] = "3.25in"
    """Width, in in, cm, mm or pt; labels have 8 points."""
    font: Annotated[str, tyro.conf.arg(metavar="FAMILY")] = ""
    """Font of all text, as "Times New Roman"; by default the sans-serif one of the page."""

    def __post_init__(self) -> None:
        self._inches()

    def _inches(self) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(in|cm|mm|pt)", self.width)
        if found is None:
            raise ConfigError(f"width is {self.width!r}; allowed: a number with in, cm, mm or pt, as 3.25in")
        return float(found[1]) * UNITS[found[2]]

    def run(self) -> Result:
        """Write the figure and its data, and print its caption."""
        from auxin.report.page import sections
        from auxin.report.paper import write_figure
        from auxin.report.theme import specification, title

        parts = opened(self.paths, trees=False)
        figures = [figure for section in sections(parts).values() for figure in section.figures]
        found = [figure for figure in figures if figure.name == self.name]
        names = (
            ", ".join(dict.fromkeys(figure.name for figure in figures)) or "none: there is nothing to draw"
        )
        check(len(found) > 0, "name", self.name, names)
        check(len(found) == 1, "name", self.name, f"one figure, here of {len(found)} directories; name one")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            paths = write_figure(found[0], self.out, self._inches(), self.font, force=self.force)
        for warning in caught:
            print(f"warning: {warning.message}", file=sys.stderr)
        spec = specification(found[0].chart)
        caption = f"{title(spec)}: {title(spec, 'subtitle')}"
        values = {"caption": caption, "figure": str(paths[0]), "data": str(paths[1])}
        return Result(values, "\n".join(values.values()))
