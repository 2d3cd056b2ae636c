"""Threads that do not change a result's bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Operations inside run on the thread that calls them, so that sums are taken in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def stay_single() -> None:
    """Run the operations of the calling thread on it alone from now on."""
    torch.get_num_threads()  # a thread's first question or operation takes over the process's number
    torch.set_num_threads(1)
