"""From one face embedding to a few tokens: a perceiver resampler."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

__all__ = ["FaceResampler", "ModelMixin"]  # diffusers' loader looks for the base class in this module


class LatentAttention(nn.Module):
    """Queries attend to the input and to each other.

    Args:
        dim: Width of input and queries.
        head_dim: Width of a head.
        heads: Number of heads.
    """

    def __init__(self, dim: int, head_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        inner = head_dim * heads
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, inputs: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """Attend from ``latents`` ``(B, Q, dim)`` to both; ``inputs`` ``(B, N, dim)``."""
        inputs, latents = self.norm1(inputs), self.norm2(latents)
        query = self._split(self.to_q(latents))
        key, value = self.to_kv(torch.cat([inputs, latents], dim=1)).chunk(2, dim=-1)
        attended = F.scaled_dot_product_attention(query, self._split(key), self._split(value))
        result: torch.Tensor = self.to_out(attended.transpose(1, 2).flatten(2))
        return result

    def _split(self, values: torch.Tensor) -> torch.Tensor:
        return values.reshape(*values.shape[:2], self.heads, -1).transpose(1, 2)


class FaceResampler(ModelMixin, ConfigMixin):  # type: ignore[misc, unused-ignore]
    """Turn face embeddings into cross-attention tokens.

    The names of the weights are those of MCLD's ``image_proj_model.pth``.

    Args:
        dim: Width inside.
        depth: Number of layers.
        head_dim: Width of a head.
        heads: Number of heads.
        tokens: Number of tokens that come out.
        embedding_dim: Width of the face embedding.
        token_dim: Width of the denoiser's cross-attention.
        expansion: Width of the feed-forward nets over ``dim``.

    Source: MCLD, section "Multi-Focal Condition Aggregation"; the layout follows IP-Adapter's resampler.
    """

    @register_to_config  # type: ignore[untyped-decorator, unused-ignore]
    def __init__(
        self,
        *,
        dim: int = 1280,
        depth: int = 4,
        head_dim: int = 64,
        heads: int = 20,
        tokens: int = 16,
        embedding_dim: int = 512,
        token_dim: int = 768,
        expansion: int = 4,
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, tokens, dim) / dim**0.5)
        self.proj_in = nn.Linear(embedding_dim, dim)
        self.proj_out = nn.Linear(dim, token_dim)
        self.norm_out = nn.LayerNorm(token_dim)
        self.layers = nn.ModuleList(
            nn.ModuleList([LatentAttention(dim, head_dim, heads), _feed_forward(dim, expansion)]) for _ in range(depth)
        )

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """Make tokens ``(B, tokens, token_dim)`` from embeddings ``(B, embedding_dim)``."""
        inputs = self.proj_in(embedding[:, None])
        latents = self.latents.expand(len(embedding), -1, -1)
        for layer in self.layers:
            attention, feed_forward = layer.children()
            latents = attention(inputs, latents) + latents
            latents = feed_forward(latents) + latents
        result: torch.Tensor = self.norm_out(self.proj_out(latents))
        return result


def _feed_forward(dim: int, expansion: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(dim),
        nn.Linear(dim, dim * expansion, bias=False),
        nn.GELU(),
        nn.Linear(dim * expansion, dim, bias=False),
    )
