"""What a user names on the command line, as a model: a function of a module or file, or a config.json."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auxin.errors import AuxinError, ConfigError, DataError
from auxin.families.preparation import as_config_error
from auxin.values import check

INSTALL = "install it in a clone of auxin with pip install '.[hf]'"
LARGEST = 1e9
"""Parameters up to which a config's model is built to be measured."""

GROWING = (
    "intermediate_size",
    "n_inner",
    "ffn_dim",
    "moe_intermediate_size",
    "head_dim",
    "word_embed_proj_dim",
)
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
    _check_arguments(source, factory, arguments)
    called = f"{source} called with {shown}" if (shown := _shown(arguments)) else source
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
    with _running(place, f"{place} cannot be imported:"):
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
        function = function_at(source)

        @wraps(function)
        def built(*args: Any, **kwargs: Any) -> Any:
            with _running(source.rpartition(":")[0], f"{source} raised"):
                return function(*args, **kwargs)

        return built
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
        yield
    except AuxinError:
        raise
    except SystemExit as stop:
        raise ConfigError(
            f"{what} SystemExit({stop.code!r}); allowed: a file that does not end the program where it is imported "
            "(what a script does stands under if __name__ == '__main__')"
        ) from stop
    except Exception as error:
        text = f"{what} {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if "relative import" in text:
            text += "; allowed: a file of a package by its name, package.module:function"
        raise ConfigError(text) from error
    finally:
        for path in added:
            if path in sys.path:
                sys.path.remove(path)


def _check_arguments(source: str, factory: Any, arguments: Mapping[str, Any]) -> None:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in several]
    missing = [name for name in needed if name not in arguments]
    known = [p.name for p in parameters]
    unknown = [name for name in arguments if name not in known]
    if missing:
        form = " ".join(f"{name}=…" for name in missing)
        raise ConfigError(f"{source} needs {', '.join(missing)}; allowed: --kwargs {form}")
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise ConfigError(
            f"{source} takes no {', '.join(unknown)}; allowed: --kwargs {', '.join(known) or 'none'}"
        )


def _shown(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


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
    try:
        import transformers
    except ImportError:
        return f"to measure it as well, {INSTALL}"
    kind = str(settings.get("model_type"))
    values = {k: value for k, value in settings.items() if k not in ("model_type", "torch_dtype", "dtype")}
    with (
        as_config_error(f"transformers builds no {kind!r} of this"),
        torch.random.fork_rng(devices=[]),
        _quiet(transformers),
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
    transformers = _transformers(f"weights of {path}")
    with as_config_error(f"{path} holds no weights that transformers loads"), _quiet(transformers):
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
        built = _builder(transformers, config)
        owner: Any = getattr(built, "__self__", built)
        return owner.from_pretrained(path, config=config, local_files_only=True, use_safetensors=True)


def _transformers(what: str) -> Any:
    try:
        import transformers
    except ImportError:
        raise ConfigError(f"{what} cannot be read without transformers; {INSTALL}") from None
    return transformers


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


@contextmanager
def _quiet(transformers: Any) -> Any:
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)


def tokens_of(path: Path, vocabulary: int | None, batch: int, n_tokens: int) -> Tensor:
    """Token ids [batch, n] from a file: an array of ids (.npy), or a text, whose words are numbered as they come.

    Only which tokens are the same matters to random embeddings, so no tokenizer is needed. Raises ``DataError`` for
    a file that is empty, too short, no array of whole numbers, or of more words than the model's vocabulary.
    """
    _check_data(
        path.is_file() or not path.exists(), f"{path} is no file; allowed: an array of ids (.npy) or a text"
    )
    try:
        if path.suffix == ".npy":
            ids = np.load(path)  # no pickles, by default
        else:
            number: dict[str, int] = {}
            words = path.read_text(encoding="utf-8").split()[: batch * n_tokens]
            ids = np.array([number.setdefault(word, len(number)) for word in words], dtype=np.int64)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"{path} is no array of numbers or text: {error}") from None
    _check_data(ids.size > 0, f"{path} is empty; allowed: two tokens or more")
    _check_data(
        ids.dtype.kind in "iu", f"{path} holds {ids.dtype}; allowed: whole numbers, the ids of tokens"
    )
    rows = ids[:batch, :n_tokens] if ids.ndim > 1 else ids[None, : batch * n_tokens]
    width = min(n_tokens, rows.shape[-1])
    _check_data(width >= 2, f"{path} has {ids.size} token; allowed: two or more")
    count = min(batch, rows.size // width)
    tokens = torch.from_numpy(rows.reshape(-1)[: count * width].astype(np.int64)).view(count, width)
    largest, smallest = int(tokens.max()), int(tokens.min())
    fits = smallest >= 0 and (vocabulary is None or largest < vocabulary)
    _check_data(
        fits, f"{path} has ids from {smallest} to {largest}; the model's vocabulary has {vocabulary} tokens"
    )
    return tokens


def _check_data(condition: bool, message: str) -> None:
    if not condition:
        raise DataError(message)


def pretrained(path: Path) -> tuple[nn.Module, Any]:
    """Causal model and tokenizer of transformers from a directory; no code in it is run, nothing is downloaded.

    Raises ``ConfigError`` without transformers, or where the directory holds no such model.
    """
    transformers = _transformers(f"the model in {path}")
    if not path.is_dir():
        raise ConfigError(f"{path} is no directory; allowed: one with a config.json, weights and a tokenizer")
    load = {"local_files_only": True}
    with as_config_error(f"{path} holds no causal model that transformers loads"), _quiet(transformers):
        model = transformers.AutoModelForCausalLM.from_pretrained(path, use_safetensors=True, **load)
        return model, transformers.AutoTokenizer.from_pretrained(path, **load)
