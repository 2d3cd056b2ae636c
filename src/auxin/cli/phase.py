"""The verb phase."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auxin.architecture.block import ALPHAS, Block, check_range
from auxin.cli.block import BlockVerb
from auxin.cli.options import Result, Writing
from auxin.values import check

EMPTY = """\
both exponents are 0 everywhere: with skips of 1 the norm grows for ever, and a layer's part in it tends to 0;
auxin exponents --depth adds up the layers of a network of that depth"""


@dataclass(frozen=True, kw_only=True)
class PhaseOptions(BlockVerb, Writing):
    """Map both exponents over two hyperparameters, with their zero lines and the block's own point.

    Example: auxin phase --alpha-attention 0.5 --x alpha_mlp 0.05 1 --out phase
    """

    x: tuple[str, float, float] = ("alpha_mlp", 0.05, 1.0)
    """Hyperparameter of the horizontal axis, from, to."""
    y: tuple[str, float, float] = ("sigma_w", 0.5, 5.0)
    """Hyperparameter of the vertical axis, from, to."""
    points: int = 60
    """Points along each axis."""
    cosine: float = 0.3
    """Cosine of the tokens at the input."""
    out: Path = Path("phase")
    """Stem of the files: figures (.png, .svg, .html) and table (.csv); -bifurcation is added for c*."""

    def __post_init__(self) -> None:
        check(2 <= self.points <= 1000, "points", self.points, "2 to 1000")
        for option, (name, low, high) in (("x", self.x), ("y", self.y)):
            check(low < high, option, f"{name} {low:g} {high:g}", "a name, from, to, from below to")
            check_range(name, high)
        if self.x[0] == self.y[0]:  # the usual hyperparameter of one axis was chosen for the other
            object.__setattr__(self, "y", type(self).x)

    def run(self) -> Result:
        """Draw the phase diagram and write its table."""
        from auxin.theory.phase import phase_diagram as diagram

        names = self.x[0], self.y[0]
        x, y = ((name, np.linspace(low, high, self.points).tolist()) for name, low, high in (self.x, self.y))
        frame = diagram(self.block, x, y, self.cosine)
        from auxin.outputs import write_output
        from auxin.report.theme import save
        from auxin.report.theory_figures import bifurcation, phase_diagram, sections

        paths = save(phase_diagram(frame, names, _point(self.block, names)), self.out, force=self.force)
        lines = bifurcation(sections(frame, names[1]), names[0])
        paths += save(lines, f"{self.out}-bifurcation", force=self.force)
        csv = Path(f"{self.out}.csv")
        write_output(csv, frame.write_csv().encode(), force=self.force)
        shares = {phase: count / frame.height for phase, count in frame["phase"].value_counts().iter_rows()}
        text = [", ".join(f"{phase}: {share:.1%} of the points" for phase, share in sorted(shares.items()))]
        if frame["angle"].abs().max() == frame["gradient"].abs().max() == 0 and self.block.norm == "pre":
            text.append(EMPTY)
        return Result({"phases": shares, "table": str(csv)}, "\n".join([*text, f"table: {csv}"]), paths)


def _point(block: Block, names: tuple[str, str]) -> tuple[float, float] | None:
    """Where the block lies; None when an axis is an α and the block's strengths are not √(1 − α²) and α."""
    shown = {name: f"{part}_branch" for name, part in ALPHAS.items()} | {"sigma_b_out": "output_bias"}
    values = [getattr(block, shown.get(name, name)) for name in names]
    on_axes = all(
        abs(getattr(block, f"{ALPHAS[name]}_skip") ** 2 + value**2 - 1) < 1e-9
        for name, value in zip(names, values, strict=True)
        if name in ALPHAS
    )
    return (values[0], values[1]) if on_axes else None
