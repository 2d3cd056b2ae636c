"""SIGINT and SIGTERM, taken as a request to save and stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self


class Stopped(BaseException):
    """A signal has come; raised where breaking off does no harm."""


class Signals:
    """The first SIGINT or SIGTERM inside is noted, and does not end the process; a second one is delivered as usual.

    Outside the main thread, which alone receives signals, nothing is ever noted.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        """The signal's number."""
        self._breaking = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._note) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        self.__exit__()
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
