"""``pgpis predict --like``: a marked picture is made again, to the last byte of its file."""

import json
import shutil
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pgpis.cli import main, options
from pgpis.cli.like import _tools_like, recipe_like
from pgpis.cli.predict import predict as predict_pictures
from pgpis.predictions import MarkedPicture, read_mark, save_marked
from pgpis.preprocess.settings import PrepareSettings
from pgpis.tasks.options import Sampling

TINY = Path(__file__).parents[1] / "configs" / "tiny.yaml"


@pytest.fixture(scope="module")
def shared(toy_root, trained_fpdm, tmp_path_factory):
    """Two sources in a pose of key points and in a drawn one, by the shipped FPDM; nobody writes to it."""
    folder = tmp_path_factory.mktemp("like")
    images = sorted((toy_root / "img").rglob("*.jpg"))
    for name in ("sources", "poses", "drawn"):
        (folder / name).mkdir()
    shutil.copy(images[0], folder / "sources/anna.jpg")
    shutil.copy(images[3], folder / "sources/bert.jpg")
    shutil.copy(sorted((toy_root / "pose").rglob("*.txt"))[1], folder / "poses/walk.txt")
    shutil.copy(next((toy_root / "pose_img").rglob("*.jpg")), folder / "drawn/drawn.jpg")
    assert predict(folder, "whole", "--poses", folder / "poses", "--images-per-pair=2", "--guidance-scale=1.2") == 0
    return folder


def predict(folder, out, *more, sources="sources", model="--pipeline=synth-fpdm"):
    words = [model, f"--sources={folder / sources}", f"--out={folder / out}", "--steps=2", "--seed=5"]
    options = ["--data.num_workers=0", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    return main(["predict", *words, *map(str, more), *options])


def again(picture, source, out, *more):
    """Make a picture again with nothing but what is given here; return exit code and results."""
    options = ["--data.num_workers=0", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    words = [f"--like={picture}", f"--sources={source}", f"--out={out}", *map(str, more)]
    return main(["predict", *words, *options]), sorted(Path(out).glob("[!.]*_2_*.png"))


@pytest.fixture
def inputs(shared, tmp_path):
    shutil.copytree(shared, tmp_path / "inputs")
    return tmp_path / "inputs"


@pytest.mark.slow
def test_the_same_file_also_from_a_renamed_source(inputs, capsys):
    """It was one of two pairs in a batch, and the second of the pair's pictures."""
    first = inputs / "whole/bert_2_walk_1.png"
    (inputs / "sources/bert.jpg").rename(inputs / "me.jpg")
    code, results = again(first, inputs / "me.jpg", inputs / "again")
    assert code == 0
    assert [path.name for path in results] == ["me_2_walk_0.png", "me_2_walk_1.png"]
    assert [path.read_bytes() for path in results] == [
        (inputs / f"whole/bert_2_walk_{number}.png").read_bytes() for number in range(2)
    ]
    assert f"{results[1]} is {first} again, byte for byte" in capsys.readouterr().err
    before = results[1].stat().st_mtime_ns
    assert again(first, inputs / "me.jpg", inputs / "again")[0] == 0
    assert results[1].stat().st_mtime_ns == before, "a finished picture is not made again"
    assert again(first, inputs / "me.jpg", inputs / "again", "--noise-name=me")[0] == 0
    assert results[1].stat().st_mtime_ns != before, "other noise is another picture"


def test_a_mark_tells_nothing_of_where_files_lie(shared):
    text = read_mark(shared / "whole/anna_2_walk_0.png").text()
    assert "/" not in text
    assert "jpg" not in text
    assert not [part for part in shared.parts[1:] if part in text]


def test_another_source_is_told_and_options_win(inputs, capsys):
    first = inputs / "whole/anna_2_walk_0.png"
    code, results = again(first, inputs / "sources/bert.jpg", inputs / "again", "--seed=6", "--images-per-pair=1")
    assert code == 0
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "made with the settings of" in line]
    assert said.endswith(
        f"{results[0]}: made with the settings of {first}, but not the same picture: the source is another; "
        "images_per_pair is 1, not 2; seed is 6, not 5"
    )
    mark = read_mark(results[0])
    assert (mark.settings["steps"], mark.settings["guidance_scale"], mark.noise_name) == (2, 1.2, "anna")


def test_pictures_without_marks_have_the_same_pixels(inputs, capsys):
    assert (
        predict(
            inputs, "plain", "--poses", inputs / "poses", "--images-per-pair=2", "--guidance-scale=1.2", "--no-mark"
        )
        == 0
    )
    plain, marked = inputs / "plain/anna_2_walk_0.png", inputs / "whole/anna_2_walk_0.png"
    with Image.open(plain) as image:
        assert not image.info
        np.testing.assert_array_equal(image, Image.open(marked))
    assert again(plain, inputs / "sources/anna.jpg", inputs / "again")[0] == 2
    assert "is not marked" in capsys.readouterr().err
    words = ["--poses", inputs / "poses", "--images-per-pair=2", "--guidance-scale=1.2"]
    assert predict(inputs, "whole", *words, "--no-mark") == 2
    assert "now no_mark=True" in capsys.readouterr().err


@pytest.mark.slow
def test_a_drawn_pose_is_given_again(inputs, capsys):
    assert predict(inputs, "first", "--poses", inputs / "drawn") == 0
    first = inputs / "first/anna_2_drawn.png"
    assert again(first, inputs / "sources/anna.jpg", inputs / "again")[0] == 2
    assert "holds no key points" in capsys.readouterr().err
    code, results = again(first, inputs / "sources/anna.jpg", inputs / "again", "--poses", inputs / "drawn/drawn.jpg")
    assert code == 0
    assert results[0].read_bytes() == first.read_bytes()


@pytest.mark.slow
def test_a_pipeline_of_ones_own_is_named_again(inputs, trained_fpdm, capsys):
    model = ["--config=smoke/fpdm.yaml", f"--config={TINY}", f"--pipeline={trained_fpdm / 'pipeline'}"]
    scheduler = "--model.init_args.sampling.scheduler={_class_name: DDIMScheduler, timestep_spacing: trailing}"
    assert predict(inputs, "first", *model[1:], scheduler, "--poses", inputs / "poses", model=model[0]) == 0
    first = inputs / "first/anna_2_walk.png"
    assert again(first, inputs / "sources/anna.jpg", inputs / "again")[0] == 2
    message = capsys.readouterr().err
    assert "the pipeline 'pipeline', which does not ship with pgpis" in message
    assert "hint: --pipeline FOLDER" in message
    code, results = again(first, inputs / "sources/anna.jpg", inputs / "again", model[2])
    assert code == 0
    assert results[0].read_bytes() == first.read_bytes()


SPELT = pytest.param(", lambda_min_clipped: -.inf", marks=pytest.mark.slow)


@pytest.mark.parametrize("more", ["", SPELT])
def test_a_sampler_with_settings_that_are_not_finite(more, inputs):
    """JSON has no infinity, which is DPMSolver's by default."""
    scheduler = f"--model.init_args.sampling.scheduler={{_class_name: DPMSolverMultistepScheduler{more}}}"
    assert predict(inputs, "first", scheduler, "--poses", inputs / "poses", sources="sources/anna.jpg") == 0
    first = inputs / "first/anna_2_walk.png"
    content = json.loads((inputs / "first/settings.json").read_text(), parse_constant=pytest.fail)
    assert content["scheduler_config"]["lambda_min_clipped"] == "-inf"
    code, results = again(first, inputs / "sources/anna.jpg", inputs / "again")
    assert code == 0
    assert results[0].read_bytes() == first.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "words"), [("[null]", ["--noise-name=null"]), ("7e10", [])])
def test_names_are_text_whatever_they_look_like(name, words, inputs):
    (inputs / "sources/anna.jpg").rename(inputs / f"sources/{name}.jpg")
    words = ["--poses", inputs / "poses", *words]
    assert predict(inputs, "first", *words, sources=f"sources/{name}.jpg") == 0
    first = inputs / f"first/{name}_2_walk.png"
    assert read_mark(first).noise_name == name.strip("[]")
    code, results = again(first, inputs / f"sources/{name}.jpg", inputs / "again")
    assert code == 0
    assert results[0].read_bytes() == first.read_bytes()


def test_what_the_mark_does_not_name_was_as_usual(inputs):
    """The recipe of the model may set it otherwise."""
    recipe = recipe_like(MarkedPicture.read(inputs / "whole/anna_2_walk_0.png"))
    sampling = recipe["model"]["init_args"]["sampling"]
    usual = {field.name: getattr(Sampling(), field.name) for field in fields(Sampling)}
    assert usual.keys() - sampling.keys() == {"offload"}  # it changes no picture
    switches = {"guidance_band", "deep_cache", "vae_tiling", "refine"}
    assert {name: sampling[name] for name in switches} == {name: usual[name] for name in switches}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"class_path": 1}}, "class_path is not a number"),
        ({"settings": {"guidance_band": "os.system"}}, "guidance_band is not a number"),
        ({"settings": {"guidence_scale": 2}}, "guidence_scale"),
        ({"settings": {"precision": "8-bit"}}, "precision"),
        ({"settings": {"guidance_band": [1, 0]}}, "guidance_band"),
        ({"sampler": {"_class_name": "os.system"}}, "diffusers has no 'os.system'"),
        ({"sampler": {"num_train_timesteps": 10**9}}, "num_train_timesteps"),
        ({"tools": {"pose": "os.system", "made": ["texture"]}}, "os.system"),
        ({"tools": {"person": "x"}}, "person"),
        ({"pipeline": "../../tuned"}, "does not ship"),
    ],
)
def test_what_a_stranger_asks_for_is_checked(changes, message, inputs, capsys):
    """A recipe may name classes to import; a mark may not."""
    first = inputs / "whole/anna_2_walk_0.png"
    mark = read_mark(first)
    content = json.loads(mark.text())
    content["settings"] |= changes.pop("settings", {})
    content["provenance"]["tools"] |= changes.pop("tools", {})
    content |= changes
    hostile = inputs / "hostile.png"
    save_marked(Image.open(first), hostile, type("Text", (), {"text": lambda _: json.dumps(content)})())
    assert again(hostile, inputs / "sources/anna.jpg", inputs / "again")[0] == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert "--debug for the traceback" not in said


@pytest.mark.parametrize(
    "sampler",
    [
        {"_class_name": "EulerDiscreteScheduler", "sub": "class_path: foreign_module.Foo"},
        {"_class_name": "EulerDiscreteScheduler", "beta_end": ["class_path: foreign_module.Foo"]},
        {"_class_name": "class_path: foreign_module.Foo"},
        {"class_path": "foreign_module.Foo"},
        {"class_path": "foreign_module", "init_args": 1},
    ],
)
def test_a_mark_imports_nothing(sampler, inputs, tmp_path, monkeypatch, capsys):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/foreign_module.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\nclass Foo: pass\n")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    first = inputs / "whole/anna_2_walk_0.png"
    content = json.loads(read_mark(first).text()) | {"sampler": sampler}
    save_marked(Image.open(first), inputs / "hostile.png", SimpleNamespace(text=lambda: json.dumps(content)))
    assert again(inputs / "hostile.png", inputs / "sources/anna.jpg", inputs / "again")[0] == 2
    assert not (tmp_path / "imported").exists()
    assert "hostile.png" in capsys.readouterr().err


def test_tools_that_are_given_win_over_those_of_the_mark():
    words = ["--out", "o", "--prepare", "--prepare-inpaint", "exact"]
    settings = options.read(predict_pictures, words, "pgpis predict")[0]["settings"]
    made = _tools_like({"inpaint": "fast", "pose": "blazepose", "overflow": "clamp"}, settings.tools)
    assert (made.inpaint, made.pose) == ("exact", "blazepose")
    assert options.given(made) == {"inpaint", "pose", "overflow"}, "a recipe may have others"
    assert _tools_like({"inpaint": "fast"}, PrepareSettings()).inpaint == "fast"


def test_a_picture_is_not_replaced_by_its_like(shared, capsys):
    first = shared / "whole/anna_2_walk_0.png"
    assert again(first, shared / "sources/anna.jpg", shared / "whole")[0] == 2
    assert "where a result could take its place" in capsys.readouterr().err


def test_like_needs_a_source(shared, capsys):
    assert main(["predict", f"--like={shared}/whole/anna_2_walk_0.png", "--out", "o"]) == 2
    assert "--like needs --sources" in capsys.readouterr().err
