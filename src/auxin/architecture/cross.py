"""Attention to another stream, at initialization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from auxin.architecture.attention import Attention
from auxin.architecture.initialization import Map
from auxin.architecture.sizes import Sizes

CROSS = "cross_"
"""Begins the roles of its maps."""
SAME = ("sigma_q", "sigma_k", "sigma_v", "sigma_b", "head_dim", "scale")


@dataclass(frozen=True)
class CrossAttention(Attention):
    """softmax_j(q_i·k_j·scale)·v_j with keys and values of another stream, the memory: an encoder's last.

    Every token sees all of the memory, which is of the same width. Positions play no part in it. It is for a
    ``Network`` that ``propagate_gram`` takes with a ``memory``, not for a model that auxin trains.

    >>> CrossAttention(sigma_q=0.5, head_dim=64).logit_scale
    0.5
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_plain(SAME, "attention to another stream")

    def maps(self, sizes: Sizes, branches: int) -> dict[str, Map]:
        """What a model of these sizes draws for it."""
        return {CROSS + role: drawn for role, drawn in super().maps(sizes, branches).items()}

    def with_sigmas(self, sigmas: Mapping[str, float], biases: Mapping[str, float]) -> Self:
        """This with the σ's that its maps and their biases have."""
        own = ({role.removeprefix(CROSS): value for role, value in of.items()} for of in (sigmas, biases))
        return super().with_sigmas(*own)
