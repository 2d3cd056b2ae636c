"""What a network does by layer: predicted, simulated or measured, in one form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from auxin.display import Drawn
from auxin.theory.states import Array

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class Profile(Drawn):
    """Named columns over the layers of a network; layer 0 is the stream that enters the first one.

    Always there are norm (‖x‖²/d of a token), cosine (of two different tokens) and gradient (squared, with respect to
    a token, relative to the output's). What else there is, its source says: gap (1 − cosine, with its own digits),
    the matrices of tokens gram (x_i·x_j/d) and gradient_gram (g_i·g_j), shares of branches, entropy …
    """

    columns: Mapping[str, Array]
    """By name, [depth + 1] of numbers, or [depth + 1, n, n] of matrices."""
    errors: Mapping[str, Array] = field(default_factory=dict)
    """Standard errors, of the columns that have one."""
    draws: int = 0
    """Samples that the errors come from; 0 where they are known otherwise."""

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def error(self, name: str) -> Array:
        """A column's standard error; 0 where it is exact."""
        return self.errors[name] if name in self.errors else np.zeros_like(self.columns[name])

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.norm) - 1

    @property
    def norm(self) -> Array:
        """Mean squared norm of a token per dimension."""
        return self.columns["norm"]

    @property
    def cosine(self) -> Array:
        """Mean cosine of two different tokens."""
        return self.columns["cosine"]

    @property
    def gradient(self) -> Array:
        """Mean squared norm of the gradient with respect to a token, relative to the output's."""
        return self.columns["gradient"]

    @property
    def angle_total(self) -> float:
        """log (1 − c_L)/(1 − c_0): how far the tokens at hand come together (below 0) or apart."""
        gaps = np.maximum(1 - self.cosine, 1e-15)
        return float(np.log(gaps[-1] / gaps[0]))

    @property
    def gradient_total(self) -> float:
        """log of the growth of squared gradients from output to input."""
        return float(np.log(self.gradient[0] / self.gradient[-1]))

    @property
    def table(self) -> pl.DataFrame:
        """A row a layer: its number, the columns of numbers, and their errors as ``…_error``."""
        import polars as pl

        named = {**self.columns, **{f"{name}_error": values for name, values in self.errors.items()}}
        columns: dict[str, Any] = {name: values for name, values in named.items() if values.ndim == 1}
        return pl.DataFrame({"layer": range(self.depth + 1), **columns}).with_columns(
            pl.selectors.float().fill_nan(None)
        )


def norm_and_overlap(gram: Array) -> tuple[Array, Array]:
    """Mean diagonal and mean off-diagonal entry (0 for a single token): [..., n, n] → [...] each."""
    n = gram.shape[-1]
    diagonal = np.trace(gram, axis1=-2, axis2=-1)
    return diagonal / n, (gram.sum((-2, -1)) - diagonal) / max(n * (n - 1), 1)


def mean_gap(gram: Array) -> Array:
    """Mean of 1 − cosine over pairs of tokens, by squared distances: [..., n, n] → [...]."""
    root = np.sqrt(np.einsum("...ii->...i", gram))
    return norm_and_overlap(1 - gram / (root[..., :, None] * root[..., None, :]))[1]
