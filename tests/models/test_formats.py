"""Saved weights load elsewhere and give the same logits; damaged files are refused by name."""

import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from auxin.config import ModelConfig
from auxin.errors import AuxinError, CheckpointError
from auxin.models.formats import load_model, save_model
from auxin.models.transformer import TransformerLM

CONFIG = ModelConfig(depth=1, width=8, heads=2, vocabulary_size=5, norm="pre")


def model(**changes: object) -> TransformerLM:
    import dataclasses

    return TransformerLM(dataclasses.replace(CONFIG, **changes), torch.Generator().manual_seed(0)).eval()  # pyright: ignore


@pytest.mark.parametrize("changes", [{}, {"tied": True}, {"positions": "learned", "norm": "post"}])
def test_round_trip(tmp_path: Path, changes: dict[str, object]) -> None:
    before, words = model(**changes), torch.tensor([[4, 0, 1, 2]])
    save_model(before, tmp_path / "m.safetensors")
    after = load_model(tmp_path / "m.safetensors")
    assert after.config == before.config
    assert torch.equal(after(words).logits, before(words).logits)
    assert not after.training


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(CheckpointError, match="no such file"):
        load_model(path)
    save_model(model(), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_model(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="neither an auxin model nor"):
        load_model(path)
    tensors = {k: v for k, v in model().state_dict().items() if k != "output.bias"}
    from auxin.values import to_json

    save_file(tensors, path, metadata={"auxin.model": to_json(CONFIG)})
    with pytest.raises(CheckpointError, match=r"parameter output\.bias is missing"):
        load_model(path)
    save_file(tensors | {"output.bias": torch.zeros(7)}, path, metadata={"auxin.model": to_json(CONFIG)})
    with pytest.raises(CheckpointError, match=r"output\.bias has shape \[7\]; its config says \[5\]"):
        load_model(path)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_junk_raises_only_our_errors(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, header: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.safetensors"
    path.write_bytes(struct.pack("<Q", max(0, len(junk) - 4)) + junk if header else junk)
    with pytest.raises(AuxinError):
        load_model(path)
