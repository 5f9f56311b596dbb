"""Colours are what a picture says that they are; sRGB stays as it is, byte for byte."""

import io
import logging

import numpy as np
import pytest
from PIL import Image, ImageCms

from hostile_pictures import encoded, profile
from pgpis.data.picture_store import read_picture
from pgpis.pictures import decoding
from pgpis.pictures.colour_profiles import MOST_BYTES
from pgpis.pictures.images import read_image, upright_rgb

NOISE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(autouse=True)
def _warn_again():
    decoding.warn_once.cache_clear()


def in_profile(colours, icc, mode="RGB"):
    """Convert sRGB pictures to another profile."""
    target = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    return ImageCms.profileToProfile(colours, ImageCms.createProfile("sRGB"), target, outputMode=mode)


@pytest.mark.parametrize("name", ["adobe", "p3"])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "JPEG"])
def test_wide_colours_become_srgb(name, alpha, file_format, tmp_path):
    if alpha and file_format == "JPEG":
        return
    # colours inside of every gamut, in patches that a JPEG keeps
    colours = (60 + np.random.default_rng(1).integers(0, 120, (4, 4, 3))).repeat(8, axis=0).repeat(8, axis=1)
    shown = Image.fromarray(colours.astype(np.uint8))
    image = in_profile(shown, profile(name))
    assert np.abs(np.asarray(image).astype(int) - colours).max() > 10
    if alpha:
        image.putalpha(255)
        image.putpixel((0, 0), (9, 9, 9, 0))
    options = {"WEBP": {"lossless": True, "exact": True}, "JPEG": {"quality": 100, "subsampling": 0}, "PNG": {}}
    (tmp_path / "a.png").write_bytes(encoded(image, file_format, icc_profile=profile(name), **options[file_format]))
    read = read_picture(tmp_path / "a.png")
    values = np.asarray(read).astype(int)
    if alpha:
        assert values[0, 0].tolist() == [255, 255, 255]
        values[0, 0] = colours[0, 0]
    assert np.abs(values - colours).max() <= (4 if file_format == "JPEG" else 2)
    np.testing.assert_array_equal(upright_rgb(read), read)  # not converted again


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_srgb_stays_byte_for_byte(mode, tmp_path):
    image = Image.fromarray(NOISE).convert(mode)
    for name, options in {"plain": {}, "tagged": {"icc_profile": SRGB}}.items():
        image.save(tmp_path / f"{name}.png", **options)
    plain, tagged = (np.asarray(read_image(tmp_path / f"{name}.png")) for name in ("plain", "tagged"))
    np.testing.assert_array_equal(plain, tagged)


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_with_its_own_curve(mode, tmp_path):
    levels = np.arange(0, 256, dtype=np.uint8)[None].repeat(10, 0)
    image = Image.fromarray(levels.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(levels).convert(mode)
    image.save(tmp_path / "a.png", icc_profile=profile("grey", gamma=1.8))
    light = (np.arange(256) / 255) ** 1.8
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    read = np.asarray(read_image(tmp_path / "a.png"))
    assert np.abs(read[0].mean(axis=-1) - expected).max() <= 2


@pytest.mark.parametrize(
    ("mode", "icc"),
    [
        ("RGB", b"damaged"),
        ("RGB", profile("adobe")[:200]),
        ("RGB", profile("adobe")[:128] + b"\xff" * 300),
        ("RGB", profile("adobe").replace(b"RGB ", b"7CLR")),
        ("RGB", b"\0" * (MOST_BYTES + 1)),
        ("RGB", profile("grey")),
        ("CMYK", profile("adobe")),
    ],
)
def test_a_profile_that_cannot_be_used_is_told_once(mode, icc, tmp_path, caplog):
    Image.fromarray(NOISE).convert(mode).save(tmp_path / "plain.jpg")
    Image.fromarray(NOISE).convert(mode).save(tmp_path / "a.jpg", icc_profile=icc)
    with caplog.at_level(logging.WARNING):
        reads = [np.asarray(read_image(tmp_path / name)) for name in ("a.jpg", "a.jpg", "plain.jpg")]
    np.testing.assert_array_equal(reads[0], reads[2])
    (record,) = caplog.records
    assert "a.jpg: its colour profile cannot be used" in record.getMessage()
