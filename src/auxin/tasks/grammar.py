"""Weighted context-free grammars without recursion: all structures of the language, sampling and parsing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import isfinite
from typing import NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from auxin.errors import DataError

Shape: TypeAlias = "int | tuple[Shape, ...]"
"""A tree whose leaves are word positions; a unary node is its child."""
Rules = dict[str, dict[tuple[str, ...], float]]
"""Left side to the weights of its right sides."""

MAX_TEMPLATES = 100_000
START = "S"


@dataclass(frozen=True, slots=True)
class Template:
    """A sentence before its words are chosen."""

    probability: float
    categories: tuple[str, ...]
    """Lexical category of every word."""
    shape: Shape


class Grammar:
    """A weighted grammar from lines ``weight<TAB>left side<TAB>right side``; # starts a comment.

    Sentences are derived from the symbol S. A symbol whose right sides are all single terminals is a lexical
    category. The language must be finite: at most 100,000 templates, which are enumerated. A symbol's rules are
    chosen with probability weight/Σ weights. Raises ``DataError`` naming the line or the symbol for a malformed
    rule, a recursive symbol, a word in two categories, or an ambiguous template.

    Of several texts, each replaces the rules of its symbols in those before it.
    """

    def __init__(self, *texts: str) -> None:
        rules: Rules = {}
        for text in texts:
            rules |= _read_rules(text)
        self.lexicon: dict[str, dict[str, float]] = {}
        """Words of each category with their probabilities."""
        self.category: dict[str, str] = {}
        """The category of each word."""
        for symbol, sides in rules.items():
            if any(len(right) != 1 or right[0] in rules for right in sides):
                continue
            total = sum(sides.values())
            self.lexicon[symbol] = {word: weight / total for (word,), weight in sides.items()}
            for word in self.lexicon[symbol]:
                if other := self.category.get(word):
                    raise DataError(f"word {word!r} is in categories {other} and {symbol}; allowed: one")
                self.category[word] = symbol
        if START not in rules or START in self.lexicon:
            allowed = ", ".join(sorted(set(rules) - set(self.lexicon)))
            raise DataError(f"start symbol is {START!r}; allowed: {allowed}")
        self.templates = self._enumerate(rules)

    def _enumerate(self, rules: Rules) -> tuple[Template, ...]:
        """All templates of the start symbol with their probabilities."""
        done = {category: [Template(1.0, (category,), 0)] for category in self.lexicon}

        def expand(symbol: str, above: tuple[str, ...]) -> list[Template]:
            """Those of a symbol that stands below the symbols ``above``."""
            if symbol in above:
                raise DataError(f"symbol {symbol!r} is recursive; allowed: a finite language")
            if symbol not in done and symbol not in rules:
                raise DataError(f"symbol {symbol!r} mixes with nonterminals; allowed: words under a category")
            if symbol not in done:
                total = sum(rules[symbol].values())
                found: list[Template] = []
                for right, weight in rules[symbol].items():
                    partial = [(weight / total, (), ())]
                    for child in right:
                        below = expand(child, (*above, symbol))
                        if len(partial) * len(below) > MAX_TEMPLATES:
                            raise DataError(f"symbol {symbol!r} has over {MAX_TEMPLATES} structures")
                        partial = [
                            (p * t.probability, c + t.categories, (*s, _shifted(t.shape, len(c))))
                            for p, c, s in partial
                            for t in below
                        ]
                    found += [Template(p, c, s[0] if len(s) == 1 else s) for p, c, s in partial]
                done[symbol] = found
            return done[symbol]

        templates = expand(START, ())
        if len({t.categories for t in templates}) < len(templates):
            raise DataError(f"symbol {START!r} is ambiguous; allowed: one derivation a sentence")
        return tuple(templates)

    def sample(
        self, uniforms: NDArray[np.float64], among: Sequence[int] | None = None
    ) -> tuple[NDArray[np.int64], list[list[str]]]:
        """One sentence for each row of uniform numbers in [0, 1): its template's index and its words.

        Column 0 chooses the template (of those at the indices ``among``, if given), column 1 + i the word at
        position i; the grammar's longest sentence sets the columns needed (``columns``). About 4 µs a sentence.
        """
        indices = np.arange(len(self.templates)) if among is None else np.array(among)
        cumulative = np.cumsum([self.templates[i].probability for i in indices.tolist()])
        scaled = uniforms[:, 0] if among is None else uniforms[:, 0] * cumulative[-1]
        chosen = indices[np.minimum(np.searchsorted(cumulative, scaled, side="right"), len(cumulative) - 1)]
        sentences: list[list[str]] = [[]] * len(chosen)
        for index in np.unique(chosen):
            rows = np.flatnonzero(chosen == index)
            columns: list[list[str]] = []
            for position, category in enumerate(self.templates[index].categories):
                words, steps = self._steps[category]
                drawn = np.searchsorted(steps, uniforms[rows, 1 + position], side="right")
                columns.append([words[i] for i in drawn.tolist()])
            for row, sentence in zip(rows.tolist(), zip(*columns, strict=True), strict=True):
                sentences[row] = list(sentence)
        return chosen, sentences

    @property
    def columns(self) -> int:
        """Uniform numbers that ``sample`` needs for a sentence."""
        return 1 + max(len(t.categories) for t in self.templates)

    @cached_property
    def _steps(self) -> dict[str, tuple[list[str], list[float]]]:
        """For each category its words and the inner steps of their distribution function."""
        return {c: (list(words), list(accumulate(words.values()))[:-1]) for c, words in self.lexicon.items()}

    def parse(self, words: Sequence[str]) -> tuple[tuple[str, ...], Shape]:
        """Categories and tree shape of a sentence.

        Raises ``DataError`` naming the word that is unknown or does not fit, its place, and what could stand there.
        """
        try:
            categories = tuple([self.category[word] for word in words])
        except KeyError as error:
            raise DataError(f"word {error.args[0]!r} is not in the grammar") from None
        if categories not in self._shapes:
            self._refuse(categories, words)
        return categories, self._shapes[categories]

    @cached_property
    def _shapes(self) -> dict[tuple[str, ...], Shape]:
        """There is one derivation a sequence of categories, so that they are parsed by looking them up."""
        return {t.categories: t.shape for t in self.templates}

    def _refuse(self, categories: tuple[str, ...], words: Sequence[str]) -> NoReturn:
        """Name the first word at which no sentence of the language begins so."""
        place, fitting = 0, [(*known, "the end") for known in self._shapes]
        for category in categories:
            further = [known for known in fitting if known[place] == category]
            if not further:
                break
            place, fitting = place + 1, further
        allowed = ", ".join(sorted({known[place] for known in fitting}))
        found = f"word {place + 1}, {words[place]!r}," if place < len(words) else "the end"
        raise DataError(f"{' '.join(words)!r}: {found} does not fit; allowed: {allowed}")


def _shifted(shape: Shape, by: int) -> Shape:
    return shape + by if isinstance(shape, int) else tuple(_shifted(child, by) for child in shape)


def _read_rules(text: str) -> Rules:
    rules: Rules = {}
    for number, line in enumerate(text.splitlines(), 1):
        content = line.split("#")[0].strip()
        if not content:
            continue
        fields = [field.strip() for field in content.split("\t")]
        try:
            weight, left, right = float(fields[0]), fields[1], tuple(fields[2].split())
        except (ValueError, IndexError):
            raise DataError(
                f"grammar line {number} is {line!r}; allowed: weight, left, right, by tabs"
            ) from None
        if not (isfinite(weight) and weight > 0 and right and len(fields) == 3 and left.split() == [left]):
            raise DataError(f"grammar line {number} is {line!r}; allowed: positive weight, left, right side")
        if right in rules.setdefault(left, {}):
            raise DataError(f"grammar line {number} repeats a rule: {line!r}")
        rules[left][right] = weight
    return rules
