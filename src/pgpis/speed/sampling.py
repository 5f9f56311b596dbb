"""Timing how a task draws pictures, as ``pgpis predict`` runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pgpis.batch import PairBatch
from pgpis.denoiser import denoise
from pgpis.errors import NotFiniteError
from pgpis.speed.batches import random_batch
from pgpis.speed.device import Clock, Device, median
from pgpis.speed.report import Row
from pgpis.speed.settings import Setting
from pgpis.tasks.diffusion import DiffusionTask
from pgpis.tasks.options import Video

LOOP = ("unet", "vae")
"""Parts that are timed by the marks of the loop itself."""
LAST = "refiner"
"""The part that runs after decoding."""


@dataclass
class SamplingBench:
    """Times the drawing of pictures by one task.

    A run has marks at its begin, after the conditions with their keys and values, after each denoising step and at its
    end; what comes after the last step is decoding, but for the refiner.
    """

    task: DiffusionTask
    """On the CPU, in float32."""
    device: Device
    make_trainer: Callable[[Setting], Trainer]
    """Makes the trainer whose precision ``predict`` would run in."""
    runs: int = 2
    """Timed runs after the first, which warms up."""

    def flops(self, setting: Setting) -> float:
        """Count the products of one picture's denoising step, all branches of guidance."""
        task = setting.apply_to(self.task, self.device.torch)
        pipeline = task.build_pipeline()
        batch: Any = self._batch(1, setting.sources)
        with torch.inference_mode():
            branches = pipeline.condition(batch, _scales(task))
            conditions = pipeline.unet.prepare(*branches)
            channels = int(pipeline.vae.config.latent_channels)
            shape = (len(branches), channels, *conditions.pose_features.shape[-2:])
            latents = torch.randn(shape, device=self.device.torch)
            with FlopCounterMode(display=False) as counter:
                denoise(pipeline.unet, latents, torch.tensor(500, device=self.device.torch), conditions)
        return float(counter.get_total_flops())

    def measure(self, setting: Setting, batch_size: int, row: Row) -> torch.Tensor:
        """Fill a row with times and memory; return the pictures ``(B, 3, H, W)`` in [-1, 1], on the CPU."""
        trainer = self.make_trainer(setting)
        task = setting.apply_to(self.task, self.device.torch)
        task = trainer.precision_plugin.convert_module(task)
        batch = self._batch(batch_size, setting.sources)
        self.device.begin()
        with torch.inference_mode(), setting.products(), trainer.precision_plugin.predict_step_context():
            asked = task.sampling.num_inference_steps
            first, _, _ = self._run(task, batch, min(2, asked))
            row.first_run_s = sum(first) / 1e3
            gaps, parts = [], []
            for _ in range(self.runs):
                times, images, part = self._run(task, batch, asked)
                gaps.append(times)
                parts.append(part)
        row.peak_memory_gib = self.device.peak_memory()
        row.steps_are_whole = not task.sampling.shortcuts
        row.ms_per_step = fmean(median([*times]) for times in zip(*(times[1:-1] for times in gaps), strict=True))
        row.parts_ms = {
            "conditions": median([times[0] for times in gaps]),
            **{name: median([part[name] for part in parts]) for name in parts[0]},
            "decoding": median([times[-1] - part.get(LAST, 0) for times, part in zip(gaps, parts, strict=True)]),
        }
        row.per_second = 1e3 * batch_size / median([sum(times) for times in gaps])
        return images

    def _batch(self, batch_size: int, sources: int = 1) -> PairBatch:
        pipeline = self.task.build_pipeline()
        specs = pipeline.input_specs(self.task.sampling.height, self.task.sampling.width)
        wanted = {key: spec for key, spec in specs.items() if spec.origin != "target"}
        return random_batch(wanted, batch_size, self.device.torch, sources)

    def _run(
        self, task: DiffusionTask, batch: PairBatch, steps: int
    ) -> tuple[list[float], torch.Tensor, dict[str, float]]:
        """Draw once; return the times between the marks, the pictures on the CPU, and the times of parts."""
        clock = Clock(self.device)
        task.sampling = replace(task.sampling, num_inference_steps=steps, video=Video())  # no picture is a frame
        task.on_denoising_step = lambda _step, _steps, _latents: clock.mark()
        with ExitStack() as stack:
            clocks = {name: stack.enter_context(self._timed(part)) for name, part in _once(task)}
            stack.enter_context(_marked_after(task.unet, "prepare", clock))
            clock.mark()
            try:
                images = task.sample(batch)
            except NotFiniteError as error:  # random weights may well be too much for float16
                images = error.images
            clock.mark()
            times = clock.milliseconds()
            parts = {name: sum(part.milliseconds()[::2]) for name, part in clocks.items()}
        return times, images.float().cpu(), parts

    @contextmanager
    def _timed(self, part: nn.Module) -> Iterator[Clock]:
        """Set marks before and after each call of a part."""
        clock = Clock(self.device)
        hooks = [
            part.register_forward_pre_hook(lambda *_: clock.mark()),
            part.register_forward_hook(lambda *_: clock.mark()),
        ]
        try:
            yield clock
        finally:
            for hook in hooks:
                hook.remove()


@contextmanager
def _marked_after(part: nn.Module, method: str, clock: Clock) -> Iterator[None]:
    """Set a mark after each call of a part's method."""
    whole = getattr(part, method)

    def marked(*args: Any, **options: Any) -> Any:
        result = whole(*args, **options)
        clock.mark()
        return result

    setattr(part, method, marked)
    try:
        yield
    finally:
        delattr(part, method)


def _once(task: DiffusionTask) -> Iterator[tuple[str, nn.Module]]:
    """Return the parts that run once per picture, by name."""
    for name in task.parts:
        part = getattr(task, name)
        if name not in LOOP and isinstance(part, nn.Module):
            yield name, part


def _scales(task: DiffusionTask) -> dict[str, float]:
    """Return the weights of guidance as a call would complete them."""
    scales = {name: value for name, value in task.sampling.scales.items() if value is not None}
    return {name: scales.get(name, task.sampling.guidance_scale) for name in task.sampling.scales}
