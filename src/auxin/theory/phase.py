"""Phase diagrams: exponents over two hyperparameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars

from auxin.architecture.block import Block, check_range
from auxin.display import Drawn
from auxin.theory.exponents import exponents_grid
from auxin.values import check

Axis = tuple[str, Sequence[float]]


class PhaseDiagram(Drawn, polars.DataFrame):  # pyright: ignore[reportIncompatibleVariableOverride]
    """A table of x, y, angle, gradient, cosine and phase; ``plot`` draws it.

    What polars makes of it (a filtered table, a sorted one) is a plain table again.
    """

    names: tuple[str, str] = ("x", "y")
    """Names of the hyperparameters on the axes."""


def phase_diagram(block: Block, x: Axis, y: Axis, cosine: float = 0.3) -> PhaseDiagram:
    """Both exponents, c* and phase over a grid of two hyperparameters, all else as in ``block``.

    Args:
        block: where the other hyperparameters come from.
        x: a name and its values; any numeric field of ``Block``, or ``alpha_attention`` or ``alpha_mlp``
            (skip √(1 − α²), branch α).
        y: likewise, another name.
        cosine: the start from which the fixed point is reached.

    Returns one row a point, x fastest: x, y, angle, gradient, cosine, phase; its ``plot()`` draws it. Cost under 2 s
    for 100 × 100 points
    (the attention moments are tabulated once, see ``MomentsTable``); without norm, where logits scale with
    the stream, about 10 s, for a user's activation half a minute. Raises ``ConfigError`` for an
    unknown name, the same name twice, an empty axis or a value out of range.

    >>> grid = phase_diagram(Block(norm="post"), ("sigma_w", [1, 8]), ("sigma_o", [0.5, 1]))
    >>> grid.select("x", "y", "phase").rows()
    [(1.0, 0.5, 'ordered'), (8.0, 0.5, 'ordered'), (1.0, 1.0, 'ordered'), (8.0, 1.0, 'chaotic')]
    """
    check(x[0] != y[0], "y", y[0], "another hyperparameter than x")
    axes = []
    for axis, (name, values) in (("x", x), ("y", y)):
        array = np.asarray(values, float)
        check(array.ndim == 1 and array.size > 0, axis, values, "a name and a list of at least one value")
        check_range(name, array)
        axes.append(array)
    xs, ys = (values.ravel() for values in np.meshgrid(*axes))
    result = exponents_grid(block, {x[0]: xs, y[0]: ys}, cosine)
    columns = {name: getattr(result, name) for name in ("angle", "gradient", "cosine", "phase")}
    diagram = PhaseDiagram({"x": xs, "y": ys, **columns})
    diagram.names = (x[0], y[0])
    return diagram
