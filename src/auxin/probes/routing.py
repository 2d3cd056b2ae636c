"""Experts that two tokens have in common, compared with what random routers would give them at their cosine.

A router's logits are Gaussian over tokens at initialization, with the cosines of what it reads: drawn so, they choose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from auxin.architecture import Experts
from auxin.families.description import Described
from auxin.probes.findings import Diagnostic
from auxin.theory.draws import root
from auxin.theory.parts.experts import routed

ROUTERS = 64  # routers that are drawn
MOST = 256  # tokens that are looked at, at most
CHANCE, MARGIN = 5.0, 0.15
"""Standard deviations over routers, and share of experts beside (the tail is heavy), beyond which none is random."""


@dataclass(frozen=True, eq=False)
class Routing:
    """What a router of a layer has chosen."""

    layer: int
    module: str
    """The module that last read the stream before it chose: the router, or the branch that it is in."""
    chosen: Tensor
    """int64 [T, k], numbers of experts."""
    count: int
    """Experts."""
    reads: Tensor
    """[T, d]."""
    grouped: bool
    """Whether it chose among groups of experts before."""

    @property
    def shared(self) -> float:
        """Share of its experts that a token has in common with another."""
        return float(_shared(torch.zeros(len(self.chosen), self.count).scatter(-1, self.chosen, 1.0)))

    def by_chance(self, body: Experts | None) -> tuple[float, float] | None:
        """Mean and standard deviation of the same over random routers; None of groups that are not known."""
        if self.grouped and body is None:
            return None
        body = body or Experts(count=self.count, active=self.chosen.shape[-1])
        unit = torch.nn.functional.normalize(self.reads.double(), dim=-1)
        factor = root((unit @ unit.T)[None])[0]
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(ROUTERS, factor.shape[1], self.count, dtype=factor.dtype, generator=generator)
        shares = _shared((routed(body, factor @ drawn) > 0).double())
        return float(shares.mean()), float(shares.std())


def _shared(uses: Tensor) -> Tensor:
    """Of choices [..., T, E] that are 0 or 1: the mean share over pairs of tokens."""
    n, chosen = uses.shape[-2], uses.sum((-2, -1))
    pairs = uses.sum(-2).square().sum(-1) - chosen
    return pairs / (n - 1) / chosen


def routing_mismatches(
    routings: Sequence[Routing], described: Described | None, notes: list[str]
) -> Iterator[Diagnostic]:
    """Routers that send tokens to fewer experts than random ones would; a note of all others goes to ``notes``."""
    found: list[tuple[float, float]] = []
    for routing in routings:
        sublayer = None if described is None else described.recipe.sublayer(routing.layer, "mlp")
        body = None if sublayer is None else sublayer.body
        chance = routing.by_chance(body if isinstance(body, Experts) else None)
        if chance is None:
            continue
        found.append((routing.shared, chance[0]))
        if routing.shared > chance[0] + CHANCE * chance[1] + MARGIN:
            sentence = (
                f"{routing.module}: two tokens share {routing.shared:.0%} of their experts where a random router would "
                f"give them {chance[0]:.0%} at their cosine: it sends tokens to few experts; look at its bias."
            )
            yield Diagnostic("mismatch", routing.module, sentence, *found[-1], routing.layer, "router")
    if found:
        mean, random = (sum(values) / len(values) for values in zip(*found, strict=True))
        notes += [f"routers: two tokens share {mean:.0%} of their experts, {random:.0%} with random routers"]
