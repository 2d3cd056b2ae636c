"""The parts of a network, one file each: its equation forward and backward, on both states (see ``states``).

``SYMMETRIC`` and ``GRAM`` are the one place that knows which file is which part's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from auxin.architecture import MLP, Attention, CrossAttention, Experts, LatentAttention
from auxin.theory.parts import attention, cross, experts, latent, mlp

if TYPE_CHECKING:
    from torch import Tensor

    from auxin.theory.draws import Draws
    from auxin.theory.states import Back

SYMMETRIC: dict[type, Any] = {
    Attention: attention.SymmetricAttention,
    MLP: mlp.SymmetricMLP,
}
"""By the kind of a branch's body: ``Symmetric(body, n_tokens, seen)``, see ``attention.SymmetricAttention``. No other
kind is in it: which experts two tokens share, say, is no function of their cosine in closed form."""
GRAM: dict[type, Callable[[Any, Tensor, Draws], tuple[Tensor, Back]]] = {
    Attention: attention.gram,
    MLP: mlp.gram,
    Experts: experts.gram,
    CrossAttention: cross.gram,
    LatentAttention: latent.gram,
}
"""By the kind of a branch's body: its output's Gram matrix from what it sees, and the way back."""
