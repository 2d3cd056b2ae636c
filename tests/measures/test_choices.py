"""The language-modelling view: which of two continuations is likelier."""

import pytest
import torch

from auxin.config import ModelConfig
from auxin.errors import ConfigError
from auxin.measures.accuracy import Evaluator
from auxin.models.transformer import TransformerLM
from auxin.tasks import english, load_task


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(english, "SIZES", {"train": 60, "val": 20, "test": 20, "gen": 20})


def transformer(task):
    config = ModelConfig(depth=2, width=16, heads=2, vocabulary_size=len(task.vocabulary))
    return TransformerLM(config, torch.Generator().manual_seed(3)).eval()


def log_probability(model, task, source, target):
    """Word by word, every prefix alone."""
    ids = [
        task.vocabulary.bos,
        *task.vocabulary.encode(source),
        *task.vocabulary.encode(target),
        task.vocabulary.eos,
    ]
    total = 0.0
    for place in range(len(source.split()) + 1, len(ids)):
        with torch.no_grad():
            logits = model(torch.tensor([ids[:place]])).logits[0, -1]
        total += float(logits.double().log_softmax(-1)[ids[place]])
    return total


@pytest.mark.parametrize("name", ["agreement", "question", "tense", "passivization"])
def test_the_likelier_continuation_counts(name):
    task = load_task(name, train_size=60).with_choices()
    model, scorer = transformer(task), task.scorer
    lines = task.splits["gen"]
    right = [
        log_probability(model, task, s.source, s.target)
        > log_probability(model, task, s.source, scorer.alternative(s))
        for s in lines
    ]
    assert Evaluator(task, "gen")(model)["accuracy"] == pytest.approx(sum(right) / len(right))
    assert all(scorer.alternative(s) != s.target for s in lines)


def test_lines_without_an_alternative_are_right_as_a_whole():
    task = load_task("question", train_size=60).with_choices()
    assert {task.scorer.alternative(s) for s in task.splits["val"] if s.marker == "quest"} == {""}
    scores = Evaluator(task, "val")(transformer(task))
    assert scores["accuracy"] == scores["full_sentence"]


def test_agreement_is_told_by_the_main_verb():
    task = load_task("agreement", train_size=60)
    for s in task.splits["gen"]:
        verb, other = s.target.split()[0], task.scorer.alternative(s).split()[0]
        subject, nearest = s.words[1], [w for w in s.source.split() if w in PLURALS | SINGULARS][-1]
        assert verb.endswith("s") == (subject in SINGULARS)
        assert other.endswith("s") == (nearest in SINGULARS)


LEXICON = english.language("agreement").grammar.lexicon
SINGULARS, PLURALS = set(LEXICON["N_sg"]), set(LEXICON["N_pl"])


def test_a_task_without_a_linear_rule_has_no_choices():
    with pytest.raises(ConfigError, match="scoring is 'choices'; allowed for task dyck: answers"):
        load_task("dyck", train_size=300).with_choices()
