"""The verb simulate: random networks compared with the theory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auxin.cli.block import BlockVerb
from auxin.cli.options import Flag, Result, Writing, table
from auxin.values import check

if TYPE_CHECKING:
    from auxin.probes.simulate import Agreement

COMPARED = {
    "cosine": "cosine of two tokens",
    "norm": "squared norm",
    "gradient": "squared gradient norm",
    "small_gap": "1 − cosine of nearly collapsed tokens",
}
"""What is compared, and its title."""


@dataclass(frozen=True, kw_only=True)
class SimulateOptions(BlockVerb, Writing):
    """Compare random networks with the theory, layer by layer; fails where they disagree.

    After l layers of width d a deviation may be l/d, as the theory is the limit of infinite width, plus four
    standard errors; those of few networks are steadied by what is typical.

    Example: auxin simulate --preset released-code --depth 6 --width 256
    """

    cosine: float = 0.3
    """Cosine of the tokens at the input."""
    depth: int | None = None
    """Layers; by default those of the preset or run, else 12."""
    input_norm: float | None = None
    """Norm² per dimension that the stream starts with; by default that of the preset's or run's embeddings, else 1."""
    width: int = 768
    """Dimension of the residual stream."""
    heads: int = 1
    """Attention heads."""
    draws: int = 8
    """Random networks."""
    seed: int = 0
    """Seed of their weights."""
    causal: Flag = False
    """Let tokens attend to themselves and those before them only, as a language model's do."""
    out: Path | None = None
    """Stem of a figure (.png, .svg, .html)."""

    def __post_init__(self) -> None:
        check(-1 <= self.cosine <= 1, "cosine", self.cosine, "-1 to 1")
        check(self.width >= 1, "width", self.width, "1 or more")
        check(self.heads >= 1, "heads", self.heads, "1 or more")
        check(self.draws >= 2, "draws", self.draws, "2 or more")

    def run(self) -> Result:
        """Theory and simulation; the status says whether they agree."""
        depth = self.own_depth(self.depth)
        from auxin.probes.simulate import Sampling, compare

        sampling = Sampling(self.width, self.heads, self.draws, self.seed)
        norm = self.start_norm(self.input_norm)
        network = self.layers(depth)
        found = compare(network, self.cosine, depth, norm=norm, causal=self.causal, sampling=sampling)
        agreements = {name: found[name] for name in COMPARED}
        paths: list[Path] = []
        if self.out is not None:
            from auxin.report.theme import save
            from auxin.report.theory_figures import profile_figure

            paths = save(profile_figure(found.theory, found.simulation), self.out, force=self.force)
        values: dict[str, Any] = {name: asdict(agreement) for name, agreement in agreements.items()}
        values |= {f"{name}_exponent": numbers for name, numbers in found.exponents.items()}
        lines = [_table(COMPARED[name], agreement) for name, agreement in agreements.items()]
        for name, numbers in found.exponents.items():
            theory, measured, error = numbers.values()
            lines.append(
                f"{name} exponent: theory {theory:+z.4f} a layer, measured {measured:+z.4f} ± {error:.4f}"
            )
        hint = "" if found.passed else "; more --draws tell chance from error"
        lines.append(f"{'pass' if found.passed else 'FAIL'}: {_nearest(agreements)}{hint}")
        return Result({**values, "passed": found.passed}, "\n".join(lines), paths, int(not found.passed))


def _table(title: str, agreement: Agreement) -> str:
    columns = asdict(agreement).values()
    rows = [
        [str(layer), f"{p:.4g}", f"{m:.4g}", f"{e:.1g}", f"{d:+z.1%}", f"{t:.1%}", "" if abs(d) <= t else "!"]
        for layer, (p, m, e, d, t) in enumerate(zip(*columns, strict=True))
    ]
    return table(["layer", "theory", "measured", "±", "deviation", "allowed", ""], rows, title)


def _nearest(agreements: Mapping[str, Agreement]) -> str:
    """Which deviation is the largest of what is allowed there; one that is no number is the largest of all."""
    shares = {
        name: np.nan_to_num(np.abs(agreement.deviation) / agreement.tolerance, nan=np.inf, posinf=np.inf)
        for name, agreement in agreements.items()
    }
    name = max(shares, key=lambda name: shares[name].max())
    layer = int(shares[name].argmax())
    found, allowed = agreements[name].deviation[layer], agreements[name].tolerance[layer]
    return f"the {COMPARED[name]} in layer {layer} is off by {found:+z.1%}, allowed {allowed:.1%}"
