"""The whole job: stages that stream into each other, resumed where they stopped, on this machine or a cluster."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from pgpis.cluster import ActorPool, connected, gpus_for
from pgpis.devices import device_here
from pgpis.errors import PgpisError
from pgpis.jobs import born_deaf, broken_pool, end_together, meters, one_thread_each, parts, worker_pool
from pgpis.pictures.kinds import kind_of
from pgpis.preprocess.due import Due, map_hash
from pgpis.preprocess.record import Record, append
from pgpis.preprocess.settings import Outcome, PictureFiles, PrepareSettings
from pgpis.preprocess.stage import Stage
from pgpis.preprocess.stages import build_stage, require_weights, without_missing

PICTURES_PER_UNIT = 4
PICTURES_PER_PROCESS = 16
"""At least: starting one costs seconds."""
MOST_DEADLY = 10
"""So many pictures in a row of which workers die are not to blame for it."""

Todo = Mapping[str, Sequence[PictureFiles]]
Runner = Callable[[Todo, PrepareSettings, int | None, Path], Generator[list[Outcome], None, None]]


@dataclass
class PrepareResult:
    """What a job did."""

    made: Counter[str] = field(default_factory=Counter)
    already: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    """From the start of the job to the last file of a stage."""
    failures: list[Outcome] = field(default_factory=list)
    """Of this run, and what earlier runs did not find in a picture."""
    doubtful: list[Outcome] = field(default_factory=list)
    """What is there, of this run or an earlier one, and is uncertain."""


def prepare(
    files: Sequence[PictureFiles],
    conditions: Sequence[str],
    settings: PrepareSettings,
    record: Record,
    runner: Runner,
    workers: int | None = 1,
    *,
    again: bool = False,
) -> PrepareResult:
    """Make what is missing or damaged, or was made of another picture of the same name, or of another map of it.

    Args:
        files: The pictures.
        conditions: What to make.
        settings: With which tools.
        record: Where outcomes are kept.
        runner: :func:`run_here`, :func:`run_local` or :func:`run_ray`.
        workers: Processes of each stage, or actors; None: as many as this machine or the cluster has cores.
        again: Also look again at pictures in which an earlier run with the same tools found nothing.

    Raises:
        PgpisError: Weights, packages or the device are missing, or a worker was ended from outside.
    """
    options = {condition: settings.own(condition) for condition in order_of(conditions)}
    due = Due(options, record, again)
    due.look(files)
    todo, result = due.todo, PrepareResult(already=due.already, failures=due.failures, doubtful=due.doubtful)
    start = time.monotonic()
    counts: dict[str, int] = {condition: len(listed) for condition, listed in todo.items() if listed}
    try:
        require_weights(counts, settings)
    except PgpisError as error:
        if not (others := without_missing(conditions, settings)):
            raise
        hint = f"{error.hint}; --conditions {','.join(others)} does without"
        raise PgpisError(error.message, hint=hint) from error
    settings = settings.settled()
    # closed first: no worker adds to a record that is being written anew
    with record, meters(counts) as advance, closing(runner(todo, settings, workers, record.path)) as stream:
        for outcomes in stream:
            record.add(outcomes)
            for outcome in outcomes:
                advance(outcome.condition, 1)
                result.seconds[outcome.condition] = time.monotonic() - start
                if outcome.reason is None:
                    result.made[outcome.condition] += 1
                    result.doubtful += [outcome] if outcome.doubt else []
                else:
                    result.failures.append(outcome)
    for outcomes in (result.failures, result.doubtful):
        outcomes.sort(key=lambda outcome: (outcome.name, outcome.condition))
    return result


def settled(file: PictureFiles, outcome: Outcome) -> Outcome:
    """Remove what is of another picture or map and could not be made anew; return the outcome, which may be recorded.

    In this order: a kill between the two leaves a file that the next run knows as one to make again.
    """
    if outcome.reason is not None and outcome.condition in file.stale:
        file.path(outcome.condition).unlink(missing_ok=True)
    return outcome


def work(
    settings: PrepareSettings, stage_class: type[Stage], files: Sequence[PictureFiles], record: Path | None = None
) -> list[Outcome]:
    """Do one stage of a few pictures.

    Args:
        settings: With which tools.
        stage_class: What makes the files: a worker imports its module, which may be of another package.
        files: The pictures.
        record: A worker adds outcomes to it at once: a kill then loses nothing.
    """
    condition = stage_class.condition
    stage, options = build_stage(condition, settings), settings.own(condition)
    outcomes: list[Outcome] = []
    for part in parts(files, settings.batch_size):
        made = [_signed(file, outcome, options) for file, outcome in zip(part, stage(part), strict=True)]
        if record is not None:
            append(record, made)
        outcomes += made
    return outcomes


def _signed(file: PictureFiles, outcome: Outcome, options: str) -> Outcome:
    """Add of what, and with which options, a file was made or could not be made; see :func:`settled`."""
    made_of = map_hash(outcome.condition, file)
    return settled(file, replace(outcome, content=file.content, options=options, map=made_of))


def run_here(
    todo: Todo, settings: PrepareSettings, _workers: int | None, _path: Path
) -> Generator[list[Outcome], None, None]:
    """Do everything in this process, one stage after the other."""
    settings = replace(settings, device=device_here(settings.device))
    failed: dict[tuple[str, str | None], Outcome] = {}
    for condition in order_of(todo):
        needed = kind_of(condition).needs
        for unit in _units(condition, todo[condition], settings):
            blocked = [file for file in unit if (file.name, needed) in failed]
            outcomes = [settled(file, failed[file.name, needed].blocks(condition)) for file in blocked]
            ready = [file for file in unit if (file.name, needed) not in failed]
            outcomes += work(settings, Stage.classes[condition], ready) if ready else []
            failed |= {(outcome.name, condition): outcome for outcome in outcomes if outcome.reason is not None}
            yield outcomes


def run_local(
    todo: Todo, settings: PrepareSettings, workers: int | None, path: Path
) -> Generator[list[Outcome], None, None]:
    """Do everything in processes of this machine.

    Args:
        todo: Pictures of each stage.
        settings: With which tools.
        workers: Processes of each stage; None: as many as there are cores.
        path: The record; workers write to it.

    Raises:
        PgpisError: A worker was ended from outside.
    """
    settings = replace(settings, device=device_here(settings.device))
    with one_thread_each(), ExitStack() as stack:
        pools = _pools(todo, settings, workers or os.cpu_count() or 1, stack)
        yield from _run_pools(todo, settings, pools, path)


def run_ray(
    todo: Todo, settings: PrepareSettings, workers: int | None, path: Path
) -> Generator[list[Outcome], None, None]:
    """Do everything in actors of a Ray cluster; what an actor that dies was doing is done anew.

    Any of them does any stage that its core or GPU is for: those of one stage would wait for ever where the others
    have all room. A picture of which one actor after the other dies is a failure.

    Args:
        todo: Pictures of each stage.
        settings: With which tools.
        workers: Actors at most, with a core, and with a GPU; None: as many as the cluster has of these.
        path: The record; actors write to it.

    Raises:
        PgpisError: There is no cluster, it lacks the GPUs that were asked for, or actors cannot be started, or die of
            one picture after the other.
    """
    units = {condition: len(_units(condition, files, settings)) for condition, files in todo.items() if files}
    if not units:
        return
    device = settings.device or ("auto" if settings.chosen_device == "cuda" else "cpu")
    with connected() as resources, ExitStack() as stack:
        gpus = gpus_for(device, resources)
        settings = replace(settings, device="cuda" if gpus else "cpu")
        pools: dict[str, Executor] = {}
        on_gpu = {stage for stage in units if gpus and Stage.classes[stage].is_neural}
        for stages, room in ((on_gpu, gpus), (units.keys() - on_gpu, int(resources.get("CPU", 1)))):
            if stages:
                actors = max(1, min(workers or room, sum(units[stage] for stage in stages)))
                pools |= dict.fromkeys(stages, stack.enter_context(ActorPool(actors, gpus=int(stages is on_gpu))))
        yield from _run_pools(todo, settings, pools, path)


def _run_pools(
    todo: Todo, settings: PrepareSettings, pools: Mapping[str, Executor], record: Path
) -> Generator[list[Outcome], None, None]:
    """Do each stage in its pool; a picture goes on to the next one as soon as it is through one.

    Whatever ends it early, what workers have in hand they finish and record: no file is left of which nobody knows.
    """
    waiting: dict[str, dict[str, PictureFiles]] = {}
    running: dict[Future[list[Outcome]], tuple[str, Sequence[PictureFiles]]] = {}
    deadly: Counter[str] = Counter()

    def submit(condition: str, files: Iterable[PictureFiles]) -> None:
        stage = Stage.classes[condition]
        for unit in _units(condition, files, settings):
            with born_deaf():
                running[pools[condition].submit(work, settings, stage, unit, record)] = condition, unit

    def outcomes_of(future: Future[list[Outcome]], condition: str, unit: Sequence[PictureFiles]) -> list[Outcome]:
        try:
            outcomes = future.result()
        except BrokenExecutor as error:
            deadly[condition] += len(unit) == 1
            if isinstance(error, BrokenProcessPool) or deadly[condition] == MOST_DEADLY:
                raise broken_pool(f"making {condition}", error) from error
            if len(unit) > 1:  # which of them was it?
                for file in unit:
                    submit(condition, [file])
                return []
            return [_signed(file, Outcome(file.name, condition, str(error)), settings.own(condition)) for file in unit]
        deadly[condition] = 0
        return outcomes

    try:
        for condition in pools:
            later = {file.name for file in todo.get(kind_of(condition).needs or "", ())}
            waiting[condition] = {file.name: file for file in todo[condition] if file.name in later}
            submit(condition, (file for file in todo[condition] if file.name not in later))
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                condition, unit = running.pop(future)
                outcomes = outcomes_of(future, condition, unit)
                yield outcomes
                for after in (after for after in pools if kind_of(after).needs == condition):
                    freed = [(waiting[after].pop(outcome.name, None), outcome) for outcome in outcomes]
                    submit(after, [file for file, outcome in freed if file is not None and outcome.reason is None])
                    yield [settled(file, outcome.blocks(after)) for file, outcome in freed if file and outcome.reason]
    finally:
        end_together(pools.values())
        wait([future for future in running if not future.cancel()])


def order_of(conditions: Iterable[str]) -> list[str]:
    """Return conditions such that each comes after what it needs."""
    return sorted(conditions, key=lambda condition: kind_of(condition).needs is not None)


def _units(condition: str, files: Iterable[PictureFiles], settings: PrepareSettings) -> list[Sequence[PictureFiles]]:
    """Cut pictures into what a process does in one go, and Ctrl-C waits for: for nets, what they see at once."""
    return parts(list(files), settings.batch_size if Stage.classes[condition].is_neural else PICTURES_PER_UNIT)


def _pools(todo: Todo, settings: PrepareSettings, workers: int, stack: ExitStack) -> dict[str, Executor]:
    """Return the processes of each stage that has pictures; where these are few, all stages share them."""
    counts = {condition: len(files) for condition, files in todo.items() if files}
    on_cpu = settings.chosen_device.startswith("cpu")
    if max(counts.values(), default=0) < PICTURES_PER_PROCESS:
        pool = stack.enter_context(worker_pool(min(workers, max(1, len(counts))) if on_cpu else 1))
        return dict.fromkeys(counts, pool)
    pools: dict[str, Executor] = {}
    for condition, pictures in counts.items():
        alone = Stage.classes[condition].is_neural and not on_cpu
        processes = 1 if alone else max(1, min(workers, pictures // PICTURES_PER_PROCESS))
        pools[condition] = stack.enter_context(worker_pool(processes))
    return pools
