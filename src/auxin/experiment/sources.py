"""What a user names on the command line, as a model: a function of a module or file, or a config.json."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.preparation import as_config_error
from auxin.values import check

INSTALL = "install it in a clone of auxin with pip install '.[hf]'"
LARGEST = 1e9
"""Parameters up to which a config's model is built to be measured."""

GROWING = [
    "intermediate_size",
    "n_inner",
    "ffn_dim",
    "moe_intermediate_size",
    "head_dim",
    "word_embed_proj_dim",
]
"""Settings of configs that grow with the width."""


def is_config(source: str) -> bool:
    """Whether a source is a config.json or its directory, and no module."""
    path = Path(source)
    return path.is_dir() or source.endswith(".json")


def build(source: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The module that ``package.module:function`` or ``file.py:function`` returns. Importing it runs it.

    Raises ``ConfigError`` for a source that cannot be imported (with what it raised), a function that is not there,
    needs other arguments or raises, and a result that is no module.
    """
    factory = function_at(source)
    if isinstance(factory, nn.Module):
        return factory
    check(callable(factory), source, type(factory).__name__, "a function that returns a torch.nn.Module")
    parameters = inspect.signature(factory)
    try:
        parameters.bind(**arguments)
    except TypeError as error:
        known = " ".join(f"{name}=…" for name in parameters.parameters) or "none"
        raise ConfigError(f"{source}: {error}; allowed: --kwargs {known}") from None
    shown = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    called = f"{source} called with {shown}" if shown else source
    with _running(source.rpartition(":")[0], f"{called} raised"):
        model = factory(**arguments)
    check(isinstance(model, nn.Module), f"result of {source}", type(model).__name__, "a torch.nn.Module")
    return model


def function_at(source: str) -> Any:
    """What ``package.module:name`` or ``file.py:name`` stands for. Importing it runs it."""
    place, colon, name = source.rpartition(":")
    if not colon or not place or not name:
        raise ConfigError(
            f"source is {source!r}; allowed: module:function, file.py:function, or a config.json or its directory"
        )
    with _running(place, f"{place} cannot be imported"):
        found: Any = _imported(place)
    for step in name.split("."):
        if not hasattr(found, step):
            raise ConfigError(f"{place} has no {step!r}; allowed: a function that returns a torch.nn.Module")
        found = getattr(found, step)
    return found


def place_of(source: str) -> tuple[str, int]:
    """File, relative to the current directory where it is inside, and line of what a source names."""
    if is_config(source):
        return source, 1
    function = function_at(source)
    file, line = str(inspect.getsourcefile(function)), inspect.getsourcelines(function)[1]
    path = Path(file).resolve()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path), line


def scaled_models(source: str, names: Sequence[str]) -> Callable[[int, int], Any]:
    """A function of width and depth: the one that a source names, or that of a config with other sizes.

    ``names`` are those of a config's width and depth. Sizes of heads and of MLPs grow with the width, the number of
    heads is kept.
    """
    if not is_config(source):
        return _running(source.rpartition(":")[0], f"{source} raised")(function_at(source))
    from auxin.families.configs import read_config

    settings = read_config(source)
    check(
        len(names) == 2 and set(names) <= set(settings), "names", tuple(names), "the config's width and depth"
    )
    old = settings[names[0]]

    def of_config(width: int, depth: int) -> nn.Module:
        sizes = {k: settings[k] * width // old for k in GROWING if isinstance(settings.get(k), int)}
        sizes |= {names[0]: width, names[1]: depth}
        return _of_settings(settings | sizes, torch.initial_seed())  # the caller's

    return of_config


def _of_settings(settings: Mapping[str, Any], seed: int, source: str = "a config") -> nn.Module:
    model = model_of_config(settings, seed)
    if isinstance(model, str):
        raise ConfigError(f"{source} alone cannot be measured; {model}")
    return model


def _imported(place: str) -> ModuleType:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place)
    if not path.is_file():
        raise ConfigError(f"{place} is no file; allowed: a Python file, or the name of a module")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@contextmanager
def _running(place: str, what: str) -> Iterator[None]:
    """A user's code runs as a script does, its own directory and the current one first among the places of modules.

    What it raises, and that it ends the program, becomes a ``ConfigError`` of one line.
    """
    added = [str(Path(place).resolve().parent)] if place.endswith(".py") else []
    added.append(str(Path.cwd()))
    sys.path[:0] = added
    try:
        with as_config_error(what):
            yield
    except ConfigError as error:
        if "relative import" not in str(error):
            raise
        raise ConfigError(
            f"{error}; allowed: a file of a package by its name, package.module:function"
        ) from error
    except SystemExit as stop:
        raise ConfigError(
            f"{what}: SystemExit({stop.code!r}); allowed: a file that does not end the program where it is imported "
            "(what a script does stands under if __name__ == '__main__')"
        ) from stop
    finally:
        for path in added:
            if path in sys.path:
                sys.path.remove(path)


def arguments_of(words: Sequence[str]) -> dict[str, Any]:
    """``name=value`` words; values are read as JSON where they are that, else as text."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        check(bool(equals) and name.isidentifier(), "kwargs", word, "name=value")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = {"True": True, "False": False, "None": None}.get(text, text)
    return found


def model_of_config(settings: Mapping[str, Any], seed: int = 0) -> nn.Module | str:
    """The model of transformers that a config describes, randomly initialized; or why it cannot be had, in words.

    The global random state is as before afterwards. Raises ``ConfigError`` where transformers refuses the settings.
    """
    if importlib.util.find_spec("transformers") is None:
        return f"to measure it as well, {INSTALL}"
    kind = str(settings.get("model_type"))
    values = {k: value for k, value in settings.items() if k not in ("model_type", "torch_dtype", "dtype")}
    with (
        _transformers(f"transformers builds no {kind!r} of this") as transformers,
        torch.random.fork_rng(devices=[]),
    ):
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        config = transformers.AutoConfig.for_model(kind, **values)
        build = _builder(transformers, config)
        with torch.device("meta"):
            empty = build(config)
        count = sum(p.numel() for p in empty.parameters())
        if count > LARGEST:
            return f"{count:,} parameters are too many to be built and measured"
        return build(config)


def model_at(source: str, arguments: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """The model of a function, of a config, or of a directory with weights that transformers loads.

    Raises ``ConfigError`` where there is none, or transformers is not installed.
    """
    if not is_config(source):
        return build(source, arguments)
    from auxin.families.configs import read_config

    check(not arguments, "kwargs", arguments, "none, of a config")
    settings, path = read_config(source), Path(source)
    if any(path.glob("*.safetensors")):
        return _with_weights(path)
    return _of_settings(settings, seed, source)


def _with_weights(path: Path) -> nn.Module:
    with _transformers(f"{path} holds no weights that transformers loads") as transformers:
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
        built = _builder(transformers, config)
        owner: Any = getattr(built, "__self__", built)
        return owner.from_pretrained(path, config=config, local_files_only=True, use_safetensors=True)


@contextmanager
def _transformers(what: str) -> Iterator[Any]:
    """transformers, silent; what it raises, or that it is not there, as a ``ConfigError`` of ``what``."""
    if importlib.util.find_spec("transformers") is None:
        raise ConfigError(f"{what}: it is not installed; {INSTALL}")
    import transformers

    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        with as_config_error(what):
            yield transformers
    finally:
        transformers.logging.set_verbosity(level)


def _builder(transformers: Any, config: Any) -> Callable[[Any], nn.Module]:
    """What builds a config's model: the class that it names, else the first of transformers' that is made for it."""
    for name in getattr(config, "architectures", None) or ():
        named = getattr(transformers, str(name), None)
        if isinstance(named, type) and issubclass(named, transformers.PreTrainedModel):
            return named
    heads = sorted(name for name in dir(transformers) if name.startswith("AutoModelFor"))
    first = ["AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForSeq2SeqLM", "AutoModel"]
    if getattr(config, "is_encoder_decoder", False):
        first = ["AutoModelForSeq2SeqLM", "AutoModelForSpeechSeq2Seq", "AutoModel"]
    for name in (*first, *heads):
        auto = getattr(transformers, name, None)
        if auto is not None and type(config) in auto._model_mapping:
            return auto.from_config
    raise ValueError(f"none of its classes is made for {type(config).__name__}")


def tokens_of(path: Path, vocabulary: int | None, batch: int, n_tokens: int) -> Tensor:
    """Token ids [batch, n] from a file: an array of ids (.npy), or a text, whose words are numbered as they come.

    Only which tokens are the same matters to random embeddings, so no tokenizer is needed. Raises ``ConfigError`` for
    a file that is too short, no array of whole numbers, or of more words than the model's vocabulary.
    """
    try:
        if path.suffix == ".npy":
            ids = np.load(path)  # no pickles, by default
        else:
            number: dict[str, int] = {}
            words = path.read_text(encoding="utf-8").split()[: batch * n_tokens]
            ids = np.array([number.setdefault(word, len(number)) for word in words], dtype=np.int64)
    except ValueError as error:
        raise ConfigError(f"{path} is no array of numbers or text: {error}") from None
    check(ids.dtype.kind in "iu", f"type of {path}", str(ids.dtype), "whole numbers, the ids of tokens")
    rows = ids[:batch, :n_tokens] if ids.ndim > 1 else ids[None, : batch * n_tokens]
    width = min(n_tokens, rows.shape[-1])
    check(rows.size >= width >= 2, f"number of tokens in {path}", ids.size, "two or more")
    count = min(batch, rows.size // width)
    tokens = torch.from_numpy(rows.reshape(-1)[: count * width].astype(np.int64)).view(count, width)
    smallest, largest, words = int(tokens.min()), int(tokens.max()), vocabulary or np.inf
    allowed = f"ids of the model's vocabulary of {vocabulary} tokens"
    check(0 <= smallest <= largest < words, f"range of ids in {path}", (smallest, largest), allowed)
    return tokens


def pretrained(path: Path) -> tuple[nn.Module, Any]:
    """Causal model and tokenizer of transformers from a directory; no code in it is run, nothing is downloaded.

    Raises ``ConfigError`` without transformers, or where the directory holds no such model.
    """
    if not path.is_dir():
        raise ConfigError(f"{path} is no directory; allowed: one with a config.json, weights and a tokenizer")
    load = {"local_files_only": True}
    with _transformers(f"{path} holds no causal model that transformers loads") as transformers:
        model = transformers.AutoModelForCausalLM.from_pretrained(path, use_safetensors=True, **load)
        return model, transformers.AutoTokenizer.from_pretrained(path, **load)
