"""Saved weights load elsewhere and give the same logits; damaged files are refused by name."""

import dataclasses
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from auxin.config import ModelConfig, preset
from auxin.errors import AuxinError, CheckpointError, RunError
from auxin.models.basic import sinusoidal_positions
from auxin.models.released import LAYER, TOP
from auxin.models.transformer import TransformerLM

CONFIG = ModelConfig(depth=1, width=8, heads=2, vocabulary_size=5, norm="pre")


def model(**changes: object) -> TransformerLM:
    return TransformerLM(dataclasses.replace(CONFIG, **changes), torch.Generator().manual_seed(0)).eval()  # pyright: ignore


@pytest.mark.parametrize("changes", [{}, {"tied": True}, {"positions": "learned", "norm": "post"}])
def test_round_trip(tmp_path: Path, changes: dict[str, object]) -> None:
    before, words = model(**changes), torch.tensor([[4, 0, 1, 2]])
    before.save_pretrained(tmp_path / "m.safetensors")
    after = TransformerLM.from_pretrained(tmp_path / "m.safetensors")
    assert after.config == before.config
    assert torch.equal(after(words).logits, before(words).logits)
    assert not after.training


@pytest.mark.parametrize("name", ["gpt2", "llama", "pythia", "qwen3", "bert-encoder"])
def test_described_models_survive_a_file(tmp_path: Path, name) -> None:
    config = dataclasses.replace(
        preset(name).model, depth=2, width=16, heads=2, key_heads=0, vocabulary_size=5
    )
    before = TransformerLM(config, torch.Generator().manual_seed(0)).eval()
    before.save_pretrained(tmp_path / "m.safetensors")
    after, words = TransformerLM.from_pretrained(tmp_path / "m.safetensors"), torch.tensor([[4, 0, 1, 2]])
    assert after.config == config
    assert torch.equal(after(words).logits, before(words).logits)
    first, second = (after(torch.tensor([[4, 0, 1, last]])).logits[0, 0] for last in (2, 3))
    assert torch.equal(first, second) == config.causal


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    (tmp_path / "hf").mkdir()
    for name in ("config.json", "model.safetensors.index.json"):
        (tmp_path / "hf" / name).write_text("{}")
        for other in (tmp_path / "hf", tmp_path / "hf" / name):
            with pytest.raises(
                CheckpointError, match=r"(a directory|JSON); .* holds a model of transformers: use"
            ):
                TransformerLM.from_pretrained(other)
    with pytest.raises(CheckpointError, match="no such file"):
        TransformerLM.from_pretrained(path)
    model().save_pretrained(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        TransformerLM.from_pretrained(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="neither an auxin model nor"):
        TransformerLM.from_pretrained(path)
    tensors = {k: v for k, v in model().state_dict().items() if k != "output.bias"}
    from auxin.values import to_json

    save_file(tensors, path, metadata={"auxin.model": to_json(CONFIG)})
    with pytest.raises(CheckpointError, match=r"parameter output\.bias is missing"):
        TransformerLM.from_pretrained(path)
    save_file(tensors | {"output.bias": torch.zeros(7)}, path, metadata={"auxin.model": to_json(CONFIG)})
    with pytest.raises(CheckpointError, match=r"output\.bias has shape \[7\]; its config says \[5\]"):
        TransformerLM.from_pretrained(path)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_junk_raises_only_our_errors(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, header: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.safetensors"
    path.write_bytes(struct.pack("<Q", max(0, len(junk) - 4)) + junk if header else junk)
    with pytest.raises(AuxinError):
        TransformerLM.from_pretrained(path)


def released(before: TransformerLM) -> dict[str, torch.Tensor]:
    """A model's state dict as the released code's class writes it: its names, and its buffers."""
    layer = {ours: theirs for theirs, ours in LAYER.items()}
    top = {ours: theirs for theirs, ours in TOP.items()}
    found = {"int_seq": torch.arange(50), "pos.pe": sinusoidal_positions(50, before.config.width)[None]}
    found |= {"trafo.decoder.layers.0.linear1.weight": torch.ones(2, 2)}
    for name, value in before.state_dict().items():
        prefix, _, rest = name.removeprefix("layers.").partition(".")
        path = f"trafo.encoder.layers.{prefix}."
        if name in top and not (before.config.tied and name == "output.weight"):
            found[top[name]] = value
        elif rest == "attention.qkv.weight":
            q, k, v = value.unflatten(0, (3, before.config.heads, -1))
            found[f"{path}self_attn.data_to_q.weight"] = q.flatten(0, 1)
            found[f"{path}self_attn.data_to_kv.weight"] = torch.stack([k, v], 1).flatten(0, 2)
        elif rest in layer:
            found[path + layer[rest]] = value
    return {name: value.clone() for name, value in found.items()}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_what_the_released_code_saves_gives_the_same_logits(tmp_path: Path, tied: bool, prefix: str) -> None:
    before = model(norm="post", width=16, heads=8, tied=tied)
    path = tmp_path / "m.safetensors"
    save_file({prefix + name: value for name, value in released(before).items()}, path)
    after, words = TransformerLM.from_pretrained(path), torch.tensor([[4, 0, 1, 2]])
    assert torch.equal(after(words).logits, before(words).logits)
    assert (after.config.tied, after.config.max_length) == (tied, 50)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pos.pe", torch.zeros(1, 50, 16), "pos.pe holds other positions"),
        ("pos.pe", sinusoidal_positions(50, 16)[None] / 4, "pos.pe holds other positions"),  # scaled down
        ("int_seq", torch.zeros(50, dtype=torch.int64), "int_seq does not count"),
        (
            "in_embedding_upscale.weight",
            torch.zeros(16, 16),
            "unknown parameter 'in_embedding_upscale.weight'",
        ),
        ("trafo.encoder.norm.weight", torch.zeros(16), "unknown parameter 'trafo.encoder.norm.weight'"),
        ("trafo.encoder.layers.0.gate.weight", torch.zeros(16), "unknown parameter"),
        ("module.int_seq", torch.arange(50), "holds a parameter twice, with and without a prefix"),
        ("steps", torch.arange(50), "steps is of type torch.int64"),
    ],
)
def test_nothing_that_changes_the_function_is_dropped(
    tmp_path: Path, name: str, value: torch.Tensor, message: str
) -> None:
    path = tmp_path / "m.safetensors"
    save_file(released(model(norm="post", width=16, heads=8)) | {name: value}, path)
    with pytest.raises(CheckpointError, match=re.escape(message)):
        TransformerLM.from_pretrained(path)


def test_a_pickle_is_not_opened_and_the_message_converts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, words = model(norm="post", width=16, heads=8, tied=True), torch.tensor([[4, 0, 1, 2]])
    torch.save(released(before), tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="pickles are not opened") as raised:
        TransformerLM.from_pretrained(tmp_path / "m.pt")
    code = str(raised.value).partition("convert one: ")[2]
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-c", code], check=True)
    assert torch.equal(TransformerLM.from_pretrained("m.safetensors")(words).logits, before(words).logits)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Guards may run slower:RuntimeWarning")  # torch, on Python 3.13.0
def test_wrapped_models_are_saved_as_what_they_wrap(tmp_path: Path) -> None:
    before, inside, words = model(), model(), torch.tensor([[4, 0, 1, 2]])
    inside.layers[0] = torch.compile(inside.layers[0], backend="eager")  # pyright: ignore
    for wrapped in (torch.compile(before, backend="eager"), inside):
        wrapped.save_pretrained(tmp_path / "m.safetensors")  # pyright: ignore
        assert torch.equal(
            TransformerLM.from_pretrained(tmp_path / "m.safetensors")(words).logits, before(words).logits
        )


def test_what_would_load_as_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    untied, half, scaled, moved = model(tied=True), model().half(), model(), model()
    untied.output.weight = torch.nn.Parameter(untied.output.weight.detach() + 1)
    scaled.layers[0].mlp.register_forward_hook(lambda module, inputs, output: 2 * output)  # pyright: ignore
    moved.positions.zero_()  # pyright: ignore
    for changed, message in (
        (untied, "output.weight differs from embedding.weight; allowed: the same, as the config says tied"),
        (half, "is of type torch.float16; allowed: float32"),
        (scaled, "computes something else than its config"),
        (moved, "computes something else than its config"),
    ):
        with pytest.raises(CheckpointError, match=re.escape(message)):
            changed.save_pretrained(path)
    assert list(tmp_path.iterdir()) == []
    training = model(dropout=0.5).train()
    training.save_pretrained(path)
    assert training.training
    assert training.layers[0].training


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model().save_pretrained(path)
    content = path.read_bytes()
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "plain").unlink()
    code = (
        "import sys, resource, signal, auxin, torch; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "m = auxin.TransformerLM(auxin.ModelConfig(depth=1, width=8, heads=2, vocabulary_size=5), torch.Generator())\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: m.save_pretrained(sys.argv[1])\n"
        "except auxin.AuxinError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert result.stdout == f"{path}: the disk is full (File too large)\n"
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
    with pytest.raises(RunError, match="missing: no such directory"):
        model().save_pretrained(tmp_path / "missing" / "m.safetensors")
    with pytest.raises(RunError, match="a directory; allowed: a file"):
        model().save_pretrained(tmp_path)
    path.write_text("precious")
    with pytest.raises(RunError, match="not written by auxin"):
        model().save_pretrained(path)
    assert path.read_text() == "precious"
    model().save_pretrained(path, force=True)
    assert path.read_bytes() == content


def test_a_model_is_not_saved_through_a_link(tmp_path: Path) -> None:
    """As nothing is that auxin writes."""
    (tmp_path / "theirs").write_text("precious")
    (tmp_path / "m.safetensors").symlink_to("theirs")
    with pytest.raises(RunError, match="a symbolic link"):
        model().save_pretrained(tmp_path / "m.safetensors")
    assert (tmp_path / "theirs").read_text() == "precious"
