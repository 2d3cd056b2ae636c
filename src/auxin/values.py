"""Frozen, validated dataclasses: what they check at construction, and their TOML and JSON forms.

A ``Value`` that exists is usable. A field that may hold one of several kinds of value is written with a ``part``
that names the kind; a field that is None is left out.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from numbers import Real
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import tomli_w

from auxin.errors import ConfigError

V = TypeVar("V")


def check(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raise ``ConfigError`` naming the setting, its value and what is allowed, unless ``condition``."""
    if not condition:
        raise ConfigError(f"{name} is {_shown(value)}; allowed: {allowed}")


def check_finite(name: str, value: object, low: float, high: float, allowed: str) -> None:
    """``check`` that the value is a finite number from ``low`` to ``high``, or an array of such."""
    check_each(name, value, lambda v: (v >= low) & (v <= high), allowed)


def check_each(name: str, value: Any, inside: Callable[[Any], Any], allowed: str) -> None:
    """``check`` that a number, or every number of an array, is inside; names the first that is not."""
    check(is_number(value), name, value, "a number")
    fits = np.asarray(inside(value))
    check(bool(fits.all()), name, float(value[~fits][0]) if fits.ndim and not fits.all() else value, allowed)


def check_whole(name: str, value: Any, low: int, high: int) -> None:
    """``check`` that the value is a whole number (Python's or numpy's) from ``low`` to ``high``."""
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    check(whole and low <= int(value) <= high, name, value, f"a whole number from {low} to {high}")


def is_number(value: Any) -> bool:
    """Whether the value is a real number, or an array of them."""
    if hasattr(value, "dtype"):
        return value.dtype.kind in "iuf"
    return isinstance(value, Real) and not isinstance(value, bool)


def _shown(value: object) -> str:
    """The value as Python writes it, cut where a reader has seen enough."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python refuses to print integers of thousands of digits
        return "too long to print"
    return text if len(text) <= 100 else f"{text[:100]}…"


class Value:
    """Base of the frozen dataclasses: refuses fields of a wrong type or outside a ``Literal``, and non-finite numbers.

    ``ranges`` gives the closed interval of numeric fields. A subclass with more to check extends ``__post_init__``.
    """

    ranges = {}  # type: Mapping[str, tuple[float, float]]  # noqa: RUF012

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__repr__" not in vars(cls):  # before the dataclass makes one that names every field
            setattr(cls, "__repr__", written)  # noqa: B010

    def __post_init__(self) -> None:
        hints = _hints(type(self))
        for f in dataclasses.fields(self):  # pyright: ignore[reportArgumentType]
            value, hint = getattr(self, f.name), hints[f.name]
            if value is None and type(None) in get_args(hint):
                continue
            self._check_field(f.name, value, _without_none(hint))

    def _check_field(self, name: str, value: Any, hint: Any) -> None:
        kinds = _dataclasses(hint)
        if get_origin(hint) is Literal:
            fits = any(value == choice and type(value) is type(choice) for choice in get_args(hint))
            check(fits, name, value, ", ".join(map(str, get_args(hint))))
        elif hint is float:
            check(
                is_number(value) and bool(np.all(abs(value) <= sys.float_info.max)),
                name,
                value,
                "a finite number",
            )
            object.__setattr__(self, name, value if getattr(value, "shape", ()) else float(value))
        elif hint in (int, bool, str):
            check(type(value) is hint, name, value, f"of type {hint.__name__}")
            check(hint is not str or value.isprintable(), name, value, "printable text")
        elif get_origin(hint) is tuple:
            object.__setattr__(self, name, as_tuple(name, value))
        elif (kinds and kinds == get_args(hint)) or hint in kinds:
            check(isinstance(value, kinds), name, value, "a " + " or ".join(kind.__name__ for kind in kinds))
        if name in self.ranges:
            low, high = self.ranges[name]
            check_finite(name, value, low, high, f"{low:g} to {high:g}")


def written(value: Any) -> str:
    """A value as it is written: what is at its default is left out, and numbers have six digits."""
    shown: list[str] = []
    for f in dataclasses.fields(value):
        content = getattr(value, f.name)
        usual = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
        if not (type(content) is type(usual) and content == usual):
            text = f"{content:.6g}" if isinstance(content, float) else repr(content)
            shown.append(f"{f.name}={text}")
    return f"{type(value).__name__}({', '.join(shown)})"


def as_tuple(name: str, value: object) -> tuple[Any, ...]:
    """A list or tuple as a tuple."""
    check(isinstance(value, (list, tuple)), name, value, "a list")
    return tuple(value)  # pyright: ignore[reportArgumentType]


def to_dict(value: Any) -> dict[str, Any]:
    """A value as plain dicts, lists, strings and numbers; ``from_dict`` reverses it."""
    hints = _hints(type(value))
    fields = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
    return {name: _plain(content, hints[name]) for name, content in fields if content is not None}


def _plain(content: Any, hint: Any) -> Any:
    if dataclasses.is_dataclass(content):
        part = {"part": type(content).__name__.lower()} if len(_dataclasses(hint)) > 1 else {}
        return part | to_dict(content)
    if isinstance(content, tuple):
        return [_plain(item, get_args(hint)[0]) for item in content]
    plain = isinstance(content, (int, float, str))
    check(plain, "setting", content, "a number, a word or a list, to be written")
    return content


def from_dict(cls: type[V], values: Mapping[str, Any]) -> V:
    """Build a value from plain ones; an unknown field or a value out of range is a ``ConfigError``."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{cls.__name__} is {_shown(values)}; allowed: a table of settings")
    hints = _hints(cls)
    fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
    known = [f.name for f in fields]
    unknown = set(values) - set(known)
    if unknown:
        raise ConfigError(f"{cls.__name__} has no setting {sorted(unknown)[0]!r}; known: {', '.join(known)}")
    required = (f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING)
    missing = [name for name in required if name not in values]
    if missing:
        raise ConfigError(f"{cls.__name__} has no {missing[0]}; allowed: a table with {', '.join(known)}")
    return cls(**{name: _built(name, content, hints[name]) for name, content in values.items()})


def changed(value: V, settings: Mapping[str, Any]) -> V:
    """The value with other settings by dotted name, as values or as plain data; they are checked all together.

    Raises ``ConfigError`` for an unknown setting and for values that cannot be.

    >>> changed(RunConfig(), {"model.depth": 2, "model.heads": 8, "steps": 5}).model.depth
    2
    """
    hints, built = _hints(type(value)), dict[str, Any]()
    inner: dict[str, dict[str, Any]] = {}
    for name, content in settings.items():
        section, dot, field = name.partition(".")
        if section not in {f.name for f in dataclasses.fields(value)}:  # pyright: ignore[reportArgumentType]
            raise ConfigError(f"{type(value).__name__} has no setting {section!r}")
        if dot:
            inner.setdefault(section, {})[field] = content
        else:
            built[name] = _built(name, content, hints[name])
    for section, fields in inner.items():
        built[section] = changed(built.get(section, getattr(value, section)), fields)
    return dataclasses.replace(value, **built)  # pyright: ignore[reportArgumentType, reportReturnType]


def _built(name: str, content: Any, hint: Any) -> Any:
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        return tuple(_built(name, entry, item) for entry in as_tuple(name, content))
    kinds = _dataclasses(hint)
    if not kinds or isinstance(content, kinds):
        return content
    if len(kinds) == 1:
        return from_dict(kinds[0], content)
    parts = {kind.__name__.lower(): kind for kind in kinds}
    part = content.get("part") if isinstance(content, Mapping) else content
    check(part in parts, f"part of {name}", part, ", ".join(parts))
    return from_dict(parts[str(part)], {key: value for key, value in content.items() if key != "part"})


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _without_none(hint: Any) -> Any:
    """The hint with None left out, where that leaves one thing."""
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else Union[tuple(kinds)]  # noqa: UP007
    return hint


def _dataclasses(hint: Any) -> tuple[type, ...]:
    """The dataclasses that a hint allows."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return tuple(
        option for option in options if isinstance(option, type) and dataclasses.is_dataclass(option)
    )


def flat(value: Any) -> dict[str, Any]:
    """A value's settings by dotted name, as plain data; what is None is left out.

    >>> flat(RunConfig(steps=5))["model.depth"]
    4
    """
    found: dict[str, Any] = {}
    for name, content in to_dict(value).items():
        inner = content if isinstance(content, dict) else None
        found |= {f"{name}.{key}": entry for key, entry in inner.items()} if inner else {name: content}
    return found


def common(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is the same in all of several settings by name."""
    first, *others = settings or [{}]
    return {n: v for n, v in first.items() if all(n in other and other[n] == v for other in others)}


def to_toml(value: Any) -> str:
    """The value as TOML, every default written out."""
    return tomli_w.dumps(to_dict(value))


def to_json(value: Any) -> str:
    """The value as one JSON object."""
    return json.dumps(to_dict(value), ensure_ascii=False)


def from_toml(cls: type[V], text: str) -> V:
    """Read a value back from ``to_toml``'s text; raises ``ConfigError`` when it is not valid."""
    return _from_text(cls, text, "TOML", tomllib.loads)


def from_json(cls: type[V], text: str) -> V:
    """Read a value back from ``to_json``'s text; raises ``ConfigError`` when it is not valid."""
    return _from_text(cls, text, "JSON", json.loads)


def _from_text(cls: type[V], text: str, form: str, parse: Callable[[str], Any]) -> V:
    try:
        values = parse(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"config is not valid {form}: {error}") from None
    return from_dict(cls, values)
