"""The MLP at initialization."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from auxin.architecture.initialization import Map
from auxin.architecture.sizes import Sizes
from auxin.values import Value, check

Activation = Literal["relu", "gelu", "quick_gelu", "tanh", "erf", "silu", "relu2", "linear"]
AnyActivation = Activation | Callable[[Any], Any]


@dataclass(frozen=True)
class MLP(Value):
    """W_o φ(W_1 x + b_1) + b_2, or with a gate W_o(φ(W_g x + b_g) ∘ (W_1 x + b_1 + shift)) + b_2.

    >>> MLP("silu", gated=True, sigma_w=0.5).sigma_gate
    0.5
    """

    activation: AnyActivation = "gelu"
    """φ: a name, or any function of a numpy array (for the theory; it can be neither written nor trained)."""
    gated: bool = False
    sigma_w: float = 1.0
    """Entries of W_1 have variance σ_w²/d."""
    sigma_g: float | None = None
    """Entries of W_g have variance σ_g²/d; None: σ_w."""
    sigma_o: float = 1.0
    """Entries of W_o have variance σ_o²/m, m the hidden units."""
    sigma_b: float = 0.0
    """Standard deviation of b_1 and b_g."""
    sigma_b_out: float | None = None
    """Standard deviation of b_2; None: that of b_1."""
    shift: float = 0.0
    """With a gate: added to W_1 x + b_1 before the product (gpt-oss has 1)."""

    ranges = {  # noqa: RUF012
        **dict.fromkeys(("sigma_w", "sigma_g", "sigma_o", "sigma_b", "sigma_b_out"), (0, 1e3)),
        "shift": (-1e3, 1e3),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_activation(self.activation)
        check(self.gated or self.shift == 0, "shift", self.shift, "0, without a gate")
        check(self.gated or self.sigma_g is None, "sigma_g", self.sigma_g, "nothing, without a gate")

    @property
    def sigma_gate(self) -> float:
        """σ_g."""
        return self.sigma_w if self.sigma_g is None else self.sigma_g

    @property
    def plain(self) -> bool:
        """Whether it has no gate."""
        return not self.gated

    @property
    def output_bias(self) -> float:
        """Standard deviation of b_2."""
        return self.sigma_b if self.sigma_b_out is None else self.sigma_b_out

    def check_fits(self, sizes: Sizes) -> None:
        """Refuse an activation that only the theory can take."""
        names = ", ".join(get_args(Activation))
        check(not callable(self.activation), "activation", self.activation, f"{names}, in a model")

    def maps(self, sizes: Sizes, branches: int) -> dict[str, Map]:
        """What a model of these sizes draws for it."""
        d, m, biased = sizes.width, sizes.hidden, sizes.mlp_bias
        rectified = self.activation == "relu"
        up = Map(d, m, self.sigma_w, self.sigma_b, biased, rectified and not self.gated)
        gate = {"gate": Map(d, m, self.sigma_gate, self.sigma_b, biased, rectified)} if self.gated else {}
        return {
            "up": up,
            **gate,
            "down": Map(m, d, self.sigma_o, self.output_bias, biased, branches=branches),
        }

    def with_sigmas(self, sigmas: Mapping[str, float], biases: Mapping[str, float]) -> MLP:
        """This with the σ's that its maps and their biases have."""
        return replace(
            self,
            sigma_w=sigmas["up"],
            sigma_g=sigmas.get("gate"),
            sigma_o=sigmas["down"],
            sigma_b=biases["up"],
            sigma_b_out=biases["down"],
        )


def check_activation(activation: AnyActivation) -> None:
    """Refuse what is neither a known name nor a hashable function that maps a real array to one of its shape."""
    names = get_args(Activation)
    allowed = ", ".join(names) + ", or a function of a numpy array"
    check(callable(activation) or activation in names, "activation", activation, allowed)
    check(isinstance(activation, Hashable), "activation", activation, "a hashable function")
    if callable(activation):
        import numpy as np  # of functions alone

        x = np.linspace(-4.0, 4.0, 10).reshape(2, 5)
        try:
            y = np.asarray(activation(x))
        except (TypeError, ValueError, AttributeError):  # math.tanh or torch.tanh
            y = np.empty(0)
        usable = y.shape == x.shape and np.isrealobj(y) and bool(np.isfinite(y.astype(float)).all())
        check(usable, "activation", activation, "a function that maps a real array to one of its shape")
