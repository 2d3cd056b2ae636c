"""Settings in words, with their symbols, for the axes and legends of figures."""

from __future__ import annotations

import polars as pl

LABELS = {
    "model.depth": "depth (layers)",
    "model.width": "width",
    "model.heads": "attention heads",
    "optimizer.learning_rate": "learning rate",
    "optimizer.weight_decay": "weight decay",
    "train_size": "training sentences",
    "batch_size": "batch size",
    "n_tokens": "tokens n",
    "alpha_attention": "attention's branch strength α_A",
    "alpha_mlp": "MLP's branch strength α_M",
    "attention_branch": "attention's branch strength b_A",
    "mlp_branch": "MLP's branch strength b_M",
    "attention_skip": "skip strength s_A around attention",
    "mlp_skip": "skip strength s_M around the MLP",
    "sigma_a": "scale of attention logits σ_A",
    "sigma_v": "gain of values σ_V",
    "sigma_w": "MLP's gain σ_w",
    "sigma_o": "MLP's output gain σ_o",
    "sigma_b": "MLP's bias σ_b",
}


def layers(depth: float) -> str:
    """How many layers, in words.

    >>> layers(1), layers(8.0)
    ('1 layer', '8 layers')
    """
    return f"{depth:.0f} layer{'s' * (depth != 1)}"


def layers_of(column: str) -> pl.Expr:
    """The same for a column of depths."""
    return pl.col(column).map_elements(layers, return_dtype=pl.String)


def label(name: str) -> str:
    """What a setting is called on an axis; one without a name of its own is its last part, in words."""
    return LABELS.get(name) or LABELS.get(last := name.rpartition(".")[2]) or last.replace("_", " ")
