"""In-domain and generalization accuracy of the three tasks, and the rule that a model's answers follow.

An ``Evaluator`` picks and encodes a split's sentences once and is then called on models: teacher-forced
numbers cost one forward pass over the sentences.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auxin.errors import DataError
from auxin.measures.answers import question_answers, tense_answers
from auxin.measures.decoding import greedy_decode
from auxin.measures.passes import check_vocabulary, evaluating, length_batches, side_by_side
from auxin.models.protocol import CausalModel
from auxin.tasks import Sentence, Structure, Task, english
from auxin.values import check

LONG_DISTANCE = 10
"""Tokens between a closing bracket and its opening one, from which on ``accuracy`` counts it."""


def accuracy(
    model: CausalModel,
    task: Task,
    split: str,
    *,
    limit: int | None = 1000,
    decode: bool = False,
    batch_tokens: int = 8192,
) -> dict[str, float]:
    """``Evaluator(task, split, …)(model)``, for one call; see there for the numbers."""
    return Evaluator(task, split, limit=limit, decode=decode, batch_tokens=batch_tokens)(model)


class Evaluator:
    """Accuracies of a model on the first ``limit`` eligible sentences of a split (all of them for None).

    Called on a model it returns numbers in [0, 1]; ``accuracy`` is the one that grokking is judged by.

    - question, ``quest`` lines: ``accuracy`` of the first word of the answer, over the whole vocabulary;
      ``first_auxiliary``, the same ranking the four auxiliaries only (the released code's); ``full_sentence``,
      every word of the answer and its end (teacher-forced, which for a whole answer equals greedy decoding).
    - tense, ``PRESENT`` lines: ``accuracy`` of the main verb after the right words before it;
      ``full_sentence``.
    - both, where the rules disagree on every line (gen): the shares ``hierarchical`` (main auxiliary; main
      verb agrees with its subject), ``linear`` (first auxiliary; agrees with the most recent noun), ``neither``.
    - dyck: ``accuracy`` on closing brackets ≥ 10 tokens after their opening ones, ranking closing brackets
      only; ``unrestricted``, the same ranking all tokens; ``closing``, on all closing brackets, ranking
      closing ones.

    ``decode`` adds what greedily decoded answers show (English tasks): see ``measures.answers``.

    Definitions: McCoy, Frank, Linzen 2020; Yao et al. 2021; Murty et al. 2023. Raises ``DataError`` when the
    split has no eligible sentence, ``ConfigError`` when a model has another vocabulary.
    """

    def __init__(
        self,
        task: Task,
        split: str,
        *,
        limit: int | None = 1000,
        decode: bool = False,
        batch_tokens: int = 8192,
    ) -> None:
        check(limit is None or limit >= 1, "limit", limit, "1 or more sentences, or None for all")
        self.task, self.batch_tokens = task, batch_tokens
        self.decode = decode and task.name != "dyck"
        eligible = _eligible(task, split)[:limit]
        if not len(eligible):
            raise DataError(f"{split} of {task.name} has no line to score; allowed: one or more")
        self.sentences = [task.splits[split][i] for i in eligible.tolist()]
        self._scorer = (_Brackets if task.name == "dyck" else _Answers)(task, self.sentences)
        encoded = task.encoded(split)
        starts, ends = encoded.offsets[eligible], encoded.offsets[eligible + 1]
        self._batches: list[tuple[Tensor, list[Tensor]]] = []  # tokens, and what the scorer knows of them
        for longest, rows in length_batches(ends - starts, batch_tokens, slack=0.1):
            tokens = torch.full((len(rows), longest), task.vocabulary.pad)
            for row, i in enumerate(rows.tolist()):
                sequence = encoded.tokens[starts[i] : ends[i]]
                tokens[row, : len(sequence)] = torch.from_numpy(sequence)
            self._batches.append((tokens, self._scorer.prepare(rows, longest)))

    def __call__(self, model: CausalModel) -> dict[str, float]:
        """The model's accuracies; dropout is off meanwhile. One forward pass over the sentences."""
        check_vocabulary(model, self.task.vocabulary)
        counts: Counter[str] = Counter()
        with evaluating(model) as device:

            def count(batch: tuple[Tensor, list[Tensor]]) -> dict[str, int]:
                tokens, *known = (tensor.to(device) for tensor in (batch[0], *batch[1]))
                return self._scorer.count(model(tokens[:, :-1]).logits, tokens[:, 1:], *known)

            for counted in side_by_side(model, count, self._batches):
                counts.update(counted)
        scores = self._scorer.shares(counts)
        return scores | self._decoded(model) if self.decode else scores

    def _decoded(self, model: CausalModel) -> dict[str, float]:
        """What the greedily decoded answers show."""
        vocabulary = self.task.vocabulary
        sources = [[vocabulary.bos, *vocabulary.encode(s.source)] for s in self.sentences]
        guesses = [vocabulary.encode(s.target) for s in self.sentences]
        answers = greedy_decode(model, sources, guesses, vocabulary.eos, self.batch_tokens)
        words = [[vocabulary.words[i] for i in answer] for answer in answers]
        summarize = question_answers if self.task.name == "question" else tense_answers
        return summarize(self.sentences, words)


class _Answers:
    """Counts right answers of question and tense; the telling word is the one on which the rules differ."""

    def __init__(self, task: Task, sentences: list[Sentence]) -> None:
        self.pad = task.vocabulary.pad
        ids = task.vocabulary.ids
        self.sources = np.array([s.source.count(" ") + 1 for s in sentences])  # where the marker stands
        rules: list[tuple[str, str]] = []
        places: list[int] = []
        for s, source in zip(sentences, self.sources.tolist(), strict=True):
            assert s.structure is not None
            rules.append(_by_rule(task.name, s.words, s.structure))
            places.append(source + (s.structure.main if task.name == "tense" else 0))
        self.telling = np.array(places)  # where the telling word is predicted
        self.rules = np.array([[ids.get(word, -1) for word in pair] for pair in rules])
        self.disagree = all(one != other for one, other in rules)
        lexicon = english.grammar(task.name).lexicon
        names = [word for c in ("Aux_sg", "Aux_pl") for word in lexicon.get(c, ()) if word in ids]
        self.auxiliaries = torch.tensor([ids[word] for word in names], dtype=torch.int64)

    def prepare(self, rows: NDArray[np.int64], longest: int) -> list[Tensor]:
        """For each sentence the marker's place [B], the telling one's [B], and the rules' words [B, 2]."""
        return [torch.from_numpy(known[rows]) for known in (self.sources, self.telling, self.rules)]

    def count(
        self, logits: Tensor, following: Tensor, source: Tensor, telling: Tensor, rules: Tensor
    ) -> dict[str, int]:
        """Right answers in a batch of logits [B, L, V] and the tokens that follow [B, L]."""
        predicted = logits.argmax(-1)
        given = torch.arange(following.shape[1], device=following.device) < source[:, None]
        whole = ((predicted == following) | given | (following == self.pad)).all(1)
        chosen = predicted.gather(1, telling[:, None])  # [B, 1]
        truth = following.gather(1, telling[:, None])
        by_rule = chosen == rules  # [B, 2]
        counts = {
            "lines": len(chosen),
            "accuracy": int((chosen == truth).sum()),
            "full_sentence": int(whole.sum()),
            "hierarchical": int(by_rule[:, 0].sum()),
            "linear": int(by_rule[:, 1].sum()),
            "neither": int((~by_rule.any(1)).sum()),
        }
        if len(self.auxiliaries):
            auxiliaries = self.auxiliaries.to(logits.device)
            scores = logits[torch.arange(len(chosen), device=logits.device), telling]  # [B, V]
            best = auxiliaries[scores[:, auxiliaries].argmax(-1, keepdim=True)]
            counts["first_auxiliary"] = int((best == truth).sum())
        return counts

    def shares(self, counts: Counter[str]) -> dict[str, float]:
        """Shares of all lines."""
        rules = ("hierarchical", "linear", "neither") if self.disagree else ()
        ranked = ("first_auxiliary",) if len(self.auxiliaries) else ()
        return {
            name: counts[name] / counts["lines"] for name in ("accuracy", *ranked, "full_sentence", *rules)
        }


class _Brackets:
    """Counts closing brackets of Dyck strings that are predicted right."""

    def __init__(self, task: Task, sentences: list[Sentence]) -> None:
        known = [i for word, i in task.vocabulary.ids.items() if word.endswith(")")]
        self.closing = torch.tensor(known, dtype=torch.int64)
        self.distances = [closing_distances(s.source) for s in sentences]

    def prepare(self, rows: NDArray[np.int64], longest: int) -> list[Tensor]:
        """How far behind each following token its opening bracket stands [B, L]; 0 where it is no closing one."""
        distances = torch.zeros(len(rows), longest - 1, dtype=torch.int64)
        for row, i in enumerate(rows.tolist()):
            distances[row, : len(self.distances[i])] = torch.tensor(self.distances[i])
        return [distances]

    def count(self, logits: Tensor, following: Tensor, distance: Tensor) -> dict[str, int]:
        """Right brackets in a batch of logits [B, L, V] and the tokens that follow [B, L]."""
        closes = distance > 0
        scores, truth, far = logits[closes], following[closes], distance[closes] >= LONG_DISTANCE
        closing = self.closing.to(logits.device)
        ranked = closing[scores[:, closing].argmax(-1)] == truth
        return {
            "all": len(truth),
            "far": int(far.sum()),
            "accuracy": int(ranked[far].sum()),
            "unrestricted": int((scores.argmax(-1) == truth)[far].sum()),
            "closing": int(ranked.sum()),
        }

    def shares(self, counts: Counter[str]) -> dict[str, float]:
        """Shares of the far closing brackets, and of all of them."""
        return {
            "accuracy": counts["accuracy"] / counts["far"],
            "unrestricted": counts["unrestricted"] / counts["far"],
            "closing": counts["closing"] / counts["all"],
        }


def _eligible(task: Task, split: str) -> NDArray[np.int64]:
    """Indices of the sentences that are scored: those transformed, and Dyck strings with a far bracket."""
    sentences = task.splits[split]
    if task.name == "dyck":
        chosen = (max(closing_distances(s.source)) >= LONG_DISTANCE for s in sentences)
    else:
        marker = english.MARKERS[task.name][1]
        chosen = (s.marker == marker for s in sentences)
    return np.flatnonzero(np.fromiter(chosen, bool, len(sentences)))


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


def _by_rule(task: str, words: list[str], structure: Structure) -> tuple[str, str]:
    """The telling word by the hierarchical and by the linear rule."""
    if task == "question":
        return words[structure.main], words[structure.first]
    verb, categories = words[structure.main], structure.categories
    return (
        english.present(verb, categories[structure.subject]),
        english.present(verb, categories[structure.recent]),
    )
