"""Actors on a Ray cluster, in the place of processes of this machine; all machines must see the same folders."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pgpis.errors import PgpisError
from pgpis.interrupts import StopRequest, answered_as_before, held
from pgpis.jobs import THREADS, as_done, born_deaf
from pgpis.lazy import collect_rarely, optional_module

log = logging.getLogger(__name__)

MOST_TRIES = 3
"""So often a unit is begun whose actors die: one that takes all memory would kill them forever."""
MOST_STARTS = 10
SECONDS_BETWEEN_STARTS = 3.0
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_UNTIL_TOLD = 60.0
"""A pool that has no actor yet says so then."""
IN_ORDER_AT_ONCE = 4
"""Units of each actor that are in hand or wait for an earlier one, where the order counts."""

T = TypeVar("T")
U = TypeVar("U")


@contextmanager
def connected() -> Iterator[dict[str, float]]:
    """Connect to the cluster that ``RAY_ADDRESS`` names, or start one on this machine; leave it at the end.

    Yields:
        What the cluster has: ``CPU``, ``GPU`` and so on.

    Raises:
        PgpisError: Ray is not installed, or there is no such cluster.
    """
    ray = _ray()
    is_ours = not ray.is_initialized()
    if is_ours:
        # without an address Ray would look for a cluster on this machine, and wait minutes for one that was killed
        address = os.environ.get("RAY_ADDRESS") or "local"
        try:
            with born_deaf(), answered_as_before():  # Ray's own handlers end the process at once
                ray.init(address, logging_level="warning", include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise PgpisError(f"cannot reach the Ray cluster {address}: {error}", hint="ray status") from error
    try:
        yield ray.cluster_resources()
    finally:
        if is_ours:
            ray.shutdown()


class ActorPool(Executor):
    """Actors of a cluster, each with a thread of this process that waits for it.

    What an actor was doing when it died, alone or with its machine, another one does anew. Actors that the cluster has
    no room for take part as soon as it has.

    Args:
        actors: How many at most.
        cpus: Cores that the cluster keeps for each without GPUs; each computes on one thread.
        gpus: GPUs of each, also parts of one.
    """

    def __init__(self, actors: int, *, cpus: float = 1, gpus: float = 0) -> None:
        actor = _ray().remote(_Actor).options(num_cpus=0 if gpus else cpus, num_gpus=gpus)
        self._start = functools.partial(actor.remote, str(Path.cwd()))
        self._units: queue.SimpleQueue[_Unit | None] = queue.SimpleQueue()
        self._has_ended, self._works = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(actors)]
        self._clock = threading.Timer(SECONDS_UNTIL_TOLD, self._tell_of_waiting)
        self._clock.daemon = True
        for thread in (*self._threads, self._clock):
            thread.start()

    def submit(self, function: Callable[..., T], /, *args: Any, **options: Any) -> Future[T]:
        """Let an actor call a function; see ``Executor.submit``.

        The future's exception is that of the function, ``BrokenExecutor`` where actors died of it, or ``PgpisError``
        where no actor can be started at all.
        """
        unit = _Unit(functools.partial(function, *args, **options), Future[T]())
        self._units.put(unit)
        return unit.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all actors, whatever they are doing."""
        self._has_ended.set()
        self._clock.cancel()
        for _ in self._threads:
            self._units.put(None)
        for thread in self._threads:
            thread.join()

    def _tell_of_waiting(self) -> None:
        if not self._works.is_set():
            log.warning("no worker has started on the cluster so far; 'ray status' tells whether it has room for one")

    def _serve(self) -> None:
        """Start an actor and hand it one unit after the other; where it dies, start another."""
        try:
            while not self._has_ended.is_set():
                actor, is_alive = self._started(), True
                while is_alive and (unit := self._units.get()) is not None and not self._has_ended.is_set():
                    is_alive = self._is_done(unit, actor)
                _ray().kill(actor)
        except PgpisError as error:
            while (unit := self._units.get()) is not None and not self._has_ended.is_set():
                if unit.tries or unit.future.set_running_or_notify_cancel():
                    unit.future.set_exception(error)

    def _started(self) -> Any:
        """Start an actor that can work, on another machine maybe than where it could not be started.

        Raises:
            PgpisError: None of this pool could ever be.
        """
        ray = _ray()
        for start in itertools.count(1):
            actor = self._start()
            ready = actor.__ray_ready__.remote()
            try:
                if self._comes(ready):
                    ray.get(ready)
                    self._works.set()
                break
            except ray.exceptions.RayError as error:  # or its machine has just been lost, unnoticed by the cluster
                reason = str(error).strip().splitlines()[-1]
                if start % MOST_STARTS == 0:
                    if not self._works.is_set():
                        hint = "install pgpis on every machine of the cluster, the same version as here"
                        raise PgpisError(f"no worker can be started on the cluster: {reason}", hint=hint) from error
                    log.warning("a worker could not be started %d times, and is tried again: %s", start, reason)
                self._has_ended.wait(SECONDS_BETWEEN_STARTS)
        return actor

    def _is_done(self, unit: _Unit, actor: Any) -> bool:
        """Let an actor do a unit; False: it died."""
        ray = _ray()
        if not (unit.tries or unit.future.set_running_or_notify_cancel()):
            return True
        try:
            result = actor.work.remote(unit.call)
            if self._comes(result):
                unit.future.set_result(ray.get(result))
        except ray.exceptions.RayTaskError as error:
            unit.future.set_exception(error.cause)
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            unit.tries += 1
            if unit.tries == MOST_TRIES:
                unit.future.set_exception(BrokenExecutor(f"{MOST_TRIES} workers ended while doing it: {reason}"))
            else:
                log.warning("a worker ended, and another one does its work: %s", reason)
                self._units.put(unit)
            return False
        except Exception as error:  # noqa: BLE001  it cannot be sent, or cannot be received
            unit.future.set_exception(error)
        return True

    def _comes(self, reference: Any) -> bool:
        """Wait for a result; False: the pool has ended."""
        ray = _ray()
        while not self._has_ended.is_set():
            if ray.wait([reference], timeout=SECONDS_BETWEEN_LOOKS)[0]:
                return True
        return False


def gpus_for(device: str, resources: Mapping[str, float]) -> int:
    """Return how many GPUs of a cluster there are for actors.

    Args:
        device: ``cpu`` leaves them alone, ``cuda`` needs one for each actor, ``auto`` takes them where there are any.
        resources: Of :func:`connected`.

    Raises:
        PgpisError: It has none that it needs, or one of them is named.
    """
    if ":" in device:
        raise PgpisError(f"--device {device}: the cluster chooses the GPU", hint="--device cuda")
    gpus = 0 if device == "cpu" else int(resources.get("GPU", 0))
    if device not in ("cpu", "auto") and not gpus:
        raise PgpisError(f"--device {device}: the cluster has no GPU", hint="--device cpu")
    return gpus


@dataclass(frozen=True)
class Crew:
    """Actors that do units of one kind after the other; see :func:`crew`."""

    pool: Executor
    actors: int
    """How many at most."""
    device: str
    """Where they compute: ``cpu``, or ``cuda``, a GPU for each."""
    request: StopRequest

    def done(
        self, work: Callable[[U], T], units: Iterable[U], *, in_order: bool = False
    ) -> Iterator[tuple[U, Future[T]]]:
        """Let actors do units, and yield each of them with its future; see :func:`pgpis.jobs.as_done`."""
        at_once = self.actors * (IN_ORDER_AT_ONCE if in_order else 1)
        return as_done(self.pool, work, units, at_once, self.request, in_order=in_order)


@contextmanager
def crew(actors: int | None, units: int, device: str) -> Iterator[Crew]:
    """Hire actors of the cluster that ``RAY_ADDRESS`` names, or of one that is started on this machine.

    Args:
        actors: How many at most; None: as many as the cluster has GPUs or, without GPUs, cores.
        units: So many they have to do at most.
        device: See :func:`gpus_for`.

    Yields:
        The actors. Ctrl-C waits for the units in hand.

    Raises:
        PgpisError: Ray is not installed, there is no such cluster, it has no GPUs, or one of them is named.
        Stopped: By a signal.
    """
    with connected() as resources, held() as request:
        gpus = gpus_for(device, resources)
        actors = max(1, min(actors or gpus or int(resources.get("CPU", 1)), units))
        with ActorPool(actors, gpus=1 if gpus else 0) as pool:
            yield Crew(pool, actors, "cuda" if gpus else "cpu", request)
        request.obey()


@dataclass
class _Unit:
    """What an actor does in one go."""

    call: Callable[[], Any]
    future: Future[Any]
    tries: int = 0


class _Actor:
    """Lives in a process of its own, on some machine of the cluster."""

    def __init__(self, folder: str) -> None:
        collect_rarely()
        os.environ.update(dict.fromkeys(THREADS, "1"))
        self.folder = folder

    def work(self, call: Callable[[], T]) -> T:
        """Call a function in the working directory of the job."""
        try:
            os.chdir(self.folder)
        except OSError as error:
            hint = "start the job in a folder that all machines of the cluster see"
            raise PgpisError(f"a machine of the cluster has no folder {self.folder}", hint=hint) from error
        return call()


class Shared(Generic[T]):
    """A value that goes to each machine once, and that each actor reads once: a model with its weights.

    Args:
        value: What can be pickled.
    """

    def __init__(self, value: T) -> None:
        self.reference = _ray().put(value)

    def get(self) -> T:
        """Return the value."""
        value: T = _read(self.reference)
        return value


@functools.lru_cache(maxsize=1)
def _read(reference: Any) -> Any:
    return _ray().get(reference)


def _ray() -> Any:
    return optional_module("ray", "--runner ray needs Ray", "pip install 'ray>=2.50'")
