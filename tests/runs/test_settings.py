"""``config.toml``: no other config than the one written ever comes out of it."""

import random
from pathlib import Path

from auxin.config import ModelConfig, RunConfig
from auxin.errors import RunError
from auxin.runs.run import config_bytes, read_config

CONFIG = RunConfig(model=ModelConfig(depth=3), seeds=(1, 2))


def read(path: Path, content: bytes) -> RunConfig | None:
    """The config; None where it is refused."""
    (path / "config.toml").write_bytes(content)
    try:
        return read_config(path)
    except RunError:
        return None


def test_no_beginning_of_it_opens_as_another_config(tmp_path: Path) -> None:
    content = config_bytes(CONFIG)
    assert read(tmp_path, content) == CONFIG
    found = [read(tmp_path, content[:size]) for size in range(len(content))]
    assert {config for config in found if config} <= {CONFIG}
    assert found.count(None) >= len(content) - 3


def test_whatever_bit_flips_no_other_config_opens(tmp_path: Path) -> None:
    content, bits, refused = config_bytes(CONFIG), random.Random(0), 0
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1 << bits.randrange(8)
        found = read(tmp_path, bytes(changed))
        assert found in (CONFIG, None)
        refused += found is None
    assert refused > 0.95 * len(content)
