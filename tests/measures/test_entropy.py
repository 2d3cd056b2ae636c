import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auxin.config import ModelConfig
from auxin.errors import ConfigError, DataError
from auxin.measures.structure import attention_entropy, attention_sparsity
from auxin.models.protocol import Output
from auxin.models.transformer import TransformerLM
from auxin.tasks.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["the", "newt", "newts", "who", "do", "does", "read", "sleep"])
SENTENCES = ["the newt does read", "the newts who sleep do read", "newts", "the newts sleep", "newts sleep"]


def model(**options: object) -> TransformerLM:
    config = ModelConfig(
        **{"depth": 2, "width": 16, "heads": 4, "vocabulary_size": len(VOCABULARY), **options}
    )
    return TransformerLM(config, torch.Generator().manual_seed(0)).eval()


def test_entropy_is_the_mean_over_real_positions() -> None:
    lm = model(initialization="gaussian", sigma_a=8.0)
    total, count = np.zeros((2, 4)), 0
    for sentence in SENTENCES:
        ids = [VOCABULARY.bos, *VOCABULARY.encode(sentence)]
        for layer, weights in enumerate(lm(torch.tensor([ids]), attention=True).attention):
            for head in range(4):
                for i in range(len(ids)):
                    row = torch.distributions.Categorical(weights[0, head, i, : i + 1].detach())
                    total[layer, head] += float(row.entropy())
        count += len(ids)
    expected = total / count
    for max_tokens in (1, 4096):
        found = attention_entropy(lm, SENTENCES, VOCABULARY, max_tokens=max_tokens)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    sparsity = attention_sparsity(expected)
    assert sparsity["attention_sparsity"] == pytest.approx(-expected.mean())
    assert sparsity["attention_sparsity/1/3"] == -expected[1, 3]
    assert len(sparsity) == 1 + 8


def test_uniform_attention_has_the_entropy_of_its_length() -> None:
    lm = model(initialization="gaussian", sigma_a=0.0)
    expected = np.mean([np.log(i) for n in (4, 6, 1, 3, 2) for i in range(1, n + 2)])
    np.testing.assert_allclose(attention_entropy(lm, SENTENCES, VOCABULARY), expected, rtol=1e-6)


def test_attention_to_one_token_has_none() -> None:
    class Copier(nn.Module):
        def forward(self, tokens: Tensor, **_: object) -> Output:
            eye = torch.eye(tokens.shape[1]).expand(len(tokens), 1, -1, -1)
            return Output(tokens[..., None].float(), attention=(eye,))

    assert attention_sparsity(attention_entropy(Copier(), SENTENCES, VOCABULARY)) == {
        "attention_sparsity": 0.0,
        "attention_sparsity/0/0": 0.0,
    }


def test_bad_input_is_named() -> None:
    class Silent(nn.Module):
        def forward(self, tokens: Tensor, **_: object) -> Output:
            return Output(tokens[..., None].float())

    with pytest.raises(ConfigError, match="returns no attention weights"):
        attention_entropy(Silent(), SENTENCES, VOCABULARY)
    with pytest.raises(DataError, match="no sentences"):
        attention_entropy(model(), [], VOCABULARY)
    with pytest.raises(DataError, match="sentence 1 is ''; allowed: one word or more"):
        attention_entropy(model(), ["newts", ""], VOCABULARY)
    with pytest.raises(DataError, match="'zebra' is not in the vocabulary"):
        attention_entropy(model(), ["the zebra"], VOCABULARY)
    with pytest.raises(ConfigError, match="vocabulary has 4 tokens; allowed: the model's 11"):
        attention_entropy(model(), ["a"], Vocabulary(["a"]))
