"""DensePose maps of key points alone."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from pgpis.app.poses import named_poses
from pgpis.cli import main
from pgpis.data import FolderPairs
from pgpis.errors import PgpisError
from pgpis.pictures.iuv import check_iuv, iuv_pixels, read_part_u_v
from pgpis.pictures.keypoint_files import write_keypoints
from pgpis.pictures.keypoints import DEEPFASHION_FRAME, FEET_AND_HANDS, Frame, Keypoints
from pgpis.preprocess.lifter import map_of_points
from pgpis.preprocess.outline import silhouette_of
from pgpis.preprocess.photos import PhotoPairs
from pgpis.preprocess.settings import PrepareSettings
from pgpis.synth.people import DrawnPeople

BACK, FRONT = (1,), (2,)
HANDS, FEET, HEAD = (3, 4), (5, 6), (23, 24)
RIGHT_ARM, LEFT_ARM = (16, 18, 20, 22, 3), (15, 17, 19, 21, 4)
RIGHT_THIGH, LEFT_THIGH, SHINS = (7, 9), (8, 10), (11, 12, 13, 14)
MIRRORED = np.array([0, 1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15, 18, 17, 20, 19, 22, 21, 24, 23])
"""The part of the other side."""
FRAME = Frame(256, 176)
STANDING = [
    *((88, 42), (88, 64), (66, 65), (56, 103), (52, 136), (110, 65), (120, 103), (124, 136)),
    *((76, 128), (75, 184), (74, 236), (100, 128), (101, 184), (102, 236), (83, 37), (93, 37), (77, 40), (99, 40)),
]
"""Somebody who faces the camera, arms down."""


def figure(*, without=(), frame=FRAME, **moved):
    """The standing figure, some of its points unknown, others elsewhere: ``figure(p4=(20, 30))``."""
    points = np.array(STANDING, float)
    for name, place in moved.items():
        points[int(name[1:])] = place
    known = np.ones((18, 2), bool)
    known[list(without)] = False
    return Keypoints.from_visible(points, known, FRAME, "body18").to(frame)


def part_at(iuv, x, y):
    return int(iuv[y, x, 0])


def middle_of(iuv, parts):
    """Mean x and y of some parts."""
    rows, columns = np.nonzero(np.isin(iuv[..., 0], parts))
    return columns.mean(), rows.mean()


def has(iuv, parts, least=20):
    return np.isin(iuv[..., 0], parts).sum() >= least


def test_a_standing_figure():
    iuv = map_of_points(figure())

    assert iuv.shape == (256, 176, 3)
    assert part_at(iuv, 88, 95) in FRONT
    assert part_at(iuv, 61, 85) in RIGHT_ARM
    assert part_at(iuv, 115, 85) in LEFT_ARM
    assert part_at(iuv, 76, 165) in RIGHT_THIGH
    assert part_at(iuv, 101, 165) in LEFT_THIGH
    assert part_at(iuv, 84, 38) == 23
    assert part_at(iuv, 92, 38) == 24
    assert middle_of(iuv, RIGHT_ARM)[0] < middle_of(iuv, FRONT)[0] < middle_of(iuv, LEFT_ARM)[0]
    assert middle_of(iuv, HEAD)[1] < middle_of(iuv, FRONT)[1] < middle_of(iuv, SHINS)[1] < middle_of(iuv, FEET)[1]
    assert not iuv[:15].any()
    assert not iuv[iuv[..., 0] == 0].any()
    check_iuv(Image.fromarray(iuv_pixels(iuv)), "map")


def test_a_mirrored_figure_is_the_mirrored_map():
    pose = figure(p3=(45, 50), p4=(30, 25), p10=(60, 232))
    iuv, mirrored = map_of_points(pose), map_of_points(pose.flip())[:, ::-1, 0]
    person = iuv[..., 0] > 0

    assert ((mirrored > 0) == person).mean() > 0.99
    assert (MIRRORED[iuv[..., 0]] == mirrored)[person].mean() > 0.9
    assert np.abs(np.subtract(*(middle_of(part, RIGHT_ARM) for part in (iuv, MIRRORED[mirrored][..., None])))).max() < 2


def test_somebody_who_stands_on_their_head():
    """The net has seen nobody who does."""
    upside_down = replace(figure(), points=[176, 256] - np.array(STANDING, float))
    iuv, upright = map_of_points(upside_down)[::-1, ::-1, 0], map_of_points(figure())[..., 0]
    person = upright > 0

    assert (iuv == upright)[person].mean() > 0.9


def test_toes_of_somebody_who_lies_point_where_the_face_does():
    """Seen from the side, of which the drawn toes tell the direction."""
    points = np.full((26, 2), np.nan)
    points[:18] = np.array(STANDING) * [0.3, 1] + [62, 0]
    points[0] += [20, 0]
    upright = silhouette_of(points, (256, 256))
    lying = silhouette_of(np.column_stack([points[:, 1], 256 - points[:, 0]]), (256, 256))

    assert upright[240:, 105:].sum() > 50  # the toes
    assert (np.rot90(upright) != lying).sum() < 0.01 * lying.sum()


def test_a_back():
    turned = figure(without=(0, 14, 15)).flip()
    iuv = map_of_points(replace(turned, points=turned.points * [-1, 1] + [176, 0]))

    assert part_at(iuv, 88, 95) in BACK
    assert middle_of(iuv, LEFT_ARM)[0] < 88 < middle_of(iuv, RIGHT_ARM)[0]


def test_a_moved_arm_moves_its_parts():
    raised = map_of_points(figure(p3=(30, 50), p4=(20, 20)))

    assert part_at(raised, 25, 35) in RIGHT_ARM
    assert part_at(map_of_points(figure()), 25, 35) == 0
    assert part_at(raised, 54, 120) == 0


@pytest.mark.parametrize(
    ("without", "absent", "present"),
    [
        ((6, 7), LEFT_ARM[2:], RIGHT_ARM),
        ((9, 10, 12, 13), (*SHINS, *FEET), HEAD),
        ((8, 9, 10, 11, 12, 13), (*SHINS, *FEET), FRONT),
        ((1, 0, 14, 15, 16, 17), (), HEAD),
        ((2, 3, 4, 5, 6, 7), (3, 4, 19, 20, 21, 22), FRONT),
        ((5, 11), (), LEFT_THIGH),
        ((1, 5, 11), (), RIGHT_ARM),
    ],
    ids=["forearm", "legs", "below the waist", "head", "shoulders", "one of each and the neck", "one of each"],
)
def test_what_is_unknown_is_not_drawn(without, absent, present):
    iuv = map_of_points(figure(without=without))

    assert not has(iuv, absent)
    assert has(iuv, present)
    assert has(iuv, (*BACK, *FRONT), 500)


def test_the_picture_cuts_limbs_off():
    """Unknown knees just below the edge are those of a half-length portrait, not of somebody without legs."""
    half = np.array(STANDING, float) * 1.6 - [52, 30]
    known = np.repeat((half < [176, 256]).all(axis=1)[:, None], 2, axis=1)
    iuv = map_of_points(Keypoints.from_visible(half, known, FRAME, "body18"))

    assert not known[[9, 10, 12, 13]].any()
    assert has(iuv[-1:], RIGHT_THIGH, 5)
    assert has(iuv[-1:], LEFT_THIGH, 5)


def test_points_outside_the_picture():
    iuv = map_of_points(figure(p6=(150, 80), p7=(200, 85)))

    assert has(iuv[:, -4:], LEFT_ARM, 10)
    assert np.isfinite(middle_of(iuv, FRONT)).all()


@pytest.mark.parametrize(
    ("frame", "shape"),
    [(Frame(512, 352), (512, 352)), (DEEPFASHION_FRAME, (256, 176)), (Frame(1, 0.6875), (256, 176))],
)
def test_maps_of_other_frames(frame, shape):
    iuv = map_of_points(figure(frame=frame))
    small = np.asarray(Image.fromarray(iuv[..., 0]).resize((176, 256), Image.Resampling.NEAREST))

    assert iuv.shape == (*shape, 3)
    assert (small == map_of_points(figure())[..., 0]).mean() > 0.98


def test_the_size_of_a_map():
    assert map_of_points(figure(frame=Frame(51200, 35200))).shape == (1024, 704, 3)
    assert map_of_points(figure(), (128, 88)).shape == (128, 88, 3)


def test_feet_of_whole_bodies_are_used():
    """Somebody who faces the camera, whose feet point to the right."""
    points, known = np.zeros((133, 2)), np.zeros((133, 2), bool)
    coco = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]
    points[:17], known[:17] = np.array(STANDING)[coco], True
    toes_and_heels = list(FEET_AND_HANDS[:4])
    points[toes_and_heels], known[toes_and_heels] = [(125, 246), (97, 246), (98, 246), (70, 246)], True
    iuv = map_of_points(Keypoints.from_visible(points, known, FRAME, "wholebody133"))

    assert part_at(iuv, 122, 246) == 5
    assert part_at(map_of_points(figure()), 122, 246) == 0


@pytest.mark.parametrize(
    ("pose", "message"),
    [
        (figure(without=range(18)), "both shoulders .points 2 and 5 of 18, counted from 0., both hips .8 and 11."),
        (figure(without=(1, 5, 8, 11)), "one of each are needed"),
        (figure(without=(2, 5, 8)), "the trunk is unknown"),
        (replace(figure(), points=np.array(STANDING, float) + 500), "lies in the picture of 176 x 256"),
    ],
    ids=["nothing", "a shoulder", "a hip", "outside"],
)
def test_poses_without_a_map(pose, message):
    with pytest.raises(PgpisError, match=message):
        map_of_points(pose)


@pytest.mark.parametrize("scale", [1e-7, 1e-3, 20.0])
def test_people_of_any_size_harm_nothing(scale):
    pose = replace(figure(), points=(np.array(STANDING, float) - [88, 100]) * scale + [88, 100])
    try:
        iuv = map_of_points(pose)
    except PgpisError:
        return
    assert iuv[..., 0].max() <= 24


def test_named_poses():
    for name, pose in named_poses().items():
        iuv = map_of_points(pose)
        assert all(has(iuv, parts, 100) for parts in ((*BACK, *FRONT), (*RIGHT_THIGH, *LEFT_THIGH), HEAD)), name


@pytest.mark.slow
def test_maps_of_drawn_people():
    """Whose maps are exact; the lifter with their true silhouettes names about 88 % of the pixels."""
    people = DrawnPeople(3, views=8, seed=977, look="mixed")
    people.setup()
    named, placed = [], []
    for index in range(len(people)):
        drawn = people.load(index)
        truth = np.asarray(drawn.conditions["iuv"])[..., ::-1].astype(int)
        points = drawn.conditions["points"].reshape(26, 3)[:18]
        known = points[:, 2] > 0
        known[[0, 14, 15]] &= points[[0, 14, 15], 2] == 2
        if known[[2, 5]].any() and known[[8, 11]].any():
            places = points[:, :2].astype(float) * [176, 256]
            iuv = map_of_points(Keypoints.from_visible(places, np.repeat(known[:, None], 2, axis=1), FRAME, "body18"))
            right = (truth[..., 0] > 0) & (iuv[..., 0] == truth[..., 0])
            named.append(right.sum() / (truth[..., 0] > 0).sum())
            placed.append(np.abs(iuv[right, 1:] - truth[right, 1:]).mean() / 255)

    assert len(named) > 16
    assert np.mean(named) > 0.75
    assert np.mean(placed) < 0.05


@pytest.fixture
def folders(tmp_path):
    """A source, and two poses."""
    for name in ("photos", "poses"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (88, 128), "gray").save(tmp_path / "photos/anna.png")
    write_keypoints(tmp_path / "poses/stand.json", figure())
    write_keypoints(tmp_path / "poses/wave.txt", figure(p3=(45, 50), p4=(30, 25)))
    return tmp_path


def photo_pairs(folders, **options):
    pairs = PhotoPairs(
        folders / "photos",
        options.pop("poses", folders / "poses"),
        driving=False,
        settings=PrepareSettings(weights=folders),
        save_conditions=folders / "kept",
        **options,
    )
    pairs.setup()
    pairs.require({"iuv"})
    return pairs


def kept(folders):
    return {path: path.stat().st_mtime_ns for path in (folders / "kept/densepose").iterdir()}


def test_maps_are_made_of_key_points_and_kept(folders, caplog):
    with caplog.at_level(logging.INFO, "pgpis"):
        pairs = photo_pairs(folders)
    made = kept(folders)

    assert [line for line in caplog.messages if "key points" in line] == [
        "drawing DensePose maps of 2 poses from key points: estimates for an average body"
    ]
    assert sorted(path.name.rpartition("-")[0] for path in made) == ["stand", "wave"]
    stand, wave = (np.asarray(pairs.load(index, {"iuv"}).conditions["iuv"])[..., 2] for index in range(2))
    np.testing.assert_array_equal(stand, map_of_points(figure())[..., 0])
    assert np.isin(wave[20:40, 20:45], RIGHT_ARM).any()
    assert not np.isin(stand[20:40, 20:45], RIGHT_ARM).any()
    assert pairs.fingerprint(0, {"iuv"}) != pairs.fingerprint(1, {"iuv"})

    caplog.clear()
    with caplog.at_level(logging.INFO, "pgpis"):
        assert photo_pairs(folders).fingerprint(0, {"iuv"}) == pairs.fingerprint(0, {"iuv"})
    assert kept(folders) == made
    assert not any("drawing" in line for line in caplog.messages)


def test_another_pose_of_the_same_name_has_another_map(folders):
    photo_pairs(folders)
    made = kept(folders)
    write_keypoints(folders / "poses/stand.json", figure(p7=(170, 60)))
    photo_pairs(folders)
    photo_pairs(folders, pose_size=(300, 176))  # the numbers mean something else then

    assert made.items() < kept(folders).items()
    assert len(kept(folders)) == len(made) + 3


def test_a_map_that_is_there_is_taken(folders):
    (folders / "poses_densepose").mkdir()
    Image.fromarray(iuv_pixels(map_of_points(figure(p4=(30, 60))))).save(folders / "poses_densepose/stand.png")
    pairs = photo_pairs(folders)

    assert [path.name.rpartition("-")[0] for path in kept(folders)] == ["wave"]
    assert pairs.pairs[0].file("iuv") == folders / "poses_densepose/stand.png"
    np.testing.assert_array_equal(
        read_part_u_v(pairs.pairs[0].file("iuv")), read_part_u_v(folders / "poses_densepose/stand.png")
    )


def test_a_pose_without_a_map_fails_alone(folders):
    write_keypoints(folders / "poses/face.json", figure(without=(2, 5, 8, 11)))
    pairs = photo_pairs(folders)

    assert len(kept(folders)) == 2
    with pytest.raises(PgpisError, match=r"poses/face\.json: the trunk is unknown: both shoulders"):
        pairs.load(0, {"iuv"})
    with pytest.raises(PgpisError, match=r"no pair has a DensePose map.*face\.json: the trunk is") as error:
        photo_pairs(folders, poses=folders / "poses/face.json")
    assert "--prepare draws" not in error.value.hint


def test_a_message_has_no_hint_in_it(folders):
    """Page and service tell the message of an error alone."""
    path = folders / "poses/bare.json"
    path.write_text(json.dumps({"people": [{"pose_keypoints_2d": [1, 2, 0.9] * 18}]}))
    with pytest.raises(PgpisError) as error:
        photo_pairs(folders, poses=path)
    assert error.value.message.endswith("does not state the size of the picture to which its coordinates refer")
    assert "pose_size" in error.value.hint
    with pytest.raises(PgpisError) as error:
        photo_pairs(folders).load(0, {"iuv"})
    assert error.value.message.endswith("to which its coordinates refer")
    assert "pose_size" in error.value.hint


def test_the_message_names_the_option(folders):
    pairs = FolderPairs(folders / "photos", folders / "poses")
    pairs.setup()
    with pytest.raises(PgpisError, match="2 of 2 pairs have no DensePose map") as error:
        pairs.require({"iuv"})
    assert "pgpis predict --prepare draws DensePose maps from the key points" in error.value.hint


@pytest.mark.slow
def test_the_shipped_mcld_takes_key_points(folders, caplog):
    Image.fromarray(astronaut()).save(folders / "photos/anna.png")
    words = [
        "predict",
        "--pipeline",
        "synth-mcld",
        "--sources",
        folders / "photos/anna.png",
        "--poses",
        folders / "poses",
    ]
    words += ["--prepare", "--missing-face", "drop", "--prepare-weights", folders, "--prepare-inpaint", "fast"]
    words += ["--out", folders / "out", "--save-conditions", folders / "kept", "--steps", "2"]
    with caplog.at_level(logging.INFO, "pgpis"):
        assert main([str(word) for word in words]) == 0
    stand, wave = (np.asarray(Image.open(folders / f"out/anna_2_{pose}.png"), int) for pose in ("stand", "wave"))

    assert np.abs(stand - wave)[15:60, 20:55].mean() > 10  # where the raised arm is
    assert np.abs(stand - wave)[160:240, 60:120].mean() < 10
    assert any("from key points: estimates" in line for line in caplog.messages)
