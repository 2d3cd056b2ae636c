"""A config.json as a dictionary of settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from auxin.errors import ConfigError
from auxin.values import check


def read_config(path: str | Path) -> dict[str, Any]:
    """The settings of a config.json, or of the one in a directory; raises ``ConfigError`` where there are none."""
    path = Path(path)
    path = path / "config.json" if path.is_dir() else path
    if path.exists() and not path.is_file():  # a pipe would be waited for, a device read for ever
        raise ConfigError(f"{path} is no file; allowed: a config.json")
    try:
        if path.stat().st_size > 2**24:
            raise ConfigError(f"{path} is larger than 16 MB; allowed: a config.json")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; allowed: a config.json") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    check(isinstance(values, dict), str(path), type(values).__name__, "a JSON object of settings")
    return values
