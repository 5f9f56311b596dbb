"""The script that trained the shipped models: its stages fit together, and it goes on where it stopped."""

import contextlib
import io
import pickle
import subprocess

import numpy as np
import pytest
import yaml
from PIL import Image

import train_demo
from pgpis.cli import main
from pgpis.cli.recipes import find_recipe
from pgpis.errors import PgpisError
from pgpis.methods.mcld.conditioner import MCLDConditioner
from pgpis.pictures.iuv import PART_CHANNEL
from pgpis.tasks.options import Schedule


@pytest.fixture
def stages(tmp_path):
    return train_demo.stages(tmp_path / "data", tmp_path / "out")


@pytest.fixture
def timed(tmp_path):
    return train_demo.stages(tmp_path / "data", tmp_path / "out", timed=True)


@pytest.fixture
def ablations(tmp_path):
    return train_demo.ablations(tmp_path / "data", tmp_path / "out")


def test_every_stage_comes_after_what_it_needs_and_has_its_recipe(stages, ablations, timed):
    done = {}
    for stage in timed:
        assert done.keys() >= set(stage.needs), stage.name
        done[stage.name] = stage
    assert {stage.name for stage in stages if not stage.name.startswith("cache")} == done.keys() - {"first"}
    done = set()
    for stage in [*stages, *ablations]:
        assert set(stage.needs) <= done, stage.name
        assert stage.name not in done
        done.add(stage.name)
        if stage.recipe is not None:
            assert find_recipe(f"synth/{stage.recipe}.yaml").is_file()
        if stage.overlay is not None:
            assert find_recipe(stage.overlay).is_file()
    assert {"fpdm", "mcld_base", "mcld", "lifter", "bundles", "a2", "b1", "b6", "mcld_no_face"} <= done


def test_ablations_have_one_budget(ablations, tmp_path):
    trained = [stage for stage in ablations if stage.recipe in ("fpdm", "mcld")]
    assert len(trained) == 17
    for stage in trained:
        words = list(map(str, train_demo.fit_words(stage, tmp_path / "data", tmp_path / "out")))
        budget = {"fpdm": (750, 150), "mcld": (500, 100)}[stage.recipe]
        assert {f"--trainer.max_steps={budget[0]}", f"--trainer.limit_train_batches={budget[1]}"} <= set(words)
        assert (train_demo.NO_START in words) == (stage.recipe == "mcld")
        # what is given word by word goes over the overlay, so it comes later
        assert words.index("--config") < words.index(f"--trainer.default_root_dir={tmp_path / 'out' / stage.name}")
        assert (stage.overlay is None) == (words.count("--config") == 1)
        assert (stage.overlay is None) == (stage.name in ("b6", "b6_sources", "mcld_short", "mcld_sources"))


@pytest.mark.parametrize(("epochs", "decay"), [(1, []), (2, [1]), (5, [3, 4])])
def test_any_budget_is_a_schedule(epochs, decay):
    words = train_demo._budget("fpdm", epochs)
    [spelt] = [word.partition("=")[2] for word in words if "decay_epochs" in word]
    assert yaml.safe_load(spelt) == decay
    assert Schedule(warmup_epochs=0.5, decay_epochs=tuple(decay)).factor(100, 150) == 1  # of the first epoch, warmed up


@pytest.mark.parametrize("words", ["--epochs 0", "--seeds 0 -1", "--jobs 0", "--people 0", "--minutes -1"])
def test_numbers_that_nothing_can_be_trained_with_are_refused_before_any_stage(words, started, tmp_path):
    option = words.split()[0]
    with pytest.raises(PgpisError, match=f"{option} is "):
        started("--ablations", *words.split())
    assert not (tmp_path / "out").exists()


def test_every_ablation_of_mcld_is_a_model(ablations, tmp_path, capsys):
    """What an overlay turns off, nothing else of the recipe may need."""
    names = []
    for stage in ablations:
        if stage.recipe == "mcld":
            with pytest.raises(SystemExit):
                main([*map(str, train_demo.fit_words(stage, tmp_path / "data", tmp_path / "out")), "--print_config"])
            options = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["conditioner"]
            MCLDConditioner(**{name: value for name, value in options.items() if name != "pose_encoder"})
            names.append(stage.name)
    assert "mcld_no_texture" in names


def test_ablations_of_further_seeds_have_priors_of_their_own(stages, tmp_path):
    both = train_demo.ablations(tmp_path / "data", tmp_path / "out", (0, 3), 10)
    done = {stage.name for stage in stages}
    for stage in both:
        assert set(stage.needs) <= done, stage.name
        assert stage.name not in done
        done.add(stage.name)
    b6, again = (next(stage for stage in both if stage.name == name) for name in ("b6", "b6_seed3"))
    prior = "--model.init_args.fusion_embedder"
    differing = {f"{prior}={tmp_path}/out/fusion/fusion_embedder", "--seed_everything=0", "--model.init_args.seed=0"}
    assert set(b6.words) - set(again.words) == differing
    assert f"{prior}={tmp_path}/out/fusion_seed3/fusion_embedder" in again.words
    assert "--trainer.max_steps=1500" in again.words


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


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Runs the script with stand-ins for its commands: ``started("--people", "4")`` returns the stages that it ran."""

    def start(*words):
        ran = []

        def run(stage, data, out, threads, clock):
            monkeypatch.setattr(train_demo.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess((), 0))
            stage.done.parent.mkdir(parents=True, exist_ok=True)
            real_run(stage, data, out, threads, clock)
            ran.append(stage.name)

        monkeypatch.setattr(train_demo, "run", run)
        paths = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--jobs", "1"]
        monkeypatch.setattr("sys.argv", ["train_demo.py", *paths, *words])
        assert train_demo.main() == 0
        return ran

    real_run = train_demo.run
    for name in ("lift_maps", "write_bundles"):
        monkeypatch.setattr(train_demo, name, named(name))
    return start


def named(name):
    def function(*_arguments):
        """Do nothing."""

    function.__name__ = name
    return function


@pytest.mark.parametrize(
    ("before", "now", "stages"),
    [
        (["--people", "4"], ["--people", "5"], "data, lifted ("),
        (["--minutes", "2"], ["--minutes", "3"], "autoencoder, source_encoder, "),
        (["--ablations", "--epochs", "3"], ["--ablations", "--epochs", "4"], "b1, b2, b3, "),
        ([], ["--data", "elsewhere"], "cache_fpdm"),
    ],
)
def test_what_was_done_with_other_words_is_refused(started, tmp_path, monkeypatch, before, now, stages):
    monkeypatch.chdir(tmp_path)
    ran = started(*before)
    assert {"data", "lifted", "fpdm", "bundles"} <= set(ran)
    assert started(*before) == []
    monkeypatch.setattr(train_demo, "run", lambda *_: pytest.fail("a stage was run"))
    with pytest.raises(PgpisError, match="done with other words") as error:
        started(*now)
    assert stages in error.value.message
    assert error.value.hint.startswith("rm -r ")


def test_what_an_earlier_version_has_done_is_done(started, tmp_path):
    """Its marks are empty."""
    for path in [tmp_path / "out" / stage / ".done" for stage in started("--people", "4")]:
        if path.is_file():
            path.write_text("")
    for name in (".done", ".lifted"):
        (tmp_path / "data" / name).write_text("")
    assert started("--people", "5") == []


def test_stages_are_known_wherever_their_folder_lies(started, tmp_path, monkeypatch):
    started("--people", "4")
    (tmp_path / "out").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert started("--people", "4", "--data", "data", "--out", "moved") == []


def test_what_is_short_of_time_ends_with_it(timed, tmp_path, monkeypatch):
    monkeypatch.setattr(train_demo.time, "monotonic", lambda: 1000.0)
    clock = train_demo.Clock(end=1300.0, seconds=600.0)
    by_name = {stage.name: stage for stage in timed}
    for name, seconds in (("clip", 48), ("mcld", 300)):
        words = list(map(str, train_demo.fit_words(by_name[name], tmp_path / "data", tmp_path / "out", clock)))
        assert f'--trainer.max_time={{"seconds": {seconds}}}' in words
        assert any(word.startswith("--model.init_args.schedule.lr_scheduler=") for word in words)
        assert words[3:5] == ["--config", "parts/timed.yaml"]


class Here(contextlib.nullcontext):
    """Works in this process, as one of the pool would."""

    def __init__(self, mp_context):
        super().__init__(self)

    def map(self, work, jobs, chunksize):
        return map(pickle.loads(pickle.dumps(work)), jobs)


@pytest.mark.slow
@pytest.mark.usefixtures("fast_inpainting")
def test_a_share_of_the_people_has_the_maps_of_photographs(draw_people, tmp_path, monkeypatch):
    monkeypatch.setattr(train_demo, "ProcessPoolExecutor", Here)
    root = tmp_path / "data"
    draw_people(root, people=4, views=2, size=(128, 88), share=0.25, textures="seen")
    made = ("densepose", "surface", "texture")
    before = {path: path.read_bytes() for kind in made for path in root.glob(f"*_{kind}/*.png")}
    train_demo.lift_maps(root)
    changed = {path for path, content in before.items() if path.read_bytes() != content}
    assert len(before) == 24
    people = {path.stem.partition("id")[2][:8] for path in changed}
    assert len(people) == 2  # of four
    assert len(changed) == len(people) * 2 * len(made)
    picture = next(path for path in changed if path.parent.name == "train_densepose")
    agreement = parts_of(picture.read_bytes()) == parts_of(before[picture])
    assert 0.8 < agreement.mean() < 1


def parts_of(png):
    return np.asarray(Image.open(io.BytesIO(png)))[..., PART_CHANNEL]
