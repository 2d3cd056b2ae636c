"""In-domain and generalization accuracy of a task, and the rule that a model's answers follow.

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
from auxin.measures.decoding import greedy_decode
from auxin.measures.passes import check_vocabulary, evaluating, length_batches, side_by_side
from auxin.models.protocol import CausalModel
from auxin.tasks import Answers, Brackets, Choices, Sentence, Task
from auxin.tasks.dyck import closing_distances
from auxin.tasks.sampling import random_sample
from auxin.values import check


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
    """Accuracies of a model on ``limit`` eligible sentences of a split, a fixed random sample (all of them for None).

    Called on a model it returns numbers in [0, 1]; ``accuracy`` is the one that grokking is judged by.

    What is right is the task's scorer's to say:

    - ``Answers`` (question: ``quest`` lines; tense: ``PRESENT`` lines): ``accuracy`` of the telling word (the first of
      the question; the main verb), after the right words before it, over the whole vocabulary; ``full_sentence``,
      every word of the answer and its end (teacher-forced, which for a whole answer equals greedy decoding). Where
      the rules disagree on every line (gen): the shares ``hierarchical`` (main auxiliary; main verb agrees with its
      subject), ``linear`` (first auxiliary; agrees with the most recent noun), ``neither``. Shares of the telling
      word among a few, such as ``first_auxiliary`` of question (the released code's, of four auxiliaries).
    - ``Choices``: ``accuracy``, the target is likelier than the alternative; ``full_sentence``.
    - ``Brackets`` (dyck): ``accuracy`` on closing brackets ≥ 10 tokens after their opening ones, ranking closing
      brackets only; ``unrestricted``, the same ranking all tokens; ``closing``, on all closing brackets, ranking
      closing ones.

    ``decode`` adds what greedily decoded answers show, for a task that says so: see ``auxin.tasks.english``.

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
        scorer = task.scorer
        self.decoded = scorer.decoded if decode and isinstance(scorer, Answers) else None
        eligible = np.array(random_sample(_eligible(task, split), limit), dtype=np.int64)
        if not len(eligible):
            raise DataError(f"{split} of {task.name} has no line to score; allowed: one or more")
        self.sentences = [task.splits[split][i] for i in eligible.tolist()]
        self._counter = _counter(task, self.sentences)
        encoded = task.encoded(split)
        starts, ends = encoded.offsets[eligible], encoded.offsets[eligible + 1]
        self._batches: list[tuple[Tensor, list[Tensor]]] = []  # tokens, and what the counter knows of them
        for longest, rows in length_batches(ends - starts, batch_tokens, slack=0.1):
            tokens = torch.full((len(rows), longest), task.vocabulary.pad)
            for row, i in enumerate(rows.tolist()):
                sequence = encoded.tokens[starts[i] : ends[i]]
                tokens[row, : len(sequence)] = torch.from_numpy(sequence)
            self._batches.append((tokens, self._counter.prepare(rows, longest)))

    def __call__(self, model: CausalModel) -> dict[str, float]:
        """The model's accuracies; dropout is off meanwhile. One forward pass over the sentences."""
        check_vocabulary(model, self.task.vocabulary)
        counts: Counter[str] = Counter()
        with evaluating(model) as device:

            def count(batch: tuple[Tensor, list[Tensor]]) -> dict[str, int]:
                tokens, *known = (tensor.to(device) for tensor in (batch[0], *batch[1]))
                return self._counter.count(model, tokens, *known)

            for counted in side_by_side(model, count, self._batches):
                counts.update(counted)
        scores = self._counter.shares(counts)
        return scores | self.decoded(self.sentences, self._answers(model)) if self.decoded else scores

    def _answers(self, model: CausalModel) -> list[list[str]]:
        """The words of the greedily decoded answers."""
        vocabulary = self.task.vocabulary
        sources = [[vocabulary.bos, *vocabulary.encode(s.source)] for s in self.sentences]
        guesses = [vocabulary.encode(s.target) for s in self.sentences]
        answers = greedy_decode(model, sources, guesses, vocabulary.eos, self.batch_tokens)
        return [[vocabulary.words[i] for i in answer] for answer in answers]


def _counter(task: Task, sentences: list[Sentence]) -> _Answers | _Choices | _Brackets:
    """What counts right answers for the task's scorer."""
    scorer = task.scorer
    if isinstance(scorer, Answers):
        return _Answers(scorer, task, sentences)
    return (
        _Choices(scorer, task, sentences)
        if isinstance(scorer, Choices)
        else _Brackets(scorer, task, sentences)
    )


class _Answers:
    """Counts right answers; the telling word is the one on which the rules differ."""

    def __init__(self, scorer: Answers, task: Task, sentences: list[Sentence]) -> None:
        self.pad = task.vocabulary.pad
        ids = task.vocabulary.ids
        self.sources = np.array([s.source.count(" ") + 1 for s in sentences])  # where its last word stands
        told = [scorer.contrast(s) for s in sentences]
        places = [0 if t is None else t.place for t in told]
        self.whole = np.array([t is None for t in told])  # right where the whole target is
        self.telling = self.sources + np.array(places)  # where the telling word is predicted
        rules = [("", "") if t is None else (t.hierarchical, t.linear) for t in told]
        self.rules = np.array([[ids.get(word, -1) for word in pair] for pair in rules])
        self.disagree = all(one != other for one, other in rules)
        self.ranked = {
            name: torch.tensor([ids[word] for word in words if word in ids], dtype=torch.int64)
            for name, words in scorer.ranked.items()
        }

    def prepare(self, rows: NDArray[np.int64], longest: int) -> list[Tensor]:
        """Of each sentence the source's end [B], the telling place [B], the rules' words [B, 2], if none tells [B]."""
        known = (self.sources, self.telling, self.rules, self.whole)
        return [torch.from_numpy(each[rows]) for each in known]

    def count(
        self,
        model: CausalModel,
        tokens: Tensor,
        source: Tensor,
        telling: Tensor,
        rules: Tensor,
        untold: Tensor,
    ) -> dict[str, int]:
        """Right answers in a batch of texts [B, L + 1]; logits are [B, L, V]."""
        logits, following = model(tokens[:, :-1]).logits, tokens[:, 1:]
        predicted = logits.argmax(-1)
        given = torch.arange(following.shape[1], device=following.device) < source[:, None]
        whole = ((predicted == following) | given | (following == self.pad)).all(1)
        chosen = predicted.gather(1, telling[:, None])  # [B, 1]
        truth = following.gather(1, telling[:, None])
        by_rule = chosen == rules  # [B, 2]
        counts = {
            "lines": len(chosen),
            "accuracy": int(torch.where(untold, whole, (chosen == truth)[:, 0]).sum()),
            "full_sentence": int(whole.sum()),
            "hierarchical": int(by_rule[:, 0].sum()),
            "linear": int(by_rule[:, 1].sum()),
            "neither": int((~by_rule.any(1)).sum()),
        }
        for name, words in self.ranked.items():
            among = words.to(logits.device)
            scores = logits[torch.arange(len(chosen), device=logits.device), telling]  # [B, V]
            best = among[scores[:, among].argmax(-1, keepdim=True)]
            counts[name] = int((best == truth).sum())
        return counts

    def shares(self, counts: Counter[str]) -> dict[str, float]:
        """Shares of all lines."""
        rules = ("hierarchical", "linear", "neither") if self.disagree else ()
        names = ("accuracy", *self.ranked, "full_sentence", *rules)
        return {name: counts[name] / counts["lines"] for name in names}


class _Choices:
    """Counts lines whose target is likelier than the alternative, after the same source."""

    def __init__(self, scorer: Choices, task: Task, sentences: list[Sentence]) -> None:
        self.pad = task.vocabulary.pad
        self.sources = np.array([s.source.count(" ") + 1 for s in sentences])
        others = [scorer.alternative(s) for s in sentences]
        self.untold = np.array([not other for other in others])
        texts = [f"{s.source} {other or s.target}" for s, other in zip(sentences, others, strict=True)]
        self.tokens, self.offsets = task.vocabulary.encode_all(texts)

    def prepare(self, rows: NDArray[np.int64], longest: int) -> list[Tensor]:
        """Of each sentence the source's end [B], the text with the alternative [B, L], if there is none [B]."""
        texts = [self.tokens[self.offsets[i] : self.offsets[i + 1]] for i in rows.tolist()]
        others = torch.full((len(texts), max(map(len, texts))), self.pad)
        for row, text in enumerate(texts):
            others[row, : len(text)] = torch.from_numpy(text)
        return [torch.from_numpy(self.sources[rows]), others, torch.from_numpy(self.untold[rows])]

    def count(
        self, model: CausalModel, tokens: Tensor, source: Tensor, others: Tensor, untold: Tensor
    ) -> dict[str, int]:
        """Right choices in a batch of texts [B, L]; two forward passes."""
        right, whole = self._likelihood(model, tokens, source)
        preferred = right > self._likelihood(model, others, source)[0]
        return {
            "lines": len(tokens),
            "accuracy": int(torch.where(untold, whole, preferred).sum()),
            "full_sentence": int(whole.sum()),
        }

    def _likelihood(self, model: CausalModel, tokens: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability [B] of what follows each source, and whether each word of it is the most likely [B]."""
        logits, following = model(tokens[:, :-1]).logits, tokens[:, 1:]
        given = torch.arange(following.shape[1], device=following.device) < source[:, None]
        left_out = given | (following == self.pad)
        words = logits.double().log_softmax(-1).gather(2, following[:, :, None])[:, :, 0]  # [B, L]
        whole = ((logits.argmax(-1) == following) | left_out).all(1)
        return words.masked_fill(left_out, 0.0).sum(1), whole

    def shares(self, counts: Counter[str]) -> dict[str, float]:
        """Shares of all lines."""
        return {name: counts[name] / counts["lines"] for name in ("accuracy", "full_sentence")}


class _Brackets:
    """Counts closing brackets of Dyck strings that are predicted right."""

    def __init__(self, scorer: Brackets, task: Task, sentences: list[Sentence]) -> None:
        self.far = scorer.distance
        known = [i for word, i in task.vocabulary.ids.items() if word.endswith(")")]
        self.closing = torch.tensor(known, dtype=torch.int64)
        self.distances = [closing_distances(s.source) for s in sentences]

    def prepare(self, rows: NDArray[np.int64], longest: int) -> list[Tensor]:
        """How far behind each following token its opening bracket stands [B, L]; 0 where it is no closing one."""
        distances = torch.zeros(len(rows), longest - 1, dtype=torch.int64)
        for row, i in enumerate(rows.tolist()):
            distances[row, : len(self.distances[i])] = torch.tensor(self.distances[i])
        return [distances]

    def count(self, model: CausalModel, tokens: Tensor, distance: Tensor) -> dict[str, int]:
        """Right brackets in a batch of texts [B, L + 1]; logits are [B, L, V]."""
        logits, following = model(tokens[:, :-1]).logits, tokens[:, 1:]
        closes = distance > 0
        scores, truth, far = logits[closes], following[closes], distance[closes] >= self.far
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


def _eligible(task: Task, split: str) -> list[int]:
    """Indices of the sentences that are scored."""
    sentences, scorer = task.splits[split], task.scorer
    if isinstance(scorer, Brackets):
        chosen = (max(closing_distances(s.source)) >= scorer.distance for s in sentences)
    else:
        chosen = map(scorer.eligible, sentences)
    return [i for i, scored in enumerate(chosen) if scored]
