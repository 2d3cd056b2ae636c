"""The verb critical."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from auxin.cli.block import BlockVerb
from auxin.cli.options import Result, table


@dataclass(frozen=True, kw_only=True)
class CriticalOptions(BlockVerb):
    """Find hyperparameters at which a network of given depth starts at the edge of chaos.

    Example: auxin critical --depth 24 --vary alpha_attention --sigma-w 2
    """

    depth: int = 24
    """Layers."""
    vary: tuple[str, ...] = ("alpha_attention", "alpha_mlp")
    """One or two hyperparameters to solve for."""
    input_norm: float | None = None
    """Norm² per dimension that the stream starts with; by default that of the preset's or run's embeddings, else 1."""

    def run(self) -> Result:
        """The hyperparameters that are critical."""
        from auxin.theory.critical import critical
        from auxin.theory.exponents import exponents

        norm = self.start_norm(self.input_norm)
        found = critical(self.block, self.depth, self.vary)
        way = exponents(found.block, depth=self.depth, norm=norm)
        rows = [[name, f"{value:.6g}"] for name, value in found.hyperparameters.items()]
        totals = f"angle {found.angle_total:+z.3f}, gradient {found.gradient_total:+z.3f}"
        text = [
            table(["hyperparameter", "value"], rows),
            f"over {self.depth} layers at the norm's fixed point: {totals}",
        ]
        totals = f"angle {way.angle_total:+z.3f}, gradient {way.gradient_total:+z.3f}"
        text.append(f"from norm² {norm:.4g}: {totals}")
        if not found.reached:
            text.append("the angle exponent has no zero within the ranges; this is the nearest point")
        values = {"input_norm": norm, "angle_total": way.angle_total, "gradient_total": way.gradient_total}
        return Result({**dataclasses.asdict(found), "from_input": values}, "\n".join(text))
