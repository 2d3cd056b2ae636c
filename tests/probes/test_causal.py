"""Hugging Face's causal models in the measures: masks, positions, words of several tokens."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import auxin
from auxin.cli import main
from auxin.errors import ConfigError
from auxin.measures.structure import attention_entropy
from auxin.probes.causal import as_causal_model
from probes import models, shapes

SENTENCES = ["a newt who sleeps does read", "a yak reads"]
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})


def tokenizer() -> Any:
    """Words of one to three tokens: a letter is a token, and some words are."""
    import transformers
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as parts

    letters = sorted({letter for word in WORDS for letter in word})
    entries = ["[UNK]", "<s>", "a", "who", "does", *(l for l in letters if l != "a")]
    vocabulary = {entry: i for i, entry in enumerate(entries)}
    vocabulary |= {f"##{letter}": len(vocabulary) + i for i, letter in enumerate(letters)}
    backend = Tokenizer(parts.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", unk_token="[UNK]")


def slow_chart(model: Any, ids: list[list[int]], bos: int) -> np.ndarray:
    """chart(i, j) by one pass for each span, with a mask that shows <bos> and the span alone."""
    flat = torch.tensor([[bos, *(t for word in ids for t in word)]])
    owner = np.repeat(np.arange(len(ids)), [len(word) for word in ids])
    whole = model(flat, states=True).states[-1][0, 1:]
    n = len(ids)
    chart = np.full((n, n), np.nan)
    for i in range(n):
        for j in range(i, n):
            inside = torch.tensor([True, *((owner >= i) & (owner <= j))])
            part = model(
                flat, mask=inside[None].expand(len(inside), -1) | torch.eye(len(inside)).bool(), states=True
            )
            chosen = inside[1:]
            sums = [x[chosen].sum(0) for x in (whole, part.states[-1][0, 1:])]
            chart[i, j] = torch.cosine_similarity(*sums, dim=0).item()
    return chart


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt_neox", "qwen3", "gemma2"])
def test_charts_are_those_of_one_masked_pass_a_span(kind: str) -> None:
    model = models.build(kind, width=64).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(4) if p.ndim == 2 else None  # so that words see each other
    words = tokenizer()
    found = auxin.tree_projections(model, SENTENCES, words)
    assert [p.words for p in found] == [tuple(s.split()) for s in SENTENCES]
    ids = [words.encode(word, add_special_tokens=False) for word in SENTENCES[0].split()]
    assert max(map(len, ids)) > 1
    with torch.no_grad():
        expected = slow_chart(as_causal_model(model), ids, words.bos_token_id)
    np.testing.assert_allclose(found[0].chart, expected, atol=2e-4)
    assert np.nanmin(expected) < 0.999


def test_entropies_and_what_is_restored() -> None:
    model = models.build("llama", width=64)
    before = model.config._attn_implementation  # pyright: ignore[reportAttributeAccessIssue]
    entropy = attention_entropy(model, SENTENCES, tokenizer())
    assert entropy.shape == (3, 4)
    assert (entropy > 0.5).all()
    assert model.config._attn_implementation == before  # pyright: ignore[reportAttributeAccessIssue]
    assert model.training  # as before


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="the model is not causal"):
        auxin.tree_projections(models.build("bert", width=64), SENTENCES, tokenizer())
    with pytest.raises(ConfigError, match="model is 'NanoGPT'; allowed: one whose forward takes input_ids"):
        as_causal_model(shapes.NanoGPT())
    model = as_causal_model(models.build("gpt2", width=64))
    with pytest.raises(ConfigError, match="vocabulary is list; allowed"):
        auxin.tree_projections(model, SENTENCES, [1])


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model: Any = models.build("gpt2", width=64)
    model.save_pretrained(tmp_path / "model")
    tokenizer().save_pretrained(tmp_path / "model")
    capsys.readouterr()
    out = str(tmp_path / "tree")
    assert main(["trees", "--model", str(tmp_path / "model"), "--sentence", SENTENCES[0], "--out", out]) == 0
    assert all(Path(f"{out}{end}").stat().st_size for end in (".png", ".svg", "-chart.png", "-chart.html"))
    said = capsys.readouterr().out
    assert said.startswith("tree: (")
    assert all(word in said for word in SENTENCES[0].split())
    assert main(["trees", "--model", str(tmp_path), "--sentence", "a b"]) == 1
    assert "holds no causal model that transformers loads" in capsys.readouterr().err
    assert main(["trees", "--model", str(tmp_path)]) == 2
    assert main(["trees"]) == 2
    assert "one of RUN and --model DIR" in capsys.readouterr().err
