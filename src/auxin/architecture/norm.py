"""Norms, and the elementwise functions that stand in for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from auxin.values import Value, check

NormKind = Literal["layer", "rms", "tanh", "erf"]
ELEMENTWISE = ("tanh", "erf")


@dataclass(frozen=True)
class Norm(Value):
    """What stands in front of a branch, behind it, or behind the sum.

    With γ the gain, ε the epsilon and α the slope:

    - ``layer``: γ·(x − mean x)/√(var x + ε) (Ba, Kiros, Hinton 2016; at initialization the mean is O(1/√d));
    - ``rms``: γ·x/√(‖x‖²/d + ε) (Zhang, Sennrich 2019);
    - ``tanh``: γ·tanh(α·x), DyT (Zhu et al. 2025); ``erf``: γ·erf(α·x), Derf: entry by entry, no statistics.

    >>> Norm("rms", epsilon=1e-6)
    Norm(kind='rms', epsilon=1e-06)
    """

    kind: NormKind = "layer"
    gain: float = 1.0
    epsilon: float = 0.0
    slope: float = 1.0
    """α; of the elementwise kinds alone."""

    ranges = {"gain": (0, 1e3), "epsilon": (0, 1e3), "slope": (0, 1e3)}  # noqa: RUF012

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.elementwise:
            check(self.epsilon == 0, "epsilon", self.epsilon, f"0, of {self.kind}, which divides by nothing")
        else:
            check(self.slope == 1, "slope", self.slope, f"1, of {self.kind}; others with tanh, erf")

    @property
    def elementwise(self) -> bool:
        """Whether it acts entry by entry instead of dividing by the token's norm."""
        return self.kind in ELEMENTWISE

    def norm2(self, norm2: float) -> float:
        """Squared norm per dimension of a token behind it, from that before it; of ``layer`` and ``rms``."""
        check(not self.elementwise, "kind", self.kind, "layer or rms, of the embeddings")
        return self.gain**2 * norm2 / (norm2 + self.epsilon)
