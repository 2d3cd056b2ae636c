"""Suffix passes against one masked pass a span, and against the released code's own output."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from auxin.config import ModelConfig
from auxin.measures.projection import tree_projections
from auxin.models.transformer import TransformerLM
from auxin.tasks.trees import parseval, read_penn, to_brackets
from auxin.tasks.vocabulary import Vocabulary
from measures.slow_projection import slow_chart

FIXTURE = Path(__file__).parents[3] / "shared" / "reference" / "tree_projection_question"


class Syllables:
    """A tokenizer of one to three tokens a word: its letters."""

    bos = 26

    def encode(self, text: str, /) -> list[int]:
        return [ord(letter) - ord("a") for letter in text]


def random_words(generator: np.random.Generator, n: int, longest: int) -> list[str]:
    letters = [chr(ord("a") + i) for i in range(26)]
    return ["".join(generator.choice(letters, generator.integers(1, longest + 1))) for _ in range(n)]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("layer", [-1, 1])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm": "pre", "activation": "tanh", "positions": "learned", "attention_bias": True},
        {"norm": "none", "positions": "none", "heads": 1, "tied": True},
    ],
    ids=lambda options: options.get("norm", "post"),
)
def test_suffix_passes_agree_with_a_masked_pass_a_span(
    options: dict[str, object], layer: int, metric: str
) -> None:
    config = ModelConfig(**{"depth": 3, "width": 32, "heads": 4, "vocabulary_size": 27, **options})
    model = TransformerLM(config, torch.Generator().manual_seed(1)).eval()
    generator = np.random.default_rng(2)
    sentences = [random_words(generator, n, longest) for n, longest in ((2, 3), (7, 1), (7, 3), (12, 2))]
    tokenizer = Syllables()
    found = tree_projections(model, sentences, tokenizer, layer=layer, metric=metric)
    for words, projection in zip(sentences, found, strict=True):
        tokens = [tokenizer.encode(word) for word in words]
        expected = slow_chart(model, tokens, tokenizer.bos, layer=layer, metric=metric)
        np.testing.assert_allclose(projection.chart, expected, atol=2e-6 * max(1, np.nanmax(-expected)))


def test_long_dyck_string_agrees_on_sampled_spans() -> None:
    generator = np.random.default_rng(0)
    words = ["(a", "(b", *["(c", "c)"] * 60, "b)", *["(b", "b)"] * 20, "a)"]
    vocabulary = Vocabulary(words)
    config = ModelConfig(depth=2, width=32, heads=4, vocabulary_size=len(vocabulary))
    model = TransformerLM(config, torch.Generator().manual_seed(3)).eval()
    (projection,) = tree_projections(model, [words], vocabulary)
    spans = [tuple(sorted(generator.integers(0, len(words), 2))) for _ in range(40)]
    expected = slow_chart(model, [vocabulary.encode(w) for w in words], vocabulary.bos, spans=spans)
    sampled = ~np.isnan(expected)
    np.testing.assert_allclose(projection.chart[sampled], expected[sampled], atol=2e-6)


def released_model(reference: dict) -> TransformerLM:
    """Ours, with the weights of theirs."""
    tensors, heads, width = (
        load_file(FIXTURE.with_suffix(".safetensors")),
        reference["n_heads"],
        reference["d_model"],
    )
    ours = {
        "embedding.weight": tensors["input_embedding.weight"],
        "output.weight": tensors["output_map.weight"],
        "output.bias": tensors["output_map.bias"],
    }
    for i in range(reference["n_layers"]):
        theirs = {
            name.removeprefix(f"trafo.encoder.layers.{i}."): t
            for name, t in tensors.items()
            if f".layers.{i}." in name
        }
        # rows of data_to_kv run over heads, then (key, value), then the head's dimensions
        k, v = theirs.pop("self_attn.data_to_kv.weight").view(heads, 2, -1, width).unbind(1)
        qkv = torch.cat([theirs.pop("self_attn.data_to_q.weight"), k.flatten(0, 1), v.flatten(0, 1)])
        ours[f"layers.{i}.attention.qkv.weight"] = qkv
        for name, tensor in theirs.items():
            for old, new in NAMES:
                name = name.replace(old, new)
            ours[f"layers.{i}.{name}"] = tensor
    config = ModelConfig(
        depth=reference["n_layers"], width=width, heads=heads, feedforward=reference["d_ff"], tied=False,
        vocabulary_size=len(ours["embedding.weight"]),
    )  # fmt: skip
    model = TransformerLM(config)
    model.load_state_dict(ours)
    return model.eval()


NAMES = (
    ("self_attn.multi_head_merge", "attention.out"), ("linear1", "mlp.up"), ("linear2", "mlp.down"),
    ("norm1", "attention_norm"), ("norm2", "mlp_norm"),
)  # fmt: skip
"""Theirs and ours, of modules of a layer."""


@pytest.mark.skipif(not FIXTURE.with_suffix(".json").exists(), reason="needs ../shared/reference")
def test_released_code_is_reproduced() -> None:
    reference = json.loads(FIXTURE.with_suffix(".json").read_text())
    vocabulary = Vocabulary(reference["vocab"])
    assert list(vocabulary.words[:-2]) == reference["vocab"]
    assert (vocabulary.eos, vocabulary.bos) == (reference["eos_index"], reference["bos_index"]) == (69, 70)
    model = released_model(reference)
    sentences = reference["sentences"]
    found = tree_projections(model, [s["sentence"] for s in sentences], vocabulary)
    for s, projection in zip(sentences, found, strict=True):
        for span, value in s["chart"].items():
            i, j = map(int, span.split(","))
            assert projection.chart[i, j] == pytest.approx(value, abs=1e-6)
        assert to_brackets(projection.tree) == s["parse"]
        assert projection.greedy_score == pytest.approx(s["greedy_score"], abs=1e-5)
        ids = torch.tensor([[vocabulary.bos, *vocabulary.encode(s["sentence"])]])
        logits = model(ids).logits[0, -1].detach().numpy()
        np.testing.assert_allclose(logits, s["logits_last"], atol=1e-5)
    gold = [read_penn(s["gold"].replace("(", "(X "))[0] for s in sentences]
    scores = parseval([p.tree for p in found], gold)
    assert scores._asdict() == pytest.approx(reference["parseval"], abs=1e-9)
