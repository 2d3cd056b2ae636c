"""Numbers and settings as people read them."""

from __future__ import annotations

import math
from typing import Any

LABELS = {
    "model.depth": "depth (layers)",
    "model.width": "width",
    "model.heads": "attention heads",
    "optimizer.learning_rate": "learning rate",
    "optimizer.weight_decay": "weight decay",
    "train_size": "training sentences",
    "batch_size": "batch size",
    "n_tokens": "tokens n",
    "alpha_attention": "attention's branch strength α",
    "alpha_mlp": "MLP's branch strength α",
    "attention_branch": "attention's branch strength",
    "mlp_branch": "MLP's branch strength",
    "attention_skip": "skip strength around attention",
    "mlp_skip": "skip strength around the MLP",
    "sigma_a": "scale σ of attention logits",
    "sigma_v": "gain σ of values",
    "sigma_w": "MLP's gain σ",
    "sigma_o": "MLP's output gain σ",
    "sigma_b": "MLP's bias σ",
}
"""Settings in words, for axes and legends, in which no subscript can be set."""


def label(name: str) -> str:
    """What a setting is called on an axis; one without a name of its own is its last part, in words."""
    return LABELS.get(name) or LABELS.get(last := name.rpartition(".")[2]) or last.replace("_", " ")


def layers(depth: float) -> str:
    """How many layers, in words.

    >>> layers(1), layers(8.0)
    ('1 layer', '8 layers')
    """
    return f"{depth:.0f} layer{'s' * (depth != 1)}"


def number(value: float | None) -> str:
    """A number to three digits, large ones whole; – for none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) < 1e-12:
        return "0"
    return minus(f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}")


def minus(text: str) -> str:
    """The text of a number with a true minus sign."""
    return text.replace("-", "−")


def setting(value: Any) -> str:
    """A setting as TOML-like text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ", ".join(map(setting, value)) or "none"
    if isinstance(value, dict):
        return " ".join(f"{name}={setting(each)}" for name, each in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else str(value) or "none"


def percent(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A share with its interval, where there is one.

    >>> percent(0.5), percent(0.5, 0.25, 0.75)
    ('50%', '50% (25 to 75)')
    """
    if value is None:
        return "–"
    bounds = "" if low is None or high is None else f" ({100 * low:.0f} to {100 * high:.0f})"
    return f"{100 * value:.0f}%{bounds}"


def duration(seconds: float) -> str:
    """Wall time for people: 42 s, 7 min, 3.5 h, 12 days."""
    for unit, size, until in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 172_800)):
        if seconds < until:
            return f"{seconds / size:.{int(unit == 'h')}f} {unit}"
    return f"{seconds / 86_400:.0f} days"
