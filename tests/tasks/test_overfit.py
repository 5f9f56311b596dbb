"""The smoke model can learn: it reproduces its two training targets."""

import json
import os
from pathlib import Path

import pytest

from pgpis.cli import main


@pytest.fixture(scope="module")
def root():
    """Real pictures where they are at hand, generated ones elsewhere."""
    samples = Path(os.environ.get("PGPIS_SAMPLES", Path(__file__).parents[3] / "shared" / "samples")) / "deepfashion"
    return samples if samples.is_dir() else None


def train_on_two(folder):
    """Words that train on two pairs, unvaried."""
    return [
        f"--data.train.init_args.root={folder}",
        "--data.train.init_args.split=test",
        "--data.train.init_args.max_pairs=2",
        "--data.val=null",
        "--data.augmentation.jitter=0",
        "--data.augmentation.flip_probability=0",
        "--data.augmentation.detour_probability=0",
        "--data.batch_size=2",
        "--trainer.callbacks=[{class_path: ExportModel}]",
        "--trainer.enable_checkpointing=false",
        "--trainer.enable_progress_bar=false",
        "--trainer.logger=false",
    ]


MODELS = {
    "fpdm": ["dropping.pose=0", "dropping.source=0", "dropping.fusion=0"],
    "mcld": ["dropping.image=0", "dropping.all=0", "step.clip_noise=0"],
}
STEPS = 300


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("model", MODELS)
def test_two_pairs_are_reproduced(model, root, toy_root, textured_root, tmp_path):
    folder = textured_root if model == "mcld" else root or toy_root
    train = [*train_on_two(folder), f"--trainer.max_steps={STEPS}"]
    vae, out = tmp_path / "vae", tmp_path / "model"
    assert main(["fit", "--config=smoke/autoencoder.yaml", *train, f"--trainer.default_root_dir={vae}"]) == 0
    recipe = f"--config=smoke/{model}.yaml"
    keep_all = [f"--model.init_args.{option}" for option in MODELS[model]]
    words = [recipe, *train, *keep_all, f"--model.init_args.vae={vae}/vae", f"--trainer.default_root_dir={out}"]
    assert main(["fit", *words]) == 0
    use = [f"--model.init_args.pipeline={out}/pipeline", "--model.init_args.sampling.guidance_scale=1"]
    test = [f"--data.test.init_args.root={folder}", "--data.test.init_args.max_pairs=2"]
    words = [recipe, *use, *test, "--data.test.init_args.pose=keypoints", f"--trainer.default_root_dir={tmp_path}/out"]
    assert main(["test", *words, "--trainer.logger=false"]) == 0
    results = json.loads((tmp_path / "out/test/metrics.json").read_text())["results"]
    assert results["ssim"] >= 0.9, results
