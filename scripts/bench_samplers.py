"""Quality against denoising steps: four samplers on held-out synthetic people, with both shipped models.

    python scripts/bench_samplers.py --root DATA --out FOLDER [--pairs 48]

Writes ``samplers.md`` and ``samplers.png``. DATA as for ``pgpis bench synth``, with textures. All samplers start
from the same noise.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch

from pgpis.batch import PairBatch
from pgpis.cli.bench import MODELS, OwnEncoder, batches, load_task
from pgpis.errors import PgpisError
from pgpis.evaluate.benchmark import token_distance
from pgpis.evaluate.synth_benchmark import spread_pairs
from pgpis.files import replacing, write_text
from pgpis.jobs import meter
from pgpis.metrics import PSNR, SSIM, to_uint8
from pgpis.models.factory import build_scheduler
from pgpis.pictures.images import tensor_to_images
from pgpis.tasks.diffusion import DiffusionTask

SAMPLERS: Mapping[str, dict[str, Any]] = {
    "DDPM": {"_class_name": "DDPMScheduler"},
    "DDIM": {"_class_name": "DDIMScheduler"},
    "DPM-Solver++": {"_class_name": "DPMSolverMultistepScheduler"},
    "UniPC": {"_class_name": "UniPCMultistepScheduler"},
}
STEPS = (5, 10, 20)
Curve = dict[int, tuple[float, float, float]]


def sampler(name: str, trained: Any) -> Any:
    """Return a sampler for the schedule that a model was trained with, trailing steps."""
    names = ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps", "prediction_type")
    schedule = {name: trained.config[name] for name in names}
    ends = {"rescale_betas_zero_snr": trained.config.rescale_betas_zero_snr, "timestep_spacing": "trailing"}
    return build_scheduler({**schedule, **ends, "steps_offset": 0, **SAMPLERS[name]})


def measure(task: DiffusionTask, data: list[PairBatch], advance: Callable[[int], None]) -> dict[str, Curve]:
    """Return SSIM, PSNR and token distance by sampler and number of steps."""
    judge = OwnEncoder()
    trained, curves = task.scheduler, {}
    for name in SAMPLERS:
        curves[name] = {}
        task.scheduler = sampler(name, trained)
        for steps in STEPS:
            task.sampling = replace(task.sampling, num_inference_steps=steps)
            ssim, psnr, distances = SSIM("gaussian"), PSNR(), []
            for batch in data:
                pictures = task.sample(batch)
                ours, truth = to_uint8(pictures), to_uint8(batch["target_image"])
                ssim.update(ours, truth)
                psnr.update(ours, truth)
                tokens = [judge(tensor_to_images(images)) for images in (pictures, batch["target_image"])]
                distances.append(token_distance(*tokens))
                advance(len(truth))
            means = (float(ssim.compute()), float(psnr.compute()), float(torch.cat(distances).mean()))
            curves[name][steps] = means
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
    parser.add_argument("--guidance", type=float, help="guidance scale [the recipe's]")
    options = parser.parse_args()
    logging.getLogger("pgpis").setLevel(logging.INFO)
    logging.basicConfig(format="%(message)s")
    results: dict[str, dict[str, Curve]] = {}
    test = spread_pairs(options.root, "test", options.pairs)
    for name, _, pipeline in (word.partition("=") for word in MODELS):
        task = load_task(pipeline)
        if options.guidance is not None:
            task.sampling = replace(task.sampling, guidance_scale=options.guidance)
        with meter(name, len(test) * len(SAMPLERS) * len(STEPS)) as advance, torch.inference_mode():
            results[name] = measure(task, list(batches(test, task)), advance)
    names = " | ".join(f"{steps} steps: SSIM, PSNR, token distance" for steps in STEPS)
    lines = [f"| model | sampler | {names} |", "| --- " * (2 + len(STEPS)) + "|"]
    for model, curves in results.items():
        for name, curve in curves.items():
            cells = " | ".join("{:.4f}, {:.2f}, {:.4f}".format(*curve[steps]) for steps in STEPS)
            lines.append(f"| {model} | {name} | {cells} |")
    write_text(options.out / "samplers.md", "\n".join(lines) + "\n")
    plot(results, options.out / "samplers.png")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PgpisError as error:
        sys.stderr.write(f"bench_samplers: {error}\n")
        sys.exit(error.exit_code)
