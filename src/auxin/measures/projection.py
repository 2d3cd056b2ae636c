"""Tree projections: how tree-like a causal language model's computation is, and which trees it computes.

After Murty, Sharma, Andreas & Manning, "Characterizing Intrinsic Compositionality in Transformers with Tree
Projections" (ICLR 2023) and "Grokking of Hierarchical Structure in Vanilla Transformers" (ACL 2023, §4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auxin.display import Displayed, Drawn
from auxin.errors import ConfigError, DataError
from auxin.measures.tokenizers import Tokenizer, evaluating, length_batches, side_by_side, tokenize
from auxin.models.protocol import CausalModel
from auxin.tasks.trees import Tree
from auxin.values import check

Metric = Literal["cosine", "euclidean"]
Splits = dict[tuple[int, int], int]
"""(i, j) → k: the node over words i..j has the children i..k and k+1..j; parents stand before children."""
States = Callable[[np.ndarray, np.ndarray], Tensor]
"""Of tokens and positions [B, L] of words: their states [B, L, d] in sequences that <bos> starts."""

SLACK = 1 / 16
"""Suffixes of a long string differ by so little at most when they share a batch; none does below 16 tokens."""


class NonFiniteStates(DataError):
    """A diverged model: its states are NaN or infinite, so there is no chart."""


@dataclass(frozen=True, eq=False)
class Projection(Displayed, Drawn):
    """A sentence of n words, its chart, and the trees that follow from it; ``plot`` draws the chart as a heat map."""

    words: tuple[str, ...]
    chart: np.ndarray
    """[n, n]; chart[i, j], i ≤ j: how little the words outside i..j change the span's vector; NaN below."""

    @cached_property
    def _wide(self) -> np.ndarray:
        return self.chart.astype(np.float64)

    @cached_property
    def _greedy(self) -> Splits:
        return _splits(len(self.words), lambda i, j: int(_values(self._wide, i, j).argmax()))

    @cached_property
    def _optimal(self) -> tuple[Splits, float]:
        """By CKY, in O(n³)."""
        n = len(self.words)
        inside = self._wide.copy()  # of [i, j] as a child: chart(i, j) + the best sum inside it
        choice, score = np.zeros((n, n), dtype=np.int64), 0.0
        for length in range(1, n):
            for i in range(n - length):
                values = _values(inside, i, i + length)
                choice[i, i + length] = values.argmax()
                score = float(values.max())  # the last one is the whole sentence's
                inside[i, i + length] += score
        return _splits(n, lambda i, j: int(choice[i, j])), score

    @cached_property
    def tree(self) -> Tree:
        """Top-down greedy tree: [i, j] is split at the k that maximizes chart(i, k) + chart(k+1, j)."""
        return _tree(self.words, self._greedy)

    @property
    def spans(self) -> frozenset[tuple[int, int]]:
        """First and last word of every span of the greedy tree, of two words or more."""
        return frozenset(self._greedy)

    @property
    def greedy_score(self) -> float:
        """Σ over the greedy tree's nodes of chart(i, k) + chart(k+1, j)."""
        return float(sum(_values(self._wide, i, j).max() for i, j in self._greedy))

    @property
    def tree_score(self) -> float:
        """Σ over the greedy tree's nodes of the best split's value minus the mean over that node's splits.

        The released code subtracts one randomly drawn split instead of the mean: same expectation, more noise.
        """
        values = (_values(self._wide, i, j) for i, j in self._greedy)
        return float(sum(v.max() - v.mean() for v in values))

    @cached_property
    def optimal_tree(self) -> Tree:
        """The tree that maximizes what ``greedy_score`` sums, found by CKY in O(n³)."""
        return _tree(self.words, self._optimal[0])

    @property
    def optimal_score(self) -> float:
        """Σ over the optimal tree's nodes of chart(i, k) + chart(k+1, j); at least ``greedy_score``."""
        return self._optimal[1]


def _values(chart: np.ndarray, i: int, j: int) -> np.ndarray:
    """Of the splits of i..j after each word but the last."""
    return chart[i, i:j] + chart[i + 1 : j + 1, j]


def _splits(n: int, first: Callable[[int, int], int]) -> Splits:
    """The splits of n words from the top down; ``first`` of a span is how many words follow the left child's first."""
    splits: Splits = {}
    spans = [(0, n - 1)]
    while spans:
        i, j = spans.pop()
        if i < j:
            k = splits[i, j] = i + first(i, j)
            spans += [(k + 1, j), (i, k)]
    return splits


def _tree(words: tuple[str, ...], splits: Splits) -> Tree:
    trees: dict[tuple[int, int], Tree] = {(i, i): word for i, word in enumerate(words)}
    for (i, j), k in reversed(splits.items()):
        trees[i, j] = (trees[i, k], trees[k + 1, j])
    return trees[0, len(words) - 1]


def tree_projections(
    model: CausalModel | nn.Module,
    sentences: Sequence[str | Sequence[str]],
    vocabulary: Tokenizer | Any,
    *,
    layer: int = -1,
    metric: Metric = "cosine",
    max_tokens: int = 4096,
    done: Callable[[int], None] = lambda count: None,
) -> list[Projection]:
    """Charts and trees of sentences under a causal language model.

    With h_k a word's state at ``layer`` in full context (a word of several tokens: the sum of theirs) and
    h'_k the same when attention is restricted to <bos> and words i..j, positions unchanged::

        chart(i, j) = cos(Σ_{k=i..j} h_k, Σ_{k=i..j} h'_k)      or −‖Σ h_k − Σ h'_k‖ (metric "euclidean")

    Causality makes h'_k independent of j, so one pass over <bos> and the suffix i..n−1 gives every span that
    starts at i: n passes of n²/2 tokens in all instead of n²/2 passes of n³/2. Suffixes of one
    length (long ones: of almost one, see ``SLACK``) share a pass, over sentences, so that next to nothing is
    padding.

    Args:
        model: a causal language model, ours or one of transformers, or a ``CausalModel``. Put in evaluation mode
            meanwhile. States of other models are those of the residual stream, read by hooks.
        sentences: each a string of words with spaces between, or the words.
        vocabulary: its ``encode`` gives the tokens of a word, its ``bos`` what every sequence starts with; or a
            tokenizer of transformers.
        layer: 0 is the embedding, −1 the last layer.
        metric: similarity of the two span vectors; greater is more alike in both.
        max_tokens: tokens in one forward pass (a longer sentence passes alone); with it, and the charts
            themselves, goes the memory.
        done: called with how many more sentences are done, the longest first.

    Raises:
        DataError: a sentence of fewer than two words (a single word has no tree), an unknown word, or states
            that are not finite (``NonFiniteStates``).
        ConfigError: a model that is not causal or too short for a sentence; an unknown layer or metric.

    >>> import torch
    >>> words = Vocabulary(["newts", "read", "well"])
    >>> config = ModelConfig(depth=1, width=8, heads=2, vocabulary_size=len(words))
    >>> model = TransformerLM(config, torch.Generator().manual_seed(0))
    >>> (p,) = tree_projections(model, ["newts read well"], words)
    >>> p.chart.shape
    (3, 3)
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> config = GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=20)
    >>> tree_projections(GPT2LMHeadModel(config), ["newts read well"], words)[0].words
    ('newts', 'read', 'well')
    """
    check(metric in get_args(Metric), "metric", metric, ", ".join(get_args(Metric)))
    check(max_tokens >= 1, "max_tokens", max_tokens, "1 or more")
    causal, words, tokens, bos = tokenize(model, sentences, vocabulary, least=2)
    found: dict[int, Projection] = {}
    for chunk in _chunks([sum(map(len, sentence)) for sentence in tokens], 8 * max_tokens):
        with evaluating(causal) as device:
            states = _states(causal, bos, layer, device)
            if not found:
                check_causal(causal, [token for word in tokens[chunk[0]] for token in word], bos, device)
            charts = _charts(causal, states, [tokens[s] for s in chunk], metric, max_tokens)
        for s, chart in zip(chunk, charts, strict=True):
            if not np.isfinite(chart[np.triu_indices(len(chart))]).all():
                sentence = " ".join(words[s])
                raise NonFiniteStates(f"sentence {sentence!r:.80}: the model's states are not finite")
            found[s] = Projection(words[s], chart)
        done(len(chunk))
    return [found[s] for s in range(len(found))]


def _chunks(lengths: list[int], max_tokens: int) -> Iterator[list[int]]:
    """Sentences of similar length together, the longest first, at most ``max_tokens`` or one in a chunk."""
    chunk: list[int] = []
    for s in sorted(range(len(lengths)), key=lambda s: -lengths[s]):
        if chunk and sum(lengths[i] for i in chunk) + lengths[s] > max_tokens:
            yield chunk
            chunk = []
        chunk.append(s)
    if chunk:
        yield chunk


def _states(model: CausalModel, bos: int, layer: int, device: torch.device) -> States:
    def states(tokens: np.ndarray, positions: np.ndarray) -> Tensor:
        ids = torch.from_numpy(np.pad(tokens, ((0, 0), (1, 0)), constant_values=bos)).to(device)
        places = torch.from_numpy(np.pad(positions, ((0, 0), (1, 0)))).to(device)
        found = model(ids, positions=places, states=True).states
        check(-len(found) <= layer < len(found), "layer", layer, f"{-len(found)} to {len(found) - 1}")
        return found[layer][:, 1:].float()

    return states


def check_causal(model: CausalModel, tokens: list[int], bos: int, device: torch.device) -> None:
    """Refuse a model in which the last token changes the states before it."""
    states = _states(model, bos, -1, device)
    changed = [*tokens[:-1], bos if tokens[-1] != bos else tokens[0]]
    positions = np.arange(1, len(tokens) + 1)
    before, after = states(np.array([tokens, changed]), np.stack([positions, positions]))[:, :-1]
    moved = (after - before).abs().max()
    if moved > 1e-4 * before.abs().max():
        raise ConfigError(
            f"the model is not causal: another last token moves earlier states by {float(moved):.2g}; "
            "allowed: models in which a token sees only those before it"
        )


def _charts(
    model: CausalModel, states_of: States, sentences: list[list[list[int]]], metric: Metric, max_tokens: int
) -> list[np.ndarray]:
    """Charts of a chunk of sentences; everything is addressed in one flat row of the chunk's tokens."""
    flat = np.array([t for sentence in sentences for word in sentence for t in word], dtype=np.int64)
    counts = np.array([sum(map(len, sentence)) for sentence in sentences])
    begins = np.concatenate([[0], np.cumsum(counts)[:-1]])
    positions = np.arange(1, len(flat) + 1) - np.repeat(begins, counts)

    def run(at: np.ndarray) -> Tensor:
        return states_of(flat[at], positions[at])

    states = torch.empty(0)
    whole = [begins[rows, None] + np.arange(length) for length, rows in length_batches(counts, max_tokens)]
    for at, full in zip(whole, side_by_side(model, run, whole), strict=True):
        states = full.new_empty(len(flat), full.shape[-1]) if not len(states) else states
        states[torch.from_numpy(at).to(states.device)] = full

    charts = [np.full((len(s), len(s)), np.nan, dtype=np.float32) for s in sentences]
    ends = [np.cumsum([len(word) for word in sentence]) for sentence in sentences]
    for chart in charts:
        chart[0] = 1.0 if metric == "cosine" else 0.0  # a span that starts the sentence has its full context
    suffixes = [(s, i, int(ends[s][i - 1])) for s in range(len(sentences)) for i in range(1, len(ends[s]))]
    starts = np.array([begins[s] + first for s, _, first in suffixes])
    lengths = np.array([counts[s] - first for s, _, first in suffixes])

    def compare(batch: tuple[int, np.ndarray]) -> np.ndarray:
        """[B, L]: the spans that start with each suffix of the batch."""
        # a shorter suffix runs on into whatever follows it, which causality keeps from its own states
        at = np.minimum(starts[batch[1], None] + np.arange(batch[0]), len(flat) - 1)
        restricted = run(at)
        full = states[torch.from_numpy(at).to(states.device)]
        return _similarity(full.cumsum(1), restricted.cumsum(1), metric).cpu().numpy()

    batches = list(length_batches(lengths, max_tokens, SLACK))
    for (_, rows), similarity in zip(batches, side_by_side(model, compare, batches), strict=True):
        for row, suffix in zip(similarity, rows, strict=True):
            s, i, first = suffixes[suffix]
            charts[s][i, i:] = row[ends[s][i:] - first - 1]
    return charts


def _similarity(full: Tensor, restricted: Tensor, metric: Metric) -> Tensor:
    """[B, L, d] twice → [B, L]."""
    if metric == "cosine":
        return F.cosine_similarity(full, restricted, dim=-1)
    return -torch.linalg.vector_norm(full - restricted, dim=-1)
