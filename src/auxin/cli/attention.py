"""The verb attention."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auxin.cli.options import Result, Writing, table
from auxin.values import check


@dataclass(frozen=True, kw_only=True)
class AttentionOptions(Writing):
    """Compare the exact moments of softmax attention at finite length with the published approximations.

    Example: auxin attention --n-tokens 16 128 --spread 6 --out attention
    """

    n_tokens: tuple[int, ...] = (16, 128, 1024)
    """Sequence lengths, a panel each."""
    spread: float = 6.0
    """Largest standard deviation of a row's logits."""
    cosine: float = 0.0
    """Correlation of two rows' logits."""
    points: int = 25
    """Spreads from 0 on."""
    out: Path = Path("attention")
    """Stem of the figure (.png, .svg, .html)."""

    def __post_init__(self) -> None:
        check(2 <= self.points <= 1000, "points", self.points, "2 to 1000")

    def run(self) -> Result:
        """The moments of attention, drawn."""
        import polars

        from auxin.report.theme import save
        from auxin.report.theory_figures import attention_moments as draw
        from auxin.theory.moments import Method, attention_moments

        spreads = np.linspace(0, self.spread, self.points)
        methods: tuple[Method, ...] = ("exact", "annealed", "rem")
        rows = [
            {"n_tokens": n, "method": method, "spread": float(spread), "r1": float(r1)}
            for n in self.n_tokens
            for method in methods
            for spread, r1 in zip(spreads, attention_moments(n, spreads, self.cosine, method).r1, strict=True)
        ]
        paths = save(draw(polars.DataFrame(rows)), self.out, force=self.force)
        last = {(row["n_tokens"], row["method"]): row["r1"] for row in rows}
        cells = [[str(n), *(f"{last[n, method]:.4g}" for method in methods)] for n in self.n_tokens]
        text = table(["tokens", "exact", "annealed", "REM limit"], cells, f"R1 at spread {self.spread:g}")
        return Result({"moments": rows}, text, paths)
