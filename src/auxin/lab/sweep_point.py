"""A point of a sweep: the fields that can be set, the config that they make, the name that the run has."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from auxin.architecture.model import ModelConfig
from auxin.config import RunConfig, preset
from auxin.errors import ConfigError
from auxin.files import sha256
from auxin.lab.named import Setting
from auxin.lab.sweep_record import word
from auxin.runs.run import PLACES
from auxin.values import changed, check, flat, from_dict

FILES = ("config", "model")
"""What is set by the path of a TOML file: a whole run, or the [model] of one."""
SECTIONS = ("model", "optimizer", "dials")
LONGEST_WORD, LONGEST_NAME = 40, 80


@cache
def known_fields() -> dict[str, Any]:
    """The type of every field that can be set, by its dotted name; of the whole ``model``, a path."""
    fields: dict[str, Any] = {"model": str}
    for name, hint in get_type_hints(RunConfig).items():
        inner = get_type_hints(hint) if name in SECTIONS else {}
        fields |= {f"{name}.{field}": kind for field, kind in inner.items()} or {name: hint}
    return {name: kind for name, kind in fields.items() if name.rpartition(".")[2] not in ("ranges", "seeds")}


def shared(config: RunConfig, names: Collection[str], fixed: Collection[str]) -> dict[str, Any]:
    """The settings of a run that no axis has a say in, by dotted name: what all runs of its sweep have in common.

    ``names`` are the axes, ``fixed`` the fields that are set beside them. Where data are, and when checkpoints are
    written that nothing is measured at, tells no sweep from another.
    """
    decides = {"model": "model.", "task": "model.max_length", "device": "threads"}
    parts = tuple(decides[name] for name in names if name in decides)
    free = {*names, *PLACES, "seeds"}
    if not config.measures and "measures" not in names:
        free.add("checkpoint_every")
    whole = {"preset", "config"}.intersection(names)
    settings = {**dict.fromkeys(known_fields()), **flat(config)}
    return {
        name: value
        for name, value in settings.items()
        if name not in free and (name in fixed or not (whole or name.startswith(parts)))
    }


@dataclass(frozen=True)
class Base:
    """What all points of a sweep share."""

    folder: Path
    """To which paths are relative."""
    fixed: Mapping[str, Any]
    """Fields by dotted name, and ``preset`` or ``config``."""

    def config(self, point: Mapping[str, Any], seeds: object) -> RunConfig:
        """The config of a point; raises ``ConfigError`` naming the point and what is wrong there."""
        try:
            return self._config({**self.fixed, **point}, seeds)
        except ConfigError as error:
            at = ", ".join(f"{name} = {label(name, value)}" for name, value in point.items())
            raise ConfigError(f"at {at}: {error}" if at else str(error)) from None

    def _config(self, fields: dict[str, Any], seeds: object) -> RunConfig:
        if "preset" in fields:
            config = preset(fields.pop("preset"), fields.get("task", "question"))
            if "model.layers" in fields:
                config = changed(config, {"model": config.model.for_layers()})
        else:  # a run's own config has the vocabulary size of its task
            config = from_dict(RunConfig, self._read("config", fields.pop("config")))
            config = changed(config, {"model.vocabulary_size": 0})
        if "model" in fields:
            path = fields["model"]
            values = self._read("model", path)
            check("model" in values, f"model {path}", "without [model]", "a file with a table [model]")
            fields["model"] = changed(from_dict(ModelConfig, values["model"]), {"vocabulary_size": 0})
        config = changed(config, fields if seeds is None else fields | {"seeds": seeds})
        paths = {name: path for name in PLACES if (path := getattr(config, name))}
        changes: dict[str, Any] = {name: os.path.join(self.folder, path) for name, path in paths.items()}
        if config.device == "cpu" and not config.threads:
            changes["threads"] = 1  # numbers then don't depend on how many runs go on at a time
        return changed(config, changes)

    def _read(self, name: str, path: object) -> dict[str, Any]:
        """The content of a TOML file."""
        check(isinstance(path, str), name, path, "the path of a TOML file")
        try:
            return read_toml(self.folder / str(path))
        except ConfigError as error:
            raise ConfigError(f"{name} is {path!r}; allowed: a TOML file ({error})") from None


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; ``ConfigError`` names one that is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def label(name: str, value: object) -> Setting:
    """What stands for a value in names and tables: of a file its stem, of a list or table its JSON."""
    if name in FILES and isinstance(value, str):
        return Path(value).stem
    if isinstance(value, (str, int, float)):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError):  # a date
        raise ConfigError(f"{name} is {value}; allowed: a number, a word, a list or a table") from None


def point_name(settings: Mapping[str, Setting]) -> str:
    """The name of a point's run, which does not depend on what else there is in the sweep.

    >>> point_name({"model.depth": 2, "optimizer.learning_rate": 1e-05})
    'depth=2-learning_rate=1e-05'
    """
    ends = [name.rpartition(".")[2] for name in settings]
    names = ends if len(set(ends)) == len(ends) else list(settings)
    words = [f"{name}={_word(value)}" for name, value in zip(names, settings.values(), strict=True)]
    name = "-".join(words) or "run"
    return name if len(name) <= LONGEST_NAME else f"point-{_digest(settings)}"


def _word(value: Setting) -> str:
    text = word(value)
    return text if re.fullmatch(rf"[a-z0-9.+_-]{{1,{LONGEST_WORD}}}", text) else _digest(value)


def _digest(value: object) -> str:
    return sha256(json.dumps(value).encode())[:12]
