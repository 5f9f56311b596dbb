"""Metrics of pairs (generated, target): each keeps a mean over all pairs and the values of the last batch."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torchmetrics import Metric

from pgpis.errors import PgpisError, nearest

SSIMVariant: TypeAlias = Literal["uniform", "gaussian"]
WindowMean: TypeAlias = Callable[[torch.Tensor, int], torch.Tensor]


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Quantise pictures in [-1, 1] as they are when written to disk: published numbers are measured on files.

    Args:
        images: ``(B, 3, H, W)`` in [-1, 1].

    Returns:
        uint8, same shape.

    Raises:
        PgpisError: A number is not finite; uint8 would hide it.
    """
    if not images.isfinite().all():
        raise PgpisError("pictures hold numbers that are not finite")
    return images.float().div(2).add(0.5).clamp(0, 1).mul(255).round().to(torch.uint8)


def unit_range(generated: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Check a batch of pairs and bring both halves to float64 in [0, 1].

    Args:
        generated: ``(B, 3, H, W)``, uint8, or float in [0, 1].
        target: Same shape; the dtype may differ.

    Raises:
        PgpisError: Shapes differ, are not ``(B, 3, H, W)``, or floats leave [0, 1].
    """
    _check_shapes(generated, target)
    return _unit(generated, "generated"), _unit(target, "target")


def _check_shapes(generated: torch.Tensor, target: torch.Tensor) -> None:
    if generated.shape != target.shape or generated.ndim != 4 or generated.shape[1] != 3:
        raise PgpisError(
            f"metrics compare two batches (B, 3, H, W), got {tuple(generated.shape)} and {tuple(target.shape)}"
        )


def _unit(images: torch.Tensor, name: str) -> torch.Tensor:
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

    ``last_values`` holds the values ``(B,)`` of the pairs of the last ``update``, for a table of all pairs.
    """

    is_differentiable = False
    full_state_update = False
    total: torch.Tensor
    count: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.last_values = torch.zeros(0, dtype=torch.float64)

    @abstractmethod
    def pair_values(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return one value per pair.

        Args:
            generated: ``(B, 3, H, W)``, uint8, or float in [0, 1].
            target: Same shape.

        Returns:
            float64 ``(B,)``.
        """

    @property
    def not_computed(self) -> str | None:
        """Why there are no values ("not computed: ..."), or None."""
        return None

    def update(self, generated: torch.Tensor, target: torch.Tensor) -> None:
        """Add a batch of pairs; arguments as in :meth:`pair_values`."""
        if self.not_computed is not None:
            return
        self.last_values = self.pair_values(generated, target)
        self.total = self.total + self.last_values.sum().to(self.total.device)
        self.count = self.count + len(self.last_values)

    def compute(self) -> torch.Tensor:
        """Return the mean over all pairs of all devices, float64; NaN without pairs.

        Raises:
            PgpisError: The metric cannot be computed here; see ``not_computed``.
        """
        if self.not_computed is not None:
            raise PgpisError(self.not_computed)
        return self.total / self.count

    def result(self) -> float | str:
        """Return the mean, or the reason why there is none ("not computed: ..."), as a report shows it."""
        if self.not_computed is not None:
            return self.not_computed
        mean = float(self.compute())
        return mean if mean == mean else "not computed: no pairs"  # noqa: PLR0124 - NaN is not equal to itself


class PSNR(PairMetric):
    """Peak signal-to-noise ratio in dB of pictures in [0, 1], per pair; infinite for equal pictures.

    Source: ``skimage.metrics.peak_signal_noise_ratio(data_range=1)``, averaged over pairs as in the official scripts.
    """

    higher_is_better = True

    def pair_values(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the ratio of each pair; see :meth:`PairMetric.pair_values`."""
        ours, reference = unit_range(generated, target)
        return -10 * torch.log10((ours - reference).square().flatten(1).mean(1))


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
        if self.variant == "uniform" and generated.device.type == "cpu":
            return _box_similarity(generated, target, self.window_size)
        ours, reference = unit_range(generated, target)
        if self.variant == "uniform":
            data_range = torch.ones_like(ours[:, 0, 0, 0])
            return structural_similarity(ours, reference, _box_mean, self.window_size, data_range, sample=True)
        ours, reference = ours * 255, reference * 255
        data_range = ours.flatten(1).amax(1) - ours.flatten(1).amin(1)
        data_range = torch.where(data_range > 0, data_range, 255.0)
        weights = _gaussian(self.sigma).to(ours.device)
        mean = functools.partial(_weighted_mean, weights=weights)
        return structural_similarity(ours, reference, mean, len(weights), data_range, sample=False)


def _gaussian(sigma: float) -> torch.Tensor:
    """Return a normalised Gaussian, float64, cut off at 3.5 sigma as skimage does."""
    radius = int(3.5 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / sigma).square())
    return weights / weights.sum()


def structural_similarity(
    generated: torch.Tensor,
    target: torch.Tensor,
    window_mean: WindowMean,
    window_size: int,
    data_range: torch.Tensor,
    *,
    sample: bool,
) -> torch.Tensor:
    """Return the structural similarity of each pair.

    Args:
        generated: float64 ``(B, C, H, W)``.
        target: Same.
        window_mean: Averages ``(..., H, W)`` over every window that lies inside, given the maps and ``window_size``.
        window_size: Side of the window in pixels.
        data_range: Span of possible values, ``(B,)``.
        sample: Scale variances by ``n / (n - 1)`` for the n pixels of a window.

    Returns:
        ``(B,)``.

    Raises:
        PgpisError: The pictures are smaller than the window.

    Source: Wang et al. 2004, eq. 13, with K1 = 0.01 and K2 = 0.03.
    """
    _check_window(generated, window_size)
    moments = torch.stack([generated, target, generated * generated, target * target, generated * target])
    mean_g, mean_t, square_g, square_t, product = window_mean(moments, window_size)
    pixels = window_size**2
    scale = pixels / (pixels - 1) if sample else 1.0
    variance_g = scale * (square_g - mean_g * mean_g)
    variance_t = scale * (square_t - mean_t * mean_t)
    covariance = scale * (product - mean_g * mean_t)
    c1, c2 = ((k * data_range).square().view(-1, 1, 1, 1) for k in (0.01, 0.03))
    luminance = (2 * mean_g * mean_t + c1) / (mean_g * mean_g + mean_t * mean_t + c1)
    structure = (2 * covariance + c2) / (variance_g + variance_t + c2)
    similarity: torch.Tensor = (luminance * structure).flatten(1).mean(1)
    return similarity


def _box_similarity(generated: torch.Tensor, target: torch.Tensor, window_size: int) -> torch.Tensor:
    """Compute what ``structural_similarity`` does with square windows, on the CPU and without maps in between."""
    from pgpis.metrics.windows import box_similarity

    _check_shapes(generated, target)
    _check_window(generated, window_size)
    scale = 1 / 255
    if generated.dtype != torch.uint8 or target.dtype != torch.uint8:
        (generated, target), scale = unit_range(generated, target), 1.0
    maps = box_similarity(generated.flatten(0, 1).numpy(), target.flatten(0, 1).numpy(), window_size, scale)
    return torch.from_numpy(maps).view(generated.shape[:2]).mean(1)


def _check_window(images: torch.Tensor, window_size: int) -> None:
    height, width = images.shape[-2:]
    if min(height, width) < window_size:
        raise PgpisError(
            f"SSIM: pictures of {height}x{width} pixels are smaller than the window of {window_size}x{window_size}"
        )


def _box_mean(maps: torch.Tensor, window_size: int) -> torch.Tensor:
    """Average over square windows by differences of running sums: as fast for 51 pixels as for 3."""
    for axis in (-2, -1):
        sums = torch.cat([torch.zeros_like(maps.narrow(axis, 0, 1)), maps.cumsum(axis)], dim=axis)
        count = sums.shape[axis] - window_size
        maps = (sums.narrow(axis, window_size, count) - sums.narrow(axis, 0, count)) / window_size
    return maps


def _weighted_mean(maps: torch.Tensor, window_size: int, weights: torch.Tensor) -> torch.Tensor:
    """Average with separable weights ``(window_size,)``, one axis after the other."""
    stacked = maps.flatten(0, -3).unsqueeze(1)  # (N, 1, H, W)
    stacked = F.conv2d(F.conv2d(stacked, weights.view(1, 1, window_size, 1)), weights.view(1, 1, 1, window_size))
    return stacked.view(*maps.shape[:-2], *stacked.shape[-2:])
