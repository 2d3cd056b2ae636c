"""What measures and probes ask of a model, so that any causal PyTorch model can be measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Output:
    """What a forward pass returns; B sequences of L tokens, width d, H heads, V words."""

    logits: Tensor
    """[B, L, V], scores of the next token."""
    states: tuple[Tensor, ...] = ()
    """If asked for: [B, L, d] after the embedding and after every layer (depth + 1 of them)."""
    attention: tuple[Tensor, ...] = ()
    """If asked for: [B, H, L, L] softmax weights of every layer."""


@runtime_checkable
class CausalModel(Protocol):
    """A causal language model; ``TransformerLM`` is one, and an adapter makes one of any other.

    Causality makes right-padding harmless: what stands behind a token cannot change its state.
    """

    def __call__(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        states: bool = False,
        attention: bool = False,
    ) -> Output:
        """Run the model.

        Args:
            tokens: int64 [B, L].
            positions: int64 [B, L]; by default 0 … L−1.
            mask: bool [L, L] or [B, L, L], true where row may attend to column; combined with the causal mask.
            states: return the states of all layers.
            attention: return the attention weights of all layers.
        """
        ...
