"""Every published layout of DeepFashion: made from another one with links, read back, the same pairs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image

from pgpis.cli import main
from pgpis.data import DeepFashion, Person, check_root
from pgpis.data.layouts import LAYOUTS
from pgpis.data.layouts.patn import read_points
from pgpis.data.link import link_layout
from pgpis.errors import PgpisError
from pgpis.pictures.keypoints import Frame

OTHERS = ["mcld", "patn", "nted", "pcdm"]


@pytest.fixture(scope="module")
def fpdm(toy_root, tmp_path_factory):
    """The generated data in FPDM's layout alone."""
    root = tmp_path_factory.mktemp("fpdm")
    for name in ("img", "pose", "pose_img"):
        shutil.copytree(toy_root / name, root / name)
    for split in ("train", "test"):
        shutil.copy(toy_root / f"{split}_pairs_data.json", root)
    return root


def dataset(root, split, **options):
    made = DeepFashion(root, split, **options)
    made.setup()
    return made


def same_pairs(one, other, tolerance):
    assert [pair.pair_id for pair in one.pairs] == [pair.pair_id for pair in other.pairs]
    frame = Frame(550, 375)
    for index in range(len(one)):
        ours, theirs = one.load(index), other.load(index)
        assert np.array_equal(np.asarray(ours.source), np.asarray(theirs.source))
        assert np.array_equal(np.asarray(ours.target), np.asarray(theirs.target))
        a, b = ours.keypoints.to(frame), theirs.keypoints.to(frame)
        assert np.array_equal(a.visible, b.visible)
        assert np.abs(a.points - b.points)[a.visible].max() <= tolerance


@pytest.mark.parametrize("to", OTHERS)
def test_a_layout_made_with_links_has_the_same_pairs(to, fpdm, tmp_path, capsys):
    assert main(["data", "link", str(fpdm), "--to", to, "--out", str(tmp_path / "out")]) == 0
    pictures = len(list(fpdm.glob("img/**/*.jpg")))
    assert f"{pictures} links made, 0 there already" in capsys.readouterr().out
    for split in ("train", "test"):
        made = dataset(tmp_path / "out", split)
        assert made._layouts[0].name == to
        if to == "mcld":
            assert [p.pair_id for p in made.pairs] == [p.pair_id for p in dataset(fpdm, split).pairs]
        else:  # PATN's table holds whole pixels of 176 x 256
            same_pairs(dataset(fpdm, split), made, 1.1 if to == "patn" else 1e-9)
    linked = next(path for path in (tmp_path / "out").rglob("*.jpg"))
    assert linked.is_symlink()
    assert main(["data", "link", str(fpdm), "--to", to, "--out", str(tmp_path / "out")]) == 0
    assert f"0 links made, {pictures} there already" in capsys.readouterr().out
    report = check_root(tmp_path / "out")
    assert not report.problems, report.problems
    assert any("the published list has" in note for note in report.notes)


@pytest.mark.parametrize("start", OTHERS)
def test_and_back_to_fpdm(start, fpdm, tmp_path):
    link_layout(fpdm, tmp_path / "there", start)
    link_layout(tmp_path / "there", tmp_path / "back", "fpdm")
    names = [pair.pair_id for pair in dataset(tmp_path / "back", "test").pairs]
    assert names == [pair.pair_id for pair in dataset(fpdm, "test").pairs]


@pytest.fixture(scope="module")
def pngs(fpdm, tmp_path_factory):
    """The same pictures as PNG files, in each layout."""
    roots = tmp_path_factory.mktemp("pngs")
    shutil.copytree(fpdm, roots / "fpdm")
    for path in [*roots.glob("fpdm/img/**/*.jpg"), *roots.glob("fpdm/pose_img/**/*.jpg")]:
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    for layout in OTHERS:
        link_layout(roots / "fpdm", roots / layout, layout)
    return roots


@pytest.mark.parametrize("to", ["fpdm", *OTHERS])
@pytest.mark.parametrize("start", ["fpdm", *OTHERS])
def test_png_files_are_found_in_every_layout(start, to, pngs, tmp_path):
    out = pngs / to
    if start != to:
        out = tmp_path / "out"
        assert not link_layout(pngs / start, out, to).missing
    problems = check_root(out).problems
    assert not [problem for problem in problems if start != "mcld" or "key points" not in problem]  # it has none
    made = dataset(out, "test", layout=to)
    assert {pair.source.suffix for pair in made.pairs} == {".png"}
    assert all(pair.source.is_file() and pair.target.is_file() for pair in made.pairs)


def test_a_list_that_names_png_files_of_mcld_finds_them(pngs, tmp_path):
    shutil.copytree(pngs / "mcld", tmp_path / "mcld")
    table = tmp_path / "mcld/test.csv"
    table.write_text(table.read_text().replace(".jpg", ".png"))
    assert ".png" in table.read_text()
    assert not check_root(tmp_path / "mcld").problems


def test_pictures_in_an_lmdb(fpdm, tmp_path, capsys):
    link_layout(fpdm, tmp_path, "nted")
    environment = lmdb.open(str(tmp_path / "256-176"), map_size=2**26)
    with environment.begin(write=True) as transaction:
        for path in (tmp_path / "img").rglob("*.jpg"):
            png = tmp_path / "entry.png"
            Image.open(path).save(png)
            name = path.relative_to(tmp_path / "img").with_suffix(".png").as_posix()
            transaction.put(name.encode(), png.read_bytes())
    environment.close()
    shutil.rmtree(tmp_path / "img")
    same_pairs(dataset(fpdm, "test"), dataset(tmp_path, "test"), 1e-9)
    assert not check_root(tmp_path).problems
    with pytest.raises(PgpisError, match="LMDB"):
        link_layout(tmp_path, tmp_path / "out", "fpdm")
    made = dataset(tmp_path, "test")
    missing = made.pairs[0].source.with_name("99_1_front.png")
    with pytest.raises(PgpisError, match="picture not found"):
        made.with_pairs([replace(made.pairs[0], person=Person(missing))]).load(0)
    database = tmp_path / "256-176/data.mdb"
    database.write_bytes(database.read_bytes()[:-4096])
    problems = check_root(tmp_path).problems
    assert problems
    assert all("data.mdb: it is cut short" in problem for problem in problems)


def test_cflds_large_pictures_and_the_other_spelling(fpdm, tmp_path):
    link_layout(fpdm, tmp_path, "patn")
    (tmp_path / "test").rename(tmp_path / "test_highres")
    for path in tmp_path.glob("fasion-*"):
        path.rename(path.with_name(path.name.replace("fasion", "fashion")))
    same_pairs(dataset(fpdm, "test"), dataset(tmp_path, "test"), 1.1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train_pairs.txt", "a.jpg\n", "expected 'TARGET,SOURCE"),
        ("train_pairs.txt", "../a.jpg,b.jpg\n", "points outside the folder"),
        ("train_pairs.txt", "\n", "names no pairs"),
        ("train_data.json", "{}", "expected a list"),
        ("train_data.json", '[{"source_image": "a/b.png", "target_image": "b.png"}]', "flat folder"),
        ("train_data.json", '[{"source_image": "b.png"}]', "no 'target_image'"),
        ("fasion-resize-pairs-train.csv", "from,to\n/etc/passwd,b.jpg\n", "not the name of a file"),
        ("fasion-resize-pairs-train.csv", "a,b\na.jpg,b.jpg\n", "the first line must be 'from,to'"),
    ],
)
def test_bad_lists_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(PgpisError, match=message) as error:
        dataset(tmp_path, "train")
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name;x;y\n", "the first line must be"),
        ("name:keypoints_y:keypoints_x\na.jpg: [1]: [2]\n", r"line 2: expected .* found \(1,\)"),
        ("name:keypoints_y:keypoints_x\na.jpg: [1\n", "line 2: expected 'NAME"),
        (f"name:keypoints_y:keypoints_x\na.jpg: {[float('nan')] * 18}: {[1] * 18}\n".replace("nan", "NaN"), "line 2"),
        ("name:keypoints_y:keypoints_x\na.jpg: {}: []\n", "line 2"),
    ],
)
def test_bad_tables_of_key_points_are_named(tmp_path, text, message):
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises(PgpisError, match=message):
        read_points(tmp_path / "points.csv")


@pytest.mark.parametrize(
    "numbers",
    ["[1e999, 2]", "[" * 100_000, f"[{10**400}]", "[null]", str([-1] * 18), str([7] * 18), str([9000] * 18), "[9, 8]"],
)
def test_a_bad_line_of_a_table_fails_its_own_picture(fpdm, tmp_path, numbers):
    link_layout(fpdm, tmp_path, "patn")
    table = min(tmp_path.glob("fasion-resize-annotation-test.csv"))
    header, first, *rest = table.read_text().splitlines()
    name = first.split(":")[0]
    table.write_text("\r\n".join([header, f"{name}: {numbers}: {numbers}", *rest]), encoding="utf-8-sig")
    with table.open("ab") as file:
        file.write("\r\nAndr\u00e9.jpg: [1]: [2]\r\n".encode("latin-1"))
    made = dataset(tmp_path, "test")
    reasons = {pair.target.stem: reason for pair in made.pairs if (reason := why_not(made, pair))}
    assert list(reasons) == [Path(name).stem]
    assert f"{table.name} line 2" in reasons[Path(name).stem]


def why_not(pairs, pair):
    try:
        pairs.read_pose(pair)
    except PgpisError as error:
        return str(error)
    return None


def test_lines_that_contradict_each_other_are_named(fpdm, tmp_path):
    link_layout(fpdm, tmp_path, "patn")
    table = min(tmp_path.glob("fasion-resize-annotation-test.csv"))
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1], lines[2].replace("[", "[1", 1)]))
    made = dataset(tmp_path, "test")
    reasons = [reason for pair in made.pairs if (reason := why_not(made, pair))]
    assert reasons
    assert all(f"lines 3, {len(lines) + 2} name the same picture" in reason for reason in reasons)


def test_pixels_where_shares_are_expected_are_named(fpdm, tmp_path):
    link_layout(fpdm, tmp_path, "pcdm")
    made = dataset(tmp_path, "test")
    made.pairs[0].pose.write_text("100 100\n" * 18)
    with pytest.raises(PgpisError, match="not a share of a picture's size"):
        made.load(0)


def test_unreadable_key_points_are_listed(fpdm, tmp_path, capsys):
    shutil.copytree(fpdm, tmp_path / "fpdm")
    broken = min((tmp_path / "fpdm/pose").rglob("*.txt"))
    broken.write_text("1 2")
    for to in ("patn", "nted"):
        assert main(["data", "link", str(tmp_path / "fpdm"), "--to", to, "--out", str(tmp_path / to)]) == 1
        assert broken.name in capsys.readouterr().out


def test_a_missing_table_of_key_points_is_a_problem(fpdm, tmp_path, capsys):
    link_layout(fpdm, tmp_path / "patn", "patn")
    (tmp_path / "patn/fasion-resize-annotation-test.csv").unlink()
    assert check_root(tmp_path / "patn").problems == ["fasion-resize-annotation-test.csv: key points missing"]
    report = link_layout(tmp_path / "patn", tmp_path / "nted", "nted")
    assert report.missing == [f"{tmp_path}/patn/fasion-resize-annotation-test.csv: key points missing"]
    assert not link_layout(tmp_path / "patn", tmp_path / "mcld", "mcld").missing  # which has none
    link_layout(fpdm, tmp_path / "pcdm", "pcdm")
    shutil.rmtree(tmp_path / "pcdm/normalized_pose_txt")
    assert main(["data", "link", str(tmp_path / "pcdm"), "--to", "nted", "--out", str(tmp_path / "out")]) == 1
    assert f"e.g. {tmp_path}/pcdm/normalized_pose_txt: key points missing" in capsys.readouterr().out


def test_absent_pictures_are_a_problem(fpdm, tmp_path, capsys):
    """The folder of the pictures is called otherwise, or still an archive."""
    shutil.copytree(fpdm, tmp_path / "data", ignore=shutil.ignore_patterns("img"))
    assert main(["data", "link", str(tmp_path / "data"), "--to", "mcld", "--out", str(tmp_path / "out")]) == 1
    first = tmp_path / "data/img"
    assert f"18 files are missing or unreadable, e.g. {first}" in capsys.readouterr().out


def test_lists_of_another_data_set_stay(fpdm, tmp_path, capsys):
    shutil.copytree(fpdm, tmp_path / "mine", ignore=shutil.ignore_patterns("*.jpg"))  # so that only lists collide
    lists = [tmp_path / f"mine/{split}_pairs_data.json" for split in ("train", "test")]
    lists[1].write_text(json.dumps(json.loads(lists[1].read_text())[:1]))
    link_layout(fpdm, tmp_path / "other", "nted")
    before = {path: path.read_bytes() for path in lists}
    words = ["data", "link", str(tmp_path / "other"), "--to", "fpdm", "--out"]
    assert main([*words, str(tmp_path / "mine")]) == 2
    told = capsys.readouterr().err
    assert f"_pairs_data.json is there already; expected none, or the pairs of {tmp_path}/other" in told
    assert "choose another --out" in told
    assert {path: path.read_bytes() for path in lists} == before
    assert not any(path.is_symlink() for path in (tmp_path / "mine").rglob("*"))
    assert main([*words, str(tmp_path / "theirs")]) == 0


def test_a_source_that_has_gained_pairs_is_linked_again(fpdm, tmp_path):
    shutil.copytree(fpdm, tmp_path / "mine")
    table = tmp_path / "mine/train_pairs_data.json"
    pairs = json.loads(table.read_text())
    for number in (1, 2, len(pairs)):
        table.write_text(json.dumps(pairs[:number]))
        link_layout(tmp_path / "mine", tmp_path / "out", "mcld")
        assert len(dataset(tmp_path / "out", "train").pairs) == number
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "mine", copy)
    link_layout(copy, tmp_path / "out", "mcld")  # of the same pairs
    (copy / table.name).write_text(json.dumps(pairs[:1]))
    link_layout(copy, tmp_path / "out", "mcld")
    with pytest.raises(PgpisError, match=r"out/train\.csv is there already"):
        link_layout(tmp_path / "mine", tmp_path / "out", "mcld")
    (tmp_path / "out/train.csv").write_text("from,to\nown.jpg,own.jpg\n")
    with pytest.raises(PgpisError, match=r"out/train\.csv is there already"):
        link_layout(copy, tmp_path / "out", "mcld")


@pytest.fixture
def named(fpdm, tmp_path):
    """FPDM's layout with two pictures of given names, and key points: ``named("a.jpg", "b.jpg")``."""

    def make(*names):
        root = tmp_path / "named"
        for name, picture in zip(names, sorted(fpdm.glob("img/**/*.jpg")), strict=False):
            for kind in ("img", "pose"):
                (root / kind / name).parent.mkdir(parents=True, exist_ok=True)
            Image.open(picture).save(root / "img" / name)
            points = (fpdm / "pose" / picture.relative_to(fpdm / "img")).with_suffix(".txt")
            shutil.copy(points, (root / "pose" / name).with_suffix(".txt"))
        source, target, *_ = [f"./img/{name}" for name in names]
        pairs = [{"source_image": source, "target_image": target}]
        (root / "train_pairs_data.json").write_text(json.dumps(pairs))
        return root

    return make


def files_in(root):
    return sorted(path for path in root.rglob("*") if path.name != ".pgpis.lock")


@pytest.mark.parametrize(
    ("to", "names", "bad"),
    [
        ("mcld", ("ok.jpg", "anna/1.jpg"), "anna/1.jpg"),
        ("patn", ("anna/1.jpg", "ok.jpg"), "anna/1.jpg"),
        ("pcdm", ("ok.jpg", "anna/1.jpg"), "anna/1.jpg"),
        ("nted", ("ok.jpg", "anna b.jpg"), "anna b.jpg"),
        ("nted", ("a,b.jpg", "ok.jpg"), "a,b.jpg"),
        ("nted", ("ok.jpg", "img/1.jpg"), "img/1.jpg"),
        ("patn", ("ok.jpg", "at 12:30.jpg"), "at 12:30.jpg"),
    ],
)
def test_names_that_a_layout_cannot_hold_are_refused_before_anything_is_written(to, names, bad, named, tmp_path):
    root, out = named(*names), tmp_path / "out"
    with pytest.raises(PgpisError, match=f"the layout '{to}' .* '{bad}'") as error:
        link_layout(root, out, to)
    assert "rename" in error.value.hint
    assert files_in(out) == []


@pytest.mark.parametrize(
    ("to", "names"),
    [
        ("mcld", ("an na.jpg", "b,c:d.jpg")),
        ("patn", ("an na.jpg", "b,c.jpg")),
        ("pcdm", ("an na.jpg", "b:c,d.jpg")),
        ("nted", ("x/1.png", "x/2:3.jpg")),
    ],
)
def test_other_names_are_read_back(to, names, named, tmp_path):
    root, out = named(*names), tmp_path / "out"
    assert not link_layout(root, out, to).missing
    (pair,) = dataset(out, "train").pairs
    assert [pair.source.resolve(), pair.target.resolve()] == [root / "img" / name for name in names]
    if to != "mcld":  # which has none
        assert pair.pose.is_file()


@pytest.mark.parametrize("to", OTHERS)
def test_pictures_that_would_share_their_key_points_are_refused(to, named, tmp_path):
    root = named("a.jpg", "a.png")
    with pytest.raises(PgpisError, match=r"img/a\.jpg and .*img/a\.png would share their files"):
        link_layout(root, tmp_path / "out", to)
    assert files_in(tmp_path / "out") == []


def test_pictures_of_one_name_in_both_splits_are_told_apart(named, tmp_path):
    link_layout(named("a.jpg", "b.jpg", "c.jpg"), tmp_path / "mcld", "mcld")
    shutil.copytree(tmp_path / "mcld/train", tmp_path / "mcld/test")
    (tmp_path / "mcld/test.csv").write_bytes((tmp_path / "mcld/train.csv").read_bytes())
    link_layout(tmp_path / "mcld", tmp_path / "out", "fpdm")  # the same pictures in both
    shutil.copy(tmp_path / "named/img/c.jpg", tmp_path / "mcld/test/a.jpg")
    with pytest.raises(PgpisError, match=r"train/a\.jpg and .*test/a\.jpg would share their files"):
        link_layout(tmp_path / "mcld", tmp_path / "again", "fpdm")


@pytest.mark.parametrize("layout", ["fpdm", "nted"])
def test_pictures_that_differ_by_suffix_alone_are_refused(layout, named):
    """Of the two one would have the other's key points, and one that is missing would be replaced by the other."""
    root = named("x/1.png", "x/1.jpg")
    (root / "train_pairs.txt").write_text("x/1.jpg,x/1.png\n")
    with pytest.raises(PgpisError, match=r"x/1\.png and x/1\.jpg differ in their suffix alone"):
        dataset(root, "train", layout=layout)
    assert sum("would share their files" in problem for problem in check_root(root).problems) == 2  # of either list
    (root / "img/x/1.jpg").unlink()
    (root / "train_pairs.txt").write_text("x/1.jpg,x/1.jpg\n")  # the disk has another suffix, as layouts have
    (pair,) = dataset(root, "train", layout="nted").pairs
    assert pair.source == root / "img/x/1.png"


@pytest.mark.parametrize("to", ["patn", "nted", "pcdm"])
def test_key_points_follow_the_source(to, named, tmp_path, capsys):
    root, out = named("a.jpg", "b.jpg"), tmp_path / "out"
    words = ["data", "link", str(root), "--to", to, "--out", str(out)]
    assert main(words) == 0
    (root / "pose/b.txt").write_text("".join(f"{20 + x} {30 + 2 * x}\n" for x in range(18)))
    assert main(words) == 0
    assert "stay" not in capsys.readouterr().out
    same_pairs(dataset(root, "train"), dataset(out, "train"), 1.1 if to == "patn" else 1e-9)
    if to == "patn":
        return
    own = next(out.rglob("b.txt"))
    own.write_text("0.5 0.5\n" * 18)
    assert main(words) == 0
    told = f"1 files of key points differ from the source's and stay, since they were not written here, e.g. {own}"
    assert told in capsys.readouterr().out
    assert own.read_text() == "0.5 0.5\n" * 18
    own.unlink()
    assert main(words) == 0
    same_pairs(dataset(root, "train"), dataset(out, "train"), 1e-9)


def test_key_points_of_the_source_itself_stay(named):
    root = named("a.jpg", "b.jpg")
    before = (root / "pose/b.txt").read_bytes()
    report = link_layout(root, root, "nted")  # which keeps them in the same place
    assert (report.kept, report.missing) == ([], [])
    assert (root / "pose/b.txt").read_bytes() == before


def test_a_table_of_key_points_of_others_stays(fpdm, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    table = out / "fashion-resize-annotation-train.csv"
    table.write_text("name:keypoints_y:keypoints_x\nown.jpg: [1]: [2]\n")
    with pytest.raises(PgpisError, match=r"annotation-train\.csv is there already; expected none, or the key points"):
        link_layout(fpdm, out, "patn")
    assert files_in(out) == [table]
    table.unlink()
    link_layout(fpdm, out, "patn")
    link_layout(fpdm, out, "patn")


def test_what_was_prepared_in_a_linked_folder_stays_when_it_is_linked_again(toy_root, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    shutil.copytree(toy_root, source)
    link_layout(source, out, "mcld")
    made = next(out.glob("train_densepose/*"))
    content = made.read_bytes()
    made.unlink()
    made.write_bytes(content + b" ")
    report = link_layout(source, out, "mcld")
    assert report.links == 0
    assert made.read_bytes() == content + b" "
    assert not made.is_symlink()


def test_a_link_that_leads_in_a_circle_is_made_anew(fpdm, tmp_path):
    link_layout(fpdm, tmp_path, "mcld")
    link = next(path for path in sorted(tmp_path.rglob("*.jpg")) if path.is_symlink())
    leads_to = link.resolve()
    link.unlink()
    link.symlink_to(link.name)
    assert link_layout(fpdm, tmp_path, "mcld").links == 1
    assert link.resolve() == leads_to


def test_what_cannot_be_linked_is_named(fpdm, tmp_path):
    with pytest.raises(PgpisError, match="no layout"):
        link_layout(tmp_path, tmp_path, "mcld")
    with pytest.raises(PgpisError, match="already has the layout 'fpdm'"):
        link_layout(fpdm, fpdm, "fpdm")
    assert main(["data", "link", str(fpdm), "--to", "mdcl"]) == 2
    (tmp_path / "img").mkdir()
    (tmp_path / "train_pairs_data.json").write_text(
        json.dumps([{"source_image": "./img/a.jpg", "target_image": "./img/b.jpg"}])
    )
    report = link_layout(tmp_path, tmp_path / "out", "mcld")
    assert len(report.missing) == 2


def test_every_layout_is_tested():
    assert {layout.name for layout in LAYOUTS} == {"fpdm", *OTHERS}
