"""A run's ``config.toml``: every setting written out, and after them their SHA-256."""

from __future__ import annotations

import hashlib
import tomllib

from auxin.config import RunConfig
from auxin.disk.folder import Folder
from auxin.errors import ConfigError, RunError
from auxin.values import from_dict, to_toml

CONFIG = "config.toml"
LONGEST_CONFIG = 1 << 18  # bytes
MOST_DOTS = 200  # in a line: a path may have some
_DIGEST = "# sha256: "
_BEFORE_DIGESTS = {
    "": "task data_dir data_seed train_size steps batch_size seeds log_every checkpoint_every eval_size measures "
    "device threads",
    "model": "depth width heads feedforward vocabulary_size max_length norm activation positions scale_embedding tied "
    "attention_bias mlp_bias dropout attention_skip attention_branch mlp_skip mlp_branch initialization sigma_a "
    "sigma_v sigma_w sigma_o sigma_b",
    "optimizer": "learning_rate schedule warmup decay_steps beta1 beta2 epsilon weight_decay clip",
}
"""Settings that have been written ever since there are runs: without a digest, one that lacks any is damaged."""


def config_bytes(config: RunConfig) -> bytes:
    """The file's content."""
    text = to_toml(config) + "\n"
    return f"{text}{_DIGEST}{_sha256(text)}\n".encode()


def read_config(folder: Folder) -> RunConfig:
    """The config of a run; raises ``RunError`` naming the file when it is not all that was written.

    A file without a digest, from before there were any, must hold every setting that was written then.
    """
    text, path = folder.read_text(CONFIG, LONGEST_CONFIG), folder.path / CONFIG
    # the time that tomllib takes grows with the square of the parts of a dotted name
    if any(line.count(".") > MOST_DOTS for line in text.split("\n")):
        raise RunError(f"{path}: a line has more than {MOST_DOTS} dots, so not a file that auxin wrote")
    try:
        values = tomllib.loads(text)
        config = from_dict(RunConfig, values)
    except ConfigError as error:
        raise RunError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not valid TOML: {error}") from None
    body, found, digest = text.rpartition(_DIGEST)
    if found:
        if digest != f"{_sha256(body)}\n":
            raise RunError(f"{path}: changed or damaged (its SHA-256 is not the one that it ends with)")
    else:
        _check_complete(values, text.endswith("\n"), str(path))
    return config


def _check_complete(values: dict[str, object], ended: bool, path: str) -> None:
    for table, names in _BEFORE_DIGESTS.items():
        settings = values.get(table, {}) if table else values
        lacking = [name for name in names.split() if not isinstance(settings, dict) or name not in settings]
        if lacking:
            raise RunError(f"{path}: damaged ({table and table + '.'}{lacking[0]} is missing)")
    if not ended:
        raise RunError(f"{path}: damaged (its last line has no end)")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
