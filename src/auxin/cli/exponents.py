"""The verb exponents."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from auxin.architecture.block import Block
from auxin.cli.block import BlockVerb
from auxin.cli.options import Result, table
from auxin.values import to_dict

LARGE = 1.0
"""|total| from which on a network does much: squared gradients grow e-fold."""


@dataclass(frozen=True, kw_only=True)
class ExponentsOptions(BlockVerb):
    """Say before training whether tokens collapse and whether gradients vanish or explode.

    Example: auxin exponents --preset llama --depth 24
    """

    depth: int | None = None
    """Layers over which the exponents add up; by default those of the preset or run, else 12."""
    cosine: float = 0.3
    """Cosine of the tokens at the input, from which the fixed point is reached."""
    input_norm: float | None = None
    """Norm² per dimension that the stream starts with; by default that of the preset's or run's embeddings, else 1."""

    def run(self) -> Result:
        """Both exponents, a layer and over all."""
        from auxin.theory.exponents import BARELY, CRITICAL, exponents

        depth, norm = self.own_depth(self.depth), self.start_norm(self.input_norm)
        source = self.layers(depth)
        found = exponents(source, self.cosine, depth, norm)
        values = {name: value for name, value in dataclasses.asdict(found).items() if value is not None}
        rows = [
            ["angle exponent λ_a", f"{found.angle:+z.4f}", f"{found.angle_total:+z.3f}"],
            ["gradient exponent λ_g", f"{found.gradient:+z.4f}", f"{found.gradient_total:+z.3f}"],
        ]
        if found.gradient_spectrum is not None:
            rows.append(["its second eigenvalue", f"{found.gradient_spectrum[1]:+z.4f}", ""])
        total = f"over {depth} layers {_meaning(found.angle_total, found.gradient_total, BARELY, LARGE)}"
        lines = [f"from norm² {norm:.4g}, {total}"]
        where = "at the output", "at the output"
        if isinstance(source, Block):
            where = "q*", "c*"
            if found.norm == np.inf:
                lines = [f"the norm grows for ever and a layer means its limit; {total}"]
            else:
                meaning = _meaning(found.angle, found.gradient, CRITICAL, CRITICAL)
                lines.insert(0, f"phase: {found.phase} ({meaning})")
        rows += [[f"squared norm {where[0]}", f"{found.norm:.4g}", ""]]
        rows += [[f"cosine {where[1]}", f"{found.cosine:z.4f}", ""]]
        about = {"block": source} if isinstance(source, Block) else {"network": to_dict(source)}
        text = [table(["quantity", "a layer", f"{depth} layers"], rows), *lines]
        return Result({**values, "depth": depth, "input_norm": norm, **about}, "\n".join(text))


def _meaning(angle: float | None, gradient: float | None, small: float, large: float) -> str:
    """What exponents, or their totals, do: up to ``small`` next to nothing, up to ``large`` little."""
    words = {
        "angles": ("tokens collapse", "tokens repel each other"),
        "gradients": ("gradients vanish", "gradients explode"),
    }
    parts: list[str] = []
    for (name, much), exponent in zip(words.items(), (angle or 0.0, gradient or 0.0), strict=True):
        little = f"{name} shrink", f"{name} grow"
        size = abs(exponent)
        parts.append(
            f"{name} barely change" if size <= small else (much if size > large else little)[exponent > 0]
        )
    return ", ".join(parts)
