"""``pgpis predict``: folders in, pictures out, continued after an interruption, the same on any number of processes."""

import csv
import functools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from forked import command, kill
from pgpis.cli import main
from pgpis.cli.predict import PredictSettings
from pgpis.cli.predict import predict as predict_pictures
from pgpis.errors import PgpisError
from pgpis.files import LOCK
from pgpis.predictions import read_mark
from pgpis.preprocess.settings import PrepareSettings

TINY = Path(__file__).parents[1] / "configs" / "tiny.yaml"


@pytest.fixture
def pipeline(trained_fpdm):
    return trained_fpdm / "pipeline"


@pytest.fixture(scope="module")
def shared(toy_root, trained_fpdm, tmp_path_factory):
    """Two sources and three poses of three kinds, and ``whole``, what a run makes of them; nobody writes to it."""
    folder = tmp_path_factory.mktemp("predict")
    images, poses = sorted((toy_root / "img").rglob("*.jpg")), sorted((toy_root / "pose").rglob("*.txt"))
    for name in ("sources", "poses"):
        (folder / name).mkdir()
    shutil.copy(images[0], folder / "sources/anna.jpg")
    shutil.copy(images[3], folder / "sources/bert.jpg")
    shutil.copy(poses[0], folder / "poses/walk.txt")
    shutil.copy(next((toy_root / "pose_img").rglob("*.jpg")), folder / "poses/drawn.jpg")
    people = [{"pose_keypoints_2d": [value for number in range(18) for value in (60 + number, 20 + 9 * number, 0.9)]}]
    (folder / "poses/openpose.json").write_text(
        json.dumps({"people": people, "canvas_width": 176, "canvas_height": 256})
    )
    assert main(words_for(folder, trained_fpdm / "pipeline", "whole")) == 0
    return folder


@pytest.fixture
def inputs(shared, tmp_path):
    """The files of ``shared``, to be changed."""
    for name in ("sources", "poses"):
        shutil.copytree(shared / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def whole(shared):
    return shared / "whole"


def words_for(folder, pipeline, out, *more):
    return [
        "predict",
        "--config=smoke/fpdm.yaml",
        f"--config={TINY}",
        f"--pipeline={pipeline}",
        f"--sources={folder / 'sources'}",
        f"--poses={folder / 'poses'}",
        f"--out={folder / out}",
        *map(str, more),
    ]


@pytest.fixture
def predict(pipeline, inputs):
    """The words of ``pgpis predict`` on the inputs."""
    return functools.partial(words_for, inputs, pipeline)


def table(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return {row["pair_id"]: row for row in csv.DictReader(file)}


def pictures(folder):
    return {path.name: np.asarray(Image.open(path)) for path in folder.glob("[!.]*_2_*.png")}


def test_every_source_in_every_pose(whole):
    rows = table(whole)
    assert set(rows) == {f"{source}_2_{pose}" for source in ("anna", "bert") for pose in ("drawn", "openpose", "walk")}
    assert {row["status"] for row in rows.values()} == {"done"}
    found = pictures(whole)
    assert {picture.shape for picture in found.values()} == {(64, 56, 3)}
    assert len({picture.tobytes() for picture in found.values()}) == 6
    sheet = Image.open(whole / "contact_sheet.jpg")
    assert sheet.height == 6 * 196
    assert not (whole / ".parts").exists()


@pytest.mark.slow
def test_a_pair_and_seed_give_one_picture_at_any_batch_size(predict, inputs, whole):
    assert main(predict("four", "--batch-size", 4)) == 0
    two, four = pictures(whole), pictures(inputs / "four")  # tiny.yaml's eval_batch_size is 2
    assert two.keys() == four.keys()
    for name, picture in two.items():
        assert np.abs(picture.astype(int) - four[name]).max() <= 1
    (inputs / "poses/drawn.jpg").unlink()
    assert main(predict("seed", "--seed", 1)) == 0
    assert all(not np.array_equal(picture, two[name]) for name, picture in pictures(inputs / "seed").items())


def test_images_per_pair_and_pairing(predict, inputs):
    shutil.copy(inputs / "poses/walk.txt", inputs / "poses/anna.txt")
    assert main(predict("out", "--pairing", "stem", "--images-per-pair", 2, "--steps", 2)) == 0
    found = pictures(inputs / "out")
    assert set(found) == {"anna_2_anna_0.png", "anna_2_anna_1.png"}
    assert not np.array_equal(*found.values())


def test_pairs_from_a_table(predict, inputs):
    (inputs / "pairs.csv").write_bytes(b"\xef\xbb\xbfsource,pose\r\nanna.jpg,walk.txt\r\n")
    assert main(predict("out", "--pairs", inputs / "pairs.csv")) == 0
    assert set(pictures(inputs / "out")) == {"anna_2_walk.png"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sources/anna.jpg", "poses/walk.txt"])
def test_a_file_that_is_away_for_a_run_costs_no_picture(name, predict, inputs):
    (inputs / "pairs.csv").write_text("source,pose\nanna.jpg,walk.txt\nbert.jpg,drawn.jpg\n")
    words = predict("out", "--pairs", inputs / "pairs.csv")
    assert main(words) == 0
    picture, listed = inputs / "out/anna_2_walk.png", (inputs / "out/predictions.csv").read_bytes()
    made = picture.stat().st_mtime_ns
    (inputs / name).rename(inputs / "away")
    assert main(words) == 1
    (inputs / "away").rename(inputs / name)
    assert main(words) == 0
    assert (picture.stat().st_mtime_ns, (inputs / "out/predictions.csv").read_bytes()) == (made, listed)


@pytest.mark.slow
def test_a_bad_file_is_listed_and_the_rest_is_made(predict, inputs, capsys):
    (inputs / "sources/bad.png").write_bytes(b"")
    (inputs / "poses/bad.txt").write_text("1 2\n3\n")
    assert main(predict("out")) == 1
    rows = table(inputs / "out")
    assert sum(row["status"] == "done" for row in rows.values()) == 6
    assert all("bad" in row["status"] for row in rows.values() if "bad" in row["pair_id"])
    assert "6 of 12 pairs failed" in capsys.readouterr().err
    (inputs / "sources/bad.png").unlink()
    shutil.copy(inputs / "sources/anna.jpg", inputs / "sources/bad.png")
    (inputs / "poses/bad.txt").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in (inputs / "out").glob("*_2_*.png")}
    assert main(predict("out")) == 0, "failures of the pose that is gone, which nobody asks for now, are forgotten"
    after = {path.name: path.stat().st_mtime_ns for path in (inputs / "out").glob("*_2_*.png")}
    assert {name: after[name] for name in before} == before, "finished pictures are not made again"
    assert set(after) - set(before) == {f"bad_2_{pose}.png" for pose in ("drawn", "openpose", "walk")}


@pytest.mark.slow
def test_a_killed_run_is_continued(predict, inputs, whole):
    process = command(*predict("killed", "--batch-size", 1), log=inputs / "log.txt")
    while process.is_alive() and not list((inputs / "killed").glob("[!.]*_2_*.png")):
        time.sleep(0.02)
    kill(process)
    process.join()
    assert pictures(inputs / "killed")
    assert main(predict("killed", "--batch-size", 1)) == 0
    expected, killed = pictures(whole), pictures(inputs / "killed")
    assert expected.keys() == killed.keys()
    assert all(np.abs(picture.astype(int) - killed[name]).max() <= 1 for name, picture in expected.items())
    assert len(table(inputs / "killed")) == 6
    assert [path.name for path in (inputs / "killed").rglob(".*")] == [LOCK]


@pytest.mark.slow
def test_two_processes_lose_and_double_nothing(predict, inputs, whole):
    (inputs / "sources/bad.png").write_bytes(b"")
    options = predict("two", "--batch-size", 1, "--trainer.devices=2", "--trainer.strategy=ddp")
    words = [sys.executable, "-m", "pgpis", *options]
    result = subprocess.run(words, check=False, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1, result.stderr
    assert "3 of 9 pairs failed" in result.stderr
    one, two = pictures(whole), pictures(inputs / "two")
    assert one.keys() == two.keys()  # after other work in a process, values may differ by 1
    assert all(np.abs(picture.astype(int) - two[name]).max() <= 1 for name, picture in one.items())
    with (inputs / "two/predictions.csv").open(newline="") as file:
        names = [row["pair_id"] for row in csv.DictReader(file)]
    assert len(names) == len(set(names)) == 9
    marks = [read_mark(path) for path in (inputs / "two").glob("[!.]*_2_*.png")]
    assert len({json.dumps(mark.weights) for mark in marks}) == 1
    assert all(mark.weights for mark in marks), "the process that hashes them tells the others"


def test_other_settings_in_the_same_folder_are_refused(predict, inputs, whole, capsys):
    shutil.copytree(whole, inputs / "out")
    assert main(predict("out", "--seed", 5)) == 2
    assert "made with seed=0, now seed=5" in capsys.readouterr().err


def configured(capsys, *words):
    """Return the configuration of a prediction."""
    with pytest.raises(SystemExit):
        main(["predict", "--sources=a.png", "--poses=b.txt", "--out=out", *map(str, words), "--print_config"])
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize("spelling", ["init_args.pipeline={}", "init_args.pipeline {}", "pipeline={}"])
def test_a_pipeline_is_taken_as_exported_however_it_is_named(spelling, pipeline, capsys):
    expected = configured(capsys, "--pipeline", pipeline)
    assert expected["model"]["init_args"]["pipeline"] == str(pipeline)
    assert configured(capsys, *f"--model.{spelling}".format(pipeline).split(" ")) == expected


def test_two_pipelines_are_refused(pipeline, capsys):
    words = ["--sources=.", "--poses=.", "--out=out", "--pipeline=synth-fpdm"]
    assert main(["predict", *words, f"--model.pipeline={pipeline}"]) == 2
    assert "name two models" in capsys.readouterr().err


def test_keys_of_the_recipe_win(pipeline, capsys):
    sampler = "--model.init_args.sampling.scheduler={_class_name: DDIMScheduler}"
    for words in (
        ["--pipeline", pipeline, "--dtype=bf16", "--trainer.precision=32-true", sampler],
        ["--pipeline", "synth-mcld", "--dtype", "bf16", "--trainer.precision", "32-true", sampler],
    ):
        config = configured(capsys, *words)
        assert config["trainer"]["precision"] == "32-true"
        assert config["model"]["init_args"]["sampling"]["scheduler"] == {"_class_name": "DDIMScheduler"}
    assert configured(capsys, "--pipeline", pipeline, "--dtype=bf16")["trainer"]["precision"] == "bf16-true"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": Path("s")}, "--sources and --poses go together"),
        ({"pairs": Path("p.csv")}, "--pairs needs --sources and --poses"),
        ({"workers": 2}, "--workers goes with --runner ray"),
        ({"runner": "ray", "sources": Path("s"), "like": Path("a.png")}, "--like makes one picture again"),
        ({"runner": "ray", "sources": Path("s"), "driving": Path("d")}, "all machines must see what is made"),
        ({"sources": Path("s"), "driving": Path("photos"), "every": 5}, "--every goes with a video"),
        ({"sources": Path("s"), "driving": Path("clip.mp4"), "every": 0}, "--every is 0"),
        ({"sources": Path("s"), "driving": Path("clip.mp4"), "every": -1}, "--every is -1"),
        ({"noise_name": ""}, "--noise-name: expected 1 to 255 characters, got 0"),
        ({"noise_name": "a" * 256}, "--noise-name: expected 1 to 255 characters, got 256"),
        ({"noise_name": "caf\udce9"}, "--noise-name caf%E9: its name is not UTF-8"),
        ({"sources": Path("caf\udce9.jpg"), "poses": Path("p")}, "--sources caf%E9.jpg: its name is not UTF-8"),
        ({"clothes": ("upper=caf\udce9.jpg",)}, "--clothes upper=caf%E9.jpg: its name is not UTF-8"),
        ({"steps": 2000}, "--steps is 2000, expected a whole number from 1 to 1000"),
        (
            {"sources": Path("s"), "poses": Path("p"), "tools": PrepareSettings(inpaint="fast", pose="blazepose")},
            "--prepare-inpaint, --prepare-pose would do nothing",
        ),
    ],
)
def test_options_that_do_not_fit_together(options, message):
    with pytest.raises(PgpisError, match=message):
        PredictSettings(out=Path("o"), **options).check()


@pytest.mark.parametrize(
    ("options", "face"),
    [
        ({"driving": Path("d.jpg")}, "drop"),
        ({"prepare": True}, "drop"),
        ({"driving": Path("d.jpg"), "missing_face": "error"}, "error"),
        ({"poses": Path("p")}, None),
        ({"driving": Path("d.jpg"), "pipeline": "outputs/mcld/pipeline"}, None),
    ],
)
def test_of_photographs_the_shipped_mcld_drops_the_face(options, face):
    settings = PredictSettings(**{"out": Path("o"), "sources": Path("s"), "pipeline": "synth-mcld", **options})
    assert settings.recipe()["data"]["predict"]["init_args"].get("on_missing", {}).get("face") == face


@pytest.mark.parametrize("option", ["--textures", "--faces"])
def test_files_that_the_model_does_not_read_are_refused(option, predict, inputs, capsys):
    assert main([*predict("out"), f"{option}={inputs}/poses"]) == 2
    assert f"{option} {inputs}/poses would do nothing: this model reads no" in capsys.readouterr().err


def test_a_call_in_python_does_what_the_command_does(pipeline, inputs, whole):
    settings = PredictSettings(
        config=("smoke/fpdm.yaml", str(TINY)),
        pipeline=str(pipeline),
        sources=inputs / "sources",
        poses=inputs / "poses",
        out=inputs / "python",
    )
    assert predict_pictures(settings, "--data.num_workers=0") == 0
    command, python = pictures(whole), pictures(inputs / "python")
    assert len(command) == 6
    assert command.keys() == python.keys()
    assert all(np.abs(picture.astype(int) - python[name]).max() <= 1 for name, picture in command.items())
    fingerprints = (
        {name: row["fingerprint"] for name, row in table(out).items()} for out in (whole, inputs / "python")
    )
    assert next(fingerprints) == next(fingerprints)  # the same files, weights and settings


def test_missing_pipeline_says_how_to_get_one(predict, inputs, capsys):
    assert main([*predict("out"), f"--pipeline={inputs}/nowhere"]) == 2
    message = capsys.readouterr().err
    assert "pipeline: cannot load" in message
    assert "pgpis convert fpdm" in message


def test_predict_without_weights_is_refused(predict, capsys):
    words = [word for word in predict("out") if not word.startswith("--pipeline")]
    assert main(words) == 2
    assert "predict needs a trained model" in capsys.readouterr().err


def recipes(words, monkeypatch):
    """Return the recipes that ``pgpis predict`` makes of its options."""
    seen = []

    def run(_verb, _words, recipes):
        seen.extend(recipes)
        return SimpleNamespace(exit_code=0)

    monkeypatch.setattr("pgpis.cli.lightning.run", run)
    assert main(["predict", "--sources", ".", "--poses", ".", "--out", "o", *words]) == 0
    return seen


@pytest.mark.parametrize(
    ("words", "model"),
    [
        ([], "fpdm"),
        (["--pipeline", "synth-mcld"], "mcld"),
        (["--pipeline", "synth-fpdm"], "fpdm"),
        (["--clothes", "upper=a.jpg"], "mcld"),
        (["--textures", "t"], "mcld"),
    ],
)
def test_without_a_recipe_a_shipped_model_is_used(words, model, monkeypatch):
    seen = recipes(words, monkeypatch)
    assert seen[0] == f"synth/{model}.yaml"
    assert seen[-1]["model"]["init_args"]["pipeline"] == f"synth-{model}"


def test_tools_that_are_given_win_over_a_recipe(monkeypatch):
    """Also with their usual values, which the recipe need not have."""
    seen = recipes(["--prepare", "--prepare-inpaint", "exact", "--prepare-upscale-faces", "0"], monkeypatch)
    assert seen[-1]["data"]["predict"]["init_args"]["settings"] == {"inpaint": "exact", "upscale_faces": 0}


@pytest.mark.parametrize(
    ("words", "space"),
    [
        (["--pipeline=synth-mcld"], "synth"),
        (["--config=synth/mcld.yaml", "--pipeline=our/model"], "synth"),
        (["--faces=f"], "synth"),
        (["--config=mcld.yaml", "--pipeline=our/model"], None),
        (["--pipeline=synth-fpdm"], None),
    ],
)
def test_a_model_of_drawn_faces_is_told_so(words, space, monkeypatch):
    """Its hints must not lead to embeddings of another kind; see tests/data/test_edits.py."""
    seen = recipes(words, monkeypatch)
    assert seen[-1]["data"]["predict"]["init_args"].get("on_missing", {}).get("face_space") == space


@pytest.mark.parametrize(
    "words",
    [
        ["--config=fpdm.yaml"],
        ["--ckpt_path=last"],
        ["-c", "fpdm.yaml"],
    ],
)
def test_who_says_more_gets_what_was_asked_for(words, monkeypatch):
    seen = recipes(words, monkeypatch)
    assert seen[0] == "fpdm.yaml"
    assert "model" not in seen[-1]


def test_flags_win_over_a_recipe_however_it_is_named(monkeypatch):
    for config in ("-c", "--config"):
        first, *_, last = recipes(["--steps=3", config, "mcld.yaml"], monkeypatch)
        assert (first, last["model"]["init_args"]["sampling"]) == ("mcld.yaml", {"num_inference_steps": 3})


def test_a_shipped_model_wants_its_own_recipe(inputs, capsys):
    folders = ["--sources", str(inputs / "sources"), "--poses", str(inputs / "poses"), "--out", str(inputs / "o")]
    assert main(["predict", "--config=smoke/fpdm.yaml", "--pipeline=synth-mcld", *folders]) == 2
    message = capsys.readouterr().err
    assert "'synth-mcld' is a MCLDPipeline, expected a FPDMPipeline" in message
