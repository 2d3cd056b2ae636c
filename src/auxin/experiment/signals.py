"""SIGINT and SIGTERM, taken as a request to save and stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """A signal has come; raised where breaking off does no harm."""


class Signals:
    """The first SIGINT or SIGTERM; see ``noted``."""

    def __init__(self) -> None:
        self.caught: int | None = None
        """The signal's number."""
        self._breaking = False

    def note(self, number: int) -> None:
        """A signal has come."""
        self.caught = number
        if self._breaking:
            raise Stopped

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Raise ``Stopped`` inside as soon as a signal comes, or at once if it has come before."""
        self._breaking = True
        try:
            if self.caught is not None:
                raise Stopped
            yield
        finally:
            self._breaking = False


@contextmanager
def noted() -> Iterator[Signals]:
    """Note a SIGINT or SIGTERM instead of dying of it; a second one is delivered as usual.

    Outside the main thread, which alone receives signals, nothing is ever noted.
    """
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        for n, handler in before.items():
            signal.signal(n, handler)
        signals.note(number)

    for number in before:
        signal.signal(number, handle)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
