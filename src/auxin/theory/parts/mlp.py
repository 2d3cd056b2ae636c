"""The MLP: W_o φ(h) + b_2 with h = W_1 x + b_1, or gated W_o(φ(h_g) ∘ h) + b_2.

Hidden units are Gaussian, Cov(h) = σ_w²C + σ_b² and Cov(h_g) = σ_g²C + σ_b², entry by entry in the Gram matrix C of
what the MLP sees. Without a gate φ takes h and the factors Cov(h) are 1:

    C → σ_o² E[φ(h_g)φ(h_g')] Cov(h) + σ_b2²      G → σ_o²{σ_g² E[φ'φ'] Cov(h) + σ_w² E[φφ]} ∘ G

(the gate's second term is absent without one). What is added to h before the product (gpt-oss: 1) adds its square to
Cov(h). For symmetric tokens both are functions of the norm² and the gap.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from auxin.architecture import MLP
from auxin.theory import gaussian
from auxin.theory.kernels import Kernels, KernelTable, exact_kernels, of_pairs
from auxin.theory.states import Array, Back, Branch, matrix, quotient, scaled

if TYPE_CHECKING:
    from torch import Tensor

    from auxin.theory.draws import Draws


class SymmetricMLP:
    """The MLP's branch for permutation-symmetric tokens; see ``attention.SymmetricAttention`` for the arguments."""

    def __init__(self, body: MLP, n_tokens: Array, seen: Array | None) -> None:
        self.kernels: Kernels = partial(exact_kernels, body.activation)
        if seen is not None:
            hidden = np.asarray(body.sigma_gate) ** 2 * seen[:, None] + np.asarray(body.sigma_b) ** 2
            self.kernels = KernelTable(body.activation, hidden)

    def __call__(self, body: MLP, n_tokens: Array, u: Array, gap: Array) -> Branch:
        """The branch that sees norm² u and gap e."""
        inner = body.sigma_gate**2
        variance = inner * u + body.sigma_b**2
        m = self.kernels(variance, quotient(inner * u * gap, variance))
        square, difference = m.square, m.gap
        slope, slope_pair = inner * m.slope, inner * m.slope_pair
        if body.gated:
            factor, lost = body.sigma_w**2 * u + body.sigma_b**2 + body.shift**2, body.sigma_w**2 * u * gap
            slope = slope * factor + body.sigma_w**2 * m.square
            slope_pair = slope_pair * (factor - lost) + body.sigma_w**2 * (m.square - m.gap)
            square, difference = square * factor, m.square * lost + m.gap * (factor - lost)
        gain, zero = body.sigma_o**2, np.zeros_like(slope)
        back = scaled(gain, matrix([[slope, zero], [slope - slope_pair, slope_pair]]))
        return Branch(gain * square + body.output_bias**2, gain * difference, back)


def gram(body: MLP, seen: Tensor, draws: Draws) -> tuple[Tensor, Back]:
    """The output's Gram matrix from that of what the MLP sees, and the way back; nothing is drawn."""
    inner, gain = body.sigma_gate**2, body.sigma_o**2
    hidden = inner * seen + body.sigma_b**2
    products = of_pairs(gaussian.kernel, body.activation, hidden)
    factor = body.sigma_w**2 * seen + body.sigma_b**2 + body.shift**2 if body.gated else 1.0

    def back(g: Tensor) -> Tensor:
        slopes = inner * of_pairs(gaussian.kernel_derivative, body.activation, hidden) * factor
        if body.gated:
            slopes += body.sigma_w**2 * products
        return gain * slopes * g

    return gain * products * factor + body.output_bias**2, back
