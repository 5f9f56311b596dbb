"""MCLD's loader against the official one, on the folder that it was run on."""

import json
import re
import shutil
import zipfile

import numpy as np
import pytest
import torch
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

import parity_files
from parity_files import TOLERANCES, Recorded, close, strided
from pgpis.batch import ImageSpec
from pgpis.data import DeepFashion, OnMissing, PairTransform
from pgpis.methods.mcld.conditioner import MCLDConditioner

pytestmark = pytest.mark.parity

# official name: our key, and how the official code scales it in training
ENTRIES = {
    "img": ("target_image", "signed"),
    "ref_img": ("texture_image", "signed"),
    "img_input": ("source_image", "signed"),
    "tgt_pose": ("pose_image", "unit"),
    "clip_images": ("source_clip", "clip"),
    "clip_images2": ("texture_clip", "clip"),
    "clip_origin": ("source_image", "unit"),
    "clip_origin2": ("texture_image", "unit"),
}


TRUTH = r"gt_\d+"
"""Names of the truth at the sizes that the official test scores."""


@pytest.fixture(scope="module")
def official(parity_root):
    folder = parity_root / "preprocess"
    return Recorded(folder / "mcld.json"), Recorded(folder / "mcld.safetensors")


@pytest.fixture(scope="module")
def root(parity_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini")
    with zipfile.ZipFile(parity_root / "preprocess/mcld_mini_dataset.zip") as archive:
        archive.extractall(folder)
    for path in (folder / "data").glob("*.csv"):
        shutil.copy(path, folder / "dataset/fashion")
    return folder / "dataset/fashion"


def cases():
    """Pairs of which the official values are recorded, as split and number."""
    path = parity_files.parity_root() / "preprocess/mcld.json"
    values = json.loads(path.read_text())["dataset_values"] if path.is_file() else {}
    matches = (re.fullmatch(r"(train|val)\.(\d+)\.image_name", name) for name in values)
    return [(match[1], int(match[2])) for match in matches if match] or [("no pair", 0)]


def specs_of(values):
    """What our loader is to make of a pair, at the recorded sizes."""
    size = {name: value["shape"] for name, value in values.items() if isinstance(value, dict)}
    conditioner = MCLDConditioner(token_dim=8, resampler_dim=8, resampler_heads=1, resampler_head_dim=8,
                                  resampler_depth=1, face_dim=size["face_emb"][-1], iuv_filter="bicubic")  # fmt: skip
    specs = dict(conditioner.input_specs(*size["img"][1:], size["clip_images"][-1]))
    return specs | {name: ImageSpec("target", *size[name][1:]) for name in size if re.fullmatch(TRUTH, name)}


def scaled(values, scale):
    if scale == "signed":
        return values
    unit = values / 2 + 0.5
    if scale == "unit":
        return unit
    return (unit - torch.tensor(OPENAI_CLIP_MEAN).view(3, 1, 1)) / torch.tensor(OPENAI_CLIP_STD).view(3, 1, 1)


@pytest.mark.parametrize(("split", "index"), cases())
def test_loader(official, root, split, index):
    meta, tensors = official
    pair = f"{split}.{index}."
    values = {name.removeprefix(pair): value for name, value in meta["dataset_values"].items() if name.startswith(pair)}
    specs = specs_of(values)
    dataset = DeepFashion(
        root, "train" if split == "train" else "test", layout="mcld", on_missing=OnMissing(face="drop")
    )
    dataset.setup()
    loaded = dataset.load(index, {spec.origin for spec in specs.values()})
    assert loaded.pair.target.name == values["image_name"]
    ours = PairTransform(specs, train=False)(loaded)
    entries = ENTRIES | {name: (name, "unit") for name in specs if re.fullmatch(TRUTH, name)}
    for name, (key, scale) in entries.items():
        # the official test feeds everything as [0, 1]
        picture = scaled(ours[key], "unit" if split == "val" and scale == "signed" else scale)
        assert list(picture.shape) == values[name]["shape"], name
        close(strided(picture, meta), tensors[f"{pair}{name}.strided"], "picture", name)
        assert float(picture.mean()) == pytest.approx(values[name]["mean"], abs=TOLERANCES["picture"]), name
    expected = tensors[f"{pair}face_emb"].float()
    torch.testing.assert_close(ours["face"][None], expected)
    assert np.any(ours["face"].numpy()) == bool(expected.any())
