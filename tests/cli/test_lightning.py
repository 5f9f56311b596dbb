"""fit, validate and test from the command line, on real classes at tiny size."""

import json
import re
import shlex
import shutil

import pytest
import torch

from pgpis.cli import main
from pgpis.cli.recipes import PACKAGED, packaged_recipes

OVERLAYS = {
    **{f"ablation/a{number}.yaml": "fusion.yaml" for number in (1, 2, 3)},
    **{f"ablation/b{number}.yaml": "fpdm.yaml" for number in (1, 2, 3, 4, 5)},
    **{f"ablation/mcld_{name}.yaml": "mcld.yaml" for name in ("no_face", "no_texture", "all_stages", "ip_attention")},
    "ablation/mcld_no_correspondence.yaml": "synth/mcld.yaml",
    "ablation/mcld_no_rendered_texture.yaml": "synth/mcld.yaml",
    "fusion_phoenix.yaml": "fusion.yaml",
    "mcld_phoenix.yaml": "mcld.yaml",
    "official_fpdm.yaml": "fpdm.yaml",
    "official_mcld.yaml": "mcld.yaml",
    "official_fusion.yaml": "fusion.yaml",
    "paper_fusion.yaml": "fusion.yaml",
    "flow_loss.yaml": "mcld.yaml",
    "preset_24gb.yaml": "fpdm.yaml",
    "preset_24gb_mcld.yaml": "mcld.yaml",
    "size_256x176.yaml": "fpdm.yaml",
    "synth/mcld_base.yaml": "synth/mcld.yaml",
    **{f"parts/{name}.yaml": "fpdm.yaml" for name in ("deepfashion", "smoke", "synth", "timed", "training")},
}


def test_the_package_carries_the_recipes():
    assert (PACKAGED / "fpdm.yaml").is_file()
    assert {"fusion.yaml", "smoke/fpdm.yaml", *OVERLAYS} <= set(packaged_recipes())


@pytest.mark.parametrize("name", sorted(packaged_recipes()))
def test_recipe_is_valid(name, capsys):
    base = [f"--config={OVERLAYS[name]}"] if name in OVERLAYS else []
    with pytest.raises(SystemExit) as stop:
        main(["fit", *base, f"--config={name}", "--print_config"])
    assert stop.value.code == 0
    assert "class_path: pgpis.tasks" in capsys.readouterr().out


SCHEDULE = "model.init_args.schedule.lr_scheduler"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--model.init_args.guidance_scal=3"], ["guidance_scal", "did you mean", "guidance_scale"]),
        (["--model.init_args.sampling.guidance_scale=high"], ["guidance_scale", "high", "float"]),
        (["--trainer.max_step=3"], ["max_step", "did you mean", "max_steps"]),
        (["--data.train=DeepFashon"], ["DeepFashon", "did you mean", "DeepFashion"]),
        (["--model=FPDMTsk"], ["FPDMTsk", "did you mean", "FPDMTask"]),
        (
            ["--model.init_args.unet={block_out_chanels: [8]}"],
            ["block_out_chanels", "did you mean 'block_out_channels'"],
        ),
        ([f"--{SCHEDULE}=StepL"], ["model.schedule.lr_scheduler: no class 'StepL'; did you mean 'StepLR'?"]),
        ([f"--{SCHEDULE}=torch.optim.Adam"], ["schedule.lr_scheduler: torch.optim.Adam is not a LRScheduler"]),
        (["--model.init_args.optimizer=torch.optim.Ada"], ["model.optimizer: ", "no class 'Ada'", "mean 'Adam'"]),
        (["--model.init_args.optimizer.lr=x"], ["model.optimizer.lr: expected float", "got x"]),
        (["--data=Foo"], ["data: 'Foo' is neither its options nor a YAML file of them"]),
        (["--data.train.init_args.root=nowhere"], ["nowhere", "not found"]),
        (
            ["--model.init_args.fusion_embedder=./nowhere"],
            ["fusion_embedder", "nowhere", "pgpis fit --config fusion.yaml"],
        ),
    ],
)
def test_wrong_input_is_one_line_that_names_it(words, expected, tiny, capsys):
    assert main(tiny("fit", *words)) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    errors = [line for line in message.splitlines() if line.startswith("pgpis: error:")]
    assert len(errors) == 1
    assert all(part in message for part in expected), message


def test_missing_config_file_value(capsys):
    assert main(["fit", "--config"]) == 2
    assert "--config expects" in capsys.readouterr().err


def weights(folder, name="last.ckpt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)


EVERY_STEP = "--trainer.callbacks=[{class_path: ModelCheckpoint, init_args: {every_n_train_steps: 1, save_last: true}}]"


@pytest.mark.slow
def test_resumed_run_equals_the_uninterrupted_one(tiny, tmp_path):
    words = ["--trainer.limit_train_batches=3", EVERY_STEP]
    assert main(tiny("fit", *words, "--trainer.max_steps=6", out="whole")) == 0
    whole = weights(tmp_path / "whole")
    for stop, out in ((2, "within an epoch"), (4, "in the second epoch")):
        assert main(tiny("fit", *words, f"--trainer.max_steps={stop}", out=out)) == 0
        stopped = weights(tmp_path / out)
        assert stopped["global_step"] == stop
        assert main(tiny("fit", *words, "--trainer.max_steps=6", "--ckpt_path=last", out=out)) == 0
        parts = weights(tmp_path / out)
        assert whole["global_step"] == parts["global_step"] == 6
        assert whole["state_dict"].keys() == parts["state_dict"].keys()
        assert all(torch.equal(value, parts["state_dict"][key]) for key, value in whole["state_dict"].items())
        assert any(not torch.equal(value, stopped["state_dict"][key]) for key, value in whole["state_dict"].items())


def test_checkpoint_holds_only_what_was_trained(trained_fpdm):
    checkpoint = weights(trained_fpdm)
    parts = {key.split(".")[0] for key in checkpoint["state_dict"]}
    assert parts == {"unet", "conditioner"}
    assert set(checkpoint["frozen"]) == {"vae", "source_encoder", "fusion_embedder"}
    assert checkpoint["position_interpolation"] == "size"
    assert all(len(digest) == 64 for digest in checkpoint["frozen"].values())


def test_checkpoint_on_other_frozen_weights_is_refused(trained_fpdm, tiny, capsys):
    last = trained_fpdm / "checkpoints/last.ckpt"
    assert main(tiny("test", f"--ckpt_path={last}", "--seed_everything=1")) == 2
    assert f"{last}: the checkpoint was trained with another 'fusion_embedder'" in capsys.readouterr().err


def test_checkpoint_of_another_task_is_named(trained_fpdm, capsys):
    last = trained_fpdm / "checkpoints/last.ckpt"
    assert main(["test", "--config=smoke/fusion.yaml", f"--ckpt_path={last}"]) == 2
    assert "last.ckpt is a checkpoint of FPDMTask, not of FusionPriorTask" in capsys.readouterr().err


@pytest.mark.slow
def test_average_weights_are_kept_and_resumed(tiny, tmp_path):
    average = "--trainer.callbacks+={class_path: EMAWeightAveraging, init_args: {decay: 0.5}}"
    assert main(tiny("fit", average, "--trainer.max_steps=2")) == 0
    checkpoint = weights(tmp_path / "run")
    parts = {key.split(".")[0] for key in checkpoint["state_dict"]}
    assert parts == {"unet", "conditioner"} == {key.split(".")[0] for key in checkpoint["current_model_state"]}
    assert main(tiny("fit", average, "--trainer.max_steps=3", "--ckpt_path=last")) == 0
    assert weights(tmp_path / "run")["global_step"] == 3


def test_test_writes_pictures_and_tables(tiny, tmp_path, toy_root, capsys):
    """And names the command that gives the same scores, whatever the folder is called."""
    shortcuts = ("deep_cache=2", "guidance_band=[0.1,0.9]")
    assert main(tiny("test", *(f"--model.init_args.sampling.{each}" for each in shortcuts), out="my run")) == 0
    folder = tmp_path / "my run/test"
    pairs = json.loads((toy_root / "test_pairs_data.json").read_text())
    assert len(list((folder / "images").glob("*_2_*.png"))) == len(pairs)
    table = json.loads((folder / "metrics.json").read_text())
    assert table["samples"] == len(pairs)
    assert 0 < table["results"]["ssim"] < 1
    assert table["results"]["lpips"].startswith("not computed: missing")
    told = {"deep_cache": 2, "guidance_band": [0.1, 0.9], "precision": "32-true", "scheduler": "DDPMScheduler"}
    assert told.items() <= table["details"].items()
    assert None not in table["details"].values()
    assert "| ssim |" in (folder / "metrics.md").read_text()
    assert len((folder / "pairs.csv").read_text().splitlines()) == len(pairs) + 1
    command = re.search(r"the same scores with FID and faces: (pgpis .*)", capsys.readouterr().err)[1]
    assert "--size 64x56" in command
    assert main([*shlex.split(command)[1:], f"--out={tmp_path / 'again'}", f"--weights={tmp_path}", "--workers=0"]) == 3
    again = json.loads((tmp_path / "again/metrics.json").read_text())["results"]
    for name in ("ssim", "ssim_gaussian", "psnr"):
        assert again[name]["value"] == pytest.approx(table["results"][name], abs=1e-6)


def test_validation_draws_a_grid(tiny, tmp_path):
    assert (
        main(tiny("fit", "--trainer.max_steps=2", "--trainer.val_check_interval=2", "--trainer.limit_train_batches=2"))
        == 0
    )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(next((tmp_path / "run/lightning_logs").iterdir())))
    log.Reload()
    assert "samples" in log.Tags()["images"]
    assert {"train/loss", "val/loss", "train/pairs_per_second", "lr-AdamW"} <= set(log.Tags()["scalars"])


def test_a_damaged_picture_is_left_out_of_the_test_and_counted(tiny, tmp_path, toy_root, capsys):
    root = tmp_path / "data"
    shutil.copytree(toy_root, root)
    pairs = json.loads((root / "test_pairs_data.json").read_text())
    (root / pairs[0]["target_image"]).write_bytes(b"no picture")
    assert main(tiny("test", f"--data.test.init_args.root={root}")) == 1
    lost = sum(pairs[0]["target_image"] in pair.values() for pair in pairs)
    assert json.loads((tmp_path / "run/test/metrics.json").read_text())["samples"] == len(pairs) - lost


@pytest.mark.parametrize(
    ("verb", "words", "expected"),
    [
        ("fit", ["--ckpt_path=last"], "no last.ckpt in"),
        ("test", ["--ckpt_path=nowhere.ckpt"], "checkpoint not found: nowhere.ckpt"),
        ("fit", ["--seed_everything=true"], "seed_everything is True, expected a whole number"),
    ],
)
def test_what_lightning_would_pass_over_is_refused(verb, words, expected, tiny, capsys):
    assert main(tiny(verb, *words)) == 2
    assert expected in capsys.readouterr().err


def test_untrained_scores_are_called_so(tiny, capsys):
    assert main(tiny("test", "--trainer.limit_test_batches=1")) == 0
    assert "scores of an untrained model" in capsys.readouterr().err


def test_validation_goes_on_without_pictures_that_cannot_be_read(tiny, tmp_path, toy_root, capsys):
    root = tmp_path / "data"
    shutil.copytree(toy_root, root)
    for picture in (root / "img").rglob("*.jpg"):
        picture.write_bytes(b"no picture")
    assert main(tiny("validate", f"--data.val.init_args.root={root}")) == 0
    assert "left out of the validation" in capsys.readouterr().err
