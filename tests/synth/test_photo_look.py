"""``--look photo``: pictures that look photographed, with labels as exact as those of drawn ones."""

import dataclasses
import hashlib
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from pgpis.cli import main
from pgpis.data import DeepFashion
from pgpis.data.check import check_root
from pgpis.errors import PgpisError
from pgpis.evaluate.exact import CHANGES, REGIONS, ExactScores
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.synth.figure import photographs
from pgpis.synth.figure.atlas import person_atlas
from pgpis.synth.figure.description import Layer
from pgpis.synth.figure.person import dress
from pgpis.synth.figure.photographs import PHOTOGRAPHS, look_up, photograph
from pgpis.synth.figure.restyled import longer_hair, restyle
from pgpis.synth.files.dataset import make_dataset
from pgpis.synth.files.formats import encode_image
from pgpis.synth.files.manifest import plain, read_manifest
from pgpis.synth.files.options import DatasetOptions, is_photographed
from pgpis.synth.files.sheet import sample_people
from pgpis.synth.files.triples import make_triples
from pgpis.synth.scene.camera import cut_frame, project
from pgpis.synth.scene.film import develop
from pgpis.synth.scene.labels import stand
from pgpis.synth.scene.render import draw, draw_labels
from pgpis.synth.scene.room import paint_room, sample_room
from pgpis.synth.scene.sampling import person_of, views_of
from pgpis.synth.scene.scene import Covering, Film

SIZE = (128, 88)
SEED = 11
OPTIONS = DatasetOptions(4, 2, SIZE, seed=SEED, test_share=0.5, textures="none", look="photo")
DRAWN_SCENES = "bbe1d5919c335aeafc5fb79c749e933e8e327afb6ba2728456a23ec1923e1436"


@pytest.fixture(scope="module")
def scenes():
    return [views_of(SEED, person, 4, photographed=True) for person in range(3)]


@pytest.fixture(scope="module")
def root(draw_people, tmp_path_factory):
    root = tmp_path_factory.mktemp("photo") / "data"
    options = {"seed": SEED, "size": SIZE, "share": 0.5, "look": "photo"}
    draw_people(root, people=4, views=2, **options)
    return root


def rounded(value):
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in sorted(value.items())}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value


def test_drawn_people_are_who_they_were():
    """The manifest of a seed, as it was before there was another look."""
    values = [rounded(plain(scene)) for person in range(2) for scene in views_of(7, person, 8)]
    assert hashlib.sha256(json.dumps(values).encode()).hexdigest() == DRAWN_SCENES


def test_a_folder_of_before_goes_on_as_drawn_and_not_otherwise(tmp_path, drawing_here):
    options = DatasetOptions(2, 2, (64, 44), textures="none")
    make_dataset(tmp_path / "data", options)
    path = tmp_path / "data/job.json"
    path.write_bytes(path.read_bytes().replace(b',"look":"drawn"', b""))
    job = path.read_bytes()
    assert b"look" not in job
    with pytest.raises(PgpisError, match="begun with --look drawn, not photo"):
        make_dataset(tmp_path / "data", dataclasses.replace(options, look="photo"))
    assert path.read_bytes() == job
    assert make_dataset(tmp_path / "data", options).kept == 2


def test_a_data_set_serves_all_readers_and_is_drawn_again_to_the_byte(root):
    assert not check_root(root).problems
    assert json.loads((root / "job.json").read_bytes())["look"] == "photo"
    for entry in read_manifest(root):
        assert encode_image(entry.draw().rgb, ".jpg") == (root / entry.name).read_bytes()
    with pytest.raises(PgpisError, match="begun with --look photo, not drawn"):
        make_dataset(root, dataclasses.replace(OPTIONS, look="drawn"))


@pytest.mark.slow
def test_textures_may_be_what_the_photographs_show(draw_people, tmp_path):
    options = {"textures": "seen", "share": 0.5, "look": "photo", "inpaint": "fast"}
    draw_people(tmp_path / "data", people=2, views=2, seed=SEED, size=SIZE, **options)
    pictures = sorted(path.stem for path in (tmp_path / "data/train").glob("*.jpg"))
    for kind in ("texture", "surface", "backdrop"):
        assert sorted(path.stem for path in (tmp_path / f"data/train_{kind}").glob("*.png")) == pictures


def test_views_of_a_person_share_room_film_and_print(scenes):
    for views in scenes:
        first = views[0]
        for scene in views[1:]:
            assert (scene.outfit, scene.identity, scene.light) == (first.outfit, first.identity, first.light)
            assert dataclasses.replace(scene.room, level=first.room.level) == first.room
            assert (scene.film.noise, scene.film.balance) == (first.film.noise, first.film.balance)
            assert abs(scene.film.quality - first.film.quality) <= 6
            assert scene.film.seed != first.film.seed
            assert scene.backdrop.color == first.backdrop.color
    assert len({views[0].room for views in scenes}) == len(scenes)


def test_the_same_people_in_the_same_poses_have_the_same_faces(scenes):
    for person, views in enumerate(scenes):
        drawn = views_of(SEED, person, 1)[0]
        assert (views[0].pose, views[0].identity.face) == (drawn.pose, drawn.identity.face)
        assert person_of(SEED, person, photographed=True) == (views[0].identity, views[0].outfit)


def test_room_and_film_do_not_touch_labels(scenes):
    scene = scenes[0][0]
    picture = draw(scene, *SIZE)
    iuv, layer, (_, _, whole) = draw_labels(dataclasses.replace(scene, room=None, film=None), *SIZE)
    assert (picture.iuv == iuv).all()
    assert (picture.layer == layer).all()
    assert (picture.whole133 == whole).all()


def test_points_that_the_frame_cuts_off_are_missing(scenes):
    scene = scenes[0][0]
    points = stand(dress(scene.identity, scene.outfit), scene.pose)[1]
    for number in range(12):
        camera = cut_frame(scene.camera, points, np.random.default_rng(number), SIZE[1] / SIZE[0])
        cut = dataclasses.replace(scene, camera=camera)
        _, layer, (_, coco, whole) = draw_labels(cut, *SIZE)
        x, y, visibility = whole.T
        inside = (x >= 0) & (x < SIZE[1]) & (y >= 0) & (y < SIZE[0])
        assert ((visibility == 0) == ~inside).all()
        assert not inside[:17].all() or not inside[17:91].all()
        assert inside[:17].sum() >= 4
        assert (layer >= 0).mean() > 0.1
        left_hip = project(camera, points["left_hip"], SIZE[0])[0]
        np.testing.assert_allclose(left_hip[:2], coco[11, :2], atol=1e-3)


def test_pose_files_say_that_points_are_missing(root):
    for entry in read_manifest(root):
        labels = json.loads((root / "labels" / entry.name.removeprefix("img/")).with_suffix(".json").read_bytes())
        pose = (root / "pose" / entry.name.removeprefix("img/")).with_suffix(".txt")
        keypoints = read_keypoints(pose)
        outside = np.array(labels["body18"])[:, 2] == 0
        assert not keypoints.seen[outside].any()


def test_a_share_of_the_tops_is_printed_and_of_the_hair_long():
    rng = np.random.default_rng(0)
    identity, outfit = person_of(0, 0)
    plain_top = dataclasses.replace(outfit.top, placket=False)
    outfit = dataclasses.replace(outfit, top=plain_top, jacket=None, dress=False, skirt=None)
    tops = [restyle(rng, outfit) for _ in range(400)]
    printed = [top for top in tops if {top.top.pattern, top.top.logo} & set(PHOTOGRAPHS)]
    assert 0.22 < len(printed) / len(tops) < 0.38
    assert {top.top.logo is None for top in printed} == {True, False}
    assert np.ptp([top.cut["loose"] for top in tops]) > 0.015
    hair = [longer_hair(rng, identity).hair for _ in range(100)]
    assert 0 < sum(style != identity.hair for style in hair) < 60


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_print_is_part_of_the_garment_s_texture(everywhere):
    identity, outfit = person_of(3, 1)
    outfit = dataclasses.replace(outfit, jacket=None, neckline="crew", dress=False, skirt=None)
    details = {"x": 0.2, "y": 0.1, "two_tone": 0.0, "logo_height": 0.27, "shape": 1.0, "round": 0.0, "share": 0.8}
    plain_top = dataclasses.replace(outfit.top, pattern="plain", logo=None, placket=False)
    print_of = {"pattern": "coffee", "scale": 0.4} if everywhere else {"logo": "coffee", "logo_size": 0.2}
    printed_top = dataclasses.replace(plain_top, details=details, **print_of)
    (plain_atlas, layers), (atlas, _) = (
        person_atlas(dress(identity, dataclasses.replace(outfit, top=top)), 60) for top in (plain_top, printed_top)
    )
    changed = (plain_atlas != atlas).any(axis=-1)
    assert (layers[changed] == Layer.TOP).all()
    share = changed.sum() / (layers == Layer.TOP).sum()
    assert share > 0.9 if everywhere else 0.03 < share < 0.4


def test_a_photograph_is_looked_up_in_metres_and_mirrored_beyond_its_edges():
    picture = photograph("coffee")
    height, width = picture.shape[:2]
    across = (np.arange(width) + 0.5).astype(np.float32) / width
    row = np.full(width, (100 + 0.5) / width, np.float32)
    assert (look_up("coffee", 1.0, 0.0, across, row) == picture[100]).all()
    assert (look_up("coffee", 1.0, 0.0, across + 1, row) == picture[100, ::-1]).all()
    assert (look_up("coffee", 1.0, 0.0, across, row + 2 * height / width) == picture[100]).all()
    assert photograph("coffee", 2).shape == (height // 4, width // 4, 3)


def test_held_out_photographs_are_not_among_the_sources():
    assert not {source.file for source in PHOTOGRAPHS.values()} & {"astronaut.png", "grace_hopper.jpg"}


def test_a_closer_camera_sees_the_same_wall_larger(scenes):
    scene = scenes[0][0]
    (_, backdrop), room = sample_room(np.random.default_rng(0))
    wall = Covering("coffee", (0.3, 2.0), 3.0, 1.0)
    room = dataclasses.replace(room, level=-5.0, blur=0.0, wall=wall, floor=None)
    backdrop = dataclasses.replace(backdrop, floor=False, falloff=0.0)
    vertices = np.zeros((3, 3), np.float32)
    far = paint_room(room, backdrop, scene.camera, vertices, 200, 140)
    closer = dataclasses.replace(scene.camera, focal=2 * scene.camera.focal)
    near = paint_room(room, backdrop, closer, vertices, 200, 140)
    middle = cv2.resize(far[50:150, 35:105], (140, 200), interpolation=cv2.INTER_LINEAR)
    assert far.std() > 20
    assert np.abs(near - middle).mean() < 0.2 * far.std()


def test_the_floor_meets_the_wall_where_the_camera_sees_it(scenes):
    scene = next(scene for scene in scenes[0])
    (_, backdrop), room = sample_room(np.random.default_rng(0))
    room = dataclasses.replace(room, edge=0.0, blur=0.0, wall=None, floor=None, floor_color=(0.0, 0.0, 0.0), level=-0.8)
    backdrop = dataclasses.replace(backdrop, color=(250.0, 250.0, 250.0), falloff=0.0, floor=False)
    seen = paint_room(room, backdrop, scene.camera, np.zeros((3, 3), np.float32), 256, 176)
    corner = project(scene.camera, np.array([[0, room.distance, room.level]], np.float32), 256)[0]
    assert abs((seen[:, 0, 0] > 125).sum() - corner[1]) <= 1
    paved = dataclasses.replace(room, floor=Covering("gravel", (0.0, 0.0), 1.0, 1.0))
    ground = paint_room(paved, backdrop, scene.camera, np.zeros((3, 3), np.float32), 256, 176)
    below = int(corner[1]) + 2
    assert (ground[: below - 4] == seen[: below - 4]).all()
    assert ground[below:].std() > 10


FILM = Film(1.0, (1.0, 1.0, 1.0), 1.0, (0.0, 0.0), 0.0, 0.0, 95, 1)


@pytest.mark.parametrize(
    ("change", "measure"),
    [
        ({"exposure": 1.2}, lambda before, after: after.mean() / before.mean() - 1.2),
        ({"balance": (1.1, 1.0, 0.9)}, lambda before, after: np.ptp(after.mean((0, 1)) / before.mean((0, 1))) - 0.2),
        ({"slope": (0.2, 0.0)}, lambda _, after: after[:, -1].mean() / after[:, 0].mean() - 1.2 / 0.8),
        ({"slope": (0.0, 0.2)}, lambda _, after: after[-1].mean() / after[0].mean() - 1.2 / 0.8),
    ],
)
def test_film_changes_light(change, measure):
    grey = np.full((64, 48, 3), 120, np.float32)
    before, after = (develop(grey, film).astype(float) for film in (FILM, dataclasses.replace(FILM, **change)))
    assert np.abs(before - 120).max() <= 1
    assert abs(measure(before, after)) < 0.03


def test_film_has_contrast_noise_sharpness_and_jpeg():
    ramp = np.repeat(np.linspace(0, 255, 256, dtype=np.float32)[None, :, None], 256, axis=0).repeat(3, axis=2)

    def of(**change):
        return develop(ramp, dataclasses.replace(FILM, **change)).astype(float)

    steep = of(contrast=1.3)[128, :, 0]
    assert abs(steep[136] - steep[120]) == pytest.approx(16 * 1.3, abs=2)
    assert steep[0] <= 2
    assert steep[-1] >= 253
    noise = of(noise=6.0) - of()
    assert noise[:, 200:].std() > 1.5 * noise[:, 5:40].std() > 0
    assert (of(noise=6.0) == of(noise=6.0)).all()
    assert (of(noise=6.0) != of(noise=6.0, seed=2)).any()
    edge = np.full((256, 64, 3), 60, np.float32)
    edge[:, 32:] = 190
    slope = [
        np.diff(develop(edge, dataclasses.replace(FILM, blur=blur))[32, :, 0].astype(int)).max()
        for blur in (1, 0, -0.6)
    ]
    assert slope == sorted(set(slope))
    assert np.abs(of(noise=6.0, quality=60) - of(noise=6.0)).mean() > 0.5


def test_counterfactuals_have_the_look_of_the_picture(root, tmp_path, drawing_here):
    report = make_triples(root, tmp_path / "edits", ("outfit", "fabric", "pose"), pictures=1, split="all")
    assert not report.failures
    for line in map(json.loads, (tmp_path / "edits/triples.jsonl").read_text().splitlines()):
        assert line["truth_scene"]["room"] == line["source_scene"]["room"]
        assert line["truth_scene"]["film"] == line["source_scene"]["film"]
        mask = np.asarray(Image.open(tmp_path / "edits" / line["mask"])) > 0
        assert 0.01 < mask.mean() < 0.9
    exact = ExactScores(root, candidates=2)
    dataset = DeepFashion(root, "test", layout="fpdm")
    dataset.setup()
    target = dataset.pairs[0].target
    (scores,) = exact(target, [Image.fromarray(exact.entry(target).draw().rgb)])
    assert all(scores[name] == 1.0 for name in CHANGES)
    assert all(scores[name] == 0.0 for name in REGIONS if not np.isnan(scores[name]))


@pytest.mark.parametrize("spec", [None, "empty"])
def test_without_scikit_image_it_says_what_to_do(tmp_path, monkeypatch, capsys, spec):
    found = None if spec is None else dataclasses.make_dataclass("Spec", ["submodule_search_locations"])([tmp_path])
    monkeypatch.setattr(photographs, "find_spec", lambda _: found)
    words = ["synth", "--out", tmp_path / "data", "--people", 2, "--look", "photo", "--textures", "none"]
    assert main([str(word) for word in words]) != 0
    told = capsys.readouterr().err
    assert "scikit-image" in told
    assert "pip install" in told
    assert not (tmp_path / "data").exists()


def test_a_sheet_shows_the_look(tmp_path, capsys):
    paths = [tmp_path / f"{look}.png" for look in ("drawn", "photo")]
    for path in paths:
        words = ["synth", "sheet", f"--out={path}", "--people=1", "--views=1", "--seed=3", f"--look={path.stem}"]
        assert main(words) in (0, None)
    drawn, photo = (np.asarray(Image.open(path)) for path in paths)
    assert drawn.shape == photo.shape
    assert (drawn != photo).any()
    assert main(["synth", "sheet", f"--out={paths[0]}", f"--from={tmp_path}", "--look=photo"]) != 0
    assert "--look" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.02, 0.1, 0.2, 0.25, 1 / 3, 0.5])
def test_both_lists_of_mixed_people_have_both_looks(share):
    options = DatasetOptions(1600, test_share=share, look="mixed")
    looks = {"train": [], "test": []}
    for unit in options.units():
        looks[options.split(unit)].append(is_photographed("mixed", unit.index))
    for split, photographed in looks.items():
        assert 0.3 < np.mean(photographed) < 0.7, split


def test_a_sheet_of_mixed_people_is_mixed():
    people = sample_people(SEED, 4, 1, SIZE, "mixed")
    assert [entries[0].scene.room is not None for entries in people] == [False, True, True, False]
