"""From where on a difference or a design is a finding: one table, which a caller may change."""

from __future__ import annotations

from dataclasses import dataclass

from auxin.values import Value


@dataclass(frozen=True, kw_only=True)
class Thresholds(Value):
    """Each with what it is set by; docs/check.md reports the rate of false alarms over fresh models."""

    std: float = 0.06
    """Relative difference between a matrix's standard deviation and its scheme's, beside six standard errors of the
    entries' own chance. The slips that people report differ by 25% and more."""
    gain: float = 0.05
    """Difference of a norm's mean gain, or of a skip or branch strength, from what it should be; relative."""
    spread: float = 1.6
    """Factor between the spread of attention's logits and that of its weights' random products. Over fresh models of
    width 64 the largest seen was 1.28; a forgotten or doubled 1/√d_h is a factor of 4 or more."""
    branch: float = 1.3
    """Factor between the norm² of what a branch adds and that which its own weights make of its input, beside what
    chance does at the model's width. A missing norm is a factor of the stream's norm²."""
    layer: float = 1.25
    """Factor between a layer's matrix and the same one of the other layers, where no scheme is known."""
    cosine: float = 0.99
    """Mean cosine of tokens behind the last layer: beyond, they are one token to whatever follows."""
    gradient: float = 30.0
    """Growth or decay of squared gradients from the last layer to the middle one: a thousandfold over all, if it goes
    on so. In a new Llama of 32 layers of width 4096 nearly all of a predicted 540-fold growth is in the other half."""
    excess_loss: float = 2.0
    """Loss above that of a uniform guess, in nats, before any training."""

    ranges = {  # noqa: RUF012
        "std": (0, 10), "gain": (0, 10), "spread": (1, 1e6), "branch": (1, 1e6), "layer": (1, 1e6), "cosine": (0, 1),
        "gradient": (1, 1e30), "excess_loss": (0, 1e6),
    }  # fmt: skip
