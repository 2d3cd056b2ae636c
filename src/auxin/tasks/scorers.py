"""What counts as right in a task: which lines are scored, where the rules differ, what either would say there.

A scorer is a description; ``auxin.measures.accuracy`` applies it to a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from auxin.tasks.sentence import Sentence


class Contrast(NamedTuple):
    """The word of an answer on which the rules differ."""

    place: int
    """Its position in the target, from 0."""
    hierarchical: str
    """What the hierarchical rule has there."""
    linear: str
    """What the linear rule has there; the same where the rules agree."""


def every(sentence: Sentence) -> bool:
    """Every line is scored."""
    return True


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A source is answered by a target: right where the contrast is, after the right words before it.

    A line without a contrast is right where its whole target is. Where the rules disagree on every scored line,
    the shares of answers by either rule, and by neither, are given, too.
    """

    eligible: Callable[[Sentence], bool] = every
    """Whether a line is scored."""
    contrast: Callable[[Sentence], Contrast | None] = lambda sentence: None
    """The word of a line's target on which the rules differ."""
    linear: Callable[[Sentence], str] | None = None
    """A line's whole target by the linear rule."""
    ranked: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Further shares by name: the right word at the contrast is the most likely one of these words."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """A text goes on in one of two ways: right where the target is likelier than the alternative.

    The language-modelling view: log-probabilities of whole continuations are compared, after the same source. A line
    without an alternative is right where its whole target is the most likely, word by word.
    """

    alternative: Callable[[Sentence], str]
    """The other way to go on; empty where there is none."""
    eligible: Callable[[Sentence], bool] = every
    """Whether a line is scored."""


@dataclass(frozen=True, kw_only=True)
class Brackets:
    """Closing brackets are predicted, and ranked among themselves; those that close a far one count."""

    distance: int = 10
    """Tokens between a closing bracket and its opening one, from which on it counts as far."""


Scorer: TypeAlias = Answers | Choices | Brackets
