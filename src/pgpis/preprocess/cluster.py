"""The same stages on a cluster, by Ray Data; every machine must see the same folders.

A worker that dies is started again and its pictures are done once more, so nothing is lost.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pgpis.jobs import THREADS
from pgpis.lazy import optional_module
from pgpis.pictures.kinds import kind_of
from pgpis.preprocess.run import PICTURES_PER_UNIT, Todo, order_of, work
from pgpis.preprocess.settings import Outcome, PictureFiles, PrepareSettings
from pgpis.preprocess.stage import Stage

INSTALL = "pip install 'ray[data]>=2.50'"


class ClusterStage:
    """One stage in a process of the cluster; reads and writes rows of text, one for each picture."""

    def __init__(self, condition: str, settings: PrepareSettings) -> None:
        self.condition = condition
        self.settings = settings

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do the stage of the pictures that need it."""
        rows = [json.loads(text) for text in batch["row"]]
        needed, ready = kind_of(self.condition).needs, []
        for row in rows:
            if self.condition in row["todo"]:
                earlier = {outcome["condition"]: Outcome.parse(outcome) for outcome in row["outcomes"]}
                before = earlier.get(needed or "")
                if before is None or before.reason is None:
                    ready.append(row)
                else:
                    row["outcomes"].append(asdict(before.blocks(self.condition)))
        files = [_files(row) for row in ready]
        for row, outcome in zip(ready, work(self.settings, self.condition, files) if files else (), strict=True):
            row["outcomes"].append(asdict(outcome))
        return {"row": [json.dumps(row) for row in rows]}


def run_ray(todo: Todo, settings: PrepareSettings, workers: int, _path: Path) -> Generator[list[Outcome], None, None]:
    """Do everything on the cluster that ``RAY_ADDRESS`` names, or on one started on this machine.

    Args:
        todo: Pictures of each stage.
        settings: With which tools.
        workers: Processes of each stage at most.

    Raises:
        PgpisError: Ray is not installed.
    """
    ray, data = (optional_module(name, "--runner ray needs Ray", INSTALL) for name in ("ray", "ray.data"))
    paths: dict[str, Any] = {
        name: value.absolute() for name, value in vars(settings).items() if isinstance(value, Path)
    }
    settings = replace(settings, **paths)  # processes of the cluster have other working directories
    rows = _rows(todo)
    if not rows:
        return
    if not ray.is_initialized():
        ray.init(logging_level="warning", runtime_env={"env_vars": dict.fromkeys(THREADS, "1")})
    data.DataContext.get_current().enable_progress_bars = False
    size = max(PICTURES_PER_UNIT, settings.batch_size)
    blocks = math.ceil(len(rows) / size)
    workers = min(workers, blocks)
    dataset = data.from_items([{"row": json.dumps(row)} for row in rows], override_num_blocks=blocks)
    stages = [condition for condition in order_of(todo) if todo[condition]]
    neural = [stage for stage in stages if Stage.classes[stage].is_neural] if settings.device.startswith("cuda") else []
    for condition in stages:
        dataset = dataset.map_batches(
            ClusterStage,
            fn_constructor_args=(condition, settings),
            batch_size=size,
            compute=data.ActorPoolStrategy(min_size=1, max_size=workers),
            num_cpus=1 / len(stages),
            num_gpus=1 / len(neural) if condition in neural else 0,
        )
    for row in dataset.iter_rows():
        yield [Outcome.parse(entry) for entry in json.loads(row["row"])["outcomes"]]


def _rows(todo: Todo) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for condition, files in todo.items():
        for file in files:
            outputs = {name: str(path.absolute()) for name, path in file.outputs}
            picture = str(file.picture.absolute())
            empty = {"name": file.name, "picture": picture, "outputs": outputs, "content": file.content}
            rows.setdefault(file.name, {**empty, "todo": [], "outcomes": []})["todo"].append(condition)
    return list(rows.values())


def _files(row: dict[str, Any]) -> PictureFiles:
    outputs = tuple((condition, Path(path)) for condition, path in row["outputs"].items())
    return PictureFiles(row["name"], Path(row["picture"]), outputs, row["content"])
