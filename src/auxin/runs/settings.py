"""A run's ``config.toml``: every setting written out, and after them their SHA-256."""

from __future__ import annotations

import hashlib

from auxin.config import RunConfig
from auxin.disk.folder import Folder
from auxin.errors import ConfigError, RunError
from auxin.values import from_toml, to_toml

CONFIG = "config.toml"
_DIGEST = "# sha256: "


def config_bytes(config: RunConfig) -> bytes:
    """The file's content."""
    text = to_toml(config) + "\n"
    return f"{text}{_DIGEST}{_sha256(text)}\n".encode()


def read_config(folder: Folder) -> RunConfig:
    """The config of a run; raises ``RunError`` naming the file when it is not what was written."""
    text, path = folder.read_text(CONFIG), folder.path / CONFIG
    body, _, digest = text.rpartition(_DIGEST)
    if digest != f"{_sha256(body)}\n":
        raise RunError(f"{path}: changed or damaged (its SHA-256 is not the one that it ends with)")
    try:
        return from_toml(RunConfig, body)
    except ConfigError as error:
        raise RunError(f"{path}: {error}") from None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
