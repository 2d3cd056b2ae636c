"""Models on disk: one safetensors file with the config in its header. Never pickle."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from auxin.config import ModelConfig
from auxin.errors import CheckpointError, ConfigError
from auxin.outputs import write_output
from auxin.values import from_json, to_json

M = TypeVar("M", bound=nn.Module)

WRAPPED = re.compile(r"^(?:module\.|_orig_mod\.)+|(?<=\.)_orig_mod\.")
"""Prefixes of names that DistributedDataParallel and torch.compile leave."""
MARK = b'"auxin.model"'
"""What stands in the header of a file that auxin wrote."""
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
PROBE = 16  # tokens on which a model and what was saved of it are compared


def model_bytes(parameters: Mapping[str, Tensor], config: ModelConfig) -> bytes:
    """A model as a safetensors file with its config in the header, for ``read_model``."""
    tensors = {name: t.detach().contiguous() for name, t in parameters.items()}
    if config.tied:
        tensors.pop("output.weight", None)
    return save(tensors, metadata={"auxin.model": to_json(config)})


def save_model(model: Any, path: str | Path, force: bool) -> None:
    """See ``TransformerLM.save_pretrained``."""
    tensors = {WRAPPED.sub("", name): tensor for name, tensor in model.state_dict().items()}
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise CheckpointError(
                f"{name} is of type {tensor.dtype}; allowed: float32 (model.float() converts it)"
            )
    if model.config.tied and not torch.equal(tensors.pop("output.weight"), tensors["embedding.weight"]):
        raise CheckpointError(
            "output.weight differs from embedding.weight; allowed: the same, as the config says tied"
        )
    saved = _filled(type(model), model.config, {n: t.cpu() for n, t in tensors.items()}, Path(path))
    _check_same(model, saved)
    write_output(path, model_bytes(tensors, model.config), force=force, mark=MARK)


@torch.no_grad()
def _check_same(model: Any, saved: Any) -> None:
    """Raise ``CheckpointError`` unless both compute the same logits, up to rounding."""
    config = model.config
    tokens = torch.arange(min(PROBE, config.max_length))[None] % config.vocabulary_size
    training = {module: module.training for module in model.modules()}
    try:
        found = model.eval()(tokens.to(model.embedding.weight.device)).logits.cpu()
    finally:
        for module, mode in training.items():
            module.training = mode
    wanted = saved(tokens).logits
    scale = float(wanted.nan_to_num().abs().max())
    if not torch.allclose(found, wanted, rtol=0, atol=1e-3 * scale, equal_nan=True):
        raise CheckpointError(
            "the model computes something else than its config and its weights say: it was changed"
        )


def load_model(build: Callable[[ModelConfig], M], path: str | Path) -> M:
    """See ``TransformerLM.from_pretrained``."""
    path = Path(path)
    if path.is_dir() or path.suffix == ".json":
        what = "a directory" if path.is_dir() else "JSON"
        other = _other_uses(path) if path.exists() else ""
        raise CheckpointError(f"{path}: {what}; allowed: a safetensors file that auxin wrote{other}")
    if not path.is_file():
        raise CheckpointError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    return read_model(build, content, path)


def read_model(build: Callable[[ModelConfig], M], content: bytes, path: Path) -> M:
    """The model in a file that has been read from a path."""
    tensors, metadata = _tensors(content, path)
    if "auxin.model" not in metadata:
        raise CheckpointError(f"{path}: not a file that auxin wrote{_other_uses(path)}")
    try:
        config = from_json(ModelConfig, metadata["auxin.model"])
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return _filled(build, config, tensors, path)


def _other_uses(path: Path) -> str:
    """What else can be done with a path that is no saved model of auxin's, by what lies there."""
    folder = path if path.is_dir() else path.parent
    if (folder / "config.toml").is_file():
        return f"; {folder} is a run, whose models auxin.open({str(folder)!r}).model(step, seed) loads"
    if (folder / "config.json").is_file():
        return f"; {folder} holds a model of transformers: use auxin check {folder} or auxin trees --model {folder}"
    return ""


def _tensors(content: bytes, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; raises ``CheckpointError`` when it is none."""
    try:
        tensors = load(content)
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError, RuntimeError, struct.error) as error:
        if path.suffix in PICKLES:
            raise CheckpointError(f"{path}: pickles are not opened, as they can run anything") from None
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from None
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise CheckpointError(f"{path}: {name} is of type {tensor.dtype}; allowed: floating point")
    return tensors, metadata


def _filled(
    build: Callable[[ModelConfig], M], config: ModelConfig, tensors: dict[str, Tensor], path: Path
) -> M:
    """The model of ``config`` with ``tensors`` as its weights; sizes are compared before anything is built."""
    if config.depth > len(tensors):
        raise CheckpointError(f"{path}: {len(tensors)} parameters; its config says {config.depth} layers")
    try:
        with torch.device("meta"):
            wanted = {name: p.shape for name, p in build(config).named_parameters()}
    except (ConfigError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    for name, shape in wanted.items():
        if name not in tensors:
            raise CheckpointError(f"{path}: parameter {name} is missing")
        if tensors[name].shape != shape:
            found = list(tensors[name].shape)
            raise CheckpointError(f"{path}: {name} has shape {found}; its config says {list(shape)}")
    extra = sorted(set(tensors) - set(wanted) - {"output.weight"})
    if extra:
        raise CheckpointError(f"{path}: unknown parameter {extra[0]!r}")
    model = build(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[name])
    return model.eval()
