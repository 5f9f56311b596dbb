"""Null on the command line is null, however deep it is nested."""

import pytest
import yaml

from pgpis.cli import main
from pgpis.cli.nulls import with_nulls
from pgpis.errors import PgpisError

OPTIONS = {"sampling": ("output_size", "scheduler"), "step": ("flow_loss",), "scheduler": (), "optimizer": ()}


def test_nested_nulls_are_those_of_a_recipe(capsys):
    words = [
        "--config=mcld.yaml",
        "--model.init_args.step.flow_loss.weight=0.5",
        "--model.init_args.sampling.output_size=null",
        *("--model.sampling.guidance_band", "~"),
        "--model.init_args.sampling.scheduler={_class_name: DDIMScheduler, trained_betas: null}",
        "--model.init_args.conditioner.pose_encoder=null",
        "--model.init_args.conditioner.pose_hidden_channels=[4, 8]",
        "--model.init_args.step.flow_loss=null",
        "--model.init_args.step.snr_gamma=null",
        "--model.init_args.step.snr_gamma=3",
        "--model.init_args.schedule.lr_scheduler=null",
        "--model.init_args.optimizer.init_args.foreach=null",
        "--data.train.init_args.on_missing.face_space=null",
        "--print_config",
    ]
    with pytest.raises(SystemExit):
        main(["fit", *words])
    config = yaml.safe_load(capsys.readouterr().out)
    model = config["model"]["init_args"]
    drawn, step = model["sampling"], model["step"]
    assert (drawn["output_size"], drawn["guidance_band"], drawn["height"]) == (None, None, 512)
    assert drawn["scheduler"] == {"_class_name": "DDIMScheduler", "trained_betas": None}
    assert model["conditioner"]["pose_encoder"] is None
    assert model["conditioner"]["pose_hidden_channels"] == [4, 8]
    assert (step["flow_loss"], step["snr_gamma"], model["schedule"]["lr_scheduler"]) == (None, 3.0, None)
    assert (model["optimizer"]["init_args"]["foreach"], model["optimizer"]["init_args"]["lr"]) == (None, 1e-5)
    assert config["data"]["train"]["init_args"]["on_missing"]["face_space"] is None
    assert config["data"]["train"]["init_args"]["on_missing"]["face"] == "drop"


@pytest.mark.parametrize(
    "words",
    [
        ["--model.init_args.pipeline=null"],
        ["--data.train.init_args.max_pairs=null"],
        ["--model.init_args.sampling.output_size=[1, 2]"],
        ["--model.init_args.sampling.output_size=: ["],
        ["--model.init_args.sampling.output_size", "None"],
        ["--model.init_args.nobody.knows=null"],
        ["--trainer.logger.init_args.version=null", "--data.augmentation.flip_probability=null"],
    ],
)
def test_other_words_stay(words):
    assert with_nulls(words, OPTIONS) == words


@pytest.mark.parametrize("key", ["sampling.scheduler.trained_betas", "init_args.scheduler.trained_betas"])
def test_an_entry_of_a_mapping_is_refused(key):
    with pytest.raises(PgpisError, match=f"--model.{key}: null cannot .* alone\n.*scheduler='{{...}}'"):
        with_nulls([f"--model.{key}", "null"], OPTIONS)
