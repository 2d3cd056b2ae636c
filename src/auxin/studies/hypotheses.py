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
from numpy.typing import NDArray

from auxin.errors import DataError
from auxin.studies.answers import FEWEST, Claim, Finding, finding
from auxin.studies.statistics import Estimate, p_text, peak_test, share_contrast, two_factors, written

SHALLOW, DEEP, NEAR = 4, 8, -1.0
"""H1 compares depth SHALLOW with depths of at least DEEP (where a scale lacks them: the smallest, the largest),
and exponents of at least NEAR with the published start, L·λ_a = −L·ln 2 or the grid's exponent next to it."""
LEVEL, HALF = 0.05, 0.5


class Evidence:
    """The tests of one response over crossed depths and exponents.

    ``models`` has columns depth, exponent and the response; models without a response are left out.
    """

    def __init__(self, models: pl.DataFrame, response: str) -> None:
        known = models.drop_nulls(response)
        if not len(known):
            raise DataError(f"no model has its {response!r} share; allowed: one or more")
        self._depth, self._exponent, self._share = (
            known[name].to_numpy().astype(float) for name in ("depth", "exponent", response)
        )
        self.factors = two_factors(self._exponent, self._depth, self._share)
        self.peak = peak_test(self._exponent, self._share)
        depths = np.unique(self._depth)
        self.near = min(NEAR, float(self._exponent.max()))
        deep = self._starts(depths[depths >= DEEP] if depths[-1] >= DEEP else depths[-1:])
        shallow = self._starts(depths[depths == SHALLOW] if SHALLOW in depths else depths[:1])
        self.enough = min(map(len, [*deep, *shallow])) >= FEWEST
        self.deep, self.shallow = share_contrast(deep, [1, -1]), share_contrast(shallow, [1, -1])
        self.gap = share_contrast([*deep, *shallow], [1, -1, -1, 1])
        self.rest = share_contrast([deep[0], shallow[1]], [1, -1])

    def _starts(self, depths: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Shares of the models initialized far from collapse, and of those initialized as published."""
        exponents = np.unique(self._exponent)
        there = np.isin(self._depth, depths)
        published = np.zeros(len(self._depth), bool)
        for depth in depths:
            start = exponents[np.abs(exponents + depth * math.log(2)).argmin()]
            published |= (self._depth == depth) & (self._exponent == start)
        far = exponents[exponents >= self.near]
        return [self._share[there & np.isin(self._exponent, far)], self._share[published]]

    @property
    def h1(self) -> bool:
        """Collapse hurts deep models, and only those."""
        repaired = self.deep.low > 0 and self.gap.low > 0 and self.rest.high >= 0
        return self.enough and repaired and self.shallow.low <= 0 <= self.shallow.high

    @property
    def h2(self) -> bool:
        """One single-peaked function of the exponent."""
        return self.peak.inside and self.factors.p_first < LEVEL and self.factors.by_first.low > HALF

    @property
    def h3(self) -> bool:
        """Depth acts by itself."""
        return self.factors.p_second < LEVEL and self.factors.by_second.low > self.factors.by_first.high

    def verdict(self) -> list[str]:
        """The answer in sentences, the headline first."""
        f = self.factors
        numbers = (
            f"Alone, L·λ_a accounts for {f.by_first.percent()} of the differences among points and depth for "
            f"{f.by_second.percent()} ({p_text(f.p_first)} and {p_text(f.p_second)})."
        )
        down = self.deep.high < 0
        moves = "lowers" if down else "raises" if self.deep.low > 0 else "changes"
        repair = (
            f"In deep models, an initialization far from collapse {moves} the share of hierarchical answers by "
            f"{(-self.deep if down else self.deep).points()} (in shallow ones it changes by "
            f"{self.shallow.points()})."
        )
        if self.h2:
            peak = f"The rule is one single-peaked function of L·λ_a (H2), highest at {self.peak.location.text(1)}."
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
        f, peak = self.factors, self.peak
        cases = (
            ("H1: deep models fail because their initialization is near collapse; one far from it repairs them, and "
             "does nothing for shallow ones.", self.h1,
             f"An initialization far from collapse changes deep models by {self.deep.points()} and shallow ones by "
             f"{self.shallow.points()}; repaired deep models differ from shallow published ones by "
             f"{self.rest.points()}."),
            ("H2: generalization is one single-peaked function of L·λ_a, the same at every depth.", self.h2,
             f"A peak inside the range: {p_text(peak.p)}; L·λ_a alone accounts for {f.by_first.percent()} of the "
             f"differences among points ({p_text(f.p_first)})."),
            ("H3: neither of these; depth acts by itself.", self.h3 and not (self.h1 or self.h2),
             f"Depth at equal L·λ_a: {p_text(f.p_second)}; alone it accounts for {f.by_second.percent()} of the "
             f"differences, L·λ_a for {f.by_first.percent()}."),
        )  # fmt: skip
        source = "stated before the runs"
        contradicted = self.enough and self.deep.high < 0
        unmet = ("contradicted" if contradicted else "not supported", "not supported", "not supported")
        return tuple(
            Claim(statement, source, "supported" if met else otherwise, evidence)
            for (statement, met, evidence), otherwise in zip(cases, unmet, strict=True)
        )

    def findings(self, compared: str) -> list[Finding]:
        """Every number that the hypotheses are judged by; ``compared`` says at what models are compared."""
        f, peak, near = self.factors, self.peak, written(self.near, "g")
        rows: list[tuple[str, Estimate, str]] = [
            ("share explained by L·λ_a alone", f.by_first,
             f"L·λ_a alone accounts for {f.by_first.percent()} of the differences among points "
             f"({p_text(f.p_first)} at equal depth)."),
            ("share explained by depth alone", f.by_second,
             f"Depth alone accounts for {f.by_second.percent()} of the differences among points "
             f"({p_text(f.p_second)} at equal L·λ_a, the test of one function for all depths)."),
            ("L·λ_a of the peak", peak.location,
             f"Over L·λ_a there is {peak.text()}; the share is highest at {peak.location.text(1)}."),
            ("repair of deep models", self.deep,
             f"L·λ_a ≥ {near} instead of the published initialization changes deep models by "
             f"{self.deep.points()}."),
            ("the same for shallow models", self.shallow,
             f"It changes shallow models by {self.shallow.points()}; deep ones by {self.gap.points()} more."),
            ("what repair leaves", self.rest,
             f"Deep models with L·λ_a ≥ {near} differ from shallow published ones by {self.rest.points()}."),
        ]  # fmt: skip
        return [finding(f"{compared}: {name}", e, f"Compared {compared}: {s}") for name, e, s in rows]
