"""Edits: what they change on the scene, what they leave alone on the picture, and the triples made of them."""

import csv
import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from unlit import draw_colors

from pgpis.cli import main
from pgpis.errors import PgpisError
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import Frame
from pgpis.synth.figure.description import GARMENTS, PERSON, Fabric, Layer, Outfit, from_json
from pgpis.synth.files import triples
from pgpis.synth.files.formats import json_line
from pgpis.synth.files.manifest import Entry, read_manifest
from pgpis.synth.files.resuming import draw_unit
from pgpis.synth.files.sheet import sample_people
from pgpis.synth.scene.edit import isolated, stature, with_fabrics, with_identity, with_outfit, with_paint, with_pose
from pgpis.synth.scene.render import draw
from pgpis.synth.scene.sampling import view_of, views_of
from pgpis.synth.scene.scene import Scene

SIZE = (128, 88)
EDITS = {
    "outfit": lambda scene, other: with_outfit(scene, other.outfit),
    "fabric": lambda scene, other: with_fabrics(scene, other.outfit),
    "identity": lambda scene, other: with_identity(scene, other.identity),
    "paint": lambda scene, other: with_paint(scene, other.identity),
    "pose": lambda scene, other: with_pose(scene, other.pose),
}
CHANGED_FIELD = {"outfit": "outfit", "fabric": "outfit", "identity": "identity", "paint": "identity", "pose": "pose"}


@pytest.fixture(scope="module")
def people():
    return [views_of(3, person, 3) for person in range(4)]


@pytest.fixture(scope="module")
def entries():
    return [entry for views in sample_people(3, 4, 4, SIZE) for entry in views]


@pytest.fixture(scope="module")
def manifest(entries, tmp_path_factory):
    """A data set of which only the manifest is there, since editing needs no more."""
    root = tmp_path_factory.mktemp("manifest")
    entries = [dataclasses.replace(entry, split=("test", "train")[entry.person % 2]) for entry in entries]
    (root / "manifest.jsonl").write_bytes(b"".join(json_line(entry.to_json()) for entry in entries))
    return root


@pytest.mark.parametrize("kind", ["identity", "paint"])
def test_pictures_from_behind_alone_give_no_faces_to_edit(kind, entries):
    behind = [entry for entry in entries if view_of(entry.view)[0] == "3_back"]
    assert len({entry.person for entry in behind}) > 1
    with pytest.raises(PgpisError, match=f"--kind {kind}: no picture shows a face, all of them are views from behind"):
        triples.choose(behind, kind, 3, 0)
    assert len(triples.choose(behind, "outfit", 3, 0)) == 3


def changed(first, second):
    return (first.rgb != second.rgb).any(axis=-1)


def shown(scene, known={}):  # noqa: B006  the scenes before the edits are the same for all kinds
    """The picture of a scene, and the layers ``(H, 2, W, 2)`` in the four samples that a pixel is averaged from."""
    height, width = SIZE
    key = repr(scene)
    if key not in known:
        layers = draw_colors(scene, 2 * height, 2 * width)[2].reshape(height, 2, width, 2)
        known[key] = draw(scene, *SIZE), layers
    return known[key]


def reached(scene, kinds):
    """Pixels that show any of the layers in one of their samples."""
    return np.isin(shown(scene)[1], list(kinds)).any(axis=(1, 3))


@pytest.mark.parametrize("kind", EDITS)
def test_an_edit_changes_one_thing_and_returns_a_new_scene(people, kind):
    scene, other = people[0][0], people[1][0]
    before = dataclasses.asdict(scene)
    edited = EDITS[kind](scene, other)
    assert dataclasses.asdict(scene) == before
    differing = {
        field.name for field in dataclasses.fields(Scene) if getattr(scene, field.name) != getattr(edited, field.name)
    }
    assert differing == {CHANGED_FIELD[kind]}


@pytest.mark.parametrize("kind", ["fabric", "paint"])
def test_edits_of_colour_keep_geometry_and_change_nothing_else(people, kind):
    layers = GARMENTS if kind == "fabric" else PERSON
    for number, views in enumerate(people):
        scene, other = views[number % 3], people[(number + 1) % 4][0]
        before, after = shown(scene)[0], draw(EDITS[kind](scene, other), *SIZE)
        assert np.array_equal(before.iuv, after.iuv)
        assert np.array_equal(before.layer, after.layer)
        assert np.array_equal(before.whole133, after.whole133)
        assert not changed(before, after)[~reached(scene, layers)].any()
        assert changed(before, after)[np.isin(before.layer, layers)].mean() > 0.5


@pytest.mark.parametrize("kind", ["outfit", "identity", "pose"])
def test_edits_of_geometry_leave_the_backdrop_alone(people, kind):
    """Only the person, as they were or as they are now, differs; creases and shadow would reach farther."""
    for number, views in enumerate(people):
        scene, other = isolated(views[number % 3]), people[(number + 1) % 4][(number + 1) % 3]
        edited = EDITS[kind](scene, other)
        before, after = shown(scene)[0], shown(edited)[0]
        behind = ~reached(scene, Layer) & ~reached(edited, Layer)
        assert behind.mean() > 0.3
        assert not changed(before, after)[behind].any()
        assert changed(before, after).sum() > 200


def test_another_outfit_leaves_the_face_alone(people):
    for views, others in itertools.pairwise(people):
        scene = isolated(views[0])
        before, after = shown(scene)[0], draw(with_outfit(scene, others[0].outfit), *SIZE)
        x0, y0, x1, y1 = (round(value) for value in before.face_box)
        assert not changed(before, after)[y0:y1, x0:x1].any()


def test_without_isolation_geometry_edits_would_reach_the_floor(people):
    """The shadow moves with the shoes: what ``isolated`` is for."""
    scene = dataclasses.replace(people[0][0], backdrop=dataclasses.replace(people[0][0].backdrop, floor=True))
    edited = with_pose(scene, people[1][1].pose)
    behind = ~reached(scene, Layer) & ~reached(edited, Layer)
    assert changed(shown(scene)[0], shown(edited)[0])[behind].any()


def fabric(name):
    return Fabric(name, ((1.0, 2.0, 3.0),) * 3)


def outfit(name, *, skirt=False, jacket=False, dress=False, placket=False):
    return Outfit(
        top=dataclasses.replace(fabric(f"{name} top"), placket=placket),
        bottom=fabric(f"{name} bottom"),
        skirt=fabric(f"{name} {'top' if dress else 'skirt'}") if skirt or dress else None,
        jacket=fabric(f"{name} jacket") if jacket else None,
        shoes=fabric(f"{name} shoes"),
        neckline="crew",
        dress=dress,
        tucked=False,
        cut={"leg": 2.0},
    )


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        ({}, {}, {"top": "b top", "bottom": "b bottom", "skirt": None, "jacket": None, "shoes": "b shoes"}),
        ({}, {"skirt": True}, {"bottom": "b skirt", "skirt": None}),
        ({"skirt": True}, {}, {"bottom": "a bottom", "skirt": "b bottom"}),
        ({"skirt": True}, {"skirt": True}, {"bottom": "b bottom", "skirt": "b skirt"}),
        ({"dress": True}, {}, {"top": "b top", "skirt": "b top"}),
        ({"jacket": True}, {}, {"jacket": "a jacket"}),
        ({"jacket": True}, {"jacket": True}, {"jacket": "b jacket"}),
        ({}, {"jacket": True}, {"jacket": None}),
    ],
)
def test_fabrics_go_to_the_garments_that_are_worn(people, own, other, expected):
    mine = outfit("a", **own)
    scene = dataclasses.replace(people[0][0], outfit=mine)
    result = with_fabrics(scene, outfit("b", placket=True, **other)).outfit
    for name, pattern in expected.items():
        worn = getattr(result, name)
        assert (worn and worn.pattern) == pattern
    assert (result.cut, result.neckline, result.dress, result.top.placket) == (mine.cut, "crew", mine.dress, False)


def test_another_identity_keeps_the_stature(people):
    statures = [stature(views[0].identity) for views in people]
    assert max(statures) - min(statures) > 0.05
    for views, others in itertools.permutations(people, 2):
        other = others[0].identity
        result = with_identity(views[0], other).identity
        assert stature(result) == pytest.approx(stature(views[0].identity), abs=0.001)
        assert {**result.shape, "height": other.shape["height"]} == other.shape
        assert dataclasses.replace(result, shape=other.shape) == other


@pytest.mark.parametrize("kind", triples.KINDS)
def test_the_choice_takes_every_source_before_any_again(entries, kind):
    eligible = [entry for entry in entries if kind not in triples.FACIAL or entry.view != 2]
    chosen = triples.choose(entries, kind, 2 * len(eligible), seed=0)
    for half in (chosen[: len(eligible)], chosen[len(eligible) :]):
        assert sorted(triple.source.name for triple in half) == sorted(entry.name for entry in eligible)
    assert all(triple.source.person != triple.other.person for triple in chosen)
    assert chosen[:5] == triples.choose(entries, kind, 5, seed=0)
    assert chosen[:5] != triples.choose(entries, kind, 5, seed=1)
    female = {entry.person: entry.scene.identity.female for entry in entries}
    for triple in chosen:
        lonely = [*female.values()].count(female[triple.source.person]) == 1
        assert lonely or female[triple.source.person] == female[triple.other.person]


@pytest.mark.usefixtures("_without_workers")
def test_triples_on_disk(manifest, tmp_path, capsys):
    out = tmp_path / "edits"
    entries = read_manifest(manifest)
    for kind in ("pose", "fabric"):  # as an earlier run would leave them
        for triple in triples.choose(entries, kind, 1, seed=0):
            draw_unit(triples.draw_triple, out, triple)
    (out / "mask" / "pose-000000.png").unlink()
    words = ["synth", "edit", "--from", str(manifest), "--kind", "pose", "fabric", "--split", "all", "--workers", "1"]
    assert main([*words, "--out", str(out), "--pictures", "2"]) == 0
    assert "3 triples drawn, 1 there already" in capsys.readouterr().out
    with (out / "triples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["fabric"] * 2 + ["pose"] * 2
    lines = [json.loads(line) for line in (out / "triples.jsonl").read_text().splitlines()]
    for row, line in zip(rows, lines, strict=True):
        pictures = {role: np.asarray(Image.open(out / row[role])) for role in ("source", "reference", "truth", "mask")}
        differs = (pictures["source"] != pictures["truth"]).any(axis=-1)
        assert differs.any()
        assert np.array_equal(pictures["mask"] == 255, differs)
        for role in triples.ROLES:
            drawn = draw(from_json(Scene, line[f"{role}_scene"]), *line["size"])
            assert np.array_equal(drawn.rgb, pictures[role])
            assert np.array_equal(np.asarray(Image.open(out / line[f"{role}_iuv"]))[..., ::-1], drawn.iuv)
        pose = read_keypoints(out / line["truth_pose"]).to(Frame(*line["size"]))
        seen = drawn.body18[:, 2] == 2  # the last that was drawn is the truth
        assert np.abs(pose.points - drawn.body18[:, :2])[seen].max() < 0.01
        assert row["source_name"] != row["reference_name"]


@pytest.mark.usefixtures("_without_workers")
def test_triples_of_another_data_set_in_the_same_place_are_refused(manifest, tmp_path, capsys):
    lines = (manifest / "manifest.jsonl").read_text().splitlines(keepends=True)
    root, out = tmp_path / "data", tmp_path / "edits"
    root.mkdir()
    (root / "manifest.jsonl").write_text("".join(lines))
    words = ["synth", "edit", "--from", str(root), "--out", str(out), "--kind", "fabric", "--split", "all"]
    words += ["--workers", "1", "--pictures"]
    assert main([*words, "1"]) == 0
    assert main([*words, "1"]) == 0
    assert "0 triples drawn, 1 there already" in capsys.readouterr().out
    (root / "manifest.jsonl").write_text("".join(lines[4:]))
    before = (out / "triples.jsonl").read_bytes()
    assert main([*words, "2"]) == 2
    told = capsys.readouterr().err
    assert f"{out} was begun with manifest " in told
    assert "choose another folder with --out" in told
    assert (out / "triples.jsonl").read_bytes() == before
    job = json.loads((out / "job.json").read_bytes())
    del job["manifest"]  # as earlier versions leave it
    (out / "job.json").write_text(json.dumps(job))
    (root / "manifest.jsonl").write_text("".join(lines))
    assert main([*words, "2"]) == 0
    assert "1 triples drawn, 1 there already" in capsys.readouterr().out
    assert "manifest" in json.loads((out / "job.json").read_bytes())


def test_a_folder_of_another_command_is_refused_and_not_to_be_removed(manifest, tmp_path, capsys):
    shutil.copy(manifest / "manifest.jsonl", tmp_path)
    (tmp_path / "job.json").write_text('{"format": 1, "people": 2}')
    words = ["synth", "edit", "--from", str(tmp_path), "--out", str(tmp_path), "--kind", "fabric", "--split", "all"]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path} was begun by another command: its job.json has no 'from'" in told
    assert "delete" not in told


def test_kinds_are_told_as_they_are_given(manifest, tmp_path):
    (tmp_path / "job.json").write_text(
        json.dumps(
            {"format": 1, "from": str(manifest), "kind": ["fabric", "paint"], "pictures": 1, "seed": 0, "split": "all"}
        )
    )
    with pytest.raises(PgpisError, match="was begun with --kind fabric paint, not paint"):
        triples.make_triples(manifest, tmp_path, ["paint", "paint"], 1, split="all")


def test_a_scene_of_another_version_is_told(manifest):
    line = json.loads((manifest / "manifest.jsonl").read_text().splitlines()[0])
    line["scene"]["weather"] = "rain"
    with pytest.raises(PgpisError, match="another version of pgpis"):
        Entry.from_json(line).draw()
