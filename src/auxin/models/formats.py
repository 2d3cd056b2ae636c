"""Checkpoints on disk: our own format, and the parameter names of Murty et al.'s released code. Never pickle."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from auxin.arguments import explained
from auxin.config import ModelConfig
from auxin.errors import CheckpointError, ConfigError
from auxin.models.transformer import TransformerLM
from auxin.values import check, from_json, to_json

LONGEST_JSON = 1 << 20  # bytes read of the file beside a released model
RELEASED_PREFIX = "trafo.encoder.layers."
RELEASED_LAYER = {  # the released code's names within a layer → ours
    "self_attn.multi_head_merge.weight": "attention.out.weight",
    "linear1.weight": "mlp.up.weight",
    "linear1.bias": "mlp.up.bias",
    "linear2.weight": "mlp.down.weight",
    "linear2.bias": "mlp.down.bias",
    "norm1.weight": "attention_norm.weight",
    "norm1.bias": "attention_norm.bias",
    "norm2.weight": "mlp_norm.weight",
    "norm2.bias": "mlp_norm.bias",
}
RELEASED_MAPS = ("self_attn.data_to_q.weight", "self_attn.data_to_kv.weight")  # ours are one matrix
RELEASED_TOP = {
    "input_embedding.weight": "embedding.weight",
    "output_map.weight": "output.weight",
    "output_map.bias": "output.bias",
}


def model_bytes(parameters: Mapping[str, Tensor], config: ModelConfig) -> bytes:
    """A model as a safetensors file with its config in the header, for ``load_model`` to read back."""
    tensors = {name: t.detach().contiguous() for name, t in parameters.items()}
    if config.tied:
        tensors.pop("output.weight", None)
    return save(tensors, metadata={"auxin.model": to_json(config)})


@explained
def save_model(model: TransformerLM, path: str | Path) -> None:
    """Write a model's weights and config to one safetensors file."""
    Path(path).write_bytes(model_bytes(model.state_dict(), model.config))


@explained
def load_model(path: str | Path) -> TransformerLM:
    """Load a model, in eval mode, from our own file or from one with the released code's parameter names.

    The latter say nothing of heads: 8 unless a ``.json`` of the same stem holds ``n_heads``. Raises
    ``CheckpointError`` naming the file when it is missing, damaged or does not fit its config.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    if "auxin.model" in metadata:
        try:
            config = from_json(ModelConfig, metadata["auxin.model"])
        except ConfigError as error:
            raise CheckpointError(f"{path}: {error}") from None
    elif "input_embedding.weight" in tensors:
        config, tensors = _from_released(path, tensors)
    else:
        raise CheckpointError(f"{path}: neither an auxin model nor one in the released code's names")
    return _filled(config, tensors, path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; raises ``CheckpointError`` when it cannot be read."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, KeyError, RuntimeError, struct.error) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from None
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise CheckpointError(f"{path}: {name} is of type {tensor.dtype}; allowed: floating point")
    return tensors, metadata


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


def _from_released(path: Path, tensors: dict[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Translate the released code's names; the architecture is read off the shapes."""
    ours: dict[str, Tensor] = {}
    depth = 0
    for name, tensor in tensors.items():
        if name in RELEASED_TOP:
            ours[RELEASED_TOP[name]] = tensor
        elif name.startswith(RELEASED_PREFIX):
            layer, _, rest = name.removeprefix(RELEASED_PREFIX).partition(".")
            if not re.fullmatch(r"0|[1-9][0-9]{0,3}", layer) or rest not in (*RELEASED_LAYER, *RELEASED_MAPS):
                raise CheckpointError(f"{path}: unknown parameter {name!r}")
            depth = max(depth, int(layer) + 1)
            if rest in RELEASED_LAYER:
                ours[f"layers.{layer}.{RELEASED_LAYER[rest]}"] = tensor
    heads = _released_heads(path)
    try:
        vocabulary_size, width = ours["embedding.weight"].shape
        for i in range(depth):
            attention = f"{RELEASED_PREFIX}{i}.self_attn."
            # rows of data_to_kv run over heads, then (key, value), then the head's dimensions
            k, v = tensors[f"{attention}data_to_kv.weight"].view(heads, 2, -1, width).unbind(1)
            parts = [tensors[f"{attention}data_to_q.weight"], k.flatten(0, 1), v.flatten(0, 1)]
            ours[f"layers.{i}.attention.qkv.weight"] = torch.cat(parts)
        config = ModelConfig(
            depth=depth,
            width=width,
            heads=heads,
            feedforward=ours["layers.0.mlp.up.weight"].shape[0],
            vocabulary_size=vocabulary_size,
        )
    except KeyError as error:
        raise CheckpointError(f"{path}: parameter {error.args[0]} is missing") from None
    except (ConfigError, IndexError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    return config, ours


def _released_heads(path: Path) -> int:
    beside = path.with_suffix(".json")
    if not beside.exists():
        return 8
    try:
        with open(beside, "rb") as file:
            heads = json.loads(file.read(LONGEST_JSON)).get("n_heads", 8)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{beside}: not a JSON object with n_heads: {error}") from None
    try:
        check(type(heads) is int and 1 <= heads <= 65_536, "n_heads", heads, "1 to 65536")
    except ConfigError as error:
        raise CheckpointError(f"{beside}: {error}") from None
    return heads
