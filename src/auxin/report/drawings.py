"""The interactive drawings of a page: where each is drawn, and from what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from auxin.report.marks import Figure
from auxin.report.theme import specification, title


@dataclass(frozen=True)
class Placed:
    """A figure on the page: the element that it will be drawn in, and its words."""

    id: str
    title: str
    subtitle: str
    words: str


@dataclass
class Drawings:
    """Specifications by the identifier of the element that they are drawn in."""

    specifications: dict[str, Any] = field(default_factory=dict)

    def place(self, figures: Iterable[Figure]) -> list[Placed]:
        """The figures' elements and words. Titles stand on the page, where they wrap, not in the drawing."""
        return [self._place(figure) for figure in figures]

    def _place(self, figure: Figure) -> Placed:
        name = f"figure-{len(self.specifications) + 1}"
        spec = specification(figure.chart)
        heading, below = title(spec), _subtitle(spec)
        self.specifications[name] = {
            key: value for key, value in spec.items() if key not in ("title", "$schema")
        }
        return Placed(name, heading, below, spec.get("description", ""))


def _subtitle(spec: dict[str, Any]) -> str:
    found = spec.get("title", "")
    lines = found.get("subtitle", "") if isinstance(found, dict) else ""
    return "; ".join(lines) if isinstance(lines, list) else lines
