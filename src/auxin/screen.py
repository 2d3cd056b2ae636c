"""Standard streams whose loss loses nothing else: full, closed, or of an alphabet that lacks what is written."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any


class Screen:
    """A text stream that takes everything: what cannot be written is dropped, and ``lost`` says why.

    All else is the stream's own.
    """

    def __init__(self, stream: Any) -> None:
        self.lost = ""
        """Why something was not written; a pipe's reader who has seen enough is no loss."""
        self._closed = stream is None or stream.closed
        self._stream: Any = open(os.devnull, "w", encoding="utf-8") if self._closed else stream  # noqa: SIM115

    def write(self, text: str) -> int:
        if self._closed:
            self.lost = "it is closed"
        try:
            self._stream.write(text)
        except OSError as error:
            self._drop(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        """From here on into the void, with what the stream still holds: at exit it would fail again."""
        if not isinstance(error, BrokenPipeError):
            self.lost = error.strerror or str(error)
        void = os.open(os.devnull, os.O_WRONLY)
        os.dup2(void, self._stream.fileno())
        os.close(void)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def errors_screen() -> Screen:
    """Standard error, for progress and warnings."""
    return sys.stderr if isinstance(sys.stderr, Screen) else Screen(sys.stderr)


@contextlib.contextmanager
def screens() -> Iterator[Screen]:
    """Make standard output (given) and error ``Screen``s, for a program to print as ever.

    A character that the encoding of the output lacks is written as ?. Closed standard descriptors lead nowhere from
    then on: the next files opened, or a library's pipes, would get their numbers and be written in their place.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the lowest free number is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    before = sys.stdout, sys.stderr
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    sys.stdout, sys.stderr = out, err = Screen(sys.stdout), Screen(sys.stderr)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before
