"""Attention whose logits are Gaussian: softmax_j(a_ij + bias_ij), Cov(a_ij, a_i'j') = σ_A² C_ii' C_jj'.

With C the Gram matrix of what attention sees, A its random matrix and D_i = diag(A_i) − A_iA_iᵀ the softmax's
Jacobian in row i,

    C → σ_V² E[A C Aᵀ] + σ_b²       G → σ_V² E[Aᵀ G A + σ_A²(G∘Q + K)],   Q_ij = tr(C D_i C D_j),
                                                                           K = Σ_ij C_ij G_ij D_i C D_j.

The first term backwards is the path through the values, the others go through the softmax to queries and keys.
For symmetric tokens without a mask, of norm² u, c = 1 − e, and with the moments R1, R2, T, T2 of ``moments``:

    q_F = σ_V²u[1 − e + eR1]       q_F − p_F = σ_V²ue(R1 − R2)
    value   g_q ← σ_V²[(R1 − R2)g_q + R2·S]                             S ← σ_V²·S
    score   g_q ← σ_A²σ_V²u²e[(eT + T − cT2)g_q + cT2·S]                S ← σ_A²σ_V²u²e²[(T − T2)g_q + T2·S]

Attention matrices of Gaussian logits are drawn in ``logits``; heads of finite dimension, and whatever acts on queries,
keys or logits, in ``heads``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from auxin.architecture import Attention
from auxin.theory.moments import Moments, MomentsTable, exact_moments
from auxin.theory.states import TWO_NUMBERS, Array, Back, Branch, PartError, matrix, scaled

if TYPE_CHECKING:
    from torch import Tensor

    from auxin.theory.draws import Draws


class SymmetricAttention:
    """Attention's branch for permutation-symmetric tokens.

    Args:
        body: the description, whose numbers may be arrays.
        n_tokens: n, a number or an array.
        seen: the norms² that it will see, from which moments are tabulated for a grid; None: computed where needed.

    Raises ``ConfigError`` for what tells tokens apart by their position, or for heads of finite dimension.
    """

    def __init__(self, body: Attention, n_tokens: Array, seen: Array | None) -> None:
        if not body.plain:
            raise PartError(f"a sublayer is {body}; allowed: plain attention, {TWO_NUMBERS}")
        self.moments: Moments = exact_moments
        if seen is not None:
            self.moments = MomentsTable(n_tokens, np.asarray(body.logit_scale) * seen[:, None])

    def __call__(self, body: Attention, n_tokens: Array, u: Array, gap: Array) -> Branch:
        """The branch that sees norm² u and gap e."""
        a = self.moments(n_tokens, body.logit_scale * u, gap)
        gain = body.sigma_v**2
        score, pair = (body.logit_scale * u) ** 2 * gap, (1 - gap) * a.t2
        of_trace = [a.difference + score * (gap * a.t + a.t - pair), a.r2 + score * pair]
        of_sum = [score * gap * (a.t - a.t2), 1 + score * gap * a.t2]
        norm = gain * u * (1 - gap + gap * a.r1) + body.sigma_b**2
        return Branch(norm, gain * u * gap * a.difference, scaled(gain, matrix([of_trace, of_sum])))


def gram(body: Attention, seen: Tensor, draws: Draws) -> tuple[Tensor, Back]:
    """The output's Gram matrix from that of what attention sees, and the way back."""
    from auxin.theory.parts import heads, logits  # torch is loaded only where something is drawn

    gaussian = body.head_dim is None and body.softcap is None and body.relative is None and body.sink is None
    forward = (logits if gaussian else heads).forward(body, seen, draws) + body.sigma_b**2

    def back(gradient: Tensor) -> Tensor:
        if gaussian:
            return logits.backward(body, seen, gradient, draws)
        queries, keys = heads.backward(body, seen, gradient, draws)
        return queries + keys

    return forward, back
