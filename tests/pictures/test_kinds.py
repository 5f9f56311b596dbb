"""A kind of file that pgpis does not know: it is registered and made here, and everything else finds it."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgpis.batch import ImageSpec
from pgpis.cli import main
from pgpis.cli.prepare import conditions_of
from pgpis.data import DeepFashion, FolderPairs, OnMissing, PairTransform, check_root
from pgpis.errors import PgpisError
from pgpis.pictures import kinds
from pgpis.pictures.images import read_image, save_image
from pgpis.pictures.kinds import Kind, all_kinds, conditions, kind_of, prepared, register
from pgpis.preprocess.listing import find_pictures
from pgpis.preprocess.record import NAME, Record
from pgpis.preprocess.run import prepare, run_here
from pgpis.preprocess.settings import PrepareSettings
from pgpis.preprocess.stage import Stage

ORIGINS = ("source", "depth")


@pytest.fixture
def depth(monkeypatch):
    """The two places: a registration, and the code that makes and reads the files."""
    monkeypatch.setattr(kinds, "_KINDS", dict(kinds._KINDS))
    monkeypatch.setattr(Stage, "classes", dict(Stage.classes))
    register(Kind("depth", "depth map", read_image, suffix=".png", of="target", settings=("person",)))

    class DepthStage(Stage):
        condition = "depth"
        is_neural = False

        def make(self, picture, files):
            save_image(Image.fromarray(np.asarray(picture.convert("L"))).convert("RGB"), files.path("depth"))

    return kind_of("depth")


@pytest.fixture
def folders(tmp_path):
    """A source and two poses."""
    for name, pixels in (("photos/anna.jpg", 200), ("poses/walk.jpg", 90), ("poses/jump.jpg", 30)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (44, 64), (pixels, 0, 0)).save(tmp_path / name)
    return tmp_path


def made(root, *options):
    files = find_pictures(root, options)
    return prepare(files, options, PrepareSettings(), Record(root / NAME), run_here)


def test_prepare_makes_it_and_a_folder_of_pairs_reads_it(depth, folders):
    assert conditions_of("pose,depth") == ["pose", "depth"]
    result = made(folders / "poses", "depth")
    assert (dict(result.made), result.failures) == ({"depth": 2}, [])
    assert dict(made(folders / "poses", "depth").already) == {"depth": 2}
    pairs = FolderPairs(folders / "photos", folders / "poses")
    pairs.setup()
    pairs.require(ORIGINS)
    loaded = pairs.load(0, ORIGINS)
    assert loaded.pair.file("depth") == folders / "poses_depth" / "jump.png"
    specs = {"depth_image": ImageSpec("depth", 16, 16)}
    assert PairTransform(specs, train=False)(loaded)["depth_image"].shape == (3, 16, 16)
    assert not PairTransform(specs, train=False).may_flip


def test_a_missing_file_names_the_command_that_makes_it(depth, folders):
    pairs = FolderPairs(folders / "photos", folders / "poses")
    pairs.setup()
    with pytest.raises(PgpisError, match=r"2 of 2 pairs have no depth map \(\.png\)") as error:
        pairs.require(ORIGINS)
    assert "pgpis prepare FOLDER --conditions depth" in error.value.hint


def test_it_has_options_of_its_own(depth, folders):
    made(folders / "poses", "depth")
    (folders / "poses_depth").rename(folders / "elsewhere")
    (folders / "elsewhere/walk.png").unlink()
    options = {"folders": {"depth": str(folders / "elsewhere")}, "on_missing": OnMissing(others={"depth": "skip"})}
    pairs = FolderPairs(folders / "photos", folders / "poses", **options)
    pairs.setup()
    pairs.require(ORIGINS)
    assert [pair.file("depth").stem for pair in pairs.pairs] == ["jump"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("dept", "no kind of file is called 'dept'; did you mean 'depth'"),
        ("texture", "others.texture: this is said by on_missing.texture"),
        ("densepose", "others.densepose: this is said by on_missing.iuv"),
    ],
)
def test_what_happens_without_it_is_said_by_its_name(depth, name, reason):
    with pytest.raises(PgpisError, match=reason):
        OnMissing(others={name: "drop"})


@pytest.mark.parametrize("layout", ["fpdm", "mcld"])
def test_a_data_set_holds_it_and_its_check_lists_it(depth, layout, draw_people, tmp_path):
    root = tmp_path / "people"
    draw_people(root, people=2, views=2, seed=5, size=(64, 44), share=0.5)
    files = find_pictures(root, ["depth"], layout)
    prepare(files, ["depth"], PrepareSettings(), Record(root / NAME), run_here)
    report = check_root(root)
    place = "depth" if layout == "fpdm" else "train_depth"
    assert report.counts[f"depth maps in {place}/"] >= 2
    assert not any("depth" in line for line in (*report.problems, *report.notes))
    next(iter((root / place).rglob("*.png"))).write_bytes(b"no picture")
    assert sum("depth" in problem for problem in check_root(root).problems) == 1
    pairs = DeepFashion(root, "train", layout=layout)
    pairs.setup()
    own = pairs.as_self_pair(pairs.pairs[0])
    assert own.source == own.target
    assert own.file("depth") == pairs.pairs[0].file("depth")


def test_a_kind_is_known_by_name_and_by_option():
    assert kind_of("densepose") is kind_of("iuv")
    ours = [kind.name for kind in conditions() if kind.settings is not None]
    assert ours == ["iuv", "texture", "surface", "backdrop", "face"]
    assert prepared() == ("pose", "densepose", "texture", "surface", "backdrop", "face", "face_mask")
    assert {kind.option for kind in all_kinds()} >= set(prepared())
    with pytest.raises(PgpisError, match="did you mean 'texture'"):
        kind_of("textures")


def test_what_is_drawn_when_it_is_asked_for_is_missed_nowhere():
    """Whether a module was imported that draws people must change nothing for those who read files."""
    from pgpis.synth import people  # makes two kinds known

    drawn = [kind for kind in all_kinds() if kind.command == people._COMMAND]
    assert [kind.name for kind in drawn] == ["silhouette", "points"]
    assert not set(conditions()) & set(drawn)
    assert conditions({"points", "iuv"}) == [kind_of("iuv"), kind_of("points")]


PACKAGE = """
from pgpis.pictures.images import save_image
from pgpis.pictures.kinds import Kind, register
from pgpis.preprocess.stage import Stage

read = "pgpis.pictures.images:read_image"
register(Kind("heights", "height map", read, suffix=".png", of="target", settings=("person",)))


class HeightStage(Stage):
    condition = "heights"
    is_neural = False

    def make(self, picture, files):
        save_image(picture.convert("RGB"), files.path("heights"))
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that offers a kind, and nothing has imported it."""
    folder = tmp_path / "site"
    (folder / "heights-1.0.dist-info").mkdir(parents=True)
    (folder / "heights-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: heights\nVersion: 1.0\n")
    (folder / "heights-1.0.dist-info/entry_points.txt").write_text("[pgpis.methods]\nheights = heights_task\n")
    (folder / "heights_task.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(kinds, "_KINDS", dict(kinds._KINDS))
    monkeypatch.setattr(Stage, "classes", dict(Stage.classes))
    yield folder
    sys.modules.pop("heights_task", None)


def forget():
    """As in another process of the command."""
    kinds._KINDS.pop("heights")
    del sys.modules["heights_task"]


@pytest.mark.slow
def test_the_verbs_know_that_of_an_installed_package(package, toy_root, tmp_path, monkeypatch, capsys):
    """Their workers too, which are fresh processes."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(toy_root, "data")
    assert main(["prepare", "data", "--conditions=heights", "--workers=1"]) == 0
    forget()
    main(["data", "check", "data"])
    assert "height maps in heights/" in capsys.readouterr().out
    forget()
    assert main(["data", "pack", "data", "--out=pack", "--kinds=heights", "--splits=test", "--workers=1"]) == 0
    assert "heights" in capsys.readouterr().out
    forget()
    main(["data", "link", "data", "--to=mcld", "--out=linked"])
    assert len([*Path("linked/test_heights").iterdir()]) > 0
