"""Options that the tasks of several methods share, each documented at its field and checked where it is set."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable

from pgpis.denoiser.diffusion import keep_mask
from pgpis.errors import PgpisError, check_range
from pgpis.pipelines.limits import MOST_IMAGES, MOST_PIXELS, check_band

Masks = dict[str, torch.Tensor]
"""By condition, bool ``(B,)``: False for the pairs of a batch that do without it."""


Compilation = bool | Literal["blocks", "graphs"]
"""What ``torch.compile`` makes of a denoiser, see :attr:`TrainingStep.compile_unet`."""


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes during training."""

    warmup_epochs: float = 0.0
    """Length of the linear warm-up, in epochs."""
    decay_epochs: tuple[int, ...] = ()
    """Epochs after which the learning rate is multiplied by ``decay_factor``."""
    decay_factor: float = 0.1
    """See ``decay_epochs``."""
    lr_scheduler: LRSchedulerCallable | None = None
    """Makes a schedule in the place of warm-up and decay; it counts optimiser steps, ``ReduceLROnPlateau``
    validations, or epochs where there is nothing to validate."""

    def __post_init__(self) -> None:
        check_range("schedule.warmup_epochs", self.warmup_epochs, 0)
        check_range("schedule.decay_factor", self.decay_factor, 0, above=True)
        for epoch in self.decay_epochs:
            check_range("schedule.decay_epochs", epoch, 0)

    def factor(self, step: int, steps_per_epoch: int) -> float:
        """Return the factor on the learning rate of optimiser step ``step``, counted from 0."""
        epoch = (step + 1) / steps_per_epoch
        warmup = min(1.0, epoch / self.warmup_epochs) if self.warmup_epochs else 1.0
        decay: float = self.decay_factor ** sum(step >= limit * steps_per_epoch for limit in self.decay_epochs)
        return warmup * decay


@dataclass(frozen=True)
class Video:
    """What the frames of a video share, so that it does not flicker; by default each is drawn for itself."""

    shared_noise: bool = False
    """One noise for all frames, that of samplers that draw some in each step included; poses in a folder and driving
    videos share it anyway."""
    anchor: bool = False
    """Self-attention of all frames also reads the first one, which is drawn along in each batch."""

    @property
    def settings(self) -> dict[str, bool]:
        """What is on."""
        return {name: True for name, is_on in asdict(self).items() if is_on}


@dataclass(frozen=True)
class Sampling:
    """How pictures are drawn, in ``test``, ``predict`` and validation grids."""

    height: int = 512
    """Rows of the denoiser's picture in pixels."""
    width: int = 512
    """Columns of the denoiser's picture in pixels."""
    output_size: tuple[int, int] | None = None
    """(height, width) that results are resized to, and scored at; null: that of the denoiser."""
    num_inference_steps: int = 20
    """Denoising steps."""
    guidance_scale: float = 1.0
    """Weight of classifier-free guidance, on all conditions."""
    guidance_band: tuple[float, float] | None = None
    """Noise levels with guidance, as shares of the training's time steps; outside, one branch runs; null: all."""
    deep_cache: int | None = None
    """Every so many steps the whole denoiser runs, else its outermost blocks alone; null: in each."""
    images_per_pair: int = 1
    """Pictures per pair in ``predict``."""
    vae_tiling: bool = False
    """Decode and encode pictures of more than 256 pixels in overlapping tiles of half their longer side, 256 pixels at
    least, which takes less memory and blends their seams."""
    offload: Literal["none", "model", "group"] = "none"
    """Keep weights in the CPU's memory and lend the GPU a part at a time, or a layer at a time, which takes less memory
    and more time; goes with ``trainer.accelerator: cpu``."""
    scheduler: dict[str, Any] | None = None
    """Sampler, as configuration; null: the pipeline's, or the noise schedule of training."""
    video: Video = Video()
    """What the frames of a video share."""
    refine: bool = True
    """Put details of the source back into finished pictures, where the pipeline has a refiner; false leaves it out of
    what is exported as well."""

    def __post_init__(self) -> None:
        sides = [("height", self.height), ("width", self.width)]
        for name, side in [*sides, *(("output_size", side) for side in self.output_size or ())]:
            check_range(f"sampling.{name}", side, 1, MOST_PIXELS, whole=True)
        check_range("sampling.num_inference_steps", self.num_inference_steps, 1, whole=True)
        check_range("sampling.guidance_scale", self.guidance_scale, 0)
        check_band("sampling.guidance_band", self.guidance_band)
        check_range("sampling.deep_cache", self.deep_cache, 1, whole=True, optional=True)
        check_range("sampling.images_per_pair", self.images_per_pair, 1, MOST_IMAGES, whole=True)

    @property
    def scales(self) -> dict[str, float | None]:
        """Weights of guidance, by the pipeline's names for them."""
        return {"guidance_scale": self.guidance_scale}

    @property
    def shortcuts(self) -> dict[str, Any]:
        """What saves time, by the pipeline's names; without those that are off."""
        band, every = self.guidance_band, self.deep_cache
        chosen: dict[str, Any] = {} if band is None or tuple(band) == (0, 1) else {"guidance_band": band}
        return chosen if every in (None, 1) else {**chosen, "deep_cache": every}

    @property
    def switches(self) -> dict[str, bool]:
        """What is switched otherwise than usual, by name."""
        own = ({"vae_tiling": True} if self.vae_tiling else {}) | ({} if self.refine else {"refine": False})
        return own | self.video.settings

    @property
    def settings(self) -> dict[str, Any]:
        """What decides a picture, and its score, beside seed, pair and model; all of it is JSON, None what is off."""
        is_resized = tuple(self.result_size) != (self.height, self.width)
        scale = float(self.guidance_scale)  # as a recipe reads it: 1 and 1.0 differ in the bytes of a mark
        others = {name: float(other) for name, other in self.scales.items() if other not in (None, scale)}
        return {
            "height": self.height,
            "width": self.width,
            "output_size": list(self.result_size) if is_resized else None,
            "steps": self.num_inference_steps,
            **dict.fromkeys(self.scales),
            "guidance_scale": scale,
            **others,
            **{name: list(value) if isinstance(value, tuple) else value for name, value in self.shortcuts.items()},
            **self.switches,
        }

    @property
    def tiled_size(self) -> tuple[int, int] | None:
        """(height, width) of pictures that are decoded in tiles; None: whole."""
        return (self.height, self.width) if self.vae_tiling else None

    @property
    def result_size(self) -> tuple[int, int]:
        """(height, width) of a result in pixels."""
        return self.output_size or (self.height, self.width)


@dataclass(frozen=True)
class Dropping:
    """Conditions that training leaves out, so that guidance has something to compare with.

    A method adds a field for each of its conditions: the probability of dropping it. They are drawn in that order.
    """

    whole_batch: bool = False
    """Drop a condition for the whole batch, as the official codes do, instead of per sample."""

    def __post_init__(self) -> None:
        for name in self.conditions:
            check_range(f"dropping.{name}", getattr(self, name), 0, 1)

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions that may be dropped."""
        return [field.name for field in fields(self) if field.name != "whole_batch"]

    def draw(self, count: int, generator: torch.Generator) -> Masks:
        """Draw which of ``count`` pairs keep which condition."""
        each = not self.whole_batch
        return {
            name: keep_mask(count, getattr(self, name), generator, per_sample=each, device=generator.device)
            for name in self.conditions
        }


def check_sizes(**sizes: int | tuple[int, ...]) -> None:
    """Refuse sizes of a conditioner's layers, or lists of them, that leave a layer empty.

    Raises:
        PgpisError: Names the option.
    """
    for name, size in sizes.items():
        for each in (size,) if isinstance(size, int) else size or (0,):
            check_range(f"conditioner.{name}", each, 1, whole=True)


@dataclass(frozen=True)
class FlowLoss:
    """A further loss, on where the attention to the reference looks; see docs/models/flow.md.

    Source: Leffa (CVPR 2025), whose values are the defaults.
    """

    weight: float = 1e-3
    """Weight of the squared error, summed over the layers."""
    temperature: float = 2.0
    """What the attention's logits are divided by; 1 leaves it as it is."""
    below: int = 500
    """Only pairs whose noise is that of a time step below this one."""
    from_step: int = 0
    """Step of the optimiser from which on it counts: the paper adds it in a last stage of training. Where no trainer
    counts steps, as in a loop of your own, it counts from the first."""

    def __post_init__(self) -> None:
        check_range("step.flow_loss.weight", self.weight, 0)
        check_range("step.flow_loss.temperature", self.temperature, 1e-3)
        check_range("step.flow_loss.below", self.below, 1, whole=True)
        check_range("step.flow_loss.from_step", self.from_step, 0, whole=True)


@dataclass(frozen=True)
class TrainingStep:
    """What a training step computes, and how."""

    noise_offset: float = 0.0
    """Standard deviation of the offset that is added to the noise per picture and channel."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""
    compile_unet: Compilation = False
    """``torch.compile`` the denoiser, a minute's wait, then faster steps on a GPU: true, as one graph; ``blocks``, its
    transformer blocks, which share their graphs and take less of a wait; ``graphs``, as one graph that CUDA replays."""
    channels_last: bool = False
    """Keep channels innermost in memory: faster convolutions on most devices, the same pictures up to rounding."""
    fuse_qkv: bool = False
    """Compute queries, keys and values of the denoiser's attention by one product: fewer kernels and a copy of their
    weights, the same pictures up to rounding; in drawing, not in training, which changes the weights."""
    flow_loss: FlowLoss | None = None
    """Further loss on where the attention to the reference looks: weight, temperature, below, from_step; null: none."""

    def __post_init__(self) -> None:
        check_range("step.noise_offset", self.noise_offset, 0)
        if self.flow_loss is not None and self.compile_unet:
            raise PgpisError(
                "step.flow_loss looks into the denoiser's layers, and step.compile_unet leaves none to look into",
                hint="one of the two",
            )
