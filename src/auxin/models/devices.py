"""Which devices this machine has."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from auxin.values import check


def has_device(name: str) -> bool:
    """Whether cpu, cuda (any GPU) or cuda:0, … is here."""
    return name == "cpu" or int(name.partition(":")[2] or 0) < _count()


def check_device(name: str) -> None:
    """Refuse a device that is not here."""
    if has_device(name):
        return
    count = _count()
    here = "cpu (this machine has no CUDA device)" if count == 0 else f"cpu, cuda:0 to cuda:{count - 1}"
    check(False, "device", name, here)


def _count() -> int:
    """Number of GPUs; torch, which takes seconds to load, is asked where it is loaded or there is a driver."""
    if "torch" not in sys.modules and not _has_driver():
        return 0
    import torch

    return torch.cuda.device_count()


def _has_driver() -> bool:
    """Whether a driver of NVIDIA or AMD is here; True where that cannot be told."""
    if sys.platform != "linux" or Path("/dev/kfd").exists():
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
