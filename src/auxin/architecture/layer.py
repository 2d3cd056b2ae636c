"""Branches inside residual connections."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from auxin.architecture.attention import Attention
from auxin.architecture.cross import CrossAttention
from auxin.architecture.experts import Experts
from auxin.architecture.mlp import MLP
from auxin.architecture.norm import Norm
from auxin.architecture.sizes import Sizes
from auxin.values import Value, check


@dataclass(frozen=True)
class Sublayer(Value):
    """x ← N_stream(skip·x + branch·N_after(F(N_before(x)))), F the body; a norm that is None does nothing.

    Pre-norm has ``before``, post-norm ``stream``, OLMo 2 ``after``, Gemma 2 ``before`` and ``after`` (a sandwich).
    LayerScale, ReZero, DeepNorm and depth-scaled output maps are strengths.

    >>> Sublayer(Attention(), skip=1.0, branch=0.5, before=Norm())  # pre-norm, half as strong
    Sublayer(body=Attention(), branch=0.5, before=Norm())
    """

    body: Attention | MLP | Experts | CrossAttention
    skip: float = 1.0
    branch: float = 1.0
    before: Norm | None = None
    after: Norm | None = None
    stream: Norm | None = None

    ranges = {"skip": (0, 1e3), "branch": (0, 1e3)}  # noqa: RUF012


@dataclass(frozen=True)
class Layer(Value):
    """Sublayers one after the other, or side by side: x ← N_stream(skip·x + Σ branch·N_after(F(N_before(x)))).

    >>> layer = Layer((Sublayer(Attention(), before=Norm()), Sublayer(MLP(), before=Norm())))
    >>> exponents(layer, depth=6).angle_total < 0  # tokens come nearer to each other
    True
    """

    sublayers: tuple[Sublayer, ...] = ()
    parallel: bool = False
    """All sublayers read the same x (GPT-J, Pythia); they then have one skip and one norm of the stream."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(1 <= len(self.sublayers) <= 100, "number of sublayers", len(self.sublayers), "1 to 100")
        for sublayer in self.sublayers:
            check(isinstance(sublayer, Sublayer), "sublayer", sublayer, "a Sublayer")
        if self.parallel:
            first = self.sublayers[0]
            for other in self.sublayers[1:]:
                for name in ("skip", "stream"):
                    value, wanted = getattr(other, name), getattr(first, name)
                    check(value == wanted, name, value, f"that of the sublayer beside it, {wanted}")

    def sized(self, sizes: Sizes, *, plain: bool = False) -> Layer:
        """This with heads of finite dimension, but for those of plain attention unless ``plain``."""

        def body_of(body: Any) -> Any:
            finite = isinstance(body, Attention) and (plain or not body.plain)
            return replace(body, head_dim=body.dimensions(sizes)) if finite else body

        return replace(self, sublayers=tuple(replace(s, body=body_of(s.body)) for s in self.sublayers))
