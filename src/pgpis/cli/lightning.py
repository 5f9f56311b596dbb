"""``pgpis fit | validate | test | predict``: a LightningCLI with short class names and one-line errors."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import transformers
from jsonargparse import ArgumentError
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

import pgpis.tasks  # noqa: F401  registers the short class names
from pgpis.batch import InputSpecs
from pgpis.callbacks import PredictionWriter
from pgpis.cli.evaluate import evaluate_command
from pgpis.cli.messages import explain
from pgpis.cli.precision import use_half_weights
from pgpis.cli.recipes import resolve_configs
from pgpis.data import PoseTransferDataModule
from pgpis.errors import PgpisError, check_range
from pgpis.predictions import DONE
from pgpis.tasks.base import LARGEST_SEED, PersonImageTask
from pgpis.tasks.diffusion import DiffusionTask
from pgpis.videos import FrameFiles, write_video

log = logging.getLogger(__name__)

KNOWN_WARNINGS = (
    ".*LightningCLI's args parameter is intended.*",  # needed: --config names are replaced by paths
    ".*does not have many workers.*",
    ".*LeafSpec.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*GPU available but not used.*",
    ".*in eval mode at the start of training.*",  # frozen parts are meant to be
    ".*Total length of .DataLoader. across ranks is zero.*",  # nothing left to predict
)


class PGPISCLI(LightningCLI):
    """LightningCLI that links what the model needs to the DataModule."""

    exit_code = 0
    writer: PredictionWriter

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Give the DataModule the pictures that the model declares, and one seed to both."""
        parser.link_arguments("model", "data.image_specs", compute_fn=_image_specs, apply_on="instantiate")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=_seed)
        parser.link_arguments("seed_everything", "model.init_args.seed", compute_fn=_seed)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer; checkpoints go to one folder per run so that ``--ckpt_path last`` finds them."""
        trainer = super().instantiate_trainer(**kwargs)
        use_half_weights(trainer)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
                self._check_checkpoint(Path(callback.dirpath))
        return trainer

    def _check_checkpoint(self, folder: Path) -> None:
        """Refuse a checkpoint that is not there; Lightning would go on without one for ``last``."""
        name = self._get(self.config, "ckpt_path")
        if name == "last" and not list(folder.glob("last*.ckpt")):
            raise PgpisError(f"--ckpt_path last: no last.ckpt in {folder}", hint="leave --ckpt_path out to start anew")
        if name not in (None, "last", "best", "hpc", "registry") and not Path(name).exists():
            raise PgpisError(f"checkpoint not found: {name}")

    def before_test(self) -> None:
        """Warn where scores would be those of untrained weights."""
        if isinstance(self.model, DiffusionTask) and self._untrained():
            log.warning("neither a pipeline nor --ckpt_path is given: these are the scores of an untrained model")

    def _untrained(self) -> bool:
        return self._get(self.config, "ckpt_path") is None and getattr(self.model, "pipeline_name", None) is None

    def before_predict(self) -> None:
        """Write pictures while they are made, and leave out the pairs that an earlier run finished."""
        settings = self.model.prediction_settings() | {"ckpt_path": self._get(self.config, "ckpt_path")}
        if self._untrained():
            raise PgpisError("predict needs a trained model", hint="--pipeline FOLDER, or --ckpt_path FILE")
        self.writer = PredictionWriter(self.trainer.default_root_dir, settings)
        self.datamodule.skip_pairs = self.writer.finished_pairs()
        self.trainer.callbacks.append(self.writer)

    def after_test(self) -> None:
        """Report pairs that could not be read: the exit code is 1 if there are any. Say how to go on."""
        self.exit_code = 1 if self.model.failures and self.trainer.is_global_zero else 0
        if not (isinstance(self.model, DiffusionTask) and self.model.save_test_images and self.trainer.is_global_zero):
            return
        dataset = self.datamodule.dataset("test")
        images = Path(self.trainer.default_root_dir) / "test" / "images"
        if hasattr(dataset, "root") and images.is_dir():
            size = self.model.output_size or (self.model.height, self.model.width)
            log.info("the same scores with FID and faces: %s", evaluate_command(images, dataset, size))

    def after_predict(self) -> None:
        """Sum up; the exit code is 1 if a pair failed. Frames of a video also become one."""
        if self.trainer.is_global_zero:
            self.exit_code = self.writer.summarise()
            self._write_videos()

    def _write_videos(self) -> None:
        """Write source | pose | truth | result of each video whose frames were predicted."""
        images = {record.pair_id: record.image for record in self.writer.records() if record.status == DONE}
        dataset = self.datamodule.dataset("predict")
        for name, pairs in dataset.sequences().items():
            frames = [
                FrameFiles(
                    (
                        pair.source,
                        self.writer.out / "poses" / f"{pair.pair_id}.png",
                        *([] if pair.target is None else [pair.target]),
                        self.writer.out / images[pair.pair_id],
                    )
                )
                for pair in pairs
                if pair.pair_id in images
            ]
            if frames:
                path = self.writer.out / "videos" / f"{name}.mp4"
                try:
                    write_video(path, frames, dataset.frames_per_second)
                except PgpisError as error:  # its pictures are there, and so are the other videos
                    log.error("%s", error)  # noqa: TRY400  its traceback is of no use
                    self.exit_code = 1
                    continue
                log.info("%s: %d frames", path, len(frames))


def _seed(value: bool | int) -> int:
    if isinstance(value, bool):
        raise PgpisError(f"seed_everything is {value}, expected a whole number", hint="--seed_everything 0")
    check_range("seed_everything", value, 0, LARGEST_SEED, whole=True)
    return value


def _image_specs(model: PersonImageTask) -> InputSpecs:
    return model.image_specs


def run(verb: str, words: Sequence[str]) -> int:
    """Parse the words after ``pgpis VERB``, build everything and run the verb.

    Args:
        verb: ``fit``, ``validate``, ``test`` or ``predict``.
        words: The rest of the command line; ``--config`` names are looked up.

    Returns:
        0, or 1 if some pairs failed.

    Raises:
        PgpisError: A key, value or file of the configuration is wrong; names it and the closest valid name.
    """
    return _build(words, verb).exit_code


def build(words: Sequence[str]) -> PGPISCLI:
    """Build model, data and trainer from a recipe without running anything.

    Raises:
        PgpisError: As :func:`run`.
    """
    return _build(words, None)


def _build(words: Sequence[str], verb: str | None) -> PGPISCLI:
    arguments = resolve_configs(words)
    _quiet_libraries()
    strict = {"exit_on_error": False, "allow_abbrev": False}
    with warnings.catch_warnings():
        for message in KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        try:
            return PGPISCLI(
                PersonImageTask,
                PoseTransferDataModule,
                subclass_mode_model=True,
                seed_everything_default=0,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                save_config_kwargs={"overwrite": True},
                parser_kwargs={"prog": "pgpis", **strict} | ({} if verb is None else {verb: strict}),
                args=arguments if verb is None else [verb, *arguments],
                run=verb is not None,
            )
        except ArgumentError as error:
            raise PgpisError(explain(str(error)), hint=f"'pgpis {verb or 'fit'} --help' lists every option") from error


def _quiet_libraries() -> None:
    """Drop what other libraries print about loading files and about their vendors' services."""
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return "litlogger" not in record.getMessage()
