"""The structural measures of a model on a task's sentences, as the numbers that a run's metrics hold."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from statistics import fmean

from auxin.errors import DataError
from auxin.measures.entropy import attention_entropy, attention_sparsity
from auxin.measures.norms import weight_norms
from auxin.measures.projection import NonFiniteStates, Projection, projections
from auxin.measures.signals import signals
from auxin.models.transformer import TransformerLM
from auxin.tasks import Sentence, Task, Vocabulary
from auxin.tasks.sampling import random_sample
from auxin.tasks.trees import Tree, balanced, left_branching, parseval, random_tree, right_branching
from auxin.values import check

MEASURES = ("norms", "entropy", "projection")
KNOWN = (*MEASURES, "signals")


def measured_sentences(task: Task, count: int) -> list[Sentence]:
    """``count`` training sentences that the task has measured, a fixed random sample, each sequence of words once.

    Question sources that are only to be copied (``decl``) are left out, as in the published measurements.
    Raises ``DataError`` when there is none of two words or more.
    """
    check(count >= 1, "sentences", count, "1 or more")
    known: dict[tuple[str, ...], Sentence] = {}
    for sentence in task.splits["train"]:
        if task.measured(sentence) and len(sentence.words) > 1:
            known.setdefault(tuple(sentence.words), sentence)
    if not known:
        raise DataError("no training sentence can be measured; allowed: two words or more, not only copied")
    return random_sample(list(known.values()), count)


def structure(
    model: TransformerLM,
    sentences: Sequence[Sentence],
    vocabulary: Vocabulary,
    measures: Sequence[str] = MEASURES,
    progress: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """The structural measures of one model by the names that they have in a run's metrics.

    - norms: ``weight_norm``, and ``weight_norm/<group>``.
    - entropy: ``attention_sparsity`` over the sentences' words, and ``attention_sparsity/<layer>/<head>``.
    - projection: ``t_score``, the mean tree score; ``t_parseval``, pooled unlabeled F1 of the greedy trees
      against gold (Murty et al. 2023, §4); ``parseval_baselines``, on the same sentences.
    - signals: ``angle_total``, ``gradient_total`` and ``near_unit_mass`` on random tokens (``auxin.measures.signals``).

    ``<measure>_sentences`` says how many sentences the last two saw. A diverged model's numbers are NaN.
    Raises ``ConfigError`` for an unknown measure, and what each of them raises.
    """
    check(set(measures) <= set(KNOWN), "measures", tuple(measures), ", ".join(KNOWN))
    values: dict[str, float] = {}
    if "norms" in measures:
        values |= weight_norms(model, model.config.depth)
    if "signals" in measures:
        values |= signals(model)
    if "entropy" in measures:
        values |= attention_sparsity(attention_entropy(model, [s.words for s in sentences], vocabulary))
        values["entropy_sentences"] = len(sentences)
    if "projection" in measures:
        words = [sentence.words for sentence in sentences]
        gold = {number: sentence.gold for number, sentence in enumerate(sentences) if sentence.has_gold}
        values |= {"t_score": math.nan} | ({"t_parseval": math.nan} if gold else {})
        with contextlib.suppress(NonFiniteStates):
            found: dict[int, Projection] = {}
            for number, projection in projections(model, words, vocabulary):
                found[number] = projection
                if progress:
                    progress(1)
            values["t_score"] = fmean(projection.tree_score for projection in found.values())
            if gold:
                values["t_parseval"] = parseval([found[i].tree for i in gold], list(gold.values())).f1
        if gold:
            values |= parseval_baselines([words[number] for number in gold], list(gold.values()))
        values["projection_sentences"] = len(sentences)
    return values


def parseval_baselines(
    words: Sequence[Sequence[str]], gold: Sequence[Tree], seed: int = 0
) -> dict[str, float]:
    """Pooled F1 against gold of trees that know nothing of the model, to compare ``t_parseval`` with.

    ``t_parseval/right``, ``/left``, ``/balanced`` and ``/random`` (sentence i's tree drawn from ``seed`` + i).
    """
    trees: dict[str, list[Tree]] = {
        "right": [right_branching(sentence) for sentence in words],
        "left": [left_branching(sentence) for sentence in words],
        "balanced": [balanced(sentence) for sentence in words],
        "random": [random_tree(sentence, seed + i) for i, sentence in enumerate(words)],
    }
    return {f"t_parseval/{name}": parseval(built, gold).f1 for name, built in trees.items()}
