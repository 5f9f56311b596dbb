import struct

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from hostile_pictures import chunk, png
from pgpis.batch import ImageSpec
from pgpis.errors import PgpisError
from pgpis.files import write_text
from pgpis.pictures import images
from pgpis.pictures.images import fit_images, image_to_tensor, read_image, resize, save_image, tensor_to_images
from pgpis.pictures.sheet import tile


def noise(height, width, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_tensor_and_back_is_exact():
    image = Image.fromarray(noise(9, 7))
    tensor = image_to_tensor(image)
    assert tensor.shape == (3, 9, 7)
    assert -1 <= tensor.min() < tensor.max() <= 1
    np.testing.assert_array_equal(tensor_to_images(tensor[None])[0], image)


def test_transparency_is_laid_on_white(tmp_path):
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)


def test_drawn_poses_lie_on_black(tmp_path):
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", background="black").getpixel((0, 0)) == (0, 0, 0)


def whole(image):
    """What reading does to a picture, all at once."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) / 257.0).round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_band_by_band_is_the_same_as_at_once(mode, orientation, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_BAND", 40)
    if mode == "I;16":
        image = Image.fromarray(np.random.default_rng(1).integers(0, 2**16, (23, 11), dtype=np.uint16))
    else:
        image = Image.fromarray(noise(23, 11, 3 if mode == "CMYK" else 4)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image.save(path, exif=exif, **({"transparency": 3} if mode in ("P", "L") else {}))
    with Image.open(path) as file:
        np.testing.assert_array_equal(read_image(path), whole(file))


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (100, 100), (3, 2)])
def test_tiles_of_any_shape_fit_a_row(size):
    made = tile(Image.new("RGB", size, "red"), 64, 256)
    assert made.height == 64
    assert 1 <= made.width <= 256
    assert (np.asarray(made) == (255, 0, 0)).all(axis=-1).any()


def test_photos_are_turned_upright(tmp_path):
    image = Image.fromarray(np.repeat(np.repeat(noise(2, 4), 8, 0), 8, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    image.save(tmp_path / "a.jpg", exif=exif, quality=98)
    assert read_image(tmp_path / "a.jpg").size == (image.height, image.width)


def test_sixteen_bit_grey_keeps_its_brightness(tmp_path):
    Image.fromarray(np.array([[0, 128 * 257, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert [read_image(tmp_path / "a.png").getpixel((x, 0)) for x in range(3)] == [(v, v, v) for v in (0, 128, 255)]


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_unreadable_pictures_are_named(tmp_path, content):
    path = tmp_path / "broken.jpg"
    if content is None:
        Image.fromarray(noise(64, 64)).save(path)
        content = path.read_bytes()[:500]
    path.write_bytes(content)
    with pytest.raises(PgpisError, match=r"broken\.jpg"):
        read_image(path)
    with pytest.raises(PgpisError, match="not found"):
        read_image(tmp_path / "absent.jpg")


@pytest.mark.parametrize("size", [(100, 60), (60, 100), (64, 64)])
def test_crop_keeps_the_middle_and_the_aspect_ratio(size):
    array = np.zeros((*size, 3), np.uint8)
    middle = (size[0] // 2, size[1] // 2)
    array[middle[0] - 6 : middle[0] + 6, middle[1] - 6 : middle[1] + 6] = 255
    spec = ImageSpec("source", 32, 32, fit="crop")
    fitted = fit_images({"source": Image.fromarray(array)}, {"key": spec})["key"]
    assert fitted.shape == (3, 32, 32)
    rows, columns = (fitted[0] > 0).nonzero().float().mean(dim=0).tolist()
    assert (rows, columns) == pytest.approx((15.5, 15.5), abs=0.6)
    bright = (fitted[0] > 0).float()
    assert bright.sum(0).max() == pytest.approx(bright.sum(1).max(), abs=1)


def test_base_starts_from_the_fitted_picture_and_detour_loses_detail():
    image = Image.fromarray(noise(64, 48))
    specs = {
        "small": ImageSpec("source", 16, 16, base="large"),
        "large": ImageSpec("source", 32, 32, train_detour=(4, 4)),
        "other": ImageSpec("target", 8, 8),
    }
    direct, detour = (fit_images({"source": image}, specs, detour=detour) for detour in (False, True))
    assert set(direct) == {"small", "large"}
    large = resize(image, 32, 32)
    torch.testing.assert_close(direct["large"], image_to_tensor(large))
    torch.testing.assert_close(direct["small"], image_to_tensor(resize(large, 16, 16)))
    assert detour["large"].std() < 0.5 * direct["large"].std()
    assert detour["small"].std() < 0.5 * direct["small"].std()


def test_files_are_replaced_whole(tmp_path):
    target = tmp_path / "deep" / "a.png"
    save_image(Image.fromarray(noise(4, 4)), target)
    before = target.read_bytes()
    with pytest.raises(PgpisError, match=r"a\.nonsense.*\.jpg, .*\.bmp"):
        save_image(Image.fromarray(noise(4, 4)), tmp_path / "deep" / "a.nonsense")
    write_text(tmp_path / "deep" / "a.txt", "ä")
    assert target.read_bytes() == before
    assert sorted(path.name for path in target.parent.iterdir()) == ["a.png", "a.txt"]
    assert (tmp_path / "deep" / "a.txt").read_text(encoding="utf-8") == "ä"


def test_transparency_of_sixteen_bits_is_laid_on_the_background(tmp_path):
    values = np.array([[300, 301], [65535, 300]], dtype=np.uint16)  # one grey value of 256
    Image.fromarray(values).save(tmp_path / "a.png", transparency=300)
    assert np.asarray(read_image(tmp_path / "a.png"))[..., 0].tolist() == [[255, 1], [255, 255]]


@pytest.mark.parametrize(
    ("depth", "colour", "pixels", "transparent"),
    [
        (1, 0, b"\x80", (1,)),
        (2, 0, b"\x80", (2,)),
        (4, 0, b"\x90", (9,)),
        (8, 0, b"\x07\x00", (7,)),
        (8, 2, bytes([1, 2, 3, 0, 0, 0]), (1, 2, 3)),
        (16, 2, bytes([18, 52, 18, 53, 18, 54, 0, 0, 0, 0, 0, 0]), (0x1234, 0x1235, 0x1236)),
    ],
)
def test_the_transparent_colour_of_a_png_of_any_depth(depth, colour, pixels, transparent, tmp_path):
    """The left one of two pixels has it, the right one is black."""
    extra = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))
    (tmp_path / "a.png").write_bytes(png(2, 1, depth=depth, colour=colour, extra=extra, content=b"\0" + pixels))

    assert np.asarray(read_image(tmp_path / "a.png", "red")).tolist() == [[[255, 0, 0], [0, 0, 0]]]


@pytest.mark.parametrize(("alphas", "left"), [((0, 0), (240, 128, 16)), ((0, 255), (255, 255, 255))])
def test_a_bmp_that_would_show_nothing_at_all_is_opaque(alphas, left, tmp_path):
    pixels = b"".join(bytes([16, 128, 240, alpha]) for alpha in alphas)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    header = struct.pack("<IiiHHIIiiII", 108, 2, 1, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks
    content = b"BM" + struct.pack("<IHHI", 122 + len(pixels), 0, 0, 122) + header + pixels
    (tmp_path / "a.bmp").write_bytes(content)

    assert [read_image(tmp_path / "a.bmp").getpixel((x, 0)) for x in (0, 1)] == [left, (240, 128, 16)]
