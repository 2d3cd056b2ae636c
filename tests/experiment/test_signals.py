"""A first signal is noted, or breaks off what may be broken off; a second one is delivered as usual."""

import signal
import threading
from collections.abc import Iterator

import pytest

from auxin.experiment.signals import Signals, Stopped


@pytest.fixture(autouse=True)
def as_in_a_terminal() -> Iterator[None]:
    """What a shell starts in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_signal_is_noted_and_the_second_delivered() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        assert signals.caught is None
        signal.raise_signal(signal.SIGTERM)
        assert signals.caught == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_may_be_broken_off_is_and_the_rest_is_not() -> None:
    with Signals() as signals:
        with signals.breaking_off():
            pass
        with pytest.raises(Stopped), signals.breaking_off():
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stopped), signals.breaking_off():
            raise AssertionError("nothing begins after a signal")
    assert signals.caught == signal.SIGINT


def test_another_thread_notes_nothing() -> None:
    found: list[Signals] = []

    def work() -> None:
        with Signals() as signals:
            found.append(signals)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].caught is None
    assert signal.getsignal(signal.SIGINT) == before
