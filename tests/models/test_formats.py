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
    with pytest.raises(CheckpointError, match="not a file that auxin wrote"):
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


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    torch.save(model().state_dict(), tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="pickles are not opened"):
        TransformerLM.from_pretrained(tmp_path / "m.pt")


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
    assert result.stdout == f"{path}: File too large\n"
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
