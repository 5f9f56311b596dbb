"""Time two shortcuts of sampling at Stable Diffusion 2.1's size, on the CPU, against the exact loop with two branches.

Deep features of the last whole step (every third step is whole), and guidance in half of the steps only. Random
weights, no download, about 5 GB. A step reads all weights whatever the number of pairs, so that leaving out a branch
saves less of a step of one pair than of several.

    python benchmarks/shortcuts.py [--rounds 3] [--threads 2] [--height 32 --width 22] [--pairs 1]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

import torch

from pgpis.denoiser import Conditions, Ports, denoise
from pgpis.denoiser.deep_features import deep_features
from pgpis.denoiser.unet import ConditionedUNet
from sampling import draw_inputs, stable_diffusion_unet

INTERVAL = 3


def of_steps(unet: ConditionedUNet, conditions: Conditions, steps: int, interval: int = 1) -> float:
    """Return the seconds of a step, the mean of so many."""
    rows = len(conditions.pose_features)
    latents = torch.randn(rows, 4, *conditions.pose_features.shape[-2:], generator=torch.Generator().manual_seed(7))
    start = time.perf_counter()
    with deep_features(unet, interval) as features:
        for step in range(steps):
            features.begin(rows)
            denoise(unet, latents, torch.tensor(999 - step), conditions)
    return (time.perf_counter() - start) / steps


def several(ports: Ports, pairs: int) -> Ports:
    """Return the ports of so many pairs that all have the same."""
    assert ports.time_embedding is not None
    return replace(
        ports,
        tokens=None if ports.tokens is None else ports.tokens.repeat(pairs, 1, 1),
        pose_features=ports.pose_features.repeat(pairs, 1, 1, 1),
        time_embedding=ports.time_embedding.repeat(pairs, 1),
    )


@torch.no_grad()
def main() -> int:
    """Print seconds and ratios; return 1 if one is too small."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="denoising steps of a picture")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed, in turn")
    parser.add_argument("--height", type=int, default=32, help="rows of the latents")
    parser.add_argument("--width", type=int, default=22, help="columns of the latents")
    parser.add_argument("--pairs", type=int, default=1, help="pairs in a batch")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--minimum-deep", type=float, default=1.9, help="least ratio of deep features")
    parser.add_argument("--minimum-band", type=float, default=1.3, help="least ratio of guidance in half of the steps")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    unet = stable_diffusion_unet()
    inputs = [several(ports, options.pairs) for ports in draw_inputs(options.height, options.width)]
    seconds: dict[str, list[float]] = {"once": [], "exact": [], "deep": [], "alone": []}
    of_steps(unet, unet.prepare(*inputs), 1)  # warm
    for _ in range(options.rounds):  # in turn, so that other load on the machine hits all
        start = time.perf_counter()
        both = unet.prepare(*inputs)
        alone = both.last_branch(options.pairs)
        seconds["once"].append(time.perf_counter() - start)
        seconds["exact"].append(of_steps(unet, both, 1))
        seconds["deep"].append(of_steps(unet, both, INTERVAL, INTERVAL))
        seconds["alone"].append(of_steps(unet, alone, 1))
    once, exact, deep, alone_step = (min(values) for values in seconds.values())
    whole = once + options.steps * exact
    deep_ratio = whole / (once + options.steps * deep)
    band_ratio = whole / (once + options.steps / 2 * (exact + alone_step))
    print(f"{options.pairs} pairs; keys and values, once per batch: {once:.2f} s")
    print(f"a step of two branches: {exact:.2f} s, with deep features {deep:.2f} s, of one branch {alone_step:.2f} s")
    print(f"{options.steps} steps: ratio of deep features {deep_ratio:.2f}, of guidance in half {band_ratio:.2f}")
    return int(deep_ratio < options.minimum_deep or band_ratio < options.minimum_band)


if __name__ == "__main__":
    sys.exit(main())
