"""Nothing old passes as a result, nothing bad ends the job, and a stopped job goes on."""

import csv
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from pgpis.cli import main
from pgpis.files import locked
from pgpis.tasks.diffusion import DiffusionTask

TINY = Path(__file__).parents[1] / "configs" / "tiny.yaml"


@pytest.fixture
def pipeline(trained_fpdm):
    return trained_fpdm / "pipeline"


@pytest.fixture
def files(toy_root, tmp_path, monkeypatch):
    """Two sources, one pose; the working directory."""
    monkeypatch.chdir(tmp_path)
    images, poses = sorted((toy_root / "img").rglob("*.jpg")), sorted((toy_root / "pose").rglob("*.txt"))
    for folder in ("sources", "poses"):
        (tmp_path / folder).mkdir()
    shutil.copy(images[0], "sources/anna.jpg")
    shutil.copy(images[3], "sources/bert.jpg")
    shutil.copy(poses[0], "poses/walk.txt")
    return tmp_path


@pytest.fixture
def words(pipeline):
    """The words of ``pgpis predict``; options that are given again win."""

    def made(*more, sources="sources", poses="poses", out="out"):
        folders = ["--sources", sources, "--poses", poses, "--out", out, "--pipeline", str(pipeline)]
        return ["predict", "--config=smoke/fpdm.yaml", f"--config={TINY}", *folders, "--steps=1", *map(str, more)]

    return made


def table(folder="out"):
    with Path(folder, "predictions.csv").open(newline="", encoding="utf-8") as file:
        return {row["pair_id"]: row for row in csv.DictReader(file)}


def times(folder="out"):
    return {path.name: path.stat().st_mtime_ns for path in Path(folder).glob("[!.]*_2_*.png")}


@pytest.mark.slow
def test_what_was_made_of_other_files_is_made_again(words, files, capsys):
    assert main(words()) == 0
    first = times()
    shutil.copy("sources/bert.jpg", "sources/anna.jpg")
    os.utime("sources/bert.jpg")  # only the content counts
    assert main(words()) == 0
    second = times()
    assert {name for name in first if first[name] != second[name]} == {"anna_2_walk.png"}
    assert "the files of 1 pairs have changed" in capsys.readouterr().err
    np.savetxt("poses/walk.txt", np.loadtxt("poses/walk.txt") * [1, 0.8])
    assert main(words()) == 0
    assert all(second[name] != time for name, time in times().items())
    Path("sources/anna.jpg").write_bytes(b"broken")
    assert main(words()) == 1
    assert not Path("out/anna_2_walk.png").exists(), "a picture of a file that is gone is not a result"
    assert "anna.jpg" in table()["anna_2_walk"]["status"]


@pytest.mark.slow
def test_other_weights_and_ways_of_drawing_are_refused(words, files, pipeline, capsys):
    copy = shutil.copytree(pipeline, "model")
    assert main(words(f"--pipeline={copy}")) == 0
    assert main(words("--data.stick_width=12")) == 2
    assert "stick_width=None, now stick_width=12" in capsys.readouterr().err
    assert main(words("--data.pose_skeleton=wholebody133")) == 2
    assert "now pose_skeleton=wholebody133" in capsys.readouterr().err
    weights = Path(copy, "unet/diffusion_pytorch_model.safetensors")
    save_file({name: value * 1.5 for name, value in load_file(weights).items()}, weights)
    before = times()
    assert main(words(f"--pipeline={copy}")) == 2
    assert "made with other weights of unet" in capsys.readouterr().err
    assert main(words()) == 0, "the same weights at another place"
    assert times() == before


def test_two_runs_do_not_share_a_folder(words, files, capsys):
    with locked(Path("out")):
        assert main(words()) == 2
    assert "another run is writing to" in capsys.readouterr().err
    Path("taken").write_text("a file")
    assert main(words(out="taken")) == 2
    assert "cannot write taken" in capsys.readouterr().err


@pytest.mark.parametrize(
    "folders", [{"out": "sources"}, {"out": "poses/.."}, {"poses": "out/poses"}, {"sources": "out"}]
)
def test_results_are_not_taken_for_inputs(words, files, folders, capsys):
    if "poses" in folders or "sources" in folders:
        shutil.copytree("poses" if "poses" in folders else "sources", next(iter(folders.values())))
    if folders == {"out": "poses/.."}:
        shutil.copy("sources/anna.jpg", ".")
        folders = {"out": "poses/..", "sources": "anna.jpg"}
    before = sorted(Path().rglob("*.*g"))
    assert main(words(**folders)) == 2
    assert "where results are written" in capsys.readouterr().err
    assert sorted(Path().rglob("*.*g")) == before


@pytest.mark.slow
def test_names_of_any_length_and_spelling(words, files):
    long_source, long_pose = "\u5fae" * 80, "\u59ff" * 80
    names = [long_source, "[a]", "x: y", "#1", "null", " a", "a=b"]
    for name in names:
        shutil.copy("sources/anna.jpg", f"sources/{name}.jpg")
    shutil.copy("poses/walk.txt", f"poses/{long_pose}.txt")
    Path(os.fsdecode(b"sources/caf\xe9.jpg")).write_bytes(Path("sources/anna.jpg").read_bytes())
    assert main(words("--images-per-pair=2")) == 0
    rows = table()
    assert len(rows) == 2 * 10
    assert {row["status"] for row in rows.values()} == {"done"}
    assert f"{long_source}_2_{long_pose}" in rows, "the table holds the whole name"
    assert "caf%E9_2_walk" in rows
    assert all(Path("out", row["image"]).is_file() for row in rows.values())
    before = times()
    assert main(words("--images-per-pair=2")) == 0
    assert times() == before


ODD_NAMES = ["[a]", "#1", "{x: y}", "~"]


def test_folders_whose_names_are_yaml(words, files):
    sources, poses, pairs, out = ODD_NAMES
    Path("sources").rename(sources)
    Path("poses").rename(poses)
    Path(f"{pairs}.csv").write_text("source,pose\nanna.jpg,walk.txt\n")
    assert main(words("--pairs", f"{pairs}.csv", sources=sources, poses=poses, out=out)) == 0
    assert set(table(out)) == {"anna_2_walk"}
    assert main(["predict", "--config", f"./{out}/config.yaml", "--out", "again"]) == 0
    assert set(table("again")) == {"anna_2_walk"}, "the settings of the first run are read as they were written"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_are_text_in_every_place(words, files, name, monkeypatch):
    class SeenError(Exception):
        pass

    def stop(cli):
        config = cli.config[cli.subcommand]
        pairs = config["data.predict.init_args"]
        raise SeenError([pairs.sources, pairs.poses, pairs.pairs_csv, config["trainer.default_root_dir"]])

    monkeypatch.setattr("pgpis.cli.lightning.PGPISCLI.before_instantiate_classes", stop)
    Path(name).mkdir()
    with pytest.raises(SeenError) as seen:
        main([*words("--pairs", name, sources=name, poses=name, out=name), "--debug"])
    assert seen.value.args[0] == [name, name, name, str(files / "~") if name == "~" else name]


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_waits_for_the_batch_and_names_the_command(words, files, signum, code, monkeypatch, capsys):
    step = DiffusionTask.predict_step

    def interrupted(*arguments):
        os.kill(os.getpid(), signum)
        return step(*arguments)

    monkeypatch.setattr(DiffusionTask, "predict_step", interrupted)
    assert main(words("--batch-size=1")) == code
    assert "pgpis predict --config=smoke/fpdm.yaml" in capsys.readouterr().err
    first = times()
    assert set(first) == {"anna_2_walk.png"}
    assert signal.getsignal(signum) in (signal.default_int_handler, signal.SIG_DFL)
    if signum == signal.SIGTERM:  # what was written does not depend on the signal
        monkeypatch.undo()
        os.chdir(files)
        assert main(words("--batch-size=1")) == 0
        assert times().items() > first.items()


def test_a_pair_that_cannot_be_written_fails_alone(words, files, capsys):
    Path("out/anna_2_walk.png").mkdir(parents=True)
    assert main(words()) == 1
    rows = table()
    assert rows["bert_2_walk"]["status"] == "done"
    assert "anna_2_walk.png" in rows["anna_2_walk"]["status"]


@pytest.mark.slow
def test_pictures_of_an_earlier_test_are_removed(toy_root, pipeline, files):
    words = ["test", "--config=smoke/fpdm.yaml", f"--config={TINY}", f"--data.test.init_args.root={toy_root}"]
    words += [
        f"--model.init_args.pipeline={pipeline}",
        "--model.init_args.sampling.num_inference_steps=1",
        "--data.num_workers=0",
    ]
    words += ["--trainer.default_root_dir=out", "--data.test.init_args.max_pairs=1"]
    Path("out/test/images").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save("out/test/images/old_2_old.png")
    with locked(Path("out/test")):
        assert main(words) == 2
    assert main(words) == 0
    assert len(list(Path("out/test/images").iterdir())) == 1
    assert not Path("out/test/images/old_2_old.png").exists()


TWO = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu"]


@pytest.mark.slow
def test_an_almost_finished_job_and_a_finished_one_end_on_more_processes(words, files, two_processes):
    assert main(words()) == 0
    Path("out/anna_2_walk.png").unlink()
    for _ in range(2):
        assert two_processes(main, words(*TWO)) == [0, 0], two_processes.said()
        assert {row["status"] for row in table().values()} == {"done"}
        assert set(times()) == {"anna_2_walk.png", "bert_2_walk.png"}


@pytest.mark.slow
def test_one_pair_is_tested_by_two_processes(files, toy_root, pipeline, two_processes):
    words = ["test", "--config=smoke/fpdm.yaml", f"--config={TINY}", f"--data.test.init_args.root={toy_root}"]
    words += [f"--model.init_args.pipeline={pipeline}", "--trainer.default_root_dir=tested"]
    words += ["--data.test.init_args.max_pairs=1", "--model.init_args.sampling.num_inference_steps=1"]
    assert two_processes(main, [*words, *TWO]) == [0, 0], two_processes.said()
    assert len(Path("tested/test/pairs.csv").read_text().splitlines()) == 2
