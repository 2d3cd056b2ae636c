import math

import pytest
import torch
from torch import nn

from auxin.config import ModelConfig
from auxin.errors import ConfigError, DataError
from auxin.measures.projection import tree_projections
from auxin.measures.structure import measured_sentences, parseval_baselines, structure
from auxin.models.transformer import TransformerLM
from auxin.tasks import Sentence, Task, load_task
from auxin.tasks.dyck import TOKENS
from auxin.tasks.english import language
from auxin.tasks.trees import parseval
from auxin.tasks.vocabulary import Vocabulary

LINES = [
    "the newt does read . quest\tdoes the newt read ?",
    "the newt does read . decl\tthe newt does read .",
    "the newt who does sleep does read . decl\tthe newt who does sleep does read .",
    "the newts do admire my yak who does sleep . quest\tdo the newts admire my yak who does sleep ?",
    "her yak near the newts doesn't read . quest\tdoesn't her yak near the newts read ?",
]
VOCABULARY = Vocabulary(language("question").words)


@pytest.fixture
def task(tmp_path) -> Task:
    (tmp_path / "question.train").write_text("\n".join(LINES) + "\n")
    return load_task("question", data_dir=tmp_path)


def of(task: Task, sentences: list[Sentence]) -> Task:
    """The task with other training sentences."""
    return Task(task.name, {"train": sentences}, VOCABULARY, task.scorer, measured=task.measured)


def small_model(vocabulary: Vocabulary = VOCABULARY) -> TransformerLM:
    config = ModelConfig(depth=2, width=16, heads=2, vocabulary_size=len(vocabulary))
    return TransformerLM(config, torch.Generator().manual_seed(0)).eval()


def test_copied_and_repeated_sources_are_not_measured(task: Task) -> None:
    train = task.splits["train"]
    chosen = measured_sentences(of(task, [*train, train[0]]), 10)
    assert chosen == [train[0], train[3], train[4]]
    assert measured_sentences(task, 2) == [train[0], train[3]]
    with pytest.raises(DataError, match="no training sentence can be measured"):
        measured_sentences(of(task, train[1:3]), 10)
    with pytest.raises(ConfigError, match="sentences is 0"):
        measured_sentences(task, 0)


def test_every_measure_by_its_name(task: Task) -> None:
    model = small_model()
    sentences = measured_sentences(task, 10)
    seen: list[int] = []
    values = structure(model, sentences, VOCABULARY, progress=seen.append)
    projections = tree_projections(model, [s.words for s in sentences], VOCABULARY)
    assert values["t_score"] == pytest.approx(sum(p.tree_score for p in projections) / 3)
    gold = [s.gold for s in sentences]
    assert values["t_parseval"] == parseval([p.tree for p in projections], gold).f1
    assert (
        values["t_parseval/right"]
        == parseval_baselines([s.words for s in sentences], gold)["t_parseval/right"]
    )
    assert sum(seen) == values["projection_sentences"] == values["entropy_sentences"] == 3
    assert -math.log(11) < values["attention_sparsity"] < 0
    parts = [structure(model, sentences, VOCABULARY, [name]) for name in ("norms", "entropy", "projection")]
    assert parts[0] | parts[1] | parts[2] == values
    assert sum(map(len, parts)) == len(values)


def test_baselines_of_known_trees() -> None:
    words = ["a", "b", "c", "d"]
    right = ("a", ("b", ("c", "d")))
    scores = parseval_baselines([words], [right])
    assert scores["t_parseval/right"] == 1
    assert scores["t_parseval/left"] == pytest.approx(1 / 3)
    assert scores["t_parseval/balanced"] == pytest.approx(2 / 3)
    assert scores["t_parseval/random"] == parseval_baselines([words], [right], seed=0)["t_parseval/random"]


def test_dyck_strings_are_measured_against_their_brackets() -> None:
    vocabulary = Vocabulary(TOKENS)
    strings = [Sentence("(a (b b) a) (c c)", ""), Sentence("(a a) (b (c c) (a a) b)", "")]
    values = structure(small_model(vocabulary), strings, vocabulary)
    assert 0 < values["t_parseval"] <= 1
    assert values["projection_sentences"] == 2


def test_a_diverged_model_has_no_numbers_and_stops_nothing(task: Task) -> None:
    model = small_model()
    nn.init.constant_(model.layers[0].mlp.up.weight, float("nan"))
    values = structure(model, measured_sentences(task, 10), VOCABULARY)
    for name in ("t_score", "t_parseval", "weight_norm", "attention_sparsity"):
        assert math.isnan(values[name])
    assert values["t_parseval/right"] > 0


def test_unknown_measure_is_refused(task: Task) -> None:
    with pytest.raises(
        ConfigError, match=r"measures is .'norm',.; allowed: norms, entropy, projection, signals"
    ):
        structure(small_model(), task.splits["train"], VOCABULARY, ["norm"])
