"""Training a small vision encoder on people: for data on which CLIP or DINOv2 cannot be used or need not be."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import OptimizerCallable
from torch import nn

from pgpis.batch import ImageSpec, InputSpecs, PairBatch
from pgpis.errors import check_range
from pgpis.models.encoders import embedding_width, encode_tokens, token_width
from pgpis.models.factory import ModelSpec, build_vision_encoder
from pgpis.pictures.iuv import PART_CHANNEL, PARTS, U_CHANNEL, V_CHANNEL
from pgpis.tasks.base import PersonImageTask
from pgpis.tasks.grids import picture_grid
from pgpis.tasks.options import Schedule

COLOUR_WEIGHT = 4.0
"""Of the squared error of colours; InfoNCE and the errors of parts and coordinates count once."""
COLOUR_CELLS = 4
"""Each patch's colours are asked for in so many cells a side."""
LEAST_TEMPERATURE = 1e-4
"""Below it the logits of InfoNCE leave what float32 can tell apart."""


class VisionEncoderTask(PersonImageTask):
    """Trains an encoder so that two pictures of a person find each other, and that each token knows where it lies.

    The embedding learns by InfoNCE between the two pictures of a pair, whatever their poses. The tokens of the second
    picture learn, by linear heads that are thrown away, the body part and the coordinates that the DensePose map shows
    at the middle of the patch, and the patch's colours.

    Source: van den Oord et al. 2018 (InfoNCE); the dense heads are ours: what a large net learns from a billion
        pictures, a small one is told.

    Args:
        encoder: Vision encoder (CLIP or DINOv2): hub id, folder or configuration.
        image_size: Side of its square input in pixels; null: the encoder's own.
        temperature: Temperature of InfoNCE.
        optimizer: Makes the optimiser from the parameters to train.
        schedule: How the learning rate changes.
        seed: Seed of training and validation; ``seed_everything`` sets it on the command line.
    """

    def __init__(
        self,
        encoder: ModelSpec,
        image_size: int | None = None,
        temperature: float = 0.1,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-4),
        schedule: Schedule = Schedule(),
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, schedule, seed)
        check_range("temperature", temperature, LEAST_TEMPERATURE)
        check_range("image_size", image_size, 1, whole=True, optional=True)
        self.encoder = build_vision_encoder(encoder)
        self.size = int(image_size or self.encoder.config.image_size)
        self.side = self.size // int(self.encoder.config.patch_size)
        self.temperature = temperature
        width = token_width(self.encoder)
        self.part_head = nn.Linear(width, PARTS + 1)
        self.place_head = nn.Linear(width, 2)
        self.colour_head = nn.Linear(width, 3 * COLOUR_CELLS**2)
        is_clip = self.encoder.config.model_type != "dinov2"
        self.projection = nn.Identity() if is_clip else nn.Linear(width, embedding_width(self.encoder))

    @property
    def input_specs(self) -> InputSpecs:
        """Two pictures of a person and the map of the second."""
        return {
            "source_image": ImageSpec("source", self.size, self.size),
            "target_image": ImageSpec("target", self.size, self.size),
            "pose_image": ImageSpec("iuv", self.size, self.size, filter="nearest"),
        }

    def loss(self, batch: PairBatch, generator: torch.Generator, *, train: bool) -> dict[str, torch.Tensor]:
        """Compute InfoNCE and the errors of the dense heads on one batch."""
        pictures = torch.cat([batch["source_image"], batch["target_image"]])
        tokens = encode_tokens(self.encoder, pictures)
        first, second = F.normalize(self._embedding(tokens), dim=-1).chunk(2)
        logits = first @ second.T / self.temperature  # (B, B)
        own = torch.arange(len(logits), device=logits.device)
        contrast = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        patches = tokens.chunk(2)[1][:, 1:]  # (B, side**2, D)
        part, place = patch_places(batch["pose_image"], self.side)
        seen = part > 0
        parts = self.part_head(patches)
        named = F.cross_entropy(parts.flatten(0, 1), part.flatten())
        guess = self.place_head(patches)
        placed = (guess - place).abs()[seen].mean() if seen.any() else guess.sum() * 0
        colours = F.adaptive_avg_pool2d(batch["target_image"], self.side * COLOUR_CELLS)
        cells = F.pixel_unshuffle(colours, COLOUR_CELLS).flatten(2).transpose(1, 2)  # (B, side**2, 3 * cells**2)
        coloured = F.mse_loss(self.colour_head(patches), cells)
        return {
            "loss": contrast + named + placed + COLOUR_WEIGHT * coloured,
            "contrast": contrast,
            "top1": (logits.argmax(dim=1) == own).float().mean(),
            "part_accuracy": (parts.argmax(dim=-1) == part)[seen].float().mean(),
            "colour": coloured,
        }

    def _embedding(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embed as ``encode_pictures`` does, from tokens that are there; DINOv2's goes through a projection first."""
        if self.encoder.config.model_type == "dinov2":
            return self.projection(tokens[:, 0])
        # CLIP's last_hidden_state is taken before the last normalisation
        return self.encoder.visual_projection(self.encoder.vision_model.post_layernorm(tokens[:, 0]))

    @torch.no_grad()
    def sample_grid(self, batch: PairBatch, rows: int) -> torch.Tensor:
        """Draw picture | body parts | body parts as the tokens know them."""
        images = batch["target_image"][:rows]
        part, _ = patch_places(batch["pose_image"][:rows], self.side)
        known = self.part_head(encode_tokens(self.encoder, images)[:, 1:]).argmax(dim=-1)
        grids = torch.stack([part, known]).view(2, -1, 1, self.side, self.side) / (PARTS / 2) - 1
        maps = [F.interpolate(grid.expand(-1, 3, -1, -1), images.shape[-2:]) for grid in grids]
        return picture_grid([images, *maps])

    def exported(self) -> tuple[str, Any]:
        """Export the encoder without its heads."""
        return "encoder", self.encoder


def patch_places(iuv: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Read what lies at the middle of each of ``side**2`` patches.

    Args:
        iuv: DensePose map, channels V, U, part, in [-1, 1], ``(B, 3, H, W)``.
        side: Patches a side.

    Returns:
        Part 0..24, int64 ``(B, side**2)``; V and U in [0, 1], ``(B, side**2, 2)``.
    """
    middle = (torch.arange(side, device=iuv.device) + 0.5) / side
    rows, columns = (middle * iuv.shape[-2]).long(), (middle * iuv.shape[-1]).long()
    at = (iuv[:, :, rows][:, :, :, columns] / 2 + 0.5).flatten(2)  # (B, 3, side**2)
    part = (at[:, PART_CHANNEL] * 255).round().long().clamp(max=PARTS)
    return part, at[:, [V_CHANNEL, U_CHANNEL]].transpose(1, 2)
