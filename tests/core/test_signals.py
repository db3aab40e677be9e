"""Signals as a question between steps."""

import os
import pty
import signal
import threading

import pytest

from nextpatch.core.signals import StopSignals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_the_first_signal_is_noted_and_interrupts_nothing(number):
    with StopSignals() as stop:
        assert stop.received is None
        os.kill(os.getpid(), number)
        assert stop.received == number


@pytest.fixture
def foreground():
    """Ctrl-C as a person at a terminal has it; what is started in the background may be told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("foreground")
def test_the_second_ctrl_c_stops_at_once():
    with StopSignals():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_patient_one_takes_every_further_signal_for_the_same_wish():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals(patient=True) as stop:
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert stop.received == signal.SIGUSR1
    assert signal.getsignal(signal.SIGTERM) == before


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_nothing_breaks():
    seen = []

    def work():
        with StopSignals() as stop:
            seen.append(stop.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]


def test_a_hang_up_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.received is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_printing_after_the_terminal_was_closed_is_no_error(monkeypatch):
    ours, theirs = pty.openpty()
    with open(theirs, "w", buffering=1) as terminal, StopSignals() as stop:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr("sys.stdout", terminal)
        os.close(ours)
        with pytest.raises(OSError, match="Input/output"):
            os.write(theirs, b"nobody reads this")
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.received == signal.SIGHUP
        print("step 1")
