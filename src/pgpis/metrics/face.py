"""Similarity of faces, from embeddings that a face recognition net has made."""

from __future__ import annotations

import torch
from torchmetrics import Metric

from pgpis.errors import PgpisError


def cosine_similarity(ours: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the cosine of each pair of raw embeddings ``(B, D)``, float32 ``(B,)``."""
    return torch.cosine_similarity(ours.float(), others.float(), dim=1)


def euclidean_distance(ours: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the distance of each pair of raw embeddings ``(B, D)``, float32 ``(B,)``."""
    return (ours.float() - others.float()).norm(dim=1)


class FaceSimilarity(Metric):  # type: ignore[misc, unused-ignore]
    """Mean cosine and Euclidean distance over the pairs in which both faces were found; the others are counted.

    Source: MCLD, official evaluation (insightface ``buffalo_s``).
    """

    is_differentiable = False
    full_state_update = False
    cosine: torch.Tensor
    euclidean: torch.Tensor
    found: torch.Tensor
    left_out: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("cosine", "euclidean"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("found", "left_out"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, generated: torch.Tensor, reference: torch.Tensor, both_found: torch.Tensor) -> None:
        """Add pairs.

        Args:
            generated: Embeddings ``(B, D)``; any numbers where no face was found.
            reference: Same.
            both_found: bool ``(B,)``.

        Raises:
            PgpisError: Shapes differ.
        """
        if generated.shape != reference.shape or both_found.shape != generated.shape[:1]:
            raise PgpisError(
                f"faces: got {tuple(generated.shape)}, {tuple(reference.shape)}, {tuple(both_found.shape)}"
            )
        ours, others = generated[both_found], reference[both_found]
        self.cosine = self.cosine + cosine_similarity(ours, others).double().sum()
        self.euclidean = self.euclidean + euclidean_distance(ours, others).double().sum()
        self.found = self.found + both_found.sum()
        self.left_out = self.left_out + (~both_found).sum()

    def compute(self) -> dict[str, torch.Tensor]:
        """Return ``face_cosine``, ``face_euclidean`` (NaN without faces) and ``faces_left_out``."""
        return {
            "face_cosine": self.cosine / self.found,
            "face_euclidean": self.euclidean / self.found,
            "faces_left_out": self.left_out,
        }
