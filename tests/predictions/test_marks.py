"""The mark of a picture: what is in it, and what a stranger's may not do."""

import copy
import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pgpis.errors import PgpisError
from pgpis.pictures.images import read_image
from pgpis.predictions import Mark, MarkedPicture, png_bytes, read_mark, save_marked
from pgpis.predictions.marks import KEY, MOST_TEXT

BODY = [value for number in range(18) for value in (60 + number / 7, 20 + 9 * number, 1.0)]
POSE = {
    "version": 1.3,
    "people": [{"pose_keypoints_2d": BODY}],
    "canvas_height": 256.0,
    "canvas_width": 176.0,
}
SETTINGS = {"seed": 7, "height": 64, "width": 48, "steps": 2, "images_per_pair": 2, "guidance_scale": 1.5}
MARK = Mark(
    noise_name="änna\n",
    number=1,
    batch=(0, 3),
    provenance={
        "files": {"source": "ab12", "texture": "cd34"},
        "pose": POSE,
        "dropped": ["face"],
        "edit": [[[1, 2], {"texture": "ef56"}]],
        "tools": {"made": ["texture"], "inpaint": "exact", "person": 0},
    },
    sampler={"_class_name": "DDIMScheduler", "steps_offset": 1},
).filled(
    {**SETTINGS, "scheduler_config": {"beta_start": 0.1}, "inputs": {"source_image": {"origin": "source"}}}
    | {"pipeline": "/home/me/models/tuned", "ckpt_path": "/home/me/x.ckpt", "weights of unet": "0123"}
)


@pytest.fixture
def picture():
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    exif = Image.Exif()
    exif[0x010E] = "private"
    image.info |= {"exif": exif.tobytes(), "icc_profile": b"profile", "comment": "private"}
    return image


def test_what_is_read_is_what_was_written(picture, tmp_path):
    save_marked(picture, tmp_path / "a.png", MARK)
    assert read_mark(tmp_path / "a.png") == MARK
    assert (MARK.pipeline, MARK.weights) == ("tuned", {"unet": "0123"})
    assert MARK.settings == {**SETTINGS, "scheduler_config": {"beta_start": 0.1}}


def test_what_a_mark_does_not_hold_may_be_why_last_bits_differ(picture, tmp_path, caplog):
    for name, pixel in (("a.png", 0), ("b.png", 1)):
        picture.putpixel((0, 0), (pixel,) * 3)
        save_marked(picture, tmp_path / name, MARK)
    MarkedPicture.read(tmp_path / "a.png").compare(tmp_path / "b.png", MARK)
    assert "other `step` options (channels_last, compile_unet, fuse_qkv)" in caplog.text


def test_a_marked_picture_is_said_to_be_made_by_a_model(picture, tmp_path):
    save_marked(picture, tmp_path / "a.png", MARK)
    with Image.open(tmp_path / "a.png") as marked:
        assert marked.text["Software"].startswith("pgpis ")
        packet = ET.fromstring(marked.text["XML:com.adobe.xmp"])
        assert set(marked.text) == {"Software", "XML:com.adobe.xmp", KEY}
    (description,) = packet.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    kind = description.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert kind == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def test_nothing_but_pixels_and_mark_is_written(picture, tmp_path):
    content = png_bytes(picture, MARK)
    assert content == png_bytes(Image.fromarray(np.asarray(picture)), copy.deepcopy(MARK))
    assert b"private" not in content
    assert b"profile" not in content
    assert "/" not in MARK.text()
    save_marked(picture, tmp_path / "a.png", MARK)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)


def marked_with(text, path, **texts):
    info = PngInfo()
    for key, value in {KEY: text, **texts}.items():
        info.add_text(key, value)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def content_with(place, value):
    """The mark's JSON with one value changed, at ``place`` as in ``settings.seed``."""
    content = json.loads(MARK.text())
    *parents, last = place.split(".")
    inner = content
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 10**5, "not JSON"),
        ("[]", "not one of pgpis"),
        ("9" * 5000, "not JSON"),
        (" " * MOST_TEXT + "{}", "more than"),
        ('{"format": 1, "number": NaN}', "NaN is not a number"),
        ("{}", "format None"),
        ('{"format": true}', "format True"),
        ('{"format": "' + "x" * 1000 + '"}', "format 'xxxxx"),
        (content_with("format", 2), "format 2, and this pgpis reads 1"),
        ('{"format": 1}', "damaged at noise_name, number, batch"),
        (content_with("more", 1), "damaged at its keys"),
        (content_with("noise_name", "\ud800"), "damaged at noise_name"),
        (content_with("noise_name", "a" * 5000), "damaged at noise_name"),
        (content_with("number", True), "damaged at number"),
        (content_with("batch", [3, 3]), "damaged at batch"),
        (content_with("batch", [0, 10**9]), "damaged at batch"),
        (content_with("pipeline", ["synth-fpdm"]), "damaged at pipeline"),
        (content_with("sampler", {"a": {"b": 1}}), "damaged at sampler"),
        (content_with("sampler", {"class_path": "../x"}), "damaged at sampler"),
        (content_with("weights", {"unet": 3}), "damaged at weights"),
        (content_with("settings", None), "damaged at settings"),
        (content_with("settings.seed", -1), "damaged at settings"),
        (content_with("settings.seed", 1.5), "damaged at settings"),
        (content_with("settings.steps", 10**9), "damaged at settings"),
        (content_with("settings.height", "64"), "damaged at settings"),
        (content_with("settings.guidance_scale", 1e300), "damaged at settings"),
        (content_with("settings.guidance_scale", [[1]]), "damaged at settings"),
        (content_with("settings.a/b", 1), "damaged at settings"),
        (content_with("settings.precision", "$(rm -r ~)"), "damaged at settings"),
        (content_with("provenance.files", {"source": "../../etc/passwd"}), "damaged at provenance"),
        (content_with("provenance.more", 1), "damaged at provenance"),
        (content_with("provenance.edit", [[1]]), "damaged at provenance"),
        (content_with("provenance.tools", {"made": {}}), "damaged at provenance"),
        (content_with("provenance.tools", {"made": 5}), "damaged at provenance"),
        (content_with("provenance.pose", {"people": []}), "nobody in it"),
        (content_with("provenance.pose.canvas_height", "x"), "cannot be read"),
        (content_with("provenance.pose.canvas_height", 10**400), "cannot be read"),
        (content_with("provenance.pose.people", [{"pose_keypoints_2d": [1, 2, 3]}]), "18 or 25 points"),
    ],
)
def test_a_strangers_mark_is_refused(text, message, tmp_path):
    with pytest.raises(PgpisError, match=r"a\.png") as error:
        read_mark(marked_with(text, tmp_path / "a.png"))
    assert message in str(error.value)
    assert len(str(error.value)) < 600


def test_a_mark_may_not_ask_for_more_than_memory_holds(tmp_path):
    content = json.loads(content_with("batch", [0, 1024]))
    content["settings"] |= {"height": 4096, "width": 4096, "images_per_pair": 1000}
    with pytest.raises(PgpisError, match="pixels at once"):
        read_mark(marked_with(json.dumps(content), tmp_path / "a.png"))


def test_pictures_without_a_mark_say_what_one_is(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", comment=MARK.text())
    for name in ("a.png", "a.jpg"):
        with pytest.raises(PgpisError, match="is not marked") as error:
            read_mark(tmp_path / name)
        assert "a marked picture is a PNG as 'pgpis predict' writes it" in str(error.value)
    with pytest.raises(PgpisError, match="picture not found"):
        read_mark(tmp_path / "b.png")


def test_texts_that_unpack_to_much_are_not_unpacked(tmp_path):
    info = PngInfo()
    info.add_text(KEY, "a" * 10**8, zip=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(PgpisError, match="too large"):
        read_mark(tmp_path / "a.png")


def test_differences_are_named():
    provenance = {**MARK.provenance, "files": {"source": "ab13", "face": "1"}, "pose": None, "edit": []}
    other = replace(
        MARK, provenance=provenance, weights={"unet": "1", "vae": "2"}, settings=MARK.settings | {"seed": 8}
    )
    assert other.differences(MARK) == [
        "the edit is another",
        "the face embedding is another",
        "the pose is another",
        "the source is another",
        "the texture map is another",
        "the weights are others (unet, vae)",
        "seed is 8, not 7",
    ]
    assert MARK.differences(MARK) == []
