"""What the pipelines of all models share: their defaults, the check of a call, the sampling loop and its end."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeAlias, get_args

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from pgpis.aliases import with_current_names
from pgpis.batch import PairBatch
from pgpis.errors import NotFiniteError, PgpisError, check_range, nearest
from pgpis.models.foreign import check_index, check_pipeline
from pgpis.models.loading import weight_not_finite
from pgpis.pictures.drawing import CANVAS
from pgpis.pictures.images import rows_not_finite, tensor_to_images
from pgpis.pipelines.branches import Generators

HUB_OPTIONS = ("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision")
OutputType: TypeAlias = Literal["pil", "np", "pt", "latent"]
Images: TypeAlias = list[Image.Image] | NDArray[np.float32] | torch.Tensor
"""Pictures for "pil"; ``(R, H, W, 3)`` in [0, 1] for "np"; ``(R, 3, H, W)`` in [-1, 1] for "pt"; scaled latents
``(R, C, h, w)`` for "latent"."""
StepCallback: TypeAlias = Callable[[Any, int, int, dict[str, torch.Tensor]], dict[str, torch.Tensor]]

MOST_PIXELS = 4096
"""Longest side of a result."""
MOST_IMAGES = 1000
"""Most results per pair in one call."""


class SamplingPipeline(DiffusionPipeline):  # type: ignore[misc, unused-ignore]
    """A diffusers pipeline with ``vae`` and ``scheduler``; the scheduler computes in float32 in every precision."""

    _callback_tensor_inputs: ClassVar[list[str]] = ["latents"]
    _interrupt = False
    vae_scale_factor: int

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
        self._check_steps(defaults["num_inference_steps"])
        for name in ("guidance_scale", "pose_guidance_scale"):
            if defaults.get(name) is not None:
                check_range(name, defaults[name], 0)
                defaults[name] = float(defaults[name])  # diffusers warns of an int
        for name in ("output_size", "pose_canvas"):
            size = list(CANVAS) if name == "pose_canvas" and defaults[name] is None else defaults[name]
            defaults[name] = size and _checked_size(name, size)
        self.register_to_config(**defaults)

    def _default(self, name: str, value: Any) -> Any:
        return self.config[name] if value is None else value

    def _check_size(self, height: object, width: object) -> None:
        check_range("height", height, 1, MOST_PIXELS, whole=True)
        check_range("width", width, 1, MOST_PIXELS, whole=True)
        factor: Any = self.vae_scale_factor
        if height % factor or width % factor:
            raise PgpisError(f"height and width are {height} and {width}, expected multiples of {factor}")

    def _check_steps(self, steps: object) -> None:
        most = self.scheduler.config.get("num_train_timesteps", 1000)
        check_range("num_inference_steps", steps, 1, most, whole=True)

    def _check_call(
        self,
        batch: PairBatch,
        needed: Iterable[str],
        num_inference_steps: object,
        scales: dict[str, object],
        num_images_per_pair: object,
        output_type: str,
    ) -> None:
        """Refuse a call that would fail later, or give something else without a word.

        Raises:
            PgpisError: Names the argument or the batch's entry, and what was expected.
        """
        missing = [key for key in needed if key not in batch]
        if missing:
            raise PgpisError(f"the batch lacks '{missing[0]}', this pipeline needs {', '.join(needed)}")
        self._check_size(*batch["pose_image"].shape[-2:])
        self._check_steps(num_inference_steps)
        for name, scale in scales.items():
            check_range(name, scale, 0)
        check_range("num_images_per_pair", num_images_per_pair, 1, MOST_IMAGES, whole=True)
        kinds = get_args(OutputType)
        if output_type not in kinds:
            raise PgpisError(
                f"output_type is {output_type!r}, expected one of {', '.join(map(repr, kinds))}"
                f"{nearest(str(output_type).lower(), kinds)}"
            )

    @classmethod
    def load_config(cls, *args: Any, **options: Any) -> Any:
        """Read ``model_index.json`` as diffusers does; modules that have moved since it was written are found."""
        loaded = super().load_config(*args, **options)
        if isinstance(loaded, tuple):
            return (with_current_names(loaded[0]), *loaded[1:])
        return with_current_names(loaded)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **options: Any) -> Self:
        """Load a pipeline from a folder or hub id, as diffusers does, but nothing that is code or asks for code.

        Args:
            pretrained_model_name_or_path: Folder or hub id.
            **options: Those of ``DiffusionPipeline.from_pretrained``, except for ``custom_pipeline`` and
                ``trust_remote_code``.

        Raises:
            PgpisError: It is of another pipeline, or holds or names what a model has no need of.
            Exception: What diffusers raises, if it is not there or not whole.
        """
        for option in ("custom_pipeline", "trust_remote_code"):
            if options.get(option):
                raise PgpisError(f"{cls.__name__}.from_pretrained: {option}: pgpis never runs the code of a model")
        options["use_safetensors"] = True
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            name = str(pretrained_model_name_or_path)
            hub = {key: value for key, value in options.items() if key in HUB_OPTIONS}
            check_index(cls.load_config(name, **hub), cls, name)
            folder = Path(cls.download(name, **options))
        if (folder / "model_index.json").is_file():
            check_pipeline(cls, folder)
        return super().from_pretrained(folder, **options)  # type: ignore[no-any-return, unused-ignore]

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
        start: torch.Tensor = latents.to(self._execution_device, torch.float32) * self.scheduler.init_noise_sigma
        return start

    def _sample(
        self,
        predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        latents: torch.Tensor | None,
        shape: tuple[int, ...],
        *,
        branches: int,
        num_inference_steps: int,
        generators: Generators,
        callback: StepCallback | None,
    ) -> torch.Tensor:
        """Denoise from latents, or from noise, to the end or until a callback interrupts.

        Args:
            predict: From noisy rows, the latents ``branches`` times over, and a time step to the guided prediction.
            latents: See ``generate``.
            shape: ``(R, C, h, w)`` of the latents.
            branches: How many guidance branches run.
            num_inference_steps: See ``generate``.
            generators: One for all, or one per row.
            callback: See ``generate``.
        """
        self._interrupt = False
        self.scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
        sample = self._start(latents, shape, generators)
        extra = self._step_arguments(generators)
        with self.progress_bar(total=len(self.scheduler.timesteps)) as progress:
            for step, timestep in enumerate(self.scheduler.timesteps):
                if self.interrupt:
                    break
                noisy = self.scheduler.scale_model_input(torch.cat([sample] * branches), timestep)
                sample = self.scheduler.step(predict(noisy, timestep), timestep, sample, **extra, return_dict=False)[0]
                sample = self._call_back(callback, step, timestep, sample)
                progress.update()
        return sample

    def _step_arguments(self, generators: Generators) -> dict[str, Any]:
        accepts_generator = "generator" in inspect.signature(self.scheduler.step).parameters
        return {"generator": generators} if accepts_generator else {}

    def _call_back(
        self, callback: StepCallback | None, step: int, timestep: torch.Tensor, latents: torch.Tensor
    ) -> torch.Tensor:
        if callback is None:
            return latents
        return callback(self, step, int(timestep), {"latents": latents}).get("latents", latents)

    def _finish(self, latents: torch.Tensor, output_type: OutputType) -> Images:
        """Decode and convert the latents.

        Raises:
            NotFiniteError: Rows hold numbers that are not finite.
        """
        images: torch.Tensor = latents
        if output_type != "latent":
            scaled = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
            decoded = self.vae.decode(scaled, return_dict=False)[0].float()
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


def _checked_size(name: str, size: Sequence[object]) -> list[object]:
    if len(size) != 2:
        raise PgpisError(f"{name} is {size}, expected a height and a width")
    for value in size:
        check_range(name, value, 1, MOST_PIXELS, whole=True)
    return list(size)


@contextmanager
def evaluation_mode(components: Any) -> Iterator[None]:
    """Switch dropout off while sampling, and leave the modules as they were: a task samples with what it trains."""
    training = [module for part in components if isinstance(part, nn.Module) for module in part.modules()]
    training = [module for module in training if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
