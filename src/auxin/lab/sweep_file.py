"""A sweep as people write it: sweep.toml, whose base, settings, axes and seeds become named runs."""

from __future__ import annotations

import difflib
import itertools
import json
import math
import os
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from auxin.architecture.model import ModelConfig
from auxin.config import RunConfig, preset
from auxin.errors import ConfigError
from auxin.files import sha256
from auxin.lab.named import NamedRun, Setting, seed_by_seed
from auxin.lab.places import Owner
from auxin.lab.sweep_record import Axis, word
from auxin.runs.run import PLACES
from auxin.values import changed, check, common, flat, from_dict

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


def shared(runs: Sequence[NamedRun], names: Sequence[str], fixed: Collection[str] = ()) -> dict[str, Any]:
    """The settings that all runs of a sweep have in common and no axis has a say in, by dotted name.

    ``names`` are the axes, ``fixed`` the fields that are set beside them; an axis that is no field may decide about
    all others. Where data are, and when checkpoints are written that nothing is measured at, tells no sweep from
    another.
    """
    decides = {"model": "model.", "task": "model.max_length", "device": "threads"}
    parts = tuple(decides[name] for name in names if name in decides)
    free = {*names, *PLACES, "seeds"}
    if not runs[0].config.measures and "measures" not in names:
        free.add("checkpoint_every")
    fields = known_fields()
    whole = not set(names) <= fields.keys()
    settings = common([dict.fromkeys(fields) | flat(run.config) for run in runs])
    return {
        name: value
        for name, value in settings.items()
        if name not in free and (name in fixed or not (whole or name.startswith(parts)))
    }


def config_of(folder: Path, fields: Mapping[str, Any], seeds: object) -> RunConfig:
    """The config of a point, whose ``fields`` by dotted name include its preset or config; paths are in ``folder``."""
    fields = dict(fields)
    if "preset" in fields:
        config = preset(fields.pop("preset"), fields.get("task", "question"))
        if "model.layers" in fields:
            config = changed(config, {"model": config.model.for_layers()})
    else:  # a run's own config has the vocabulary size of its task
        config = from_dict(RunConfig, _read(folder, "config", fields.pop("config")))
        config = changed(config, {"model.vocabulary_size": 0})
    if "model" in fields:
        path = fields["model"]
        values = _read(folder, "model", path)
        check("model" in values, f"model {path}", "without [model]", "a file with a table [model]")
        fields["model"] = changed(from_dict(ModelConfig, values["model"]), {"vocabulary_size": 0})
    config = changed(config, fields if seeds is None else fields | {"seeds": seeds})
    changes = {name: os.path.join(folder, path) for name in PLACES if (path := getattr(config, name))}
    # with one thread, numbers don't depend on how many runs go on at a time
    threads = {"threads": 1} if config.device == "cpu" and not config.threads else {}
    return changed(config, changes | threads)


def _read(folder: Path, name: str, path: object) -> dict[str, Any]:
    """The content of a TOML file."""
    check(isinstance(path, str), name, path, "the path of a TOML file")
    try:
        return read_toml(folder / str(path))
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


KEYS = ("preset", "config", "seeds", "draw", "set", "axes")
MOST_RUNS = 10_000


@dataclass(frozen=True)
class Design:
    """What a sweep consists of."""

    axes: tuple[Axis, ...]
    runs: list[NamedRun]
    owner: Owner
    """What tells it from other sweeps, but for its sentences."""


def read_sweep(path: str | Path) -> Design:
    """The axes and runs of a sweep file; raises ``ConfigError`` for what it must not hold."""
    path = Path(path)
    values = read_toml(path)
    try:
        return _design(values, path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _design(values: Mapping[str, Any], folder: Path) -> Design:
    for key in values:
        check(key in KEYS, "a setting of a sweep", key, ", ".join(KEYS))
    fixed, varied = (_flat(values.get(key, {}), key) for key in ("set", "axes"))
    for name in varied:
        check(name not in fixed, f"[axes] {name}", varied[name], "a field that is not in [set], too")
    places = {**values, **varied}
    given = [name for where in (values, varied) for name in ("preset", "config") if name in where]
    check(len(given) > 0, "preset", None, "a preset, or a config file, or an axis of either")
    check(len(given) < 2, given[-1], places[given[-1]], f"nothing, beside {given[0]}")
    spec = values.get("draw")
    ranges = [_Range.of(name, axis, spec is not None) for name, axis in varied.items()]
    names = [r.name for r in ranges]
    if spec is None:
        points = list(itertools.product(*(r.values for r in ranges)))
    else:
        points = [
            tuple(r.at(u) for r, u in zip(ranges, row, strict=True)) for row in _drawn(spec, len(ranges))
        ]
    runs: list[NamedRun] = []
    fixed = {key: values[key] for key in ("preset", "config") if key in values} | fixed
    for point in (dict(zip(names, at, strict=True)) for at in points):
        settings = {name: label(name, value) for name, value in point.items()}
        try:
            config = config_of(folder, fixed | point, values.get("seeds"))
        except ConfigError as error:
            at = ", ".join(f"{name} = {value}" for name, value in settings.items())
            raise ConfigError(f"at {at}: {error}" if at else str(error)) from None
        runs.append(NamedRun(point_name(settings), config, settings))
    owner = Owner(axes=tuple(names), settings=shared(runs[:1], names, fixed))
    axes = [
        Axis(r.name, tuple(label(r.name, v) for v in r.values or sorted({*at})), r.log, spec is not None)
        for r, at in zip(ranges, zip(*points, strict=True), strict=True)
    ]
    return Design(tuple(axes), _unstacked(runs), owner)


def _unstacked(runs: Sequence[NamedRun]) -> list[NamedRun]:
    """On a CPU a run for each seed, on a GPU a stack of all seeds."""
    known: set[tuple[Setting, ...]] = set()
    for run in runs:
        key = tuple(run.settings.values())
        once = "each point once; draw fewer, or from wider ranges"
        check(key not in known, "a point of [axes]", dict(run.settings), once)
        known.add(key)
    found = [run for run in runs if run.config.device != "cpu"]
    found += seed_by_seed(run for run in runs if run.config.device == "cpu")
    check(len(found) <= MOST_RUNS, "number of runs", len(found), f"up to {MOST_RUNS}")
    return found


def _flat(table: object, where: str) -> dict[str, Any]:
    """The fields of [set] or [axes] by dotted name: ``model.depth = …`` without quotes is a table to TOML."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where} is {table!r}; allowed: a table, [{where}]")
    fields: dict[str, Any] = {}
    for key, value in table.items():
        inside = key in SECTIONS and isinstance(value, dict)
        fields |= {f"{key}.{name}": content for name, content in value.items()} if inside else {key: value}
    allowed = known_fields() if where == "set" else (*known_fields(), "preset", "config")
    for name in fields:
        if name not in allowed:
            close = difflib.get_close_matches(name, allowed, n=3) or ["steps", "model.depth"]
            near = f"{', '.join(close)}, and others: auxin train --help-all lists them"
            raise ConfigError(f"[{where}] has {name!r}, no setting of a run; allowed: {near}")
    return fields


def _drawn(spec: object, dimension: int) -> Any:
    """Points [N, dimension] of the unit cube; a larger number of them begins with those of a smaller one."""
    import numpy as np
    from scipy.stats import qmc

    kinds = ({"sobol"}, {"random"}, {"random", "seed"})
    fits = isinstance(spec, dict) and set(spec) in kinds and all(type(n) is int for n in spec.values())
    check(fits, "draw", spec, "{ sobol = N } or { random = N, seed = S }")
    assert isinstance(spec, dict)
    count, seed = spec.get("sobol", spec.get("random", 0)), spec.get("seed", 0)
    check(1 <= count <= MOST_RUNS, "draw", spec, f"1 to {MOST_RUNS} points")
    check(0 <= seed < 2**63, "seed of draw", seed, "0 to 2^63 − 1")
    check(dimension > 0, "draw", spec, "nothing, without [axes]")
    if "random" in spec:
        return np.random.default_rng(seed).random((count, dimension))
    sobol = qmc.Sobol(dimension, scramble=False)
    sobol.fast_forward(1)  # past the corner of all lowest values
    return sobol.random(count)


@dataclass(frozen=True)
class _Range:
    """The values of an axis, or the range from which they are drawn."""

    name: str
    values: tuple[Any, ...]
    """Of a list or a grid."""
    ends: tuple[float, float] | None = None
    """Of a range that is drawn from."""
    log: bool = False

    @classmethod
    def of(cls, name: str, spec: object, drawn: bool) -> _Range:
        """An axis as it is written; ``drawn`` says that ranges are drawn from, not divided into points."""
        where = f"[axes] {name}"
        if isinstance(spec, list):
            check(len(spec) > 0, where, spec, "one value or more")
            once = all(value not in spec[:i] for i, value in enumerate(spec))
            check(once, where, spec, "each value once")
            names = [point_name({name: label(name, value)}) for value in spec]
            how = "files of different stems" if name in FILES else "values of different names"
            check(len(set(names)) == len(names), where, spec, how)
            return cls(name, tuple(spec), log=logarithmic(spec))
        points = {} if drawn else {"points"}
        form = "a list, { log = [low, high]%s } or { linear = … }" % ("" if drawn else ", points = N")
        fits = isinstance(spec, dict) and set(spec) in ({"log", *points}, {"linear", *points})
        check(fits, where, spec, form + (", with draw" if drawn else ""))
        assert isinstance(spec, dict)
        log = "log" in spec
        ends = spec["log" if log else "linear"]
        numbers = isinstance(ends, list) and len(ends) == 2 and all(type(e) in (int, float) for e in ends)
        low, high = map(float, ends) if numbers else (0.0, 0.0)
        fits = (0 if log else -math.inf) < low < high < math.inf
        check(fits, where, ends, "[low, high], numbers with low < high" + (" and low > 0" if log else ""))
        kind = known_fields().get(name)
        check(kind in (int, float), where, spec, "a list, of a field that is no number")
        if drawn:
            return cls(name, (), (low, high), log)
        count = spec["points"]
        fits = type(count) is int and 2 <= count <= MOST_RUNS
        check(fits, f"points of {where}", count, f"2 to {MOST_RUNS}")
        values = [cls(name, (), (low, high), log).at(i / (count - 1)) for i in range(count)]
        check(len(set(values)) == count, where, values, "each value once; fewer points of whole numbers")
        return cls(name, tuple(values), log=log)

    def at(self, u: float) -> Any:
        """The value at a place from 0 to 1: whole where the field is, else to six digits."""
        if self.ends is None:
            return self.values[min(int(u * len(self.values)), len(self.values) - 1)]
        low, high = self.ends
        value = low * (high / low) ** u if self.log else low + (high - low) * u
        return round(value) if known_fields()[self.name] is int else float(f"{value:.6g}")


def logarithmic(values: Sequence[object]) -> bool:
    """Whether values lie more evenly on a logarithmic scale than on a linear one: 1, 3, 10 do."""
    numbers = sorted(v for v in values if type(v) in (int, float) and v > 0)  # pyright: ignore
    if len(numbers) < max(3, len(values)):
        return False
    gaps = [b - a for a, b in itertools.pairwise(numbers)]
    ratios = [math.log(b / a) for a, b in itertools.pairwise(numbers)]
    return max(ratios) / min(ratios) < max(gaps) / min(gaps)
