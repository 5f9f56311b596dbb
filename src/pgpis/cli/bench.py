"""``pgpis bench``: models on held-out synthetic people, against their exact truth, and on photographs."""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml

from pgpis.cli.models import load_task
from pgpis.errors import PgpisError
from pgpis.evaluate.published import Over
from pgpis.files import files_below, locked, sha256_of
from pgpis.pipelines.shipped import SHIPPED, refuse_unknown
from pgpis.preprocess.settings import DenseposeName, PoseName, PrepareSettings

if TYPE_CHECKING:  # these load torch
    import torch
    from PIL import Image

    from pgpis.batch import PairBatch
    from pgpis.data.pairs import PairDataset
    from pgpis.tasks.diffusion import DiffusionTask

ENCODER = "synth-fpdm"
MODELS = ("FPDM=synth-fpdm", "MCLD=synth-mcld")
BATCH = 16

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What is scored, and how it is compared."""

    models: Annotated[Sequence[str], {"metavar": "NAME=PIPELINE[,KEY=VALUE]", "nargs": "*"}] = MODELS
    """Models to score, with keys of sampling if you like: refine=false, guidance_scale=2. Several of one name are runs
    of it, as with several seeds, and one row."""
    generated: Annotated[Sequence[str], {"metavar": "NAME=FOLDER"}] = ()
    """A model's pictures; may be given again."""
    differences: Annotated[Sequence[str], {"metavar": "A-B", "nargs": "*"}] = ()
    """Rows to compare pair by pair."""
    intervals: Over = "pairs"
    """What intervals are over: pairs, or people with all their pairs, for what is said of other people."""

    def __post_init__(self) -> None:
        for _, pipeline in (_halves("--models", word, "=", "NAME=PIPELINE") for word in self.models):
            refuse_unknown(_with_sampling(pipeline)[0], "--models")

    def settings(self) -> dict[str, Any]:
        """Return what they are among the settings of a benchmark."""
        return _rows(self.models, self.generated, self.differences) | {"intervals": self.intervals}


def synth(
    *,
    root: Path,
    out: Path,
    pairs: int = 500,
    candidates: int = 5,
    rows: Rows,
) -> None:
    """Score models on held-out synthetic people against their exact truth, beside rows that need no model.

    All pictures are written; what is there is not made again, unless it was of another data set or model.

    Args:
        root: Data set of ``pgpis synth``, with textures for MCLD.
        out: Folder to write to.
        pairs: Test pairs, spread over the list.
        candidates: Drawings to choose from in recognition.
        rows: Rows beside those that need no model.
    """
    chosen = rows.settings()
    from pgpis.evaluate.synth_benchmark import SynthSettings, run_synth_benchmark  # loads torch

    settings = SynthSettings(root=root, out=out, pairs=pairs, candidates=candidates, **chosen)
    with locked(out):
        sys.stdout.write(run_synth_benchmark(settings, sample, OwnEncoder()))


def photos(
    *,
    root: Path,
    out: Path,
    pairs: Path | None = None,
    size: tuple[int, int] = (256, 176),
    candidates: int = 5,
    rows: Rows,
    pose: PoseName = "blazepose",
    densepose: DenseposeName = "lifter",
) -> None:
    """Score models on photographs of people who are shown more than once, beside rows that need no model.

    One photograph of a person is the source, another gives the pose and is the truth. What models read beside is made
    of the photographs, and kept in OUT/conditions. All pictures are written; what is there is not made again, unless it
    was of another folder or model.

    Args:
        root: Folder of photographs: PERSON_VIEW.jpg, or a folder for each person.
        out: Folder to write to.
        pairs: CSV with the columns source and pose [all ordered pairs of each person].
        size: Height x width at which pictures are compared.
        candidates: Photographs of different people to choose from in recognition.
        rows: Rows beside those that need no model.
        pose: Pose model.
        densepose: DensePose's net, or what takes its place.
    """
    chosen = rows.settings()
    from pgpis.evaluate.photo_benchmark import PhotoSettings, run_photo_benchmark  # loads torch

    tools = PrepareSettings(pose=pose, densepose=densepose)
    settings = PhotoSettings(root=root, out=out, table=pairs, size=size, candidates=candidates, tools=tools, **chosen)
    with locked(out):
        sys.stdout.write(run_photo_benchmark(settings, sample, OwnEncoder()))


def _rows(models: Sequence[str], generated: Sequence[str], differences: Sequence[str]) -> dict[str, Any]:
    """Return the settings that say which rows there are."""
    folders = [_halves("--generated", word, "=", "NAME=FOLDER") for word in generated]
    for name, count in Counter(name for name, _ in folders).items():
        if count > 1:
            raise PgpisError(f"--generated: {count} folders are called '{name}'")
    by_row: dict[str, list[str]] = {}
    for word in models:
        name, pipeline = _halves("--models", word, "=", "NAME=PIPELINE")
        by_row.setdefault(name, []).append(pipeline)
    runs = {
        name: tuple(f"{name} run {number}" for number in range(1, len(several) + 1))
        for name, several in by_row.items()
        if len(several) > 1
    }
    pipelines = {
        row: pipeline
        for name, several in by_row.items()
        for row, pipeline in zip(runs.get(name, (name,)), several, strict=True)
    }
    for name in (name for several in runs.values() for name in several if name in by_row):
        raise PgpisError(f"--models: two rows are called '{name}', one of them as a run")
    return {
        "models": pipelines,
        "runs": runs,
        "identities": {name: _identity(pipeline) for name, pipeline in pipelines.items()},
        "generated": {name: Path(folder) for name, folder in folders},
        "differences": tuple(differences),
    }


def _with_sampling(word: str) -> tuple[str, dict[str, Any]]:
    """Part ``PIPELINE,KEY=VALUE,...`` into a pipeline and keys of ``sampling``; a comma may be in a path.

    Raises:
        PgpisError: A value is no YAML.
    """
    pipeline, *settings = re.split(r",(?=[a-z_]+=)", word)
    sampling = {}
    for key, _, value in (each.partition("=") for each in settings):
        try:
            sampling[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise PgpisError(f"--models: {key}={value}: expected a value such as false, 2 or [0.2, 0.8]") from error
    return pipeline, sampling


def _identity(word: str) -> str:
    """Return a hash of a pipeline's files and of how it samples; its name, if it does not exist, which fails later."""
    pipeline, sampling = _with_sampling(word)
    place = SHIPPED[pipeline].path if pipeline in SHIPPED else Path(pipeline)
    files = files_below(place) if place.is_dir() else [place]
    told = [sha256_of(path) for path in files if path.is_file()] + ([str(sampling)] if sampling else [])
    return hashlib.sha256(" ".join(told).encode()).hexdigest() if told else pipeline


def _halves(option: str, word: str, sign: str, expected: str) -> tuple[str, str]:
    first, _, second = word.partition(sign)
    if not (first and second):
        raise PgpisError(f"{option} {word}: expected {expected}")
    return first, second


class OwnEncoder:
    """The small encoder that ships with pgpis, as a judge."""

    def __init__(self) -> None:
        from pgpis.methods.fpdm import FPDMPipeline
        from pgpis.pipelines.bundle import load_bundle

        pipeline = load_bundle(FPDMPipeline, SHIPPED[ENCODER].path)
        self.encoder = pipeline.source_encoder.eval()
        self.size = int(pipeline.conditioner.config.source_size)

    def __call__(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """Return the tokens of pictures, class token first, ``(B, N, D)``."""
        import torch

        from pgpis.models.encoders import encode_tokens
        from pgpis.pictures.images import image_to_tensor, resize

        sized = [image_to_tensor(resize(picture, self.size, self.size)) for picture in pictures]
        with torch.inference_mode():
            return encode_tokens(self.encoder, torch.stack(sized))


def batches(pairs: PairDataset, task: DiffusionTask) -> Iterator[PairBatch]:
    """Read pairs in batches as a task reads and draws them: all of them, as what is compared has the same pairs.

    Raises:
        PgpisError: Files are missing that it reads, or a pair cannot be read.
    """
    from pgpis.data import PoseTransferDataModule

    pairs.require({spec.origin for spec in task.input_specs.values()})
    drawn = {name: value for name, value in task.drawing.items() if value is not None}
    data = PoseTransferDataModule(test=pairs, batch_size=BATCH, num_workers=0, input_specs=task.input_specs, **drawn)
    for batch in data.test_dataloader():
        if batch["failures"]:
            pair_id, reason = batch["failures"][0]
            hint = "what is compared needs the same pairs: make the file anew, or take its pairs out of the list"
            raise PgpisError(f"pair {pair_id} cannot be read: {reason}", hint=hint)
        yield batch


def sample(pipeline: str, pairs: PairDataset) -> Iterator[tuple[str, Image.Image]]:
    """Make the pictures of pairs by a model, ``PIPELINE`` or ``PIPELINE,KEY=VALUE``, each with its pair's name."""
    import torch

    from pgpis.pictures.images import tensor_to_images

    task, seconds = load_task(*_with_sampling(pipeline)), 0.0
    for batch in batches(pairs, task):
        start = time.monotonic()
        with torch.inference_mode():
            images = tensor_to_images(task.sample(batch))
        seconds += time.monotonic() - start
        yield from zip(batch["pair_id"], images, strict=True)
    log.info("%s: %.2f s a pair", pipeline, seconds / len(pairs))
