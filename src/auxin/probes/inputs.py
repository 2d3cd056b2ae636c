"""What a model is called with, where the caller gives nothing: token ids, pixels or vectors, as it seems to want."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from auxin.errors import ConfigError
from auxin.families.layers import Layers
from auxin.probes.states import tensors_of, wrong
from auxin.values import check, check_whole

TOKEN_NAMES = ("input_ids", "tokens", "idx", "ids")
VOCABULARY_NAMES = ("wte", "tok", "word", "vocab", "embed")


@dataclass(frozen=True)
class Reading:
    """What a model reads to be measured, and where its stream is."""

    inputs: Any = None
    """What its forward takes: a tensor, a tuple of arguments or a dict of named ones; None: random token ids, pixels
    or vectors, as the model seems to want."""
    layers: Layers | None = None
    """The container of the layers by name, or the layers in order, where they are not found."""
    batch: int = 2
    """Sequences of the default inputs."""
    n_tokens: int = 64
    """Tokens of each."""
    batch_first: bool | None = None
    """Whether the stream is [B, n, d]; None: it is found out."""
    seed: int = 0
    """Of the default inputs and of the combination that is differentiated."""

    def __post_init__(self) -> None:
        check_whole("batch", self.batch, 1, 10_000)
        check_whole("n_tokens", self.n_tokens, 2, 1_000_000)
        check_whole("seed", self.seed, 0, 2**63 - 1)


@dataclass(frozen=True)
class Call:
    """The arguments of a forward pass, and what is known of them."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    tokens: Tensor | None = None
    """int64 [B, n], where an argument is called token ids; a table of tokens that is read shows more."""
    kept: dict[str, Tensor] = field(default_factory=dict)
    """bool [B, n] by the name of the argument, false for padding."""
    batch_first: bool | None = None
    """As the model says of its own float inputs."""
    notes: tuple[str, ...] = ()

    @property
    def described(self) -> str:
        """The arguments in words, for an error."""
        tensors = [v for v in (*self.args, *self.kwargs.values()) if isinstance(v, Tensor)]
        shapes = (f"{str(v.dtype).removeprefix('torch.')} {tuple(v.shape)}" for v in tensors)
        return ", ".join(shapes) or "these inputs"


def call_of(model: nn.Module, reading: Reading, generator: torch.Generator | None = None) -> Call:
    """The caller's inputs as arguments, on the model's device; or made up, where the model shows what it takes."""
    inputs = reading.inputs
    if inputs is None:
        call = _made_up(model, reading, generator or torch.Generator().manual_seed(reading.seed))
    elif isinstance(inputs, Mapping):
        call = Call(kwargs={str(k): v for k, v in inputs.items()})
    elif isinstance(inputs, (Tensor, np.ndarray)) or _is_numbers(inputs):
        call = Call((inputs,))
    else:
        allowed = "a tensor or array, a tuple or a dict of them"
        check(isinstance(inputs, (tuple, list)), "inputs", type(inputs).__name__, allowed)
        call = Call(tuple(inputs))
    args = tuple(_tensor(model, value) for value in call.args)
    kwargs = {name: _tensor(model, value) for name, value in call.kwargs.items()}
    if accepts(model, "use_cache"):
        kwargs.setdefault("use_cache", False)
    named = next((kwargs[name] for name in TOKEN_NAMES if name in kwargs), args[0] if args else None)
    ids = isinstance(named, Tensor) and named.ndim == 2 and named.dtype in (torch.int64, torch.int32)
    flags = {m.batch_first for m in model.modules() if isinstance(m, nn.MultiheadAttention)}
    return Call(
        args,
        kwargs,
        tokens=named if ids else None,
        kept=dict(_kept(kwargs)),
        batch_first=flags.pop() if len(flags) == 1 else None,
        notes=call.notes,
    )


def first_sequence(inputs: Any) -> Any:
    """That of a batch of inputs."""
    batch = next((len(x) for x in tensors_of(inputs) if x.ndim > 1), 0)
    cut = lambda x: x[:1] if isinstance(x, Tensor) and x.ndim and len(x) == batch else x
    return tree_map(cut, dict(inputs) if isinstance(inputs, Mapping) else inputs)


def _tensor(model: nn.Module, value: Any) -> Any:
    """Numbers as a tensor on the model's device, of its type where they are floats; others as they are."""
    parameter = next(model.parameters(), torch.empty(0))
    if isinstance(value, np.ndarray) or _is_numbers(value):
        try:
            value = torch.from_numpy(np.array(value))
        except (ValueError, TypeError):
            raise ConfigError("inputs are lists of unlike lengths; allowed: as many tokens in each") from None
        value = value.to(parameter.dtype) if value.is_floating_point() else value
    if isinstance(value, Tensor):
        check(value.numel() > 0, "inputs", tuple(value.shape), "one token or more")
        finite = not value.is_floating_point() or not wrong(value)
        check(finite, f"an entry of inputs {tuple(value.shape)}", "not finite", "finite numbers")
        return value.to(parameter.device)
    return value


def _is_numbers(value: Any) -> bool:
    """Whether nested lists or tuples hold numbers alone."""
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and all(_is_numbers(item) or isinstance(item, (int, float)) for item in value)
    return False


def _kept(kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Masks of padding [B, n]: transformers' are true for tokens, torch's for padding."""
    for name, mask in kwargs.items():
        flat = isinstance(mask, Tensor) and mask.ndim == 2
        if flat and name.endswith("padding_mask") and mask.dtype == torch.bool:
            yield name, ~mask
        elif flat and name.endswith("attention_mask"):
            yield name, mask.bool()


def _made_up(model: nn.Module, reading: Reading, generator: torch.Generator) -> Call:
    sensed, table = _sensed(model, reading), vocabulary_of(model)
    dtype = next(model.parameters()).dtype
    drawn = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in sensed.items()}
    args = tuple(value for name, value in drawn.items() if not name)
    kwargs = {name: value for name, value in drawn.items() if name}
    notes = tuple(f"inputs: random N(0, 1) {name or 'pixels'} {shape}" for name, shape in sensed.items())
    if table is not None and (not sensed or accepts(model, "input_ids", "decoder_input_ids")):
        call = _random_tokens(model, table, reading, generator)
        return Call(call.args, call.kwargs | kwargs, notes=(*call.notes, *notes))
    if sensed:
        return Call(args, kwargs, notes=notes)
    width = _input_width(model)
    if width is None:
        allowed = "inputs= a tensor, a tuple of arguments or a dict of named ones"
        raise ConfigError(f"what {type(model).__name__} takes as input is not known; allowed: {allowed}")
    first = next((m.batch_first for m in model.modules() if isinstance(m, nn.MultiheadAttention)), True)
    shape = (reading.batch, reading.n_tokens, width) if first else (reading.n_tokens, reading.batch, width)
    vectors = torch.randn(shape, generator=generator).to(dtype)
    args = (vectors, vectors.clone()) if accepts(model, "memory", "tgt") else (vectors,)
    return Call(args, notes=(f"inputs: random N(0, 1) vectors {tuple(shape)}",))


def _sensed(model: nn.Module, reading: Reading) -> Mapping[str, tuple[int, ...]]:
    """Shapes of pixels and sounds by the name of the argument, as the model's own config tells."""
    config = getattr(model, "config", None)
    get: Any = lambda name, default=None: getattr(config, name, default)
    batch, n = reading.batch, reading.n_tokens
    both = hasattr(model, "get_text_features") and hasattr(model, "get_image_features")
    if accepts(model, "pixel_values") and (both or not accepts(model, "input_ids")):
        seeing = get("vision_config", config)
        size: Any = getattr(seeing, "image_size", None)
        height, width = size if isinstance(size, (tuple, list)) else (size, size)
        frames = (seeing.num_frames,) if isinstance(getattr(seeing, "num_frames", None), int) else ()
        channels = getattr(seeing, "num_channels", None) or 3
        shape = (batch, *frames, channels, height, width)
        return {"pixel_values": shape} if height else {}
    if accepts(model, "input_values") and get("conv_stride") and get("conv_kernel"):
        for kernel, stride in zip(reversed(get("conv_kernel")), reversed(get("conv_stride")), strict=True):
            n = (n - 1) * stride + kernel
        return {"input_values": (batch, n)}
    if accepts(model, "input_values") and get("max_length") and get("num_mel_bins"):
        return {"input_values": (batch, get("max_length"), get("num_mel_bins"))}
    if accepts(model, "input_features") and not accepts(model, "input_ids"):
        if get("max_source_positions") and get("num_mel_bins"):  # two frames a position
            return {"input_features": (batch, get("num_mel_bins"), 2 * get("max_source_positions"))}
        size = get("feature_projection_input_dim", get("input_feat_per_channel", get("num_mel_bins")))
        return {"input_features": (batch, 4 * n, size)} if size else {}
    return {} if accepts(model, "input_ids") else _pixels(model, batch)


def _pixels(model: nn.Module, batch: int) -> Mapping[str, tuple[int, ...]]:
    """Those of a model that cuts images into patches, by the size that timm, torchvision and others keep."""
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    known = [getattr(m, name, None) for m in model.modules() for name in ("img_size", "image_size")]
    known.append((getattr(model, "default_cfg", None) or {}).get("input_size", ())[1:])  # timm's
    size = next((size for size in known if isinstance(size, (int, tuple, list)) and size), None)
    if first is None or size is None:
        return {}
    return {"": (batch, first.in_channels, *((size, size) if isinstance(size, int) else size))}


def _random_tokens(
    model: nn.Module, table: nn.Embedding, reading: Reading, generator: torch.Generator
) -> Call:
    """Different ids in every sequence, without the padding's, as many as the model has positions for."""
    n, batch = min(reading.n_tokens, _longest(model, table)), reading.batch
    ids = [i for i in range(min(table.num_embeddings, 200_000)) if i != table.padding_idx]
    check(len(ids) >= 2, "vocabulary of the model", table.num_embeddings, "2 words or more")
    pool = torch.tensor(ids)
    drawn = [torch.randperm(len(pool), generator=generator)[:n] for _ in range(batch)]
    notes = [f"inputs: {batch} × {n} random token ids"]
    if len(pool) < n:
        drawn = [torch.randint(len(pool), (n,), generator=generator) for _ in range(batch)]
        notes.append("the vocabulary is small: pairs of one token are left out of the cosines")
    tokens = pool[torch.stack(drawn)]
    kwargs = {"input_ids": tokens} if accepts(model, "input_ids") else {}
    if accepts(model, "decoder_input_ids"):
        kwargs["decoder_input_ids"] = tokens.flip(1)
    return Call(() if kwargs else (tokens,), kwargs, notes=tuple(notes))


def vocabulary_of(model: nn.Module) -> nn.Embedding | None:
    """The table of token embeddings: the model's own word for it, else by its name, else the first."""
    try:
        table = model.get_input_embeddings()  # pyright: ignore[reportCallIssue]
    except (AttributeError, NotImplementedError, TypeError):
        table = None
    if isinstance(table, nn.Embedding):
        return table
    tables = {n.lower(): m for n, m in model.named_modules() if isinstance(m, nn.Embedding)}
    for word in VOCABULARY_NAMES:
        for name, table in tables.items():
            last = name.rpartition(".")[2]
            if word in last and "pos" not in last:
                return table
    return next((table for name, table in tables.items() if "pos" not in name), None)


def _longest(model: nn.Module, table: nn.Embedding) -> int:
    """Tokens of a sequence that the model's positions allow."""
    config = getattr(model, "config", None)
    names = ["max_position_embeddings", "n_positions", "block_size"]
    if not hasattr(config, "model_type"):  # in transformers' configs it is about generation
        names.append("max_length")
    known = [*(getattr(config, name, None) for name in names), getattr(model, "block_size", None)]
    lengths = [n - 2 if n == 514 else n for n in known if isinstance(n, int) and n > 1]
    for name, m in model.named_modules():
        if isinstance(m, nn.Embedding) and m is not table and ("pos" in name.lower() or name.endswith("wpe")):
            lengths.append(m.num_embeddings)
    return min(lengths, default=1_000_000)


def _input_width(model: nn.Module) -> int | None:
    """Width of the vectors that the first module with a matrix or a norm reads."""
    names = {nn.MultiheadAttention: "embed_dim", nn.Linear: "in_features", nn.LayerNorm: "normalized_shape"}
    for module in model.modules():
        for kind, name in names.items():
            if isinstance(module, kind):
                width = getattr(module, name)
                return width[-1] if isinstance(width, tuple) else width
    return None


def accepts(model: nn.Module, *names: str) -> bool:
    """Whether the model's forward has an argument of one of these names."""
    try:
        return not set(names).isdisjoint(inspect.signature(model.forward).parameters)
    except (TypeError, ValueError):
        return False
