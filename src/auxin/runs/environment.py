"""What a run was made with: versions, commit, machine; no paths, no names of people or hosts."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from auxin.config import RunConfig

_PACKAGES = ("auxin", "torch", "numpy", "scipy", "safetensors")


def environment(config: RunConfig) -> dict[str, Any]:
    """Everything beside the config that a run's last bits may depend on."""
    import torch  # takes a second, which reading a run does without

    on_gpu = config.device != "cpu" and torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name(config.device) if on_gpu else None,
        "cuda": torch.version.cuda if on_gpu else None,
        "cores": os.cpu_count(),
        "threads": config.threads or torch.get_num_threads(),
        "device": config.device,
        "seeds": list(config.seeds),
        "data_seed": config.data_seed,
    }


def _version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _commit() -> str | None:
    """Commit of auxin's own source, marked -dirty when changed; None when it is not run from a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    tracked = [*git, "ls-files", "--error-unmatch", Path(__file__).name]
    describe = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(tracked, capture_output=True, check=True, timeout=10)
        return subprocess.run(describe, capture_output=True, check=True, timeout=10, text=True).stdout.strip()
    return None


def _processor() -> str | None:
    """The processor's name; the standard library's answer is empty on Linux."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if found := re.search(r"^model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return found[1].strip()
    return platform.processor() or None
