"""Which checkpoint, recipe or pipeline a command means, and what mends one that means none."""

from pathlib import Path

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from pgpis.cli import main
from pgpis.cli.checkpoints import root_of, tell_of_others


def test_a_run_is_where_its_recipe_trains(tmp_path):
    """The last recipe that says so counts; what ``predict`` lays over them is not one."""
    (tmp_path / "base.yaml").write_text("trainer: {default_root_dir: runs/base}\n")
    (tmp_path / "own.yaml").write_text("extends: base.yaml\ntrainer: {max_steps: 2}\n")
    (tmp_path / "data.yaml").write_text("data: {batch_size: 2}\n")
    names = [str(tmp_path / name) for name in ("own.yaml", "data.yaml")]
    assert root_of([*names, {"trainer": {"default_root_dir": "pictures"}}]) == Path("runs/base")
    assert root_of(names[1:]) == Path()


def test_checkpoints_of_another_run_are_told(tmp_path, caplog):
    (tmp_path / "last.ckpt").touch()
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(callbacks=[ModelCheckpoint(tmp_path)], **options)
    tell_of_others(trainer, tmp_path / "last.ckpt")  # it is gone on with
    assert "another run" not in caplog.text
    tell_of_others(trainer, None)
    assert f"{tmp_path} holds checkpoints of another run, which stay, last.ckpt among them" in caplog.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "--config=preset_24gb.yaml"], "preset_24gb.yaml is an overlay"),
        (["fit", "--config=ablation/b3.yaml", "--config=fpdm.yaml"], "--config fpdm.yaml --config "),
        (["fit", "fpdm.yaml"], "pgpis fit --config fpdm.yaml"),
        (["test", "--pipeline", "synth-fpdm"], "--model.init_args.pipeline FOLDER"),
        (["predict", "--pipeline=smoke/fpdm.yaml", "--out=out"], "is a recipe, expected a pipeline"),
    ],
)
def test_words_in_the_wrong_place_are_told_theirs(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err
