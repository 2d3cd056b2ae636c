"""From what law the weights of a model without a config seem to be drawn: the one that most of its maps follow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from auxin.probes.families.design import Design, Law
from auxin.probes.families.modules import Matrix

AGREEING = 0.6
"""Share of the maps that a law has to explain, to be taken as what was meant."""
TOLERANCE = 0.05
"""Relative difference of a standard deviation that still counts as explained, beside chance."""


def torch_default(role: str, fan_in: int, fan_out: int) -> float:
    """nn.Linear's U(±1/√fan_in), and nn.MultiheadAttention's xavier for its joint q, k, v."""
    return 1 / math.sqrt(3 * fan_in)


def torch_attention(role: str, fan_in: int, fan_out: int) -> float:
    """As nn.TransformerEncoderLayer leaves its maps."""
    return (
        math.sqrt(2 / (fan_in + 3 * fan_in))
        if role in ("q", "k", "v")
        else torch_default(role, fan_in, fan_out)
    )


def torch_attention_bias(role: str, fan_in: int, fan_out: int) -> float:
    """nn.MultiheadAttention's biases start at 0."""
    return torch_default(role, fan_in, fan_out) if role in ("up", "down") else 0.0


TORCH, LINEAR = "torch's defaults of nn.MultiheadAttention and nn.Linear", "torch's default of nn.Linear"
GPT2, NORMAL = "N(0, 0.02²), output maps of branches divided by √(2·layers)", "N(0, 0.02²)"
LAWS: dict[str, tuple[Law, bool]] = {
    TORCH: (torch_attention, False),
    LINEAR: (torch_default, False),
    GPT2: (lambda role, i, o: 0.02, True),
    NORMAL: (lambda role, i, o: 0.02, False),
    "xavier": (lambda role, i, o: math.sqrt(2 / (i + o)), False),
    "xavier, q, k and v as one": (
        lambda role, i, o: math.sqrt(2 / (i + (3 * o if role in ("q", "k", "v") else o))),
        False,
    ),
    "N(0, 1/fan_in)": (lambda role, i, o: i**-0.5, False),
    "N(0, 2/fan_in)": (lambda role, i, o: (2 / i) ** 0.5, False),
}
"""Schemes that people use, by name: the law, and whether the branches' output maps are divided by √(2·layers)."""
BIASES: dict[str, Law] = {TORCH: torch_attention_bias, LINEAR: torch_default}
"""Laws under which biases are drawn, too."""
EMBEDDINGS = {LINEAR: 1.0, GPT2: 0.02, NORMAL: 0.02}
"""Standard deviation of embeddings that goes with a law."""


def chance(entries: int) -> float:
    """Relative deviation of a root mean square of so many random entries that chance does not exceed.

    Six standard deviations 1/√(2N) of that of Gaussian entries: with a thousand matrices once in 10⁵ models.
    """
    return 6 / math.sqrt(2 * entries)


def likely(design: Design, found: Sequence[Matrix], biased: bool) -> Design | None:
    """The design with the law that explains most maps, ``biased`` or not; None where none explains enough."""
    best, agreeing = None, 0.0
    for said, (law, scaled) in LAWS.items():
        bias = BIASES.get(said) if biased else None
        candidate = dataclasses.replace(
            design, law=law, scaled=scaled, said=said, bias=bias, embedding_std=EMBEDDINGS.get(said)
        )
        explained = [
            abs(m.std / candidate.std(m.role, m.layer) - 1) <= TOLERANCE + chance(m.entries.numel())
            for m in found
        ]
        share = sum(explained) / max(len(explained), 1)
        if share > agreeing + 1e-9:
            best, agreeing = candidate, share
    return best if agreeing >= AGREEING else None
