"""``pgpis bench model``, ``bench train`` and ``bench data``: how fast, how large, how near the device's limit."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pgpis.cli.models import build
from pgpis.cli.recipes import Recipes, find_recipes
from pgpis.devices import device_here
from pgpis.errors import PgpisError, check_range

if TYPE_CHECKING:  # these load torch
    from lightning.pytorch import Trainer

    from pgpis.cli.lightning import PGPISCLI
    from pgpis.speed.comparison import Bench
    from pgpis.speed.device import Device
    from pgpis.speed.settings import Setting

log = logging.getLogger(__name__)

CHATTY = ("lightning.pytorch", "pgpis.methods")
"""Loggers that would say the same for each row."""


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """Which model it is."""

    config: Recipes = ()
    """Recipe; may be given again, the later one is laid over the earlier [as the pipeline was exported]."""
    pipeline: str | None = None
    """Pipeline folder or bundle, or a model that ships with pgpis: synth-fpdm, synth-mcld; without it weights are
    random, of the recipe's sizes."""
    out: Path | None = None
    """JSON file to write."""

    def __post_init__(self) -> None:
        find_recipes(self.config)

    @property
    def recipe(self) -> str | None:
        """What a report says was measured."""
        return " ".join(self.config) or self.pipeline


@dataclass(frozen=True, kw_only=True)
class SpeedSettings(BenchSettings):
    """What is timed, and in which settings."""

    compare: str = "eager"
    """Settings between commas, of words between plus signs: eager, fp32, tf32, bf16, fp16, bf16-mixed, fp16-mixed,
    compile, compile-blocks, cuda-graphs, channels-last, two-sources, three-sources, for drawing fused-qkv, deep-cache,
    guidance-band, no-refiner, and for training checkpointing, fused, flow-loss. What none sets is as in the recipe."""
    batch_sizes: str = "1"
    """Pairs in a batch, numbers between commas."""
    device: str | None = None
    """cpu, cuda, cuda:1 [a GPU if there is one]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.device is not None:
            device_here(self.device)

    @property
    def sizes(self) -> list[int]:
        """The batch sizes."""
        return numbers("--batch-sizes", self.batch_sizes, 1)


def model(settings: SpeedSettings, *words: str, steps: int | None = None, runs: int = 2) -> int:
    """Time how a model draws pictures: a denoising step, what runs once per picture, memory, share of the peak.

    Pictures are drawn as by predict, from random inputs. All other options are keys of the recipe. The exit code is 1
    if a setting failed for another reason than memory.

    Args:
        settings: What is timed.
        words: Keys of the recipe.
        steps: Denoising steps of a run; None: the recipe's.
        runs: Timed runs after one that warms up.
    """
    check_range("--steps", steps, 1, whole=True, optional=True)
    check_range("--runs", runs, 1, whole=True)
    more = {} if steps is None else {"sampling": {"num_inference_steps": steps}}
    cli = build(settings.config, settings.pipeline, words, more)
    from pgpis.speed.sampling import SamplingBench
    from pgpis.tasks.diffusion import DiffusionTask

    task = cli.model.eval()
    if not isinstance(task, DiffusionTask):
        raise PgpisError(f"bench model: a {type(task).__name__} draws no pictures", hint="pgpis bench train")
    subject = {
        "size": f"{task.sampling.height}x{task.sampling.width}",
        "steps": task.sampling.num_inference_steps,
        "guidance": task.sampling.guidance_scale,
    }
    return _compare("model", settings, cli, subject, lambda device, make: SamplingBench(task, device, make, runs))


def train(settings: SpeedSettings, *words: str, steps: int = 8) -> int:
    """Time training steps: forward, backward and optimiser on random pairs, memory, share of the peak.

    Lightning's loop runs them as fit does. All other options are keys of the recipe. The exit code is 1 if a setting
    failed for another reason than memory.

    Args:
        settings: What is timed.
        words: Keys of the recipe.
        steps: Timed steps after two that warm up.
    """
    check_range("--steps", steps, 1, whole=True)
    cli = build(settings.config, settings.pipeline, words)
    from pgpis.speed.training import TrainingBench

    task = cli.model
    trained = sum(value.numel() for value in task.parameters() if value.requires_grad)
    subject = {"trained weights": f"{trained / 1e6:.1f} M", "steps": steps}
    return _compare("train", settings, cli, subject, lambda device, make: TrainingBench(task, device, make, steps))


@dataclass(frozen=True, kw_only=True)
class LoadingSettings(BenchSettings):
    """Which pairs are loaded, and how."""

    workers: str = "0,1,2"
    """Numbers of processes that load, between commas; 0: the one that trains."""
    pairs: int = 64
    """Pairs to load for each figure."""
    cores: int = 16
    """Cores for which a rate is computed from the one that was measured."""


def data(settings: LoadingSettings, *words: str) -> None:
    """Time how training pairs are loaded: by stage on one core, and by number of workers.

    All other options are keys of the recipe: --data.train.init_args.root FOLDER.

    Args:
        settings: What is timed.
        words: Keys of the recipe.
    """
    workers = numbers("--workers", settings.workers, 0)
    check_range("--pairs", settings.pairs, 1, whole=True)
    check_range("--cores", settings.cores, 1, whole=True)
    import torch

    from pgpis.files import write_text
    from pgpis.speed.device import Device
    from pgpis.speed.loading import LoadingReport, pairs_per_second, time_stages

    loader = build(settings.config, settings.pipeline, words, sizes_only=torch.device("meta")).datamodule
    loader.val = None
    loader.resident = False  # what is timed is the loading of files
    loader.setup("fit")
    torch.set_num_threads(1)
    subject = {"recipe": settings.recipe, "pairs": len(loader.dataset("train"))}
    report = LoadingReport(Device("cpu").describe(), {**subject, "batch size": loader.batch_size}, settings.cores)
    report.stages_ms = time_stages(loader, settings.pairs)
    for number in workers:
        report.pairs_per_second[number] = pairs_per_second(loader, number, settings.pairs)
    if settings.out is not None:
        write_text(settings.out, report.to_json())
    report.print(sys.stdout)


def _compare(
    kind: Literal["model", "train"],
    settings: SpeedSettings,
    cli: PGPISCLI,
    subject: dict[str, Any],
    make_bench: Callable[[Device, Callable[..., Trainer]], Bench],
) -> int:
    from pgpis.cli.quiet import only_warnings, quiet_libraries
    from pgpis.speed.comparison import compare
    from pgpis.speed.device import Device
    from pgpis.speed.report import Report
    from pgpis.speed.settings import read_settings

    compared, sizes = read_settings(settings.compare, kind), settings.sizes
    for setting in compared:
        setting.check(cli.model)
    device = Device(device_here(settings.device))
    weights = sum(value.numel() for value in cli.model.parameters())
    about = {"recipe": settings.recipe, "weights": f"{weights / 1e6:.1f} M", **subject}
    report = Report(kind, device.describe(), about)
    precision = str(cli.trainer.precision)
    bench = make_bench(device, _trainers(cli, device))
    with quiet_libraries(), only_warnings(*CHATTY):
        failed = compare(bench, compared, sizes, precision, report, settings.out)
    report.print(sys.stdout)
    return 1 if failed else 0


def _trainers(cli: PGPISCLI, device: Device) -> Callable[..., Trainer]:
    """Return what makes trainers like the recipe's, on one device and without anything that writes."""

    def make(setting: Setting, **options: Any) -> Trainer:
        from lightning.pytorch import Trainer

        from pgpis.cli.precision import adapt_precision

        trainer = Trainer(
            accelerator="gpu" if device.is_gpu else "cpu",
            devices=[device.torch.index or 0] if device.is_gpu else 1,
            precision=setting.precision or cli.trainer.precision,
            gradient_clip_val=cli.trainer.gradient_clip_val,
            gradient_clip_algorithm=cli.trainer.gradient_clip_algorithm,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
        adapt_precision(trainer)
        return trainer

    return make


def numbers(option: str, text: str, least: int) -> list[int]:
    """Read whole numbers between commas.

    Raises:
        PgpisError: One is none, or below ``least``.
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        check_range(option, int(word) if word.isdecimal() else word, least, whole=True)
    return [int(word) for word in words]
