"""The verb critical."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from auxin.cli.block import BlockVerb
from auxin.cli.output import Result, table


@dataclass(frozen=True, kw_only=True)
class CriticalOptions(BlockVerb):
    """Find hyperparameters at which a network of given depth starts at the edge of chaos.

    Example: auxin critical --depth 24 --vary alpha_attention --sigma-w 2
    """

    depth: int = 24
    """Layers."""
    vary: tuple[str, ...] = ("alpha_attention", "alpha_mlp")
    """One or two hyperparameters to solve for."""

    def run(self) -> Result:
        """The hyperparameters that are critical."""
        from auxin.theory.critical import critical

        found = critical(self.block, self.depth, self.vary)
        rows = [[name, f"{value:.6g}"] for name, value in found.hyperparameters.items()]
        totals = f"angle {found.angle_total:+.3g}, gradient {found.gradient_total:+.3g}"
        text = [table(["hyperparameter", "value"], rows), f"over {self.depth} layers: {totals}"]
        if not found.reached:
            text.append("the angle exponent has no zero within the ranges; this is the nearest point")
        return Result(dataclasses.asdict(found), "\n".join(text))
