"""The hyperparameters that decide how a random transformer layer propagates signals: attention, then MLP.

With N(x) = x·√d/‖x‖ and F a sublayer, a layer computes ``skip·x + branch·F(N(x))`` (pre-norm),
``N(skip·x + branch·F(x))`` (post-norm) or ``skip·x + branch·F(x)`` (none), first for attention, then for
the MLP ``W_2 φ(W_1 x + b_1) + b_2``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np

from auxin.config import Activation, ModelConfig, Norm, check
from auxin.theory.gaussian import AnyActivation

SIGMAS = ("sigma_a", "sigma_v", "sigma_w", "sigma_o", "sigma_b", "sigma_b_out", "sigma_b_attention")
STRENGTHS = ("attention_skip", "attention_branch", "mlp_skip", "mlp_branch")
ALPHAS = {"alpha_attention": "attention", "alpha_mlp": "mlp"}
"""Derived hyperparameters: skip = √(1 − α²), branch = α."""
NUMERIC = (*STRENGTHS, *SIGMAS, "n_tokens", *ALPHAS)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One layer at initialization, as mean-field theory sees it (the number of heads does not matter).

    Raises ``ConfigError`` naming the field, its value and the allowed range.
    """

    norm: Norm = "pre"
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
        check(self.norm in get_args(Norm), "norm", self.norm, ", ".join(get_args(Norm)))
        _check_activation(self.activation)
        for name in (*STRENGTHS, *SIGMAS, "n_tokens"):
            value = getattr(self, name)
            if name == "sigma_b_out" and value is None:
                continue
            number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            check(number, name, value, "a number")
            check_range(name, value)
            object.__setattr__(self, name, int(value) if name == "n_tokens" else float(value))

    @property
    def output_bias(self) -> float:
        """Standard deviation of b_2."""
        return self.sigma_b if self.sigma_b_out is None else self.sigma_b_out

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
    def of(cls, config: ModelConfig, n_tokens: int = 32) -> Block:
        """The block that a model's initialization implies, at the model's own width.

        Query and key biases (``pytorch`` only) change the logits by O(1/d) and are left out.
        """
        return cls(
            norm=config.norm,
            activation=config.activation,
            n_tokens=n_tokens,
            **{name: getattr(config, name) for name in STRENGTHS},
            **_initial_sigmas(config),
        )


def replace(block: Block, **hyperparameters: float) -> Block:
    """The block with numeric hyperparameters changed: any of its fields, ``alpha_attention``, ``alpha_mlp``."""
    return dataclasses.replace(block, **_resolve(hyperparameters))


def grid(block: Block, hyperparameters: Mapping[str, Any]) -> SimpleNamespace:
    """The block's fields as attributes, the named ones replaced by arrays that broadcast together.

    A whole phase diagram then runs through the same equations as one block. Names, checks and errors are
    those of ``replace``.
    """
    fields = {f.name: getattr(block, f.name) for f in dataclasses.fields(block)}
    arrays = {name: np.asarray(value, float) for name, value in _resolve(hyperparameters).items()}
    for name, value in arrays.items():
        check_range(name, value)
    fields |= arrays
    out = fields["sigma_b_out"]
    return SimpleNamespace(**fields, output_bias=fields["sigma_b"] if out is None else out)


def check_range(name: str, value: Any) -> None:
    """Raise ``ConfigError`` unless all of ``value`` is in the range of the hyperparameter ``name``."""
    check(name in NUMERIC, "hyperparameter", name, ", ".join(NUMERIC))
    values = np.ravel(np.asarray(value, float))
    low, high, text = 0.0, 1e3, "0 to 1000"
    if name == "n_tokens":
        low, high, text = 2, 10**6, "a whole number from 2 to 1000000"
    elif name in ALPHAS:
        low, high, text = 0.0, 1.0, "0 to 1"
    inside = np.isfinite(values) & (values >= low) & (values <= high)
    if name == "n_tokens":
        inside &= values == np.round(values)
    if not inside.all():
        wrong = value if np.ndim(value) == 0 else float(values[np.argmin(inside)])
        check(False, name, wrong, text)


def check_whole(name: str, value: Any, low: int, high: int) -> None:
    """Raise ``ConfigError`` unless ``value`` is a whole number (Python's or numpy's) from ``low`` to ``high``."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    check(whole and low <= int(value) <= high, name, value, f"a whole number from {low} to {high}")


def _resolve(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters with each α replaced by the skip and branch that it stands for."""
    fields: dict[str, Any] = {}
    for name, value in hyperparameters.items():
        if name in ALPHAS:
            check_range(name, value)
            sublayer = ALPHAS[name]
            added = {
                f"{sublayer}_skip": np.sqrt(1 - np.asarray(value) ** 2)[()],
                f"{sublayer}_branch": value,
            }
        else:
            check(name in NUMERIC, "hyperparameter", name, ", ".join(NUMERIC))
            added = {name: value}
        for field in added:
            check(field not in fields, "hyperparameter", field, "each strength set once")
        fields |= added
    return fields


def _check_activation(activation: AnyActivation) -> None:
    names = get_args(Activation)
    allowed = ", ".join(names) + ", or a function of a numpy array"
    check(callable(activation) or activation in names, "activation", activation, allowed)
    check(isinstance(activation, Hashable), "activation", activation, "a hashable function")
    if callable(activation):
        x = np.linspace(-4.0, 4.0, 10).reshape(2, 5)
        try:
            y = np.asarray(activation(x))
        except (TypeError, ValueError, AttributeError):  # math.tanh or torch.tanh
            y = np.empty(0)
        usable = y.shape == x.shape and np.isrealobj(y) and bool(np.isfinite(y.astype(float)).all())
        check(usable, "activation", activation, "a function that maps a real array to one of its shape")


def _initial_sigmas(config: ModelConfig) -> dict[str, float]:
    d, m = config.width, config.hidden
    if config.initialization == "gaussian":
        sigmas = {name: getattr(config, name) for name in ("sigma_a", "sigma_v", "sigma_w", "sigma_o")}
        return sigmas | {"sigma_b": config.sigma_b if config.mlp_bias else 0.0}
    if config.initialization == "xavier":  # uniform with variance 2/(fan in + fan out)
        gain = 2.0 if config.activation == "relu" else 1.0
        return {"sigma_w": math.sqrt(gain * 2 * d / (d + m)), "sigma_o": math.sqrt(2 * m / (d + m))}
    if config.initialization == "normal":
        variance = 0.02**2
        return {
            "sigma_a": variance * d,
            "sigma_v": variance * d,
            "sigma_w": math.sqrt(variance * d),
            "sigma_o": math.sqrt(variance * m),
        }
    third = 1 / 3  # nn.Linear: weights and biases uniform in ±1/√fan_in
    attention = third / d * (1 + third) if config.attention_bias else 0.0
    return {
        "sigma_a": third,
        "sigma_v": third,
        "sigma_w": math.sqrt(third),
        "sigma_o": math.sqrt(third),
        "sigma_b": math.sqrt(third / d) if config.mlp_bias else 0.0,
        "sigma_b_out": math.sqrt(third / m) if config.mlp_bias else 0.0,
        "sigma_b_attention": math.sqrt(attention),
    }
