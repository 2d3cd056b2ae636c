"""JSON from elsewhere: one strict reader and one schema, so that what comes in can be computed with, shown and written.

Numbers are finite, text is printable Unicode, nesting is shallow; ``dump_json`` writes nothing that ``parse_json``
would refuse.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn, TypeAlias

from auxin.disk.folder import Folder
from auxin.errors import RunError

DEEPEST = 20
LONGEST = 1 << 22  # bytes of a file


class Number(NamedTuple):
    """A number from ``low`` to ``high``, whole or not; None where it may be unknown."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    unknown: bool = False


class Each(NamedTuple):
    """An object of any names whose values all have one shape."""

    shape: Any


Shape: TypeAlias = Any
"""What a value must be: a type; a ``Number``; ``[shape]``, a list of such; ``Each``; or an object, a shape a name
(``"name?"``: it may be missing), which may hold other names, too."""


def parse_json(text: str | bytes) -> Any:
    """The value; ``ValueError`` saying in a few words what is wrong with it."""
    try:
        value = json.loads(text, parse_constant=_refused, parse_int=_whole, parse_float=_finite)
    except _Unusable:
        raise
    except (ValueError, RecursionError):
        raise ValueError("not valid JSON") from None
    _look_through(value)
    return value


class _Unusable(ValueError):
    """JSON, but nothing to compute with."""


def _refused(name: str) -> NoReturn:
    raise _Unusable(f"not valid JSON ({name})")


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise _Unusable("not usable: a number is too large")
    return int(digits)


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise _Unusable("not usable: a number is too large")
    return value


def _look_through(value: Any) -> None:
    level, depth = [value], 0
    while level:
        if depth > DEEPEST:
            raise _Unusable(f"nested more than {DEEPEST} deep")
        depth += 1
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += [*item, *item.values()]
            elif isinstance(item, list):
                inner += item
            elif isinstance(item, str) and not item.isprintable():
                raise _Unusable("not usable: text holds what cannot be printed")
        level = inner


def conform(value: Any, shape: Shape, where: str) -> None:
    """Raise ``ValueError`` naming the first place in the value that has not the shape."""
    if isinstance(shape, Number):
        _number(value, shape, where)
    elif isinstance(shape, Each):
        _typed(value, dict, where)
        for name, item in value.items():
            conform(item, shape.shape, f"{where}: {name}")
    elif isinstance(shape, list):
        _typed(value, list, where)
        for item in value:
            conform(item, shape[0], where)
    elif isinstance(shape, dict):
        _typed(value, dict, where)
        for name, inner in shape.items():
            key = name.removesuffix("?")
            if key in value or key == name:
                conform(value.get(key), inner, f"{where}: {key}" if where else key)
    else:
        _typed(value, shape, where)


def _number(value: Any, shape: Number, where: str) -> None:
    if value is None and shape.unknown:
        return
    kinds = (int,) if shape.whole else (int, float)
    if value is None or type(value) not in kinds:
        raise ValueError(f"{where} is {_found(value)}; allowed: {' or '.join(k.__name__ for k in kinds)}")
    if not shape.low <= value <= shape.high:
        raise ValueError(f"{where} is {value}; allowed: {shape.low:g} to {shape.high:g}")


def _typed(value: Any, kind: type, where: str) -> None:
    if type(value) is not kind:
        raise ValueError(f"{where or 'it'} is {_found(value)}; allowed: {kind.__name__}")


def _found(value: object) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"


def read_object(folder: Folder, name: str, shape: Shape = None, limit: int = LONGEST) -> dict[str, Any]:
    """The JSON object in a file; ``RunError`` naming it when it holds anything else, or has another shape."""
    try:
        value = parse_json(folder.read_text(name, limit))
        if type(value) is not dict:
            raise ValueError("not a JSON object")
        conform(value, shape or {}, "")
    except ValueError as error:
        raise RunError(f"{folder.path / name}: {error}") from None
    return value


def read_signed(
    folder: Folder, name: str, shape: Shape = None, unsigned: Shape = None, limit: int = LONGEST
) -> dict[str, Any]:
    """What ``dump_signed`` wrote; ``RunError`` where it was changed or has another shape.

    A file without a hash, as earlier versions wrote it, must have the shape ``unsigned``, which asks for all that they
    wrote: what is left of a damaged file is not taken for one of theirs.
    """
    values = read_object(folder, name, limit=limit)
    digest = values.pop("sha256", None)
    if digest is not None and hashlib.sha256(dump_json(values)).hexdigest() != digest:
        raise RunError(f"{folder.path / name}: damaged (its SHA-256 is not the one that it ends with)")
    try:
        conform(values, (shape if digest or unsigned is None else unsigned) or {}, "")
    except ValueError as error:
        raise RunError(f"{folder.path / name}: {error}") from None
    return values


def dump_json(values: Mapping[str, Any]) -> bytes:
    """A JSON object, one setting a line; numbers that JSON cannot hold become null, what cannot be printed �."""
    return (json.dumps(_writable(values), ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def dump_signed(values: Mapping[str, Any]) -> bytes:
    """As ``dump_json``, with the hash of everything else under ``sha256``."""
    return dump_json({**values, "sha256": hashlib.sha256(dump_json(values)).hexdigest()})


def _writable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_writable(key): _writable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_writable(item) for item in value]
    if isinstance(value, str) and not value.isprintable():
        return "".join(c if c.isprintable() else "�" for c in value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
