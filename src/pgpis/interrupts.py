"""Ctrl-C, SIGTERM and SIGHUP: a job ends at once, or where it loses nothing."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

HANGUP = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()  # Windows has none
SIGNALS = (signal.SIGINT, signal.SIGTERM, *HANGUP)
OF_TERMINAL = (signal.SIGINT, *HANGUP)
"""Those that a terminal sends to every process of the job: Ctrl-C, and that it is closed."""


class Stopped(BaseException):
    """The job was asked to end.

    It is not an ``Exception``, so that nothing takes it for a failure of its own work, and not a ``KeyboardInterrupt``,
    which Lightning answers with exit code 1.

    Args:
        signum: The signal that asked for it.
        command: What goes on with the job; None: the same command again.
        was_held: The signal waited until the job was at rest.
    """

    has_begun = False
    """Whether the job has written what the same command would go on with, see :func:`resumable`."""

    def __init__(self, signum: int, command: str | None = None, *, was_held: bool = False) -> None:
        super().__init__("interrupted" if signum == signal.SIGINT else "terminated")
        self.signum = signum
        self.code = 128 + signum
        self.command = command
        self.was_held = was_held


class StopRequest:
    """What a signal asked for while :func:`held` keeps it back."""

    signum: int | None = None

    def obey(self, command: str | None = None) -> None:
        """Call it where the job loses nothing.

        Raises:
            Stopped: A signal came.
        """
        if self.signum is not None:
            raise Stopped(self.signum, command, was_held=True)

    def note(self, signum: int, _frame: FrameType | None) -> None:
        """Remember a signal; a second Ctrl-C ends the job at once."""
        leave_terminal()
        if self.signum is not None and signum == signal.SIGINT:
            raise Stopped(signum)
        self.signum = self.signum or signum


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Let the signals raise :class:`Stopped` where the job is while the block runs."""
    with answered(_end):
        yield


@contextmanager
def resumable() -> Iterator[None]:
    """Note on a :class:`Stopped` that ends the block that the same command goes on with what the block has written."""
    try:
        yield
    except Stopped as stop:
        stop.has_begun = True
        raise


@contextmanager
def held() -> Iterator[StopRequest]:
    """Keep the signals back while the block runs, until the job asks for them."""
    request = StopRequest()
    with answered(request.note):
        yield request


def _end(signum: int, _frame: FrameType | None) -> None:
    leave_terminal()
    raise Stopped(signum)


@contextmanager
def answered_as_before() -> Iterator[list[signal.Signals]]:
    """Put back what answers the signals, whatever the block sets: itself, or a library such as Ray.

    Yields:
        The signals that are not ignored, and may be answered otherwise.
    """
    is_main = threading.current_thread() is threading.main_thread()  # Python sets handlers nowhere else
    before = {signum: signal.getsignal(signum) for signum in SIGNALS if is_main}
    try:
        yield [signum for signum, usual in before.items() if usual is not signal.SIG_IGN]
    finally:
        for signum, usual in before.items():
            signal.signal(signum, signal.SIG_DFL if usual is None else usual)


@contextmanager
def answered(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Set the handler of the signals; one that is ignored (``nohup``, ``&``) stays ignored."""
    with answered_as_before() as signals:
        for signum in signals:
            signal.signal(signum, handler)
        yield


def leave_terminal() -> None:
    """Write to nowhere what would go to a terminal that was closed: that fails, and a job has its state to save."""
    for output in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(output).st_mode) and not os.isatty(output):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, output)
                os.close(nowhere)
