import json

import pytest
from PIL import Image

from pgpis.data import DeepFashion, PoseTransferDataModule, check_root
from pgpis.data.names import flat_to_tree, pair_name, tree_to_flat, tree_to_result
from pgpis.data.picture_store import content_hash
from pgpis.errors import PgpisError

NAMES = [
    (
        "WOMEN/Blouses_Shirts/id_00003372/03_3_back.jpg",
        "fashionWOMENBlouses_Shirtsid0000337203_3back.jpg",
        "WOMENBlouses_Shirtsid_0000337203_3_back.jpg",
    ),
    (
        "MEN/Tees_Tanks/id_00007301/04_7_additional.jpg",
        "fashionMENTees_Tanksid0000730104_7additional.jpg",
        "MENTees_Tanksid_0000730104_7_additional.jpg",
    ),
]


@pytest.mark.parametrize(("tree", "flat", "result"), NAMES)
def test_names_convert_both_ways(tree, flat, result):
    assert (tree_to_flat(tree), flat_to_tree(flat)) == (flat, tree)
    assert tree_to_result(tree) == result


def test_a_pair_is_called_as_fpdm_calls_its_result():
    source, target = "WOMEN/Dresses/id_00007132/04_2_side.jpg", "WOMEN/Dresses/id_00007132/04_3_back.jpg"
    assert pair_name(source, target) == "WOMENDressesid_0000713204_2_side.jpg_2_WOMENDressesid_0000713204_3_back.jpg"


@pytest.mark.parametrize("convert", [tree_to_flat, flat_to_tree])
def test_foreign_names_are_refused(convert):
    with pytest.raises(PgpisError, match=r"photo\.jpg"):
        convert("photo.jpg")


def test_pairs_load_pictures_key_points_and_drawings(toy_root):
    dataset = DeepFashion(toy_root, "test", max_pairs=3)
    with pytest.raises(PgpisError, match="setup"):
        len(dataset)
    dataset.setup()
    assert len(dataset) == 3
    loaded = dataset.load(0)
    assert loaded.source.size == loaded.target.size == (44, 64)
    assert loaded.keypoints.skeleton == "body18"
    assert loaded.pose_image is None
    assert dataset.load(0, {"pose"}).source is None
    drawn = DeepFashion(toy_root, "test", pose="drawn")
    drawn.setup()
    assert drawn.load(0).pose_image.size == (750, 1101)  # as the official files


def test_people_of_the_generated_data_are_split(toy_root):
    seen = {}
    for split in ("train", "test"):
        dataset = DeepFashion(toy_root, split)
        dataset.setup()
        seen[split] = {path.parent.name for pair in dataset.pairs for path in (pair.source, pair.target)}
        assert all(pair.source.parent == pair.target.parent for pair in dataset.pairs)
    assert len(seen["train"]) == 4
    assert len(seen["test"]) == 2
    assert seen["train"].isdisjoint(seen["test"])


def test_validation_reads_its_own_list_where_there_is_one(own_toy_root):
    test = json.loads((own_toy_root / "test_pairs_data.json").read_text())
    dataset = DeepFashion(own_toy_root, "val")
    dataset.setup()
    assert len(dataset) == len(test)
    (own_toy_root / "val_pairs_data.json").write_text(json.dumps(test[:1]))
    dataset = DeepFashion(own_toy_root, "val")
    dataset.setup()
    assert len(dataset) == 1


def test_lists_that_are_not_there(own_toy_root):
    (own_toy_root / "test_pairs_data.json").unlink()
    (own_toy_root / "train.csv").unlink()
    report = check_root(own_toy_root)
    assert not report.problems  # each split has its list, in one of the layouts
    assert "no train.csv, which training would need" in report.notes
    datasets = {split: DeepFashion(own_toy_root, split) for split in ("train", "val", "test")}
    for split, dataset in datasets.items():
        dataset.setup()
        assert dataset.list_layout == ("fpdm" if split == "train" else "mcld")
    (own_toy_root / "test.csv").write_text("from,to\n")
    assert check_root(own_toy_root).problems == ["test.csv: names no pairs"]
    (own_toy_root / "test.csv").unlink()
    report = check_root(own_toy_root)
    assert not report.problems
    assert not [note for note in report.notes if "validation reads the test list" in note]
    data = PoseTransferDataModule(train=DeepFashion(own_toy_root), val=DeepFashion(own_toy_root, "test"))
    with pytest.raises(PgpisError, match="list of pairs not found") as error:
        data.setup("fit")
    assert error.value.hint == f"pgpis data check {own_toy_root}; --data.val null trains without validation"
    data.val = None
    data.setup("fit")


def test_a_pair_that_is_listed_again_counts_once_in_tests(own_toy_root, caplog):
    for split in ("train", "test"):
        path = own_toy_root / f"{split}_pairs_data.json"
        listed = json.loads(path.read_text())
        path.write_text(json.dumps([*listed, *listed[:2]]))
        dataset = DeepFashion(own_toy_root, split, layout="fpdm")
        dataset.setup()
        assert len(dataset) == len(listed) + 2 * (split == "train")
    assert "test_pairs_data.json: 2 pairs are listed again; each counts once" in caplog.text
    assert "test_pairs_data.json: 2 pairs are listed again; each counts once" in check_root(own_toy_root).notes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not found"),
        ("{", "cannot read"),
        ("{}", "expected a list"),
        ("[]", "no pairs"),
        ('[{"source_image": "./img/a.jpg"}]', "no 'target_image'"),
        ('[{"source_image": "./img/../../a.jpg", "target_image": "./img/b.jpg"}]', "not of the form"),
        ('[{"source_image": "/etc/a.jpg", "target_image": "./img/b.jpg"}]', "not of the form"),
    ],
)
def test_bad_lists_are_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "train_pairs_data.json").write_text(content)
    with pytest.raises(PgpisError, match=message) as error:
        DeepFashion(tmp_path).setup()
    assert "train_pairs_data.json" in str(error.value)


def test_missing_root_is_named(tmp_path):
    with pytest.raises(PgpisError, match="nowhere"):
        DeepFashion(tmp_path / "nowhere").setup()


def test_check_of_a_whole_folder(toy_root):
    report = check_root(toy_root)
    assert not report.problems
    assert report.counts["pairs in train_pairs_data.json"] == report.counts["pairs in train.csv"] == 24
    assert report.counts["pairs in test.csv"] == 12
    assert report.counts["pictures in img/"] == report.counts["key points in pose/"] == 18
    assert "FPDM" in report.render()
    assert "MCLD" in report.render()
    assert "nothing is missing" in report.render()


def test_check_counts_pictures_in_linked_folders(toy_root, tmp_path):
    for path in toy_root.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "img").unlink()
    (tmp_path / "img").mkdir()
    for path in (toy_root / "img").iterdir():
        (tmp_path / "img" / path.name).symlink_to(path)
    report = check_root(tmp_path)
    assert not report.problems
    assert report.counts["pictures in img/"] == 18


def test_check_lists_what_is_missing_or_unreadable(own_toy_root, tmp_path):
    pictures = sorted((own_toy_root / "img").rglob("*.jpg"))
    pictures[0].unlink()
    pictures[1].write_bytes(pictures[1].read_bytes()[:300])
    next((own_toy_root / "pose").rglob("*.txt")).write_text("1 2\n")
    next((own_toy_root / "pose_img").rglob("*.jpg")).unlink()
    (own_toy_root / "train_pairs_data.json").rename(own_toy_root / "other.json")
    (own_toy_root / "train_pairs_data.json").write_bytes((own_toy_root / "other.json").read_bytes())
    report = check_root(own_toy_root)
    assert len(report.problems) == 5  # the damaged picture is one file under two names
    text = "\n".join(report.problems)
    for words in (
        f"{pictures[0].name}: picture missing",
        "cannot read picture",
        "18 or 133 lines",
        "drawn pose missing",
    ):
        assert words in text
    report.write(tmp_path / "problems.txt")
    assert (tmp_path / "problems.txt").read_text().splitlines() == list(report.problems)


def test_check_tells_what_was_made_of_an_earlier_picture(own_toy_root):
    picture = min((own_toy_root / "img").rglob("*.jpg"))
    name = picture.relative_to(own_toy_root).as_posix()
    line = {"name": name, "reason": None, "content": content_hash(picture)}
    lines = [json.dumps({**line, "condition": condition}) for condition in ("texture", "pose")]
    (own_toy_root / "prepare.jsonl").write_text("\n".join(lines))
    assert not check_root(own_toy_root).problems
    with Image.open(picture) as image:
        image.convert("L").save(picture)
    mend = f"pgpis prepare {own_toy_root} --conditions densepose,texture,pose"
    message = f"{name}: texture and pose were made of another picture than it is now: {mend}"
    assert check_root(own_toy_root).problems == [message]


def test_check_shows_twenty_problems_and_counts_the_rest(toy_root, tmp_path):
    for name in ("train_pairs_data.json", "test_pairs_data.json"):
        (tmp_path / name).write_bytes((toy_root / name).read_bytes())
    report = check_root(tmp_path)
    assert len(report.problems) == 36  # 18 pictures, 18 key point files
    assert report.render().count("missing\n") == 20
    assert "and 16 more" in report.render()


@pytest.mark.parametrize("name", [".", "absent"])
def test_check_refuses_what_is_no_data_set(tmp_path, name):
    with pytest.raises(PgpisError, match=r"folder not found|no layout"):
        check_root(tmp_path / name)
