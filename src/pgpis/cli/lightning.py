"""``pgpis fit | validate | test | predict``: a LightningCLI with short class names and one-line errors."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
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
from pgpis.cli.messages import explain
from pgpis.cli.recipes import resolve_configs
from pgpis.cli.verbs import Text
from pgpis.data import PoseTransferDataModule
from pgpis.errors import PgpisError
from pgpis.files import file_name, locked
from pgpis.predictions import DONE
from pgpis.tasks.base import PersonImageTask
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
STANDS_FOR = {str: "text", list: "[]"}
"""What is parsed in the place of a ``Text``."""


class PGPISCLI(LightningCLI):
    """LightningCLI that links what the model needs to the DataModule."""

    exit_code = 0
    writer: PredictionWriter

    def __init__(self, *args: Any, texts: Sequence[Text] = (), **kwargs: Any) -> None:
        self.texts = texts
        super().__init__(*args, **kwargs)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, then set what is not YAML."""
        super().parse_arguments(parser, args)
        config = self.config.get(self.config.get("subcommand") or "", self.config)
        for text in self.texts:
            config[text.key.removeprefix("--")] = text.value

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Give the DataModule the pictures that the model declares, and one seed to both."""
        parser.link_arguments("model", "data.image_specs", compute_fn=_image_specs, apply_on="instantiate")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=_seed)
        parser.link_arguments("seed_everything", "model.init_args.seed", compute_fn=_seed)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer; checkpoints go to one folder per run so that ``--ckpt_path last`` finds them."""
        trainer = super().instantiate_trainer(**kwargs)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
                self._check_checkpoint(Path(callback.dirpath))
        return trainer

    def _run_subcommand(self, subcommand: str) -> None:
        """Run a verb; one that makes pictures keeps other runs out of their folder."""
        out = Path(self.trainer.default_root_dir)
        folder = {"predict": out, "test": out / "test"}.get(subcommand)
        with locked(folder) if folder is not None and self.trainer.is_global_zero else nullcontext():
            super()._run_subcommand(subcommand)

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
        settings = self.model.prediction_settings() | {
            "ckpt_path": self._get(self.config, "ckpt_path"),
            "precision": self.trainer.precision,
            "pose_canvas": self.datamodule.pose_canvas,
            "stick_width": self.datamodule.stick_width,
        }
        if self._untrained():
            raise PgpisError("predict needs a trained model", hint="--pipeline FOLDER, or --ckpt_path FILE")
        dataset = self.datamodule.dataset("predict")
        dataset.setup()
        self.writer = PredictionWriter(self.trainer.default_root_dir, settings)
        self.writer.refuse_inputs_among_results(file for pair in dataset.pairs for file in pair.files)
        self.datamodule.find_finished = lambda fingerprint_of: self.writer.begin(
            self.trainer, self.model.prediction_weights, fingerprint_of
        )
        self.trainer.callbacks.append(self.writer)

    def after_test(self) -> None:
        """Report pairs that could not be read: the exit code is 1 if there are any. Say how to go on."""
        self.exit_code = 1 if self.model.failures and self.trainer.is_global_zero else 0
        root = getattr(self.datamodule.dataset("test"), "root", None)
        images = Path(self.trainer.default_root_dir) / "test" / "images"
        if root is not None and images.is_dir() and self.trainer.is_global_zero:
            log.info("FID, faces and published numbers: pgpis evaluate --generated %s --reference %s", images, root)

    def after_predict(self) -> None:
        """Sum up; the exit code is 1 if a pair failed. Frames of a video also become one."""
        if self.trainer.is_global_zero:
            self.exit_code = self.writer.summarise()
            self._write_videos()

    def _write_videos(self) -> None:
        """Write source | pose | truth | result of each video whose frames were predicted."""
        images = {record.pair_id: record.image for record in self.writer.records() if record.status == DONE}
        for name, pairs in self.datamodule.dataset("predict").sequences().items():
            frames = [
                FrameFiles(
                    (
                        pair.source,
                        self.writer.pose_picture(pair.pair_id),
                        *([] if pair.target is None else [pair.target]),
                        self.writer.out / images[pair.pair_id],
                    )
                )
                for pair in pairs
                if pair.pair_id in images
            ]
            if frames:
                path = self.writer.out / "videos" / file_name(name, ".mp4")
                try:
                    write_video(path, frames)
                except (PgpisError, OSError) as error:  # the pictures are there, and the other videos go on
                    log.warning("no video %s: %s", path, error)
                    self.exit_code = 1
                    continue
                log.info("%s: %d frames", path, len(frames))


def _seed(value: bool | int) -> int:
    if isinstance(value, bool):
        raise PgpisError(f"seed_everything is {value}, expected a whole number", hint="--seed_everything 0")
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
    texts = [word for word in words if isinstance(word, Text)]
    arguments = resolve_configs(
        [f"{word.key}={STANDS_FOR[type(word.value)]}" if isinstance(word, Text) else word for word in words]
    )
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
                texts=texts,
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
