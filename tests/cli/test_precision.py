"""``trainer.precision``: every verb works with weights in half precision, and its results resemble float32's."""

import csv
import json
import math

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from PIL import Image

from pgpis.cli import main
from pgpis.cli.precision import adapt_precision

HALF = ["bf16-true", "16-true"]


def results(folder):
    return json.loads((folder / "test/metrics.json").read_text())["results"]


def pictures(folder):
    paths = sorted(folder.glob("*_2_*.png"))
    return np.stack([np.asarray(Image.open(path), dtype=np.float32) for path in paths])


def test_a_fused_optimiser_is_clipped_in_bfloat16():
    trainer = Trainer(accelerator="cpu", precision="bf16-mixed", logger=False, enable_checkpointing=False)
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.AdamW([weight], fused=True)
    weight.grad = torch.full((4,), 10.0)
    adapt_precision(trainer)
    trainer.precision_plugin.clip_gradients(optimizer, 1.0)
    torch.testing.assert_close(weight.grad.norm(), torch.tensor(1.0))


@pytest.mark.parametrize("verb", ["memory", "model", "train"])
def test_double_precision_is_refused_before_anything_is_read(verb, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", verb, "--pipeline=synth-fpdm", "--trainer.precision=64-true"]) == 2
    said = capsys.readouterr()
    assert "trainer.precision is 64-true, expected 32-true" in said.err
    assert not said.out
    assert not any(tmp_path.iterdir())


def test_what_is_only_faster_is_a_key_of_the_recipe(capsys):
    fast = ["step.compile_unet=blocks", "step.channels_last=true", "optimizer.init_args.fused=true"]
    with pytest.raises(SystemExit):
        main(["fit", "--config=fpdm.yaml", *(f"--model.init_args.{word}" for word in fast), "--print_config"])
    options = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]
    assert (options["step"]["compile_unet"], options["step"]["channels_last"]) == ("blocks", True)
    assert options["optimizer"]["init_args"]["fused"] is True
    assert main(["fit", "--config=fpdm.yaml", "--model.init_args.step.compile_unet=block", "--print_config"]) == 2
    assert "compile_unet" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("precision", HALF)
@pytest.mark.parametrize("model", ["fpdm", "mcld"])
def test_half_precision_fits_tests_and_predicts(model, precision, request, tmp_path):
    words = request.getfixturevalue("tiny" if model == "fpdm" else "tiny_mcld_words")
    half = f"--trainer.precision={precision}"
    assert main(words("fit", half, "--trainer.max_steps=2", "--data.val=null")) == 0
    weights = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    dtypes = {value.dtype for name, value in weights.items() if name.startswith("unet.")}
    assert dtypes == {torch.bfloat16 if precision == "bf16-true" else torch.float16}
    assert all(value.isfinite().all() for name, value in weights.items() if name != "clip_std")
    trained = "--ckpt_path=" + str(tmp_path / "run/checkpoints/last.ckpt")
    some = "--data.test.init_args.max_pairs=2"
    assert main(words("test", half, trained, some)) == 0
    assert main(words("test", trained, some, out="wide")) == 0, "a checkpoint fits in every precision"
    ours, wide = results(tmp_path / "run"), results(tmp_path / "wide")
    assert abs(ours["psnr"] - wide["psnr"]) < 0.3
    assert np.abs(pictures(tmp_path / "run/test/images") - pictures(tmp_path / "wide/test/images")).mean() < 6


@pytest.mark.slow
def test_half_precision_fits_the_prior(toy_root, tmp_path):
    clip = {"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 32, "projection_dim": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 16}  # fmt: skip
    roots = [f"--data.{split}.init_args.root={toy_root}" for split in ("train", "val", "test")]
    words = ["--config=smoke/fusion.yaml", f"--model.init_args.encoder={json.dumps(clip)}", *roots]
    words += [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_steps=2", "--trainer.precision=bf16-true"]
    assert main(["fit", *words]) == 0
    assert main(["test", *words, "--ckpt_path=last"]) == 0
    assert results(tmp_path)["average_rank"] >= 1


@pytest.fixture
def spoilt(monkeypatch):
    """Let the second row of each batch come out as NaN, as an overflow would."""
    from pgpis.pipelines.base import SamplingPipeline

    finish = SamplingPipeline._finish

    def spoil(self, latents, *others):
        latents[1] = math.nan
        return finish(self, latents, *others)

    monkeypatch.setattr(SamplingPipeline, "_finish", spoil)


def test_a_result_that_is_not_finite_fails_its_pair_alone(tiny, spoilt, tmp_path, capsys):
    assert main(tiny("test", "--data.eval_batch_size=3")) == 1
    error = capsys.readouterr().err
    assert error.count("left out: ") == 2
    assert "the picture's numbers are not finite in float32" in error
    assert json.loads((tmp_path / "run/test/metrics.json").read_text())["samples"] == 4
    assert len(list((tmp_path / "run/test/images").glob("*.png"))) == 4


def test_predict_lists_what_is_not_finite(spoilt, toy_root, tmp_path, capsys):
    from tiny_fpdm import HEIGHT, WIDTH, tiny_pipeline

    components = tiny_pipeline().components
    sizes = {"height": HEIGHT, "width": WIDTH, "num_inference_steps": 1}
    type(tiny_pipeline())(**components, **sizes).save_pretrained(tmp_path / "pipeline")
    poses = sorted(toy_root.glob("pose/**/*.txt"))[:3]
    (tmp_path / "poses").mkdir()
    for path in poses:
        (tmp_path / "poses" / path.name).write_bytes(path.read_bytes())
    words = [f"--pipeline={tmp_path / 'pipeline'}", f"--sources={min(toy_root.glob('img/**/*.jpg'))}"]
    words += [f"--poses={tmp_path / 'poses'}", f"--out={tmp_path / 'out'}", "--data.num_workers=0"]
    assert main(["predict", *words, "--trainer.accelerator=cpu", "--batch-size=3"]) == 1
    with (tmp_path / "out/predictions.csv").open(newline="") as file:
        states = [row["status"] for row in csv.DictReader(file)]
    assert sorted(state == "done" for state in states) == [False, True, True]
    assert sum("not finite in float32" in state for state in states) == 1
    assert len(pictures(tmp_path / "out")) == 2
    assert "1 of 3 pairs failed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_checkpoint_that_is_not_finite_is_refused(trained_fpdm, tiny, tmp_path, capsys):
    path = tmp_path / "last.ckpt"
    checkpoint = torch.load(trained_fpdm / "checkpoints/last.ckpt", weights_only=True)
    checkpoint["state_dict"]["unet.conv_in.weight"].view(-1)[0] = math.inf
    torch.save(checkpoint, path)
    for verb in ("test", "fit"):
        assert main(tiny(verb, f"--ckpt_path={path}")) == 2
        assert (
            f"{path}: its weights: 'unet.conv_in.weight' holds numbers that are not finite" in capsys.readouterr().err
        )
