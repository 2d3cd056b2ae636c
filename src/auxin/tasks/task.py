"""A task: its splits, its vocabulary, its token ids, the scorer that knows its rules, and what it is loaded from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auxin.errors import ConfigError, DataError
from auxin.tasks.sentence import Answers, Choices, Scorer, Sentence, every
from auxin.tasks.vocabulary import Vocabulary
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


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Where a task's sentences come from: the options of ``load_task``, for the function that loads a task."""

    seed: int = 0
    train_size: int = 0
    data_dir: Path | None = None
    grammar: Path | None = None
    dials: Dials = field(default_factory=Dials)


class Splits(dict[str, list[Sentence]]):
    """Sentences by split; a missing split is a ``DataError`` that names it."""

    def __init__(self, splits: Mapping[str, list[Sentence]], origin: str = "generated data") -> None:
        super().__init__(splits)
        self.origin = origin

    def __missing__(self, split: str) -> list[Sentence]:
        raise DataError(f"split is {split!r}, and {self.origin} has only: {', '.join(self)}")

    @property
    def words(self) -> set[str]:
        """Every word of every text."""
        return {word for split in self.values() for sentence in split for word in sentence.text.split()}


@dataclass(eq=False, repr=False)
class Task:
    """A task's sentences, vocabulary and scorer; token ids are computed once a split.

    Training takes ``train`` and reports on ``val`` (in domain) and ``gen`` (only the hierarchical rule is right).

    >>> from auxin.tasks import Sentence
    >>> sentence = Sentence("the newt reads . quest", "does the newt read ?")
    >>> sentences = {split: [sentence] for split in ("train", "val", "gen")}
    >>> len(Task("mine", sentences).vocabulary)
    11
    """

    name: str
    """For messages."""
    splits: Mapping[str, list[Sentence]]
    """train, val and gen, perhaps test; those that there are."""
    vocabulary: Vocabulary = None  # pyright: ignore[reportAssignmentType]
    """By default that of all sentences."""
    scorer: Scorer = field(default_factory=Answers)
    """What counts as right: ``Answers`` (by default, to whole targets), ``Choices`` or ``Brackets``."""
    measured: Callable[[Sentence], bool] = every
    """Which training sentences the structural measures are taken of."""
    measured_count: int = 10_000
    """Of how many."""
    generated: bool = False
    """Whether a run's config determines every sentence; others are recognized by their digest."""

    def __post_init__(self) -> None:
        if not isinstance(self.splits, Splits):
            self.splits = Splits(self.splits)
        self.vocabulary = self.vocabulary or Vocabulary(self.splits.words)
        self._encoded: dict[str, list[NDArray[np.int64]]] = {}

    def with_choices(self) -> Task:
        """The task in the language-modelling view: is the right target likelier than the linear rule's?

        Raises ``ConfigError`` for a task that has no targets by a linear rule.
        """
        scorer = self.scorer
        if isinstance(scorer, Choices):
            return self
        if not isinstance(scorer, Answers) or (linear := scorer.linear) is None:
            raise ConfigError(f"scoring is 'choices'; allowed for task {self.name}: answers")
        alternative = lambda s: "" if (other := linear(s)) == s.target else other
        return replace(self, scorer=Choices(alternative=alternative, eligible=scorer.eligible))

    def encoded(self, split: str) -> list[NDArray[np.int64]]:
        """Token ids of each text of a split, kept after the first call; ``DataError`` for an unknown split or word."""
        if split not in self._encoded:
            self._encoded[split] = self.vocabulary.encode_all([s.text for s in self.splits[split]])
        return self._encoded[split]

    @property
    def sha256(self) -> str:
        """SHA-256 of all texts in their order, split by split."""
        texts = {split: [s.text for s in sentences] for split, sentences in sorted(self.splits.items())}
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()

    def __repr__(self) -> str:
        sizes = ", ".join(f"{split} {len(sentences)}" for split, sentences in self.splits.items())
        return f"Task({self.name}: {sizes}; {len(self.vocabulary)} tokens)"
