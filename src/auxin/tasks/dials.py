"""Dials of generated training data: what the literature found to decide whether models generalize."""

from __future__ import annotations

from dataclasses import dataclass

from auxin.values import Value, check


@dataclass(frozen=True, kw_only=True)
class Dials(Value):
    """Changes of a generated training set; lines that a dial does not ask to change stay what they are without it.

    Held-out sets are the same at every setting of a dial, but where a replacement is already one of their
    sentences: those are drawn first, so that no sentence is in two splits.

    Examples:
        >>> RunConfig(dials=Dials(disambiguating=100)).dials.disambiguating
        100
    """

    disambiguating: int = 0
    """Training lines on which the rules disagree, so that only the hierarchical one fits (Ahuja et al. 2024)."""
    centre_embedded: float | None = None
    """Share of the copied training lines (of all, where a task has none) with a clause between subject and main
    verb (Qin et al. 2025); None: as the grammar has it."""
    structures: int = 0
    """Structures (sequences of word categories) that training lines have (Qin et al. 2025), drawn as the grammar
    weighs them; 0: all. Disambiguating lines may have others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(0 <= self.disambiguating <= 10**7, "disambiguating", self.disambiguating, "0 to 10^7 lines")
        share = self.centre_embedded
        check(share is None or 0 <= share <= 1, "centre_embedded", share, "0 to 1, or none")
        check(0 <= self.structures <= 10**5, "structures", self.structures, "0 (all) to 10^5")
