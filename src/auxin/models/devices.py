"""Which devices this machine has."""

from __future__ import annotations

import torch

from auxin.values import check


def has_device(name: str) -> bool:
    """Whether cpu, cuda (any GPU) or cuda:0, … is here."""
    return name == "cpu" or int(name.partition(":")[2] or 0) < torch.cuda.device_count()


def check_device(name: str) -> None:
    """Refuse a device that is not here."""
    count = torch.cuda.device_count()
    here = "cpu (this machine has no CUDA device)" if count == 0 else f"cpu, cuda:0 to cuda:{count - 1}"
    check(has_device(name), "device", name, here)
