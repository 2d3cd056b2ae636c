"""What a model is called with, where the caller gives nothing: token ids, pixels or vectors, as it seems to want."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.values import check

TOKEN_NAMES = ("input_ids", "tokens", "idx", "ids")
VOCABULARY_NAMES = ("wte", "tok", "word", "vocab", "embed")


@dataclass(frozen=True)
class Call:
    """The arguments of a forward pass, and what is known of them."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    tokens: Tensor | None = None
    """int64 [B, n], where inputs are token ids."""
    kept: Tensor | None = None
    """bool [B, n], false for padding."""
    batch_first: bool | None = None
    """As the model says of its own float inputs."""
    notes: tuple[str, ...] = ()

    @property
    def described(self) -> str:
        """The arguments in words, for an error."""
        each = [*self.args, *self.kwargs.values()]
        shapes = [
            f"{str(v.dtype).removeprefix('torch.')} {tuple(v.shape)}" for v in each if isinstance(v, Tensor)
        ]
        return ", ".join(shapes) or "these inputs"


def call_of(model: nn.Module, inputs: Any, batch: int, n_tokens: int, generator: torch.Generator) -> Call:
    """The caller's inputs as arguments, on the model's device; or made up.

    Raises ``ConfigError`` for inputs of another kind, token ids outside the vocabulary, or a model of which no
    input can be made up.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if inputs is None:
        call = _made_up(model, batch, n_tokens, generator)
    elif isinstance(inputs, Mapping):
        call = Call(kwargs={str(k): v for k, v in inputs.items()})
    elif isinstance(inputs, Tensor):
        call = Call(args=(inputs,))
    else:
        check(
            isinstance(inputs, (tuple, list)), "inputs", type(inputs).__name__, "a tensor, a tuple or a dict"
        )
        call = Call(args=tuple(inputs))
    args = tuple(a.to(device) if isinstance(a, Tensor) else a for a in call.args)
    kwargs = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in call.kwargs.items()}
    if _accepts(model, "use_cache"):
        kwargs.setdefault("use_cache", False)
    tokens = next((v for v in (*args, *kwargs.values()) if _is_ids(v)), None)
    if tokens is not None:
        _check_tokens(model, tokens)
    mask = kwargs.get("attention_mask")
    kept = mask.bool() if isinstance(mask, Tensor) and mask.ndim == 2 else None
    flags = {m.batch_first for m in model.modules() if isinstance(m, nn.MultiheadAttention)}
    return Call(args, kwargs, tokens, kept, flags.pop() if len(flags) == 1 else None, call.notes)


def _made_up(model: nn.Module, batch: int, n_tokens: int, generator: torch.Generator) -> Call:
    config = getattr(model, "config", None)
    size = getattr(config, "image_size", None)
    if size is not None and _accepts(model, "pixel_values"):
        channels = getattr(config, "num_channels", 3)
        height, width = size if isinstance(size, (tuple, list)) else (size, size)
        pixels = torch.randn(batch, channels, height, width, generator=generator)
        dtype = next(p.dtype for p in model.parameters())
        return Call(kwargs={"pixel_values": pixels.to(dtype)}, notes=("inputs: random N(0, 1) pixels",))
    table = vocabulary_of(model)
    if table is not None:
        return _random_tokens(model, table, batch, n_tokens, generator)
    width = _input_width(model)
    if width is None:
        raise ConfigError(
            f"what {type(model).__name__} takes as input is not to be told; allowed: inputs= a tensor, a tuple of "
            "arguments or a dict of named ones"
        )
    first = next((m.batch_first for m in model.modules() if isinstance(m, nn.MultiheadAttention)), True)
    shape = (batch, n_tokens, width) if first else (n_tokens, batch, width)
    vectors = torch.randn(shape, generator=generator).to(next(p.dtype for p in model.parameters()))
    args = (vectors, vectors.clone()) if _accepts(model, "memory") else (vectors,)
    return Call(args, notes=(f"inputs: random N(0, 1) vectors {tuple(shape)}",))


def _random_tokens(
    model: nn.Module, table: nn.Embedding, batch: int, n_tokens: int, generator: torch.Generator
) -> Call:
    """Different ids in every sequence, without the padding's, as many as the model has positions for."""
    longest = _longest(model, table)
    n = min(n_tokens, longest)
    ids = [i for i in range(min(table.num_embeddings, 200_000)) if i != table.padding_idx]
    check(len(ids) >= 2, "vocabulary of the model", table.num_embeddings, "2 words or more")
    pool = torch.tensor(ids)
    drawn = [torch.randperm(len(pool), generator=generator)[:n] for _ in range(batch)]
    notes = [f"inputs: {batch} × {n} random token ids"]
    if len(pool) < n:
        drawn = [torch.randint(len(pool), (n,), generator=generator) for _ in range(batch)]
        notes.append("the vocabulary is small: pairs of one token are left out of the cosines")
    tokens = pool[torch.stack(drawn)]
    name = next((name for name in TOKEN_NAMES if _accepts(model, name)), None)
    kwargs = {"input_ids": tokens} if name == "input_ids" else {}
    return Call(() if kwargs else (tokens,), kwargs, notes=tuple(notes))


def vocabulary_of(model: nn.Module) -> nn.Embedding | None:
    """The table of token embeddings: the model's own word for it, else by its name, else the first."""
    getter = getattr(model, "get_input_embeddings", None)
    if callable(getter):
        try:
            table = getter()
        except (AttributeError, NotImplementedError):
            table = None
        if isinstance(table, nn.Embedding):
            return table
    tables = {n.lower(): m for n, m in model.named_modules() if isinstance(m, nn.Embedding)}
    for word in VOCABULARY_NAMES:
        for name, table in tables.items():
            if word in name.rpartition(".")[2] and "pos" not in name.rpartition(".")[2]:
                return table
    return next((table for name, table in tables.items() if "pos" not in name), None)


def _longest(model: nn.Module, table: nn.Embedding) -> int:
    """Tokens of a sequence that the model's positions allow."""
    config = getattr(model, "config", None)
    names = ("max_position_embeddings", "n_positions", "block_size")
    if not hasattr(config, "model_type"):  # in transformers' configs it is about generation
        names += ("max_length",)
    known = [getattr(config, n, None) for n in names]
    lengths = [n - 2 if n == 514 else n for n in known if isinstance(n, int) and n > 1]
    lengths += [
        m.num_embeddings
        for name, m in model.named_modules()
        if isinstance(m, nn.Embedding) and m is not table and ("pos" in name.lower() or name.endswith("wpe"))
    ]
    size = getattr(model, "block_size", None)
    lengths += [size] if isinstance(size, int) else []
    return min(lengths, default=1_000_000)


def _input_width(model: nn.Module) -> int | None:
    """Width of the vectors that the first module with a matrix or a norm reads."""
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            return module.embed_dim
        if isinstance(module, nn.Linear):
            return module.in_features
        if isinstance(module, nn.LayerNorm):
            return module.normalized_shape[-1]
    return None


def _accepts(model: nn.Module, name: str) -> bool:
    try:
        return name in inspect.signature(model.forward).parameters
    except (TypeError, ValueError):
        return False


def _is_ids(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 2 and value.dtype in (torch.int64, torch.int32)


def _check_tokens(model: nn.Module, tokens: Tensor) -> None:
    check(tokens.numel() > 0, "inputs", tuple(tokens.shape), "one token or more")
    check(tokens.shape[1] >= 2, "tokens of a sequence", tokens.shape[1], "2 or more")
    table = vocabulary_of(model)
    if table is not None:
        largest = int(tokens.max())
        check(
            largest < table.num_embeddings,
            "largest token id",
            largest,
            f"below the model's vocabulary of {table.num_embeddings}",
        )
