"""Quality against denoising steps: four samplers on held-out synthetic people, with both shipped models.

    python scripts/bench_samplers.py --root DATA --out FOLDER [--pairs 48]

Writes ``samplers.md`` and ``samplers.png``. DATA as for ``bench_synth.py``, with textures. All samplers start from the
same noise.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch

from bench_synth import GUIDANCE, batches, dataset, shipped_models
from pgpis.images import replacing, write_text
from pgpis.jobs import meter
from pgpis.metrics import PSNR, SSIM, to_uint8
from pgpis.models.factory import build_scheduler

SAMPLERS: Mapping[str, dict[str, Any]] = {
    "DDPM": {"_class_name": "DDPMScheduler"},
    "DDIM": {"_class_name": "DDIMScheduler"},
    "DPM-Solver++": {"_class_name": "DPMSolverMultistepScheduler"},
    "UniPC": {"_class_name": "UniPCMultistepScheduler"},
}
STEPS = (5, 10, 20)
Curve = dict[int, tuple[float, float]]


def sampler(name: str, trained: Any) -> Any:
    """Return a sampler for the schedule that a model was trained with, trailing steps."""
    kept = ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps", "prediction_type")
    schedule = {key: trained.config[key] for key in kept}
    ends = {"rescale_betas_zero_snr": trained.config.rescale_betas_zero_snr, "timestep_spacing": "trailing"}
    return build_scheduler({**schedule, **ends, "steps_offset": 0, **SAMPLERS[name]})


def measure(pipeline: Any, data: list[Any], guidance: float, advance: Callable[[int], None]) -> dict[str, Curve]:
    """Return SSIM and PSNR by sampler and number of steps."""
    trained, curves = pipeline.scheduler, {}
    for name in SAMPLERS:
        curves[name] = {}
        pipeline.scheduler = sampler(name, trained)
        for steps in STEPS:
            ssim, psnr = SSIM("gaussian"), PSNR()
            for batch in data:
                generators = [torch.Generator().manual_seed(int(index)) for index in batch["index"]]
                made = pipeline.generate(
                    batch, num_inference_steps=steps, guidance_scale=guidance, generator=generators, output_type="pt"
                ).images
                ours, truth = to_uint8(made), to_uint8(batch["target_image"])
                ssim.update(ours, truth)
                psnr.update(ours, truth)
                advance(len(truth))
            curves[name][steps] = (float(ssim.compute()), float(psnr.compute()))
    pipeline.scheduler = trained
    return curves


def plot(results: Mapping[str, Mapping[str, Curve]], path: Path) -> None:
    """Draw SSIM against steps, one panel a model."""
    figure, panels = plt.subplots(1, len(results), figsize=(9, 3.2), constrained_layout=True)
    for panel, (model, curves) in zip(panels, results.items(), strict=True):
        for name, curve in curves.items():
            panel.plot(STEPS, [curve[steps][0] for steps in STEPS], marker="o", label=name)
        panel.set(title=model, xlabel="denoising steps", ylabel="SSIM", xscale="log", xticks=STEPS, xticklabels=STEPS)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def main() -> int:
    """Measure both models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="data set of pgpis synth, with textures")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--pairs", type=int, default=48, help="test pairs, spread over the list")
    parser.add_argument("--guidance", type=float, default=GUIDANCE, help="guidance scale")
    options = parser.parse_args()
    logging.getLogger("pgpis").setLevel(logging.INFO)
    logging.basicConfig(format="%(message)s")
    results: dict[str, dict[str, Curve]] = {}
    test = dataset(options.root, "test", options.pairs)
    for name, (pipeline, specs) in shipped_models().items():
        with meter(name, len(test) * len(SAMPLERS) * len(STEPS)) as advance:
            results[name] = measure(pipeline, list(batches(test, specs)), options.guidance, advance)
    lines = [
        "| model | sampler | " + " | ".join(f"{steps} steps: SSIM, PSNR" for steps in STEPS) + " |",
        "| --- " * 5 + "|",
    ]
    for model, curves in results.items():
        for name, curve in curves.items():
            cells = " | ".join(f"{curve[steps][0]:.4f}, {curve[steps][1]:.2f}" for steps in STEPS)
            lines.append(f"| {model} | {name} | {cells} |")
    write_text(options.out / "samplers.md", "\n".join(lines) + "\n")
    plot(results, options.out / "samplers.png")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
