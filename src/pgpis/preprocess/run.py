"""The whole job: stages that stream into each other, resumed where they stopped, on this machine or a cluster."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from pgpis.data.picture_store import content_hash
from pgpis.errors import PgpisError
from pgpis.jobs import born_deaf, broken_pool, meter, meters, one_thread_each, worker_pool
from pgpis.pictures.kinds import kind_of
from pgpis.preprocess.record import Record, append
from pgpis.preprocess.settings import Outcome, PictureFiles, PrepareSettings
from pgpis.preprocess.stages import Stage, build_stage, is_valid, require_weights

log = logging.getLogger(__name__)

PICTURES_PER_UNIT = 4
PICTURES_PER_PROCESS = 16
"""At least: starting one costs seconds."""

Unit = tuple[str, tuple[PictureFiles, ...]]
Todo = Mapping[str, Sequence[PictureFiles]]
Runner = Callable[[Todo, PrepareSettings, int, Path], Generator[list[Outcome], None, None]]


@dataclass
class PrepareResult:
    """What a job did."""

    made: Counter[str] = field(default_factory=Counter)
    already: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    """From the start of the job to the last file of a stage."""
    failures: list[Outcome] = field(default_factory=list)
    """Of this run, and what earlier runs did not find in a picture."""


def prepare(
    files: Sequence[PictureFiles],
    conditions: Sequence[str],
    settings: PrepareSettings,
    record: Record,
    runner: Runner,
    workers: int = 1,
    *,
    again: bool = False,
) -> PrepareResult:
    """Make what is missing or damaged, or was made of another picture of the same name.

    Args:
        files: The pictures.
        conditions: What to make.
        settings: With which tools.
        record: Where outcomes are kept.
        runner: :func:`run_local`, :func:`run_here` or the one of :mod:`pgpis.preprocess.cluster`.
        workers: Processes of each stage.
        again: Also look again at pictures in which an earlier run found nothing.

    Raises:
        PgpisError: Weights or packages are missing, or a worker was ended from outside.
    """
    result = PrepareResult()
    todo: dict[str, list[PictureFiles]] = {condition: [] for condition in conditions}
    with meter("looking at what is there", len(files)) as looked:
        for unknown in files:
            file = replace(unknown, content=content_hash(unknown.picture))
            looked(1)
            changed = {condition for condition, _ in file.outputs if record.is_of_another_picture(file, condition)}
            for condition in changed:
                file.path(condition).unlink(missing_ok=True)
            for condition in conditions:
                if is_valid(condition, file):
                    result.already[condition] += 1
                elif (
                    record.nothing_found(file.name, condition)
                    and not (again or condition in changed)
                    and not _has_what_it_needs(condition, file)
                ):
                    result.failures.append(record.outcomes[file.name, condition])
                else:
                    todo[condition].append(file)
    require_weights((condition for condition in conditions if todo[condition]), settings)
    start = time.monotonic()
    counts: dict[str, int] = {condition: len(todo[condition]) for condition in conditions if todo[condition]}
    # closed first: no worker adds to a record that is being written anew
    with record, meters(counts) as advance, closing(runner(todo, settings, workers, record.path)) as stream:
        for outcomes in stream:
            record.add(outcomes)
            for outcome in outcomes:
                advance(outcome.condition, 1)
                result.seconds[outcome.condition] = time.monotonic() - start
                if outcome.reason is None:
                    result.made[outcome.condition] += 1
                else:
                    result.failures.append(outcome)
    result.failures.sort(key=lambda outcome: (outcome.name, outcome.condition))
    return result


def _has_what_it_needs(condition: str, file: PictureFiles) -> bool:
    """Whether an earlier stage, which had found nothing, has found something since."""
    needed = kind_of(condition).needs
    return needed is not None and is_valid(needed, file)


def work(settings: PrepareSettings, unit: Unit) -> list[Outcome]:
    """Do one stage of a few pictures."""
    condition, files = unit
    return _make(build_stage(condition, settings), files)


def work_and_record(settings: PrepareSettings, path: Path, unit: Unit) -> list[Outcome]:
    """Do one stage of a few pictures in a worker process, and record each at once: a kill then loses nothing."""
    condition, files = unit
    stage = build_stage(condition, settings)
    outcomes: list[Outcome] = []
    for start in range(0, len(files), settings.batch_size):
        part = _make(stage, files[start : start + settings.batch_size])
        append(path, part)
        outcomes += part
    return outcomes


def _make(stage: Stage, files: Sequence[PictureFiles]) -> list[Outcome]:
    """Do one stage, and note of which pictures."""
    return [replace(outcome, content=file.content) for file, outcome in zip(files, stage(files), strict=True)]


def run_here(todo: Todo, settings: PrepareSettings, _workers: int, _path: Path) -> Generator[list[Outcome], None, None]:
    """Do everything in this process, one stage after the other."""
    lacking: dict[str, dict[str, Outcome]] = {}
    for condition in order_of(todo):
        lacking[condition] = {}
        for unit in _units(condition, todo[condition], settings):
            ready, blocked = _divide(unit, lacking)
            outcomes = blocked + (work(settings, ready) if ready[1] else [])
            lacking[condition] |= {outcome.name: outcome for outcome in outcomes if outcome.reason is not None}
            yield outcomes


def run_local(todo: Todo, settings: PrepareSettings, workers: int, path: Path) -> Generator[list[Outcome], None, None]:
    """Do everything in processes of this machine; a picture goes on to the next stage as soon as it is through one.

    Args:
        todo: Pictures of each stage.
        settings: With which tools.
        workers: Processes of each stage.
        path: The record; workers write to it.

    Raises:
        PgpisError: A worker was ended from outside.
    """
    waiting: dict[str, dict[str, PictureFiles]] = {}
    with one_thread_each(), ExitStack() as stack:
        pools = {
            condition: stack.enter_context(worker_pool(_processes(condition, len(files), settings, workers)))
            for condition, files in todo.items()
            if files
        }
        running: dict[Future[list[Outcome]], str] = {}

        def submit(condition: str, files: Iterable[PictureFiles]) -> None:
            for unit in _units(condition, files, settings):
                with born_deaf():
                    running[pools[condition].submit(work_and_record, settings, path, unit)] = condition

        for condition in pools:
            before = kind_of(condition).needs
            later = {file.name for file in todo.get(before, ())} if before is not None else set()
            waiting[condition] = {file.name: file for file in todo[condition] if file.name in later}
            submit(condition, (file for file in todo[condition] if file.name not in later))
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                condition = running.pop(future)
                outcomes = _result(future, condition)
                yield outcomes
                for after in (after for after in pools if kind_of(after).needs == condition):
                    freed = [(waiting[after].pop(outcome.name, None), outcome) for outcome in outcomes]
                    submit(after, [file for file, outcome in freed if file is not None and outcome.reason is None])
                    yield [outcome.blocks(after) for file, outcome in freed if file is not None and outcome.reason]


def order_of(conditions: Iterable[str]) -> list[str]:
    """Return conditions such that each comes after what it needs."""
    return sorted(conditions, key=lambda condition: kind_of(condition).needs is not None)


def _divide(unit: Unit, lacking: Mapping[str, Mapping[str, Outcome]]) -> tuple[Unit, list[Outcome]]:
    """Part the pictures whose stage can be done from those that lack what it needs."""
    condition, files = unit
    missing = lacking.get(kind_of(condition).needs or "", {})
    blocked = [missing[file.name].blocks(condition) for file in files if file.name in missing]
    return (condition, tuple(file for file in files if file.name not in missing)), blocked


def _units(condition: str, files: Iterable[PictureFiles], settings: PrepareSettings) -> list[Unit]:
    """Cut pictures into what a process does in one go, and Ctrl-C waits for: for nets, what they see at once."""
    listed = list(files)
    size = settings.batch_size if Stage.classes[condition].is_neural else PICTURES_PER_UNIT
    return [(condition, tuple(listed[start : start + size])) for start in range(0, len(listed), size)]


def _processes(condition: str, pictures: int, settings: PrepareSettings, workers: int) -> int:
    if Stage.classes[condition].is_neural and not settings.device.startswith("cpu"):
        return 1
    return max(1, min(workers, pictures // PICTURES_PER_PROCESS))


def _result(future: Future[list[Outcome]], condition: str) -> list[Outcome]:
    error = future.exception()
    if isinstance(error, BrokenProcessPool):
        raise broken_pool(f"making {condition}", error) from error
    if isinstance(error, PgpisError):
        raise PgpisError(error.message, hint=error.hint) from error
    if error is not None:
        raise error
    return future.result()
