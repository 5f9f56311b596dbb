"""Training a small autoencoder: for data on which Stable Diffusion's cannot be used or need not be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers import AutoencoderKL
from lightning.pytorch.cli import OptimizerCallable
from torch.distributions import Normal, kl_divergence

from pgpis.batch import ImageSpec, InputSpecs, PairBatch
from pgpis.errors import PgpisError, check_range
from pgpis.models.autoencoder import Trained, choose_trained, encode_moments, mean_latents, start_from_patches
from pgpis.models.factory import ModelSpec, build_vae
from pgpis.tasks.base import PersonImageTask
from pgpis.tasks.grids import picture_grid
from pgpis.tasks.options import Schedule

KL_WEIGHT = 1e-6
"""Of the divergence from the standard normal."""
STATISTICS_PICTURES = 128
"""Training pictures from which the scale of the latents is estimated: the same in every run."""


class AutoencoderTask(PersonImageTask):
    """Trains the autoencoder in whose latents the diffusion models work.

    Source: L1 and MSE reconstruction with a small KL term, as in Rombach et al. 2022 without the adversarial and
        perceptual losses, which need a discriminator and foreign weights.

    Args:
        vae: Hub id or folder to start from, or a configuration for random weights, see ``build_vae``.
        height: Rows of a picture in pixels.
        width: Columns of a picture in pixels.
        crop: Train on one random square of so many pixels a picture, which costs a fraction; null: whole pictures.
        start_pictures: Start an ``AutoencoderDC`` from the principal components of the patches of so many training
            pictures, see ``start_from_patches``; null: from ``vae`` as it is.
        train: ``all``; ``decoder``; or ``blocks``, its residual blocks alone: after a start from patches these can only
            add, while steps of the other layers, which must be exact, undo more than they gain.
        latent_noise: Largest deviation of the noise that training adds to the latents, drawn per picture, in units of
            the latents' own: a decoder that has seen errors of a denoiser smooths them.
        optimizer: Makes the optimiser from the parameters to train.
        schedule: How the learning rate changes.
        seed: Seed of training and validation; ``seed_everything`` sets it on the command line.
    """

    def __init__(
        self,
        vae: ModelSpec,
        height: int = 512,
        width: int = 352,
        crop: int | None = None,
        start_pictures: int | None = None,
        train: Trained = "all",
        latent_noise: float = 0.0,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-4),
        schedule: Schedule = Schedule(),
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, schedule, seed)
        for name, value in {"height": height, "width": width, "start_pictures": start_pictures, "crop": crop}.items():
            check_range(name, value, 1, whole=True, optional=name in ("start_pictures", "crop"))
        check_range("latent_noise", latent_noise, 0)
        if crop is not None and crop > min(height, width):
            raise PgpisError(f"crop is {crop}, but pictures have {height} x {width} pixels", hint="a smaller crop")
        self.vae = build_vae(vae)
        self.height = height
        self.width = width
        self.crop = crop
        self.start_pictures = start_pictures
        choose_trained(self.vae, train)
        self.latent_noise = latent_noise

    @property
    def input_specs(self) -> InputSpecs:
        """Target pictures only."""
        return {"target_image": ImageSpec("target", self.height, self.width)}

    def prepare_training(self) -> None:
        """Set the weights from which training starts, unless it goes on from a checkpoint."""
        if self.start_pictures is not None and (self._trainer is None or self.trainer.ckpt_path is None):
            start_from_patches(self.vae, torch.cat(list(self._pictures(self.start_pictures))).to(self.device))

    def loss(self, batch: PairBatch, generator: torch.Generator, *, train: bool) -> dict[str, torch.Tensor]:
        """Reconstruct the targets through a sampled latent."""
        images = batch["target_image"]
        if train and self.crop is not None:
            images = random_crops(images, self.crop, generator)
        mean, deviation = encode_moments(self.vae, images).chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=generator, device=images.device, dtype=mean.dtype)
        latents = mean + deviation * noise
        if train and self.latent_noise:
            level = self.latent_noise * torch.rand(len(latents), 1, 1, 1, generator=generator, device=latents.device)
            errors = torch.randn(latents.shape, generator=generator, device=latents.device)
            latents = latents + level * latents.detach().std() * errors
        difference = self.vae.decode(latents.to(self.vae.dtype)).sample - images
        kl = mean.new_zeros(())  # per picture
        if isinstance(self.vae, AutoencoderKL):
            posterior = Normal(mean.float(), deviation.float(), validate_args=False)
            kl = kl_divergence(posterior, Normal(0.0, 1.0)).flatten(1).sum(dim=1).mean()
        l1, mse = difference.abs().mean(), difference.square().mean()
        return {"loss": l1 + mse + KL_WEIGHT * kl, "l1": l1, "mse": mse, "kl": kl}

    @torch.no_grad()
    def sample_grid(self, batch: PairBatch, rows: int) -> torch.Tensor:
        """Draw picture | reconstruction."""
        images = batch["target_image"][:rows]
        return picture_grid([images, self.vae.decode(mean_latents(self.vae, images)).sample])

    def exported(self) -> tuple[str, Any]:
        """Export with a ``scaling_factor`` that gives the latents of the training pictures unit variance."""
        pictures = self._pictures(STATISTICS_PICTURES)
        latents = [mean_latents(self.vae, images.to(self.device)).float().cpu() for images in pictures]
        self.vae.register_to_config(scaling_factor=1.0 / max(float(torch.cat(latents).std()), 1e-6))
        return "vae", self.vae

    def _pictures(self, count: int) -> Iterator[torch.Tensor]:
        data = self.require_data("the scale of latents is estimated from training pictures")
        return data.training_pictures("target_image", self.input_specs, count)


def random_crops(images: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """Cut one square of ``side`` pixels at a random place from each picture ``(B, C, H, W)``."""
    tops, lefts = (
        torch.randint(length - side + 1, (len(images),), generator=generator, device=images.device).tolist()
        for length in images.shape[2:]
    )
    places = zip(images, tops, lefts, strict=True)
    return torch.stack([image[:, top : top + side, left : left + side] for image, top, left in places])
