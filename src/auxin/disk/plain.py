"""JSON objects that auxin writes and reads back; signed ones end with the SHA-256 of everything else in them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from auxin.disk.folder import Folder
from auxin.errors import RunError


def read_object(folder: Folder, name: str, **kinds: type) -> dict[str, Any]:
    """The JSON object in a file; ``RunError`` naming it when it holds anything else, or lacks a field of a kind."""
    path = folder.path / name
    try:
        values = json.loads(folder.read_text(name))
    except (ValueError, RecursionError):
        raise RunError(f"{path}: not valid JSON") from None
    if not isinstance(values, dict):
        raise RunError(f"{path}: not a JSON object")
    for field, kind in kinds.items():
        if type(values.get(field)) is not kind:
            raise RunError(f"{path}: damaged ({field} is no {kind.__name__})")
    return values


def read_signed(folder: Folder, name: str) -> dict[str, Any]:
    """What ``dump_signed`` wrote; ``RunError`` where it was changed."""
    values = read_object(folder, name)
    try:
        intact = values.pop("sha256", None) == hashlib.sha256(dump_json(values)).hexdigest()
    except (ValueError, RecursionError):
        intact = False
    if not intact:
        raise RunError(f"{folder.path / name}: damaged (its SHA-256 is not the one that it ends with)")
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
