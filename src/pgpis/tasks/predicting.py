"""Tasks that make pictures: seeded sampling, scoring in ``test``, records in ``predict``."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers import SchedulerMixin
from torch import nn

from pgpis.batch import PairBatch, PairFailure, rows_of
from pgpis.errors import NotFiniteError, first_line
from pgpis.files import file_name
from pgpis.models.weights import digests_of, in_json, settings_of
from pgpis.pictures.images import rows_not_finite, tensor_to_images
from pgpis.pipelines.base import SamplingPipeline
from pgpis.predictions import DONE, Mark, Prediction, PredictionRecord
from pgpis.tasks.base import PersonImageTask
from pgpis.tasks.grids import picture_grid
from pgpis.tasks.memory import halved, is_out_of_memory, lend_parts, refuse_lending, tiled
from pgpis.tasks.options import Sampling
from pgpis.tasks.places import Place, place_of, sample_in_place
from pgpis.tasks.scoring import PairScores
from pgpis.tasks.seeds import stable_seed
from pgpis.tasks.videos import anchored

log = logging.getLogger(__name__)


class PictureTask(PersonImageTask):
    """Base of tasks whose model draws pictures, by a pipeline."""

    pipeline_class: ClassVar[type[SamplingPipeline]]
    """What is exported, and what makes the pictures of ``test`` and ``predict``."""
    parts: ClassVar[tuple[str, ...]]
    """Components of the pipeline, each an attribute of the task."""
    sampling: Sampling
    scheduler: SchedulerMixin
    """The sampler."""
    pipeline_name: str | None
    """The pipeline that the parts came from, noted beside predictions."""
    drawing: Mapping[str, Any] = MappingProxyType({"pose_canvas": None, "stick_width": None})
    """How poses are drawn where the task does not know its data."""
    place_in_batch: Place | None = None
    """Where ``predict`` puts a single pair, see :func:`sample_in_place`."""
    most_pairs: int | None = None
    """Pairs that fit into memory at once, as far as is known."""
    _lending: SamplingPipeline | None = None
    """The pipeline whose parts are lent to the GPU: to hook them again at each batch would take long."""
    on_denoising_step: Callable[[int, int, torch.Tensor], None] | None = None
    """Is told the step, how many there are, and the latents after it; what it raises ends the sampling."""

    def take_parts(self, pipeline: SamplingPipeline) -> None:
        """Take the parts of a pipeline for the task's own, and how poses are drawn for them."""
        for name in self.parts:
            setattr(self, name, getattr(pipeline, name))
        self.drawing = {name: pipeline.config[name] for name in self.drawing}

    def build_pipeline(self) -> SamplingPipeline:
        """Assemble the pipeline from this task's own modules, with its size, steps, guidance and drawing of poses."""
        drawing = self.drawing if self.data is None else {name: getattr(self.data, name) for name in self.drawing}
        pipeline = self.pipeline_class(
            **{name: getattr(self, name) for name in self.parts},
            height=self.sampling.height,
            width=self.sampling.width,
            num_inference_steps=self.sampling.num_inference_steps,
            **self.sampling.scales,
            output_size=self.sampling.output_size and list(self.sampling.output_size),
            **drawing,
        )
        pipeline.set_progress_bar_config(disable=True)
        if "refiner" in self.parts and not self.sampling.refine:
            pipeline.register_modules(refiner=None)
        return pipeline

    def exported(self) -> tuple[str, Any]:
        """Export the whole pipeline."""
        return "pipeline", self.build_pipeline()

    def setup(self, stage: str) -> None:
        """Make the metrics where they are needed; refuse what training cannot do."""
        if stage == "fit":
            refuse_lending(self.sampling.offload)
        if stage == "test":
            self.scores = PairScores(Path(self.trainer.default_root_dir) / "test")

    def sample(self, batch: PairBatch, images_per_pair: int = 1) -> torch.Tensor:
        """Generate n pictures of each of B pairs, ``(n * B, 3, H, W)`` in [-1, 1], ordered ``b0, b1, .., b0, b1, ..``.

        Raises:
            NotFiniteError: Pictures hold numbers that are not finite.
        """
        pipeline: Any = self._placed_pipeline()
        pairs = len(batch["pair_id"])
        anchors: torch.Tensor | None = None
        if self.sampling.video.anchor:
            data: Any = self.require_data("it reads first frames")
            batch, anchors = anchored(batch, data.first_frame)
        generators = [
            torch.Generator().manual_seed(self.picture_seed(self._noise_name(batch, row), number))
            for number in range(images_per_pair)
            for row in range(len(batch["pair_id"]))
        ]
        with tiled(pipeline.vae, self.sampling.tiled_size):
            images: torch.Tensor = pipeline.generate(
                batch,
                num_inference_steps=self.sampling.num_inference_steps,
                **self.sampling.scales,
                **self.sampling.shortcuts,
                anchors=anchors,
                num_images_per_pair=images_per_pair,
                generator=generators,
                output_type="pt",
                callback_on_step_end=None if self.on_denoising_step is None else self._report_step,
            ).images
        return self._resized(images, pairs, images_per_pair)

    def _noise_name(self, batch: PairBatch, row: int) -> str:
        """Return what a pair's noise depends on: if asked for, its video in place of the pair itself."""
        name, video = batch["noise_name"][row], batch["video"][row] if self.sampling.video.shared_noise else ""
        return video if video and name == batch["pair_id"][row] else name

    def _placed_pipeline(self) -> SamplingPipeline:
        """Return the pipeline with its parts where ``sampling.offload`` says."""
        if self._lending is not None:
            return self._lending
        pipeline = self.build_pipeline()
        if self.sampling.offload != "none":
            lend_parts(pipeline, self.sampling.offload)
            self._lending = pipeline
        return pipeline

    def _report_step(self, pipeline: Any, step: int, _timestep: int, tensors: dict[str, Any]) -> dict[str, Any]:
        assert self.on_denoising_step is not None
        self.on_denoising_step(step + 1, len(pipeline.scheduler.timesteps), tensors["latents"])
        return tensors

    def _resized(self, images: torch.Tensor, pairs: int, images_per_pair: int) -> torch.Tensor:
        """Return the pictures of the first pairs in their size; the others are first frames that were drawn along."""
        images = images.reshape(images_per_pair, -1, *images.shape[1:])[:, :pairs].flatten(0, 1)
        if self.sampling.output_size is None:
            return images
        return F.interpolate(images, self.sampling.output_size, mode="bicubic", antialias=True).clamp(-1, 1)

    def _sample_finite(self, batch: PairBatch, images_per_pair: int = 1) -> tuple[torch.Tensor, dict[int, str]]:
        """Generate pictures, and say why by row where one came out as numbers that are not finite.

        Where memory is not enough, batches are cut in halves from there on: no more than last bits change.

        Raises:
            PgpisError: Memory is not enough for one pair.
        """
        pairs = len(batch["pair_id"])
        while True:
            size = min(pairs, self.most_pairs or pairs)
            try:
                parts = [self._sample_rows(batch, start, size, images_per_pair) for start in range(0, pairs, size)]
                break
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                reason = first_line(error)
            self.most_pairs = halved(size, reason)  # outside of the handler, which keeps the tensors of its frames
        # each part has all of its pairs, then all of them again
        numbered = [part.reshape(images_per_pair, -1, *part.shape[1:]) for part, _ in parts]
        images = torch.cat(numbered, dim=1).flatten(0, 1)
        reasons: dict[int, str] = {}
        for start, (part, unfit) in zip(range(0, pairs, size), parts, strict=True):
            for row, reason in unfit.items():
                number, place = divmod(row, len(part) // images_per_pair)
                reasons[number * pairs + start + place] = reason
        return images, reasons

    def _sample_rows(
        self, batch: PairBatch, start: int, size: int, images_per_pair: int
    ) -> tuple[torch.Tensor, dict[int, str]]:
        rows = rows_of(batch, slice(start, start + size))
        reason = "the picture's numbers are not finite"
        try:
            images = self.sample(rows, images_per_pair)
        except NotFiniteError as error:
            images, reason = self._resized(error.images, len(rows["pair_id"]), images_per_pair), error.reason
        return images, dict.fromkeys(rows_not_finite(images), reason)

    def picture_seed(self, noise_name: str, number: int) -> int:
        """Return the seed of a picture's noise: the same in any batch, on any device, in any order."""
        return stable_seed(self.seed, noise_name, number)

    @torch.no_grad()
    def sample_grid(self, batch: PairBatch, rows: int) -> torch.Tensor:
        """Draw source | pose | target | result."""
        first = rows_of(batch, slice(rows))
        result, unfit = self._sample_finite(first)
        for row, reason in unfit.items():
            log.warning("sample grid: %s: %s", first["pair_id"][row], reason)
        return picture_grid([first["source_image"], first["pose_image"], first["target_image"], result])

    def on_test_start(self) -> None:
        """Remove the pictures of an earlier test: they may be of other weights or pairs."""
        if self.trainer.is_global_zero:
            self.scores.remove_pictures()
        self.trainer.strategy.barrier("old pictures removed")

    def test_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Generate the pictures of one batch and score them as they are on disk."""
        self.failures += batch["failures"]
        if not self.may_begin("test", batch):
            return
        images, unfit = self._sample_finite(batch)
        self.failures += [PairFailure(batch["pair_id"][row], reason) for row, reason in unfit.items()]
        rows = [row for row in range(len(images)) if row not in unfit]
        truth = batch["target_image"] if self.sampling.output_size is None else batch["truth_image"]
        if rows:
            self.failures += self.scores.add(images[rows], truth[rows], [batch["pair_id"][row] for row in rows])

    def on_test_epoch_end(self) -> None:
        """Log the metrics and write report and per-pair table."""
        drawn = self._drawn_with() | {"precision": self.trainer.precision}
        details = {name: value for name, value in drawn.items() if value is not None}
        report = self.scores.report(self.sampling.result_size, details)
        self.log_dict({name: v for name, v in report.results.items() if isinstance(v, float)}, rank_zero_only=True)
        self.scores.write_pairs(is_main=self.trainer.is_global_zero)
        self.write_report(report)
        self.scores.reset()

    def predict_step(self, batch: PairBatch, batch_idx: int) -> list[Prediction]:
        """Generate the pictures of one batch; pairs that could not be read are passed on as failures."""
        predictions = [
            Prediction(PredictionRecord.failed(failure.pair_id, failure.reason), None) for failure in batch["failures"]
        ]
        if not self.may_begin("predict", batch):
            return predictions
        start = time.perf_counter()
        sample = functools.partial(self._sample_finite, images_per_pair=self.sampling.images_per_pair)
        images, unfit = sample_in_place(sample, batch, self.place_in_batch)
        seconds = round((time.perf_counter() - start) / len(images), 3)
        for result in range(len(images)):
            number, row = divmod(result, len(batch["pair_id"]))
            record = self._record(batch, row, number, seconds)
            if result in unfit:
                predictions.append(Prediction(replace(record, image="", status=unfit[result]), None))
            else:
                image = tensor_to_images(images[[result]])[0]
                predictions.append(Prediction(record, image, self._mark(batch, row, number)))
        return predictions

    def _mark(self, batch: PairBatch, row: int, number: int) -> Mark:
        place = place_of(row, batch, self.place_in_batch, self.most_pairs)
        sampler = self.sampling.scheduler and in_json(self.sampling.scheduler)
        return Mark(self._noise_name(batch, row), number, place, batch["provenance"][row], sampler)

    def _record(self, batch: PairBatch, row: int, number: int, seconds: float) -> PredictionRecord:
        pair_id = batch["pair_id"][row]
        suffix = f"_{number}" if self.sampling.images_per_pair > 1 else ""
        return PredictionRecord(
            pair_id,
            file_name(f"{pair_id}{suffix}", ".png"),
            batch["source_path"][row],
            batch["pose_path"][row],
            self.picture_seed(self._noise_name(batch, row), number),
            DONE,
            seconds,
            batch["fingerprint"][row],
        )

    def _drawn_with(self) -> dict[str, Any]:
        return {"seed": self.seed, **self.sampling.settings, "scheduler": type(self.scheduler).__name__}

    def prediction_settings(self) -> dict[str, Any]:
        """Return what determines a picture beside its pair."""
        return {
            **self._drawn_with(),
            "scheduler_config": settings_of(self.scheduler),
            "inputs": {key: asdict(spec) for key, spec in self.input_specs.items() if spec.origin != "target"},
            "images_per_pair": self.sampling.images_per_pair,
            "pipeline": self.pipeline_name,
        }

    def prediction_weights(self) -> dict[str, str]:
        """Return what identifies each part that draws: its weights, and how it is configured."""
        parts = {name: part for name, part in self.build_pipeline().components.items() if isinstance(part, nn.Module)}
        return digests_of(parts)
