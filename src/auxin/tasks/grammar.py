"""Weighted context-free grammars without recursion: all structures of the language, sampling and parsing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from itertools import accumulate
from math import isfinite
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from auxin.errors import DataError

Shape: TypeAlias = "int | tuple[Shape, ...]"
"""A tree whose leaves are word positions; a unary node is its child."""

MAX_TEMPLATES = 100_000


@dataclass(frozen=True, slots=True)
class Template:
    """A sentence before its words are chosen."""

    probability: float
    categories: tuple[str, ...]
    """Lexical category of every word."""
    shape: Shape


class Grammar:
    """A weighted grammar from lines ``weight<TAB>left side<TAB>right side``; # starts a comment.

    A symbol whose right sides are all single terminals is a lexical category. The language must be finite:
    at most 100,000 templates, which are enumerated. A symbol's rules are chosen with probability weight/Σ
    weights. Raises ``DataError`` naming the line or the symbol for a malformed rule, a recursive symbol, a
    word in two categories, or an ambiguous template.
    """

    def __init__(self, text: str, start: str = "S") -> None:
        self.start = start
        self.sha256 = hashlib.sha256(text.encode()).hexdigest()
        self.rules = _read_rules(text)
        terminal = {
            left
            for left, rules in self.rules.items()
            if all(len(right) == 1 and right[0] not in self.rules for _, right in rules)
        }
        self.lexicon: dict[str, dict[str, float]] = {}
        """Words of each category with their probabilities."""
        self.category: dict[str, str] = {}
        """The category of each word."""
        for category in (left for left in self.rules if left in terminal):
            total = sum(weight for weight, _ in self.rules[category])
            self.lexicon[category] = {right[0]: weight / total for weight, right in self.rules[category]}
            for word in self.lexicon[category]:
                if word in self.category:
                    raise DataError(
                        f"word {word!r} is in categories {self.category[word]} and {category}; allowed: one"
                    )
                self.category[word] = category
        if start not in self.rules or start in terminal:
            raise DataError(
                f"start symbol is {start!r}; allowed: {', '.join(sorted(set(self.rules) - terminal))}"
            )
        self.templates = self._enumerate()

    @property
    def words(self) -> list[str]:
        """Every word of the language."""
        return list(self.category)

    def _enumerate(self) -> tuple[Template, ...]:
        """All templates of the start symbol with their probabilities."""
        done: dict[str, list[Template]] = {}

        def expand(symbol: str, above: tuple[str, ...]) -> list[Template]:
            """Those of a symbol that stands below the symbols ``above``."""
            if symbol in self.lexicon:
                return [Template(1.0, (symbol,), 0)]
            if symbol in above:
                raise DataError(f"symbol {symbol!r} is recursive; allowed: a finite language")
            if symbol not in self.rules:
                raise DataError(f"symbol {symbol!r} mixes with nonterminals; allowed: words under a category")
            if symbol not in done:
                total = sum(weight for weight, _ in self.rules[symbol])
                done[symbol] = []
                for weight, right in self.rules[symbol]:
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
                    done[symbol] += [Template(p, c, s[0] if len(s) == 1 else s) for p, c, s in partial]
            return done[symbol]

        templates = expand(self.start, ())
        if len({t.categories for t in templates}) < len(templates):
            raise DataError(f"symbol {self.start!r} is ambiguous; allowed: one derivation a sentence")
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
                columns.append(words[drawn].tolist())
            for row, sentence in zip(rows.tolist(), zip(*columns, strict=True), strict=True):
                sentences[row] = list(sentence)
        return chosen, sentences

    @property
    def columns(self) -> int:
        """Uniform numbers that ``sample`` needs for a sentence."""
        return 1 + max(len(t.categories) for t in self.templates)

    @cached_property
    def _steps(self) -> dict[str, tuple[NDArray[Any], NDArray[np.float64]]]:
        """For each category its words and the inner steps of their distribution function."""
        return {
            category: (
                np.array(list(words), dtype=object),
                np.array(list(accumulate(words.values()))[:-1], dtype=np.float64),
            )
            for category, words in self.lexicon.items()
        }

    def parse(self, words: list[str]) -> tuple[tuple[str, ...], Shape]:
        """Categories and tree shape of a sentence.

        LALR(1) over categories, each sequence of categories parsed once (lark). Raises ``DataError`` naming
        the word that is unknown or does not fit, its place, and what could stand there.
        """
        try:
            categories = tuple([self.category[word] for word in words])
        except KeyError as error:
            raise DataError(f"word {error.args[0]!r} is not in the grammar") from None
        shape = self._parsed.get(categories)
        if shape is None:
            shape = self._parsed[categories] = self._parse(categories, words)
        return categories, shape

    @cached_property
    def _parsed(self) -> dict[tuple[str, ...], Shape]:
        return {}

    def _parse(self, categories: tuple[str, ...], words: list[str]) -> Shape:
        from lark import Tree, UnexpectedInput

        parser, terminals = self._parser
        try:
            root = parser.parse(categories)
        except UnexpectedInput as error:
            names = {terminal: category for category, terminal in terminals.items()}
            place = _place(error)
            found = "the end" if place is None else f"word {place + 1}, {words[place]!r},"
            expected = getattr(error, "expected", None) or getattr(error, "accepts", ())
            allowed = ", ".join(sorted(names.get(name, "the end") for name in expected))
            raise DataError(f"{' '.join(words)!r}: {found} does not fit; allowed: {allowed}") from None

        def shape(node: Any) -> Shape:
            if not isinstance(node, Tree):
                return int(node)
            children = tuple(shape(child) for child in node.children)
            return children[0] if len(children) == 1 else children

        return shape(root)

    @cached_property
    def _parser(self) -> tuple[Any, dict[str, str]]:
        """The LALR parser over sequences of categories, and the terminal of each category."""
        from lark import Lark, Token
        from lark.lexer import Lexer

        terminals = {category: f"T{index}" for index, category in enumerate(self.lexicon)}
        names = {left: f"r{i}" for i, left in enumerate(self.rules) if left not in terminals} | terminals
        lines = [f"%declare {' '.join(terminals.values())}"]
        for left, rules in self.rules.items():
            if left not in terminals:
                sides = " | ".join(" ".join(names[symbol] for symbol in right) for _, right in rules)
                lines.append(f"{names[left]}: {sides}")

        class Categories(Lexer):
            """Tokens are categories; their text is the word's position."""

            def __init__(self, lexer_conf: Any) -> None:
                pass

            def lex(self, data: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
                for position, category in enumerate(data):
                    yield Token(terminals[category], str(position), start_pos=position)

        parser = Lark("\n".join(lines), parser="lalr", lexer=Categories, start=names[self.start])
        return parser, terminals


def _place(error: Any) -> int | None:
    """The position of the category that a lark error stopped at; None at the end of the sentence."""
    token = getattr(error, "token", None)
    return None if token is None or token.type == "$END" else token.start_pos


def _shifted(shape: Shape, by: int) -> Shape:
    return shape + by if isinstance(shape, int) else tuple(_shifted(child, by) for child in shape)


def _read_rules(text: str) -> dict[str, list[tuple[float, tuple[str, ...]]]]:
    """Left side to its weighted right sides."""
    rules: dict[str, list[tuple[float, tuple[str, ...]]]] = {}
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
        if right in [other for _, other in rules.get(left, [])]:
            raise DataError(f"grammar line {number} repeats a rule: {line!r}")
        rules.setdefault(left, []).append((weight, right))
    return rules


def load_grammar_text(name: str) -> str:
    """The text of a grammar that comes with the package, such as tense."""
    return files("auxin.tasks").joinpath("grammars", f"{name}.gr").read_text(encoding="utf-8")
