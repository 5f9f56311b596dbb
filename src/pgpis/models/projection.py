"""Projections that bring encoder outputs to the width of the denoiser's ports."""

from __future__ import annotations

import torch
from torch import nn


class FusionProjection(nn.Module):
    """Project a fusion embedding to what is added to the time embedding: ``Linear, GELU, Dropout, Linear, Dropout``.

    Args:
        in_features: Width of what is projected.
        out_features: Width of the result.
        hidden_features: Width between the two layers.
        dropout: Probability of both dropouts.

    Source: FPDM, official code ``unet.class_embedding``.
    """

    normalisation: type[nn.Module] | None = None

    def __init__(self, in_features: int, out_features: int, hidden_features: int = 768, dropout: float = 0.2) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(in_features, hidden_features),
            nn.GELU(),
            nn.Dropout(dropout),
            *([] if self.normalisation is None else [self.normalisation(hidden_features)]),
            nn.Linear(hidden_features, out_features),
            nn.Dropout(dropout),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map ``(..., in_features)`` to ``(..., out_features)``."""
        return self.net(features)


class TokenProjection(FusionProjection):
    """Project source tokens to the width of the cross-attention: as above, with a ``LayerNorm`` before the last layer.

    Source: FPDM, official code ``srcimage_proj_model``.
    """

    normalisation = nn.LayerNorm
