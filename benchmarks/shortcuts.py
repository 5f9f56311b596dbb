"""Time two shortcuts of sampling at Stable Diffusion 2.1's size, on the CPU, against the exact loop with two branches.

Deep features of the last whole step (every third step is whole), and guidance in half of the steps only. Random
weights, no download, about 5 GB.

    python benchmarks/shortcuts.py [--steps 6] [--threads 2] [--minimum-deep 1.9] [--minimum-band 1.3]
"""

from __future__ import annotations

import argparse
import sys
import time

import torch

from pgpis.denoiser import Ports, denoise
from pgpis.denoiser.deep_features import deep_features
from pgpis.denoiser.unet import ConditionedUNet
from sampling import draw_inputs, stable_diffusion_unet

INTERVAL = 3


def seconds(unet: ConditionedUNet, nothing: Ports, ports: Ports, steps: int, interval: int, guided: set[int]) -> float:
    """Return the time of so many steps, keys and values included."""
    start = time.perf_counter()
    both, alone = unet.prepare(nothing, ports), unet.prepare(ports)
    latents = torch.randn(1, 4, *ports.pose_features.shape[-2:], generator=torch.Generator().manual_seed(7))
    with deep_features(unet, interval) as features:
        for step in range(steps):
            rows, conditions = (2, both) if step in guided else (1, alone)
            features.begin(rows)
            denoise(unet, latents.repeat(rows, 1, 1, 1), torch.tensor(999 - step), conditions)
    return time.perf_counter() - start


@torch.no_grad()
def main() -> int:
    """Print seconds and ratios; return 1 if one is too small."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6, help="denoising steps, a multiple of 6")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minimum-deep", type=float, default=1.9, help="least ratio of deep features")
    parser.add_argument("--minimum-band", type=float, default=1.3, help="least ratio of guidance in half of the steps")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    unet = stable_diffusion_unet()
    inputs = draw_inputs(32, 22)
    steps, everywhere = options.steps, set(range(options.steps))
    half = set(range(steps // 4, steps // 4 + steps // 2))
    seconds(unet, *inputs, 1, 1, everywhere)  # warm
    exact = seconds(unet, *inputs, steps, 1, everywhere)
    deep = exact / seconds(unet, *inputs, steps, INTERVAL, everywhere)
    band = exact / seconds(unet, *inputs, steps, 1, half)
    print(f"exact: {exact / steps:.2f} s a step of two branches")
    print(f"ratio of deep features {deep:.2f}, of guidance in half of the steps {band:.2f}")
    return int(deep < options.minimum_deep or band < options.minimum_band)


if __name__ == "__main__":
    sys.exit(main())
