"""Parts composed into sublayers and layers, on both states: residuals, serial and parallel branches, collapse.

A sublayer makes x ← N_stream(s·x + Σ b·N_after(F(N_before(x)))), one branch, or several side by side. Forward, branch
Gram matrices add, b²C_F to s²C; backward, the maps of branches add, b²·(before ∘ F ∘ after)ᵀ to s². In the two numbers
of symmetric tokens everything is kept relative to q, through r = 1/q:

    growth = s² + Σ b²r q_F      e ← (s²e + Σ b²r(q_F − p_F))/growth      r ← r/growth

so that a stream which grows for ever (r → 0) is an ordinary case; gaps are never differences, so that they keep their
digits at collapse. There (e = 0) the matrix of (g_q, S) is triangular, its first entry the gain of the norm² of
token differences: the same Jacobian, transposed. Relative to the growth it is the angle growth de'/de.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from auxin.architecture import Block, Layer, Network, Norm, Sublayer
from auxin.architecture.network import described
from auxin.theory.parts import SYMMETRIC, gram_of, norm
from auxin.theory.states import TWO_NUMBERS, Array, Back, Branch, PartError, quotient, scaled
from auxin.values import check, check_whole

if TYPE_CHECKING:
    from torch import Tensor

    from auxin.theory.draws import Draws

LARGEST = 1e6
"""Norm² beyond which, or below one over which, a stream without norm counts as diverged or dead."""


@dataclass(frozen=True)
class Step:
    """A layer's effect on symmetric tokens."""

    r: Array
    """1/q of the output (0 where q is beyond all bounds)."""
    gap: Array
    """e of the output."""
    growth: Array
    """Norm² of the sums relative to what they started from, multiplied over the sublayers."""
    back: Array
    """[…, 2, 2]: the map of (g_q, S), from the output to the input."""
    angle_growth: Array
    """de'/de, of a step from e = 0; else without meaning."""


def as_network(source: Network | Layer | Block, depth: int | None, default: int) -> Network:
    """A network as it is, a layer repeated ``depth`` times."""
    source = described(source)
    if isinstance(source, Network):
        check(depth in (None, source.depth), "depth", depth, f"that of the network, {source.depth}")
        return source
    layer = isinstance(source, (Layer, Block))
    check(layer, "network", source, "a Network, a Layer or a Block (network_of makes one of a model)")
    depth = default if depth is None else depth
    check_whole("depth", depth, 1, 10_000)
    return Network.repeat(source, int(depth))


def groups(layer: Layer) -> list[tuple[Sublayer, ...]]:
    """The branches that one residual sum adds up, sum by sum."""
    return [layer.sublayers] if layer.parallel else [(sublayer,) for sublayer in layer.sublayers]


class SymmetricLayer:
    """A layer, or of a layer whose numbers are arrays a grid of them, as a map of symmetric tokens.

    ``tables`` has the parts tabulate their moments, which pays for more than a few points. Raises ``ConfigError``
    naming the part that tells tokens apart by more than their cosine.
    """

    def __init__(self, layer: Layer, n_tokens: Any, tables: bool = False) -> None:
        self.layer, self.n_tokens = layer, np.asarray(n_tokens, float)
        self.parts = []
        entering = layer.sublayers[-1].stream
        for group in groups(layer):
            for sublayer in group:
                seen = _seen(sublayer.before, entering) if tables else None
                part = SYMMETRIC.get(type(sublayer.body))
                if part is None:
                    raise PartError(
                        f"a sublayer is {sublayer.body}; allowed: attention and MLPs, {TWO_NUMBERS}"
                    )
                self.parts.append(part(sublayer.body, self.n_tokens, seen))
            entering = group[0].stream
        streams = [group[0].stream for group in groups(layer)]
        self.normalized = _removes_norm(streams[-1])
        """Whether the output's norm² is that of a norm, ``end_norm``."""
        self.end_norm = 1.0 if streams[-1] is None else np.asarray(streams[-1].gain, float) ** 2
        self.blind = all(_removes_norm(sublayer.before) for sublayer in layer.sublayers) and not any(streams)
        """Whether branches do not see the stream's norm, so that growth is affine in r."""

    def __call__(self, r: Array, gap: Array, index: Any = slice(None)) -> Step:
        """The layer on tokens of norm² 1/r and gap e, at ``index`` of the grid."""
        layer = pick(self.layer, index)
        n_tokens = self.n_tokens[index] if self.n_tokens.ndim else self.n_tokens
        parts = iter(self.parts)
        steps = []
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for group in groups(layer):
                branches = [(s.branch**2, _branch(s, next(parts), n_tokens, r, gap)) for s in group]
                skip = group[0].skip ** 2
                growth = skip + sum(b * r * f.norm for b, f in branches)
                added = sum(b * r * f.difference for b, f in branches)
                back = sum((scaled(b, f.back) for b, f in branches), scaled(skip, np.eye(2)))
                gap, r = quotient(skip * gap + added, growth), quotient(r, growth)
                angle = quotient(back[..., 0, 0], growth)
                if (stream := group[0].stream) is not None:
                    after = norm.symmetric(stream, r, gap)
                    back, angle = back @ after.back, angle * after.back[..., 0, 0] / (r * after.norm)
                    r, gap = quotient(np.ones_like(after.norm), after.norm), after.gap
                steps.append((growth, back, angle))
            growths, backs, angles = zip(*steps, strict=True)
            angle = reduce(np.multiply, angles)
            return Step(r, gap, reduce(np.multiply, growths), reduce(np.matmul, backs), angle)

    @property
    def skips(self) -> Any:
        """Π s² over the sums."""
        return reduce(np.multiply, (np.asarray(group[0].skip, float) ** 2 for group in groups(self.layer)))


def pick(value: Any, index: Any) -> Any:
    """A description with its arrays indexed: points of a grid."""
    if isinstance(index, slice) and index == slice(None):
        return value
    if isinstance(value, tuple):
        return tuple(pick(item, index) for item in value)
    if getattr(value, "shape", ()):
        return value[index]
    if not dataclasses.is_dataclass(value):
        return value
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    picked = {name: pick(content, index) for name, content in fields.items()}
    changed = {name: content for name, content in picked.items() if content is not fields[name]}
    return dataclasses.replace(value, **changed) if changed else value  # pyright: ignore[reportArgumentType]


def _branch(sublayer: Sublayer, part: Any, n_tokens: Array, r: Array, gap: Array) -> Branch:
    """N_after(F(N_before(x))) of a stream of norm² 1/r and gap e."""
    before = norm.symmetric(sublayer.before, r, gap)
    inner: Branch = part(sublayer.body, n_tokens, before.norm, before.gap)
    if sublayer.after is None:
        return Branch(inner.norm, inner.difference, before.back @ inner.back)
    after = norm.symmetric(sublayer.after, 1 / inner.norm, quotient(inner.difference, inner.norm))
    return Branch(after.norm, after.norm * after.gap, before.back @ (inner.back @ after.back))


def _removes_norm(passed: Norm | None) -> bool:
    """Whether what has passed the norm has its norm², whatever it was before."""
    return passed is not None and not passed.elementwise and bool(np.all(passed.epsilon == 0))


def _seen(before: Norm | None, stream: Norm | None) -> Array:
    """Norms² between which a branch's input lies, where ``stream`` is the last norm that the stream has passed."""
    last = before or stream
    if last is None:
        return np.array([1 / LARGEST, LARGEST])
    most = np.max(last.gain) ** 2
    return np.array([most]) if _removes_norm(last) else np.array([most / LARGEST, most])


def gram(layer: Layer, state: Tensor, draws: Draws) -> tuple[Tensor, Back]:
    """The Gram matrix behind a layer, and the way back through it."""
    backs = []
    for group in groups(layer):
        state, back = _gram_sum(group, state, draws)
        backs.append(back)
    return state, lambda gradient: reduce(lambda g, back: back(g), reversed(backs), gradient)


def _gram_sum(group: Sequence[Sublayer], state: Tensor, draws: Draws) -> tuple[Tensor, Back]:
    skip = group[0].skip ** 2
    total, backs = skip * state, []
    for sublayer in group:
        seen, before = norm.gram(sublayer.before, state)
        out, body = gram_of(sublayer.body)(sublayer.body, seen, draws)
        out, after = norm.gram(sublayer.after, out)
        total = total + sublayer.branch**2 * out
        backs.append((sublayer.branch**2, before, body, after))
    total, stream = norm.gram(group[0].stream, total)

    def back(gradient: Tensor) -> Tensor:
        gradient = stream(gradient)
        result = skip * gradient
        for strength, before, body, after in backs:
            result = result + before(body(after(strength * gradient)))
        return result

    return total, back
