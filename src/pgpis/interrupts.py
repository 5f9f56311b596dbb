"""Ctrl-C and SIGTERM: a job ends at once, or where it loses nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
        if self.signum is not None and signum == signal.SIGINT:
            raise Stopped(signum)
        self.signum = self.signum or signum


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Let both signals raise :class:`Stopped` where the job is while the block runs."""
    with _answered(_end):
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
    """Keep both signals back while the block runs, until the job asks for them."""
    request = StopRequest()
    with _answered(request.note):
        yield request


def _end(signum: int, _frame: FrameType | None) -> None:
    raise Stopped(signum)


@contextmanager
def answered_as_before() -> Iterator[list[signal.Signals]]:
    """Put back what answers both signals, whatever the block sets: itself, or a library such as Ray.

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
def _answered(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Set the handler of both signals; one that is ignored (``nohup``, ``&``) stays ignored."""
    with answered_as_before() as signals:
        for signum in signals:
            signal.signal(signum, handler)
        yield
