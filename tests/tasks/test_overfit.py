"""A tiny model can learn: it reproduces its two training targets, each from its own pose."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgpis.cli import main

CONFIGS = Path(__file__).parents[1] / "configs"
ALL_KEPT = {
    "fpdm": ["dropping.pose=0", "dropping.source=0", "dropping.fusion=0"],
    "mcld": ["dropping.image=0", "dropping.all=0", "step.clip_noise=0"],
}
SCHEDULES = {
    "fpdm": "{_class_name: DDPMScheduler, prediction_type: sample, timestep_spacing: trailing}",
    "mcld": "{prediction_type: sample}",
}
"""Such that a picture, not what differs between two noise levels, is learned: that takes a few steps."""


@pytest.fixture(scope="session")
def vae(textured_root, made_once):
    words = [f"--config={CONFIGS}/vae_patches.yaml", f"--data.train.init_args.root={textured_root}"]

    def make(folder):
        assert main(["fit", *words, f"--trainer.default_root_dir={folder}"]) == 0

    return made_once("vae_of_two", make) / "vae"


@pytest.mark.slow
@pytest.mark.parametrize(("model", "tiny"), [("fpdm", "tiny.yaml"), ("mcld", "tiny_mcld.yaml")])
def test_two_pairs_are_reproduced(model, tiny, vae, textured_root, tmp_path):
    """The pairs have one source, so only the poses tell what to draw."""
    recipes = [f"--config={path}" for path in (f"smoke/{model}.yaml", CONFIGS / tiny, CONFIGS / "overfit.yaml")]
    roots = [f"--data.{split}.init_args.root={textured_root}" for split in ("train", "test")]
    options = [f"vae={vae}", f"scheduler={SCHEDULES[model]}", *ALL_KEPT[model]]
    words = [*recipes, *roots, f"--trainer.default_root_dir={tmp_path}"]
    options = [f"--model.init_args.{option}" for option in options]
    assert main(["fit", *words, *options, "--trainer.max_steps=80"]) == 0
    assert main(["test", *words, f"--model.init_args.pipeline={tmp_path}/pipeline"]) == 0
    assert json.loads((tmp_path / "test/metrics.json").read_text())["results"]["ssim"] >= 0.95
    pictures = [pixels(path) for path in sorted((tmp_path / "test/images").glob("*.png"))]
    targets = [pixels(path) for path in sorted((textured_root / "test").glob("*.jpg"))[1:]]
    likeness = [[psnr(picture, target) for target in targets] for picture in pictures]
    for number, row in enumerate(likeness):
        assert row[number] > row[1 - number] + 8, likeness


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize((56, 64), Image.Resampling.BICUBIC), np.float64)


def psnr(picture, other):
    return 10 * np.log10(255**2 / np.square(picture - other).mean())
