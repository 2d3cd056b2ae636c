from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor, nn

from auxin.config import ModelConfig
from auxin.errors import ConfigError, DataError
from auxin.measures.projection import NonFiniteStates, Projection, tree_projections
from auxin.models.protocol import Output
from auxin.models.transformer import TransformerLM
from auxin.tasks.trees import Tree, brackets, leaves
from auxin.tasks.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["the", "newt", "newts", "who", "do", "does", "read", "sleep"])
SENTENCES = ["the newt does read", "the newts who sleep do read", "newts sleep", "the newts sleep"]


def small_model(**options: object) -> TransformerLM:
    config = ModelConfig(depth=2, width=16, heads=2, vocabulary_size=len(VOCABULARY), **options)
    return TransformerLM(config, torch.Generator().manual_seed(0)).eval()


class Recorder(nn.Module):
    """A model that notes the shape of every pass through it."""

    def __init__(self, model: TransformerLM) -> None:
        super().__init__()
        self.model = model
        self.shapes: list[torch.Size] = []

    def forward(self, tokens: Tensor, **options: object) -> Output:
        self.shapes.append(tokens.shape)
        return self.model(tokens, **options)


class SeesAhead(nn.Module):
    """A model whose states hold the mean over all tokens, later ones too."""

    def forward(self, tokens: Tensor, **_: object) -> Output:
        x = nn.functional.one_hot(tokens, len(VOCABULARY)).float()
        return Output(x, states=(x + x.mean(1, keepdim=True),))


charts = st.integers(2, 7).flatmap(
    lambda n: arrays.arrays(np.float32, (n, n), elements=st.floats(-1, 1, width=16))
)


def projection(chart: np.ndarray) -> Projection:
    return Projection(tuple(f"w{i}" for i in range(len(chart))), chart)


def all_trees(i: int, j: int) -> Iterator[frozenset[tuple[int, int]]]:
    """The span sets of all binary trees over i..j, leaves included."""
    if i == j:
        yield frozenset({(i, j)})
    for k in range(i, j):
        for left in all_trees(i, k):
            for right in all_trees(k + 1, j):
                yield left | right | {(i, j)}


@settings(deadline=None)
@given(charts)
def test_optimal_tree_is_the_best_of_all(chart: np.ndarray) -> None:
    p = projection(chart)
    n = len(chart)
    wide = chart.astype(np.float64)
    best = max(sum(wide[span] for span in tree) - wide[0, n - 1] for tree in all_trees(0, n - 1))
    assert p.optimal_score == pytest.approx(best)
    assert p.greedy_score <= p.optimal_score + 1e-9
    spans = brackets(p.optimal_tree) | {(i, i) for i in range(n)}
    assert sum(wide[span] for span in spans) - wide[0, n - 1] == pytest.approx(best)


@settings(deadline=None)
@given(charts)
def test_greedy_tree_follows_the_definition(chart: np.ndarray) -> None:
    chart = chart.astype(np.float64)

    def split(i: int, j: int) -> tuple[Tree, float, float]:
        if i == j:
            return f"w{i}", 0.0, 0.0
        values = [chart[i, k] + chart[k + 1, j] for k in range(i, j)]
        k = i + values.index(max(values))
        left, right = split(i, k), split(k + 1, j)
        mean = sum(values) / len(values)
        return (left[0], right[0]), left[1] + right[1] + max(values), left[2] + right[2] + max(values) - mean

    p = projection(chart)
    tree, score, above_mean = split(0, len(chart) - 1)
    assert p.tree == tree
    assert leaves(p.tree) == list(p.words)
    assert p.greedy_score == pytest.approx(score)
    assert p.tree_score == pytest.approx(above_mean)
    assert p.tree_score >= -1e-9


def test_ties_go_to_the_first_split() -> None:
    p = projection(np.ones((4, 4)))
    assert p.tree == ("w0", ("w1", ("w2", "w3")))
    assert p.tree_score == 0


def test_hundreds_of_words_need_no_recursion() -> None:
    p = projection(np.ones((600, 600)))
    assert leaves(p.tree) == list(p.words)
    assert p.greedy_score == 2 * 599


def test_first_row_has_its_full_context() -> None:
    for metric, full in (("cosine", 1.0), ("euclidean", 0.0)):
        for p in tree_projections(small_model(), SENTENCES, VOCABULARY, metric=metric):
            assert (p.chart[0] == full).all()
            assert np.isnan(p.chart[np.tril_indices(len(p.words), -1)]).all()
            assert (p.chart[np.triu_indices(len(p.words))] <= full + 1e-6).all()


def test_batches_hold_no_padding_and_no_more_than_allowed() -> None:
    recorder = Recorder(small_model())
    expected = tree_projections(recorder.model, SENTENCES, VOCABULARY)
    found = tree_projections(recorder, SENTENCES, VOCABULARY, max_tokens=10)
    for a, b in zip(expected, found, strict=True):
        assert a.words == b.words
        np.testing.assert_allclose(a.chart, b.chart, atol=1e-6)
    causality, *passes = recorder.shapes
    assert causality[0] == 2
    lengths = [len(p.words) for p in expected]
    assert sum(b * l for b, l in passes) == sum((n * n + 3 * n) // 2 for n in lengths)
    assert all(b * (l - 1) <= 10 or b == 1 for b, l in passes)


def test_suffixes_of_a_long_string_share_passes_at_little_waste() -> None:
    recorder = Recorder(small_model())
    n = 160
    tree_projections(recorder, [["newt", "read"] * (n // 2), SENTENCES[0]], VOCABULARY)
    tokens = sum(b * (l - 1) for b, l in recorder.shapes[1:])
    assert tokens < (n * n + n) / 2 * (1 + 1 / 16)
    assert len(recorder.shapes) < n / 2


def test_words_apart_or_in_a_string_and_training_mode_kept() -> None:
    model = small_model(dropout=0.5).train()
    a, b = tree_projections(model, [SENTENCES[0], SENTENCES[0].split()], VOCABULARY)
    np.testing.assert_array_equal(a.chart, b.chart)
    assert model.training
    assert tree_projections(model, [], VOCABULARY) == []


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        (["the newt", ""], "sentence 1 is ''; allowed: two words or more"),
        (["sleep"], "sentence 0 is 'sleep'; allowed: two words or more"),
        (["the newt", "the zebra"], "'zebra' is not in the vocabulary"),
        ([["the", ""]], "word '' has no tokens"),
    ],
)
def test_bad_sentences_are_named(sentences: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        tree_projections(small_model(), sentences, VOCABULARY)


def test_bad_models_and_options_are_named() -> None:
    with pytest.raises(ConfigError, match="not causal"):
        tree_projections(SeesAhead(), SENTENCES, VOCABULARY)
    with pytest.raises(ConfigError, match="layer is 3; allowed: -3 to 2"):
        tree_projections(small_model(), SENTENCES, VOCABULARY, layer=3)
    with pytest.raises(ConfigError, match="metric is 'dot'"):
        tree_projections(small_model(), SENTENCES, VOCABULARY, metric="dot")
    with pytest.raises(ConfigError, match="sequence of 7 tokens; allowed: up to max_length = 6"):
        tree_projections(small_model(max_length=6), SENTENCES, VOCABULARY)
    with pytest.raises(ConfigError, match="vocabulary has 5 tokens; allowed: the model's 11"):
        tree_projections(small_model(), ["a b"], Vocabulary(["a", "b"]))
    broken = small_model()
    nn.init.constant_(broken.layers[1].mlp_norm.bias, float("nan"))
    with pytest.raises(
        NonFiniteStates, match="'the newts who sleep do read': the model's states are not finite"
    ):
        tree_projections(broken, SENTENCES, VOCABULARY)
