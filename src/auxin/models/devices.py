"""Which devices this machine has, and how many threads operations run on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from auxin.values import check


def has_device(name: str) -> bool:
    """Whether cpu, cuda (any GPU) or cuda:0, … is here."""
    return name == "cpu" or int(name.partition(":")[2] or 0) < _count()


def check_device(name: str) -> None:
    """Refuse a device that is not here."""
    if not has_device(name):
        count = _count()
        here = f"cpu, cuda:0 to cuda:{count - 1}" if count else "cpu (this machine has no CUDA device)"
        check(False, "device", name, here)


def _count() -> int:
    import torch  # takes seconds, and is not needed for a CPU

    return torch.cuda.device_count()


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Operations inside run on ``count`` threads, one being the caller's, or for 0 on as many as before."""
    import torch

    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count:
            torch.set_num_threads(before)


def stay_single() -> None:
    """Run the operations of the calling thread on it alone from now on."""
    import torch

    torch.get_num_threads()  # a thread's first question or operation takes over the process's number
    torch.set_num_threads(1)
