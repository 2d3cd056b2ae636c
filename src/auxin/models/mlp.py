"""The MLP, with or without a gate. ``ACTIVATIONS`` is the one list of what models can compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from auxin.architecture import mlp as description
from auxin.architecture.sizes import Sizes
from auxin.models.basic import Body, Dropout, Linear
from auxin.models.context import Context
from auxin.values import check

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "tanh": torch.tanh,
    "erf": torch.erf,
    "silu": F.silu,
    "relu2": lambda x: F.relu(x).square(),
    "linear": lambda x: x,
}


class MLPModule(Body):
    """W_o·φ(W_1·x + b_1) + b_2 on every token, or W_o·(φ(W_g·x + b_g) ∘ (W_1·x + b_1)) + b_2."""

    BIAS = "mlp_bias"

    def __init__(self, described: description.MLP, sizes: Sizes, dropout: float) -> None:
        super().__init__()
        self.up = Linear(sizes.width, sizes.hidden, bias=sizes.mlp_bias)
        self.gate = Linear(sizes.width, sizes.hidden, bias=sizes.mlp_bias) if described.gated else None
        self.down = Linear(sizes.hidden, sizes.width, bias=sizes.mlp_bias)
        names = ", ".join(ACTIVATIONS)
        check(described.activation in ACTIVATIONS, "activation", described.activation, names)
        self.activation = ACTIVATIONS[str(described.activation)]
        self.shift = described.shift
        self.dropout = Dropout(dropout)

    @staticmethod
    def masked(sizes: Sizes) -> tuple[int | None, ...]:
        return (sizes.hidden,)

    def held(self) -> Iterator[tuple[Linear, tuple[str, ...]]]:
        yield self.up, ("up",)
        if self.gate is not None:
            yield self.gate, ("gate",)
        yield self.down, ("down",)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x [B, L, d], or packed."""
        up = self.up(x) + self.shift if self.shift else self.up(x)
        h = self.activation(up) if self.gate is None else self.activation(self.gate(x)) * up
        return self.down(self.dropout(h, context))
