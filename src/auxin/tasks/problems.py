"""What makes the numbers of a task's sentences doubtful: words and lines that are not what they seem."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence

from auxin.tasks.sentence import Sentence

BYTE_ORDER_MARK = "\ufeff"


def problems(splits: Mapping[str, Sequence[Sentence]]) -> list[str]:
    """A line for each problem, with a count and the first example: what a person should read before training.

    Words that differ only in what cannot be seen (Unicode forms, invisible characters), byte order marks inside a
    file, words of another split that train lacks, and lines of gen or test that train has.
    """
    words = {split: {word for s in lines for word in s.text.split()} for split, lines in splits.items()}
    found: list[str] = []
    same: dict[str, list[str]] = defaultdict(list)
    for word in sorted(set().union(*words.values())):
        same[_visible(word)].append(word)
    if alike := [group for group in same.values() if len(group) > 1]:
        look = "looks" if len(alike) == 1 else "look"
        found.append(f"{_count(alike, 'word')} {look} like another one: {' and '.join(map(ascii, alike[0]))}")
    for split, lines in splits.items():
        if marked := [s.text for s in lines if BYTE_ORDER_MARK in s.text]:
            hold = "holds" if len(marked) == 1 else "hold"
            example = ascii(marked[0])[:80]
            found.append(f"{_count(marked, 'line')} of {split} {hold} a byte order mark: {example}")
    train = {s.text for s in splits.get("train", ())}
    for split in [split for split in splits if split != "train"]:
        if unseen := sorted(words[split] - words.get("train", set())):
            first = ", ".join(map(ascii, unseen[:3])) + (", …" if len(unseen) > 3 else "")
            found.append(f"{_count(unseen, 'word')} of {split} that train lacks: {first}")
        repeated = sum(s.text in train for s in splits[split])
        if repeated and split in ("gen", "test"):
            lines, are = _count(splits[split], "line"), "are" if repeated > 1 else "is"
            found.append(f"{repeated:,} of {lines} of {split} {are} in train, too")
    return found


def _visible(word: str) -> str:
    """What a reader sees of a word: one form of Unicode, nothing invisible."""
    text = unicodedata.normalize("NFKC", word)
    return "".join(c for c in text if unicodedata.category(c) != "Cf")


def _count(things: Sequence[object], name: str) -> str:
    return f"{len(things):,} {name}{'s' if len(things) != 1 else ''}"
