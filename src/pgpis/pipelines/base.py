"""What the pipelines of all models share: the start, the steps' arguments, the end of sampling."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeAlias

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import nn

from pgpis.errors import PgpisError
from pgpis.images import tensor_to_images
from pgpis.models.foreign import check_index, check_pipeline
from pgpis.pipelines.branches import Generators

HUB_OPTIONS = ("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision")
OutputType: TypeAlias = Literal["pil", "pt", "latent"]
StepCallback: TypeAlias = Callable[[Any, int, int, dict[str, torch.Tensor]], dict[str, torch.Tensor]]


class SamplingPipeline(DiffusionPipeline):  # type: ignore[misc, unused-ignore]
    """A diffusers pipeline with ``vae`` and ``scheduler``; the scheduler computes in float32 in every precision."""

    _callback_tensor_inputs: ClassVar[list[str]] = ["latents"]

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
        elif tuple(latents.shape) != shape:
            raise PgpisError(f"latents have shape {tuple(latents.shape)}, expected {shape}")
        start: torch.Tensor = latents.to(self._execution_device, torch.float32) * self.scheduler.init_noise_sigma
        return start

    def _step_arguments(self, generators: Generators) -> dict[str, Any]:
        accepts_generator = "generator" in inspect.signature(self.scheduler.step).parameters
        return {"generator": generators} if accepts_generator else {}

    def _call_back(
        self, callback: StepCallback | None, step: int, timestep: torch.Tensor, latents: torch.Tensor
    ) -> torch.Tensor:
        if callback is None:
            return latents
        return callback(self, step, int(timestep), {"latents": latents}).get("latents", latents)

    def _finish(self, latents: torch.Tensor, output_type: OutputType) -> list[Image.Image] | torch.Tensor:
        images: torch.Tensor = latents
        if output_type != "latent":
            scaled = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
            images = self.vae.decode(scaled, return_dict=False)[0].float().clamp(-1, 1)
        self.maybe_free_model_hooks()
        return tensor_to_images(images) if output_type == "pil" else images


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
