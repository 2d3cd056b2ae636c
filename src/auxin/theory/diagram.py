"""The table of a phase diagram, which knows what its axes are."""

from __future__ import annotations

import polars

from auxin.display import Drawn


class PhaseDiagram(Drawn, polars.DataFrame):  # pyright: ignore[reportIncompatibleVariableOverride]
    """A table of x, y, angle, gradient, cosine and phase; ``plot`` draws it.

    What polars makes of it (a filtered table, a sorted one) is a plain table again.
    """

    names: tuple[str, str] = ("x", "y")
    """Names of the hyperparameters on the axes."""
