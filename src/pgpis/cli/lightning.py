"""``pgpis fit | validate | test | predict``: a LightningCLI with short class names and one-line errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentError, set_parsing_settings
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.callbacks import ProgressBar as AnyProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from pgpis.cli.actors import predict_on_ray, refuse_for_actors
from pgpis.cli.checkpoints import CHECKPOINTS, checkpoint_named, root_of, tell_of_others
from pgpis.cli.evaluate import evaluate_command
from pgpis.cli.linked import OF_MODEL, SEED, SEEDS, without_linked
from pgpis.cli.messages import explained, objects_explained, trainer_explained
from pgpis.cli.precision import adapt_precision
from pgpis.cli.quiet import MOVED, quiet_libraries
from pgpis.cli.recipes import Quoting, resolve_configs, texts_of
from pgpis.cli.renamed import load_class, with_current_options
from pgpis.cli.results import open_folder, sum_up
from pgpis.data import PoseTransferDataModule
from pgpis.errors import PgpisError, check_range
from pgpis.files import locked, remove_unfinished, resolved
from pgpis.interrupts import held
from pgpis.methods import load_methods
from pgpis.pipelines.limits import LARGEST_SEED
from pgpis.predictions import PredictionFolder
from pgpis.tasks.averaging import average_exactly
from pgpis.tasks.base import PersonImageTask
from pgpis.tasks.callbacks import (
    ProgressBar,
    StopOnSignal,
    count_whole_epochs,
    do_without_loggers,
    refuse_strangers,
)
from pgpis.tasks.checkpoints import WholeCheckpoints, check_checkpoint
from pgpis.tasks.curves import go_on_logging, log_apart
from pgpis.tasks.predicting import PictureTask

log = logging.getLogger(__name__)

Recipe = str | Mapping[str, Any]
"""The name of a recipe, or what stands in one."""
Adapt = Callable[[Any], None]
"""Changes a whole configuration."""


class PGPISCLI(LightningCLI):
    """LightningCLI that links what the model needs to the DataModule.

    Args:
        command: The verb and its words, as the user may give them again.
        recipes: Those that LightningCLI's ``args`` hold as ``--config``.
        adapt: Changes the configuration before anything is built from it.
        options: See LightningCLI.
    """

    exit_code = 0
    folder: PredictionFolder

    def __init__(
        self, *classes: Any, command: Sequence[str], recipes: Sequence[Recipe], adapt: Adapt | None, **options: Any
    ) -> None:
        self.command = ["pgpis", *command]
        self.checkpoint: Path | None = None
        self.first_step = 0
        self.recipes = recipes
        self.adapt = adapt
        super().__init__(*classes, **options)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, then put back the texts of recipes at hand, which were read as YAML once more; given words stay."""
        super().parse_arguments(parser, args)
        config = self.config.get(self.config.get("subcommand") or "", self.config)
        words = {_short(word.removeprefix("--").partition("=")[0]) for word in self.command if word[:2] == "--"}
        for key, value in texts_of(recipe for recipe in self.recipes if not isinstance(recipe, str)).items():
            if any(_short(key) == word or _short(key).startswith(f"{word}.") for word in words):
                continue
            if key in config and isinstance(config.get(key), str | list | None):
                config[key] = value

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Give the DataModule the pictures that the model declares, one seed to both, and ``predict`` what it marks."""
        if self.command[1:2] == ["predict"]:
            parser.add_argument("--like", type=str | None, help="A marked picture to make again")
            parser.add_argument("--no_mark", type=bool, default=False, help="Leave the marks of pictures out")
            parser.add_argument("--runner", type=Literal["local", "ray"], default="local", help="Who draws")
            parser.add_argument("--workers", type=int | None, help="Actors of --runner ray")
        for name in OF_MODEL:
            own = attrgetter(name.removeprefix("data."))
            parser.link_arguments("model", name, compute_fn=own, apply_on="instantiate")
        for name in SEEDS.values():
            parser.link_arguments(SEED, name, compute_fn=_seed)

    def subcommands(self) -> dict[str, set[str]]:
        """Return the verb that is run alone: the options of each take a tenth of a second to collect."""
        return {verb: skipped for verb, skipped in super().subcommands().items() if verb == self.command[1]}

    def _parse_ckpt_path(self) -> None:
        """Take no options from a checkpoint.

        Lightning lays its ``hyper_parameters`` over the configuration: a foreign file would import modules, and change
        guidance and steps in silence.
        """

    def before_instantiate_classes(self) -> None:
        """Look at the checkpoint before the models are loaded, which takes long."""
        name = self._get(self.config, "ckpt_path")
        if name is not None and name != "hpc":
            trainer, training = self._get(self.config, "trainer"), self.subcommand == "fit"
            # predict writes elsewhere than where its recipe trains
            root = root_of(self.recipes) if self.subcommand == "predict" else Path(trainer.default_root_dir or ".")
            self.checkpoint = checkpoint_named(name, trainer, root, training=training)
            task = load_class(self._get(self.config, "model").class_path)
            self.first_step = check_checkpoint(self.checkpoint, task, training=training)
        if self.adapt is not None:
            self.adapt(self.config)

    def instantiate_classes(self) -> None:
        """Build everything; let the task know its data, and Lightning, which has its own idea, the last checkpoint."""
        with objects_explained(self.parser, self._get(self.config, "trainer"), self.command[1]):
            super().instantiate_classes()
        self.model.data = self.datamodule
        if self._get(self.config, "ckpt_path") == "last":
            self.config_init[self.subcommand].ckpt_path = str(self.checkpoint)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, whose checkpoints are written whole, to one folder per run: ``last`` finds them there."""
        settings = self._get(self.config_init, "trainer")
        callbacks, plugins = _as_list(settings.callbacks), _as_list(settings.plugins)
        if settings.enable_progress_bar is not False and not (settings.barebones or self._on_ray):
            callbacks += [] if any(isinstance(each, AnyProgressBar) for each in callbacks) else [ProgressBar()]
        plugins += [] if any(isinstance(each, CheckpointIO) for each in plugins) else [WholeCheckpoints()]
        if self._on_ray:
            kwargs |= {"accelerator": "cpu", "devices": 1, "strategy": "auto", "enable_progress_bar": False}
        with trainer_explained(self.command[1]):
            trainer = super().instantiate_trainer(callbacks=callbacks, plugins=plugins, **kwargs)
        refuse_strangers(trainer, self.model)
        adapt_precision(trainer)
        average_exactly(trainer)
        count_whole_epochs(trainer)
        do_without_loggers(trainer)
        root = Path(trainer.default_root_dir)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint):
                callback.dirpath = callback.dirpath or str(root / CHECKPOINTS)
                callback.save_last = None if trainer.fast_dev_run else callback.save_last  # else it saves
        if self.subcommand == "fit" and self.checkpoint and resolved(root) in resolved(self.checkpoint).parents:
            go_on_logging(trainer, self.first_step)
        log_apart(trainer, self.subcommand)
        return trainer

    @property
    def _restores(self) -> bool:
        return bool(self.trainer._checkpoint_connector._loaded_checkpoint)  # noqa: SLF001  told nowhere else

    def _run_subcommand(self, subcommand: str) -> None:
        """Run a verb; nobody else writes to its folder meanwhile, and signals wait for the end of a training step."""
        root = Path(self.trainer.default_root_dir)
        folder = {"fit": root, "test": root / "test", "predict": root}.get(subcommand)
        if (path := root / "config.yaml").is_dir():  # jsonargparse would tell it as an error of its own
            raise PgpisError(f"cannot write {path}: a folder is in the place of the file")
        with ExitStack() as stack:
            if folder is not None and self.trainer.is_global_zero:
                stack.enter_context(locked(folder, resumes=subcommand == "predict"))
            if subcommand == "fit":
                if self.trainer.is_global_zero:
                    for unfinished in (root, root / CHECKPOINTS):
                        remove_unfinished(unfinished)
                    tell_of_others(self.trainer, self.checkpoint)
                self.trainer.callbacks.append(StopOnSignal(stack.enter_context(held()), self.command))
            try:
                super()._run_subcommand(subcommand)
            except Exception as error:  # readers of states raise anything; told below, or raised again
                if isinstance(error, PgpisError) or not self._restores:
                    raise
                raise PgpisError(  # between the reading of a checkpoint and the first step, it is what does not fit
                    f"{self.checkpoint}: cannot go on from this checkpoint: {type(error).__name__}: "
                    f"{(str(error).splitlines() or [''])[0]}",
                    hint="the options of model, optimiser and trainer must be those that it was trained with",
                ) from error

    def before_test(self) -> None:
        """Warn where scores would be those of untrained weights."""
        if isinstance(self.model, PictureTask) and self._untrained():
            log.warning("neither a pipeline nor --ckpt_path is given: these are the scores of an untrained model")

    def _untrained(self) -> bool:
        return self._get(self.config, "ckpt_path") is None and getattr(self.model, "pipeline_name", None) is None

    def before_predict(self) -> None:
        """Write pictures while they are made, and leave out the pairs that an earlier run finished."""
        if self._untrained():
            raise PgpisError("predict needs a trained model", hint="--pipeline FOLDER, or --ckpt_path FILE")
        if self._on_ray:
            refuse_for_actors(self.model, self._get(self.config, "trainer"))
        checkpoint = self._get(self.config_init, "ckpt_path")
        marking = {name: self._get(self.config, name) for name in ("like", "no_mark")}
        self.folder = open_folder(self.model, self.datamodule, self.trainer, checkpoint, marking)

    def predict(self, **options: Any) -> None:
        """Draw the pairs, here or on a cluster."""
        if self._on_ray:
            self.trainer.limit_predict_batches = 0  # it reads the weights, with which others draw
        self.trainer.predict(**options)
        if self._on_ray:
            actors, accelerator = self._get(self.config, "workers"), self._get(self.config, "trainer").accelerator
            predict_on_ray(self.model, self.datamodule, self.folder, self.trainer, actors, accelerator)

    @property
    def _on_ray(self) -> bool:
        return self.subcommand == "predict" and self._get(self.config, "runner") == "ray"

    def after_test(self) -> None:
        """Report pairs that could not be read: the exit code is 1 if there are any. Say how to go on."""
        self.exit_code = 1 if self.model.failures and self.trainer.is_global_zero else 0
        if not (isinstance(self.model, PictureTask) and self.trainer.is_global_zero):
            return
        dataset = self.datamodule.dataset("test")
        images = Path(self.trainer.default_root_dir) / "test" / "images"
        if hasattr(dataset, "root") and dataset.has_files and images.is_dir():
            command = evaluate_command(images, dataset, self.model.sampling.result_size)
            log.info("the same scores with FID and faces: %s", command)

    def after_predict(self) -> None:
        """Sum up; the exit code is 1 if a pair failed. Frames of a video also become one."""
        if self.trainer.is_global_zero:
            self.exit_code = 0 if sum_up(self.folder, self.datamodule.dataset("predict")) else 1

    def test(self, verbose: bool = True, **options: Any) -> None:
        """Score the test pairs; the report shows the table, Lightning need not."""
        del verbose
        self.trainer.test(verbose=False, **options)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def _short(key: str) -> str:
    """Return a key as it may be given too, without ``init_args``."""
    return key.replace(".init_args.", ".")


def _seed(value: bool | int) -> int:
    if isinstance(value, bool):
        raise PgpisError(f"seed_everything is {value}, expected a whole number", hint="--seed_everything 0")
    check_range("seed_everything", value, 0, LARGEST_SEED, whole=True)
    return value


def run(verb: str | None, words: Sequence[str], recipes: Sequence[Recipe] = (), adapt: Adapt | None = None) -> PGPISCLI:
    """Build model, data and trainer, and run a verb.

    Args:
        verb: ``fit``, ``validate``, ``test`` or ``predict``; None runs nothing.
        words: Words of the command line; ``--config`` names are looked up.
        recipes: What ``words`` are laid over.
        adapt: See :class:`PGPISCLI`.

    Raises:
        PgpisError: A key, value or file of the configuration is wrong; names it and the closest valid name.
    """
    arguments = resolve_configs([f"--config={recipe}" for recipe in recipes if isinstance(recipe, str)])
    arguments += [f"--config={yaml.dump(recipe, Dumper=Quoting)}" for recipe in recipes if not isinstance(recipe, str)]
    arguments += resolve_configs(words)
    load_methods()
    current = with_current_options(without_linked(arguments))
    if any("help" in word for word in current):
        set_parsing_settings(docstring_parse_attribute_docstrings=True)  # takes a while
    strict = {"exit_on_error": False, "allow_abbrev": False}
    with quiet_libraries(*([] if verb == "fit" else [MOVED])):
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
                args=current if verb is None else [verb, *current],
                command=arguments if verb is None else [verb, *arguments],
                run=verb is not None,
                recipes=recipes,
                adapt=adapt,
            )
        except ArgumentError as error:
            raise explained(error, verb or "fit") from error
