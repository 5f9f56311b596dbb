import json
import os
import shutil
import sys
from pathlib import Path
from unicodedata import normalize
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from forked import process
from pgpis.data import FolderPairs, OnMissing, PairTransform
from pgpis.data import listed as listed_module
from pgpis.data.pair import distinct_files
from pgpis.data.picture_store import content_hash
from pgpis.data.prepared import refuse_stale
from pgpis.data.user_files import beside, list_files
from pgpis.errors import PgpisError
from pgpis.pictures.kinds import kind_of
from table_memory import measure

BODY = [value for point in range(18) for value in (20.0 + point, 30.0 + 2 * point, 1.0)]


@pytest.fixture
def folders(tmp_path):
    """Two sources and one pose of each kind; ``anna`` and ``ben`` are in both folders."""
    sources, poses = tmp_path / "sources", tmp_path / "poses"
    sources.mkdir()
    poses.mkdir()
    for name in ("anna.jpg", "ben.png"):
        Image.new("RGB", (44, 64), "gray").save(sources / name)
    np.savetxt(poses / "anna.txt", np.reshape(BODY, (18, 3))[:, :2] + [40, 0])
    document = {"people": [{"pose_keypoints_2d": BODY}], "canvas_height": 256, "canvas_width": 176}
    (poses / "ben_keypoints.json").write_text(json.dumps(document))
    np.save(poses / "whole.npy", np.random.default_rng(0).uniform(1, 170, (133, 3)))
    drawn = Image.new("RGB", (44, 64))
    drawn.paste((0, 0, 153), (20, 10, 24, 50))
    drawn.save(poses / "drawn.png")
    return sources, poses


def ids(dataset):
    dataset.setup()
    return [pair.pair_id for pair in dataset.pairs]


def test_every_source_with_every_pose(folders, specs):
    dataset = FolderPairs(*folders, pose_size=(256, 176))
    poses = ["anna", "ben", "drawn", "whole"]
    assert ids(dataset) == [f"{source}_2_{pose}" for source in ("anna", "ben") for pose in poses]
    transform = PairTransform(specs, train=False)
    images = [transform(dataset.load(index)) for index in range(len(dataset))]
    assert all(set(image) == {"source_image", "pose_image"} for image in images)
    painted = [image["pose_image"].max() > -1 for image in images]
    assert all(painted)


def test_same_names(folders):
    dataset = FolderPairs(*folders, pairing="stem")
    assert ids(dataset) == ["anna_2_anna", "ben_2_ben"]


def test_single_files(folders):
    sources, poses = folders
    assert ids(FolderPairs(sources / "ben.png", poses / "anna.txt")) == ["ben_2_anna"]


@pytest.mark.parametrize("text", ["source,pose\n", "\ufeffSource;Pose\r\n", "pose\tsource\n", "source,pose,target\n"])
def test_tables(folders, text):
    sources, poses = folders
    delimiter = ";" if ";" in text else "\t" if "\t" in text else ","
    rows = [["ben.png", "anna.txt"], ["anna.jpg", "ben_keypoints.json"]]
    rows = [row[::-1] for row in rows] if text.startswith("pose") else rows
    rows = [[*row, "anna.jpg"] for row in rows] if "target" in text else rows
    newline = "\r\n" if "\r\n" in text else "\n"
    content = text + newline.join(delimiter.join(row) for row in rows) + newline + newline
    path = sources.parent / "pairs.csv"
    path.write_bytes(content.encode())
    dataset = FolderPairs(sources, poses, pairs_csv=path)
    assert ids(dataset) == ["ben_2_anna", "anna_2_ben"]
    assert (dataset.pairs[0].target is not None) == ("target" in text)
    assert dataset.load(1).keypoints.frame.height == 256


def test_names_relative_to_the_table(folders):
    sources, poses = folders
    path = sources.parent / "pairs.csv"
    path.write_text("source,pose\nsources/anna.jpg,poses/anna.txt\n")
    dataset = FolderPairs(sources, poses, pairs_csv=path)
    dataset.setup()
    assert dataset.pairs[0].source.is_file()
    assert dataset.pairs[0].pose.is_file()


def test_a_missing_file_in_a_table_is_left_to_loading(folders):
    sources, poses = folders
    path = sources.parent / "pairs.csv"
    path.write_text("source,pose\nanna.jpg,anna.txt\nnobody.jpg,anna.txt\n")
    dataset = FolderPairs(sources, poses, pairs_csv=path)
    dataset.setup()
    assert dataset.load(0).source is not None
    with pytest.raises(PgpisError, match=r"nobody\.jpg"):
        dataset.load(1)


def test_sources_of_the_same_name_get_results_of_their_own(folders):
    sources, poses = folders
    Image.new("RGB", (4, 4)).save(sources / "anna.png")
    Image.new("RGB", (4, 4)).save(sources / "BEN.jpg")
    names = ids(FolderPairs(sources, poses / "anna.txt"))
    assert sorted(names) == ["BEN.jpg_2_anna", "anna.jpg_2_anna", "anna.png_2_anna", "ben.png_2_anna"]
    path = sources.parent / "pairs.csv"
    other = sources.parent / "other"
    other.mkdir()
    Image.new("RGB", (4, 4)).save(other / "anna.jpg")
    path.write_text("source,pose\nanna.jpg,anna.txt\nother/anna.jpg,anna.txt\n")
    names = ids(FolderPairs(sources, poses, pairs_csv=path))
    assert len({name.casefold() for name in names}) == 2


def test_joined_names_stay_apart(tmp_path):
    sources, poses = tmp_path / "s", tmp_path / "p"
    sources.mkdir()
    poses.mkdir()
    for name in ("a", "a_2_b"):
        Image.new("RGB", (4, 4)).save(sources / f"{name}.png")
    for name in ("c", "b_2_c"):
        Image.new("RGB", (4, 4)).save(poses / f"{name}.png")
    names = ids(FolderPairs(sources, poses))
    assert len(names) == len(set(names)) == 4


def test_a_transparent_drawing_is_read_as_on_black(tmp_path, specs):
    drawing = Image.new("RGB", (375, 550))
    drawing.paste((255, 0, 0), (100, 100, 200, 400))
    drawing.save(tmp_path / "black.png")
    drawing.putalpha(drawing.convert("L").point(lambda value: 255 * bool(value)))
    drawing.save(tmp_path / "clear.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    transform = PairTransform({"pose_image": specs["pose_image"]}, train=False)
    images = []
    for name in ("black", "clear"):
        dataset = FolderPairs(tmp_path / "a.png", tmp_path / f"{name}.png")
        dataset.setup()
        images.append(transform(dataset.load(0))["pose_image"])
    assert torch.equal(*images)


def test_a_wide_canvas_is_padded_not_squashed(tmp_path, specs):
    """A circle-like pose keeps its proportions when it comes from a landscape picture."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    body = np.full((18, 3), 0.0)
    body[[2, 5, 1]] = [[700, 300, 1], [900, 300, 1], [800, 400, 1]]  # 200 wide, 100 high
    document = {"people": [{"pose_keypoints_2d": body.ravel().tolist()}], "canvas_height": 900, "canvas_width": 1600}
    (tmp_path / "pose.json").write_text(json.dumps(document))
    dataset = FolderPairs(tmp_path / "a.png", tmp_path / "pose.json")
    dataset.setup()
    spec = {"pose_image": specs["pose_image"].__class__("pose", 550, 375)}
    image = PairTransform(spec, train=False)(dataset.load(0))["pose_image"]
    rows, columns = (image.amax(dim=0) > -1).nonzero().T
    width, height = int(columns.max() - columns.min()) - 8, int(rows.max() - rows.min()) - 8
    assert width == pytest.approx(2 * height, abs=6)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (None, {"sources": "absent"}, "folder not found"),
        ("empty", {"sources": "empty"}, "it is empty"),
        ("notes", {"sources": "notes"}, r"other suffixes, e\.g\. notes\.docx"),
        (None, {"poses": "sources/anna.jpg", "sources": "poses/anna.txt"}, "unknown suffix '.txt'"),
        ("double", {"pairing": "stem"}, r"called 'anna': anna\.jpg, anna\.png"),
        ("strangers", {"pairing": "stem", "poses": "strangers"}, "no source and pose share a name"),
        (None, {"pairs_csv": "absent.csv"}, "table of pairs not found"),
        ("a,b\n", {"pairs_csv": "pairs.csv"}, "first line must be"),
        ("source,pose\n\n", {"pairs_csv": "pairs.csv"}, "names no pairs"),
        ("source,pose\nanna.jpg,\n", {"pairs_csv": "pairs.csv"}, "line 2"),
        ("source,pose\nanna.jpg,anna.txt,ben.png\n", {"pairs_csv": "pairs.csv"}, "line 2"),
        ("source,pose\nanna.txt,anna.txt\n", {"pairs_csv": "pairs.csv"}, "must end in"),
        ("source,pose\nanna.jpg,anna.txt\n\nanna.jpg,anna.txt\n", {"pairs_csv": "pairs.csv"}, "lines 2 and 4"),
        ("source,pose\nx.jpg,y.txt\n", {"pairs_csv": "pairs.csv"}, "none of its pairs exists"),
    ],
)
def test_mistakes_are_named(folders, change, arguments, message):
    sources, poses = folders
    base = sources.parent
    for name in ("empty", "notes", "strangers"):
        (base / name).mkdir()
    (base / "notes" / "notes.docx").write_text("")
    (base / "strangers" / "carl.txt").write_bytes((poses / "anna.txt").read_bytes())
    if change == "double":
        Image.new("RGB", (4, 4)).save(sources / "anna.png")
    elif change and "\n" in change:
        (base / "pairs.csv").write_text(change)
    options = {"sources": "sources", "poses": "poses"} | arguments
    options = {key: value if key == "pairing" else base / value for key, value in options.items()}
    with pytest.raises(PgpisError, match=message):
        FolderPairs(**options).setup()


def test_what_a_folder_holds_instead_is_told(folders, tmp_path, caplog):
    sources, poses = folders
    for name, detail in (
        ("nested", "1 folders"),
        ("links", "1 links lead nowhere: ben.png"),
        ("hidden", "hidden ones"),
    ):
        (tmp_path / name).mkdir()
        {
            "nested": lambda path: path.joinpath("anna").mkdir(),
            "links": lambda path: path.joinpath("ben.png").symlink_to("/not/mounted/ben.png"),
            "hidden": lambda path: path.joinpath(".anna.png").touch(),
        }[name](tmp_path / name)
        with pytest.raises(PgpisError, match=detail):
            ids(FolderPairs(tmp_path / name, poses))
    (sources / "dangling.png").symlink_to("/not/mounted/ben.png")
    dataset = FolderPairs(sources, poses / "anna.txt")
    assert "dangling_2_anna" in ids(dataset), "its pair fails, and is listed"


def test_pictures_of_one_name_do_not_share_what_is_made_of_them(folders):
    sources, poses = folders
    Image.new("RGB", (44, 64), "red").save(sources / "anna.png")
    dataset = FolderPairs(sources, poses / "drawn.png")
    dataset.setup()
    dataset.require({"source", "pose"})
    with pytest.raises(PgpisError, match=r"anna\.jpg and .*anna\.png would share the texture map"):
        dataset.require({"texture"})


def test_names_that_are_not_utf8_can_be_written(folders):
    sources, poses = folders
    (sources / os.fsdecode(b"caf\xe9.png")).write_bytes((sources / "ben.png").read_bytes())
    assert "caf%E9_2_anna" in ids(FolderPairs(sources, poses / "anna.txt"))
    (sources / "pairs.csv").write_bytes(b"source,pose\ncaf\xe9.png,anna.txt\n")
    dataset = FolderPairs(sources, poses, pairs_csv=sources / "pairs.csv")
    assert ids(dataset) == ["caf%E9_2_anna"]
    assert dataset.load(0).source.size == (44, 64)


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders")
def test_what_is_no_file_costs_its_pairs_and_no_time(folders):
    sources, poses = folders
    for folder, name in ((sources, "pipe.png"), (poses, "pipe.txt"), (poses, "pipe.npy")):
        os.mkfifo(folder / name)
    (sources / "device.png").symlink_to("/dev/zero")
    (sources / "loop.png").symlink_to("loop.png")
    (sources / "empty.png").touch()
    dataset = FolderPairs(sources, poses, pose_size=(256, 176))
    odd = [index for index, name in enumerate(ids(dataset)) if not name.startswith(("anna", "ben")) or "pipe" in name]
    assert len(odd) == len(dataset) - 8
    for index in odd:
        empty = dataset.pairs[index].source.name == "empty.png" and "pipe" not in dataset.pairs[index].pair_id
        assert (dataset.fingerprint(index, {"source", "pose"}) != "") == empty
        with pytest.raises(PgpisError, match=r"(pipe|device|loop|empty)\.\w+"):
            dataset.load(index)


def test_accents_may_be_one_character_or_two(folders, caplog):
    """An archive of macOS has the pictures in NFD, and what names them is typed in NFC; or the other way round."""
    sources, poses = folders
    for form, other in (("NFD", "NFC"), ("NFC", "NFD")):
        name, typed = normalize(form, "josé"), normalize(other, "josé")
        below, textures = sources / name, sources / f"{typed}_texture"
        below.mkdir()
        textures.mkdir()
        (below / f"{name}.jpg").write_bytes((sources / "anna.jpg").read_bytes())
        pose, texture = sources.parent / "one" / f"{typed}.txt", textures / f"{typed}.png"
        pose.parent.mkdir(exist_ok=True)
        pose.write_bytes((poses / "anna.txt").read_bytes())
        Image.new("RGB", (192, 128)).save(texture)
        assert ids(FolderPairs(below, pose.parent, pairing="stem")) == [f"{name}_2_{typed}"]
        assert beside(below / f"{name}.jpg", kind_of("texture")).name == texture.name
        table = sources.parent / "pairs.csv"
        table.write_text(f"source,pose\n{typed}/{typed}.jpg,{name}.txt\n", encoding="utf-8")
        dataset = FolderPairs(sources, pose.parent, pairs_csv=table)
        assert ids(dataset) == [f"{name}_2_{typed}"]
        assert dataset.load(0).source.size == (44, 64)
        for path in (*below.iterdir(), below, pose, texture, textures):
            path.rmdir() if path.is_dir() else path.unlink()


def test_two_files_whose_accents_alone_differ_are_two(folders):
    sources, poses = folders
    for form in ("NFC", "NFD"):
        (sources / normalize(form, "josé.jpg")).write_bytes((sources / "anna.jpg").read_bytes())
    names = ids(FolderPairs(sources, poses / "anna.txt"))
    assert len({normalize("NFC", name) for name in names}) == 4
    with pytest.raises(PgpisError, match="several files are called"):
        ids(FolderPairs(sources, poses, pairing="stem"))


def test_the_fingerprint_is_that_of_everything_that_is_read(folders):
    sources, poses = folders
    texture = sources.with_name("sources_texture") / "anna.png"
    Image.new("RGB", (512, 512)).save(_parent(texture))

    def fingerprint(*origins, **options):
        dataset = FolderPairs(sources / "anna.jpg", poses / "anna.txt", **options)
        dataset.setup()
        return dataset.fingerprint(0, {"source", "pose", "target", *origins})

    before = fingerprint(), fingerprint("texture")
    assert len({*before, fingerprint(pose_size=(100, 100)), fingerprint("texture", "face"), ""}) == 4
    assert fingerprint("face") == "", "it is not there"
    assert fingerprint("face", on_missing=OnMissing(face="drop"))
    Image.new("RGB", (512, 512), "red").save(texture)
    assert (fingerprint(), fingerprint("texture") != before[1]) == (before[0], True)
    edited = fingerprint("texture", clothes=("upper=anna.jpg",))
    Image.new("RGB", (512, 512), "blue").save(texture)
    assert fingerprint("texture", clothes=("upper=anna.jpg",)) != edited
    table = sources / "pairs.csv"
    for names in ("source,pose\nanna.jpg,anna.txt\n", "source,pose,target\nanna.jpg,anna.txt,ben.png\n"):
        table.write_text(names)
        assert (fingerprint(pairs_csv=table) == before[0]) == ("target" not in names), "poses are squashed like it"


def test_noise_may_have_a_name_of_its_own(folders):
    sources, poses = folders
    own, other = (FolderPairs(sources, poses / "anna.txt", noise_name=name) for name in (None, "me"))
    for dataset in (own, other):
        dataset.setup()
    assert [pair.noise_name for pair in own.pairs] == ["anna", "ben"]
    assert [pair.noise_name for pair in other.pairs] == ["me", "me"]
    assert own.fingerprint(0, ("source", "pose")) != other.fingerprint(0, ("source", "pose")), "it is another picture"


def test_provenance_knows_contents_and_no_names(folders):
    sources, poses = folders

    def provenance(source, pose, *origins, **options):
        dataset = FolderPairs(source, pose, on_missing=OnMissing(face="drop"), **options)
        dataset.setup()
        reads = {"source", "target", *origins}
        return dataset.provenance(dataset.load(0, reads), reads)

    before = provenance(sources / "anna.jpg", poses / "anna.txt", "pose", "face")
    assert set(before["files"]) == {"source"}
    assert before["dropped"] == ["face"]
    assert before["pose"]["people"][0]["pose_keypoints_2d"] == BODY
    assert "anna" not in json.dumps(before)
    (sources / "anna.jpg").rename(sources / "carla.jpg")
    (poses / "anna.txt").rename(poses / "walk.txt")
    assert provenance(sources / "carla.jpg", poses / "walk.txt", "pose", "face") == before
    assert provenance(sources / "ben.png", poses / "walk.txt", "pose", "face")["files"] != before["files"]
    drawn = provenance(sources / "ben.png", poses / "drawn.png", "pose")
    assert drawn["pose"] is None
    assert set(drawn["files"]) == {"pose", "source"}


def _parent(path):
    path.parent.mkdir(exist_ok=True)
    return path


def test_a_name_that_no_file_system_takes_is_not_found(folders):
    sources, poses = folders
    with pytest.raises(PgpisError, match="folder not found"):
        ids(FolderPairs(sources / ("x" * 300), poses))
    (sources / "pairs.csv").write_text(f"source,pose\n{'x' * 300}.png,anna.txt\nanna.jpg,anna.txt\n")
    dataset = FolderPairs(sources, poses, pairs_csv=sources / "pairs.csv")
    assert len(ids(dataset)) == 2
    with pytest.raises(PgpisError, match="xxx"):
        dataset.load(0)


def test_large_tables_share_what_they_repeat(tmp_path, monkeypatch):
    """A million pairs of a thousand pictures: each file is looked up once, and what was made of it named once."""
    names = [f"{letter}.png" for letter in "abcd"]
    for folder in ("sources", "poses"):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.new("RGB", (8, 8)).save(tmp_path / folder / name)
    table = tmp_path / "pairs.csv"
    table.write_text("source,pose\n" + "".join(f"{source},{pose}\n" for source in names for pose in names))
    looked_up = []
    monkeypatch.setattr(listed_module, "find_file", lambda name, folders: looked_up.append(name) or folders[0] / name)
    dataset = FolderPairs(tmp_path / "sources", tmp_path / "poses", pairs_csv=table)
    dataset.setup()
    assert sorted(looked_up) == sorted(names * 2)
    assert len({id(pair.source) for pair in dataset.pairs}) == len({id(pair.pose) for pair in dataset.pairs}) == 4
    assert len({id(pair.person) for pair in dataset.pairs}) == len({id(pair.aim) for pair in dataset.pairs}) == 4
    files = list(distinct_files(dataset.pairs))
    each = [file for pair in dataset.pairs for file in distinct_files([pair])]
    assert len(files) < len(each) / 3
    assert set(files) == set(each)
    first = dataset.pairs[0]
    assert dict(first.conditions) == dataset.made_of(first.source, "source") | dataset.made_of(first.pose, "target")


def test_a_row_of_a_large_table_costs_little(tmp_path):
    """Of 40,000 pairs of 200 pictures, each keeps its name, an object and nothing else."""
    names = [f"{number}.png" for number in range(200)]
    for folder in ("sources", "poses"):
        (tmp_path / folder).mkdir()
    for name in names[:1]:
        Image.new("RGB", (8, 8)).save(tmp_path / "sources" / name)
        Image.new("RGB", (8, 8)).save(tmp_path / "poses" / name)
    table = tmp_path / "pairs.csv"
    table.write_text("source,pose\n" + "".join(f"{source},{pose}\n" for source in names for pose in names))
    measuring = process(measure, tmp_path, log=tmp_path / "log.txt")
    measuring.join()
    assert measuring.exitcode == 0, (tmp_path / "log.txt").read_text()
    kept, most = json.loads((tmp_path / "memory.json").read_text())
    assert kept < 170
    assert most < 210


def test_what_many_rows_exchange_is_looked_up_once(folders, monkeypatch):
    sources, poses = folders
    textures = sources.with_name("sources_texture")
    textures.mkdir()
    for name in ("anna.png", "ben.png"):
        Image.new("RGB", (8, 8)).save(textures / name)
    rows = [
        f"{source},{pose},upper=anna.jpg" for source in ("anna.jpg", "ben.png") for pose in ("anna.txt", "whole.npy")
    ]
    (sources / "pairs.csv").write_text("\n".join(["source,pose,clothes", *rows]))
    dataset = FolderPairs(sources, poses, pairs_csv=sources / "pairs.csv")
    looked_up = []
    monkeypatch.setattr(dataset, "_picture", lambda name: looked_up.append(name) or sources / name)
    names = [f"{source}_2_{pose}_upper-anna" for source in ("anna", "ben") for pose in ("anna", "whole")]
    assert ids(dataset) == names
    assert looked_up == ["anna.jpg"]
    assert len({id(pair.edit) for pair in dataset.pairs}) == 1


def test_a_folder_is_listed_without_a_look_at_each_of_its_files(folders, monkeypatch):
    sources, _ = folders
    for number in range(20):
        Image.new("RGB", (4, 4)).save(sources / f"{number}.png")
    (sources / "below").mkdir()
    (sources / "loop.png").symlink_to("loop.png")
    stats, stat = [], Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **options: stats.append(path) or stat(path, **options))
    files = list_files(sources, (".png", ".jpg"), "pictures")
    assert [file.name for file in files] == sorted(
        [*(f"{n}.png" for n in range(20)), "anna.jpg", "ben.png", "loop.png"]
    )
    assert len(stats) < 10


def test_what_was_made_of_pictures_in_folders_below_is_found_however_they_are_spelt(folders, monkeypatch):
    sources, poses = folders
    (sources / "below").mkdir()
    picture = sources / "below/anna.jpg"
    picture.write_bytes((sources / "anna.jpg").read_bytes())
    texture = sources.with_name(f"{sources.name}_texture") / "below/anna.png"
    texture.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(texture)
    monkeypatch.chdir(sources.parent)
    table = sources.with_name("absolute.csv")
    pose = next(iter(poses.iterdir()))
    table.write_text(f"source,pose\n{picture.absolute()},{pose.absolute()}\n")
    for root in (Path(sources.name), sources, sources.parent / "x" / ".." / sources.name):
        dataset = FolderPairs(root, poses, table)
        dataset.setup()
        [pair] = dataset.pairs
        assert pair.file("texture").resolve() == texture.resolve(), root


RECORDED = {"box": None, "reason": None, "found": True}


def record(folder, **made):
    """Write down that conditions were made of pictures as they are: ``texture=["anna.jpg"]``."""
    lines = [
        {**RECORDED, "name": name, "condition": condition, "content": content_hash(folder / name)}
        for condition, names in made.items()
        for name in names
    ]
    (folder / "prepare.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def replaced(folders):
    """Textures of both sources are recorded, and then ``anna.jpg`` became another person."""
    sources, poses = folders
    textures = sources.with_name("sources_texture")
    textures.mkdir()
    for name in ("anna.png", "ben.png"):
        Image.new("RGB", (512, 512)).save(textures / name)
    record(sources, texture=["anna.jpg", "ben.png"])
    Image.new("RGB", (44, 64), "red").save(sources / "anna.jpg")
    return sources, poses


ORIGINS = ("source", "pose", "texture")
STALE = r"sources_texture/anna.png was made of another picture than .*sources/anna.jpg is now"


@pytest.mark.parametrize("change", ["none", "other suffix"])
def test_what_was_made_of_an_earlier_picture_is_not_drawn(replaced, change, caplog):
    sources, poses = replaced
    if change == "other suffix":
        (sources / "anna.jpg").unlink()
        Image.new("RGB", (44, 64), "red").save(sources / "anna.png")
    dataset = FolderPairs(sources, poses / "anna.txt")
    dataset.setup()
    assert "left out" not in caplog.text, "the record is no file of the user's"
    dataset.require(ORIGINS)  # ben's pair can be drawn
    with pytest.raises(PgpisError, match=STALE.replace("anna.jpg", "anna....")) as caught:
        dataset.load(0, ORIGINS)
    assert caught.value.hint == f"pgpis prepare {sources} --conditions densepose,texture"
    assert dataset.load(1, ORIGINS).conditions.keys() == {"texture"}
    assert dataset.load(0, ("source", "pose")).source is not None  # no texture is read
    alone = FolderPairs(sources / dataset.pairs[0].source.name, poses / "anna.txt")
    alone.setup()
    with pytest.raises(PgpisError, match="made of another picture"):
        alone.require(ORIGINS)


@pytest.mark.parametrize("line", [{"reason": "nobody"}, {"content": ""}, {"condition": "unheard-of"}, "{cut"])
def test_files_that_no_record_knows_are_the_users_own(replaced, line):
    sources, poses = replaced
    path = sources / "prepare.jsonl"
    own = line if isinstance(line, str) else json.dumps({**json.loads(path.read_text().splitlines()[0]), **line})
    path.write_text(own)
    dataset = FolderPairs(sources, poses / "anna.txt")
    dataset.setup()
    assert dataset.load(0, ORIGINS).conditions.keys() == {"texture"}


def test_clothes_further_sources_and_poses_of_an_earlier_picture_are_not_drawn(replaced, tmp_path):
    sources, poses = replaced
    origins = (*ORIGINS, "face")
    np.save(tmp_path / "face.npy", np.ones(512, np.float32))
    words = {"faces": tmp_path / "face.npy"}
    edited = FolderPairs(sources / "ben.png", poses / "anna.txt", clothes=("upper=anna.jpg",), **words)
    edited.setup()
    with pytest.raises(PgpisError, match=STALE):
        edited.load(0, origins)
    (tmp_path / "t.csv").write_text("source,source_2,pose\nben.png,anna.jpg,anna.txt\n")
    several = FolderPairs(sources, poses, tmp_path / "t.csv")
    several.setup()
    with pytest.raises(PgpisError, match=STALE):
        several.load(0, ORIGINS)
    found = sources.with_name("sources_pose")
    found.mkdir()
    shutil.copy(poses / "ben_keypoints.json", found / "ben.json")
    record(sources, pose=["ben.png"])
    posed = FolderPairs(sources / "ben.png", found)
    posed.setup()
    posed.require(("source", "pose"))
    Image.new("RGB", (44, 64), "blue").save(sources / "ben.png")
    with pytest.raises(PgpisError, match=r"sources_pose/ben.json was made of another picture"):
        posed.require(("source", "pose"))
    (sources / "ben.png").unlink()  # proves nothing
    posed.load(0, ("pose",))


def test_people_in_folders_have_one_record(folders, tmp_path):
    sources, poses = folders
    for name in ("anna", "ben"):
        (tmp_path / "people" / name).mkdir(parents=True)
        (tmp_path / "people_texture" / name).mkdir(parents=True)
        shutil.copy(sources / "anna.jpg", tmp_path / "people" / name / "1.jpg")
        Image.new("RGB", (512, 512)).save(tmp_path / "people_texture" / name / "1.png")
    record(tmp_path / "people", texture=["anna/1.jpg", "ben/1.jpg"])
    Image.new("RGB", (44, 64), "red").save(tmp_path / "people/ben/1.jpg")
    dataset = FolderPairs(tmp_path / "people", poses / "anna.txt", sources_by="person")
    dataset.setup()
    dataset.load(0, ORIGINS)
    with pytest.raises(PgpisError, match=r"people_texture/ben/1.png was made of another picture"):
        dataset.load(1, ORIGINS)


def test_a_record_that_cannot_be_read_is_told_and_a_pipe_is_none(folders, monkeypatch):
    sources, _ = folders
    texture = sources.with_name(f"{sources.name}_texture") / "anna.png"
    texture.parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save(texture)
    os.mkfifo(sources / "prepare.jsonl")
    refuse_stale(kind_of("texture"), texture)  # does not wait for it
    (sources / "prepare.jsonl").unlink()
    record(sources, texture=["anna.jpg"])
    monkeypatch.setattr(Path, "open", Mock(side_effect=PermissionError(13, "Permission denied")))
    with pytest.raises(PgpisError, match=r"cannot read .*prepare\.jsonl"):
        refuse_stale(kind_of("texture"), texture)
