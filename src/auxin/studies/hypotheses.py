"""Three hypotheses about depth and exponent, judged on the share of answers by the hierarchical rule.

The rules are those of docs/joint-study.md, fixed before the runs, at 5%:

- H1, collapse hurts deep models: in deep ones, an initialization far from collapse raises the share above that of the
  published one (branch 1), up to that of shallow ones as published, and in those it does nothing.
- H2, one single-peaked function of L·λ_a: the share has a peak inside the exponents' range, and the exponent alone
  accounts for more than half of the differences among points.
- H3, depth acts by itself: it matters at equal exponents, and alone accounts for more than the exponent alone.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from auxin.errors import DataError
from auxin.studies.analysis import FEWEST, Claim, Finding, finding
from auxin.studies.statistics import Array, p_text, peak_test, share_contrast, two_factors, written

SHALLOW, DEEP, NEAR = 4, 8, -1.0
"""H1 compares depth SHALLOW with depths of at least DEEP (where a scale lacks them: the smallest, the largest),
and exponents of at least NEAR with the published start, L·λ_a = −L·ln 2 or the grid's exponent next to it."""
LEVEL, HALF = 0.05, 0.5


class Evidence:
    """The tests of one response over crossed depths and exponents, and what follows for the hypotheses.

    ``models`` has columns depth, exponent and the response; models without a response are left out.
    """

    def __init__(self, models: pl.DataFrame, response: str) -> None:
        known = models.drop_nulls(response)
        if not len(known):
            raise DataError(f"no model has its {response!r} share; allowed: one or more")
        self._depth, self._exponent, self._share = (
            known[name].to_numpy().astype(float) for name in ("depth", "exponent", response)
        )
        self.factors = f = two_factors(self._exponent, self._depth, self._share)
        self.peak = peak_test(self._exponent, self._share)
        depths = np.unique(self._depth)
        self.near = min(NEAR, float(self._exponent.max()))
        deep = self._starts(depths[depths >= DEEP] if depths[-1] >= DEEP else depths[-1:])
        shallow = self._starts(depths[depths == SHALLOW] if SHALLOW in depths else depths[:1])
        enough = min(map(len, [*deep, *shallow])) >= FEWEST
        self.deep, self.shallow = share_contrast(deep, [1, -1]), share_contrast(shallow, [1, -1])
        self.gap = share_contrast([*deep, *shallow], [1, -1, -1, 1])
        self.rest = share_contrast([deep[0], shallow[1]], [1, -1])
        repaired = self.deep.low > 0 and self.gap.low > 0 and self.rest.high >= 0
        self.h1 = enough and repaired and self.shallow.low <= 0 <= self.shallow.high
        self.h2 = self.peak.inside and f.p_first < LEVEL and f.by_first.low > HALF
        self.h3 = f.p_second < LEVEL and f.by_second.low > f.by_first.high
        self.harmful = enough and self.deep.high < 0
        """Whether an initialization far from collapse does the opposite of what H1 says."""

    def _starts(self, depths: Array) -> list[Array]:
        """Shares of the models initialized far from collapse, and of those initialized as published."""
        exponents = np.unique(self._exponent)
        published = np.zeros(len(self._depth), bool)
        for depth in depths:
            start = exponents[np.abs(exponents + depth * math.log(2)).argmin()]
            published |= (self._depth == depth) & (self._exponent == start)
        far = np.isin(self._depth, depths) & (self._exponent >= self.near)
        return [self._share[far], self._share[published]]

    def verdict(self) -> list[str]:
        """The answer in sentences, the headline first."""
        f = self.factors
        numbers = (
            f"Alone, L·λ_a accounts for {f.by_first:%} of the differences among points and depth for "
            f"{f.by_second:%} ({p_text(f.p_first)} and {p_text(f.p_second)})."
        )
        down = self.deep.high < 0
        moves = "lowers" if down else "raises" if self.deep.low > 0 else "changes"
        repair = (
            f"In deep models, an initialization far from collapse {moves} the share of hierarchical answers by "
            f"{-self.deep if down else self.deep:points} (in shallow ones it changes by {self.shallow:points})."
        )
        if self.h2:
            peak = f"The rule is one single-peaked function of L·λ_a (H2), highest at {self.peak.location:1}."
            return [peak, numbers, *(["H1 holds, too.", repair] if self.h1 else [])]
        if self.h1:
            return [repair, "So H1 says.", numbers]
        if self.h3:
            return ["Depth acts by itself (H3).", numbers]
        if math.isnan(f.p_first):
            return ["These models cannot tell: with one a point there is no scatter to compare with."]
        if min(f.p_first, f.p_second) >= LEVEL:
            return ["Neither L·λ_a nor depth makes a difference that these runs can show.", numbers]
        return [repair, "None of the three hypotheses foresaw that.", numbers]

    def claims(self) -> tuple[Claim, ...]:
        """The three hypotheses, each with the numbers that its rule looks at."""
        f = self.factors
        cases = (
            ("H1: deep models fail because their initialization is near collapse; one far from it repairs them, and "
             "does nothing for shallow ones.", self.h1,
             f"An initialization far from collapse changes deep models by {self.deep:points} and shallow ones by "
             f"{self.shallow:points}; repaired deep models differ from shallow published ones by "
             f"{self.rest:points}."),
            ("H2: generalization is one single-peaked function of L·λ_a, the same at every depth.", self.h2,
             f"A peak inside the range: {p_text(self.peak.p)}; L·λ_a alone accounts for {f.by_first:%} of the "
             f"differences among points ({p_text(f.p_first)})."),
            ("H3: neither of these; depth acts by itself.", self.h3 and not (self.h1 or self.h2),
             f"Depth at equal L·λ_a: {p_text(f.p_second)}; alone it accounts for {f.by_second:%} of the "
             f"differences, L·λ_a for {f.by_first:%}."),
        )  # fmt: skip
        return tuple(
            Claim(
                statement,
                "stated before the runs",
                "supported" if met else "contradicted" if self.harmful and i == 0 else "not supported",
                evidence,
            )
            for i, (statement, met, evidence) in enumerate(cases)
        )

    def findings(self, compared: str) -> list[Finding]:
        """Every number that the hypotheses are judged by; ``compared`` says at what models are compared."""
        f, peak, near = self.factors, self.peak, written(self.near, "g")
        rows = (
            ("share explained by L·λ_a alone", f.by_first,
             f"L·λ_a alone accounts for {{:%}} of the differences among points ({p_text(f.p_first)} at equal depth)."),
            ("share explained by depth alone", f.by_second,
             f"Depth alone accounts for {{:%}} of the differences among points ({p_text(f.p_second)} at equal L·λ_a, "
             "the test of one function for all depths)."),
            ("L·λ_a of the peak", peak.location,
             f"Over L·λ_a there is {peak.text()}; the share is highest at {{:1}}."),
            ("repair of deep models", self.deep,
             f"L·λ_a ≥ {near} instead of the published initialization changes deep models by {{:points}}."),
            ("the same for shallow models", self.shallow,
             f"It changes shallow models by {{:points}}; deep ones by {self.gap:points} more."),
            ("what repair leaves", self.rest,
             f"Deep models with L·λ_a ≥ {near} differ from shallow published ones by {{:points}}."),
        )  # fmt: skip
        return [finding(f"{compared}: {name}", e, f"Compared {compared}: {s}") for name, e, s in rows]
