"""The interactive drawings of a page: where each is drawn, and from what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from auxin.report.marks import Figure
from auxin.report.theme import DARK, LIGHT, bundle, specification, title


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

    figures: dict[str, Any] = field(default_factory=dict)
    light = LIGHT
    dark = DARK
    bundle = staticmethod(bundle)

    def place(self, figures: Iterable[Figure]) -> list[Placed]:
        """The figures' elements and words. Titles stand on the page, where they wrap, not in the drawing."""
        placed: list[Placed] = []
        for figure in figures:
            spec = specification(figure.chart)
            words = title(spec), title(spec, "subtitle"), spec.get("description", "")
            placed.append(Placed(f"figure-{len(self.figures) + 1}", *words))
            self.figures[placed[-1].id] = {k: v for k, v in spec.items() if k not in ("title", "$schema")}
        return placed
