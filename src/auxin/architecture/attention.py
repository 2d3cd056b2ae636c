"""Attention at initialization."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal, Self

from auxin.architecture.initialization import Map
from auxin.architecture.sizes import Sizes
from auxin.values import Value, check, check_finite

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Rotary(Value):
    """Rotary positions (Su et al. 2021): pairs of a head's dimensions turned by angles that grow with the position.

    Pair i of the first r = ``fraction``·d_h dimensions of a head turns by t·factors_i·base^(−2i/r) at token t.

    >>> Rotary(fraction=0.25)  # as GPT-NeoX has it
    Rotary(fraction=0.25)
    """

    base: float = 10_000.0
    fraction: float = 1.0
    factors: tuple[float, ...] | None = None
    """On the angle of each pair (YaRN, Llama 3.1, position interpolation); None: 1."""

    ranges = {"base": (1, 1e12)}  # noqa: RUF012

    def __post_init__(self) -> None:
        super().__post_init__()
        check(0 < self.fraction <= 1, "fraction", self.fraction, "0 < fraction ≤ 1")
        for factor in self.factors or ():
            check_finite("factor of rotary", factor, 0, 1e3, "0 to 1000")

    def turned(self, head_dim: int) -> int:
        """Dimensions of a head that turn: an even number, at least 2."""
        return int(head_dim * self.fraction) // 2 * 2

    def rates(self, head_dim: int) -> tuple[float, ...]:
        """Angle by which each pair turns from one token to the next."""
        turned = self.turned(head_dim)
        return tuple(
            factor * self.base ** (-2 * i / turned) for i, factor in enumerate(self.pair_factors(head_dim))
        )

    def pair_factors(self, head_dim: int) -> tuple[float, ...]:
        """``factors``, one of each pair that turns."""
        return self.factors or (1.0,) * (self.turned(head_dim) // 2)


@dataclass(frozen=True)
class Relative(Value):
    """Relative positions (T5, Raffel et al. 2020): a logit gets its head's entry of a table, of the row of j − i.

    Half of the rows are for one distance each, the others for ranges that grow to ``longest`` by a constant factor.
    Without causality half of all rows are for tokens ahead.

    >>> Relative(sigma=0.1).sigma
    0.1
    """

    sigma: float = 1.0
    """Standard deviation of the table's entries; one table serves all layers, which at many heads does not matter."""
    buckets: int = 32
    """Rows of the table."""
    longest: int = 128
    """Distance from which on all have the last row."""

    ranges = {"sigma": (0, 1e3), "buckets": (4, 65_536), "longest": (2, 1e9)}  # noqa: RUF012

    def map(self, sizes: Sizes) -> Map:
        """Its table, as a map from rows to heads."""
        return Map(self.buckets, sizes.heads, self.sigma * self.buckets**0.5, attention=True)

    def rows(self, ahead: Tensor, *, both: bool) -> Tensor:
        """Rows of the table of differences j − i, int64; ``both``: whether tokens ahead are seen."""
        count = self.buckets // 2 if both else self.buckets
        distance = ahead.abs() if both else (-ahead).clamp_min(0)
        near = count // 2
        spread = (distance.float().clamp_min(1) / near).log() / math.log(self.longest / near)
        far = (near + (spread * (count - near)).long()).clamp_max(count - 1)
        return distance.where(distance < near, far) + (count * (ahead > 0) if both else 0)


@dataclass(frozen=True)
class Attention(Value):
    """softmax_j(cap(q_i·k_j·scale) + bias_ij)·v_j, merged by an output map.

    Entries of W_Q and W_K are N(0, σ_Q²/d) and N(0, σ_K²/d); σ_V² is the variance gain of value and output maps
    together. How many heads there are, and whether some share keys and values, does not matter at infinite width.

    >>> Attention(sigma_q=0.5, sigma_k=0.5, head_dim=64, rotary=Rotary()).logit_scale
    0.25
    """

    sigma_q: float = 1.0
    sigma_k: float = 1.0
    sigma_v: float = 1.0
    sigma_b: float = 0.0
    """Standard deviation of what value and output biases add to the output."""
    head_dim: int | None = None
    """Dimensions d_h of a head; None: infinitely many, whose logits are Gaussian."""
    scale: float | None = None
    """Factor on q·k; None: 1/√d_h."""
    qk_norm: bool | Literal["all"] = False
    """RMS norm of queries and keys before rotation: of every head (Qwen 3), or of all heads together (OLMo 2)."""
    qk_epsilon: float = 1e-6
    """ε of that norm."""
    rotary: Rotary | None = None
    alibi: int = 0
    """Heads with a penalty linear in the distance (Press et al. 2022), by ``alibi_slopes``; 0: none."""
    window: int | None = None
    """A token sees itself and the window − 1 tokens before it (without causality: so many on either side)."""
    softcap: float | None = None
    """Logits a become softcap·tanh(a/softcap) (Gemma 2)."""
    relative: Relative | None = None
    """Bias of logits by the distance (T5)."""
    sink: float | None = None
    """Logit of one more key, whose value is 0 (gpt-oss begins with 0)."""

    ranges = {  # noqa: RUF012
        **dict.fromkeys(("sigma_q", "sigma_k", "sigma_v", "sigma_b", "scale", "qk_epsilon"), (0, 1e3)),
        "head_dim": (1, 65_536),
        "sink": (-1e3, 1e3),
        "alibi": (0, 1024),
        "window": (1, 1e9),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        head_dim = self.head_dim
        if head_dim is None:
            needs = "a number of dimensions"
            check(self.rotary is None, "head_dim", None, f"{needs}, with rotary positions")
            check(self.qk_norm is not True, "head_dim", None, f"{needs}, with qk_norm")
            check(self.scale is None, "head_dim", None, f"{needs}, with a scale")
        if self.relative is not None:
            check(self.alibi == 0, "alibi", self.alibi, "0, beside a relative bias")
        if self.rotary is not None and head_dim is not None:
            check(head_dim % 2 == 0, "head_dim", head_dim, "an even number, with rotary positions")
            turned = self.rotary.turned(head_dim)
            check(
                turned >= 2,
                "fraction of rotary",
                self.rotary.fraction,
                f"at least {2 / head_dim:g} of a head",
            )
            pairs = len(self.rotary.pair_factors(head_dim))
            check(pairs == turned // 2, "number of factors of rotary", pairs, f"{turned // 2}, a pair each")
        if self.softcap is not None:
            check_finite("softcap", self.softcap, 1e-3, 1e6, "0.001 to 1e+06")

    @property
    def logit_scale(self) -> float:
        """σ_A = σ_Q·σ_K times what ``scale`` differs from 1/√d_h: the spread of the logits of tokens of norm² 1."""
        factor = 1.0 if self.scale is None or self.head_dim is None else self.scale * self.head_dim**0.5
        return self.sigma_q * self.sigma_k * factor

    @property
    def alibi_slopes(self) -> tuple[float, ...]:
        """2^(−8h/H) for h = 1 … H, of a power of two; else those of the power P below, and 2^(−4(2h − 1)/P).

        Source: Press et al. 2022, their code.
        """
        count = self.alibi
        power = 1 << count.bit_length() >> 1
        slopes = [2 ** (-8 * (h + 1) / power) for h in range(power)]
        return (*slopes, *(2 ** (-4 * (2 * h + 1) / power) for h in range(count - power)))

    @property
    def plain(self) -> bool:
        """Whether logits are Gaussian with nothing done to them, which has closed forms."""
        settings = (self.head_dim, self.rotary, self.window, self.softcap, self.relative, self.sink)
        nothing = settings == (None,) * 6 and not self.qk_norm and not self.alibi
        return nothing and type(self) is Attention

    def dimensions(self, sizes: Sizes) -> int:
        """Dimensions of a head in a model of these sizes."""
        return self.head_dim or sizes.split_width()

    def check_plain(self, names: Collection[str], what: str) -> None:
        """Refuse settings of attention that another kind of it does not have: all but ``names``."""
        for field in fields(Attention):
            value = getattr(self, field.name)
            fits = field.name in names or value == field.default
            check(fits, field.name, value, f"{field.default}, of {what}")

    def check_fits(self, sizes: Sizes) -> None:
        """Refuse sizes that it cannot have."""
        self.dimensions(sizes)
        check(self.alibi in (0, sizes.heads), "alibi", self.alibi, f"the number of heads, {sizes.heads}")

    def maps(self, sizes: Sizes, branches: int) -> dict[str, Map]:
        """What a model of these sizes draws for it; σ_V² is split evenly between value and output map."""
        d, k, biased = sizes.width, self.dimensions(sizes), sizes.attention_bias
        root, joint = self.sigma_v**0.5, (sizes.heads + 2 * sizes.key_heads) * k
        return {
            "query": Map(d, sizes.heads * k, self.sigma_q, biased=biased, joint=joint, attention=True),
            "key": Map(d, sizes.key_heads * k, self.sigma_k, biased=biased, joint=joint, attention=True),
            "value": Map(d, sizes.key_heads * k, root, biased=biased, joint=joint, attention=True),
            "out": Map(sizes.heads * k, d, root, self.sigma_b, biased, branches=branches, attention=True),
            **({} if self.relative is None else {"relative": self.relative.map(sizes)}),
        }

    def with_sigmas(self, sigmas: Mapping[str, float], biases: Mapping[str, float]) -> Self:
        """This with the σ's that its maps and their biases have.

        Those of queries and keys change logits by O(1/d), and are left out.
        """
        relative = self.relative
        if relative is not None:
            relative = replace(relative, sigma=sigmas["relative"] / relative.buckets**0.5)
        return replace(
            self,
            relative=relative,
            sigma_q=sigmas["query"],
            sigma_k=sigmas["key"],
            sigma_v=sigmas["value"] * sigmas["out"],
            sigma_b=(sigmas["out"] ** 2 * biases["value"] ** 2 + biases["out"] ** 2) ** 0.5,
        )
