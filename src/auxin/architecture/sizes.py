"""What a description leaves open because signals at infinite width do not depend on it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from auxin.values import Value, check


@dataclass(frozen=True)
class Sizes(Value):
    """Dimensions of the parts of a stack that can be run.

    >>> Sizes(width=64, heads=4).hidden
    256
    """

    width: int
    """Dimension d of the residual stream."""
    heads: int = 1
    """Heads of queries."""
    key_heads: int = 0
    """Heads of keys and values, each shared by as many of queries; 0: as many as of queries."""
    hidden: int = 0
    """Hidden units m of the MLPs; 0: four times the width."""
    attention_bias: bool = True
    mlp_bias: bool = True
    expert_hidden: int = 0
    """Hidden units of an expert; 0: those of the MLPs."""
    shared_hidden: int = 0
    """Hidden units of the MLP that stands beside experts; 0: those of the MLPs."""

    ranges = {"width": (1, 65_536), "heads": (1, 65_536), "hidden": (0, 1_048_576)}  # noqa: RUF012

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "hidden", self.hidden or 4 * self.width)
        object.__setattr__(self, "key_heads", self.key_heads or self.heads)
        fits = 1 <= self.key_heads <= self.heads and self.heads % self.key_heads == 0
        check(fits, "key_heads", self.key_heads, f"a divisor of the heads ({self.heads})")

    def of_expert(self) -> Sizes:
        """Those of an expert, which is an MLP."""
        return replace(self, hidden=self.expert_hidden or self.hidden)

    def of_shared(self) -> Sizes:
        """Those of the MLP beside experts."""
        return replace(self, hidden=self.shared_hidden or self.hidden)

    def split_width(self) -> int:
        """Dimensions of a head where heads share the width; raises ``ConfigError`` where they do not divide it."""
        check(1 <= self.heads <= self.width, "heads", self.heads, f"1 to the width ({self.width})")
        check(self.width % self.heads == 0, "heads", self.heads, f"a divisor of the width ({self.width})")
        return self.width // self.heads
