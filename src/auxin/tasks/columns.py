"""People's own tables: named columns, what counts as a word, a seeded split of pairs, and minimal pairs."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from auxin.errors import DataError
from auxin.tasks.files import annotated, read_lines, read_text
from auxin.tasks.sampling import UniformStream
from auxin.tasks.sentence import Annotation, Sentence
from auxin.tasks.task import Splits
from auxin.values import check

NAMES: tuple[str, ...] = ("source", "target", "bracketing", "hierarchical", "linear")
"""Columns of the task ``files``, in its order; the last three are optional."""
Case = Literal["keep", "lower"]
Punctuation = Literal["keep", "tokens", "strip"]
APOSTROPHES = "'’"


@dataclass(frozen=True, kw_only=True)
class Form:
    """What counts as a word: sentences in one Unicode form, in lower case if that is wanted.

    Punctuation at the ends of a word stays (``keep``), becomes words of its own (``tokens``) or goes (``strip``).
    Marks inside a word and apostrophes always stay: ``foto's``, ``'s avonds``.

    >>> Form(case="lower", punctuation="tokens")("Is het 's avonds (laat), Jan?")
    "is het 's avonds ( laat ) , jan ?"
    """

    case: Case = "keep"
    punctuation: Punctuation = "keep"

    def __call__(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text)
        words = (text.lower() if self.case == "lower" else text).split()
        if self.punctuation == "keep":
            return " ".join(words)
        return " ".join(part for word in words for part in self._parts(word))

    def _parts(self, word: str) -> list[str]:
        first, last = 0, len(word)
        while first < last and _is_mark(word[first]):
            first += 1
        while last > first and _is_mark(word[last - 1]):
            last -= 1
        core = [word[first:last]] if first < last else []
        return core if self.punctuation == "strip" else [*word[:first], *core, *word[last:]]


def _is_mark(character: str) -> bool:
    category = unicodedata.category(character)
    return category.startswith("P") and category != "Pc" and character not in APOSTROPHES


@dataclass(frozen=True)
class Columns:
    """The lines of a file whose columns have names."""

    path: Path
    names: tuple[str, ...]
    """Of the columns: from its header, else ``usual``."""
    rows: list[tuple[int, dict[str, str]]]
    """Number in the file, and fields by name."""
    header: bool


def read_table(path: Path, wanted: Sequence[str], usual: Sequence[str]) -> Columns:
    """The lines of a tab-separated file; a first line that has the ``wanted`` names is its header.

    Without a header, columns are called as in ``usual``. Blank lines are left out, and the quotes that spreadsheets put
    around a field. Raises ``DataError`` where names are wanted that are not usual, and the header lacks them.
    """
    lines = [(i, fields) for i, fields in enumerate(read_lines(path, _fields), 1) if any(fields)]
    if not lines:
        raise DataError(f"{path} is empty; allowed: one line or more")
    first = lines[0][1]
    header = set(wanted) <= {*first}
    if not header and not set(wanted) <= {*usual}:
        raise DataError(f"{path}: columns are {', '.join(first)!r}; wanted: {', '.join(wanted)}")
    names = tuple(first if header else usual)
    for i, fields in lines:
        if not 2 <= len(fields) <= len(names):
            raise DataError(
                f"{path}:{i}: {len(fields)} columns; allowed: 2 to {len(names)}: {', '.join(names)}"
            )
    rows = [(i, dict.fromkeys(names, "") | dict(zip(names, fields, strict=False))) for i, fields in lines]
    return Columns(path, names, rows[header:], header)


def _fields(line: str) -> list[str]:
    quoted = (re.fullmatch(r'"((?:[^"]|"")*)"', field.strip()) for field in line.split("\t"))
    return [
        found[1].replace('""', '"') if found else field.strip()
        for found, field in zip(quoted, line.split("\t"), strict=True)
    ]


def split_pairs(
    table: Columns, columns: Mapping[str, str], form: Form, gen_where: str, shares: Sequence[float], seed: int
) -> Splits:
    """The splits of a table: ``gen`` where a condition holds, the others at random by the ``shares``.

    ``columns`` says which of the table's are the task's, by ``NAMES``. ``gen_where`` is ``COLUMN=VALUE``, or
    ``COLUMN~PATTERN`` for a regular expression; where it is empty, gen are the lines whose targets by both rules
    differ. Equal lines stay in one split, so that no line of val is in train. Raises ``DataError`` for a malformed
    line, ``ConfigError`` where a split would be empty.
    """
    for name, share in zip(SHARED, shares, strict=False):
        check(0 < share < 1, "split", share, f"a share of {name} between 0 and 1")
    whole = abs(sum(shares) - 1) < 1e-9
    check(whole, "split", " ".join(map(str, shares)), "two or three shares that add up to 1")
    holds = _condition(table, gen_where)
    forms = dict.fromkeys(NAMES, form) | {"bracketing": Form(case=form.case)}  # its marks are words already
    found = Splits({"gen": []}, str(table.path))
    others: dict[str, list[Sentence]] = {}
    for number, row in table.rows:
        try:
            sentence = annotated([forms[name](row.get(columns.get(name, ""), "")) for name in NAMES])
        except DataError as error:
            unnamed = not table.header and number == 1
            hint = "; a header names source and target, or --columns its names" * unnamed
            raise DataError(f"{table.path}:{number}: {error}{hint}") from None
        assert isinstance(sentence.structure, Annotation)
        rules = sentence.structure.hierarchical, sentence.structure.linear
        if (all(rules) and rules[0] != rules[1]) if holds is None else holds(row):
            found["gen"].append(sentence)
        else:
            others.setdefault(sentence.text, []).append(sentence)
    check(bool(found["gen"]), "gen_where", gen_where, _values(table, gen_where))
    texts = [*others]
    needed = len(shares)
    check(len(texts) >= needed, "gen_where", gen_where, f"one that leaves {needed} different lines or more")
    order, begin, total = UniformStream(seed, 21).order(len(texts)), 0, 0.0
    for i, share in enumerate(shares):
        total += share
        end = min(max(round(total * len(texts)), begin + 1), len(texts) - (needed - 1 - i))
        found[SHARED[i]] = [s for at in sorted(order[begin:end]) for s in others[texts[at]]]
        begin = end
    return found


SHARED = ("train", "val", "test")
"""Splits that are shared out at random."""


def _condition(table: Columns, gen_where: str) -> Callable[[dict[str, str]], bool] | None:
    if not gen_where:
        return None
    found = re.match(r"([^=~]+)([=~])(.*)", gen_where, re.DOTALL)
    known = found is not None and found[1] in table.names
    check(known, "gen_where", gen_where, f"COLUMN=VALUE or COLUMN~PATTERN; columns: {', '.join(table.names)}")
    assert found is not None
    name, sign, value = found.groups()
    if sign == "=":
        return lambda row: row[name] == value
    try:
        pattern = re.compile(value)
    except re.error as error:
        raise DataError(f"gen_where is {gen_where!r}: {error}; allowed: a regular expression") from None
    return lambda row: pattern.search(row[name]) is not None


def _values(table: Columns, gen_where: str) -> str:
    """What a condition that no line fulfils could have been."""
    names = ", ".join(table.names)
    if not gen_where:
        return f"COLUMN=VALUE or COLUMN~PATTERN, since no line has two targets that differ; columns: {names}"
    name = re.split("[=~]", gen_where)[0]
    values = list(dict.fromkeys(row[name] for _, row in table.rows))
    return (
        f"one that holds somewhere; {name} is {', '.join(map(repr, values[:6]))}{', …' * (len(values) > 6)}"
    )


GOOD_AND_BAD = ("good", "bad", "phenomenon")
BLIMP = ("sentence_good", "sentence_bad")
PHENOMENA = ("linguistics_term", "phenomenon", "UID")
"""Where a file says what a pair is about; the first that there is."""


class MinimalPair(NamedTuple):
    """A sentence that is right, and one that is wrong."""

    good: str
    bad: str
    phenomenon: str = ""


def read_pairs(path: Path, by: str = "", form: Form | None = None) -> list[MinimalPair]:
    """The pairs of a file, their sentences in a form.

    A line is ``good<TAB>bad<TAB>phenomenon`` (the last is optional; a first line that names the columns good and bad,
    or sentence_good and sentence_bad, is a header), or JSON as in BLiMP (Warstadt et al. 2020) with sentence_good and
    sentence_bad. The phenomenon is the column ``by``, else linguistics_term, phenomenon or UID.
    Raises ``DataError`` as ``file:line: what is wrong``.
    """
    form = form or Form()
    as_json = read_text(path).lstrip().startswith("{")
    rows = enumerate(read_lines(path, _record), 1) if as_json else _rows(path)
    found: list[MinimalPair] = []
    for number, row in rows:
        if not row:  # a blank line
            continue
        good, bad = BLIMP if BLIMP[0] in row else GOOD_AND_BAD[:2]
        name = by or next((name for name in PHENOMENA if name in row), "")
        for wanted in (good, bad, *([by] if by else [])):
            if not isinstance(row.get(wanted), str):
                raise DataError(f"{path}:{number}: no {wanted}; there are {', '.join(row)}")
        if not (row[good].split() and row[bad].split()):
            raise DataError(f"{path}:{number}: {good if row[bad].split() else bad} is empty; allowed: words")
        found.append(MinimalPair(form(row[good]), form(row[bad]), str(row.get(name, ""))))
    if not found:
        raise DataError(f"{path} holds no pair; allowed: one or more")
    return found


def _record(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line) if line.strip() else {}
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"{line[:80]!r} is no object; allowed: sentence_good and sentence_bad by name")
    return found


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The numbers of a table's lines, and the rows."""
    first = read_lines(path, lambda line: line.split("\t"))[0]
    return read_table(path, BLIMP if {*BLIMP} <= {*first} else GOOD_AND_BAD[:2], GOOD_AND_BAD).rows
