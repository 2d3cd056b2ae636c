"""The parameter names of the code released with Murty et al. 2023, read as ours."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from torch import Tensor

from auxin.config import ModelConfig
from auxin.errors import CheckpointError, ConfigError
from auxin.models.basic import sinusoidal_positions
from auxin.values import check

PREFIX = "trafo.encoder.layers."
LAYER = {  # their names within a layer → ours
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
MAPS = ("self_attn.data_to_q.weight", "self_attn.data_to_kv.weight")  # ours are one matrix
TOP = {
    "input_embedding.weight": "embedding.weight",
    "output_map.weight": "output.weight",
    "output_map.bias": "output.bias",
}
COUNT, POSITIONS = "int_seq", "pos.pe"  # buffers: 0, 1, …, and the table of positions
UNUSED = "trafo.decoder."  # of a language model, which only encodes


def translated(path: Path, tensors: dict[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The config, read off the shapes, and the tensors under our names.

    What is no part of a language model is left out: the buffer ``int_seq``, a table of the standard positions, and
    the decoder, which one does not have. Anything else without a place in ours is a ``CheckpointError``.
    """
    tensors = {name: t for name, t in tensors.items() if not name.startswith(UNUSED)}
    count, table = (tensors.pop(name, None) for name in (COUNT, POSITIONS))
    ours: dict[str, Tensor] = {}
    depth = 0
    for name, tensor in tensors.items():
        layer, _, rest = name.removeprefix(PREFIX).partition(".")
        if name in TOP:
            ours[TOP[name]] = tensor
        elif not name.startswith(PREFIX) or not re.fullmatch(r"0|[1-9][0-9]{0,3}", layer):
            raise CheckpointError(f"{path}: unknown parameter {name!r}")
        elif rest in LAYER:
            ours[f"layers.{layer}.{LAYER[rest]}"] = tensor
            depth = max(depth, int(layer) + 1)
        elif rest not in MAPS:
            raise CheckpointError(f"{path}: unknown parameter {name!r}")
    heads = _heads(path)
    try:
        vocabulary_size, width = ours["embedding.weight"].shape
        for i in range(depth):
            attention = f"{PREFIX}{i}.self_attn."
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
            max_length=_length(path, count, table, width),
            tied="output.weight" not in ours,
        )
    except KeyError as error:
        raise CheckpointError(f"{path}: parameter {error.args[0]} is missing") from None
    except (ConfigError, IndexError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    return config, ours


def _length(path: Path, count: Tensor | None, table: Tensor | None, width: int) -> int:
    """The longest sequence, from the buffers; refuses positions that are not the standard ones."""
    lengths = [len(buffer.squeeze(0)) for buffer in (count, table) if buffer is not None]
    length = min(lengths, default=ModelConfig().max_length)
    if count is not None and not torch.equal(count, torch.arange(len(count))):
        raise CheckpointError(f"{path}: {COUNT} does not count; allowed: 0, 1, 2, …")
    if table is not None:
        standard = sinusoidal_positions(len(table.squeeze(0)), width)
        if table.squeeze(0).shape != standard.shape or (table.squeeze(0) - standard).abs().max() > 1e-2:
            raise CheckpointError(
                f"{path}: {POSITIONS} holds other positions than sin and cos of Vaswani et al."
            )
    return length


def _heads(path: Path) -> int:
    beside = path.with_suffix(".json")
    if not beside.exists():
        return 8
    try:
        heads = json.loads(beside.read_bytes()).get("n_heads", 8)
        check(type(heads) is int and 1 <= heads <= 65_536, "n_heads", heads, "1 to 65536")
    except ConfigError as error:
        raise CheckpointError(f"{beside}: {error}") from None
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{beside}: not a JSON object with n_heads: {error}") from None
    return heads
