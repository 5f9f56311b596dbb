"""Time metrics against scipy and scikit-image; same results, one core.

python benchmarks/metrics.py [--dim 2048] [--pairs 128] [--minimum-frechet 5] [--minimum-ssim 10]
"""

from __future__ import annotations

import argparse
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import scipy.linalg
import torch
from skimage.metrics import structural_similarity

from pgpis.metrics import SSIM, frechet_distance

BATCH = 16
"""Pairs at a time, as in ``pgpis evaluate``."""


def reference_frechet(mean: np.ndarray, one: np.ndarray, other_mean: np.ndarray, other: np.ndarray) -> float:
    """Compute the distance with the square root of the product, as the originals do."""
    root = scipy.linalg.sqrtm(one @ other)
    difference = mean - other_mean
    return float(difference @ difference + np.trace(one) + np.trace(other) - 2 * np.trace(np.real(root)))


def random_statistics(dim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of correlated features."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2 * dim, dim)) @ rng.normal(size=(dim, dim)) / dim**0.5
    return features.mean(0), np.cov(features, rowvar=False)


def time_frechet(dim: int) -> tuple[float, float]:
    """Return the ratio of times and the relative difference."""
    mean, one = random_statistics(dim, 0)
    other_mean, other = random_statistics(dim, 1)
    start = time.perf_counter()
    expected = reference_frechet(mean, one, other_mean, other)
    middle = time.perf_counter()
    distance = frechet_distance(*(torch.from_numpy(array) for array in (mean, one, other_mean, other)))
    end = time.perf_counter()
    print(f"Fréchet distance of {dim} features: scipy's sqrtm {middle - start:.2f} s, ours {end - middle:.2f} s")
    return (middle - start) / (end - middle), abs(distance - expected) / expected


def time_ssim(pairs: int) -> tuple[float, float]:
    """Return the ratio of times and the largest difference."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 256, (pairs, 256, 176, 3), dtype=np.uint8)
    generated = (target + rng.normal(0, 30, target.shape)).clip(0, 255).astype(np.uint8)
    start = time.perf_counter()
    expected = [
        structural_similarity(t / 255, g / 255, win_size=51, data_range=1, channel_axis=2)
        for t, g in zip(target, generated, strict=True)
    ]
    middle = time.perf_counter()
    metric, values = SSIM("uniform"), []
    for first in range(0, pairs, BATCH):
        batch = (images[first : first + BATCH] for images in (generated, target))
        metric.update(*(torch.from_numpy(images).permute(0, 3, 1, 2) for images in batch))
        values.append(metric.last_values)
    end = time.perf_counter()
    per_pair = [1000 * (middle - start) / pairs, 1000 * (end - middle) / pairs]
    print(f"SSIM with 51 x 51 windows: skimage {per_pair[0]:.1f} ms a pair, ours {per_pair[1]:.1f} ms")
    return per_pair[0] / per_pair[1], float(np.abs(torch.cat(values).numpy() - expected).max())


def main() -> int:
    """Print ratios; return 1 if one is too small or results differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=2048, help="width of the features")
    parser.add_argument("--pairs", type=int, default=128, help="pairs of 256x176")
    parser.add_argument("--minimum-frechet", type=float, default=5.0, help="fail below this ratio")
    parser.add_argument("--minimum-ssim", type=float, default=10.0, help="fail below this ratio")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    time_ssim(2)  # imports and allocations
    similarity, difference = time_ssim(arguments.pairs)
    print(f"ratio {similarity:.1f}, largest difference {difference:.1e}")
    frechet, relative = time_frechet(arguments.dim)
    print(f"ratio {frechet:.1f}, relative difference {relative:.1e}")
    wrong = difference > 1e-6 or relative > 1e-6
    return int(wrong or frechet < arguments.minimum_frechet or similarity < arguments.minimum_ssim)


if __name__ == "__main__":
    sys.exit(main())
