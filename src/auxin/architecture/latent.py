"""Attention with latent keys, at initialization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from auxin.architecture.attention import Attention
from auxin.architecture.initialization import Map
from auxin.architecture.sizes import Sizes
from auxin.values import check

SAME = ("sigma_q", "sigma_k", "sigma_v", "sigma_b", "head_dim", "scale", "qk_epsilon", "rotary")


@dataclass(frozen=True)
class LatentAttention(Attention):
    """Attention whose keys and values are a second map of a normalized latent (MLA, DeepSeek-V2).

    With c = rms(W_a x), of ``rank`` dimensions: v = W_V c, and k = W_K c but for those dimensions of a head that
    ``rotary`` turns, which are straight from x, and the same in all heads. Queries are W_Q x, or W_Q of a latent of
    their own. Ranks are taken as large: O(1/rank) is left out. It is for ``propagate_gram``, not for a model that
    auxin trains.

    >>> LatentAttention(head_dim=192, rotary=Rotary(fraction=1 / 3), rank=512).query_rank is None
    True
    """

    rank: int = 512
    query_rank: int | None = None
    """Dimensions of the queries' latent; None: there is none."""
    value_dim: int | None = None
    """Dimensions of a head's values; None: as of its keys."""
    sigma_down: float = 1.0
    """σ of the maps from x: to latents, whose norm undoes it, and to the turned dimensions of keys."""

    ranges = {**Attention.ranges, "rank": (1, 65_536), "sigma_down": (0, 1e3)}  # noqa: RUF012

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_plain(SAME, "attention with latent keys")
        check(self.head_dim is not None, "head_dim", None, "a number of dimensions, with latent keys")
        check(self.rotary is not None, "rotary", None, "rotary positions, with latent keys")

    @property
    def logit_scale(self) -> float:
        """That of attention, with σ_K² the mean over a key's dimensions, turned or not."""
        d, turned = self.dimensions(Sizes(1)), self.turned
        keys = ((d - turned) * self.sigma_k**2 + turned * self.sigma_down**2) ** 0.5
        return self.sigma_q * keys * (d**-0.5 if self.scale is None else self.scale)

    @property
    def turned(self) -> int:
        """Dimensions of a head that turn."""
        assert self.rotary is not None
        assert self.head_dim is not None
        return self.rotary.turned(self.head_dim)

    def maps(self, sizes: Sizes, branches: int) -> dict[str, Map]:
        """What a model of these sizes draws for it: ``key_value`` holds the keys' and values' second map."""
        d, h, k = sizes.width, sizes.heads, self.dimensions(sizes)
        values, out = h * (self.value_dim or k), self.sigma_v / (self.sigma_k or 1)
        found = {
            "query": Map(self.query_rank or d, h * k, self.sigma_q, attention=True),
            "latent": Map(d, self.rank + self.turned, self.sigma_down, attention=True),
            "key_value": Map(self.rank, h * (k - self.turned) + values, self.sigma_k, attention=True),
            "out": Map(values, d, out, self.sigma_b, branches=branches, attention=True),
        }
        if self.query_rank is not None:
            found["query_latent"] = Map(d, self.query_rank, self.sigma_down, attention=True)
        return found

    def with_sigmas(self, sigmas: Mapping[str, float], biases: Mapping[str, float]) -> Self:
        """This with the σ's that its maps and their biases have."""
        return replace(
            self,
            sigma_q=sigmas["query"],
            sigma_k=sigmas["key_value"],
            sigma_down=sigmas["latent"],
            sigma_v=sigmas["key_value"] * sigmas["out"],
            sigma_b=biases["out"],
        )
