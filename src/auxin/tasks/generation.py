"""The splits of a language, drawn so that the rules agree in domain and disagree in ``gen``, and the task of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from auxin.errors import DataError
from auxin.tasks.files import read_text
from auxin.tasks.language import Language, Source, read_language
from auxin.tasks.sampling import UniformStream
from auxin.tasks.sentence import Answers, Sentence
from auxin.tasks.task import DataSource, Dials, Splits, Task
from auxin.tasks.vocabulary import Vocabulary

_BARREN = 50  # draws of a thousand sentences without a new one before the request counts as impossible


def load(name: str, options: DataSource) -> Task:
    """The task of a grammar file: rules of the grammar as the built-in ones are written, and lines ``%directive …``.

    The training set has ``train_size`` lines, by default half of the in-domain sentences, at most 100,000; val, test
    and gen a tenth of it, at most 1k, 10k and 10k. Derivations are gold trees; the rule's controllers are found in
    them. Raises ``DataError`` that names the file, and the line where it is one line's fault.
    """
    assert options.grammar is not None
    text = read_text(options.grammar)
    try:
        language = read_language(text)
        size = options.train_size or language.default_size
        tenth = min(10_000, max(1, size // 10))
        sizes = {"train": size, "val": min(1000, tenth), "test": tenth, "gen": tenth}
        splits = Splits(generate(language, sizes, options.seed, options.dials))
    except DataError as error:
        raise DataError(f"{options.grammar}: {error}") from None
    scorer = Answers(eligible=language.transforms, contrast=language.contrast, linear=language.linear)
    return Task(name, splits, Vocabulary(language.words), scorer)


def generate(
    language: Language, sizes: Mapping[str, int], seed: int = 0, dials: Dials | None = None
) -> dict[str, list[Sentence]]:
    """The splits of the sizes asked for; the seed determines every line. About 15 µs a sentence.

    A sentence and a fair choice of marker are drawn together; in-domain draws on which the two rules disagree, and
    repeated lines, are drawn again, so that a sentence stands in a split at most once with each marker. No sentence
    is in two splits: train, val, test and gen take in turn what those before them have left. Raises ``DataError``
    when the language has too few sentences.
    """
    generation = _Generation(language, seed)
    splits: dict[str, list[Sentence]] = {}
    for stream, split in ((0, "train"), (1, "val"), (10, "test"), (2, "gen")):
        source = language.outside if split == "gen" else language.inside
        splits[split] = generation.draw(split, stream, source, sizes[split])
    generation.apply(dials or Dials(), splits["train"])
    return splits


class _Generation:
    """The lines drawn so far, and the replacements that the dials ask for."""

    def __init__(self, language: Language, seed: int) -> None:
        self.language, self.seed = language, seed
        self.drawn: dict[str, tuple[str, set[bool]]] = {}
        """The split of each sentence, and whether it stands there copied, transformed or both."""

    def draw(
        self,
        split: str,
        stream: int,
        source: Source,
        count: int,
        templates: Sequence[int] | None = None,
        transformed: bool | None = None,
    ) -> list[Sentence]:
        """The first ``count`` sentences of a source that it accepts and that are new.

        ``templates`` restricts the draw to some, ``transformed`` to copies (False) or transformed ones (True).
        """
        uniforms, sentences = UniformStream(self.seed, stream), list[Sentence]()
        barren = 0
        while len(sentences) < count:
            before = len(sentences)
            numbers = uniforms.take(1000 + 3 * (count - before) // 2, source.grammar.columns + 1)
            chosen, lines = source.grammar.sample(numbers[:, 1:], templates)
            coins = (numbers[:, 0] < 0.5).tolist()
            for index, words, coin in zip(chosen.tolist(), lines, coins, strict=True):
                structure = source.structures[index]
                transform = self.language.markers is None or (coin if transformed is None else transformed)
                if source.accept(words, structure, transform) and self._is_new(words, transform, split):
                    sentences.append(self.language.line(words, structure, transform))
                    if len(sentences) == count:
                        break
            barren = barren + 1 if len(sentences) == before else 0
            if barren == _BARREN:
                raise DataError(
                    f"{count} sentences are asked for, and the grammar has {before} such; allowed: fewer"
                )
        return sentences

    def _is_new(self, words: Sequence[str], transform: bool, split: str) -> bool:
        """Puts a line into a split, and says whether that was possible: once each, a sentence in one split."""
        owner, kinds = self.drawn.setdefault(" ".join(words), (split, set()))
        if owner != split or transform in kinds:
            return False
        kinds.add(transform)
        return True

    def apply(self, dials: Dials, train: list[Sentence]) -> None:
        """Replace lines of the training set until the dials are where they should be."""
        inside, outside = self.language.inside, self.language.outside
        allowed = list(range(len(inside.structures)))
        if dials.structures:
            allowed = self._chosen_structures(dials.structures)
            kept = {inside.structures[i] for i in allowed}
            for kind in (False, True):
                wrong = [i for i in self._lines(train, kind) if train[i].structure not in kept]
                self._replace(train, wrong, 4 + kind, (inside, allowed), kind)
        if dials.centre_embedded is not None:
            kind = self.language.markers is None  # of copies, where there are some
            lines = self._lines(train, kind)
            embedded = [i for i in lines if train[i].structure.centre_embedded]  # pyright: ignore
            missing = round(dials.centre_embedded * len(lines)) - len(embedded)
            others = sorted(set(lines) - set(embedded)) if missing >= 0 else embedded
            wanted = [i for i in allowed if inside.structures[i].centre_embedded == (missing > 0)]
            self._replace(train, self._random(others, abs(missing), 6), 7, (inside, wanted), kind)
        if dials.disambiguating:
            transformed, count = self._lines(train, True), dials.disambiguating
            if count > len(transformed):
                raise DataError(
                    f"disambiguating is {count}; allowed: up to the {len(transformed)} transformed lines"
                )
            wanted = [i for i, s in enumerate(outside.structures) if self.language.rule.disagrees(s)]
            self._replace(train, self._random(transformed, count, 8), 9, (outside, wanted), True)

    def _chosen_structures(self, count: int) -> list[int]:
        """``count`` templates: a weighted draw without replacement, one at least on which the rules agree."""
        language, structures = self.language, self.language.structures
        weights = np.array([t.probability for t in language.grammar.templates])
        keys = UniformStream(self.seed, 3).take(len(weights)) ** (1 / weights)  # Efraimidis and Spirakis 2006
        order = np.argsort(-keys, kind="stable").tolist()
        inside = [i for i in order if language.in_domain([], structures[i], language.markers is None)]
        chosen = inside[:count]
        agreeing = [i for i in inside if language.in_domain([], structures[i], True)]
        if not set(chosen) & set(agreeing):
            chosen[-1:] = agreeing[:1]
        if len(chosen) < count:
            raise DataError(f"structures is {count}; allowed: up to the {len(inside)} in domain")
        return chosen

    def _lines(self, train: list[Sentence], transformed: bool) -> list[int]:
        return [i for i, sentence in enumerate(train) if self.language.transforms(sentence) == transformed]

    def _random(self, indices: Sequence[int], count: int, stream: int) -> list[int]:
        """The first of a random order, in which a larger count takes the same ones and more."""
        return [indices[i] for i in UniformStream(self.seed, stream).order(len(indices))[:count]]

    def _replace(
        self,
        train: list[Sentence],
        places: list[int],
        stream: int,
        among: tuple[Source, list[int]],
        kind: bool,
    ) -> None:
        """Put new sentences of some templates of a source at some places of the training set."""
        source, templates = among
        if places and not templates:
            raise DataError("dials ask for sentences that the grammar does not have; allowed: others")
        if places:
            new = self.draw("train", stream, source, len(places), templates, kind)
            for i, sentence in zip(places, new, strict=True):
                train[i] = sentence
