"""What every task shares: frozen parts, checkpoints that hold only what was trained, seeded steps, optimiser."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable, ReduceLROnPlateau
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim.lr_scheduler import LambdaLR

from pgpis.batch import FrozenFeature, InputSpecs, PairBatch, PairFailure, check_batch
from pgpis.errors import PgpisError, check_range
from pgpis.files import replacing_folder
from pgpis.metrics.summary import MetricReport
from pgpis.models.loading import check_finite, check_finite_model
from pgpis.models.weights import weights_hash
from pgpis.pipelines.limits import LARGEST_SEED
from pgpis.tasks import frozen, validation
from pgpis.tasks.checkpoints import SAVED, lineage, misfit
from pgpis.tasks.epochs import EpochFactor
from pgpis.tasks.finite import gradients_are_finite, require_finite, weights_are_finite
from pgpis.tasks.options import Schedule
from pgpis.tasks.ranks import gather_rows
from pgpis.tasks.resuming import CONSTANTS, constants_of, take_constants
from pgpis.tasks.seeds import stable_seed
from pgpis.tasks.training_data import TrainingData

log = logging.getLogger(__name__)


class PersonImageTask(LightningModule, ABC):
    """Base of all tasks.

    Every random number of a training step (noise, time steps, dropout) comes from a seed made of ``seed``, the number
    of batches seen so far and the rank, so a resumed run repeats the uninterrupted one bit for bit.

    Args:
        optimizer: Makes the optimiser from the parameters to train.
        schedule: How the learning rate changes.
        seed: Seed of training, validation and sampling; ``seed_everything`` sets it on the command line.

    Raises:
        PgpisError: A value that none of these can have.
    """

    data: TrainingData | None = None
    """What the task is trained on, where it must know: the command line sets it to the DataModule."""

    def __init__(self, optimizer: OptimizerCallable, schedule: Schedule = Schedule(), seed: int = 0) -> None:
        super().__init__()
        check_range("seed", seed, 0, LARGEST_SEED, whole=True)
        self.optimizer = optimizer
        self.schedule = schedule
        self.seed = seed
        self.frozen: tuple[str, ...] = ()
        self.failures: list[PairFailure] = []
        self._frozen_hashes: dict[str, str] | None = None
        self._checked_stages: set[str] = set()
        self._factor = EpochFactor(schedule)
        self._constants: dict[str, str] = {}
        self._means = validation.ValidationMeans()
        self.register_state_dict_post_hook(frozen.drop_frozen)
        self.register_load_state_dict_pre_hook(frozen.keep_frozen)

    @property
    @abstractmethod
    def input_specs(self) -> InputSpecs:
        """What this task needs in each batch; the DataModule loads nothing else."""

    @property
    def loss_specs(self) -> InputSpecs:
        """What of it ``loss`` reads: training batches hold nothing else."""
        return self.input_specs

    def frozen_features(self) -> dict[str, FrozenFeature]:
        """Return what may be cached: features by the batch key under which ``loss`` takes them."""
        return {}

    @abstractmethod
    def loss(self, batch: PairBatch, generator: torch.Generator, *, train: bool) -> dict[str, torch.Tensor]:
        """Compute ``loss``, which is minimised, and other scalars to log, by name.

        Every random draw comes from ``generator``, which is on the batch's device. In validation nothing is dropped.
        """

    def exported(self) -> tuple[str, Any]:
        """Return what training is for, with ``save_pretrained``, and the name of its folder."""
        raise NotImplementedError

    @torch.no_grad()
    def export(self, directory: str) -> str:
        """Write the trained model in the form that ``from_pretrained`` reads, if it is finite; return the folder."""
        name, model = self.exported()
        check_finite_model(name, model)
        path = Path(directory) / name
        with replacing_folder(path, overwrite=True) as folder:
            model.save_pretrained(folder)
        return str(path)

    def sample_grid(self, batch: PairBatch, rows: int) -> torch.Tensor | None:
        """Draw up to ``rows`` pairs of a validation batch, ``(3, H, W)`` in [-1, 1]; None where there is no picture."""
        return None

    def flow_grid(self, batch: PairBatch, rows: int) -> torch.Tensor | None:
        """Draw where attention looks in up to ``rows`` pairs, likewise; None where nothing is trained to look."""
        return None

    def prediction_settings(self) -> dict[str, Any]:
        """Return what determines a predicted picture beside its pair; ``images_per_pair`` is among it.

        Raises:
            PgpisError: The task makes no pictures.
        """
        raise PgpisError(f"{type(self).__name__} makes no pictures", hint="pgpis predict --config fpdm.yaml ...")

    def write_report(self, report: MetricReport) -> None:
        """Write ``test/metrics.json`` and ``test/metrics.md``, show the table and what was left out; collective."""
        failures = gather_rows(self.failures)
        self.failures = list(dict.fromkeys(failures))
        if self.trainer.is_global_zero:
            path, _ = report.write(Path(self.trainer.default_root_dir) / "test")
            log.info("%s\n\n%s", path, report.to_markdown())
            for failure in self.failures[:20]:
                log.error("left out: %s: %s", failure.pair_id, failure.reason)

    def freeze(self, *names: str) -> None:
        """Freeze submodules once: no gradients, always in evaluation mode, left out of checkpoints."""
        self.frozen = (*self.frozen, *names)
        for name in names:
            self.get_submodule(name).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> PersonImageTask:
        """Set the training mode of the trained parts; frozen parts stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def prepare_training(self) -> None:
        """Find out, of ``data``, what the first step needs; Lightning's trainer calls it, a loop of your own must."""

    def on_fit_start(self) -> None:
        """Prepare the training."""
        self.prepare_training()

    def on_train_start(self) -> None:
        """Let trained parts drop out what they should: weights that were loaded come in evaluation mode."""
        self.train()
        self._count_steps(self._factor)  # a callback, or who goes on with a run, may have chosen another batch size

    def training_step(self, batch: PairBatch, batch_idx: int) -> torch.Tensor:
        """Compute the loss of one batch and log it."""
        self.may_begin("train", batch)
        step = self.trainer.fit_loop.epoch_loop.total_batch_idx
        torch.manual_seed(self._step_seed("train", step))
        losses = self.loss(batch, self.step_generator("train", step), train=True)
        size = len(batch["index"])
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()}, batch_size=size)
        self.log("loss", losses["loss"].detach(), prog_bar=True, logger=False, batch_size=size)
        return losses["loss"]

    def on_validation_epoch_start(self) -> None:
        """Forget what a validation that was stopped has added up."""
        self._means = validation.ValidationMeans()

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Compute the loss on held-out pairs, with the same noise at every validation."""
        for failure in batch["failures"]:
            log.warning("left out of the validation: %s: %s", failure.pair_id, failure.reason)
        if self.may_begin("validate", batch):
            losses = self.loss(batch, self.step_generator("validate", batch_idx), train=False)
            self._means.add({f"val/{name}": value for name, value in losses.items()}, len(batch["index"]))

    def on_validation_epoch_end(self) -> None:
        """Log the means over the pairs of all processes, of which some may have none; collective."""
        values = self._means.compute(self.device)
        self.log_dict(values, sync_dist=True, batch_size=1, prog_bar=True)
        validation.step_after_validation(self.trainer, values)

    def on_train_epoch_end(self) -> None:
        """Let a schedule that counts validations count epochs where there is nothing to validate."""
        validation.step_without_validation(self.trainer)

    def may_begin(self, stage: str, batch: PairBatch) -> bool:
        """Return whether a batch holds pairs; the first one of a stage is checked against what is declared."""
        has_pairs = len(batch["index"]) > 0
        if has_pairs and stage not in self._checked_stages:
            declared = self.loss_specs if stage == "train" else self.input_specs
            specs = {key: s for key, s in declared.items() if stage != "predict" or s.origin != "target"}
            if not specs.keys() <= batch.keys():  # hashing the frozen weights takes seconds: only where it is needed
                cached = {feature.picture for name, feature in self.frozen_features().items() if name in batch}
                specs = {key: spec for key, spec in specs.items() if key not in cached}
            check_batch(batch, specs)
            self._checked_stages.add(stage)
        return has_pairs

    def step_generator(self, stage: str, step: int) -> torch.Generator:
        """Return the generator that owns all random draws of one step of one rank."""
        return torch.Generator(device=self.device).manual_seed(self._step_seed(stage, step) ^ 1)

    def _step_seed(self, stage: str, step: int) -> int:
        return stable_seed(self.seed, stage, step, self.global_rank)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the optimiser over what is trained, and the schedule of its learning rate."""
        self._factor = EpochFactor(self.schedule)
        optimizer = self._new_optimizer()
        scheduler = self._new_schedule(optimizer, self._factor)
        self._constants = constants_of(optimizer, scheduler)
        if isinstance(scheduler, ReduceLROnPlateau):
            return {"optimizer": optimizer, "lr_scheduler": validation.counted_in_validations(scheduler)}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return self.optimizer([parameter for parameter in self.parameters() if parameter.requires_grad])

    def _new_schedule(self, optimizer: torch.optim.Optimizer, factor: EpochFactor) -> Any:
        if self.schedule.lr_scheduler is not None:
            return self.schedule.lr_scheduler(optimizer)
        self._count_steps(factor)
        return LambdaLR(optimizer, factor)

    def _count_steps(self, factor: EpochFactor) -> None:
        """Count an epoch's steps of the optimiser, where the schedule needs it, without asking the trainer.

        The trainer's own count would make it build the training batches before it restores a checkpoint, and a
        resumed run would then start its epoch from the first batch.
        """
        schedule = self.schedule
        if schedule.lr_scheduler is not None or not (schedule.warmup_epochs or schedule.decay_epochs):
            return
        data = self.require_data("warm-up and decay count epochs")
        factor.count(data.batches_per_epoch(), self.trainer)

    def require_data(self, why: str) -> TrainingData:
        """Return what the task is trained on, or raise where nobody has told it."""
        if self.data is None:
            raise PgpisError(f"the task does not know its data: {why}", hint="task.data = PoseTransferDataModule(...)")
        return self.data

    def __getstate__(self) -> dict[str, Any]:
        """Leave the data out: a copy of the task, of which averaged weights are one, is not of its pairs."""
        return {**super().__getstate__(), "data": None}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop before gradients that are not finite reach the weights."""
        require_finite(self.trainer, "the gradients", gradients_are_finite(self))

    def frozen_hashes(self) -> dict[str, str]:
        """Return the sha256 of each frozen part's weights, by name; computed once per run."""
        if not self._frozen_hashes:
            self._frozen_hashes = {name: weights_hash(self.get_submodule(name)) for name in self.frozen}
        return self._frozen_hashes

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record whose weights they are, on which frozen ones, and when; weights that are not finite are not saved."""
        require_finite(self.trainer, "the weights", weights_are_finite(self))
        checkpoint["task"] = lineage(type(self))
        checkpoint["frozen"] = self.frozen_hashes()
        checkpoint[CONSTANTS] = self._constants
        checkpoint[SAVED] = time.time()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint that does not fit, and name its file."""
        try:
            self.refuse_other_checkpoint(checkpoint)
        except PgpisError as error:
            raise PgpisError(f"{self.trainer.ckpt_path}: {error.message}", hint=error.hint) from error

    def refuse_other_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model or on top of other frozen weights, or whose training diverged.

        Where training is to go on, its optimiser must fit too.

        Raises:
            PgpisError: Says what does not fit; who calls it names the file.
        """
        recorded = checkpoint.get("frozen")
        if not isinstance(recorded, dict):
            message = "this checkpoint was not written by pgpis: it does not name its frozen parts"
            raise PgpisError(message, hint="official checkpoints are converted by 'pgpis convert fpdm'")
        frozen.refuse_other_frozen(recorded, self.frozen_hashes())
        weights = checkpoint["state_dict"]
        frozen.refuse_other_weights(weights, self.state_dict())
        # a buffer may be anything before training has set it
        check_finite("its weights", {name: weights[name] for name, _ in self.named_parameters() if name in weights})
        if not self.trainer.training:
            return
        own = self.trainer.fit_loop.state_dict()
        if (key := misfit(checkpoint["loops"].get("fit_loop"), own)) is not None:
            raise PgpisError(f"the checkpoint does not say where training stopped: no usable {key} in its loops")
        named, optimizer = dict(self.named_parameters()), self._new_optimizer()
        frozen.refuse_other_optimizer(checkpoint["optimizer_states"], self._new_optimizer(), named)
        take_constants(checkpoint, optimizer, self._new_schedule(optimizer, EpochFactor(self.schedule)))
