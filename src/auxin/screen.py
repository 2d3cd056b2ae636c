"""Standard streams whose loss loses nothing else: full, closed, or of an alphabet that lacks what is written."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator
from typing import Any

SUBSTITUTES = {
    "λ": "lambda", "α": "alpha", "σ": "sigma", "φ": "phi", "√": "sqrt", "²": "^2", "≥": ">=", "≤": "<=",
    "−": "-", "–": "-", "—": "-", "─": "-", "│": "|", "×": "x", "·": "*", "±": "+-", "→": "->", "…": "...",
    "╭": "+", "╮": "+", "╰": "+", "╯": "+", "∞": "inf", "’": "'", "“": '"', "”": '"',
}  # fmt: skip
"""What stands for a character where the terminal's encoding has none for it."""


SILENCE = 2.0  # seconds after which a terminal is told what is being done


class Screen:
    """A text stream that takes everything: what cannot be written is dropped, and ``lost`` says why.

    Characters that its encoding lacks are replaced by ``SUBSTITUTES``. All else is the stream's own.
    """

    def __init__(self, stream: Any, clock: Clock | None = None) -> None:
        self.lost = ""
        """Why something was not written; a pipe's reader who has seen enough is no loss."""
        self._closed = stream is None or stream.closed
        self._clock = clock
        self._stream: Any = open(os.devnull, "w", encoding="utf-8") if self._closed else stream  # noqa: SIM115

    def write(self, text: str) -> int:
        if self._clock:
            self._clock.hide()
        if self._closed:
            self.lost = "it is closed"
        try:
            self._stream.write(legible(text, self._stream.encoding))
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


class Clock:
    """On a terminal that has been silent for two seconds: what is being done, and for how long.

    Its line goes as soon as a screen is written to.
    """

    def __init__(self, stream: Any, what: str) -> None:
        self._stream, self._what = stream, what
        self._lock = threading.Lock()
        self._shown, self._over = False, threading.Event()
        self._start = self._written = time.monotonic()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self._over.wait(SILENCE / 4):
            with self._lock:
                now = time.monotonic()
                if now - self._written >= SILENCE and not self._over.is_set():
                    self._say(f"\r{self._what}: {now - self._start:.0f} s ")
                    self._shown = True

    def hide(self) -> None:
        """Something is about to be written."""
        with self._lock:
            if self._shown:
                self._say("\r\x1b[K")
            self._shown, self._written = False, time.monotonic()

    def stop(self) -> None:
        self._over.set()
        self.hide()

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()


def legible(text: str, encoding: str | None) -> str:
    """The text in characters that the encoding has."""
    return text.encode(encoding or "utf-8", "legible").decode(encoding or "utf-8")


def _substitute(error: UnicodeError) -> tuple[str, int]:
    """What stands for the character that cannot be encoded, and where to go on."""
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return SUBSTITUTES.get(character) or plain or "?", error.start + 1


codecs.register_error("legible", _substitute)


def errors_screen() -> Screen:
    """Standard error, for progress and warnings."""
    return sys.stderr if isinstance(sys.stderr, Screen) else Screen(sys.stderr)


def _is_terminal(stream: Any) -> bool:
    """Whether lines that were written there can be taken back."""
    return stream is not None and not stream.closed and stream.isatty() and os.environ.get("TERM") != "dumb"


@contextlib.contextmanager
def screens(doing: str = "") -> Iterator[tuple[Screen, Screen]]:
    """Make standard output and error ``Screen``s, for a program to print as ever; a ``Clock`` says what is ``doing``.

    Closed standard descriptors lead nowhere from then on: the next files opened, or a library's pipes, would get
    their numbers and be read and written in their place.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the lowest free number is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    before = sys.stdout, sys.stderr
    clock = Clock(sys.stderr, doing) if doing and _is_terminal(sys.stderr) else None
    sys.stdout, sys.stderr = out, err = Screen(sys.stdout, clock), Screen(sys.stderr, clock)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield out, err
    finally:
        if clock:
            clock.stop()
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before
