"""Similarity of faces, from embeddings that a face recognition net has made."""

from __future__ import annotations

import torch


def cosine_similarity(ours: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the cosine of each pair of raw embeddings ``(B, D)``, float32 ``(B,)``."""
    return torch.cosine_similarity(ours.float(), others.float(), dim=1)


def euclidean_distance(ours: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the distance of each pair of raw embeddings ``(B, D)``, float32 ``(B,)``."""
    return (ours.float() - others.float()).norm(dim=1)
