"""Pictures from anywhere: what is opened, how much of it, and what a damaged one is called."""

import io
import os
import struct
import sys
import zlib
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageFile

from hostile_pictures import chunk, compressed_bmp, encoded, exif, many_scans, png, with_exif
from pgpis.batch import ImageSpec
from pgpis.data.lmdb_reader import read_entry
from pgpis.data.packs.stores import Store
from pgpis.data.picture_store import content_hash, read_picture
from pgpis.errors import PgpisError
from pgpis.files import sha256_of
from pgpis.models.foreign import read_json
from pgpis.pictures import drawing as drawing_module
from pgpis.pictures.arrays import read_face
from pgpis.pictures.decoding import MOST_BYTES, decode, verified_size
from pgpis.pictures.images import fit_images, read_image, upright_rgb
from pgpis.pictures.iuv import read_iuv
from pgpis.pictures.uv_texture import read_chart_masks
from pgpis.pictures.videos import frame_count

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))


def read_entry_of_lmdb(path):
    database = path.parent / "database"
    with lmdb.open(str(database), map_size=2**22) as environment, environment.begin(write=True) as transaction:
        transaction.put(path.name.encode(), path.read_bytes())
    return read_picture(database / "data.mdb" / path.name)


READERS = (read_image, read_iuv, read_picture, read_entry_of_lmdb, verified_size, read_chart_masks)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("file_format", ["EPS", "GIF", "TIFF", "PPM", "AVIF", "ICO"])
def test_other_formats_are_refused_whatever_their_name(read, file_format, tmp_path, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("PostScript was run"))
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(PICTURE, file_format))
    with pytest.raises(PgpisError, match=r"photo\.jpg.*not a JPEG, PNG, WebP or BMP"):
        read(path)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "MPO"])
def test_a_wrong_suffix_does_not_matter(file_format, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(PICTURE, file_format))
    assert read_image(path).size == PICTURE.size


BOMBS = {
    "tall": (png(1, 60000), "1x60000 pixels.*at most 32 times"),
    "wide": (png(60000, 1), "60000x1 pixels.*at most 32 times"),
    "empty": (png(0, 5), "photo"),
    "deep": (png(11000, 11000, depth=16), "11000x11000 pixels.*at most 120 million"),
    "larger than Pillow allows": (png(60000, 60000), "at most 120 million"),
    "scans": (many_scans(300), r"in \d+ scans.*at most"),
    "runs": (compressed_bmp(3000, 3000), "3000x3000 pixels as bmp_rle.*at most 4.19 million"),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("read", READERS)
def test_what_is_too_large_is_refused_before_it_is_decoded(read, name, tmp_path, monkeypatch):
    content, expected = BOMBS[name]
    assert len(content) < 2**18
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(PgpisError, match=rf"(?s)photo\.png.*{expected}" if name != "empty" else expected):
        read(path)


def test_a_huge_file_is_not_even_read(tmp_path, monkeypatch):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("read"))
    with pytest.raises(PgpisError, match=r"a\.jpg has 536870913 bytes"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders")
@pytest.mark.parametrize(
    "read",
    [
        read_image,
        read_face,
        frame_count,
        read_json,
        sha256_of,
        lambda path: read_entry(path, b"key"),
        lambda path: Store(str(path.parent)).read(path.name),
    ],
)
def test_what_is_not_a_file_does_not_hang(read, tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "device").symlink_to("/dev/zero")
    for path in (tmp_path / "a.jpg", tmp_path / "device", tmp_path):
        with pytest.raises(PgpisError, match="it is not a file"):
            read(path)
        assert not content_hash(path)


@pytest.mark.parametrize("error", [struct.error, zlib.error, TypeError, AttributeError, KeyError, SyntaxError,
                                   OverflowError, MemoryError, RecursionError, EOFError, IndexError])  # fmt: skip
@pytest.mark.parametrize("read", READERS)
def test_any_error_of_a_codec_names_the_file(read, error, tmp_path, monkeypatch):
    PICTURE.save(tmp_path / "a.png")

    def fail(*_):
        raise error("odd")

    for method in ("load", "verify"):
        monkeypatch.setattr(ImageFile.ImageFile, method, fail)
    with pytest.raises(PgpisError, match=rf"a\.png: {error.__name__}: .*odd"):
        read(tmp_path / "a.png")


def test_lazily_opened_pictures_of_a_user_are_named_too():
    image = Image.open(io.BytesIO(encoded(PICTURE, "PNG")[:200]))
    with pytest.raises(PgpisError, match=r"cannot read picture source: .*truncated"):
        upright_rgb(image, "source")


UPRIGHT, TURNED = (0x112, 3, 1, struct.pack("<H", 1)), (0x112, 3, 1, struct.pack("<H", 6))
RATIONALS = struct.pack("<6i", -33, 1, 42, 1, 0, 1)


@pytest.mark.parametrize(
    ("content", "turned"),
    [
        (exif(TURNED, gps=[(2, 10, 3, RATIONALS)]), True),  # south of the equator, by some phones
        (exif(TURNED, (0x11A, 2, 2, b"7\0"), (0x128, 3, 1, b"\2\0")), False),  # Pillow does not open this one
        (exif((0x112, 2, 4, b"six\0")), False),
        (exif((0x112, 5, 1, struct.pack("<2I", 6, 0))), False),
        (exif((0x112, 3, 2**31, b"\1\2\3\4")), False),
        (exif(TURNED, (0x8769, 2, 3, b"abc")), True),
        (exif((0x112, 3, 1, b"\x63\0")), False),
        (b"Exif\0\0", False),
        (b"Exif\0\0II*\0\xff\xff\xff\xff", False),
        (b"Exif\0\0XX*\0", False),
    ],
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_odd_exif_costs_no_more_than_the_orientation(content, turned, file_format, tmp_path):
    if file_format == "JPEG":
        data = with_exif(encoded(PICTURE, "JPEG"), content)
    elif file_format == "PNG":
        data = encoded(PICTURE, "PNG")
        data = data[:33] + chunk(b"eXIf", content[6:]) + data[33:]
        turned = turned or b"7\0" in content
    else:
        data = encoded(PICTURE, "WEBP", exif=content, lossless=True)
        turned = turned or b"7\0" in content
    (tmp_path / "a.jpg").write_bytes(data)
    image = read_image(tmp_path / "a.jpg")
    assert image.size == (PICTURE.size[::-1] if turned else PICTURE.size)
    assert upright_rgb(image).size == image.size  # not turned again


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"note\0\0" + zlib.compress(b"A" * 3_000_000, 9)),
        b"".join(chunk(b"zTXt", b"%d\0\0" % number + zlib.compress(b"A" * 1_000_000, 9)) for number in range(70)),
        chunk(b"iCCP", b"wide\0\0" + zlib.compress(b"A" * 3_000_000, 9)),
        chunk(b"iCCP", b"wide\0\7damaged"),
        chunk(b"gAMA", b"\0"),
        chunk(b"iTXt", b"\xff")[:-4] + b"sums",
    ],
)
def test_damaged_or_huge_metadata_of_a_png_does_not_cost_the_picture(extra, tmp_path):
    data = encoded(PICTURE, "PNG")
    (tmp_path / "a.png").write_bytes(data[:33] + extra + data[33:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PICTURE)


def test_damaged_pictures_of_a_series_do_not_cost_the_first():
    data = encoded(PICTURE, "MPO", save_all=True, append_images=[PICTURE])
    directory = data.find(b"MPF\0") + 4
    damaged = data[:directory] + b"\xff" * 20 + data[directory + 20 :]
    assert decode(damaged, "a.jpg").size == PICTURE.size


@pytest.mark.parametrize("fit", ["crop", "squash"])
@pytest.mark.parametrize("size", [(1, 60000), (60000, 1)])
def test_fitting_refuses_what_it_would_blow_up(fit, size):
    with pytest.raises(PgpisError, match=r"source is .* at most 32 times as long as wide"):
        fit_images({"source": Image.new("RGB", size)}, {"a": ImageSpec("source", 224, 224, fit=fit)})


@pytest.mark.parametrize("size", [(2400, 80), (80, 2000)])
def test_padding_of_a_large_drawing_is_bounded(size, monkeypatch):
    drawing = Image.new("RGB", size)
    drawing.paste("red", (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2))
    whole = drawing_module.centre_on_canvas(drawing, drawing_module.CANVAS)
    monkeypatch.setattr(drawing_module, "MOST_PADDED", 2**20)
    padded = drawing_module.centre_on_canvas(drawing, drawing_module.CANVAS)
    assert padded.width * padded.height <= 1.05 * 2**20 < whole.width * whole.height
    small, expected = (np.asarray(image.resize((88, 128))).astype(float) for image in (padded, whole))
    assert np.abs(small - expected).mean() < 4


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_of_an_animation_the_first_frame_is_taken_and_that_is_said(tmp_path, caplog, suffix):
    path = tmp_path / f"dance.{suffix}"
    frames = [Image.new("RGB", (32, 48), colour) for colour in ("red", "blue", "white")]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    still = tmp_path / f"still.{suffix}"
    frames[0].save(still)

    assert np.asarray(read_image(path))[0, 0].tolist() == [255, 0, 0]
    assert caplog.messages == [f"{path}: the first of its 3 frames is taken"]
    read_image(still)
    assert len(caplog.messages) == 1
