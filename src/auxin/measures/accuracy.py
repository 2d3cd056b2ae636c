"""In-domain and generalization accuracy of a task, and the rule that a model's answers follow.

An ``Evaluator`` picks and encodes a split's sentences once and is then called on models: teacher-forced
numbers cost one forward pass over the sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from auxin.errors import DataError
from auxin.measures.tokenizers import check_vocabulary, evaluating, length_batches, side_by_side
from auxin.models.protocol import CausalModel
from auxin.tasks import Answers, Brackets, Choices, Sentence, Task, Vocabulary
from auxin.tasks.dyck import closing_distances
from auxin.tasks.sampling import random_sample
from auxin.values import check

Judge: TypeAlias = Callable[..., dict[str, Tensor]]
"""Of a model and a batch's tokens and facts: whether it is right, by name of the share, wherever it is asked."""
Facts: TypeAlias = list[Sequence[Any]]
"""What a judge needs to know, each a sequence of integers a sentence."""
Meaning: TypeAlias = tuple[str, float]
"""What is right where ``accuracy`` counts, in words, and the accuracy of a model that gives all words alike."""


class Evaluator:
    """Accuracies of a model on ``limit`` eligible sentences of a split, a fixed random sample (all of them for None).

    Called on a model it returns numbers in [0, 1]; ``accuracy`` is the one that grokking is judged by.

    What is right is the task's scorer's to say:

    - ``Answers`` (question: ``quest`` lines; tense: ``PRESENT`` lines): ``accuracy`` of the word on which the rules
      differ (the first of the question; the main verb), after the right words before it, over the whole vocabulary;
      ``full_sentence``, every word of the answer and its end (teacher-forced, which for a whole answer equals greedy
      decoding). Where the rules disagree on every line (gen): the shares ``hierarchical`` (main auxiliary; main verb
      agrees with its subject), ``linear`` (first auxiliary; agrees with the most recent noun), ``neither``. Shares of
      that word among a few, such as ``first_auxiliary`` of question (the released code's, of four auxiliaries).
    - ``Choices``: ``accuracy``, the target is likelier than the alternative; ``full_sentence``.
    - ``Brackets`` (dyck): ``accuracy`` on closing brackets ≥ 10 tokens after their opening ones, ranking closing
      brackets only; ``unrestricted``, the same ranking all tokens; ``closing``, on all closing brackets, ranking
      closing ones.

    ``meaning`` says in words what ``accuracy`` counts on this split, and its chance level.

    Definitions: McCoy, Frank, Linzen 2020; Yao et al. 2021; Murty et al. 2023. Raises ``DataError`` when the
    split has no eligible sentence, ``ConfigError`` when a model has another vocabulary.
    """

    def __init__(self, task: Task, split: str, *, limit: int | None = 1000, batch_tokens: int = 8192) -> None:
        check(limit is None or limit >= 1, "limit", limit, "1 or more sentences, or None for all")
        self.task = task
        scorer, known = task.scorer, task.splits[split]
        if isinstance(scorer, Brackets):
            eligible = lambda s: max(closing_distances(s.source)) >= scorer.distance
        else:
            eligible = scorer.eligible
        chosen = random_sample([i for i, sentence in enumerate(known) if eligible(sentence)], limit)
        if not chosen:
            raise DataError(f"{split} of {task.name} has no line to score; allowed: one or more")
        self.sentences = [known[i] for i in chosen]
        if isinstance(scorer, Answers):
            facts, self._judge, self.meaning = _answers(scorer, task.vocabulary, self.sentences)
        elif isinstance(scorer, Choices):
            facts, self._judge, self.meaning = _choices(scorer, task.vocabulary, self.sentences)
        else:
            facts, self._judge, self.meaning = _brackets(scorer, task.vocabulary, self.sentences)
        texts = [task.encoded(split)[i] for i in chosen]
        lengths = np.array([len(text) for text in texts])
        padded = lambda sequences: pad_sequence(list(map(torch.as_tensor, sequences)), batch_first=True)
        self._batches = [
            [
                padded([column[i] for i in rows.tolist()]) for column in (texts, *facts)
            ]  # with 0, the id of <pad>
            for _, rows in length_batches(lengths, batch_tokens, slack=0.1)
        ]

    def __call__(self, model: CausalModel) -> dict[str, float]:
        """The model's accuracies; dropout is off meanwhile. One forward pass over the sentences."""
        check_vocabulary(model, self.task.vocabulary)
        hits, asked = Counter[str](), Counter[str]()
        with evaluating(model) as device:

            def judge(batch: list[Tensor]) -> dict[str, tuple[int, int]]:
                right = self._judge(model, *(tensor.to(device) for tensor in batch))
                return {name: (int(found.sum()), found.numel()) for name, found in right.items()}

            for right in side_by_side(model, judge, self._batches):
                for name, (hit, count) in right.items():
                    hits[name] += hit
                    asked[name] += count
        return {name: hits[name] / asked[name] for name in hits}


def _source_length(sentence: Sentence) -> int:
    """Where its last word stands, counted from <bos>."""
    return sentence.source.count(" ") + 1


def _given(following: Tensor, source: Tensor) -> Tensor:
    """Which of the following tokens [B, L] are of the source, or padding."""
    within = torch.arange(following.shape[1], device=following.device) < source[:, None]
    return within | (following == Vocabulary.pad)


def _answers(
    scorer: Answers, vocabulary: Vocabulary, sentences: list[Sentence]
) -> tuple[Facts, Judge, Meaning]:
    contrasts = [scorer.contrast(s) for s in sentences]
    ids = vocabulary.ids
    facts: list[list[int]] = []
    for sentence, contrast in zip(sentences, contrasts, strict=True):
        place, *words = contrast or (0, "", "")
        source = _source_length(sentence)
        facts.append([source, source + place, contrast is None, *(ids.get(word, -1) for word in words)])
    disagree = all(contrast and contrast.hierarchical != contrast.linear for contrast in contrasts)
    ranked = {
        name: torch.tensor([ids[word] for word in words if word in ids], dtype=torch.int64)
        for name, words in scorer.ranked.items()
    }

    def judge(model: CausalModel, tokens: Tensor, facts: Tensor) -> dict[str, Tensor]:
        """By name, which of the sentences [B, L] are right."""
        source, place, without_contrast = facts[:, 0], facts[:, 1], facts[:, 2].bool()
        logits, following = model(tokens[:, :-1]).logits, tokens[:, 1:]  # [B, L, V], [B, L]
        whole = ((logits.argmax(-1) == following) | _given(following, source)).all(1)
        rows = torch.arange(len(tokens), device=tokens.device)
        scores, truth = logits[rows, place], following[rows, place]  # [B, V], [B]
        chosen = scores.argmax(-1)
        right = {"accuracy": torch.where(without_contrast, whole, chosen == truth)}
        for name, words in ranked.items():
            among = words.to(logits.device)
            right[name] = among[scores[:, among].argmax(-1)] == truth
        right["full_sentence"] = whole
        if disagree:
            by_rule = chosen[:, None] == facts[:, 3:]  # [B, 2]
            right |= {"hierarchical": by_rule[:, 0], "linear": by_rule[:, 1], "neither": ~by_rule.any(1)}
        return right

    words = sum(contrast is not None for contrast in contrasts) / len(contrasts)
    what = "word where the rules differ" if words else "whole answer"
    return [facts], judge, (what + ", or whole answer" * (0 < words < 1), words / len(vocabulary))


def _choices(
    scorer: Choices, vocabulary: Vocabulary, sentences: list[Sentence]
) -> tuple[Facts, Judge, Meaning]:
    others = [scorer.alternative(s) for s in sentences]
    facts = [[_source_length(s), not other] for s, other in zip(sentences, others, strict=True)]
    texts = [f"{s.source} {other or s.target}" for s, other in zip(sentences, others, strict=True)]

    def likelihood(model: CausalModel, tokens: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability [B] of what follows each source, and whether each word of it is the most likely [B]."""
        logits, following = model(tokens[:, :-1]).logits, tokens[:, 1:]
        given = _given(following, source)
        words = logits.double().log_softmax(-1).gather(2, following[:, :, None])[:, :, 0]  # [B, L]
        whole = ((logits.argmax(-1) == following) | given).all(1)
        return words.masked_fill(given, 0.0).sum(1), whole

    def judge(model: CausalModel, tokens: Tensor, facts: Tensor, others: Tensor) -> dict[str, Tensor]:
        right, whole = likelihood(model, tokens, facts[:, 0])
        preferred = right > likelihood(model, others, facts[:, 0])[0]
        return {"accuracy": torch.where(facts[:, 1].bool(), whole, preferred), "full_sentence": whole}

    pairs = sum(map(bool, others)) / len(others)
    what = "right answer likelier than the other" if pairs else "whole answer"
    return [facts, vocabulary.encode_all(texts)], judge, (what, pairs / 2)


def _brackets(
    scorer: Brackets, vocabulary: Vocabulary, sentences: list[Sentence]
) -> tuple[Facts, Judge, Meaning]:
    known = torch.tensor([i for word, i in vocabulary.ids.items() if word.endswith(")")], dtype=torch.int64)
    distances = [[*closing_distances(s.source), 0] for s in sentences]  # of each following token

    def judge(model: CausalModel, tokens: Tensor, distance: Tensor) -> dict[str, Tensor]:
        logits, following = model(tokens[:, :-1]).logits, tokens[:, 1:]
        closes = distance > 0
        scores, truth, far = logits[closes], following[closes], distance[closes] >= scorer.distance
        closing = known.to(logits.device)
        ranked = closing[scores[:, closing].argmax(-1)] == truth
        return {"accuracy": ranked[far], "unrestricted": (scores.argmax(-1) == truth)[far], "closing": ranked}

    what = f"closing bracket, {scorer.distance} tokens or more after its opening one"
    return [distances], judge, (what, 1 / max(1, len(known)))
