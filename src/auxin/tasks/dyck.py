"""Bounded Dyck strings: 20 types of brackets, at most 10 open at once (Yao et al. 2021; Murty et al. 2023)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auxin.errors import DataError
from auxin.tasks.files import read_published
from auxin.tasks.sampling import UniformStream
from auxin.tasks.sentence import Brackets, Sentence
from auxin.tasks.task import DataSource, Task
from auxin.tasks.vocabulary import Vocabulary

TYPES = "abcdefghijklmnopqrst"
MAX_DEPTH = 10
MIN_LENGTH = 4
MEASURED = 500  # strings that structural measures are taken of: they are long
TRAIN_SIZE = 200_000
HELD_OUT_SIZE = 20_000

TOKENS = [f"({letter}" for letter in TYPES] + [f"{letter})" for letter in TYPES]
"""Opening brackets, then closing ones: closing token i + 20 matches token i."""

_LEAST, _MOST = 1000, 40_000  # strings walked together, else twice train_size: part of what a seed means
_BARREN = 50  # chunks without a new string before the request counts as impossible


def generate(seed: int, train_size: int = TRAIN_SIZE) -> dict[str, list[Sentence]]:
    """The splits train of the size asked for, val and gen (a tenth of it each, at most 20k).

    At depth 0 a string ends or opens a bracket with probability ½ each, but not before 4 tokens; at depth 10
    it closes; in between it opens or closes with probability ½ each; types are uniform. No string occurs
    twice. A string's structure is its sequence of opening and closing: val holds structures of training
    strings, gen only others. About 10 µs a string; the seed determines every string. Raises ``DataError``
    when the training set has too few structures to draw val from.
    """
    held_out = max(1, min(HELD_OUT_SIZE, train_size // 10))
    sizes = {"train": train_size, "val": held_out, "gen": held_out}
    splits: dict[str, list[Sentence]] = {split: [] for split in sizes}
    train, val, gen = splits.values()
    texts: set[str] = set()
    structures: set[bytes] = set()
    uniforms = UniformStream(seed)
    chunk = max(_LEAST, min(_MOST, 2 * train_size))
    barren = 0
    while any(len(splits[split]) < size for split, size in sizes.items()):
        before = len(texts)
        for row, length in zip(*_walks(uniforms, chunk), strict=True):
            text = " ".join(map(TOKENS.__getitem__, row[:length].tolist()))
            if text in texts:
                continue
            structure = (row[:length] < len(TYPES)).tobytes()
            if len(train) < train_size:
                structures.add(structure)
                chosen = train
            else:
                chosen = val if structure in structures else gen
                if len(chosen) == held_out:
                    continue
            texts.add(text)
            chosen.append(Sentence(text, ""))
        barren = barren + 1 if len(texts) == before else 0
        if barren == _BARREN:
            raise DataError(f"train_size is {train_size}: too few structures to draw {held_out} val strings")
    return splits


def _walks(uniforms: UniformStream, count: int) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Token indices (count, longest) and lengths of ``count`` strings, all walked a step at a time."""
    k = len(TYPES)
    tokens = np.zeros((count, 256), dtype=np.int8)
    lengths = np.zeros(count, dtype=np.int64)
    stack = np.zeros((count, MAX_DEPTH), dtype=np.int8)
    depth = np.zeros(count, dtype=np.int64)
    active = np.arange(count)
    step = 0
    while True:
        u = uniforms.take(len(active))
        d = depth[active]
        heads = u < 0.5
        goes_on = (d > 0) | heads | (step < MIN_LENGTH)
        lengths[active[~goes_on]] = step
        active, u, d, heads = active[goes_on], u[goes_on], d[goes_on], heads[goes_on]
        if not len(active):
            return tokens, lengths
        if step == tokens.shape[1]:
            tokens = np.concatenate([tokens, np.zeros_like(tokens)], axis=1)
        opens = (d == 0) | (heads & (d < MAX_DEPTH))
        types = (2 * u % 1.0 * k).astype(np.int8)  # the coin used the first bit of u, the type uses the rest
        stack[active[opens], d[opens]] = types[opens]
        top = stack[active, np.where(opens, d, d - 1)]
        tokens[active, step] = np.where(opens, top, top + k)
        depth[active] = np.where(opens, d + 1, d - 1)
        step += 1


def load(name: str, options: DataSource) -> Task:
    """The Dyck task, generated or read from published files."""
    if options.data_dir:
        splits = read_published(name, options)
        return Task(name, splits, scorer=Brackets(), measured_count=MEASURED)
    splits = generate(options.seed, options.train_size or TRAIN_SIZE)
    return Task(name, splits, Vocabulary(TOKENS), Brackets(), measured_count=MEASURED, generated=True)


def closing_distances(text: str) -> list[int]:
    """For every token of a Dyck string, how many tokens ago its bracket opened; 0 for an opening one."""
    distances: list[int] = []
    opened: list[int] = []
    for place, token in enumerate(text.split()):
        if token[0] == "(":
            opened.append(place)
            distances.append(0)
        else:
            distances.append(place - opened.pop())
    return distances
