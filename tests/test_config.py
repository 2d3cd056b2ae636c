"""Configs: what exists is valid, says what is wrong otherwise, and survives every round trip."""

import dataclasses
import re
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auxin.architecture import MLP, Attention, Block, Layer, Norm, Rotary, Sublayer
from auxin.config import ModelConfig, OptimizerConfig, RunConfig, preset
from auxin.errors import AuxinError, ConfigError
from auxin.values import changed, flat, from_dict, from_json, from_toml, to_dict, to_json, to_toml

LLAMA = Layer(
    (
        Sublayer(Attention(head_dim=8, rotary=Rotary()), before=Norm("rms", epsilon=1e-6)),
        Sublayer(MLP("silu", gated=True), before=Norm("rms"), after=Norm("tanh", slope=0.5)),
    )
)
MLP_ONLY = Layer((Sublayer(MLP(), stream=Norm()),))
strengths = st.floats(0, 1e3)
probabilities = st.floats(0, 1, exclude_max=True)


@st.composite
def models(draw: st.DrawFn) -> ModelConfig:
    heads = draw(st.integers(1, 16))
    choices = {
        name: draw(st.sampled_from(get_args(hint)))
        for name, hint in get_type_hints(ModelConfig).items()
        if get_origin(hint) is Literal
    }
    floats = {
        f.name: draw(strengths)
        for f in dataclasses.fields(ModelConfig)
        if f.name.startswith("sigma") or f.name.endswith(("_skip", "_branch"))
    }
    described = draw(st.sampled_from([(), (LLAMA,), (LLAMA, MLP_ONLY)]))
    if described:
        floats, classic = {}, ("norm", "activation")
        choices = {name: value for name, value in choices.items() if name not in classic}
        norms = st.sampled_from([None, Norm(), Norm("erf", slope=2.0)])
        floats = {"layers": described, "final_norm": draw(norms), "key_heads": draw(st.sampled_from([0, 1]))}
    return ModelConfig(
        depth=draw(st.integers(2, 100)),
        width=2 * heads * draw(st.integers(1, 100)),
        heads=heads,
        feedforward=draw(st.integers(0, 10_000)),
        tied=draw(st.booleans()),
        dropout=draw(probabilities),
        **choices,
        **floats,
    )


@st.composite
def runs(draw: st.DrawFn) -> RunConfig:
    optimizer = OptimizerConfig(
        learning_rate=draw(st.floats(0, 10, exclude_min=True)),
        schedule=draw(st.sampled_from(["constant", "linear", "cosine"])),
        warmup=draw(st.integers(0, 10**6)),
        beta1=draw(probabilities),
        beta2=draw(probabilities),
    )
    return RunConfig(
        task=draw(st.sampled_from(["question", "tense", "dyck"])),
        data_dir=draw(st.text(max_size=20).filter(str.isprintable)),
        model=draw(models()),
        optimizer=optimizer,
        steps=draw(st.integers(1, 10**9)),
        seeds=tuple(draw(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4, unique=True))),
        measures=tuple(draw(st.sets(st.sampled_from(["norms", "entropy", "projection"])))),
    )


@given(runs())
def test_every_config_survives_toml_json_and_dict(config: RunConfig) -> None:
    assert from_toml(RunConfig, to_toml(config)) == config
    assert from_json(RunConfig, to_json(config)) == config
    assert from_dict(RunConfig, to_dict(config)) == config


def test_the_text_is_complete_and_missing_settings_are_defaults() -> None:
    text = to_toml(RunConfig())
    for part in (RunConfig, ModelConfig, OptimizerConfig):
        for field in dataclasses.fields(part):
            assert field.name in text or field.default is None
    assert from_toml(RunConfig, "steps = 7\n[model]\ndepth = 2") == RunConfig(
        steps=7, model=ModelConfig(depth=2)
    )


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().steps = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (ModelConfig, {"depth": 0}, r"depth is 0; allowed: 1 to 10000"),
        (ModelConfig, {"depth": 2.0}, r"depth is 2\.0; allowed: of type int"),
        (ModelConfig, {"depth": True}, r"depth is True; allowed: of type int"),
        (ModelConfig, {"heads": 3}, r"heads is 3; allowed: a divisor of the width \(128\)"),
        (ModelConfig, {"heads": 256}, r"heads is 256; allowed: 1 to the width \(128\)"),
        (ModelConfig, {"width": 3, "heads": 1}, r"width is 3; allowed: even, with sinusoidal positions"),
        (ModelConfig, {"norm": "batch"}, r"norm is 'batch'; allowed: post, pre, none"),
        (ModelConfig, {"dropout": 1}, r"dropout is 1\.0; allowed: 0 ≤ dropout < 1"),
        (ModelConfig, {"dropout": "0.1"}, r"dropout is '0\.1'; allowed: a finite number"),
        (ModelConfig, {"sigma_w": float("nan")}, r"sigma_w is nan; allowed: a finite number"),
        (ModelConfig, {"mlp_branch": -1}, r"mlp_branch is -1; allowed: 0 to 1000"),
        (OptimizerConfig, {"learning_rate": 0}, r"learning_rate is 0\.0; allowed: 0 < rate ≤ 10"),
        (OptimizerConfig, {"schedule": "step"}, r"schedule is 'step'; allowed: constant, linear, cosine"),
        (OptimizerConfig, {"beta2": 1}, r"beta2 is 1\.0; allowed: 0 ≤ beta2 < 1"),
        (RunConfig, {"precision": "tf32"}, r"precision is 'tf32'; allowed: float32 or bfloat16, on a CPU"),
        (RunConfig, {"precision": "half"}, r"precision is 'half'; allowed: float32, tf32, bfloat16"),
        (RunConfig, {"task": "copy"}, r"task is 'copy'; allowed: question, tense, dyck, .*"),
        (RunConfig, {"steps": 0}, r"steps is 0; allowed: 1 to 10\^9"),
        (RunConfig, {"seeds": ()}, r"seeds is \(\); allowed: at least one seed"),
        (RunConfig, {"seeds": (1, 1)}, r"seeds is \(1, 1\); allowed: each seed once"),
        (RunConfig, {"seeds": (-1,)}, r"seeds is \(-1,\); allowed: whole numbers from 0 to 2\^63 − 1"),
        (
            RunConfig,
            {"measures": ("bleu",)},
            r"measures is \('bleu',\); allowed: norms, entropy, projection, signals",
        ),
        (RunConfig, {"device": "tpu"}, r"device is 'tpu'; allowed: cpu, cuda, cuda:0, …"),
        (RunConfig, {"device": "cuda:x"}, r"device is 'cuda:x'; allowed: cpu, cuda, cuda:0, …"),
        (RunConfig, {"data_dir": "\ud800"}, r"data_dir is '\\ud800'; allowed: printable text"),
        (RunConfig, {"data_dir": 5}, r"data_dir is 5; allowed: of type str"),
    ],
)
def test_an_error_names_the_setting_its_value_and_what_is_allowed(config, settings, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        config(**settings)
    with pytest.raises(ConfigError, match=f"^{message}$"):
        from_dict(config, settings)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stesp": 3}, r"RunConfig has no setting 'stesp'; known: task, data_dir"),
        ({"model": {"dept": 3}}, r"ModelConfig has no setting 'dept'"),
        ({"model": 5}, r"ModelConfig is 5; allowed: a table of settings"),
        ({"seeds": 3}, r"seeds is 3; allowed: a list"),
        ({"measures": [[1]]}, r"measures is \(\[1\],\); allowed: norms"),
        ({"model": {"dropout": 10**400}}, r"dropout is 10{99}…; allowed: a finite number"),
        ({"task": []}, r"task is \[\]; allowed: question"),
        ([], r"RunConfig is \[\]; allowed: a table of settings"),
    ],
)
def test_plain_values_of_the_wrong_shape_are_refused(values, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(RunConfig, values)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from([f.name for f in dataclasses.fields(RunConfig)])


@given(st.dictionaries(names, plain, max_size=3), st.text(max_size=60))
def test_arbitrary_values_and_texts_give_a_config_or_our_error(values: dict, text: str) -> None:
    for read in (
        lambda: from_dict(RunConfig, values),
        lambda: from_toml(RunConfig, text),
        lambda: from_json(RunConfig, text),
    ):
        message = ""
        try:
            assert isinstance(read(), RunConfig)
        except AuxinError as error:
            message = str(error)
        assert "\n" not in message


def test_numbers_too_long_to_read_are_refused() -> None:
    with pytest.raises(ConfigError, match="config is not valid TOML: Exceeds the limit"):
        from_toml(RunConfig, "steps = " + "9" * 5000)
    with pytest.raises(ConfigError, match="config is not valid JSON: Exceeds the limit"):
        from_json(RunConfig, '{"steps": ' + "9" * 5000 + "}")
    with pytest.raises(ConfigError, match=r"steps is too long to print; allowed: 1 to 10\^9"):
        from_toml(RunConfig, "steps = 0x" + "f" * 5000)


def test_parts_of_the_wrong_type_are_refused() -> None:
    with pytest.raises(ConfigError, match="model is 5; allowed: a ModelConfig"):
        RunConfig(model=5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="seeds is 3; allowed: a list"):
        RunConfig(seeds=3)  # type: ignore[arg-type]


def test_presets_are_the_published_settings() -> None:
    paper, released, laptop = preset("paper"), preset("released-code", "dyck"), preset("laptop", "tense")
    assert (paper.model.heads, paper.model.tied, paper.optimizer.clip) == (4, True, 10.0)
    assert (released.model.heads, released.model.tied, released.optimizer.clip) == (8, False, 1.0)
    assert (released.optimizer.decay_steps, preset("released-code").optimizer.decay_steps) == (
        400_000,
        300_000,
    )
    assert (paper.steps, released.steps) == (300_000, 400_000)
    assert paper.seeds == released.seeds == (42, 52, 62, 72, 82, 92, 102, 112, 122, 132)
    assert (laptop.task, laptop.model.depth, laptop.model.width, laptop.seeds) == ("tense", 12, 64, (0,))
    with pytest.raises(ConfigError, match="preset is 'huge'; allowed: laptop, paper, released-code"):
        preset("huge")  # type: ignore[arg-type]


def test_described_layers_make_the_network_with_what_the_scheme_draws() -> None:
    config = ModelConfig(
        depth=3, width=64, heads=4, layers=(LLAMA, MLP_ONLY), final_norm=Norm("rms"), initialization="normal"
    )
    network = config.network()
    assert network.depth == 3
    assert network.final == Norm("rms")
    assert network.layers[0] == network.layers[2] != network.layers[1]
    attention, mlp = (sublayer.body for sublayer in network.layers[0].sublayers)
    assert attention.sigma_q == pytest.approx(0.02 * 8)  # pyright: ignore[reportAttributeAccessIssue]
    assert attention.sigma_v == pytest.approx(0.02**2 * 8 * 32**0.5)  # pyright: ignore  # 4 heads of 8
    assert mlp.sigma_gate == mlp.sigma_w == pytest.approx(0.02 * 8)  # pyright: ignore
    assert mlp.sigma_o == pytest.approx(0.02 * 176**0.5)  # pyright: ignore  # ⌈64/3⌉·8 hidden units
    scaled = dataclasses.replace(config, initialization="gpt2").network()
    first = scaled.layers[0].sublayers[1].body
    assert first.sigma_o == pytest.approx(0.02 * (176 / 5) ** 0.5)  # pyright: ignore  # of five branches
    assert first.sigma_w == mlp.sigma_w  # pyright: ignore


def test_the_description_itself_is_drawn_with_gaussian() -> None:
    layer = Block(norm="pre", sigma_a=1.7, sigma_b=0.2).layer
    config = ModelConfig(depth=2, width=8, heads=2, layers=(layer,), initialization="gaussian")
    assert config.network().layers == (layer, layer)
    windowed = Layer((Sublayer(Attention(window=3)),))
    sized = dataclasses.replace(config, layers=(windowed,)).network()
    assert sized.layers[0].sublayers[0].body == Attention(window=3, head_dim=4)


def test_a_classic_network_is_its_block() -> None:
    config = ModelConfig(norm="pre", initialization="gaussian", sigma_a=2.0, mlp_branch=0.5, depth=3)
    network = config.network()
    assert network.final == network.layers[0].sublayers[0].before == Norm(epsilon=1e-5)
    attention, mlp = network.layers[2].sublayers
    assert attention.body.logit_scale == pytest.approx(config.block().sigma_a)  # pyright: ignore
    assert (mlp.branch, mlp.skip, mlp.body.activation) == (0.5, 1.0, "relu")  # pyright: ignore
    assert ModelConfig(norm="post").network().final is None
    assert RunConfig(model=config).network() == network


def test_the_stream_starts_with_the_variance_of_what_is_added_up() -> None:
    paper = preset("paper").model
    assert paper.input_norm() == pytest.approx(512 * 2 / (512 + 100) + 0.5)
    plain = ModelConfig(scale_embedding=False, positions="learned", initialization="normal")
    assert plain.input_norm() == pytest.approx(2 * 0.02**2)
    normed = dataclasses.replace(plain, embedding_norm=Norm(gain=2.0, epsilon=2 * 0.02**2))
    assert normed.input_norm() == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": (LLAMA,), "norm": "pre"}, "norm is 'pre'; allowed: post, beside layers, which have"),
        ({"layers": (LLAMA,), "sigma_a": 2.0}, "sigma_a is 2.0; allowed: 1.0, beside layers"),
        ({"layers": (LLAMA,) * 5}, "depth is 4; allowed: 5 layers or more"),
        ({"layers": (5,)}, "layer is 5; allowed: a Layer or a Block"),
        ({"layers": 5}, "layers is 5; allowed: a list"),
        ({"final_norm": Norm()}, "final_norm is Norm.* allowed: none, without described layers"),
        ({"key_heads": 3}, r"key_heads is 3; allowed: a divisor of the heads \(4\)"),
        (
            {"layers": (Layer((Sublayer(Attention(alibi=8)),)),)},
            "alibi is 8; allowed: the number of heads, 4",
        ),
        ({"layers": (Block(activation=abs).layer,)}, "activation is .* allowed: relu, .*, in a model"),
        ({"layers": (Block(),), "heads": 3}, "heads is 3; allowed: a divisor of the width"),
        (
            {"layers": (Block(sigma_b=0.1),), "mlp_bias": False, "initialization": "gaussian"},
            "sigma_b of a layer is 0.1; allowed: 0, of maps without biases",
        ),
    ],
)
def test_layers_that_no_model_has_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**settings)


def test_a_block_is_of_classic_models_alone() -> None:
    with pytest.raises(ConfigError, match=r"layers is .* allowed: none, for a Block \(network\(\) gives any"):
        Block.of(ModelConfig(layers=(LLAMA,)))


PUBLISHED = ("gpt2", "llama", "pythia", "qwen3", "bert-encoder")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_architectures_are_presets_that_survive_being_written(name) -> None:
    config = preset(name, "dyck")
    assert from_toml(RunConfig, to_toml(config)) == config
    assert config.model.max_length == 2048
    network = config.network()
    assert network.depth == 6
    assert config.model.causal == (name != "bert-encoder")
    bigger = dataclasses.replace(config.model, width=256, heads=8, depth=3)
    assert bigger.hidden == {"llama": 688, "qwen3": 688}.get(name, 1024)
    assert bigger.network().depth == 3


def test_streams_of_published_architectures_start_as_small_as_their_embeddings() -> None:
    norms = {name: preset(name).input_norm() for name in PUBLISHED}
    assert norms["llama"] == norms["qwen3"] == pytest.approx(0.02**2)
    assert norms["gpt2"] == pytest.approx(2 * 0.02**2)
    assert norms["pythia"] == pytest.approx(0.4 / 128)
    assert norms["bert-encoder"] == pytest.approx(1, rel=1e-6)


def test_the_documented_layers_are_those_of_llama() -> None:
    page = (Path(__file__).parents[1] / "docs" / "files.md").read_text()
    (text,) = re.findall(r"```toml\n(\[model\]\n.*?)```", page, re.DOTALL)
    found, llama = from_toml(RunConfig, text).model, preset("llama").model
    assert (found.layers, found.final_norm, found.hidden) == (llama.layers, llama.final_norm, llama.hidden)


def test_settings_are_changed_by_dotted_name_and_checked_together() -> None:
    config = changed(RunConfig(), {"model.width": 30, "model.heads": 5, "steps": 7, "seeds": [1, 2]})
    assert (config.model.width, config.model.heads, config.steps, config.seeds) == (30, 5, 7, (1, 2))
    assert flat(config)["model.heads"] == 5
    assert changed(config, {"model": ModelConfig(depth=9), "model.width": 8}).model == ModelConfig(
        depth=9, width=8
    )
    assert changed(config, {n: v for n, v in flat(RunConfig()).items() if n != "model.layers"}) == RunConfig()
    for settings, message in (
        ({"model.dept": 2}, "ModelConfig has no setting 'dept'"), ({"model.depth": 0}, "depth is 0"),
        ({"step": 2}, "RunConfig has no setting 'step'"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            changed(RunConfig(), settings)
