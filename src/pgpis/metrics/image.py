"""Metrics of pairs (generated, target): each keeps a mean over all pairs and the values of the last batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torchmetrics import Metric

from pgpis.errors import PgpisError, nearest

SSIMVariant: TypeAlias = Literal["uniform", "gaussian"]
CUT = 3.5
"""Deviations at which skimage cuts a Gaussian off."""


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Quantise pictures in [-1, 1] as they are when written to disk: published numbers are measured on files.

    Args:
        images: ``(B, 3, H, W)`` in [-1, 1].

    Raises:
        PgpisError: A number is not finite; uint8 would hide it.
    """
    if not images.isfinite().all():
        raise PgpisError("pictures hold numbers that are not finite")
    return images.float().div(2).add(0.5).clamp(0, 1).mul(255).round().to(torch.uint8)


def _check_shapes(generated: torch.Tensor, target: torch.Tensor) -> None:
    if generated.shape != target.shape or generated.ndim != 4 or generated.shape[1] != 3:
        raise PgpisError(
            f"metrics compare two batches (B, 3, H, W), got {tuple(generated.shape)} and {tuple(target.shape)}"
        )


def _unit(images: torch.Tensor, name: str) -> torch.Tensor:
    """Bring pictures to float64 in [0, 1]."""
    if images.dtype == torch.uint8:
        return images.to(torch.float64) / 255
    if not images.dtype.is_floating_point:
        raise PgpisError(f"{name} pictures are {images.dtype}, expected uint8, or float in [0, 1]")
    # a negated comparison, because NaN must not pass either
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        low, high = images.min().item(), images.max().item()
        raise PgpisError(
            f"{name} pictures span [{low:.3g}, {high:.3g}], expected uint8, or float in [0, 1]",
            hint="pgpis.metrics.to_uint8 converts pictures in [-1, 1]",
        )
    return images.to(torch.float64)


class PairMetric(Metric, ABC):  # type: ignore[misc, unused-ignore]
    """Mean over pairs of a value per pair; the sums are added up over devices.

    Pairs whose value is infinite, as the PSNR of equal pictures, are left out of the mean and counted by ``infinite``.
    ``last_values`` holds the values ``(B,)`` of the pairs of the last ``update``, for a table of all pairs.
    """

    is_differentiable = False
    full_state_update = False
    total: torch.Tensor
    count: torch.Tensor
    infinite: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("infinite", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.last_values = torch.zeros(0, dtype=torch.float64)

    @abstractmethod
    def _values(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return one float64 value for each pair of pictures, float64 in [0, 1]."""

    @property
    def not_computed(self) -> str | None:
        """Why there are no values ("not computed: ..."), or None."""
        return None

    def pair_values(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return one value per pair.

        Args:
            generated: ``(B, 3, H, W)``, uint8, or float in [0, 1].
            target: Same shape; the dtype may differ.

        Returns:
            float64 ``(B,)``.

        Raises:
            PgpisError: Shapes differ, are not ``(B, 3, H, W)``, floats leave [0, 1], or see ``not_computed``.
        """
        self._require_computable()
        _check_shapes(generated, target)
        return self._values(_unit(generated, "generated"), _unit(target, "target"))

    def update(self, generated: torch.Tensor, target: torch.Tensor) -> None:
        """Add a batch of pairs; arguments as in :meth:`pair_values`."""
        if self.not_computed is not None:
            return
        self.last_values = self.pair_values(generated, target)
        measured = self.last_values[~self.last_values.isinf()]
        self.total = self.total + measured.sum().to(self.total.device)
        self.count = self.count + len(measured)
        self.infinite = self.infinite + len(self.last_values) - len(measured)

    def compute(self) -> torch.Tensor:
        """Return the mean over all pairs of all devices, float64; infinite if all are so, NaN without pairs.

        Raises:
            PgpisError: The metric cannot be computed here; see ``not_computed``.
        """
        self._require_computable()
        if not self.count and self.infinite:
            return torch.full_like(self.total, torch.inf)
        return self.total / self.count

    def result(self) -> float | str:
        """Return the mean, or the reason why there is none ("not computed: ..."), as a report shows it."""
        if self.not_computed is not None:
            return self.not_computed
        mean = float(self.compute())
        return "not computed: no pairs" if math.isnan(mean) else mean

    def _require_computable(self) -> None:
        if self.not_computed is not None:
            raise PgpisError(f"{type(self).__name__}: {self.not_computed}")


class PSNR(PairMetric):
    """Peak signal-to-noise ratio in dB of pictures in [0, 1], per pair; infinite for equal pictures.

    Source: ``skimage.metrics.peak_signal_noise_ratio(data_range=1)``, averaged over pairs as in the official scripts.
    """

    higher_is_better = True

    def _values(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return -10 * torch.log10((generated - target).square().flatten(1).mean(1))


class MAE(PairMetric):
    """``sum |g - t| / sum (g + t)``: what the field's scripts call MAE; 0 for two black pictures.

    Source: official FPDM script ``compare_mae``.
    """

    higher_is_better = False

    def _values(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        total = (generated + target).flatten(1).sum(1)
        return (generated - target).abs().flatten(1).sum(1) / total.clamp(min=torch.finfo(torch.float64).tiny)


class L1(PairMetric):
    """Mean absolute difference of pictures in [0, 1]."""

    higher_is_better = False

    def _values(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (generated - target).abs().flatten(1).mean(1)


class SSIM(PairMetric):
    """Structural similarity, the mean over channels and over all windows that lie inside the picture.

    Args:
        variant: "uniform": square window, sample covariance, data range 1 on pictures in [0, 1]: the first SSIM of
            all protocols. "gaussian": Gaussian window, population covariance, on pictures in 0..255 with the data
            range ``max - min`` of each generated picture: their second SSIM.
        window_size: Side of the uniform window in pixels, odd; not looked at for "gaussian".
        sigma: Deviation of the Gaussian in pixels, cut off at 3.5 sigma; not looked at for "uniform".

    Raises:
        PgpisError: Unknown variant, an even window, or (in ``update``) pictures smaller than the window.

    Source: Wang et al. 2004; ``skimage.metrics.structural_similarity`` with the arguments of the official scripts.
    Deviation: A generated picture of one single value has range 0, for which skimage gives NaN; here it gets 255.
    """

    higher_is_better = True

    def __init__(self, variant: SSIMVariant = "uniform", *, window_size: int = 51, sigma: float = 1.5) -> None:
        super().__init__()
        if variant not in ("uniform", "gaussian"):
            known = ("uniform", "gaussian")
            raise PgpisError(
                f"unknown SSIM variant '{variant}'{nearest(variant, known)}; expected {' or '.join(known)}"
            )
        if window_size < 3 or window_size % 2 == 0:
            raise PgpisError(f"window_size is {window_size}, expected an odd number from 3 on")
        if sigma <= 0:
            raise PgpisError(f"sigma is {sigma}, expected more than 0")
        self.variant = variant
        self.window_size = window_size
        self.sigma = sigma

    def pair_values(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the similarity of each pair; see :meth:`PairMetric.pair_values`."""
        if self.variant == "gaussian" or not (generated.dtype == target.dtype == torch.uint8):
            return super().pair_values(generated, target)
        _check_shapes(generated, target)
        return self._uniform(generated, target, 1 / 255)  # converting first would take as long as measuring

    def _values(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if self.variant == "uniform":
            return self._uniform(generated, target, 1.0)
        radius = int(CUT * self.sigma + 0.5)
        check_window(generated, 2 * radius + 1)
        ours, others = ((images * 255).cpu().numpy() for images in (generated, target))
        return torch.from_numpy(_gaussian_similarity(ours, others, self.sigma, radius))

    def _uniform(self, generated: torch.Tensor, target: torch.Tensor, scale: float) -> torch.Tensor:
        from pgpis.metrics.windows import box_similarity  # numba takes long to import

        check_window(generated, self.window_size)
        # numba compiles once more for every other layout in memory
        maps = [images.cpu().flatten(0, 1).contiguous().numpy() for images in (generated, target)]
        threads = torch.get_num_threads()
        similarity = box_similarity(*maps, self.window_size, scale)
        torch.set_num_threads(threads)  # with its first threads numba sets torch's number to all cores
        return torch.from_numpy(similarity).view(-1, 3).mean(1)


def check_window(images: torch.Tensor, size: int, metric: str = "SSIM") -> None:
    """Refuse pictures ``(B, 3, H, W)`` that a window of ``size`` pixels a side, the least that a metric sees, exceeds.

    Raises:
        PgpisError: They are smaller.
    """
    height, width = images.shape[-2:]
    if min(height, width) < size:
        raise PgpisError(f"{metric}: pictures of {height}x{width} pixels are smaller than the window of {size}x{size}")


def _gaussian_similarity(
    ours: NDArray[np.float64], others: NDArray[np.float64], sigma: float, radius: int
) -> NDArray[np.float64]:
    """Return the similarity of each pair of pictures ``(B, 3, H, W)`` in 0..255; Wang et al. 2004, eq. 13."""
    moments = np.stack([ours, others, ours * ours + others * others, ours * others])
    inside = (..., *(slice(radius, length - radius) for length in ours.shape[-2:]))
    a, b, squares, product = gaussian_filter(moments, sigma, truncate=CUT, axes=(-2, -1))[inside]
    data_range = np.ptp(ours, axis=(1, 2, 3), keepdims=True)
    data_range[data_range == 0] = 255
    c1, c2 = np.square(0.01 * data_range), np.square(0.03 * data_range)
    both, each = a * b, a * a + b * b
    similarity = (2 * both + c1) * (2 * (product - both) + c2) / ((each + c1) * (squares - each + c2))
    values: NDArray[np.float64] = similarity.mean(axis=(1, 2, 3))
    return values
