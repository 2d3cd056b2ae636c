"""Published architectures at a laptop's size: their layers, their initialization, 6 layers of width 128."""

from __future__ import annotations

from typing import Any

from auxin.architecture.attention import Attention, Rotary
from auxin.architecture.layer import Layer, Sublayer
from auxin.architecture.mlp import MLP
from auxin.architecture.model import CLASSIC_NORM, ModelConfig
from auxin.architecture.norm import Norm

HEAD = 32


def _pre_norm(attention: Attention, mlp: MLP, norm: Norm, *, parallel: bool = False) -> dict[str, Any]:
    """Attention and an MLP behind a norm each, and the same norm before the output map."""
    layer = Layer((Sublayer(attention, before=norm), Sublayer(mlp, before=norm)), parallel=parallel)
    return {"layers": (layer,), "final_norm": norm}


def _small(**fields: Any) -> ModelConfig:
    """The sizes, without what only the classic layer's default has."""
    sizes = {"depth": 6, "width": 128, "heads": 4, "dropout": 0.0, "scale_embedding": False}
    return ModelConfig(**{**sizes, "output_bias": False, **fields})


_GATED: dict[str, Any] = {
    "positions": "none",
    "attention_bias": False,
    "mlp_bias": False,
    "initialization": "normal",
}
_POST_NORM = Norm(epsilon=1e-12)

PUBLISHED: dict[str, ModelConfig] = {
    # Radford et al. 2019
    "gpt2": _small(
        **_pre_norm(Attention(), MLP("gelu"), CLASSIC_NORM),
        positions="learned",
        tied=True,
        attention_bias=True,
        initialization="gpt2",
    ),
    # Touvron et al. 2023
    "llama": _small(
        **_pre_norm(
            Attention(head_dim=HEAD, rotary=Rotary()), MLP("silu", gated=True), Norm("rms", epsilon=1e-5)
        ),
        **_GATED,
    ),
    # Biderman et al. 2023
    "pythia": _small(
        **_pre_norm(
            Attention(head_dim=HEAD, rotary=Rotary(fraction=0.25)), MLP("gelu"), CLASSIC_NORM, parallel=True
        ),
        positions="none",
        attention_bias=True,
        initialization="neox",
    ),
    # Yang et al. 2025
    "qwen3": _small(
        **_pre_norm(
            Attention(head_dim=HEAD, rotary=Rotary(base=1e6), qk_norm=True),
            MLP("silu", gated=True),
            Norm("rms", epsilon=1e-6),
        ),
        **_GATED,
        key_heads=2,
        tied=True,
    ),
    # Devlin et al. 2019; not causal, so that it can be predicted and simulated, but not trained
    "bert-encoder": _small(
        layers=(Layer((Sublayer(Attention(), stream=_POST_NORM), Sublayer(MLP("gelu"), stream=_POST_NORM))),),
        embedding_norm=_POST_NORM,
        positions="learned",
        tied=True,
        attention_bias=True,
        output_bias=True,
        causal=False,
        dropout=0.1,
        initialization="normal",
    ),
}
