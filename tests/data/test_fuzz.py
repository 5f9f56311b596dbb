"""Damaged and odd input of every kind: a clear error or a right result, never a crash, and nothing outside the root."""

import io
import json
import random
import shutil

import numpy as np
import pytest
from PIL import Image

from mutation import mutate
from pgpis.data import DeepFashion, FolderPairs, PoseTransferDataModule
from pgpis.data.layouts.patn import read_points
from pgpis.data.link import link_layout
from pgpis.data.phoenix import read_corpus
from pgpis.errors import PgpisError
from pgpis.pictures.arrays import read_face
from pgpis.pictures.images import read_image
from pgpis.pictures.iuv import read_iuv
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import Keypoints


def outcomes(path, content, read, rounds, seed):
    """Read mutations of a file; return how many were errors and how many were read."""
    rng = random.Random(seed)
    errors = good = 0
    for _ in range(rounds):
        path.write_bytes(mutate(content, rng))
        reason = why_not(read, path)
        assert reason is None or path.name in reason, reason
        errors += reason is not None
        good += reason is None
    return errors, good


def why_not(read, *arguments):
    """Return the message of the error, None without one; any other exception goes through."""
    try:
        read(*arguments)
    except PgpisError as error:
        return str(error)
    return None


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))


def is_picture(path):
    image = read_image(path)
    assert image.mode == "RGB"
    assert np.asarray(image).dtype == np.uint8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_damaged_pictures(kind, tmp_path):
    errors, _ = outcomes(tmp_path / f"a.{kind.lower()}", encoded(NOISE, kind), is_picture, 120, kind)
    assert errors


@pytest.mark.parametrize("keep", [0, 1, 100, 400])
def test_truncated_pictures_are_errors(keep, tmp_path):
    for kind in ("jpg", "png"):
        content = encoded(NOISE, "JPEG" if kind == "jpg" else "PNG")
        (tmp_path / f"a.{kind}").write_bytes(content[:keep])
        with pytest.raises(PgpisError, match=rf"a\.{kind}"):
            read_image(tmp_path / f"a.{kind}")


def test_odd_pictures_are_read_right(tmp_path):
    red = Image.new("RGB", (40, 20), (255, 0, 0))
    red.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert np.abs(np.asarray(read_image(tmp_path / "cmyk.jpg")).astype(int) - [255, 0, 0]).max() < 8
    Image.fromarray(np.full((20, 40), 257 * 100, np.uint16)).save(tmp_path / "deep.png")
    assert (np.asarray(read_image(tmp_path / "deep.png")) == 100).all()
    for mode in ("1", "L", "P", "LA", "RGBA"):
        red.convert(mode).save(tmp_path / "mode.png")
        assert read_image(tmp_path / "mode.png").mode == "RGB"
    exif = Image.Exif()
    exif[0x0112] = 8
    red.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").size == (20, 40)
    Image.new("L", (8000, 6250)).save(tmp_path / "large.png")
    assert read_image(tmp_path / "large.png").size == (8000, 6250)


def is_map(path):
    assert np.asarray(read_iuv(path))[..., 2].max() <= 24


def test_damaged_densepose_maps(tmp_path):
    labels = np.random.default_rng(1).integers(0, 25, (40, 30, 3), dtype=np.uint8)
    outcomes(tmp_path / "iuv.png", encoded(Image.fromarray(labels), "PNG"), is_map, 200, 2)


def is_face(path):
    face = read_face(path)
    assert face.ndim == 1
    assert np.isfinite(face).all()


def test_damaged_faces(tmp_path):
    file = io.BytesIO()
    np.save(file, np.random.default_rng(2).normal(size=64).astype(np.float32))
    outcomes(tmp_path / "face.npy", file.getvalue(), is_face, 300, 3)


def are_points(path):
    points = read_keypoints(path)
    assert isinstance(points, Keypoints)
    assert np.isfinite(points.points).all()


POSE = "".join(f"{60 + i}.5 {20 + 9 * i}.25\n" for i in range(18)).encode()
OPENPOSE = json.dumps(
    {"people": [{"pose_keypoints_2d": [v for i in range(18) for v in (60 + i, 20 + 9 * i, 0.9)]}],
     "canvas_width": 176, "canvas_height": 256}
).encode()  # fmt: skip


@pytest.mark.parametrize(("name", "content"), [("pose.txt", POSE), ("pose.json", OPENPOSE)])
def test_damaged_key_points(name, content, tmp_path):
    outcomes(tmp_path / name, content, are_points, 300, 4)


@pytest.mark.parametrize("value", ["nan", "inf", "1e300", "-1e300", "abc", "1_0x"])
def test_numbers_that_are_no_pixels_are_errors(value, tmp_path):
    (tmp_path / "pose.txt").write_text(POSE.decode().replace("60.5", value))
    with pytest.raises(PgpisError, match=r"pose\.txt|not pixels"):
        read_keypoints(tmp_path / "pose.txt")


def test_points_outside_the_picture_are_drawn_or_cut(toy_root, tmp_path, specs):
    """Some points far out of the frame are no error, and no picture is spoilt by them."""
    rng = np.random.default_rng(5)
    (tmp_path / "poses").mkdir()
    for number in range(20):
        points = np.concatenate([rng.uniform([40, 0], [216, 256], (6, 2)), rng.normal(100, 400, (12, 2))])
        (tmp_path / f"poses/{number}.txt").write_text("".join(f"{x} {y}\n" for x, y in points))
    source = min(toy_root.glob("img/**/*.jpg"))
    data = PoseTransferDataModule(predict=FolderPairs(source, tmp_path / "poses"), input_specs=specs, num_workers=0)
    data.setup("predict")
    batches = list(data.predict_dataloader())
    assert sum(len(batch["index"]) for batch in batches) == 20
    assert not any(batch["failures"] for batch in batches)


@pytest.fixture(scope="module")
def roots(two_people, tmp_path_factory):
    """The data in every layout, a folder for each; tests damage the lists."""
    folder = tmp_path_factory.mktemp("layouts")
    shutil.copytree(two_people, folder / "fpdm")
    made = {"fpdm": folder / "fpdm"}
    for name in ("mcld", "patn", "nted", "pcdm"):
        link_layout(folder / "fpdm", folder / name, name)
        made[name] = folder / name
    return made


LISTS = {
    "fpdm": "train_pairs_data.json",
    "mcld": "train.csv",
    "patn": "fasion-resize-pairs-train.csv",
    "nted": "train_pairs.txt",
    "pcdm": "train_data.json",
}


@pytest.mark.parametrize("layout", LISTS)
def test_damaged_lists_stay_inside_the_root(layout, roots):
    root, rng = roots[layout], random.Random(layout)
    path = root / LISTS[layout]
    content = path.read_bytes()
    for _ in range(100):
        path.write_bytes(mutate(content, rng))
        dataset = DeepFashion(root, "train", layout=layout)
        if why_not(dataset.setup) is not None:
            continue
        for pair in dataset.pairs:
            for file in (pair.source, pair.target, pair.pose):
                if file is not None:
                    assert ".." not in file.relative_to(root).parts
        why_not(dataset.load, len(dataset) - 1)


@pytest.mark.parametrize("escape", ["../../../etc/passwd", "/etc/passwd", "..\\..\\secret.jpg", "img/../../x.jpg"])
@pytest.mark.parametrize("layout", LISTS)
def test_paths_that_leave_the_root_are_refused(layout, escape, tmp_path):
    path = tmp_path / LISTS[layout]
    other = "img/a.jpg"
    text = {
        "fpdm": json.dumps([{"source_image": escape, "target_image": f"./{other}"}]),
        "pcdm": json.dumps([{"source_image": escape, "target_image": "b.png"}]),
        "nted": f"{other},{escape}\n",
    }.get(layout, f"from,to\n{escape},b.jpg\n")
    path.write_text(text)
    with pytest.raises(PgpisError, match=LISTS[layout]):
        DeepFashion(tmp_path, "train", layout=layout).setup()


def test_damaged_tables(roots, tmp_path):
    table = next(roots["patn"].glob("fasion-resize-annotation-train.csv"))
    outcomes(tmp_path / "points.csv", table.read_bytes(), read_points, 200, 6)
    outcomes(tmp_path / "corpus.csv", b"name|video|start\nabc|x|1\ndef|y|2\n", read_corpus, 150, 7)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b"\xef\xbb\xbfsource,pose\r\n01_1_front.jpg,a.txt\r\n", 1),
        (b'source;pose\n"01_1_front.jpg";"a.txt"\n\n', 1),
        (b"pose\tsource\na.txt\t01_1_front.jpg\n", 1),
        (b"source\n01_1_front.jpg\n", None),
        (b"source,pose,pose\n01_1_front.jpg,a.txt,a.txt\n", None),
        (b"source,pose\n\xe9.jpg,a.txt\n", None),
        (b"source,pose\n01_1_front.jpg\n", None),
        (b"source,pose\n01_1_front.jpg,a.txt\n01_1_front.jpg,a.txt\n", None),
        (b"source,pose\nnothing.jpg,a.txt\n", None),
        (b"\xff\xfe\x00", None),
        (b"", None),
    ],
)
def test_tables_as_programs_write_them(text, count, own_toy_root, tmp_path):
    source = min(own_toy_root.glob("img/**/*.jpg"))
    (tmp_path / "poses").mkdir()
    (tmp_path / "poses/a.txt").write_bytes(POSE)
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "01_1_front.jpg").write_bytes(source.read_bytes())
    (tmp_path / "pairs.csv").write_bytes(text)
    made = FolderPairs(sources, tmp_path / "poses", pairs_csv=tmp_path / "pairs.csv")
    if count is None:
        with pytest.raises(PgpisError, match=r"pairs\.csv"):
            made.setup()
        return
    made.setup()
    assert len(made) == count


def test_symbolic_links_that_turn_in_circles_are_named(own_toy_root):
    picture = min(own_toy_root.glob("img/**/*.jpg"))
    picture.unlink()
    picture.symlink_to(picture.name)
    reasons = []
    for split in ("train", "test"):
        dataset = DeepFashion(own_toy_root, split, layout="fpdm")
        dataset.setup()
        reasons += [why_not(dataset.load, index) for index in range(len(dataset))]
    named = [reason for reason in reasons if reason is not None]
    assert named
    assert all(picture.name in reason for reason in named)
