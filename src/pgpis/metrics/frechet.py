"""Fréchet distance between sets of features, without the square root of a product of matrices."""

from __future__ import annotations

import torch
from torchmetrics import Metric

from pgpis.errors import PgpisError


class FeatureStatistics(Metric):  # type: ignore[misc, unused-ignore]
    """Mean and covariance of features, as sums that add up over devices.

    Args:
        dim: Width D of the features.
    """

    is_differentiable = False
    full_state_update = False
    total: torch.Tensor
    products: torch.Tensor
    count: torch.Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.add_state("total", torch.zeros(dim, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("products", torch.zeros(dim, dim, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, features: torch.Tensor) -> None:
        """Add features ``(B, D)``.

        Raises:
            PgpisError: Another shape, or a number that is not finite.
        """
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise PgpisError(f"features have shape {tuple(features.shape)}, expected (B, {self.dim})")
        if not features.isfinite().all():
            raise PgpisError("features hold numbers that are not finite")
        values = features.detach().double()
        self.total = self.total + values.sum(0)
        self.products = self.products + values.T @ values
        self.count = self.count + len(values)

    def compute(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean ``(D,)`` and sample covariance ``(D, D)``, float64.

        Raises:
            PgpisError: There are fewer than two features.
        """
        count = int(self.count)
        if count < 2:
            raise PgpisError(f"a covariance needs at least two pictures, got {count}")
        mean = self.total / count
        covariance = (self.products - count * torch.outer(mean, mean)) / (count - 1)
        return mean, covariance


def frechet_distance(
    mean: torch.Tensor, covariance: torch.Tensor, other_mean: torch.Tensor, other_covariance: torch.Tensor
) -> float:
    """Return ``|m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^(1/2))`` of means ``(D,)`` and covariances ``(D, D)``, at least 0.

    The trace of the root is the sum of the roots of the eigenvalues of ``S1 S2``. With ``S1 = R R'`` these are the
    eigenvalues of the symmetric ``R' S2 R``: no Schur form of a general matrix is needed.

    Raises:
        PgpisError: A covariance is not finite.

    Source: Heusel et al. 2017; equal to the reference implementation with ``scipy.linalg.sqrtm`` to 1e-6.
    """
    if not (covariance.isfinite().all() and other_covariance.isfinite().all()):
        raise PgpisError("the covariances are not finite")
    root, other = _root(covariance.double(), other_covariance.double())
    eigenvalues = torch.linalg.eigvalsh(root.T @ other @ root)
    difference = (mean.double() - other_mean.double()).square().sum()
    traces = covariance.double().trace() + other_covariance.double().trace()
    distance = difference + traces - 2 * eigenvalues.clamp(min=0).sqrt().sum()
    return max(0.0, float(distance))  # of equal sets, rounding decides on which side of 0 it is


def _root(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a factor R of one of two covariances, ``R R'``, and the one that is left.

    Cholesky's is the cheapest; a covariance of fewer pictures than features has none.
    """
    for first, second in ((one, other), (other, one)):
        factor, info = torch.linalg.cholesky_ex(first)
        if not int(info):
            return factor, second
    values, vectors = torch.linalg.eigh(one)
    return vectors * values.clamp(min=0).sqrt(), other
