"""What draws itself in a notebook. How is said in ``auxin.notebook``, above all layers, which ``auxin`` hands down."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair


def _not_imported() -> Any:
    raise AssertionError("auxin itself was not imported")


drawing: Callable[[], Any] = _not_imported
"""Gives the module ``auxin.notebook``; set when ``auxin`` is imported."""


class Displayed:
    """Shows itself in a notebook, as a table or a drawing."""

    def _repr_html_(self) -> str:
        return drawing().html(self)


class Drawn:
    """Has a figure."""

    def plot(self) -> altair.TopLevelMixin:
        """Its figure as an Altair chart, the one that verbs and reports draw."""
        return drawing().figure(self)
