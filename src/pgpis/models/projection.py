"""Projections that bring encoder outputs to the width of the denoiser's ports."""

from __future__ import annotations

import torch
from torch import nn


class TokenProjection(nn.Module):
    """Project source tokens to the width of the denoiser's cross-attention.

    ``Linear, GELU, Dropout, LayerNorm, Linear, Dropout``.

    Args:
        in_features: Width of the source encoder's tokens.
        out_features: Width of the cross-attention.
        hidden_features: Width between the two layers.
        dropout: Probability of both dropouts.

    Source: FPDM, official code ``srcimage_proj_model``.
    """

    def __init__(self, in_features: int, out_features: int, hidden_features: int = 768, dropout: float = 0.2) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(in_features, hidden_features),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.LayerNorm(hidden_features),
            nn.Linear(hidden_features, out_features),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map ``(B, N, in_features)`` to ``(B, N, out_features)``."""
        projected: torch.Tensor = self.net(tokens)
        return projected


class FusionProjection(nn.Module):
    """Project a fusion embedding to what is added to the time embedding.

    ``Linear, GELU, Dropout, Linear, Dropout``.

    Args:
        in_features: Width of the fusion embedding.
        out_features: Width of the denoiser's time embedding.
        hidden_features: Width between the two layers.
        dropout: Probability of both dropouts.

    Source: FPDM, official code ``unet.class_embedding``.
    """

    def __init__(self, in_features: int, out_features: int, hidden_features: int = 768, dropout: float = 0.2) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(in_features, hidden_features),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_features, out_features),
            nn.Dropout(dropout),
        )

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """Map ``(B, in_features)`` to ``(B, out_features)``."""
        projected: torch.Tensor = self.net(embedding)
        return projected
