"""How many threads operations run on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Operations inside run on ``count`` threads, one being the caller's, or for 0 on as many as before."""
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
    torch.get_num_threads()  # a thread's first question or operation takes over the process's number
    torch.set_num_threads(1)
