"""``auxin.check`` as users meet it: tables, sentences, figures, remedies, errors of one line."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import auxin
from auxin.cli import main
from auxin.errors import ConfigError
from auxin.experiment.sources import arguments_of, tokens_of
from auxin.probes.check import UnhealthyModel
from auxin.probes.saved import changes
from probes import models, shapes, slips

SOURCE = """
import torch
from probes import models, slips

def build(depth=3, kind="gpt2", harmed=False):
    model = models.build(kind, depth=depth, width=64)
    if harmed:
        slips.planted(model, kind, "depth scaling skipped")
    return model

def unset():
    model = build()
    model.transformer.h[1].scale = torch.nn.Parameter(torch.empty(48))
    return model

def needs(depth):
    return build(depth)

def boom():
    raise RuntimeError("two\\nlines")

number = 3
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's file."""
    path = tmp_path / "a_users_model.py"
    path.write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return path


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt_neox", "qwen3", "gemma2", "opt"])
def test_prediction_and_measurement_agree(kind: str) -> None:
    reports = [
        auxin.check(models.build(kind, s, depth=6, width=192), n_tokens=32, seed=s).layers for s in range(3)
    ]
    mean = pl.concat(reports).group_by("layer", maintain_order=True).mean()
    np.testing.assert_allclose(mean["norm"], mean["predicted_norm"], rtol=0.12)
    np.testing.assert_allclose(mean["cosine"], mean["predicted_cosine"], atol=0.06)
    np.testing.assert_allclose(mean["gradient"][1:], mean["predicted_gradient"][1:], rtol=0.2)
    assert mean["gradient"][0] == pytest.approx(mean["predicted_gradient"][0], rel=0.35)


def test_a_report_says_it_in_every_form(tmp_path: Path) -> None:
    model = models.build("gpt2", width=64)
    slips.planted(model, "gpt2", "depth scaling skipped")
    report = auxin.check(model, n_tokens=16)
    assert not report.ok
    (finding,) = report.findings
    assert (finding.kind, finding.severity) == ("mismatch", "error")
    assert finding.module == "transformer.h.0.mlp.c_proj"
    assert finding.measured == pytest.approx(0.02, rel=0.05)
    assert finding.expected == pytest.approx(0.02 / math.sqrt(6))
    assert (
        "the scaling by 1/√(2·3) has been left out (in 3 of 3 layers, this is the first)." in finding.sentence
    )
    text = report.summary()
    assert max(map(len, text.splitlines())) <= 80
    assert "transformer.h.0.mlp.c_proj" in text
    page = report.to_html(tmp_path / "page.html").read_text()
    for said in (finding.sentence, "prefers-color-scheme: dark", "Layer by layer", report.notes[0]):
        assert said in page
    assert "<script src" not in page
    assert finding.sentence in report._repr_html_()
    assert len(report.plot().to_dict()["hconcat"]) == 3
    assert json.loads(json.dumps(report.to_dict()))["findings"][0]["module"] == finding.module
    assert report.layers.columns[:7] == [
        "layer", "norm", "cosine", "gradient", "predicted_norm", "predicted_cosine", "predicted_gradient",
    ]  # fmt: skip


def test_for_a_test_suite() -> None:
    auxin.assert_healthy(models.build("llama", width=64), n_tokens=16)
    model = models.build("llama", width=64)
    slips.planted(model, "llama", "norm missing in one layer")
    with pytest.raises(
        AssertionError, match=r"model\.layers\.1\.post_attention_layernorm is Identity where Llama"
    ):
        auxin.assert_healthy(model, n_tokens=16)
    auxin.assert_healthy(model, n_tokens=16, kinds=["collapse", "explode"])
    with pytest.raises(ConfigError, match="kind is 'slow'; allowed: dead, mismatch"):
        auxin.assert_healthy(model, kinds=["slow"])  # pyright: ignore[reportArgumentType]
    assert issubclass(UnhealthyModel, auxin.AuxinError)


def test_designs_that_collapse_explode_or_start_badly() -> None:
    deep = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 40, enable_nested_tensor=False
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in deep.named_parameters():
            if p.ndim == 2:
                p.normal_(0.0, p.shape[1] ** -0.5, generator=generator)
            elif name.endswith("bias"):
                p.zero_()
    assert [f.kind for f in auxin.check(deep, n_tokens=8).findings] == ["collapse"]
    scaled = auxin.ModelConfig(depth=24, width=64, heads=4, vocabulary_size=71, branch_scale=4.0)
    for seed in range(4):  # where tokens are one, chance decides what logits spread by
        drawn = auxin.TransformerLM(scaled, torch.Generator().manual_seed(seed))
        kinds = {f.kind for f in auxin.check(drawn, n_tokens=24, seed=seed).findings}
        assert "collapse" in kinds
        assert "mismatch" not in kinds
    config = auxin.ModelConfig(
        norm="none", depth=12, width=32, initialization="gaussian", sigma_o=2.0, vocabulary_size=20
    )
    wild = auxin.TransformerLM(config, generator)
    assert "explode" in [f.kind for f in auxin.check(wild, n_tokens=8).findings]
    large = {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "intermediate_size": 11_008,
    }
    assert auxin.check(
        {"model_type": "llama", **large}, n_tokens=8
    ).ok  # 540 over all layers, 3 in the second half
    model = shapes.NanoGPT()
    with torch.no_grad():
        model.lm_head.weight.mul_(60)
    (finding,) = auxin.check(model).findings
    assert (finding.module, finding.kind, finding.kinds) == (
        "transformer.wte",
        "mismatch",
        {"loss", "mismatch"},
    )


def test_a_remedy_brings_the_totals_to_what_is_asked() -> None:
    def wide() -> nn.Module:
        return models.build("llama", depth=4, width=256)

    report = auxin.check(wide(), n_tokens=16)
    rows = {row.name: row for row in report.remedies(target=-0.4)}
    assert rows["as it is"].angle_total < -0.8
    asked = rows["angle total -0.4"]
    assert asked.angle_total == pytest.approx(-0.4, abs=0.03)
    assert rows["1/layers (CompleteP)"].branch == pytest.approx(1 / 4)
    model = wide()
    names = auxin.rescale_(model, asked.branch)
    assert names[:2] == ["model.layers.0.self_attn.o_proj", "model.layers.0.mlp.down_proj"]
    again = auxin.check(model, n_tokens=16, branch=asked.branch)
    assert again.ok
    measured, predicted = again.totals["angle"], again.totals["predicted_angle"]
    assert predicted == pytest.approx(-0.4, abs=0.1)
    assert measured == pytest.approx(-0.4, abs=0.15)
    assert not auxin.check(model, n_tokens=16).ok  # without being told that it is meant
    with pytest.raises(ConfigError, match="target is 5; allowed: an angle total that some factor"):
        report.remedies(target=5)
    gemma = models.build("gemma2", width=64)
    names = auxin.rescale_(gemma, 0.5)
    assert names[0] == "model.layers.0.post_attention_layernorm"
    shares = [b.share for b in auxin.check(gemma, n_tokens=8).observation.branches]  # pyright: ignore[reportOptionalMemberAccess]
    before = auxin.check(models.build("gemma2", width=64), n_tokens=8).observation
    assert before is not None
    assert shares[0] < before.branches[0].share


def test_the_verb(source: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["check", "a_users_model:build", "--n-tokens", "16"]) == 0
    assert "Nothing found" in capsys.readouterr().out
    arguments = ["check", f"{source.name}:build", "--kwargs", "harmed=true", "depth=4", "--n-tokens", "16"]
    assert main([*arguments, "--json", "--out", str(tmp_path / "c"), "--target", "-0.05"]) == 3
    printed = json.loads(capsys.readouterr().out)
    assert printed["findings"][0]["module"] == "transformer.h.0.mlp.c_proj"
    assert len(printed["layers"]) == 5
    assert printed["remedies"][-1]["angle_total"] == pytest.approx(-0.05, abs=0.02)
    assert all((tmp_path / f"c.{ending}").stat().st_size for ending in ("png", "svg", "html"))
    assert main([*arguments, "--fail-on", "collapse,explode"]) == 0
    capsys.readouterr()
    assert main([*arguments, "--reference", "a_users_model:build", "--loss", "5.3"]) == 3
    printed = " ".join(capsys.readouterr().out.split())
    assert "compared with the model of a_users_model:build" in printed
    assert "A loss of 5.3 is that of a uniform guess among 200 tokens: the whole vocabulary of 200" in printed
    assert main([*arguments[:2], "--reference", "xavier", "--loss", "4", "--n-tokens", "16"]) == 3
    assert "among 55 tokens; better than one among the whole vocabulary of 200" in " ".join(
        capsys.readouterr().out.split()
    )
    models.build("llama", width=64).config.save_pretrained(tmp_path)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    assert main(["check", str(tmp_path / "config.json"), "--n-tokens", "16"]) == 0
    assert "Llama: N(0, 0.02²)" in capsys.readouterr().out
    large = {"hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 2, "vocab_size": 300_000}
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "llama", "num_attention_heads": 32, **large})
    )
    assert main(["check", str(tmp_path), "--n-tokens", "8"]) == 0
    assert "parameters are too many to be built" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "text.txt").write_text("the newt who sleeps does read the newt " * 4)
    assert main(["check", "a_users_model:build", "--data", "text.txt", "--n-tokens", "16"]) == 0

    state = torch.are_deterministic_algorithms_enabled()
    capsys.readouterr()
    unset = ["check", "a_users_model:unset", "--n-tokens", "8", "--poison"]
    assert main(unset) == 3
    printed = " ".join(capsys.readouterr().out.split())
    assert "dead: transformer.h.1.scale has 48 of 48 entries NaN or infinite: never set" in printed
    assert torch.are_deterministic_algorithms_enabled() == state

    for value in ("-3", "nan", "1e400"):
        capsys.readouterr()
        assert main(["check", "a_users_model:build", "--loss", value]) == 2
        assert "loss is" in capsys.readouterr().err
    assert main(["check", "a_users_model:build", "--reference", "a_users_model:absent"]) == 1
    assert "a_users_model has no 'absent'" in capsys.readouterr().err


def other_family(kind: str = "mixtral") -> dict[str, Any]:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
    experts = {"num_local_experts": 4} if kind == "mixtral" else {}
    return {"model_type": kind, "num_key_value_heads": 2, "vocab_size": 200, **sizes, **experts}


@pytest.mark.parametrize("architecture", [None, "Ernie4_5_MoeModel"])
def test_a_config_of_any_model_of_transformers_is_built_and_measured(
    architecture: str | None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = other_family("ernie4_5_moe") | (
        {} if architecture is None else {"architectures": [architecture]}
    )
    (tmp_path / "config.json").write_text(json.dumps({**settings, "pad_token_id": 0}))
    assert main(["check", str(tmp_path), "--n-tokens", "8", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["model"] == (architecture or "Ernie4_5_MoeForCausalLM")
    assert len(printed["layers"]) == 4
    assert printed["layers"][3]["predicted_norm"] is None


@pytest.mark.parametrize("kind", ["ernie4_5_moe", "apertus"])
def test_a_model_of_no_known_family_is_compared_with_a_fresh_one_of_its_class(kind: str) -> None:
    import transformers

    config = transformers.AutoConfig.for_model(**other_family(kind))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = transformers.AutoModelForCausalLM.from_config(config)
    state = torch.random.get_rng_state()
    assert auxin.check(model, n_tokens=8).ok
    assert torch.equal(torch.random.get_rng_state(), state)
    names = [name for name, p in model.named_parameters() if p.ndim > 1 and "layers.1.self_attn" in name]
    with torch.no_grad():
        for layer in range(3):
            model.get_parameter(names[0].replace("layers.1", f"layers.{layer}")).mul_(1.3)
    (finding,) = auxin.check(model, n_tokens=8).findings
    assert finding.module == names[0].removesuffix(".weight").replace("layers.1", "layers.0")
    assert finding.measured == pytest.approx(1.3 * config.initializer_range, rel=0.05)
    assert finding.expected == pytest.approx(config.initializer_range, rel=0.05)
    assert f"drawn anew from its config has {finding.expected:.4g}" in finding.sentence


def test_what_a_fresh_model_of_its_class_has_as_well_is_a_design() -> None:
    """Nemotron's norms multiply by 1 + weight, and its class draws a weight of 1."""
    import transformers

    config = transformers.AutoConfig.for_model(**other_family("nemotron"), pad_token_id=0)
    model: Any = transformers.AutoModelForCausalLM.from_config(config)
    assert auxin.check(model, n_tokens=8).ok
    with torch.no_grad():
        model.model.norm.weight.add_(0.5)
    (finding,) = auxin.check(model, n_tokens=8).findings
    assert finding.module == "model.norm"


def test_a_config_of_an_encoder_and_a_decoder_is_built_as_both(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sizes = {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "vocab_size": 200, "pad_token_id": 1}
    sizes |= {"encoder_ffn_dim": 96, "decoder_ffn_dim": 96, "encoder_attention_heads": 4}
    sizes |= {"decoder_attention_heads": 4, "max_position_embeddings": 64}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bart", **sizes}))
    assert main(["check", str(tmp_path), "--n-tokens", "8"]) == 0
    assert "BART" in capsys.readouterr().out
    arguments = ["check", str(tmp_path), "--n-tokens", "8", "--layers", "model.encoder.layers", "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "BartForConditionalGeneration"


@pytest.mark.parametrize("kind", ["mixtral", "qwen2_moe", "gpt_oss"])
def test_branches_of_experts_are_rescaled_whole(kind: str) -> None:
    import transformers

    more = {"gpt_oss": {"head_dim": 16, "num_local_experts": 4}}
    more["qwen2_moe"] = {"num_experts": 4, "moe_intermediate_size": 96, "shared_expert_intermediate_size": 96}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = transformers.AutoConfig.for_model(**other_family(kind), **more.get(kind, {}))
        model: Any = transformers.AutoModel.from_config(config)
    state = {name: p.clone() for name, p in model.named_parameters()}
    branch = getattr(model.layers[0], "mlp", None) or model.layers[0].block_sparse_moe
    x = torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(0))

    def output() -> torch.Tensor:
        given = branch(x)
        return given[0] if isinstance(given, tuple) else given

    with torch.no_grad():
        before = output()
        names = auxin.rescale_(model, 0.25)
        torch.testing.assert_close(output(), before / 4)
    changed = [name for name, p in model.named_parameters() if not torch.equal(p, state[name])]
    assert all(name in names or name.rpartition(".")[0] in names for name in changed)
    assert not [name for name in changed if "gate" in name or "router" in name or "up" in name]


REFUSED = {
    "nowhere:build": "nowhere cannot be imported: ModuleNotFoundError",
    "a_users_model:needs": "missing a required argument: 'depth'; allowed: --kwargs depth=…",
    "a_users_model:boom": "raised: RuntimeError: two lines",
    "a_users_model:number": "is 'int'; allowed: a function that returns a torch.nn.Module",
    "a_users_model:nothing": "a_users_model has no 'nothing'",
    "a_users_model": "allowed: module:function, file.py:function, or a config.json",
    "none.json": "none.json cannot be read: No such file or directory",
}


@pytest.mark.parametrize("named", REFUSED)
def test_a_source_that_is_none_costs_one_line(
    source: Path, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", named]) == (1 if named.endswith("boom") else 2)
    said = capsys.readouterr().err
    assert REFUSED[named] in said
    assert said.count("\n") == 1


def test_data_that_does_not_fit(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(" ".join(map(str, range(50))))
    assert tokens_of(text, 50, 2, 20).shape == (2, 20)
    with pytest.raises(auxin.AuxinError, match=r"is \(0, 39\); allowed: ids of the model's vocabulary of 30"):
        tokens_of(text, 30, 2, 20)
    text.write_text("")
    with pytest.raises(auxin.AuxinError, match="is 0; allowed: two or more"):
        tokens_of(text, 50, 2, 20)
    text.write_text("one")
    with pytest.raises(auxin.AuxinError, match="is 1; allowed: two or more"):
        tokens_of(text, 50, 2, 20)
    np.save(tmp_path / "x.npy", np.zeros((2, 3)))
    with pytest.raises(auxin.AuxinError, match="is 'float64'; allowed: whole numbers"):
        tokens_of(tmp_path / "x.npy", 50, 2, 20)
    assert arguments_of(["a=1", "b=x", "c=[1]", "d=true"]) == {"a": 1, "b": "x", "c": [1], "d": True}


def test_a_config_alone_is_predicted() -> None:
    report = auxin.check({"model_type": "llama", **models.settings("llama", depth=4)}, n_tokens=16)
    assert report.ok
    assert report.layers["norm"].null_count() == 5
    assert report.layers["predicted_cosine"][-1] > 0.3
    assert "predicted, not measured" in report.summary()


def test_without_transformers_all_else_works(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", **models.settings("gpt2")}))
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "import auxin\nfrom auxin.cli import main\n"
        f"assert main(['check', {str(tmp_path)!r}, '--n-tokens', '8']) == 0\n"
        "import torch; encoder = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(32, 4, 64), 2, "
        "enable_nested_tensor=False)\nassert auxin.check(encoder, n_tokens=8).ok"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pip install '.[hf]'" in done.stdout


def test_a_model_that_has_trained_is_not_compared_with_its_initialization() -> None:
    model = models.build("llama", depth=3, width=64)
    rate = torch.optim.AdamW(model.parameters(), lr=1e-2)
    tokens = torch.randint(0, 200, (4, 16), generator=torch.Generator().manual_seed(0))
    for _ in range(20):
        model(tokens, labels=tokens).loss.backward()
        rate.step()
        rate.zero_grad()
    report = auxin.check(model, n_tokens=16)
    assert report.ok, report.findings
    assert "the weights have been trained" in report.notes[0]
    assert "Nothing found: signals pass." in report.summary()
    assert "loss at initialization" not in report.summary()
    assert auxin.check(model, n_tokens=16, reference=models.build("llama", depth=3, width=64)).findings


class Scale(nn.Module):
    """A norm of one's own: not called one, nor its gain a weight; ``zero``: it multiplies by 1 + g."""

    def __init__(self, zero: bool = False) -> None:
        super().__init__()
        self.zero, self.g = zero, nn.Parameter(torch.full((shapes.D,), 0.0 if zero else 1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gain = 1 + self.g if self.zero else self.g
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * gain


class Vectors(nn.Module):
    """A gain that a function multiplies by, and its own random bias and small factor."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.ones(shapes.D)), nn.Parameter(torch.randn(shapes.D))
        self.factor = nn.Parameter(torch.full((shapes.D,), 1e-2))
        self.map = nn.Linear(shapes.D, shapes.D)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.map(torch.nn.functional.rms_norm(x, (shapes.D,), self.gain))
        return (x + self.bias) * self.factor


@pytest.mark.parametrize("norm", [Scale, lambda: Scale(zero=True), Vectors])
def test_gains_of_ones_own_that_have_trained_are_known(norm: Callable[[], nn.Module]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = shapes.MinGPT()
        for block in model.blocks:
            block.ln_1, block.ln_2 = norm(), norm()
        model.ln_f = Scale()
        gains = [p for name, p in model.named_parameters() if name.endswith((".g", ".gain"))]
        fresh = auxin.check(model, n_tokens=16)
        with torch.no_grad():
            gains[2].sub_(0.9)
        slip = auxin.check(model, n_tokens=16)
        with torch.no_grad():
            gains[2].add_(0.9)
            for gain in gains:
                gain.add_(0.05 * torch.randn(shapes.D))
        trained = auxin.check(model, n_tokens=16)
    assert not any("have been trained" in note for report in (fresh, slip) for note in report.notes)
    assert "blocks.1.ln_1" in {finding.module for finding in slip.findings}
    assert any("the weights have been trained" in note for note in trained.notes)
    assert not [finding for finding in trained.findings if finding.kind == "mismatch"]


def test_gains_that_are_noise_have_not_trained() -> None:
    model: Any = shapes.MinGPT()
    draws = torch.Generator().manual_seed(0)
    for p in model.parameters():
        nn.init.normal_(p, std=0.02, generator=draws)
    assert "blocks.0.ln_1" in {finding.module for finding in auxin.check(model, n_tokens=16).findings}


class Kept(shapes.ListOfLists):
    """Keeps its arguments, and has neither a config nor a method that draws."""

    def __init__(self, std: float, tables: int = 1) -> None:
        super().__init__()
        self.std, self.tables = std, tables
        for mlp in self.mlps():
            nn.init.normal_(mlp.c_fc.weight, std=std)

    def mlps(self) -> list[shapes.Mlp]:
        return [m for m in self.modules() if isinstance(m, shapes.Mlp)]


def test_the_verdict_says_what_the_weights_were_compared_with() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kept = Kept(0.08)
    report = auxin.check(kept, n_tokens=16)
    assert "layers are recognized, and most maps follow torch's default of nn.Linear" in report.notes[0]
    assert "Whether it is the intended one is not known" in " ".join(report.summary().split())
    with torch.no_grad():
        kept.mlps()[1].c_fc.weight.mul_(1.5)
    assert auxin.check(kept, n_tokens=16).findings[0].module.startswith("layers.1.1")
    del kept.tables  # cannot be drawn anew: that most maps follow another law is all that is known
    assert auxin.check(kept, n_tokens=16).findings[0].module == "layers.0.1.fn.c_fc"
    unknown = shapes.ListOfLists()
    for mlp in (m for m in unknown.modules() if isinstance(m, shapes.Mlp)):
        mlp.gelu = nn.Hardswish()  # pyright: ignore[reportAttributeAccessIssue]
    summary = " ".join(auxin.check(unknown, n_tokens=16).summary().split())
    assert (
        "What the weights should be is not known: reference=… (a model, or a function that builds one) says."
        in summary
    )
    assert (
        "the initialization is what it should be" in auxin.check(models.build("gpt2"), n_tokens=16).summary()
    )


def test_a_refactor_is_compared_with_the_state_that_was_saved(
    source: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Another draw has changed nothing; harmed, the tensor, the signals and the finding are named, also for GitHub."""
    check = ["check", f"{source.name}:build", "--n-tokens", "16"]
    state = str(tmp_path / "start.json")
    assert main([*check, "--save", state]) == 0
    assert main([*check, "--against", state, "--kwargs", "depth=3"]) == 0
    assert "nothing changed." in capsys.readouterr().out
    assert main([*check, "--against", state, "--kwargs", "harmed=true", "--github"]) == 3
    lines = capsys.readouterr().out.splitlines()
    changed = lines[lines.index(f"Since {state}:") + 1 :]
    assert any(line.startswith("transformer.h.0.mlp.c_proj.weight has size 0.0") for line in changed)
    assert any(
        line.startswith("Found, and not before: transformer.h.0.mlp.c_proj has std") for line in changed
    )
    assert lines[-1].startswith(f"::error file={source.name},line=")
    assert ",title=auxin mismatch::transformer.h.0.mlp.c_proj: " in lines[-1]
    now = json.loads(Path(state).read_text())
    now["profile"]["norm"][2] *= 5
    (sentence,) = changes(now, json.loads(Path(state).read_text()))
    assert sentence.startswith("The norm² has changed, first after layer 2: before 0.0")
    assert "; now 0.0" in sentence
    (tmp_path / "other.json").write_text('{"laws": 3}')
    assert main([*check, "--against", str(tmp_path / "other.json")]) == 1
    assert "the saved state is damaged" in capsys.readouterr().err
    now["laws"] = {
        name: [shape, 2 * size, *more]
        for name, (shape, size, *more) in json.loads(Path(state).read_text())["laws"].items()
    }
    words = " ".join(changes({**now, "profile": {}}, json.loads(Path(state).read_text())))
    assert words.count("transformer.h.") < 8
    assert "transformer.h.0.attn.c_attn.weight has size 0.04" in words
    assert " (in 3 layers, this is the first)." in words
    source.unlink()  # before anything is measured
    assert main([*check, "--against", "missing.json"]) == 1
    assert "missing.json" in capsys.readouterr().err
