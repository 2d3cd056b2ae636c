"""Faults injected where a process touches the disk: before every operation, and half-way through every write."""

import contextlib
import errno
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

CHANGING = ("fsync", "ftruncate", "mkdir", "rename", "replace", "rmdir", "unlink")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

Act = Callable[[str], None]


@contextlib.contextmanager
def watched(act: Act) -> Iterator[None]:
    """Call ``act`` with an operation's name before everything inside that changes the disk.

    It may raise, and the operation fails; or kill the process.
    """
    write, open_descriptor = os.write, os.open

    def before(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def operation(*arguments: Any, **options: Any) -> Any:
            act(name)
            return real(*arguments, **options)

        return operation

    def in_halves(descriptor: int, content: memoryview) -> int:
        act("write")
        written = write(descriptor, content[: len(content) // 2])
        act("half of a write")
        return written + write(descriptor, content[written:])

    def opened_descriptor(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & WRITING:
            act("open")
        return open_descriptor(path, flags, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGING:
            patch.setattr(os, name, before(name))
        patch.setattr(os, "write", in_halves)
        patch.setattr(os, "open", opened_descriptor)
        yield


class At:
    """Does something at an operation, counted from 0, and at all later ones; ``seen`` are the names of all."""

    def __init__(self, number: int, act: Act) -> None:
        self.number, self.act = number, act
        self.seen: list[str] = []

    def __call__(self, name: str) -> None:
        self.seen.append(name)
        if len(self.seen) > self.number:
            self.act(name)


def kill(_: str) -> None:
    """What the kernel, a scheduler or a user does without asking."""
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk(_: str) -> None:
    """The operation fails as on a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device")


def in_child(work: Callable[[], object]) -> int:
    """Do the work in a fork of this process; how it ended: 0, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
