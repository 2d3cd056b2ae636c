"""Models on disk: one safetensors file with the config in its header, or one of the released code. Never pickle."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from auxin.config import ModelConfig
from auxin.errors import CheckpointError, ConfigError, RunError
from auxin.models import released
from auxin.models.transformer import TransformerLM
from auxin.outputs import write_output
from auxin.values import check, from_json, to_json

WRAPPED = re.compile(r"^(?:module\.|_orig_mod\.)+|(?<=\.)_orig_mod\.")
"""Prefixes of names that DistributedDataParallel and torch.compile leave."""
MARK = b'"auxin.model"'
"""What stands in the header of a file that auxin wrote."""
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
PROBE = 16  # tokens on which a model and what was saved of it are compared


def model_bytes(parameters: Mapping[str, Tensor], config: ModelConfig) -> bytes:
    """A model as a safetensors file with its config in the header, for ``load_model`` to read back."""
    tensors = {name: t.detach().contiguous() for name, t in parameters.items()}
    if config.tied:
        tensors.pop("output.weight", None)
    return save(tensors, metadata={"auxin.model": to_json(config)})


def save_model(model: TransformerLM, path: str | Path, *, force: bool = False) -> None:
    """Write a model's weights and config to one safetensors file, which ``load_model`` reads back.

    A compiled model is saved as the one that it was compiled from. Raises ``CheckpointError`` when the file cannot be
    written (an older one stays whole), is a link or another's file (which ``force`` replaces), and for a model that a
    file could not hold: parameters of another precision, or changed by hand so that it computes something else than
    its config and weights say.

    >>> import torch
    >>> config = ModelConfig(depth=1, width=8, heads=2, vocabulary_size=5)
    >>> save_model(TransformerLM(config, torch.Generator().manual_seed(0)), "model.safetensors")
    """
    path, model = Path(path), _unwrapped(model)
    tensors = {WRAPPED.sub("", name): tensor for name, tensor in model.state_dict().items()}
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise CheckpointError(
                f"{name} is of type {tensor.dtype}; allowed: float32 (model.float() converts it)"
            )
    tied = model.config.tied
    if tied and not torch.equal(model.output.weight, model.embedding.weight):
        raise CheckpointError(
            "output.weight differs from embedding.weight; allowed: the same, as the config says tied"
        )
    content = model_bytes(tensors, model.config)
    kept = {name: t.cpu() for name, t in tensors.items() if not (tied and name == "output.weight")}
    _check_same(model, _filled(model.config, kept, path))
    try:
        write_output(path, content, force=force, mark=MARK)
    except RunError as error:
        raise CheckpointError(str(error)) from None


def _unwrapped(model: nn.Module) -> TransformerLM:
    """The model itself, out of what torch.compile and data parallelism put around it."""
    while not isinstance(model, TransformerLM):
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if not isinstance(inner, nn.Module):
            check(False, "model", model, "a TransformerLM")
        model = inner  # pyright: ignore[reportAssignmentType]
    return model


@torch.no_grad()
def _check_same(model: TransformerLM, saved: TransformerLM) -> None:
    """Raise ``CheckpointError`` unless both compute the same logits, up to rounding."""
    config = model.config
    device = model.embedding.weight.device
    tokens = torch.arange(min(PROBE, config.max_length))[None] % config.vocabulary_size
    training = {module: module.training for module in model.modules()}
    try:
        found = model.eval()(tokens.to(device)).logits.cpu()
    finally:
        for module, mode in training.items():
            module.training = mode
    wanted = saved(tokens).logits
    scale = float(wanted.nan_to_num().abs().max())
    if not torch.allclose(found, wanted, rtol=0, atol=1e-3 * scale, equal_nan=True):
        raise CheckpointError(
            "the model computes something else than its config and its weights say: it was changed"
        )


def load_model(path: str | Path) -> TransformerLM:
    """Load a model, in eval mode, from our own file or from one with the released code's parameter names.

    The latter say nothing of heads: 8 unless a ``.json`` of the same stem holds ``n_heads``. Prefixes that
    torch.compile and DistributedDataParallel put before names are taken off. Raises ``CheckpointError`` naming the
    file when it is missing, damaged, a pickle, does not fit its config, or holds what the model has no place for.

    >>> import torch
    >>> config = ModelConfig(depth=1, width=8, heads=2, vocabulary_size=5)
    >>> save_model(TransformerLM(config, torch.Generator().manual_seed(0)), "model.safetensors")
    >>> load_model("model.safetensors").config == config
    True
    """
    path = Path(path)
    if path.is_dir() or path.suffix == ".json":
        what = "a directory" if path.is_dir() else "JSON"
        raise CheckpointError(
            f"{path}: {what}; allowed: a safetensors file that auxin wrote{_other_uses(path) if path.exists() else ''}"
        )
    if not path.is_file():
        raise CheckpointError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    return model_of(content, path)


def model_of(content: bytes, path: Path) -> TransformerLM:
    """As ``load_model``, of a file that has been read from a path."""
    tensors, metadata = _tensors(content, path)
    if "auxin.model" in metadata:
        try:
            config = from_json(ModelConfig, metadata["auxin.model"])
        except ConfigError as error:
            raise CheckpointError(f"{path}: {error}") from None
    elif "input_embedding.weight" in tensors:
        config, tensors = released.translated(path, tensors)
    else:
        raise CheckpointError(
            f"{path}: neither an auxin model nor one in the released code's names{_other_uses(path)}"
        )
    return _filled(config, tensors, path)


def _other_uses(path: Path) -> str:
    """What else can be done with a path that is no saved model of auxin's, by what lies there."""
    folder = path if path.is_dir() else path.parent
    if (folder / "config.toml").is_file():
        return f"; {folder} is a run, whose models are checkpoints/*/member-*.safetensors"
    if (folder / "config.json").is_file():
        return f"; {folder} holds a model of transformers: use auxin check {folder} or auxin trees --model {folder}"
    return ""


def _tensors(content: bytes, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; raises ``CheckpointError`` when it is none."""
    try:
        named = [(WRAPPED.sub("", name), tensor) for name, tensor in load(content).items()]
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError, RuntimeError, struct.error) as error:
        if path.suffix in PICKLES:
            raise CheckpointError(f"{path}: {_conversion(path)}") from None
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from None
    tensors = dict(named)
    if len(tensors) < len(named):
        raise CheckpointError(f"{path}: holds a parameter twice, with and without a prefix")
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() and name != released.COUNT:
            raise CheckpointError(f"{path}: {name} is of type {tensor.dtype}; allowed: floating point")
    return tensors, metadata


def _conversion(path: Path) -> str:
    """How to make a file that can be read of one that torch.save has written."""
    read = f"torch.load({path.name!r}, weights_only=True)"
    return (
        "pickles are not opened, as they can run anything; convert one: import torch, safetensors.torch; "
        f"safetensors.torch.save_file({{k: v.clone() for k, v in {read}.items()}}, {path.stem + '.safetensors'!r})"
    )


def _filled(config: ModelConfig, tensors: dict[str, Tensor], path: Path) -> TransformerLM:
    """The model of ``config`` with ``tensors`` as its weights; sizes are compared before anything is built."""
    if config.depth > len(tensors):
        raise CheckpointError(f"{path}: {len(tensors)} parameters; its config says {config.depth} layers")
    try:
        with torch.device("meta"):
            wanted = {name: p.shape for name, p in TransformerLM(config).named_parameters()}
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
    model = TransformerLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[name])
    return model.eval()
