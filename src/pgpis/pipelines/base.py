"""What the pipelines of all methods share: their defaults, the check of a call, and the sampling loop."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Unpack, get_args

import torch
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import nn

from pgpis.batch import InputSpecs, PairBatch, check_rows
from pgpis.denoiser import Ports, denoise
from pgpis.denoiser.deep_features import deep_features
from pgpis.denoiser.diffusion import guide_two_branches
from pgpis.errors import NotFiniteError, PgpisError, check_range, nearest
from pgpis.models.autoencoder import scale_factor
from pgpis.models.loading import weight_not_finite
from pgpis.models.samplers import check_steps
from pgpis.pictures.drawing import CANVAS
from pgpis.pictures.images import rows_not_finite, tensor_to_images
from pgpis.pipelines.checked import CheckedPipeline
from pgpis.pipelines.limits import MOST_IMAGES, MOST_PIXELS, check_band
from pgpis.pipelines.options import (
    Generators,
    Images,
    OutputType,
    SamplingOptions,
    StepCallback,
    callback_inputs,
    check_anchors,
    per_row,
    replaced_latents,
    shows_options_of,
)


class SamplingPipeline(CheckedPipeline):
    """A diffusers pipeline with ``vae``, ``unet`` and ``scheduler``; a method fills in what conditions the denoiser.

    The scheduler computes in float32 in every precision. A method says which inputs it reads (:meth:`input_specs`),
    what they are to the denoiser (:meth:`condition`), and, unless two branches are all, how its branches guide
    (:meth:`guide`).
    """

    _callback_tensor_inputs: ClassVar[list[str]] = ["latents"]
    _unread: ClassVar[tuple[str, ...]] = ()
    """Inputs that others are made of, but that :meth:`condition` does not look at."""
    _interrupt = False

    def input_specs(self, height: int, width: int) -> InputSpecs:
        """Return what a batch for :meth:`generate` must hold; targets are not looked at."""
        raise NotImplementedError

    def condition(self, batch: PairBatch, scales: Mapping[str, float]) -> Sequence[Ports]:
        """Return the ports of B pairs for each branch of guidance, those without tokens first.

        Args:
            batch: On the device of the components.
            scales: Weights of the guidance by name.
        """
        raise NotImplementedError

    def guide(self, predictions: Sequence[torch.Tensor], scales: Mapping[str, float]) -> torch.Tensor:
        """Combine the predictions of the branches, ``(R, C, h, w)`` each."""
        if len(predictions) == 1:
            return predictions[0]
        unconditional, conditional = predictions
        return guide_two_branches(unconditional, conditional, scales["guidance_scale"])

    def finish(self, images: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """Return the results of what latents decode to, ``(R, 3, H, W)``; rows are the B pairs, then they again."""
        return images

    @property
    def vae_scale_factor(self) -> int:
        """Pixels that one latent stands for in each direction."""
        return scale_factor(self.vae)

    @property
    def interrupt(self) -> bool:
        """Whether a callback asked to stop by ``pipe._interrupt = True``, as diffusers' pipelines are stopped."""
        return self._interrupt

    def set_defaults(self, **defaults: Any) -> None:
        """Register what a call takes where the caller says nothing; ``save_pretrained`` keeps it.

        Raises:
            PgpisError: A value that no call may have.
        """
        self._check_size(defaults["height"], defaults["width"])
        check_steps(self.scheduler, defaults["num_inference_steps"])
        for name in ("guidance_scale", "pose_guidance_scale"):
            if defaults.get(name) is not None:
                check_range(name, defaults[name], 0)
                defaults[name] = float(defaults[name])  # diffusers warns of an int
        if defaults["pose_canvas"] is None:
            defaults["pose_canvas"] = CANVAS
        for name in ("output_size", "pose_canvas"):
            size = defaults[name] = defaults[name] and list(defaults[name])
            if size and len(size) != 2:
                raise PgpisError(f"{name} is {size}, expected a height and a width")
            for value in size or ():
                check_range(name, value, 1, MOST_PIXELS, whole=True)
        self.register_to_config(**defaults)

    def _default(self, name: str, value: Any) -> Any:
        return self.config[name] if value is None else value

    def _check_size(self, height: object, width: object) -> None:
        check_range("height", height, 1, MOST_PIXELS, whole=True)
        check_range("width", width, 1, MOST_PIXELS, whole=True)
        factor: Any = self.vae_scale_factor
        if height % factor or width % factor:
            raise PgpisError(f"height and width are {height} and {width}, expected multiples of {factor}")

    def _size(self, height: int | None, width: int | None) -> tuple[int, int]:
        """Return the size of the results that a call asks for, checked."""
        size = (self._default("height", height), self._default("width", width))
        self._check_size(*size)
        return size

    def _check_call(
        self,
        batch: PairBatch,
        steps: object,
        scales: Mapping[str, object],
        num_images_per_pair: object,
        output_type: str,
    ) -> None:
        """Refuse a call that would fail later, or give something else without a word."""
        specs = self.input_specs(self.config.height, self.config.width)
        needed = {key: spec for key, spec in specs.items() if spec.origin != "target" and key not in self._unread}
        missing = [key for key in needed if key not in batch]
        if missing:
            raise PgpisError(f"the batch lacks '{missing[0]}', this pipeline needs {', '.join(needed)}")
        check_rows(batch, needed)
        self._check_size(*batch["pose_image"].shape[-2:])
        check_steps(self.scheduler, steps)
        for name, scale in scales.items():
            check_range(name, scale, 0)
        check_range("num_images_per_pair", num_images_per_pair, 1, MOST_IMAGES, whole=True)
        kinds = get_args(OutputType)
        if output_type not in kinds:
            raise PgpisError(
                f"output_type is {output_type!r}, expected one of {', '.join(map(repr, kinds))}"
                f"{nearest(str(output_type).lower(), kinds)}"
            )

    def _is_within(self, band: tuple[float, float], timestep: torch.Tensor) -> bool:
        return band[0] <= float(timestep) / self.scheduler.config.num_train_timesteps <= band[1]

    def _start(self, latents: torch.Tensor | None, shape: tuple[int, ...], generators: Generators) -> torch.Tensor:
        if latents is None:
            latents = randn_tensor(shape, generator=generators, device=self._execution_device, dtype=torch.float32)
        elif not isinstance(latents, torch.Tensor) or not latents.is_floating_point():
            kind = getattr(latents, "dtype", type(latents).__name__)
            raise PgpisError(f"latents are {kind}, expected a tensor of floating point numbers")
        elif tuple(latents.shape) != shape:
            raise PgpisError(f"latents have shape {tuple(latents.shape)}, expected {shape}")
        elif not latents.isfinite().all():
            raise PgpisError("latents hold numbers that are not finite")
        return latents.to(self._execution_device, torch.float32) * self.scheduler.init_noise_sigma

    @torch.no_grad()
    def sample(
        self,
        batch: PairBatch,
        scales: Mapping[str, float],
        *,
        num_inference_steps: int | None = None,
        num_images_per_pair: int = 1,
        generator: Generators = None,
        latents: torch.Tensor | None = None,
        output_type: OutputType = "pil",
        guidance_band: tuple[float, float] | None = None,
        deep_cache: int | None = None,
        anchors: torch.Tensor | None = None,
        cache_keys_values: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] | None = ("latents",),
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple[Images]:
        """Denoise from latents, or from noise, to the end or until a callback interrupts."""
        asked = callback_inputs(callback_on_step_end, callback_on_step_end_tensor_inputs, self._callback_tensor_inputs)
        steps = self._default("num_inference_steps", num_inference_steps)
        self._check_call(batch, steps, scales, num_images_per_pair, output_type)
        check_band("guidance_band", guidance_band)
        check_range("deep_cache", deep_cache, 1, whole=True, optional=True)
        pairs, device = len(batch["pose_image"]), self._execution_device
        check_anchors(anchors, pairs)
        generators = per_row(generator, pairs, num_images_per_pair)
        self._interrupt = False
        with evaluation_mode(self.components.values()):
            tensors: Any = {key: value.to(device) for key, value in batch.items() if isinstance(value, torch.Tensor)}
            branches = [ports.to(self.unet.dtype) for ports in self.condition(tensors, scales)]
            if anchors is not None:
                branches[-1] = replace(branches[-1], anchors=anchors.to(device))
            conditions = self.unet.prepare(*branches, repeats=num_images_per_pair, cache=cache_keys_values)
            unguided = conditions.last_branch(pairs, num_images_per_pair)
            self.scheduler.set_timesteps(steps, device=device)
            rows, size = pairs * num_images_per_pair, conditions.pose_features.shape[-2:]
            sample = self._start(latents, (rows, int(self.vae.config.latent_channels), *size), generators)
            accepted = inspect.signature(self.scheduler.step).parameters
            extra = {"generator": generators} if "generator" in accepted else {}
            bar = self.progress_bar(total=len(self.scheduler.timesteps))
            with bar as progress, deep_features(self.unet, deep_cache) as features:
                for step, timestep in enumerate(self.scheduler.timesteps):
                    if self.interrupt:
                        break
                    has_guidance = guidance_band is None or self._is_within(guidance_band, timestep)
                    count, own = (len(branches), conditions) if has_guidance else (1, unguided)
                    noisy = self.scheduler.scale_model_input(torch.cat([sample] * count), timestep)
                    features.begin(len(noisy))
                    predictions = denoise(self.unet, noisy, timestep, own).float().chunk(count)
                    guided = self.guide(predictions, scales)
                    sample = self.scheduler.step(guided, timestep, sample, **extra, return_dict=False)[0]
                    if callback_on_step_end is not None:
                        shown = {"latents": sample} if asked else {}
                        sample = replaced_latents(callback_on_step_end(self, step, int(timestep), shown), sample)
                    progress.update()
            images = self._finish(sample, tensors, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    @shows_options_of(sample)
    def generate(
        self, batch: PairBatch, *, guidance_scale: float | None = None, **options: Unpack[SamplingOptions]
    ) -> ImagePipelineOutput | tuple[Images]:
        """Generate pictures from a prepared batch of B pairs.

        Args:
            batch: The entries of :meth:`input_specs`; the result has ``pose_image``'s size.
            guidance_scale: Weight of all conditions that are left out in the first branch; None: the pipeline's own. Up
                to 1 the conditional prediction is taken as it is.
            **options: See :class:`SamplingOptions`.

        Raises:
            PgpisError: A batch entry is missing, or it or an argument is not what it should be.
            NotFiniteError: Results hold numbers that are not finite, as where float16 is too narrow.
        """
        return self.sample(batch, {"guidance_scale": self._default("guidance_scale", guidance_scale)}, **options)

    def _finish(self, latents: torch.Tensor, batch: PairBatch, output_type: OutputType) -> Images:
        images = latents
        if output_type != "latent":
            scaled = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
            decoded = self.finish(self.vae.decode(scaled, return_dict=False)[0].float(), batch)
            images = torch.where(decoded.isfinite(), decoded.clamp(-1, 1), torch.nan)  # an overflow is not white
        self.maybe_free_model_hooks()
        if rows := rows_not_finite(images):
            raise NotFiniteError(rows, images, *self._blame())
        if output_type == "pil":
            return tensor_to_images(images)
        return (images / 2 + 0.5).permute(0, 2, 3, 1).cpu().numpy() if output_type == "np" else images

    def _blame(self) -> tuple[str, str]:
        """Say what numbers that are not finite were computed in, and where they come from."""
        parts = {name: part for name, part in self.components.items() if isinstance(part, nn.Module)}
        dtypes = {value.dtype for part in parts.values() for value in part.parameters()}
        kind = self._execution_device.type
        if torch.is_autocast_enabled(kind):
            dtypes.add(torch.get_autocast_dtype(kind))
        narrow = [dtype for dtype in (torch.float16, torch.bfloat16) if dtype in dtypes]
        dtype = str(narrow[0] if narrow else torch.float32).removeprefix("torch.")
        for name, part in parts.items():
            if weight := weight_not_finite(part.state_dict()):
                return dtype, f"the weights are not finite, '{weight}' of the {name} is the first"
        return dtype, "the weights are finite: look at the inputs, the guidance scale and the scheduler"


@contextmanager
def evaluation_mode(components: Any) -> Iterator[None]:
    """Switch dropout off while sampling, and leave the modules as they were: a task samples with what it trains."""
    training = [m for part in components if isinstance(part, nn.Module) for m in part.modules() if m.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
