from dataclasses import replace

import pytest
import torch

from auxin.config import ModelConfig
from auxin.errors import ConfigError, DataError
from auxin.measures.accuracy import Evaluator, closing_distances
from auxin.models.protocol import Output
from auxin.models.transformer import TransformerLM
from auxin.tasks import (
    Annotation,
    Answers,
    Brackets,
    Choices,
    Contrast,
    Sentence,
    Task,
    Vocabulary,
    dyck,
    english,
    load_task,
)
from auxin.tasks.generation import generate


@pytest.fixture(scope="module")
def tasks():
    sizes = {"train": 100, "val": 100, "test": 1, "gen": 120}
    made = {}
    for name in ("question", "tense"):
        spoken = english.language(name)
        made[name] = Task(name, generate(spoken, sizes), Vocabulary(spoken.words), english.scorer(name))
    strings = dyck.generate(0, 3000)
    short = {split: [s for s in strings[split] if len(s.words) < 60] for split in strings}
    made["dyck"] = Task("dyck", short, Vocabulary(dyck.TOKENS), Brackets())
    return made


def accuracy(model, task, split, **options):
    return Evaluator(task, split, **options)(model)


class Answering:
    """A causal model that, after each source of the split, says the words of ``answer(sentence)``."""

    def __init__(self, task, split, answer):
        self.vocabulary = task.vocabulary
        self.answers = {s.source: answer(s) for s in task.splits[split]}

    def __call__(self, tokens, *, positions=None, mask=None, states=False, attention=False):
        vocabulary = self.vocabulary
        logits = torch.zeros(*tokens.shape, len(vocabulary))
        for row, ids in enumerate(tokens.tolist()):
            for end in range(2, len(ids) + 1):
                source = vocabulary.decode(ids[1:end])
                if source in self.answers:
                    answer = [*vocabulary.encode(self.answers[source]), vocabulary.eos]
                    for offset, word in enumerate(answer[: len(ids) - end + 1]):
                        logits[row, end - 1 + offset, word] = 1.0
                    break
        return Output(logits)


def right(s):
    return s.target


def first_auxiliary_moved(s):
    words, first = s.words, s.structure.first
    return " ".join([words[first], *words[:first], *words[first + 1 :], "?"])


def recent_agreement(s):
    words = s.target.split()
    recent = s.structure.categories[s.structure.recent]
    words[s.structure.main] = english.language("tense").rule.forms[s.words[s.structure.main], recent]
    return " ".join(words)


@pytest.mark.parametrize(
    ("name", "linear"), [("question", first_auxiliary_moved), ("tense", recent_agreement)]
)
def test_rules_are_told_apart(tasks, name, linear):
    task = tasks[name]
    hierarchical = accuracy(Answering(task, "gen", right), task, "gen")
    assert hierarchical["accuracy"] == hierarchical["full_sentence"] == hierarchical["hierarchical"] == 1
    assert hierarchical["linear"] == hierarchical["neither"] == 0
    other = accuracy(Answering(task, "gen", linear), task, "gen")
    assert other["accuracy"] == other["full_sentence"] == other["hierarchical"] == other["neither"] == 0
    assert other["linear"] == 1
    silent = accuracy(Answering(task, "gen", lambda s: ""), task, "gen")
    assert silent["neither"] == 1
    in_domain = accuracy(Answering(task, "val", linear), task, "val")
    assert in_domain["accuracy"] == 1
    assert "linear" not in in_domain  # in domain the rules say the same


def test_first_auxiliary_ranks_auxiliaries_only(tasks):
    task = tasks["question"]
    model = Answering(task, "gen", right)

    def distracted(tokens, **_):
        logits = model(tokens).logits
        logits[..., task.vocabulary.ids["newt"]] = 2.0
        return Output(logits)

    scores = accuracy(distracted, task, "gen")
    assert (scores["accuracy"], scores["first_auxiliary"], scores["neither"]) == (0, 1, 1)


def test_only_transformed_lines_count_and_a_fixed_random_sample_of_them(tasks):
    evaluator = Evaluator(tasks["tense"], "val", limit=7)
    assert [s.marker for s in evaluator.sentences] == ["PRESENT"] * 7
    eligible = [s for s in tasks["tense"].splits["val"] if s.marker == "PRESENT"]
    places = [eligible.index(s) for s in evaluator.sentences]
    assert places == sorted(set(places))
    assert places != list(range(7))
    assert Evaluator(tasks["tense"], "val", limit=7).sentences == evaluator.sentences
    assert set(evaluator.sentences) < set(Evaluator(tasks["tense"], "val", limit=9).sentences)
    assert len(Evaluator(tasks["tense"], "gen", limit=None).sentences) == 120


def transformer(task, seed=0, dropout=0.5):
    config = ModelConfig(
        depth=2, width=32, heads=4, vocabulary_size=len(task.vocabulary), dropout=dropout, max_length=1200
    )
    return TransformerLM(config, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["question", "tense", "dyck"])
@pytest.mark.parametrize("split", ["val", "gen"])
def test_agrees_with_one_sentence_at_a_time(tasks, name, split):
    """The oracle runs every prefix alone, unpadded."""
    task, model, limit = tasks[name], transformer(tasks[name]), 6
    scores = Evaluator(task, split, limit=limit, batch_tokens=100)(model)
    assert model.training
    model.eval()
    hits = {"accuracy": [], "full_sentence": [], "first_auxiliary": [], "unrestricted": [], "closing": []}
    for s in Evaluator(task, split, limit=limit).sentences:
        ids = [task.vocabulary.bos, *task.vocabulary.encode(s.text), task.vocabulary.eos]
        with torch.no_grad():
            logits = [model(torch.tensor([ids[: i + 1]])).logits[0, -1] for i in range(len(ids) - 1)]
        best = [int(row.argmax()) for row in logits]
        if name == "dyck":
            closing = [i for i, word in enumerate(task.vocabulary.words) if word.endswith(")")]
            for place, distance in enumerate(closing_distances(s.source)):
                if distance:
                    hit = max(closing, key=lambda i: float(logits[place][i])) == ids[place + 1]
                    hits["closing"].append(hit)
                    if distance >= 10:
                        hits["accuracy"].append(hit)
                        hits["unrestricted"].append(best[place] == ids[place + 1])
        else:
            marker = len(s.source.split())
            place = marker + (s.structure.main if name == "tense" else 0)
            hits["accuracy"].append(best[place] == ids[place + 1])
            hits["full_sentence"].append(best[marker:] == ids[marker + 1 :])
            if name == "question":
                four = [task.vocabulary.ids[w] for w in ("do", "does", "don't", "doesn't")]
                first = max(four, key=lambda i: float(logits[marker][i]))
                hits["first_auxiliary"].append(first == ids[marker + 1])
    expected = {key: sum(values) / len(values) for key, values in hits.items() if values}
    assert {key: scores[key] for key in expected} == pytest.approx(expected)
    assert {"hierarchical", "linear", "neither"}.isdisjoint(scores) == (name == "dyck" or split == "val")


def test_batches_do_not_matter(tasks):
    task, model = tasks["question"], transformer(tasks["question"])
    small, large = (Evaluator(task, "gen", batch_tokens=n)(model) for n in (64, 10**6))
    assert small == large


def bracket_model(task, wrong_when):
    """Predicts every closing bracket, but an (a where ``wrong_when(distance)``."""

    def model(tokens, **_):
        logits = torch.zeros(*tokens.shape, len(task.vocabulary))
        for row, ids in enumerate(tokens.tolist()):
            opened = []
            for place, index in enumerate(ids):
                word = task.vocabulary.words[index]
                if word.startswith("("):
                    opened.append((place, word))
                elif word.endswith(")") and opened:
                    opened.pop()
                if opened:
                    start, word = opened[-1]
                    logits[row, place, task.vocabulary.ids[word[1:] + ")"]] = 1.0
                    if wrong_when(place + 1 - start):
                        logits[row, place, task.vocabulary.ids["(a"]] = 2.0
        return Output(logits)

    return model


def test_dyck_counts_far_brackets_and_ranks_closing_ones(tasks):
    task = tasks["dyck"]
    perfect = accuracy(bracket_model(task, lambda d: False), task, "gen")
    assert perfect == {"accuracy": 1, "unrestricted": 1, "closing": 1}
    far = accuracy(bracket_model(task, lambda d: d >= 10), task, "gen")
    assert far == {"accuracy": 1, "unrestricted": 0, "closing": 1}
    near = accuracy(bracket_model(task, lambda d: d < 10), task, "gen")
    assert near == {"accuracy": 1, "unrestricted": 1, "closing": 1}


def test_dyck_brackets_of_any_name_are_closing_ones(tmp_path):
    line = f"(z {'(a a) ' * 5}z)\n"
    for end in ("train", "gen"):
        (tmp_path / f"dyck.{end}").write_text(line)
    task = load_task("dyck", data_dir=tmp_path)
    found = accuracy(bracket_model(task, lambda d: False), task, "gen")
    assert found == {"accuracy": 1, "unrestricted": 1, "closing": 1}


def test_closing_distances():
    assert closing_distances("(a (b b) a) (c c)") == [0, 0, 1, 3, 0, 1]


def test_what_cannot_be_scored(tasks):
    task = tasks["question"]
    with pytest.raises(ConfigError, match="limit is 0"):
        Evaluator(task, "gen", limit=0)
    with pytest.raises(DataError, match="split is 'dev'"):
        Evaluator(task, "dev")
    statements = [s for s in task.splits["val"] if s.marker == "decl"]
    with pytest.raises(DataError, match="val of question has no line to score"):
        Evaluator(Task("question", {"val": statements}, task.vocabulary, task.scorer), "val")
    with pytest.raises(ConfigError, match="vocabulary has 71 tokens; allowed: the model's 43"):
        accuracy(transformer(tasks["dyck"]), task, "gen")


def test_what_accuracy_counts_is_said_with_its_chance_level() -> None:
    def sentence(source: str, target: str, linear: str = "") -> Sentence:
        return Sentence(source, target, Annotation(None, target, linear))

    lines = [sentence("a b", "b a", "a b"), sentence("b a", "a b", "b a")]
    plain = [sentence("a b", "b a"), lines[0]]
    contrast = lambda s: Contrast(0, s.target[0], s.structure.linear[0]) if s.structure.linear else None
    task = Task("mine", {"val": plain[:1], "gen": lines, "test": plain}, scorer=Answers(contrast=contrast))
    chance = 1 / len(task.vocabulary)
    assert Evaluator(task, "val").meaning == ("whole answer", 0.0)
    assert Evaluator(task, "gen").meaning == ("word where the rules differ", chance)
    assert Evaluator(task, "test").meaning == ("word where the rules differ, or whole answer", chance / 2)
    choices = replace(task, scorer=Choices(alternative=lambda s: s.structure.linear))
    assert Evaluator(choices, "gen").meaning == ("right answer likelier than the other", 0.5)
