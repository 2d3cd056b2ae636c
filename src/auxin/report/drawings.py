"""The interactive drawings of a page: where each is drawn, and from what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from auxin.report.marks import Figure
from auxin.report.markup import Markup, details, element
from auxin.report.theme import specification, title


@dataclass
class Drawings:
    """Specifications by the identifier of the element that they are drawn in."""

    specifications: dict[str, Any] = field(default_factory=dict)

    def place(self, figure: Figure) -> Markup:
        """The element that the figure will be drawn in, with its description in words."""
        name = f"figure-{len(self.specifications) + 1}"
        spec = self.specifications[name] = specification(figure.chart)
        heading, drawing = title(spec), element("div", id=name, class_="drawing")
        words = element("p", spec["description"], class_="soft")
        return element(
            "figure",
            element("div", drawing, class_="wide", tabindex="0", role="group", aria_label=heading),
            element("figcaption", details(f"In words: {heading}", words)),
        )
