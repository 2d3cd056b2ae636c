"""Minimal pairs against a loop over their words, and against transformers' own loss."""

import json
from pathlib import Path

import pytest
import torch

import auxin
from auxin.errors import ConfigError, DataError
from auxin.measures.pairs import log_probabilities
from auxin.tasks.columns import Form, MinimalPair, read_pairs

WORDS = auxin.Vocabulary(["a", "b", "c", "d"])
PAIRS = [("a b c", "a c b", "x"), ("d", "a b c d", "y"), ("b a", "b b", "x"), ("a", "d", "")]


def model() -> auxin.TransformerLM:
    config = auxin.ModelConfig(depth=2, width=16, heads=2, vocabulary_size=len(WORDS))
    return auxin.TransformerLM(config, torch.Generator().manual_seed(3)).eval()


def test_a_score_is_the_sum_of_the_words_log_probabilities() -> None:
    ours, sentences = model(), ["a b c", "d", "c c c c d a", "b a"]
    for sentence, score in zip(
        sentences, log_probabilities(ours, sentences, WORDS, max_tokens=8), strict=True
    ):
        ids, expected = [WORDS.bos], 0.0
        for token in WORDS.encode(sentence):
            with torch.no_grad():
                logits = ours(torch.tensor([ids])).logits[0, -1]
            expected += float(logits.log_softmax(-1)[token])
            ids.append(token)
        assert score == pytest.approx(expected, abs=1e-5)


def test_accuracy_counts_the_pairs_whose_good_sentence_is_likelier() -> None:
    found = auxin.minimal_pairs(model(), PAIRS, WORDS)
    better = [good > bad for good, bad in found.pairs.select("good_score", "bad_score").iter_rows()]
    table = {row["phenomenon"]: row for row in found.accuracy.to_dicts()}
    assert list(table) == ["x", "y", "all"]
    assert [table[name]["pairs"] for name in table] == [2, 1, 4]
    assert table["all"]["accuracy"] == sum(better) / 4
    assert table["x"]["accuracy"] == (better[0] + better[2]) / 2
    assert 0 <= table["y"]["low"] < table["y"]["high"] <= 1
    turned = auxin.minimal_pairs(model(), [(bad, good, name) for good, bad, name in PAIRS], WORDS)
    assert turned.accuracy["accuracy"].to_list()[-1] == 1 - sum(better) / 4


def test_a_model_of_transformers_scores_as_its_own_loss_says() -> None:
    transformers = pytest.importorskip("transformers")
    gpt2 = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=9)
    ).eval()

    class Tokenizer:
        bos_token_id = 8

        def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
            return [ord(letter) - ord("a") for letter in text if letter != " "]

    (score,) = log_probabilities(gpt2, ["ab ca"], Tokenizer())
    ids = torch.tensor([[8, 0, 1, 2, 0]])
    with torch.no_grad():
        assert score == pytest.approx(-4 * float(gpt2(ids, labels=ids).loss), abs=1e-4)
    bert = transformers.BertConfig(num_hidden_layers=1, hidden_size=16, num_attention_heads=2, vocab_size=9)
    with pytest.raises(ConfigError, match="not causal"):
        log_probabilities(transformers.BertForMaskedLM(bert), ["ab ca"], Tokenizer())


def test_what_cannot_be_scored_is_named() -> None:
    with pytest.raises(DataError, match=r"sentence 'a e': word 'e' is not in the vocabulary"):
        auxin.minimal_pairs(model(), [("a b", "a e")], WORDS)
    with pytest.raises(DataError, match="no minimal pairs"):
        auxin.minimal_pairs(model(), [], WORDS)


def test_files_of_pairs(tmp_path: Path) -> None:
    file = tmp_path / "p"
    expected = [MinimalPair("a b", "b a", "x"), MinimalPair("c", "d", "")]
    for text in ("a b\tb a\tx\nc\td\n", "phenomenon\tbad\tgood\nx\tb a\ta b\n\n\td\tc\n"):
        file.write_text(text)
        assert read_pairs(file) == expected
    blimp = {
        "sentence_good": "A b.",
        "sentence_bad": "B a.",
        "linguistics_term": "x",
        "UID": "u",
        "pair_id": 1,
    }
    file.write_text(f"{json.dumps(blimp)}\n\n{json.dumps(blimp)}\n")
    assert read_pairs(file) == 2 * [MinimalPair("A b.", "B a.", "x")]
    form = Form(case="lower", punctuation="tokens")
    assert read_pairs(file, "UID", form) == 2 * [MinimalPair("a b .", "b a .", "u")]
    for text, message in [
        ("a b\n", r"p:1: 1 columns"),
        ("a\tb\nc\t\n", r"p:2: bad is empty"),
        ('{"sentence_good": "a"}\n', "p:1: no sentence_bad; there are sentence_good"),
        ('{"sentence_good": "a"\n', "p:1: not JSON"),
    ]:
        file.write_text(text)
        with pytest.raises(DataError, match=message):
            read_pairs(file)
    file.write_text(json.dumps(blimp))
    with pytest.raises(DataError, match="p:1: no field"):
        read_pairs(file, "field")
