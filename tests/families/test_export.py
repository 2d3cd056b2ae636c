"""Models exported to transformers: the same logits, or one line that names what cannot be expressed."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import auxin
from auxin.architecture import MLP, Attention, Layer, Norm, Rotary, Sublayer
from auxin.config import ModelConfig, preset
from auxin.errors import ConfigError, RunError
from auxin.models.transformer import TransformerLM
from auxin.tasks import Vocabulary

transformers = pytest.importorskip("transformers")

WORDS = Vocabulary(["newt", "who", "does", "sleep", "quest", ".", "café", "don't"])
SMALL = {"depth": 2, "width": 24, "heads": 3, "vocabulary_size": len(WORDS), "max_length": 20, "dropout": 0.0}
NORM = Norm("layer", epsilon=1e-5)


def small(name: str, **changes: Any) -> ModelConfig:
    """A preset at a smaller size."""
    model = preset(name).model  # pyright: ignore[reportArgumentType]
    layers = model.layers
    if layers and layers[0].sublayers[0].body.head_dim:  # pyright: ignore[reportAttributeAccessIssue]
        body = dataclasses.replace(layers[0].sublayers[0].body, head_dim=8)  # pyright: ignore[reportCallIssue]
        first = dataclasses.replace(layers[0].sublayers[0], body=body)
        layers = (dataclasses.replace(layers[0], sublayers=(first, layers[0].sublayers[1])),)
    keys = {"key_heads": 1} if model.key_heads else {}
    return dataclasses.replace(model, **{"layers": layers, **SMALL, **keys, **changes})


def trained(config: ModelConfig) -> TransformerLM:
    """A model whose every parameter is away from where it starts, biases and norms too."""
    generator = torch.Generator().manual_seed(1)
    model = TransformerLM(config, generator)
    with torch.no_grad():
        for name, p in model.named_parameters():
            spread = 0.3 if p.ndim == 1 or "embedding" in name else p.shape[-1] ** -0.5
            p.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, spread, generator=generator)
    return model.eval()


def loaded(folder: Path) -> Any:
    auto = transformers.AutoModelForCausalLM
    kind = transformers.AutoConfig.from_pretrained(folder).architectures[0]
    if kind.endswith("ForTokenClassification"):
        auto = transformers.AutoModelForTokenClassification
    model, info = auto.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    assert type(model).__name__ == kind
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    return model.eval()


CONFIGS: dict[str, ModelConfig] = {
    **{name: small(name) for name in ("gpt2", "llama", "pythia", "qwen3", "bert-encoder", "laptop")},
    "paper": small("paper"),
    "released-code": small("released-code"),
    "pre-norm": small("laptop", norm="pre", tied=True, attention_bias=True, activation="silu"),
    "branches": small("laptop", attention_branch=0.3, mlp_branch=2.0, output_bias=False, positions="none"),
    "scaled": small("gpt2", scale_embedding=True, output_bias=True, positions="sinusoidal"),
    "untied": small("llama", attention_bias=True, mlp_bias=True, scale_embedding=True, feedforward=40),
    "serial": small(
        "pythia",
        output_bias=True,
        layers=(dataclasses.replace(small("pythia").layers[0], parallel=False),),
        attention_bias=False,
    ),
    "not biased": small("bert-encoder", output_bias=False, attention_bias=False, positions="none"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_the_same(name: str, tmp_path: Path) -> None:
    model = trained(CONFIGS[name])
    folder = model.to_transformers(tmp_path / "a" / "b", vocabulary=WORDS)
    theirs = loaded(folder)
    tokens = torch.randint(len(WORDS), (3, 20), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        ours = model(tokens).logits
        found = theirs(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    assert float(ours.std()) > 0.3
    torch.testing.assert_close(found, ours, atol=1e-5 * float(ours.abs().max()), rtol=1e-5)


def test_sentences_have_the_same_ids_and_are_completed(tmp_path: Path) -> None:
    model = trained(CONFIGS["laptop"])
    folder = model.to_transformers(tmp_path / "m", vocabulary=WORDS)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    sentence = "café newt who don't sleep . quest"
    ids = WORDS.encode(sentence)
    assert tokenizer.encode(sentence, add_special_tokens=False) == ids
    assert tokenizer(sentence)["input_ids"] == [WORDS.bos, *ids]
    assert tokenizer.decode(tokenizer.encode(sentence), skip_special_tokens=True) == sentence
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<eos>", "<bos>"]) == [0, WORDS.eos, WORDS.bos]
    assert len(tokenizer) == len(WORDS)
    with pytest.raises(Exception, match="vocabulary"):
        tokenizer("the newt")
    theirs = loaded(folder)
    both = tokenizer([sentence, "newt quest"], padding=True, return_tensors="pt")
    found = theirs.generate(**both, max_new_tokens=5, do_sample=False)
    assert found.shape[1] > both["input_ids"].shape[1]
    for row, text in zip(found, (sentence, "newt quest"), strict=True):
        tokens = torch.tensor([[WORDS.bos, *WORDS.encode(text)]])
        for token in row[both["input_ids"].shape[1] :].tolist():
            assert token == int(model(tokens).logits[0, -1].argmax())
            tokens = torch.cat([tokens, torch.tensor([[token]])], 1)
            if token == WORDS.eos:
                break


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3", "bert-encoder"])
def test_the_exported_config_says_what_ours_says(name: str, tmp_path: Path) -> None:
    config = small(name)
    folder = TransformerLM(config, torch.Generator().manual_seed(0)).to_transformers(tmp_path)
    read, ours = auxin.network_of(folder / "config.json"), config.network()
    assert (read.final, read.depth) == (ours.final, ours.depth)
    sigmas = [[getattr(s.body, "sigma_v", None) for s in n.layers[0].sublayers] for n in (read, ours)]
    assert sigmas[0] == pytest.approx(sigmas[1])
    assert auxin.check(loaded(folder), n_tokens=16).ok


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "none"}, "place of the norms is 'none'; allowed: stream, in transformers' OPTForCausalLM"),
        ({"mlp_skip": 0.9}, "skip strength is (0.9, 1.0); allowed: 1.0, in"),
        ({"activation": "erf"}, "activation is 'erf'; allowed: one that transformers has"),
        ({"key_heads": 1}, "key_heads is 1; allowed: 3, in transformers'"),
        ({"causal": False}, "causal is False; allowed: True"),
        ({"norm": "pre", "causal": False}, "causal is False; allowed: True, in transformers' GPT2LMHeadModel"),
    ],
)  # fmt: skip
def test_a_part_that_cannot_be_expressed_is_named(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    model = TransformerLM(small("laptop", **changes), torch.Generator().manual_seed(0))
    with pytest.raises(ConfigError) as raised:
        model.to_transformers(tmp_path / "m")
    assert str(raised.value).startswith(message)
    assert not (tmp_path / "m").exists()


RMS = Norm("rms", epsilon=1e-6)


def described(attention: Attention, norm: Norm = NORM, **norms: Norm) -> ModelConfig:
    norms = norms or {"before": norm}
    layer = Layer((Sublayer(attention, **norms), Sublayer(MLP("gelu"), **norms)))
    return ModelConfig(
        layers=(layer,), final_norm=None if "stream" in norms else norm, positions="none", output_bias=False, **SMALL
    )  # fmt: skip


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (described(Attention(window=3)), "window is 3; allowed: None, in transformers' GPT2LMHeadModel"),
        (described(Attention(softcap=5.0)), "softcap is 5.0; allowed: None"),
        (described(Attention(alibi=3)), "alibi is 3; allowed: 0"),
        (described(Attention(rotary=Rotary(factors=(0.5,) * 4), head_dim=8)), "rotary is Rotary(factors=(0.5,"),
        (described(Attention(head_dim=8, scale=0.2)), "scale is 0.2; allowed: None"),
        (described(Attention(head_dim=4)), "head_dim is 4; allowed: 8"),
        (described(Attention(), RMS), "kind of norm is 'rms'; allowed: layer"),
        (described(Attention(), stream=Norm(epsilon=1e-6)), "epsilon of a norm is 1e-06; allowed: 1e-05"),
        (described(Attention(head_dim=8, rotary=Rotary(fraction=0.3)), NORM), ""),
        (described(Attention(head_dim=8, rotary=Rotary(fraction=0.4))), "fraction of rotary is 0.4; allowed: one that"),
        (dataclasses.replace(small("llama"), output_bias=True), "output_bias is True; allowed: False"),
        (dataclasses.replace(small("qwen3"), mlp_bias=True), "mlp_bias is True; allowed: False"),
        (dataclasses.replace(small("llama"), positions="learned"), "positions is 'learned'; allowed: none"),
        (dataclasses.replace(small("gpt2"), final_norm=None), "final_norm is None; allowed: layer"),
    ],
)  # fmt: skip
def test_a_described_part_that_cannot_be_expressed_is_named(
    config: ModelConfig, message: str, tmp_path: Path
) -> None:
    model = TransformerLM(config, torch.Generator().manual_seed(0))
    if not message:
        assert model.to_transformers(tmp_path) == tmp_path
        return
    with pytest.raises(ConfigError) as raised:
        model.to_transformers(tmp_path)
    assert str(raised.value).startswith(message)


def test_an_output_map_behind_a_norm_with_weights_of_zero(tmp_path: Path) -> None:
    model = trained(CONFIGS["laptop"])
    model.layers[-1].mlp_norm.weight.data[3] = 0  # pyright: ignore
    folder = model.to_transformers(tmp_path)
    tokens = torch.arange(10)[None]
    torch.testing.assert_close(loaded(folder)(tokens).logits, model(tokens).logits, atol=1e-4, rtol=1e-5)


def test_only_what_auxin_wrote_is_replaced(tmp_path: Path) -> None:
    first, second = trained(CONFIGS["laptop"]), trained(CONFIGS["gpt2"])
    first.to_transformers(tmp_path, vocabulary=WORDS)
    (tmp_path / "notes.txt").write_text("mine")
    second.to_transformers(tmp_path, vocabulary=WORDS)
    model = loaded(tmp_path)
    model.save_pretrained(tmp_path)  # tuned by somebody
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        RunError, match=r"model\.safetensors: there already, and not written by auxin; --force"
    ):
        first.to_transformers(tmp_path, vocabulary=WORDS)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    first.to_transformers(tmp_path, vocabulary=WORDS, force=True)
    assert type(loaded(tmp_path)).__name__ == "OPTForCausalLM"
    assert (tmp_path / "notes.txt").read_text() == "mine"
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.json").write_text("{}")
    with pytest.raises(RunError, match=r"tokenizer\.json: there already"):
        first.to_transformers(other, vocabulary=WORDS)


def test_a_directory_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    (tmp_path / "config.json" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match=r"config\.json: a directory; allowed: a file"):
        trained(CONFIGS["laptop"]).to_transformers(tmp_path, force=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["config.json", "thesis.txt"]


def test_no_tokenizer_of_another_model_stays(tmp_path: Path) -> None:
    model = trained(CONFIGS["laptop"])
    model.to_transformers(tmp_path, vocabulary=WORDS)
    model.to_transformers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    (tmp_path / "generation_config.json").write_text("{}")  # somebody's
    with pytest.raises(RunError, match=r"generation_config\.json: there already, and not written by auxin"):
        model.to_transformers(tmp_path)
    model.to_transformers(tmp_path, force=True)
    assert not (tmp_path / "generation_config.json").exists()


def test_arguments_that_do_not_fit_are_named(tmp_path: Path) -> None:
    model = trained(CONFIGS["laptop"])
    with pytest.raises(ConfigError, match="size of the vocabulary is 5; allowed: the model's 11"):
        model.to_transformers(tmp_path, vocabulary=Vocabulary(["a", "b"]))
