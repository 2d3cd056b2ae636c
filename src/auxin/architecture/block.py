"""The classic layer: attention, then an MLP, with one placement of the norm."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from auxin.architecture.attention import Attention
from auxin.architecture.layer import Layer, Sublayer
from auxin.architecture.mlp import MLP, AnyActivation, check_activation
from auxin.architecture.norm import Norm
from auxin.values import Value, check, check_each, check_finite

NormPlacement = Literal["post", "pre", "none"]
SIGMAS = ("sigma_a", "sigma_v", "sigma_w", "sigma_o", "sigma_b", "sigma_b_out", "sigma_b_attention")
STRENGTHS = ("attention_skip", "attention_branch", "mlp_skip", "mlp_branch")
ALPHAS = {"alpha_attention": "attention", "alpha_mlp": "mlp"}
"""Derived hyperparameters: skip = √(1 − α²), branch = α."""
NUMERIC = (*STRENGTHS, *SIGMAS, "n_tokens", *ALPHAS)
MOST_TOKENS = 10**6


@dataclass(frozen=True, kw_only=True)
class Block(Value):
    """One layer at initialization, accepted wherever a ``Layer`` is: attention, then ``W_2 φ(W_1 x + b_1) + b_2``.

    With N(x) = x·√d/‖x‖ and F a sublayer, a layer computes ``skip·x + branch·F(N(x))`` (pre-norm),
    ``N(skip·x + branch·F(x))`` (post-norm) or ``skip·x + branch·F(x)`` (none). The number of heads does not matter.

    Any number may be an array: the block is then a grid of blocks, for which the exponents are arrays as well.
    Raises ``ConfigError`` naming the field, its value and the allowed range.

    >>> exponents(Block(norm="post", activation="relu", sigma_w=1.0)).phase
    'ordered'
    >>> Block.of(preset("released-code")).norm
    'post'
    """

    norm: NormPlacement = "pre"
    """Where N stands: pre, post or none."""
    activation: AnyActivation = "tanh"
    """Nonlinearity φ of the MLP: a name, or any function of a numpy array."""
    attention_skip: float = 1.0
    attention_branch: float = 1.0
    mlp_skip: float = 1.0
    mlp_branch: float = 1.0
    sigma_a: float = 1.0
    """Logit scale σ_A = σ_Q·σ_K; entries of W_Q and W_K have variances σ_Q²/d and σ_K²/d."""
    sigma_v: float = 1.0
    """σ_V² is the variance gain of value and output maps together."""
    sigma_w: float = 2**0.5
    """Entries of W_1 have variance σ_w²/d."""
    sigma_o: float = 1.0
    """Entries of W_2 have variance σ_o²/m, m the hidden width."""
    sigma_b: float = 0.0
    """Standard deviation of the MLP's biases."""
    sigma_b_out: float | None = None
    """Standard deviation of b_2 where it differs from that of b_1; None: the same."""
    sigma_b_attention: float = 0.0
    """Standard deviation of what value and output biases add to attention's output."""
    n_tokens: int = 32
    """Sequence length n (each token attends to all n)."""

    def __post_init__(self) -> None:
        check(self.norm in get_args(NormPlacement), "norm", self.norm, ", ".join(get_args(NormPlacement)))
        check_activation(self.activation)
        for name in (*STRENGTHS, *SIGMAS, "n_tokens"):
            value: Any = getattr(self, name)
            if value is not None or name != "sigma_b_out":
                check_range(name, value)
                number: Any = int if name == "n_tokens" else float
                object.__setattr__(self, name, value if getattr(value, "shape", ()) else number(value))

    @property
    def output_bias(self) -> float:
        """Standard deviation of b_2."""
        return self.sigma_b if self.sigma_b_out is None else self.sigma_b_out

    @property
    def layer(self) -> Layer:
        """The description that this is short for."""
        attention = Attention(sigma_q=self.sigma_a, sigma_v=self.sigma_v, sigma_b=self.sigma_b_attention)
        mlp = MLP(
            self.activation,
            sigma_w=self.sigma_w,
            sigma_o=self.sigma_o,
            sigma_b=self.sigma_b,
            sigma_b_out=self.sigma_b_out,
        )
        return classic_layer(self, attention, mlp, Norm())

    @classmethod
    def cowsik(
        cls,
        *,
        alpha_attention: float,
        alpha_mlp: float,
        sigma_w: float,
        sigma_a: float,
        n_tokens: int,
        activation: AnyActivation = "tanh",
    ) -> Block:
        """The block of Cowsik et al. (arXiv 2403.02579): pre-norm, skip √(1−α²), branch α, σ_V = σ_o = 1."""
        block = cls(activation=activation, sigma_w=sigma_w, sigma_a=sigma_a, n_tokens=n_tokens)
        return replace(block, alpha_attention=alpha_attention, alpha_mlp=alpha_mlp)

    @classmethod
    def of(cls, config: Any, n_tokens: int = 32) -> Block:
        """The block that a model's or a run's initialization implies, at the model's own width.

        Query and key biases (``pytorch`` only) change the logits by O(1/d) and are left out. Raises ``ConfigError``
        where the model's layers are described otherwise: ``network_of`` takes those.
        """
        described = hasattr(config, "block")
        check(described, "config", config, "a ModelConfig or a RunConfig")
        return config.block(n_tokens)


PLACEMENTS: dict[NormPlacement, str | None] = {"pre": "before", "post": "stream", "none": None}
"""The field of a ``Sublayer`` in which the norm stands."""


def classic_layer(placed: Any, attention: Attention, mlp: MLP, norm: Norm) -> Layer:
    """Attention, then an MLP, with strengths and the norm's place from a ``Block`` or a ``ModelConfig``."""
    place = PLACEMENTS[placed.norm]
    norms: Any = {} if place is None else {place: norm}
    return Layer(
        (
            Sublayer(attention, placed.attention_skip, placed.attention_branch, **norms),
            Sublayer(mlp, placed.mlp_skip, placed.mlp_branch, **norms),
        )
    )


def replace(block: Block, **hyperparameters: Any) -> Block:
    """The block with numeric hyperparameters changed: any of its fields, ``alpha_attention``, ``alpha_mlp``."""
    fields: dict[str, Any] = {}
    for name, value in hyperparameters.items():
        check_range(name, value)
        added = {name: value}
        if name in ALPHAS:
            part = ALPHAS[name]
            added = {f"{part}_skip": (1 - value**2) ** 0.5, f"{part}_branch": value}
        for field in added:
            check(field not in fields, "hyperparameter", field, "each strength set once")
        fields |= added
    return dataclasses.replace(block, **fields)


def check_range(name: str, value: Any) -> None:
    """Raise ``ConfigError`` unless all of ``value`` is in the range of the hyperparameter ``name``."""
    check(name in NUMERIC, "hyperparameter", name, ", ".join(NUMERIC))
    if name == "n_tokens":
        text = f"a whole number from 2 to {MOST_TOKENS}"
        check_each(name, value, lambda v: (v >= 2) & (v <= MOST_TOKENS) & (v == v // 1), text)
    elif name in ALPHAS:
        check_finite(name, value, 0, 1, "0 to 1")
    else:
        check_finite(name, value, 0, 1e3, "0 to 1000")
