"""FPDM's and MCLD's layout are two ways to the same pairs; missing conditions are what the user says they are."""

import csv
import json
import logging
import os
import shutil
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

from pgpis.batch import ImageSpec, VectorSpec
from pgpis.data import DeepFashion, OnMissing, PairTransform, PoseTransferDataModule, check_root
from pgpis.data.layouts import FPDMLayout, MCLDLayout
from pgpis.data.link import link_layout
from pgpis.data.names import flat_to_tree, tree_to_flat
from pgpis.errors import PgpisError
from pgpis.preprocess.listing import find_pictures

CONDITIONS = {"source", "target", "iuv", "texture", "face"}


@pytest.fixture(scope="module")
def people(draw_people, made_once):
    """Two people in three views with all of MCLD's files; one is in the test list."""
    options = {"seed": 3, "size": (64, 44), "textures": "exact", "share": 0.5}
    return made_once("mcld_files", lambda root: draw_people(root, people=2, views=3, **options))


def dataset(root, *args, **options):
    made = DeepFashion(root, *args, **options)
    made.setup()
    return made


@pytest.mark.parametrize("split", ["train", "test", "val"])
def test_both_lists_give_the_same_pairs(people, split):
    fpdm, mcld = dataset(people, split, layout="fpdm"), dataset(people, split, layout="mcld")
    assert [pair.pair_id for pair in fpdm.pairs] == [pair.pair_id for pair in mcld.pairs]
    for one, other in zip(fpdm.pairs, mcld.pairs, strict=True):
        assert (one.conditions, one.pose) == (other.conditions, other.pose)
        assert one.source.read_bytes() == other.source.read_bytes()
        assert one.target.read_bytes() == other.target.read_bytes()


def test_the_published_lists_give_the_same_pairs(tmp_path):
    """The names of real pictures, in both spellings."""
    samples = Path(os.environ.get("PGPIS_SAMPLES", Path(__file__).parents[3] / "shared/samples"))
    if not samples.is_dir():
        pytest.skip(f"NOT CHECKED: {samples} is absent; set PGPIS_SAMPLES")
    shutil.copy(samples / "lists/test.csv", tmp_path / "test.csv")
    with (tmp_path / "test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    tree = [
        {f"{end}_image": f"./img/{flat_to_tree(row[column])}" for end, column in (("source", "from"), ("target", "to"))}
        for row in rows
    ]
    (tmp_path / "test_pairs_data.json").write_text(json.dumps(tree))
    fpdm, mcld = FPDMLayout(tmp_path, "test").read_pairs(), MCLDLayout(tmp_path, "test").read_pairs()
    assert fpdm == mcld
    assert len(fpdm) == len(rows) > 50
    for key in {key for pair in fpdm for key in pair}:
        assert flat_to_tree(tree_to_flat(key)) == key
    names = [[p.pair_id for p in dataset(tmp_path, "test", name, max_pairs=500).pairs] for name in ("fpdm", "mcld")]
    assert names[0] == names[1]


def test_a_layout_is_found_by_its_list(people, tmp_path):
    for name in ("train", "train_densepose", "train_texture", "train_face"):
        shutil.copytree(people / name, tmp_path / name)
    shutil.copy(people / "train.csv", tmp_path)
    found = dataset(tmp_path)
    assert found.pairs[0].source.parent.name == "train"
    assert found.pairs[0].pose is None
    with pytest.raises(PgpisError, match="neither key points nor drawn poses"):
        found.load(0)
    loaded = found.load(0, CONDITIONS)
    assert loaded.conditions["iuv"].size == loaded.source.size
    assert loaded.conditions["texture"].size == (512, 512)
    with pytest.raises(PgpisError, match=r"test_pairs_data\.json or test\.csv|list of pairs not found"):
        dataset(tmp_path, "test")


def test_a_self_pair_takes_the_targets_texture_and_face(people):
    made = dataset(people, "train")
    for pair in made.pairs:
        own = made.as_self_pair(pair)
        assert own.source == pair.target
        assert own.file("texture").stem == pair.file("iuv").stem
        assert own.file("face").stem == pair.file("iuv").stem


def test_each_file_is_taken_from_the_layout_that_holds_it(people, tmp_path):
    """A folder of the first layout that is empty, or holds one file, hides nothing of the second."""
    root = tmp_path / "data"
    shutil.copytree(people, root)
    first = dataset(root, "test").pairs[0]
    own = root / "densepose" / first.target.relative_to(root / "img").with_suffix(".png")
    own.parent.mkdir(parents=True)
    shutil.copy(first.file("iuv"), own)
    (root / "texture").mkdir()
    (root / "face").mkdir()
    made = dataset(root, "test")
    made.require({"iuv", "texture"})
    assert made.pairs[0].file("iuv") == own
    assert {pair.file("iuv").parent.name for pair in made.pairs} == {own.parent.name, "test_densepose"}
    assert {pair.file("texture").parent.name for pair in made.pairs} == {"test_texture"}
    places = {file.path("texture").parent.name for file in find_pictures(root, ["texture"])}
    assert places == {"train_texture", "test_texture"}
    assert {file.path("texture").parts[-5] for file in find_pictures(root, ["texture"], "fpdm")} == {"texture"}
    assert not check_root(root).problems
    made.pairs[0].file("texture").unlink()
    assert len(check_root(root).problems) == 2  # of either list


def test_key_points_are_those_of_the_layout_that_has_them(people, tmp_path):
    root = tmp_path / "data"
    link_layout(people, root, "patn")
    for name in ("train", "test"):
        shutil.copy(people / f"{name}_pairs_data.json", root)
    shutil.copytree(people / "img", root / "img")
    (root / "pose").mkdir()
    made = dataset(root, "test")
    assert made.list_layout == "fpdm"
    assert made.load(0, {"pose"}).keypoints.visible.any()
    assert not [problem for problem in check_root(root).problems if "key points" in problem]
    assert not link_layout(root, tmp_path / "linked", "nted").missing
    assert all(file.held == {"pose"} for file in find_pictures(root, ["pose"]))


@pytest.mark.parametrize("layout", ["fpdm", "mcld"])
def test_no_pose_at_all_stops_the_job(people, tmp_path, layout):
    root = tmp_path / "data"
    shutil.copytree(people, root, ignore=shutil.ignore_patterns("pose", "pose_img"))
    made = dataset(root, "test", layout=layout)
    made.require({"source", "target"})
    command = f"pgpis prepare {root} --conditions pose"
    with pytest.raises(PgpisError, match="no pair has key points") as error:
        made.require({"source", "target", "pose"})
    assert error.value.hint == command
    with pytest.raises(PgpisError, match="no pair has drawn poses"):
        dataset(root, "test", layout=layout, pose="drawn").require({"pose"})
    with pytest.raises(PgpisError, match=r"key points") as error:
        made.load(0)
    assert "pgpis prepare FOLDER --conditions pose" in error.value.hint
    assert any(command in note for note in check_root(root).notes)


def test_foreign_names_keep_their_spelling(tmp_path):
    """The names of the official mini data set."""
    (tmp_path / "train").mkdir()
    (tmp_path / "train.csv").write_text("from,to\na_1front.jpg,b_2side.jpg\n")
    pair = dataset(tmp_path).pairs[0]
    assert (pair.pair_id, pair.source) == ("a_1front.jpg_2_b_2side.jpg", tmp_path / "train/a_1front.jpg")


def test_accents_in_a_list_may_be_one_character_and_on_the_disk_two(tmp_path):
    for folder in ("train", "train_texture"):
        (tmp_path / folder).mkdir()
    (tmp_path / "train" / normalize("NFD", "josé.png")).touch()
    texture = tmp_path / "train_texture" / normalize("NFD", "josé.png")
    texture.touch()
    (tmp_path / "train.csv").write_text("from,to\njosé.jpg,josé.jpg\n", encoding="utf-8")
    pair = dataset(tmp_path).pairs[0]
    assert pair.source.is_file()
    assert pair.file("texture") == texture


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("source,target\na.jpg,b.jpg\n", "the first line must be 'from,to'"),
        ("from,to\na.jpg\n", "line 2: no 'to'"),
        ("from,to\n../a.jpg,b.jpg\n", "'../a.jpg' is not the name of a file"),
        ("from,to\n", "names no pairs"),
        ("from,to,to\na.jpg,b.jpg,c.jpg\n", "two columns are called 'to'"),
    ],
)
def test_bad_tables_are_named(tmp_path, content, message):
    (tmp_path / "train.csv").write_text(content)
    with pytest.raises(PgpisError, match=message):
        dataset(tmp_path)


@pytest.fixture
def faceless(people, tmp_path):
    """A copy in which one picture of the training list has no face."""
    root = tmp_path / "data"
    shutil.copytree(people, root)
    pictures = sorted(root.glob("train_face/*.npy"))
    for name in pictures[1:]:
        name.unlink()
    return root, pictures[0].stem


def test_missing_faces_stop_the_job(faceless):
    root, _ = faceless
    made = dataset(root, "train")
    made.require({"source", "pose"})  # a model that reads none does not care
    with pytest.raises(PgpisError, match=r"4 of 6 pairs have no face embedding") as error:
        made.require(CONDITIONS)
    assert "train_face" in str(error.value)
    assert "drop" in str(error.value)


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_all_that_is_missing_is_one_message(people, tmp_path, policy):
    root = tmp_path / "data"
    shutil.copytree(people, root, ignore=shutil.ignore_patterns("*texture*", "*surface*", "*backdrop*", "*_face"))
    made = dataset(root, "train", on_missing=OnMissing(texture=policy, face="drop"))
    with pytest.raises(PgpisError) as error:
        made.require({*CONDITIONS, "surface", "backdrop"})
    for what in ("texture map", "surface", "backdrop"):
        assert f"6 of 6 pairs have no {what} (.png)" in error.value.message
    assert "face embedding" not in error.value.message
    assert error.value.hint == "pgpis prepare FOLDER --conditions densepose,texture,surface,backdrop"
    with pytest.raises(PgpisError) as error:
        dataset(root, "train").require({*CONDITIONS, "backdrop"})
    assert error.value.hint.startswith("pgpis prepare FOLDER --conditions densepose,texture,backdrop,face, or set on_m")


def test_missing_faces_become_zeros(faceless, caplog):
    root, _ = faceless
    made = dataset(root, "train", on_missing=OnMissing(face="drop"))
    with caplog.at_level(logging.WARNING, logger="pgpis"):
        made.require(CONDITIONS)
    assert "4 of 6 pairs have no face embedding" in caplog.text
    transform = PairTransform({"face": VectorSpec("face", 512), "source": ImageSpec("source", 8, 8)}, train=False)
    faces = [transform(made.load(index, {"source", "face"}))["face"] for index in range(len(made))]
    assert sum(not face.any() for face in faces) == 4


def test_missing_faces_leave_pairs_out(faceless, caplog):
    root, kept = faceless
    made = dataset(root, "train", on_missing=OnMissing(face="skip"))
    with caplog.at_level(logging.WARNING, logger="pgpis"):
        made.require(CONDITIONS)
    assert len(made) == 2
    assert {pair.file("face").stem for pair in made.pairs} == {kept}
    assert "they are left out" in caplog.text


def test_the_data_module_looks_for_what_the_model_reads(faceless):
    root, _ = faceless
    specs = {"face": VectorSpec("face", 512)}
    data = PoseTransferDataModule(train=DeepFashion(root, "train"), input_specs=specs, num_workers=0)
    with pytest.raises(PgpisError, match="no face embedding"):
        data.setup("fit")


def test_labels_are_never_mixed(people):
    made = dataset(people, "train")
    loaded = made.load(0, CONDITIONS)
    labels = set(np.unique(np.asarray(loaded.conditions["iuv"])[..., 2]).tolist())
    for size in ((50, 37), (200, 96)):
        spec = {"pose_image": ImageSpec("iuv", *size, filter="nearest")}
        values = PairTransform(spec, train=False)(loaded)["pose_image"]
        assert set(((values[2] + 1) * 127.5).round().unique().int().tolist()) <= labels


def test_what_is_no_densepose_map_is_named(people, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(people, root)
    made = dataset(root, "train")
    drawn = Image.open(next(root.glob("pose_img/**/*.jpg")))
    path = made.pairs[0].file("iuv")
    for change, message in (
        (lambda: drawn.save(path), "third channel reaches"),
        (lambda: drawn.convert("L").save(path), "mode L"),
        (lambda: path.write_bytes(b"no picture"), "cannot read"),
    ):
        change()
        with pytest.raises(PgpisError, match=message):
            made.load(0, {"iuv"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 512)), r"\(2, 512\)"),
        (np.full(512, np.nan), "not finite"),
        (np.full(512, 1e300), "not finite in float32"),
        (np.array(["a"]), "expected a raw face embedding"),
        (np.zeros(128), "holds 128 numbers, the model reads 512"),
    ],
)
def test_what_is_no_face_embedding_is_named(people, tmp_path, values, message):
    root = tmp_path / "data"
    shutil.copytree(people, root)
    made = dataset(root, "train")
    np.save(made.pairs[0].file("face"), values)
    transform = PairTransform({"face": VectorSpec("face", 512)}, train=False)
    with pytest.raises(PgpisError, match=message):
        transform(made.load(0, {"face"}))


def test_a_pickled_face_is_not_executed(people, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(people, root)
    made = dataset(root, "train")
    np.save(made.pairs[0].file("face"), np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(PgpisError, match="cannot read"):
        made.load(0, {"face"})
