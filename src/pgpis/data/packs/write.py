"""Pairs to litdata's shards, a shard at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import accumulate
from os.path import commonpath
from pathlib import Path
from typing import Any

from pgpis import __version__
from pgpis.data.packs.lists import FORMAT, INDEX, LIST, PACK, source_in
from pgpis.data.packs.packed import NONE, POSE
from pgpis.data.packs.plan import Plan, Shard
from pgpis.data.packs.stores import INSTALL, Store, StoreError
from pgpis.data.pair import Pair
from pgpis.data.pairs import PairDataset
from pgpis.errors import PgpisError, nearest
from pgpis.files import is_file, locked, printable, remove_unfinished, resolved, sha256_of
from pgpis.interrupts import resumable
from pgpis.jobs import Failure, reason_of, run_units
from pgpis.lazy import optional_module
from pgpis.pictures.kinds import Kind, all_kinds, conditions, register, what_makes

NEED = "packing needs litdata"


@dataclass
class PackReport:
    """What was packed."""

    pack: dict[str, Any]
    failures: list[Failure]
    """Pairs that were left out, and why."""


def pack_pairs(
    dataset: PairDataset,
    store: Store,
    kinds: Collection[str],
    shard_bytes: float,
    workers: int,
    cache: Path | None = None,
) -> PackReport:
    """Write the pairs of a data set as shards; run again, it goes on.

    Args:
        dataset: The pairs; ``setup`` was called.
        store: Where the shards go.
        kinds: Conditions, and ``pose``, to pack; empty: all that there are.
        shard_bytes: Where a shard ends.
        workers: Processes that read and write; the shards do not depend on it.
        cache: Folder of ``pgpis cache``, whose features are packed behind the files.

    Raises:
        PgpisError: No pair is whole, a kind has no files, the cache is not that of the pairs, or the store cannot be
            written to.
    """
    optional_module("litdata", NEED, INSTALL)
    plan = _plan(dataset, kinds, cache)
    source = source_of(dataset)
    _refuse_others(store, source, dataset)
    _refuse_unreadable(plan)
    with locked(store.folder) if store.folder else resumable():
        if store.folder:
            remove_unfinished(store.folder)
        store.write(PACK, _json({"format": FORMAT, "finished": False, "source": source}))
        shards = list(plan.shards(shard_bytes))
        if failures := run_units(shards, partial(write_shard, store, all_kinds()), workers, "packing"):
            raise PgpisError(f"{store}/{failures[0].unit}: {failures[0].reason}", hint="the same command goes on")
        records = [json.loads(store.read(shard.record)) for shard in shards]
        reasons = _reasons(shards, records)
        rows, failures = _whole_pairs(plan, reasons)
        chunks = [record["chunk"] for record in records]
        store.write(INDEX, _json({"chunks": chunks, "config": records[0]["config"]}))
        content = _json(_list(plan, rows, reasons))
        store.write(LIST, content)
        pack = {
            "format": FORMAT,
            "finished": True,
            "source": source,
            "kinds": plan.packed_kinds(),
            "pairs": len(rows),
            "files": len(plan.items),
            "shards": len(shards),
            "bytes": sum(chunk["chunk_bytes"] for chunk in chunks),
            "self_pair_probability": dataset.self_pair_probability,
            "list_sha256": hashlib.sha256(content).hexdigest(),
            "versions": {"pgpis": __version__, "litdata": version("litdata")},
            **({"features": len(plan.feature_items)} if plan.features else {}),
            **({"layout": dataset.list_layout} if dataset.list_layout else {}),
        }
        store.write(PACK, _json(pack))
        _remove_others(store, shards)
    return PackReport(pack, failures)


def source_of(dataset: PairDataset) -> str:
    """Return what tells whose pairs a pack holds: a hash, as packs are given to others, and paths are private."""
    places = printable("\n".join(str(resolved(place)) for place in dataset.places))
    return hashlib.sha256(places.encode()).hexdigest()


def _plan(dataset: PairDataset, kinds: Collection[str], cache: Path | None) -> Plan:
    """List the files; a data set that has no poses, as models with DensePose maps do with, is packed without them."""
    wanted = [kind for kind in conditions() if not kinds or kind.name in kinds or kind.option in kinds]
    for name in {*kinds} - {POSE, *(word for kind in wanted for word in (kind.name, kind.option))}:
        raise PgpisError(f"--kinds: '{name}' is no condition{nearest(name, [POSE, *(k.name for k in conditions())])}")
    plan = Plan(dataset, wanted, with_pose=not kinds or POSE in kinds, cache=cache)
    if not plan.rows and not kinds and not any(map(_has_pose, dataset.pairs)):
        plan = Plan(dataset, wanted, with_pose=False, cache=cache)
    if not plan.rows:
        raise _no_pair(plan.failures[0])
    for kind in wanted if kinds else ():
        if kind.name not in plan.packed_kinds():
            raise PgpisError(f"--kinds {kind.name}: no pair has a {kind.what}", hint=what_makes(kind))
    return plan


def _has_pose(pair: Pair) -> bool:
    """Whether a pair has a file with its pose, which is not the DensePose map that may stand in its place."""
    return pair.pose is not None and pair.pose not in pair.aim.conditions.values() and is_file(pair.pose)


def _refuse_others(store: Store, source: str, dataset: PairDataset) -> None:
    """Refuse to write over the pack of another data set."""
    if source_in(store.read_if_there(PACK) or b"{}", source) != source:
        places = ", ".join(map(str, dataset.places))
        message = f"{store} has the pack of another data set; expected none, or that of {places}"
        raise PgpisError(message, hint=f"choose another --out; or, where the data set was moved, remove {store}/{PACK}")


def _refuse_unreadable(plan: Plan) -> None:
    """Refuse pairs of which none can be read, before what an earlier run has written is replaced."""
    failures = []
    for row in plan.rows:
        try:
            for number in {*row[2:], *plan.sources[row[2]]} - {NONE}:
                plan.items[number].read()
        except Exception as error:  # noqa: BLE001  readers raise anything on odd files
            failures.append(Failure(row[0], reason_of(error)))
        else:
            return
    raise _no_pair(failures[0])


def _no_pair(first: Failure) -> PgpisError:
    return PgpisError(f"no pair can be packed; the first one: {first.unit}: {first.reason}")


def write_shard(store: Store, kinds: Sequence[Kind], shard: Shard) -> None:
    """Write a shard, unless it is there; a file that cannot be read is empty in it, and its record says why.

    Args:
        store: Where to.
        kinds: What its files may be: a worker knows none that another package has registered.
        shard: What is in it.

    Raises:
        PgpisError: The store cannot be written to.
    """
    register(*kinds)
    if _is_whole(store, shard):
        return
    litdata = optional_module("litdata.streaming.writer", NEED, INSTALL)  # takes seconds
    failures: dict[int, str] = {}
    with store.staging() as folder:
        # it ends the shard where it is told to, not by a size of its own
        writer = litdata.BinaryWriter(str(folder), chunk_bytes=2**32, chunk_index=shard.number)
        for place, item in enumerate(shard.items):
            try:
                content = item.read()
            except Exception as error:  # noqa: BLE001  readers raise anything on odd files
                content, failures[place] = b"", reason_of(error)
            writer.add_item(place, content)
        writer.done()
        written = json.loads((folder / "0.index.json").read_text(encoding="utf-8"))
        chunk = written["chunks"][0] | {"sha256": sha256_of(folder / str(shard))}
        store.put(folder / str(shard), str(shard))
    content = _json({"stamp": shard.stamp, "chunk": chunk, "config": written["config"], "failures": failures})
    store.write(shard.record, content)


def _is_whole(store: Store, shard: Shard) -> bool:
    """Whether a shard is there, of the same files, all of which could be read."""
    try:
        record = json.loads(store.read(shard.record))
        size = record["chunk"]["chunk_bytes"]
        store.read(str(shard), size - 1, size)
        return bool(record["stamp"] == shard.stamp and not record["failures"])
    except (StoreError, ValueError, KeyError, TypeError):
        return False


def _reasons(shards: Sequence[Shard], records: Sequence[dict[str, Any]]) -> dict[int, str]:
    """Return by their number why files could not be read."""
    starts = accumulate((len(shard.items) for shard in shards), initial=0)
    return {
        start + int(place): reason
        for start, record in zip(starts, records, strict=False)
        for place, reason in record["failures"].items()
    }


def _whole_pairs(plan: Plan, reasons: dict[int, str]) -> tuple[list[list[Any]], list[Failure]]:
    """Return the pairs of which each file could be read, and what is left out for which reason."""
    rows, failures, told = [], list(plan.failures), set()
    for row in plan.rows:
        bad = [number for number in (*row[2:], *plan.sources[row[2]]) if number in reasons]
        failures += [Failure(row[0], reasons[bad[0]])] if bad else []
        rows += [] if bad else [row]
        told.update(bad)
    # what self-pairs alone would read, and features
    names = [item.path.name for items in (plan.items, plan.feature_items) for item in items]
    failures += [Failure(names[number], reasons[number]) for number in sorted(reasons.keys() - told)]
    return rows, failures


def _list(plan: Plan, rows: list[list[Any]], reasons: dict[int, str]) -> dict[str, Any]:
    """Return what a reader needs beside the shards."""
    root = commonpath([item.path.absolute().parent for item in plan.items])
    readable = {
        picture: [NONE if number in reasons else number for number in numbers]
        for picture, numbers in plan.sources.items()
    }
    return {
        "files": [item.path.absolute().relative_to(root).as_posix() for item in plan.items],
        "source_kinds": [kind.name for kind in plan.of("source")],
        "target_kinds": [kind.name for kind in plan.of("target")],
        "sources": [[picture, *numbers] for picture, numbers in readable.items()],
        "pairs": rows,
        **({"features": plan.features} if plan.features else {}),
        **_videos(plan, rows),
    }


def _videos(plan: Plan, rows: Sequence[list[Any]]) -> dict[str, Any]:
    """Return of which videos pairs are frames, where they are."""
    videos = {pair.pair_id: pair.video for pair in plan.dataset.pairs if pair.video is not None}
    if not videos:
        return {}
    return {"videos": [videos.get(row[0]) for row in rows], "frames_per_second": plan.dataset.frames_per_second}


def _remove_others(store: Store, shards: Sequence[Shard]) -> None:
    """Remove the shards of an earlier pack that had more of them."""
    own = {name for shard in shards for name in (str(shard), shard.record)}
    for path in store.folder.glob("chunk-0-*") if store.folder else ():
        if path.name not in own:
            path.unlink()


def _json(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
