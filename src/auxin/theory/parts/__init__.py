"""The parts of a network, one file each: its equation forward and backward, on both states (see ``states``).

``SYMMETRIC`` and ``gram_of`` are the one place that knows which file is which part's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from auxin.architecture import MLP, Attention, CrossAttention, Experts, LatentAttention
from auxin.theory.parts import attention, mlp

SYMMETRIC: dict[type, Any] = {Attention: attention.SymmetricAttention, MLP: mlp.SymmetricMLP}
"""By the kind of a branch's body: ``Symmetric(body, n_tokens, seen)``, see ``attention.SymmetricAttention``. No other
kind is in it: which experts two tokens share, say, is no function of their cosine in closed form."""


def gram_of(body: Any) -> Callable[..., Any]:
    """Of a branch's body: (body, seen, draws) to its output's Gram matrix from what it sees, and the way back."""
    from auxin.theory.parts import cross, experts, latent  # torch is loaded only where something is drawn

    gram = {
        Attention: attention.gram,
        MLP: mlp.gram,
        Experts: experts.gram,
        CrossAttention: cross.gram,
        LatentAttention: latent.gram,
    }
    return gram[type(body)]
