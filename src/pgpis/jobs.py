"""Work that many processes share: units one after the other, progress, failures, a clean stop on Ctrl-C."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pgpis.errors import PgpisError

log = logging.getLogger(__name__)

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
SECONDS_BETWEEN_LINES = 10.0
SHOWN_FAILURES = 20


class Unit(Protocol):
    """What one process does in one go; ``str`` names it."""

    @property
    def pictures(self) -> int:
        """How many pictures it makes."""


U = TypeVar("U", bound=Unit)


@dataclass(frozen=True)
class Failure:
    """A unit that could not be made, and why."""

    unit: str
    reason: str


def run_units(
    units: Sequence[U], work: Callable[[U], Sequence[Failure] | None], workers: int, doing: str = "drawing"
) -> list[Failure]:
    """Do all units in processes of their own.

    Args:
        units: What to do, in the order of starting.
        work: Does one; it must be importable by another process (a function of a module, or a partial of one). It may
            return failures of single pictures.
        workers: Number of processes, each on one thread. The result must not depend on it.
        doing: What is said beside the bar.

    Returns:
        The units that raised and the failures that were returned, in their order.

    Raises:
        PgpisError: A process was ended from outside.
        KeyboardInterrupt: After the units in hand were finished; the others are dropped.
    """
    failed: dict[int, Sequence[Failure]] = {}
    if not units:
        return []
    with _one_thread_each(), meter(doing, sum(unit.pictures for unit in units)) as advance:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(workers, len(units)), mp_context=context, initializer=_leave_interrupts_alone)
        try:
            with _born_deaf():
                running = {pool.submit(work, unit): number for number, unit in enumerate(units)}
            for future in as_completed(running):
                number = running.pop(future)
                unit = units[number]
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise PgpisError(
                        f"a worker process ended while {doing} ({error})",
                        hint="if memory ran out, run the same command with fewer --workers; it goes on where it was",
                    ) from error
                if error is not None:
                    log.debug("%s", unit, exc_info=error)
                    failed[number] = [Failure(str(unit), _reason(error))]
                else:
                    failed[number] = future.result() or []
                advance(unit.pictures)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return [failure for number in sorted(failed) for failure in failed[number]]


def render_failures(failures: Sequence[Failure]) -> str:
    """Return the list of failures as text; empty where there are none."""
    if not failures:
        return ""
    lines = [f"{len(failures)} failed; run the same command again to try them once more:"]
    lines += [f"  {failure.unit}: {failure.reason}" for failure in failures[:SHOWN_FAILURES]]
    if len(failures) > SHOWN_FAILURES:
        lines.append(f"  ... and {len(failures) - SHOWN_FAILURES} more")
    return "\n".join(lines) + "\n"


def _reason(error: BaseException) -> str:
    return error.message if isinstance(error, PgpisError) else f"{type(error).__name__}: {error}"


def _leave_interrupts_alone() -> None:
    """Let the parent alone answer Ctrl-C, which the terminal sends to every process of the group."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _born_deaf() -> Iterator[None]:
    """Let processes that start inside ignore Ctrl-C also while they are importing, before their initializer runs.

    They inherit the blocked signal. Here it only waits: one that comes meanwhile is answered at the end.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Set for the processes that start inside: libraries read their number of threads when they are imported."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def meter(doing: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show pictures done, pictures a second and the time left: a bar on a terminal, else a line now and then.

    Yields:
        A function that is told how many more pictures are done.
    """
    console = Console(stderr=True)
    start = time.monotonic()
    done, told = 0, start

    def rate() -> float:
        return done / max(time.monotonic() - start, 1e-9)

    if console.is_terminal:
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
        with Progress(TextColumn(doing), *columns, console=console) as bar:
            task = bar.add_task(doing, total=total, rate="")

            def advance(pictures: int) -> None:
                nonlocal done
                done += pictures
                bar.update(task, completed=done, rate=f"{rate():.1f} pictures/s")

            yield advance
        return

    def tell(pictures: int) -> None:
        nonlocal done, told
        done += pictures
        if time.monotonic() - told >= SECONDS_BETWEEN_LINES or done == total:
            told = time.monotonic()
            log.info(
                "%s: %d of %d pictures, %.1f pictures/s, %.0f s left",
                doing,
                done,
                total,
                rate(),
                (total - done) / rate(),
            )

    yield tell
