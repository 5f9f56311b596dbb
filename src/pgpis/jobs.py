"""Work that many processes share: units one after the other, progress, failures, a clean stop on Ctrl-C."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pgpis.errors import PgpisError
from pgpis.interrupts import OF_TERMINAL, StopRequest
from pgpis.lazy import collect_rarely
from pgpis.refusals import UnwritableError

log = logging.getLogger(__name__)

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
SECONDS_BETWEEN_LINES = 10.0
SHOWN_FAILURES = 20


class Unit(Protocol):
    """What one process does in one go; ``str`` names it."""

    @property
    def pictures(self) -> int:
        """How many pictures it makes."""


T = TypeVar("T")
U = TypeVar("U")
UnitT = TypeVar("UnitT", bound=Unit)


@dataclass(frozen=True)
class Failure:
    """A unit that could not be made, and why."""

    unit: str
    reason: str


def parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Cut a list into parts of ``size``; the last one has what is left."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def run_units(
    units: Sequence[UnitT], work: Callable[[UnitT], Sequence[Failure] | None], workers: int, doing: str = "drawing"
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
        PgpisError: A process was ended from outside, or nothing more can be written.
        Stopped: By a signal, after the units in hand were finished; the others are dropped.
    """
    failed: dict[int, Sequence[Failure]] = {}
    if not units:
        return []
    total = sum(unit.pictures for unit in units)
    with one_thread_each(), meter(doing, total) as advance, worker_pool(min(workers, len(units))) as pool:
        with born_deaf():
            running = {pool.submit(work, unit): number for number, unit in enumerate(units)}
        for future in as_completed(running):
            number = running.pop(future)
            unit = units[number]
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                raise broken_pool(doing, error) from error
            if isinstance(error, UnwritableError):  # the others would fail as well
                raise error
            if error is not None:
                log.debug("%s", unit, exc_info=error)
                failed[number] = [Failure(str(unit), reason_of(error))]
            else:
                failed[number] = future.result() or []
            advance(unit.pictures)
    return [failure for number in sorted(failed) for failure in failed[number]]


def as_done(
    pool: Executor,
    work: Callable[[U], T],
    units: Iterable[U],
    at_once: int,
    request: StopRequest,
    *,
    in_order: bool = False,
) -> Iterator[tuple[U, Future[T]]]:
    """Let a pool do units, and yield each of them with its future once that is done.

    Args:
        pool: Of this machine or of a cluster.
        work: Does one.
        units: What to do; read as the pool gets on, so that there may be millions.
        at_once: Units that the pool has at a time.
        request: What a signal asked for: no more units are begun then.
        in_order: Yield in the order of the units; one that is done before its turn is still one of ``at_once``.

    Raises:
        Stopped: By a signal, after the units in hand were done.
    """
    waiting, running = iter(units), dict[Future[T], U]()
    while True:
        if request.signum is None:
            running |= {pool.submit(work, unit): unit for unit in islice(waiting, at_once - len(running))}
        else:
            running = {future: unit for future, unit in running.items() if not future.cancel()}
        if not running:
            break
        next_ones = [next(iter(running))] if in_order else running
        for future in wait(next_ones, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future
    request.obey()


def broken_pool(doing: str, error: BaseException) -> PgpisError:
    """Return what the user is told when a worker was ended from outside."""
    return PgpisError(
        f"a worker process ended while {doing} ({error})",
        hint="if memory ran out, run the same command with fewer --workers; it goes on where it was",
    )


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of fresh processes that leave Ctrl-C to this one; at the end, what has not started is dropped.

    Submit inside :func:`born_deaf`, and everything inside :func:`one_thread_each`.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def end_together(pools: Iterable[Executor]) -> None:
    """End the pools of this machine: what workers have in hand is finished, what has not started is dropped.

    Each drops it by itself: a pool that breaks, as a signal to the whole group ends workers too, fails of futures that
    others have cancelled.
    """
    own = {pool for pool in pools if isinstance(pool, ProcessPoolExecutor)}
    with ThreadPoolExecutor(len(own) or 1) as threads:
        list(threads.map(lambda pool: pool.shutdown(cancel_futures=True), own))


def render_failures(failures: Sequence[Failure]) -> str:
    """Return the list of failures as text; empty where there are none."""
    if not failures:
        return ""
    lines = [f"{len(failures)} failed; run the same command again to try them once more:"]
    lines += shortlist([f"{failure.unit}: {failure.reason}" for failure in failures])
    return "\n".join(lines) + "\n"


def reason_of(error: BaseException) -> str:
    """Return what a list of failures says of an error."""
    return error.message if isinstance(error, PgpisError) else f"{type(error).__name__}: {error}"


def shortlist(lines: Sequence[str]) -> list[str]:
    """Return the first lines of a list of failures, indented, and how many more there are."""
    more = [f"  ... and {len(lines) - SHOWN_FAILURES:,} more"] if len(lines) > SHOWN_FAILURES else []
    return [f"  {line}" for line in lines[:SHOWN_FAILURES]] + more


def leave_interrupts_alone(_worker: int = 0) -> None:
    """Let the parent alone answer what the terminal sends to every process of the group, as Ctrl-C."""
    for signum in OF_TERMINAL:
        signal.signal(signum, signal.SIG_IGN)


def _begin() -> None:
    """Begin as a worker, before what its units need is imported.

    It ends with its parent: one that was killed leaves its folder to the next job, to which no worker may write.
    """
    collect_rarely()
    leave_interrupts_alone()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def born_deaf() -> Iterator[None]:
    """Let processes that start inside ignore Ctrl-C also while they are importing, before their initializer runs.

    They inherit the blocked signals. Here it only waits: one that comes meanwhile is answered at the end.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, OF_TERMINAL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def one_thread_each() -> Iterator[None]:
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
    """Show pictures done, pictures per second and the time left: a bar on a terminal, else a line now and then.

    Yields:
        A function that is told how many more pictures are done.
    """
    with meters({doing: total}) as advance:
        yield functools.partial(advance, doing)


@contextmanager
def meters(totals: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
    """Show the progress of several things that are done at the same time; see :func:`meter`.

    Args:
        totals: What is done, and how many pictures of it in all.

    Yields:
        A function that is told of what how many more pictures are done.
    """
    console = Console(stderr=True)
    start = time.monotonic()
    done = dict.fromkeys(totals, 0)
    last_line = dict.fromkeys(totals, start)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    bar = Progress(TextColumn("{task.description}"), *columns, console=console)
    tasks = {doing: bar.add_task(doing, total=total, rate="") for doing, total in totals.items()}

    def advance(doing: str, pictures: int) -> None:
        done[doing] += pictures
        now, total = time.monotonic(), totals[doing]
        rate = done[doing] / max(now - start, 1e-9)
        bar.update(tasks[doing], completed=done[doing], rate=f"{rate:.1f} pictures/s")
        is_due = now - last_line[doing] >= SECONDS_BETWEEN_LINES or done[doing] == total
        if is_due and not console.is_terminal:
            last_line[doing] = now
            left = (total - done[doing]) / max(rate, 1e-9)
            log.info("%s: %d of %d pictures, %.1f pictures/s, %.0f s left", doing, done[doing], total, rate, left)

    with bar if console.is_terminal else nullcontext():
        yield advance
