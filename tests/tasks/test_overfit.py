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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_pairs_are_reproduced(root, toy_root, tmp_path):
    folder = root or toy_root
    train = [
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
    keep_all = [f"--model.init_args.drop_{condition}=0" for condition in ("pose", "source", "fusion")]
    vae, model = tmp_path / "vae", tmp_path / "model"
    autoencoder = ["--config=smoke/autoencoder.yaml", *train, f"--trainer.default_root_dir={vae}"]
    assert main(["fit", *autoencoder, "--trainer.max_steps=300"]) == 0
    fpdm = ["--config=smoke/fpdm.yaml", *train, *keep_all, f"--model.init_args.vae={vae}/vae"]
    assert main(["fit", *fpdm, "--trainer.max_steps=300", f"--trainer.default_root_dir={model}"]) == 0
    use = [f"--model.init_args.pipeline={model}/pipeline", "--model.init_args.guidance_scale=1"]
    test = [f"--data.test.init_args.root={folder}", "--data.test.init_args.max_pairs=2"]
    words = ["--config=smoke/fpdm.yaml", *use, *test, "--data.test.init_args.pose=keypoints"]
    assert main(["test", *words, f"--trainer.default_root_dir={tmp_path}/out", "--trainer.logger=false"]) == 0
    results = json.loads((tmp_path / "out/test/metrics.json").read_text())["results"]
    assert results["ssim"] >= 0.9, results
