"""The denoiser: Stable Diffusion's UNet with a port for pose features and reusable keys and values."""

from __future__ import annotations

import functools
from typing import Any

import torch
from diffusers import ModelMixin, UNet2DConditionModel
from torch import nn

from pgpis.denoiser.attention import CachedAttentionProcessor, KeyValueCache, project_keys_values
from pgpis.errors import PgpisError

# diffusers' loader looks for the base class in the module that model_index.json names
__all__ = ["ModelMixin", "PoseConvIn", "PoseUNet"]


class PoseConvIn(nn.Conv2d):
    """First convolution of the denoiser: convolves the latents and adds the remaining channels to the result."""

    def forward(self, sample: torch.Tensor) -> torch.Tensor:
        """Process ``(B, in_channels [+ out_channels], h, w)`` into ``(B, out_channels, h, w)``."""
        features = super().forward(sample[:, : self.in_channels])
        added = sample.shape[1] - self.in_channels
        if added == 0:
            return features
        if added != self.out_channels:
            raise PgpisError(
                f"the denoiser got {sample.shape[1]} channels, expected {self.in_channels} of the latents alone "
                f"or with {self.out_channels} of the pose features"
            )
        return features + sample[:, self.in_channels :]


class PoseUNet(UNet2DConditionModel):  # type: ignore[misc, unused-ignore]
    """``UNet2DConditionModel`` with pose features added after ``conv_in``.

    Arguments, configuration and the names of the weights are those of ``UNet2DConditionModel``: Stable Diffusion's
    weights load unchanged. Pose features come in as extra channels of ``sample``. With
    ``class_embed_type="identity"``, ``class_labels`` is added to the time embedding as it is.

    Source: FPDM, section "Fusion Embedding Conditioned Diffusion Model".
    """

    @functools.wraps(UNet2DConditionModel.__init__)  # type: ignore[misc, unused-ignore]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.config.cross_attention_norm is not None:
            # a normalised zero token is no longer zero, and rows without tokens could not be skipped
            raise PgpisError("unet: cross_attention_norm is not supported, expected null")
        stock: Any = self.conv_in
        self.conv_in: nn.Conv2d = PoseConvIn(
            stock.in_channels, stock.out_channels, kernel_size=stock.kernel_size, padding=stock.padding
        )
        self.conv_in.load_state_dict(stock.state_dict())
        names = [name.removesuffix(".processor") for name in self.attn_processors]
        self.set_attn_processor({f"{name}.processor": CachedAttentionProcessor(name) for name in names})

    @property
    def supports_cache(self) -> bool:
        """Whether every attention layer still has the processor that reads a :class:`KeyValueCache`."""
        return all(isinstance(processor, CachedAttentionProcessor) for processor in self.attn_processors.values())

    def cache_keys_values(self, tokens: torch.Tensor, *, zero_rows: int = 0, repeats: int = 1) -> KeyValueCache:
        """Compute the keys and values of all cross-attention layers once.

        Args:
            tokens: Tokens of P pictures, ``(P, N, cross_attention_dim)``.
            zero_rows: Rows of the denoiser's batch that come first and have no tokens.
            repeats: How often the pictures follow after them.
        """
        entries = {
            name: project_keys_values(module, tokens)
            for name, module in self.named_modules()
            if isinstance(getattr(module, "processor", None), CachedAttentionProcessor) and module.is_cross_attention
        }
        return KeyValueCache(entries, zero_rows=zero_rows, repeats=repeats)
