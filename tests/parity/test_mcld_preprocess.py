"""MCLD's loader against the official one, on the folder that it was run on."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from pgpis.batch import ImageSpec
from pgpis.data import DeepFashion, OnMissing, PairTransform
from pgpis.models.mcld import MCLDConditioner

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
    "gt_256": ("truth_256", "unit"),
    "gt_512": ("truth_512", "unit"),
}


@pytest.fixture(scope="module")
def official(parity_root):
    folder = parity_root / "preprocess"
    return json.loads((folder / "mcld.json").read_text()), load_file(folder / "mcld.safetensors")


@pytest.fixture(scope="module")
def root(parity_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini")
    with zipfile.ZipFile(parity_root / "preprocess/mcld_mini_dataset.zip") as archive:
        archive.extractall(folder)
    for split in ("train", "test"):
        shutil.copy(folder / f"data/{split}.csv", folder / "dataset/fashion")
    return folder / "dataset/fashion"


@pytest.fixture(scope="module")
def specs():
    conditioner = MCLDConditioner(token_dim=8, resampler_dim=8, resampler_heads=1, resampler_head_dim=8,
                                  resampler_depth=1, iuv_filter="bicubic")  # fmt: skip
    specs = dict(conditioner.input_specs(512, 512, 224))
    specs["truth_256"], specs["truth_512"] = ImageSpec("target", 256, 176), ImageSpec("target", 512, 352)
    return specs


def scaled(values, scale):
    if scale == "signed":
        return values
    unit = values / 2 + 0.5
    if scale == "unit":
        return unit
    return (unit - torch.tensor(OPENAI_CLIP_MEAN).view(3, 1, 1)) / torch.tensor(OPENAI_CLIP_STD).view(3, 1, 1)


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("split", ["train", "val"])
def test_loader(official, root, specs, split, index):
    meta, tensors = official
    made = DeepFashion(root, "train" if split == "train" else "test", layout="mcld", on_missing=OnMissing(face="drop"))
    made.setup()
    loaded = made.load(index, {spec.origin for spec in specs.values()})
    assert loaded.pair.target.name == meta["dataset_values"][f"{split}.{index}.image_name"]
    ours = PairTransform(specs, train=False)(loaded)
    for name, (key, scale) in ENTRIES.items():
        # the official test feeds everything as [0, 1]
        values = scaled(ours[key], "unit" if split == "val" and scale == "signed" else scale)
        expected = tensors[f"{split}.{index}.{name}.strided"]
        found = values[:, 4::16, 3::16]
        assert found.shape == expected.shape, name
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=0, msg=lambda text, name=name: f"{name}: {text}")
        mean = meta["dataset_values"][f"{split}.{index}.{name}"]["mean"]
        assert float(values.mean()) == pytest.approx(mean, abs=2e-6), name
    expected = tensors[f"{split}.{index}.face_emb"].float()
    torch.testing.assert_close(ours["face"][None], expected)
    assert np.any(ours["face"].numpy()) == bool(expected.any())
