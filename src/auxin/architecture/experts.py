"""A mixture of experts at initialization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from auxin.architecture.initialization import Map
from auxin.architecture.mlp import MLP
from auxin.architecture.sizes import Sizes
from auxin.values import Value, check

SHARED = "shared_"
"""Begins the roles of the shared MLP's maps."""


@dataclass(frozen=True)
class Experts(Value):
    """Σ_e w_e(x)·MLP_e(x) + s(x)·MLP_shared(x), as in Shazeer et al. 2017 and DeepSeekMoE (Dai et al. 2024).

    The router's logits are W_r x, entries of W_r N(0, σ_r²/d); their softmax over all experts, or their sigmoid, are
    the scores. A token's weights w are its ``active`` largest scores times ``factor``, 0 for all other experts.

    >>> Experts(count=8, active=2).expert.gated  # as in Mixtral
    True
    """

    expert: MLP = field(default_factory=lambda: MLP("silu", gated=True))
    """What every expert computes, each with weights of its own."""
    count: int = 8
    active: int = 2
    """Experts that a token passes."""
    sigma_r: float = 1.0
    score: Literal["softmax", "sigmoid"] = "softmax"
    normalized: bool = True
    """Whether the scores that are kept are divided by their sum."""
    factor: float = 1.0
    groups: int = 1
    """Groups of as many experts each; a token's are of the ``kept_groups`` whose two largest scores sum to most."""
    kept_groups: int = 1
    shared: MLP | None = None
    """What every token passes as well."""
    sigma_s: float | None = None
    """s(x) is the sigmoid of a map with entries N(0, σ_s²/d) (Qwen 2 MoE); None: 1."""

    ranges = {"count": (1, 65_536), "sigma_r": (0, 1e3), "factor": (0, 1e3), "sigma_s": (0, 1e3)}  # noqa: RUF012

    def __post_init__(self) -> None:
        super().__post_init__()
        fits, experts = 1 <= self.active <= self.count, f"the number of experts, {self.count}"
        check(fits, "active", self.active, f"1 to {experts}")
        divides = self.groups >= 1 and self.count % self.groups == 0
        check(divides, "groups", self.groups, f"a divisor of {experts}")
        kept = 1 <= self.kept_groups <= self.groups
        check(kept, "kept_groups", self.kept_groups, f"1 to the number of groups, {self.groups}")
        shared = self.sigma_s is None or self.shared is not None
        check(shared, "sigma_s", self.sigma_s, "nothing, without a shared MLP")

    plain = False

    def check_fits(self, sizes: Sizes) -> None:
        """Refuse an activation that only the theory can take."""
        for mlp in filter(None, (self.expert, self.shared)):
            mlp.check_fits(sizes)

    def maps(self, sizes: Sizes, branches: int) -> dict[str, Map]:
        """What a model of these sizes draws for it; the roles up, gate and down are every expert's."""
        d = sizes.width
        maps = {"router": Map(d, self.count, self.sigma_r)} | self.expert.maps(sizes.of_expert(), branches)
        if self.shared is not None:
            shared = self.shared.maps(sizes.of_shared(), branches)
            maps |= {SHARED + role: drawn for role, drawn in shared.items()}
        return maps if self.sigma_s is None else maps | {"shared_router": Map(d, 1, self.sigma_s)}

    def with_sigmas(self, sigmas: Mapping[str, float], biases: Mapping[str, float]) -> Experts:
        """This with the σ's that its maps and their biases have."""
        of_shared = (
            {k.removeprefix(SHARED): v for k, v in m.items() if k.startswith(SHARED)}
            for m in (sigmas, biases)
        )
        return replace(
            self,
            expert=self.expert.with_sigmas(sigmas, biases),
            sigma_r=sigmas["router"],
            shared=None if self.shared is None else self.shared.with_sigmas(*of_shared),
            sigma_s=sigmas.get("shared_router"),
        )
