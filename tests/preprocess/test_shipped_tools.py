"""Photographs without any download: the tools that ship, and when they are taken."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from pgpis.cli import main
from pgpis.cli.prepare import _summary
from pgpis.errors import PgpisError
from pgpis.pictures.decoding import warn_once
from pgpis.pictures.iuv import read_part_u_v
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.surface import SEEN
from pgpis.preprocess import run as jobs
from pgpis.preprocess.blazepose import estimator
from pgpis.preprocess.blazepose.estimator import BlazePoseEstimator, see
from pgpis.preprocess.lifter import lifted_map
from pgpis.preprocess.listing import find_pictures
from pgpis.preprocess.photos import PhotoPairs
from pgpis.preprocess.pose import pose_estimator
from pgpis.preprocess.record import Record
from pgpis.preprocess.run import prepare, run_here
from pgpis.preprocess.settings import NothingFoundError, PrepareSettings

TORSO, HEAD = (1, 2), (23, 24)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with a photograph and one of nobody, after ``pgpis prepare`` without weights, in this process."""
    folder = tmp_path_factory.mktemp("own") / "photos"
    folder.mkdir()
    Image.fromarray(astronaut()).save(folder / "collins.png")
    Image.new("RGB", (60, 80), "white").save(folder / "nobody.png")
    words = ["prepare", str(folder), "--weights", str(folder), "--workers", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "run_local", run_here)
        assert main([*words, "--conditions", "pose,densepose,texture,surface,backdrop"]) == 1
    return folder


def tools(**options):
    """The tools that a job with these settings uses."""
    settled = PrepareSettings(**options).settled()
    return settled.pose, settled.densepose


def test_tools_that_ship_take_the_place_of_missing_weights(weights, tmp_path):
    bare = PrepareSettings(weights=tmp_path)

    assert tools(weights=weights) == ("wholebody133", "r101-dl")
    assert tools(weights=tmp_path) == ("blazepose", "lifter")
    assert bare.replaced("pose") == ["pose-detector", "pose-wholebody133"]
    assert bare.replaced("densepose") == ["densepose-r101-dl"]
    assert isinstance(pose_estimator(bare), BlazePoseEstimator)
    assert bare.tools("pose") == bare.settled().tools("pose") != PrepareSettings(weights=weights).tools("pose")


def test_what_is_asked_for_is_not_replaced(weights, tmp_path):
    assert tools(weights=tmp_path, pose="body17", densepose="r50") == ("body17", "r50")
    assert PrepareSettings(weights=tmp_path, pose="body17").replaced("pose") == []
    assert tools(weights=weights, pose="blazepose") == ("blazepose", "r101-dl")
    assert tools(weights=tmp_path, densepose_weights=tmp_path / "mine.pkl") == ("blazepose", "r101-dl")
    assert tools(weights=tmp_path, skeleton="wholebody133") == ("blazepose", "lifter")
    with pytest.raises(PgpisError, match="wholebody133 or blazepose"):
        PrepareSettings(weights=tmp_path, skeleton="wholebody133", pose="body26")


def test_a_job_goes_on_with_the_tools_that_it_began_with(tmp_path, weights):
    """Whose weights are there on one machine of a cluster only, say."""
    settled = PrepareSettings(weights=tmp_path).settled()

    assert replace(settled, weights=weights).settled().pose == "blazepose"
    assert settled.settled() == settled
    assert settled.replaced("pose") == []  # it is told once


def test_uncertain_poses_are_said_with_their_picture(tmp_path, monkeypatch, capsys, caplog):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(astronaut()).save(folder / "collins.png")
    monkeypatch.setattr(estimator, "read_face", lambda *_: (None, 0.0))  # so it may be a back
    files = find_pictures(folder, ["pose", "densepose"], "auto")
    record = Record(folder / "prepare.jsonl")
    result = prepare(files, ["pose", "densepose"], PrepareSettings(weights=tmp_path), record, run_here)

    assert [(each.name, each.condition) for each in result.doubtful] == [
        ("collins.png", "densepose"),
        ("collins.png", "pose"),
    ]
    assert all("may be a back" in each.doubt for each in result.doubtful)
    assert Record(folder / "prepare.jsonl").outcomes["collins.png", "pose"].doubt == result.doubtful[1].doubt
    assert "2 are uncertain" in _summary(["pose", "densepose"], result, record.path)
    again = prepare(files, ["pose", "densepose"], PrepareSettings(weights=tmp_path), Record(record.path), run_here)
    assert (again.made, again.doubtful) == ({}, result.doubtful)
    for _ in range(2):  # the second time they are there
        caplog.clear()
        warn_once.cache_clear()
        kept = tmp_path / "kept"
        dancers = PhotoPairs(folder, folder, settings=PrepareSettings(weights=tmp_path), save_conditions=kept)
        dancers.setup()
        dancers.require({"source", "pose"})
        assert sum("collins.png: pose is uncertain: " in line for line in caplog.messages) == 1


def test_clothes_of_nobody_cost_their_own_pairs(tmp_path):
    """The reason is told, and no command that would fail for it again."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(astronaut()).save(folder / "collins.png")
    Image.new("RGB", (60, 80), "white").save(folder / "nobody.png")
    table = tmp_path / "pairs.csv"
    edited = "source,pose,clothes\ncollins.png,collins.png,upper=nobody.png\n"
    settings = PrepareSettings(weights=tmp_path)
    table.write_text(f"{edited}collins.png,collins.png,\n")
    pairs = PhotoPairs(folder, folder, pairs_csv=table, settings=settings)
    pairs.setup()
    table.write_text(edited)

    assert [pair.pair_id for pair in pairs.pairs] == ["collins_2_collins_upper-nobody", "collins_2_collins"]
    with pytest.raises(PgpisError, match=r"^clothes upper=nobody\.png: no texture map.*: no people found$"):
        pairs.load(0, {"texture"})
    with pytest.raises(PgpisError, match=r"^clothes upper=nobody\.png: no texture map.*: no people found$"):
        PhotoPairs(folder, folder, pairs_csv=table, settings=settings).setup()


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["prepare", "predict"])
def test_one_line_says_so(tmp_path, caplog, verb):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (60, 80), "white").save(folder / "nobody.png")
    with caplog.at_level(logging.INFO, "pgpis"):
        if verb == "prepare":
            main(["prepare", str(folder), "--weights", str(tmp_path), "--conditions", "pose", "--workers", "1"])
        else:
            words = ["--sources", str(folder), "--driving", str(folder), "--prepare-weights", str(tmp_path)]
            main(["predict", *words, "--out", str(tmp_path / "out")])
    lines = [line for line in caplog.messages if "key points by" in line]
    assert len(lines) == 1
    assert "pgpis weights fetch pose-detector pose-wholebody133" in lines[0]


@pytest.mark.slow
def test_everything_is_made_of_a_photograph(prepared):
    points = read_keypoints(prepared.parent / "photos_pose/collins.json")
    iuv = read_part_u_v(prepared.parent / "photos_densepose/collins.png")
    texture = Image.open(prepared.parent / "photos_texture/collins.png")
    surface = np.asarray(Image.open(prepared.parent / "photos_surface/collins.png"))
    backdrop = np.asarray(Image.open(prepared.parent / "photos_backdrop/collins.png")).astype(int)
    photograph = astronaut().astype(int)

    assert points.seen.sum() >= 8
    assert iuv.shape == photograph.shape
    assert np.isin(iuv[300, 170, 0], TORSO)  # the suit's front
    assert np.isin(iuv[110, 225, 0], HEAD)
    assert texture.size == (512, 512)
    assert surface.shape == (512, 1024, 3)
    assert (surface[:, 512:] == SEEN).any()
    assert np.abs(backdrop - photograph)[:, 450:].mean() < 1  # the shuttle stays
    assert np.abs(backdrop - photograph)[300:400, 100:200].mean() > 20  # she does not


@pytest.mark.slow
def test_a_picture_of_nobody_says_so(prepared):
    record = (prepared / "prepare.jsonl").read_text()
    assert record.count("no people found") >= 3
    assert not (prepared.parent / "photos_densepose/nobody.png").exists()


def test_a_map_lies_on_its_person():
    photograph = astronaut()
    iuv, box, _ = lifted_map(photograph)
    person = see(photograph).silhouette >= 0.5

    assert not iuv[~person].any()
    assert (iuv[person, 0] > 0).mean() > 0.7
    assert iuv[..., 0].max() <= 24
    assert box[0] < 225 < box[2]


@pytest.mark.parametrize("quarters", [1, 2, 3], ids=["on the left", "upside down", "on the right"])
def test_the_map_of_a_turned_photograph_is_turned(quarters):
    """The lifter has learnt from people who stand; hands and forearms are hard to tell in this one."""
    upright, _, _ = lifted_map(astronaut())
    turned, box, _ = lifted_map(np.ascontiguousarray(np.rot90(astronaut(), quarters)))
    expected, parts = np.rot90(upright[..., 0], quarters), turned[..., 0]
    rows, columns = np.nonzero(parts)

    assert (expected == parts)[(expected > 0) & (parts > 0)].mean() > 0.7
    assert box[0] <= columns.min() < columns.max() < box[2]
    assert box[1] <= rows.min() < rows.max() < box[3]


@pytest.mark.parametrize("size", [(96, 200), (1200, 900)])
def test_maps_of_other_shapes(size):
    """A small picture beside a wall, and a large one."""
    width, height = size
    canvas = np.full((height, width, 3), 100, np.uint8)
    side = min(size)
    canvas[:side, :side] = np.asarray(Image.fromarray(astronaut()).resize((side, side)))
    iuv, _, _ = lifted_map(canvas)

    assert iuv.shape == canvas.shape
    assert np.isin(iuv[int(0.6 * side), int(0.34 * side), 0], TORSO)


def test_nobody_has_no_map():
    with pytest.raises(NothingFoundError):
        lifted_map(np.full((80, 60, 3), 255, np.uint8))
