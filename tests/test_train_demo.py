"""The script that trained the shipped models: its stages fit together, and it goes on where it stopped."""

import subprocess
from pathlib import Path

import pytest
import yaml

import train_demo
from pgpis.cli.recipes import find_recipe
from pgpis.errors import PgpisError


@pytest.fixture
def stages(tmp_path):
    return train_demo.stages(tmp_path / "data", tmp_path / "out")


@pytest.fixture
def ablations(tmp_path):
    return train_demo.ablations(tmp_path / "data", tmp_path / "out")


def test_every_stage_comes_after_what_it_needs_and_has_its_recipe(stages, ablations):
    done = set()
    for stage in [*stages, *ablations]:
        assert set(stage.needs) <= done, stage.name
        assert stage.name not in done
        done.add(stage.name)
        if stage.recipe is not None:
            assert find_recipe(f"synth/{stage.recipe}.yaml").is_file()
        if stage.overlay is not None:
            assert find_recipe(stage.overlay).is_file()
    assert {"fpdm", "mcld_base", "mcld", "bundles", "a2", "b1", "b6", "mcld_no_face"} <= done


def test_ablations_have_one_budget(ablations, tmp_path):
    trained = [stage for stage in ablations if stage.recipe in ("fpdm", "mcld")]
    assert len(trained) == 12
    for stage in trained:
        words = list(map(str, train_demo.fit_words(stage, tmp_path / "data", tmp_path / "out")))
        budget = {"fpdm": (750, 150), "mcld": (500, 100)}[stage.recipe]
        assert {f"--trainer.max_steps={budget[0]}", f"--trainer.limit_train_batches={budget[1]}"} <= set(words)
        assert (train_demo.NO_START in words) == (stage.recipe == "mcld")
        # what is given word by word goes over the overlay, so it comes later
        assert words.index("--config") < words.index(f"--trainer.default_root_dir={tmp_path / 'out' / stage.name}")
        assert (stage.overlay is None) == (words.count("--config") == 1) == (stage.name in ("b6", "mcld_short"))


def test_two_processes_share_the_batch_of_the_recipe():
    recipe = yaml.safe_load(find_recipe("synth/mcld.yaml").read_text())
    told = dict(word.split("=") for word in train_demo.TWO)
    assert int(told["--trainer.devices"]) * int(told["--data.batch_size"]) == recipe["data"]["batch_size"]


def test_a_stage_that_was_stopped_goes_on(stages, tmp_path):
    (fusion,) = (stage for stage in stages if stage.name == "fusion")
    words = list(map(str, train_demo.fit_words(fusion, tmp_path / "data", tmp_path / "out")))
    assert words[:3] == ["fit", "--config", "synth/fusion.yaml"]
    assert "--ckpt_path" not in words
    checkpoint = tmp_path / "out/fusion/checkpoints/last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    words = list(map(str, train_demo.fit_words(fusion, tmp_path / "data", tmp_path / "out")))
    assert words[-2:] == ["--ckpt_path", "last"]


@pytest.mark.parametrize("code", [0, 3])
def test_a_stage_is_done_when_its_command_succeeded(stages, tmp_path, monkeypatch, code):
    (data,) = (stage for stage in stages if stage.name == "data")
    data.done.parent.mkdir()
    (tmp_path / "out").mkdir()
    commands = []

    def command(words, **_arguments):
        commands.append(words)
        return subprocess.CompletedProcess(words, code)

    monkeypatch.setattr(train_demo.subprocess, "run", command)
    if code:
        with pytest.raises(PgpisError, match=r"stage 'data' failed with exit code 3: see .*data\.txt"):
            train_demo.run(data, tmp_path / "data", tmp_path / "out", threads=1)
    else:
        train_demo.run(data, tmp_path / "data", tmp_path / "out", threads=1)
    assert data.done.is_file() is (code == 0)
    assert commands[0][2:5] == ["pgpis", "synth", "--out"]
    assert "pgpis synth --out" in (tmp_path / "out/log.txt").read_text()


def test_one_picture_of_each_person_gets_a_texture_another_view_with_each(draw_people, tmp_path):
    root = tmp_path / "data"
    draw_people(root, people=3, views=2, size=(128, 88), share=1 / 3)
    train_demo.seen_textures(root)
    made = sorted(path.stem for path in (root / "train_texture").glob("*.png"))
    pictures = sorted(path.stem for path in (root / "train").glob("*.jpg"))
    assert len(made) == 2
    assert len(pictures) == 4
    assert {pictures.index(name) % 2 for name in made} == {0, 1}
    before = {path: path.stat().st_mtime_ns for path in Path(root).rglob("*_texture/*.png")}
    train_demo.seen_textures(root)
    assert {path: path.stat().st_mtime_ns for path in Path(root).rglob("*_texture/*.png")} == before
