"""Models that are loaded once, and the pictures that they make of requests."""

from __future__ import annotations

import copy
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pgpis.batch import PairBatch, joined
from pgpis.data import OnMissing, PoseTransferDataModule
from pgpis.data.further import MERGED
from pgpis.data.pair import Pair
from pgpis.errors import PgpisError, error_of, nearest
from pgpis.files import file_name, is_file
from pgpis.pictures.drawing import DRAWING
from pgpis.pictures.images import read_image, tensor_to_images
from pgpis.pictures.iuv import part_u_v
from pgpis.pictures.kinds import conditions, kind_of
from pgpis.pipelines.shipped import SHIPPED
from pgpis.predictions import DONE, Prediction
from pgpis.predictions.marks import WEIGHTS
from pgpis.preprocess.photos import PhotoPairs
from pgpis.preprocess.settings import PrepareSettings
from pgpis.studio.request import Drawing, PictureRequest
from pgpis.tasks.predicting import PictureTask

log = logging.getLogger(__name__)

LoadTask = Callable[[str], PictureTask]
"""Builds the task of a pipeline, which knows the data of its recipe; raises ``PgpisError``."""
PRECISION = "32-true"
"""What tasks are loaded in: the Trainer's word for it, which the recipe of a model may say otherwise."""
OnStep = Callable[[int, int, Callable[[], Image.Image]], None]
"""Is told the step, how many there are, and what draws a preview; what it raises ends the drawing."""


@dataclass(frozen=True)
class Read:
    """A request whose files are read, and everything made of them that its model reads."""

    batch: PairBatch
    """Of one pair."""
    drawing: Drawing
    seen: Mapping[str, Image.Image] = field(default_factory=dict)
    """What the model sees, by the name that messages have for it."""


class Studio:
    """Models, loaded when they are first asked for and shared by all who ask.

    One model draws for one caller at a time, and one caller at a time reads or loads: while diffusers loads weights,
    modules that any thread makes have none. Reading and loading go on beside drawing.

    Args:
        load: Builds a model's task.
        pipelines: Pipelines by the names that requests have for them.
        tools: What makes the conditions of photographs, and the device where that and the models run; None: as
            ``pgpis prepare``.
        mark: Whether pictures are marked as those of ``pgpis predict``.
    """

    def __init__(
        self, load: LoadTask, pipelines: Mapping[str, str], tools: PrepareSettings | None = None, *, mark: bool = True
    ) -> None:
        self.pipelines = dict(pipelines)
        self.tools = tools or PrepareSettings()
        self.mark = mark
        self._load = load
        self._weights: dict[str, dict[str, str]] = {}
        self._tasks: dict[str, PictureTask] = {}
        self._making = threading.RLock()
        """Whoever makes modules has it, and asks for no other lock."""
        self._drawing = {name: threading.Lock() for name in pipelines}

    def task(self, model: str) -> PictureTask:
        """Return a model's task.

        Raises:
            PgpisError: There is no such model, or it cannot be loaded.
        """
        if model not in self.pipelines:
            raise PgpisError(f"there is no model '{model}'{nearest(model, self.pipelines)}")
        if model in self._tasks:
            return self._tasks[model]
        with self._making:
            if model not in self._tasks:
                start = time.monotonic()
                self._tasks[model] = self._load(self.pipelines[model]).to(self.tools.device).eval()
                log.info("%s is loaded, %.1f s", model, time.monotonic() - start)
            return self._tasks[model]

    def can_edit(self, model: str) -> bool:
        """Whether a model reads the texture and face that edits exchange."""
        return {"texture", "face"} <= self.reads(model)

    def reads(self, model: str) -> set[str]:
        """Return what a model reads of a pair."""
        return {spec.origin for spec in self.task(model).input_specs.values()}

    def read(self, model: str, request: PictureRequest, folder: Path) -> Read:
        """Read a request, and make what its model reads.

        Args:
            model: Name of the model.
            request: What is asked for.
            folder: Keeps what is made of photographs, and is used again for the same ones.

        Raises:
            PgpisError: A file cannot be read, shows nobody, or the model cannot do what is asked.
        """
        task = self._for(model, request.drawing)
        if request.is_edited and not self.can_edit(model):
            raise PgpisError(f"{model} cannot exchange clothes and identity: it reads neither texture nor face")
        with self._making:
            return self._read(task, model, request, folder)

    def _read(self, task: PictureTask, model: str, request: PictureRequest, folder: Path) -> Read:
        pairs = self._pairs(model, request, folder)
        pairs.setup()
        pairs = pairs.with_pairs(pairs.with_sources(pair, request.further) for pair in pairs.pairs)
        drawn = {name: getattr(task.data, name) for name in DRAWING}
        data = PoseTransferDataModule(predict=pairs, num_workers=0, input_specs=task.input_specs, **drawn)
        data.setup("predict")
        batch: PairBatch = next(iter(data.predict_dataloader()))
        if batch["failures"]:
            raise error_of(batch["failures"][0].reason)
        return Read(batch, request.drawing, _seen(pairs, batch, self.reads(model)))

    def _pairs(self, model: str, request: PictureRequest, folder: Path) -> PhotoPairs:
        shipped = SHIPPED.get(self.pipelines[model])
        face_space: Any = "recogniser" if shipped is None or shipped.face_space is None else shipped.face_space
        return PhotoPairs(
            request.source,
            request.pose,
            driving=request.driving,
            retarget=request.retarget,
            settings=self.tools,
            save_conditions=folder,
            identity=None if request.identity is None else str(request.identity.absolute()),
            clothes=tuple(f"{group}={picture.absolute()}" for group, picture in request.clothes),
            on_missing=OnMissing(face="drop", face_space=face_space),
        )

    def draw(self, model: str, requests: Sequence[Read], on_step: OnStep | None = None) -> list[list[Prediction]]:
        """Draw the pictures of requests of equal drawings, about persons of as many pictures each, in one batch.

        What a picture shows does not depend on the others of its batch; its last bits do, and so marks name the place.

        Returns:
            The pictures of each request.

        Raises:
            PgpisError: A picture could not be drawn.
        """
        drawing = requests[0].drawing
        assert all(request.drawing == drawing for request in requests)
        task = self._for(model, drawing)
        if on_step is not None:
            task.on_denoising_step = lambda step, steps, latents: on_step(step, steps, lambda: _preview(task, latents))
        with self._drawing[model], torch.inference_mode():
            made = task.predict_step(_merged([request.batch for request in requests]), 0)
            self._tasks[model].most_pairs = task.most_pairs  # what memory is enough for is not to be found out again
        for prediction in made:
            if prediction.record.status != DONE:
                raise error_of(prediction.record.status)
        settings = self._settings(model, task) if self.mark else {}
        made = [replace(one, mark=one.mark.filled(settings) if self.mark and one.mark else None) for one in made]
        return [made[position :: len(requests)] for position in range(len(requests))]

    def _settings(self, model: str, task: PictureTask) -> dict[str, Any]:
        """Return what marks hold beside the pair, as ``pgpis predict`` notes it."""
        if model not in self._weights:
            self._weights[model] = {f"{WEIGHTS}{part}": digest for part, digest in task.prediction_weights().items()}
        drawn = {name: getattr(task.data, name) for name in task.drawing}
        settings = {**task.prediction_settings(), "precision": PRECISION, **drawn, **self._weights[model]}
        return dict(json.loads(json.dumps(settings, default=str)))

    def _for(self, model: str, drawing: Drawing) -> PictureTask:
        """Return a model's task with the sampling of a request: the same weights."""
        loaded = self.task(model)
        task = copy.copy(loaded)
        task.data = loaded.data  # copies leave it behind
        chosen: dict[str, Any] = {"num_inference_steps": drawing.steps, "guidance_scale": drawing.guidance_scale}
        given = {name: value for name, value in chosen.items() if value is not None}
        if drawing.size is not None:
            given |= {"height": drawing.size[0], "width": drawing.size[1], "output_size": None}
        task.sampling = replace(task.sampling, images_per_pair=drawing.pictures, **given)
        task.seed = drawing.seed
        return task


def _preview(task: PictureTask, latents: torch.Tensor) -> Image.Image:
    """Decode the first picture as it is now, noise and all."""
    vae: Any = task.build_pipeline().vae
    scaled = (latents[:1] / vae.config.scaling_factor).to(vae.dtype)
    return tensor_to_images(vae.decode(scaled, return_dict=False)[0].float().clamp(-1, 1))[0]


def _merged(batches: Sequence[PairBatch]) -> PairBatch:
    """Put batches of one pair each into one."""
    if len(batches) == 1:
        return batches[0]
    merged = joined(batches)
    # the same names may come from two callers, and name two pictures
    merged["pair_id"] = [file_name(name, f"-{number}") for number, name in enumerate(merged["pair_id"])]
    return merged


def _seen(pairs: PhotoPairs, batch: PairBatch, origins: set[str]) -> dict[str, Image.Image]:
    """Return what can be shown of what a model reads."""
    shown = {"pose": tensor_to_images(batch["pose_image"])[0]}
    loaded = pairs.load(0, origins - {"target"})
    for kind in conditions(origins):
        content = loaded.conditions.get(kind.name)
        if isinstance(content, Image.Image):
            shown[kind.label] = content
    if isinstance(iuv := loaded.conditions.get("iuv"), Image.Image):
        shown["silhouette"] = Image.fromarray(part_u_v(iuv)[..., 0] > 0)
    shown["source"] = loaded.source or read_image(pairs.pairs[0].source)
    return shown | _seen_of_each(pairs.pairs[0], origins)


def _seen_of_each(pair: Pair, origins: set[str]) -> dict[str, Image.Image]:
    """Return the further sources of a pair, and what was merged of all of them; nothing where there is one source."""
    if not pair.further:
        return {}
    shown = {f"source {number}": read_image(own.picture) for number, own in enumerate(pair.further, 2)}
    for kind in (kind_of(name) for name in MERGED if name in origins):
        for number, own in enumerate(pair.sources, 1):
            path = own.conditions.get(kind.name)
            if path is not None and is_file(path):
                shown[f"{kind.label} of source {number}"] = kind.read(path)
    return shown
