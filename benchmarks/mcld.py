"""Time MCLD at Stable Diffusion 1.5's size: a straightforward implementation against ours, on the CPU.

Straightforward: the ReferenceNet runs on both guidance rows, to its end; every step computes all keys and values anew
and attends to the reference on both rows, masked where there is none. Ours: the ReferenceNet runs on the conditional
row and ends after its last bank; keys and values once per picture; no attention to tokens or reference for rows
without. Random weights, no download, about 12 GB.

    python benchmarks/mcld.py [--steps 3] [--threads 2] [--minimum 1.15] [--training]
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from diffusers import UNet2DConditionModel

from pgpis.denoiser import ConditionedUNet, Conditions, Ports, denoise
from pgpis.methods.mcld.conditioner import MCLDConditioner
from pgpis.methods.mcld.losses import focal_loss
from pgpis.methods.mcld.reference import ReferenceBank, ReferenceNet
from pgpis.models import build_scheduler

SCALE = 3.5
SD15 = {"cross_attention_dim": 768, "attention_head_dim": 8, "sample_size": 64}
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
}


def peak() -> float:
    """Return the highest memory of this process so far in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def draw_ports(height: int, width: int) -> tuple[Ports, torch.Tensor, torch.Tensor]:
    """Return one picture's ports, the latents of its texture, and the ReferenceNet's token."""
    torch.manual_seed(1)
    conditioner = MCLDConditioner().eval()
    source = torch.randn(1, 768)
    iuv = torch.rand(1, 3, height * 8, width * 8) * 2 - 1
    ports = conditioner(source, torch.randn(1, 768), torch.randn(1, 512), iuv)
    return ports, torch.randn(1, 4, height, width), source[:, None]


def whole_reference(stock: UNet2DConditionModel, rows: int, *inputs: torch.Tensor) -> None:
    """Run a stock UNet, tail included, on all guidance rows: what the ReferenceNet costs when nothing is left out."""
    texture, token = (value.expand(rows, *[-1] * (value.ndim - 1)) for value in inputs)
    stock(texture, 0, encoder_hidden_states=token, return_dict=False)


def sample(unet: ConditionedUNet, ports: Ports, height: int, width: int, *, cached: bool) -> Iterator[torch.Tensor]:
    """Denoise one picture; yield the latents after each step."""
    scheduler = build_scheduler(SCHEDULER)
    scheduler.set_timesteps(20)
    sample = torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(7))
    conditions = unet.prepare(replace(ports, tokens=None), ports) if cached else None
    for timestep in scheduler.timesteps:
        shown = conditions or both_rows(unet, ports)
        without, conditional = denoise(unet, torch.cat([sample] * 2), timestep, shown).chunk(2)
        sample = scheduler.step(without + SCALE * (conditional - without), timestep, sample, return_dict=False)[0]
        yield sample


def both_rows(unet: ConditionedUNet, ports: Ports) -> Conditions:
    """Compute keys and values for both guidance rows."""

    def twice(tokens: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(tokens), tokens])

    rows = replace(
        ports,
        tokens={stage: twice(tokens) for stage, tokens in ports.tokens.items()},
        extra_tokens=twice(ports.extra_tokens),
        pose_features=ports.pose_features.repeat(2, 1, 1, 1),
        reference={name: hidden.repeat(2, 1, 1) for name, hidden in ports.reference.items()},
        keep_reference=torch.tensor([False, True]),
    )
    return unet.prepare(rows)


def time_sampling(arguments: argparse.Namespace) -> int:
    """Run both ways in turn, print seconds and ratios; return 1 if results differ or a ratio is too small."""
    torch.manual_seed(0)
    unet, net = ConditionedUNet(**SD15, extra_tokens=True).eval(), ReferenceNet(**SD15).eval()
    ports, texture, token = draw_ports(arguments.height, arguments.width)
    stock = UNet2DConditionModel(**SD15).eval()
    reference: dict[str, list[float]] = {"straightforward": [], "ours": []}
    bank: ReferenceBank = {}
    for _ in range(2):
        start = time.perf_counter()
        whole_reference(stock, 2, texture, token)
        reference["straightforward"].append(time.perf_counter() - start)
        start = time.perf_counter()
        bank = net.bank(texture, token)
        reference["ours"].append(time.perf_counter() - start)
    del stock
    once = min(reference["straightforward"]) / min(reference["ours"])
    for name, values in reference.items():
        print(f"ReferenceNet, {name}: {min(values):.2f} s", flush=True)
    print(f"ratio of the ReferenceNet: {once:.2f}")
    ports = replace(ports, reference=bank)
    runs = {
        name: sample(unet, ports, arguments.height, arguments.width, cached=name == "ours")
        for name in ("straightforward", "ours")
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    results: dict[str, torch.Tensor] = {}
    for _ in range(arguments.steps):
        for name, run in runs.items():  # in turn, so that other load on the machine hits both
            start = time.perf_counter()
            results[name] = next(run)
            seconds[name].append(time.perf_counter() - start)
            print(f"{name:15s} {seconds[name][-1]:7.2f} s", flush=True)
    difference = (results["straightforward"] - results["ours"]).abs().max().item()
    ratio = sum(seconds["straightforward"]) / sum(seconds["ours"])
    print(f"largest difference of the latents {difference:.1e}")
    print(f"ratio per step, keys and values shared out over {arguments.steps} steps: {ratio:.2f}")
    print(f"peak memory {peak():.1f} GiB")
    return int(difference > 1e-4 or ratio < arguments.minimum or once < arguments.minimum_reference)


def time_training(arguments: argparse.Namespace) -> int:
    """Run forward and backward of one pair without an optimiser, print seconds and memory."""
    torch.manual_seed(0)
    unet, net = ConditionedUNet(**SD15, extra_tokens=True), ReferenceNet(**SD15)
    if arguments.checkpointing:
        for module in (unet, net):
            module.enable_gradient_checkpointing()
            module.train()
    with torch.no_grad():
        ports, texture, token = draw_ports(arguments.height, arguments.width)
    start = time.perf_counter()
    conditions = unet.prepare(replace(ports, reference=net.bank(texture, token)))
    target = torch.randn(1, 4, arguments.height, arguments.width)
    prediction = denoise(unet, torch.randn_like(target), torch.tensor([500]), conditions)
    loss = focal_loss(prediction, target, torch.ones(1))
    forward = time.perf_counter() - start
    loss.backward()
    total = time.perf_counter() - start
    print(f"training step of one pair: forward {forward:.1f} s, backward {total - forward:.1f} s")
    print(f"peak memory {peak():.1f} GiB (weights and gradients in float32, no optimiser state)")
    return 0


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3, help="denoising steps to time")
    parser.add_argument("--height", type=int, default=64, help="rows of the latents")
    parser.add_argument("--width", type=int, default=64, help="columns of the latents")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--minimum", type=float, default=1.15, help="fail below this ratio per step")
    parser.add_argument("--minimum-reference", type=float, default=1.9, help="fail below this ratio of ReferenceNets")
    parser.add_argument("--training", action="store_true", help="time a training step instead")
    parser.add_argument("--checkpointing", action="store_true", help="with gradient checkpointing")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.training:
        return time_training(arguments)
    with torch.no_grad():
        return time_sampling(arguments)


if __name__ == "__main__":
    sys.exit(main())
