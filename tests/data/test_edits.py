"""Exchanging identities and clothes: which files a pair reads, and which texels change."""

import shutil

import numpy as np
import pytest
from PIL import Image

from pgpis.data import FolderPairs, OnMissing
from pgpis.errors import PgpisError
from pgpis.pictures.uv_texture import PART_GROUPS, part_table, parts_of, replace_parts
from pgpis.synth.figure.identity import face_code
from pgpis.synth.files.sheet import sample_people

READS = {"iuv", "texture", "face"}


@pytest.fixture
def folders(tmp_path):
    """Two people with textures of one colour each, and a pose."""
    rng = np.random.default_rng(0)
    for folder in ("photos", "photos_texture", "photos_face", "poses"):
        (tmp_path / folder).mkdir()
    for name, grey in (("anna", 50), ("ben", 200)):
        Image.fromarray(rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)).save(tmp_path / f"photos/{name}.jpg")
        Image.new("RGB", (512, 512), (grey,) * 3).save(tmp_path / f"photos_texture/{name}.png")
        np.save(tmp_path / f"photos_face/{name}.npy", np.full(512, grey, np.float32))
    Image.new("RGB", (20, 30), (10, 20, 3)).save(tmp_path / "poses/walk.png")
    return tmp_path


def pairs(folders, **options):
    made = FolderPairs(folders / "photos", folders / "poses", **options)
    made.setup()
    made.require(READS)
    return made


def test_texture_and_face_lie_beside_the_sources(folders):
    made = pairs(folders)
    assert [pair.pair_id for pair in made.pairs] == ["anna_2_walk", "ben_2_walk"]
    loaded = made.load(1, READS)
    assert np.asarray(loaded.conditions["texture"]).max() == loaded.conditions["face"].max() == 200
    assert np.asarray(loaded.conditions["iuv"])[0, 0].tolist() == [10, 20, 3]


def test_sources_in_the_working_directory(folders, monkeypatch):
    monkeypatch.chdir(folders / "photos")
    made = FolderPairs("anna.jpg", folders / "poses")
    made.setup()
    assert np.asarray(made.load(0, READS).conditions["texture"]).max() == 50


def test_clothes_replace_texels_of_the_group_only(folders):
    made = pairs(folders, clothes=("upper=ben.jpg",))
    assert made.pairs[0].pair_id == "anna_2_walk_upper-ben"
    loaded = made.load(0, READS)
    changed = (np.asarray(loaded.conditions["texture"]) == 200).all(axis=-1)
    np.testing.assert_array_equal(changed, np.isin(part_table(), PART_GROUPS["upper"]))
    assert loaded.conditions["face"].max() == 50


def test_an_identity_is_face_and_head(folders):
    loaded = pairs(folders, identity="ben.jpg", clothes=("lower+feet=ben.jpg",)).load(0, READS)
    expected = (*PART_GROUPS["head"], *PART_GROUPS["lower"], *PART_GROUPS["feet"])
    changed = (np.asarray(loaded.conditions["texture"]) == 200).all(axis=-1)
    np.testing.assert_array_equal(changed, np.isin(part_table(), expected))
    assert loaded.conditions["face"].max() == 200


def test_a_table_edits_pair_by_pair(folders):
    table = folders / "pairs.csv"
    table.write_text(
        "source,pose,identity,clothes\nanna.jpg,walk.png,,\nanna.jpg,walk.png,ben.jpg,upper=ben.jpg|5=ben.jpg\n"
    )
    made = pairs(folders, pairs_csv=table)
    assert [pair.pair_id for pair in made.pairs] == ["anna_2_walk", "anna_2_walk_identity-ben_upper-ben_5-ben"]
    assert made.pairs[0].edit is None
    assert made.load(0, READS).conditions["face"].max() == 50
    assert made.load(1, READS).conditions["face"].max() == 200


def test_what_is_asked_of_all_is_in_every_name(folders):
    made = pairs(folders, identity="ben.jpg", clothes=("upper=ben.jpg",))
    assert [pair.pair_id for pair in made.pairs] == [f"{who}_2_walk_identity-ben_upper-ben" for who in ("anna", "ben")]
    assert {pair.edit.name for pair in made.pairs} == {"_identity-ben_upper-ben"}


def test_what_a_line_does_not_ask_for_is_as_for_all(folders):
    table = folders / "pairs.csv"
    lines = ("anna.jpg,walk.png,,feet=ben.jpg", "anna.jpg,walk.png,,", "anna.jpg,walk.png,,torso=anna.jpg")
    table.write_text("\n".join(["source,pose,identity,clothes", *lines, ""]))
    own, plain, other = pairs(
        folders, pairs_csv=table, identity="ben.jpg", clothes=("upper=ben.jpg", "lower=ben.jpg")
    ).pairs
    assert own.pair_id == "anna_2_walk_identity-ben_upper-ben_lower-ben_feet-ben"
    assert plain.pair_id == "anna_2_walk_identity-ben_upper-ben_lower-ben"
    assert other.pair_id == "anna_2_walk_identity-ben_lower-ben_torso-anna", "torso is a part of upper"
    assert own.edit.identity == plain.edit.identity
    assert [parts for parts, _ in own.edit.clothes] == [PART_GROUPS[group] for group in ("upper", "lower", "feet")]
    table.write_text("source,pose,clothes\nanna.jpg,walk.png,\nanna.jpg,walk.png,upper=ben.jpg\n")
    with pytest.raises(PgpisError, match="lines 2 and 3 name the same pair"):
        pairs(folders, pairs_csv=table, clothes=("upper=ben.jpg", "lower=ben.jpg"))


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("anna.jpg,walk.png,", "./anna.jpg,walk.png,"),
        ("anna.jpg,walk.png,", "anna.jpg,.//walk.png,"),
        ("anna.jpg,walk.png,upper=ben.jpg", "anna.jpg,walk.png,upper=./ben.jpg"),
        ("anna.jpg,walk.png,upper=ben.jpg", "anna.jpg,walk.png,arms=ben.jpg|torso=ben.jpg"),
    ],
)
def test_a_pair_spelt_in_two_ways_is_named_twice(one, same, folders):
    table = folders / "pairs.csv"
    table.write_text(f"source,pose,clothes\n{one}\n{same}\n")
    with pytest.raises(PgpisError, match="lines 2 and 3 name the same pair"):
        pairs(folders, pairs_csv=table)


def test_each_edit_has_a_film_of_its_own(folders):
    shutil.copy(folders / "poses/walk.png", folders / "poses/walk2.png")
    (folders / "photos/other").mkdir()
    shutil.copy(folders / "photos/anna.jpg", folders / "photos/other/ben.jpg")
    (folders / "photos_texture/other").mkdir()
    shutil.copy(folders / "photos_texture/anna.png", folders / "photos_texture/other/ben.png")
    edits = ("upper=ben.jpg", "upper=other/ben.jpg", "lower=ben.jpg", "")
    lines = [f"anna.jpg,{pose},,{edit}" for edit in edits for pose in ("walk.png", "walk2.png")]
    lines += [f"anna.jpg,{pose},ben.jpg," for pose in ("walk.png", "walk2.png")]
    (folders / "pairs.csv").write_text("\n".join(["source,pose,source_2,clothes", *lines, ""]))
    films = pairs(folders, pairs_csv=folders / "pairs.csv", frames=True).sequences()
    assert list(films) == [
        "anna_2_poses_upper-ben",
        "anna_2_poses_upper-ben~2",
        "anna_2_poses_lower-ben",
        "anna_2_poses",
        "anna_2_poses~2",
    ]
    assert {tuple(pair.pose.stem for pair in film) for film in films.values()} == {("walk", "walk2")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clothes": ("uper=ben.jpg",)}, "did you mean 'upper'"),
        ({"clothes": ("upper",)}, "GROUP=PICTURE"),
        ({"clothes": ("25=ben.jpg",)}, "not a group of body parts"),
        ({"clothes": ("upper=ben.jpg", "upper=anna.jpg")}, "'upper=ben.jpg' and 'upper=anna.jpg' are of the same part"),
        ({"clothes": ("1+lower=ben.jpg", "9=ben.jpg")}, "same part of the body"),
        ({"clothes": ("upper=carla.jpg",)}, r"picture not found: carla\.jpg"),
        ({"identity": "carla.jpg"}, r"picture not found: carla\.jpg"),
    ],
)
def test_wrong_edits_are_named(folders, options, message):
    with pytest.raises(PgpisError, match=message):
        pairs(folders, **options)


def test_a_missing_texture_names_the_command_that_makes_it(folders):
    (folders / "photos_texture/ben.png").unlink()
    with pytest.raises(PgpisError, match=r"photos_texture/ben\.png") as error:
        pairs(folders, clothes=("upper=ben.jpg",))
    assert "pgpis prepare FOLDER --conditions densepose,texture" in str(error.value)
    made = pairs(folders)  # one of two pairs can be made
    with pytest.raises(PgpisError, match="no texture map") as error:
        made.load(1, READS)
    shutil.rmtree(folders / "photos_texture")
    with pytest.raises(PgpisError, match="2 of 2 pairs have no texture map"):
        pairs(folders)
    assert "texture" not in pairs(folders, on_missing=OnMissing(texture="drop")).load(0, READS).conditions


def test_a_model_without_texture_refuses_edits(folders):
    made = FolderPairs(folders / "photos", folders / "poses", identity="ben.jpg")
    made.setup()
    with pytest.raises(PgpisError, match=r"mcld\.yaml"):
        made.require({"source", "pose"})


def test_an_unknown_column_is_named(folders):
    (folders / "pairs.csv").write_text("source,pose,identitty\nanna.jpg,walk.png,ben.jpg\n")
    with pytest.raises(PgpisError, match="did you mean 'identity'"):
        pairs(folders, pairs_csv=folders / "pairs.csv")


def test_groups_and_numbers_of_parts():
    assert parts_of("feet+5+head") == (5, 6, 23, 24)
    everything = {part for group in PART_GROUPS.values() for part in group}
    assert everything == set(range(1, 25))


def test_a_texture_of_another_size_is_refused():
    with pytest.raises(PgpisError, match=r"\(4, 4, 3\)"):
        replace_parts(np.zeros((512, 512, 3), np.uint8), np.zeros((4, 4, 3), np.uint8), (1,))


def test_a_model_of_drawn_faces_reads_no_recognisers(folders):
    """The hint does not lead to embeddings of another space, and those that are there are refused."""
    np.save(folders / "photos_face/anna.npy", face_code(sample_people(0, 1, 1, (64, 44))[0][0].scene.identity))
    made = pairs(folders, on_missing=OnMissing(face_space="synth"))
    assert made.load(0, READS).conditions["face"].shape == (512,)
    with pytest.raises(PgpisError, match=r"ben\.npy: not a face of pgpis synth") as refused:
        made.load(1, READS)
    shutil.rmtree(folders / "photos_face")
    with pytest.raises(PgpisError, match="no face embedding") as missing:
        pairs(folders, on_missing=OnMissing(face_space="synth"))
    for error in (refused.value, missing.value):
        assert error.hint.startswith("--missing-face drop")
    with pytest.raises(PgpisError, match="pgpis prepare FOLDER --conditions face"):
        pairs(folders)


def test_an_identity_without_a_face_gives_its_head_where_faces_are_dropped(folders):
    shutil.rmtree(folders / "photos_face")
    with pytest.raises(PgpisError, match="identity ben"):
        pairs(folders, identity="ben.jpg")
    made = pairs(folders, identity="ben.jpg", on_missing=OnMissing(face="drop"))
    assert "face" not in made.load(0, READS).conditions


def test_surfaces_are_edited_as_textures_are(folders):
    """Their colours and what is known of them; the lender must have one."""
    reads = READS | {"surface"}
    (folders / "photos_surface").mkdir()
    for name, grey in (("anna", 50), ("ben", 200)):
        Image.new("RGB", (1024, 512), (grey,) * 3).save(folders / f"photos_surface/{name}.png")
    made = FolderPairs(folders / "photos", folders / "poses", clothes=("upper=ben.jpg",))
    made.setup()
    made.require(reads)
    changed = (np.asarray(made.load(0, reads).conditions["surface"]) == 200).all(axis=-1)
    upper = np.isin(part_table(), PART_GROUPS["upper"])

    np.testing.assert_array_equal(changed, np.concatenate([upper, upper], axis=1))
    before = made.fingerprint(0, reads)
    Image.new("RGB", (1024, 512), (90,) * 3).save(folders / "photos_surface/ben.png")
    assert made.fingerprint(0, reads) != before
    (folders / "photos_surface/ben.png").unlink()
    with pytest.raises(PgpisError, match=r"of another: .*photos_surface/ben\.png"):
        made.load(0, reads)


@pytest.mark.parametrize("edit", [",upper=carla.jpg", "carla.jpg,", ",upper=dora.jpg"])
def test_a_lender_that_cannot_lend_costs_its_own_pairs(folders, edit):
    shutil.copy(folders / "photos/anna.jpg", folders / "photos/dora.jpg")  # of whom nothing is made
    table = folders / "pairs.csv"
    table.write_text(f"source,pose,identity,clothes\nanna.jpg,walk.png,{edit}\nanna.jpg,walk.png,,upper=ben.jpg\n")
    made = pairs(folders, pairs_csv=table)

    with pytest.raises(PgpisError, match=r"carla|dora"):
        made.load(0, READS)
    assert made.fingerprint(0, READS) == ""
    assert made.load(1, READS).conditions["face"].max() == 50
    table.write_text(f"source,pose,identity,clothes\nanna.jpg,walk.png,{edit}\n")
    with pytest.raises(PgpisError, match=r"carla|dora"):
        pairs(folders, pairs_csv=table)
