"""What makes the numbers of a task's sentences doubtful: words and lines that are not what they seem."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from auxin.tasks.sentence import Sentence

BYTE_ORDER_MARK = "\ufeff"


def suspicions(splits: Mapping[str, Sequence[Sentence]]) -> list[str]:
    """A line for each suspicion, with a count and the first example: what a person should hear before training.

    Words that differ only in what cannot be seen (Unicode forms, invisible characters), byte order marks inside a
    file, words of another split that train lacks, and lines of gen or test that train has.
    """
    words = {split: {word for s in lines for word in s.text.split()} for split, lines in splits.items()}
    found: list[str] = []
    same: dict[str, list[str]] = defaultdict(list)
    for word in sorted(set().union(*words.values())):
        same[_seen(word)].append(word)
    if alike := [group for group in same.values() if len(group) > 1]:
        found.append(
            f"{_count(alike, 'word')} look{_s(alike)} like another one: {' and '.join(map(ascii, alike[0]))}"
        )
    for split, lines in splits.items():
        marked = [s.text for s in lines if BYTE_ORDER_MARK in s.text]
        if marked:
            found.append(
                f"{_count(marked, 'line')} of {split} hold{_s(marked)} a byte order mark: {ascii(marked[0])[:80]}"
            )
    train = {s.text for s in splits.get("train", ())}
    for split, lines in splits.items():
        if split == "train":
            continue
        if unseen := sorted(words[split] - words.get("train", set())):
            found.append(f"{_count(unseen, 'word')} of {split} that train lacks: {_first(unseen)}")
        leaked = sum(s.text in train for s in lines)
        if leaked and split in ("gen", "test"):
            found.append(
                f"{leaked:,} of {_count(lines, 'line')} of {split} {'are' if leaked > 1 else 'is'} in train, too"
            )
    return found


def _seen(word: str) -> str:
    """What a reader sees of a word: one form of Unicode, nothing invisible."""
    text = unicodedata.normalize("NFKC", word)
    return "".join(c for c in text if unicodedata.category(c) != "Cf")


def _first(words: Sequence[str]) -> str:
    return ", ".join(map(ascii, words[:3])) + (", …" if len(words) > 3 else "")


def _count(things: Collection[object], name: str) -> str:
    return f"{len(things):,} {name}{'s' if len(things) != 1 else ''}"


def _s(things: Collection[object]) -> str:
    return "s" if len(things) == 1 else ""
