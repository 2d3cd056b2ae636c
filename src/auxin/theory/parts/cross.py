"""Attention to a memory, another stream of m tokens with Gram matrix C_m; C is that of what the n tokens here see.

Heads are drawn as in ``heads``, queries from N(0, σ_Q²C), keys from N(0, σ_K²C_m); A is [n, m], and with the gradient
(dq, dk) of a draw's queries and keys

    C → σ_V² E[A C_m Aᵀ] + σ_b²       G → σ_V²σ_Q² E[dq dqᵀ]       G_m ← G_m + σ_V²{E[Aᵀ G A] + σ_K² E[dk dkᵀ]}.

The memory's gradient adds up over the layers that read it.
"""

from __future__ import annotations

from torch import Tensor

from auxin.architecture import CrossAttention
from auxin.errors import ConfigError
from auxin.theory.draws import Draws
from auxin.theory.parts import heads
from auxin.theory.states import Back


def gram(body: CrossAttention, seen: Tensor, draws: Draws) -> tuple[Tensor, Back]:
    """The output's Gram matrix from that of what attention sees, and the way back, which adds to the memory's."""
    memory = draws.memory
    if memory is None:
        raise ConfigError("memory is None; allowed: its Gram matrix, of a network with CrossAttention")

    def back(gradient: Tensor) -> Tensor:
        queries, source = heads.backward(body, seen, gradient, draws, memory.gram)
        memory.gradient += source
        return queries

    return heads.forward(body, seen, draws, memory.gram) + body.sigma_b**2, back
