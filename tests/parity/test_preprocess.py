"""Pose drawing and data set values against the official code: exact pixels, float rounding elsewhere."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from parity_files import TOLERANCES, Recorded, close, strided
from pgpis.batch import ImageSpec
from pgpis.data import DeepFashion, PairTransform
from pgpis.pictures.drawing import BODY18_COLORS, BODY18_LIMBS, colors_of, draw_pose, limbs_of
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import DEEPFASHION_FRAME, Frame, Keypoints

pytestmark = pytest.mark.parity

CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
DINO = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
RAW = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
SIGNED = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def folder(parity_root):
    return parity_root / "preprocess"


@pytest.fixture(scope="module")
def meta(folder):
    return Recorded(folder / "fpdm.json")


@pytest.fixture(scope="module")
def tensors(folder):
    return Recorded(folder / "fpdm.safetensors")


def picture(folder, name):
    return np.asarray(Image.open(folder / "pose_png" / name))


def numbers(meta, pattern):
    return sorted({int(match.group(1)) for key in meta["tensors"] if (match := re.fullmatch(pattern, key))})


def test_tables(meta):
    assert [list(limb) for limb in BODY18_LIMBS] == meta["limbSeq18"][:17]
    assert [list(color) for color in BODY18_COLORS] == meta["colors18"]
    assert [list(limb) for limb in limbs_of("wholebody133")] == meta["limbSeq133"]
    assert [list(color) for color in colors_of("wholebody133")] == meta["colors133"]


def test_key_point_files_and_their_drawings(folder, meta, tensors, samples_root):
    drawn = 0
    for number in numbers(meta, r"pose18\.(\d+)\.keypoints_txt"):
        name = meta["sample_txts"][number].split("/", 2)[2]
        keypoints = read_keypoints(samples_root / "deepfashion" / name)
        assert keypoints.frame == DEEPFASHION_FRAME
        np.testing.assert_array_equal(keypoints.points, tensors[f"pose18.{number}.keypoints_txt"])
        for key in meta["tensors"]:
            match = re.fullmatch(rf"pose18\.{number}\.trans_(\w+)", key)
            if match is None:
                continue
            expected = picture(folder, f"sample{number}_{match.group(1)}.png")
            height, width = expected.shape[:2]
            np.testing.assert_array_equal(keypoints.to(Frame(height, width)).points, tensors[key])
            np.testing.assert_array_equal(draw_pose(keypoints, height, width), expected)
            drawn += 1
    assert drawn


def test_points_outside_doubled_and_half_missing(folder, meta, tensors):
    cases = numbers(meta, r"pose18\.syn(\d+)\.keypoints")
    assert cases
    height, width = meta["syn18_hw"]
    for number in cases:
        array = tensors[f"pose18.syn{number}.keypoints"].numpy()
        keypoints = Keypoints.from_array(array, Frame(height, width), "body18")
        expected = picture(folder, f"syn18_{number}.png")
        np.testing.assert_array_equal(draw_pose(keypoints, height, width), expected)


def test_whole_body(folder, meta, tensors):
    cases = numbers(meta, r"pose133\.(\d+)\.keypoints")
    assert cases
    for number in cases:
        height, width = meta[f"pose133.{number}"]["hw"]
        settings = meta[f"pose133.{number}"]["param"]
        annotated = Frame(settings["anno_height"], settings["anno_width"], left=settings["offset"])
        array = tensors[f"pose133.{number}.keypoints"].numpy()
        scaled = Frame(*settings.get("scale_size", (height, width)))
        keypoints = Keypoints.from_array(array, annotated, "wholebody133", missing=0.0).to(scaled)
        np.testing.assert_allclose(keypoints.points, tensors[f"pose133.{number}.trans"], rtol=0, atol=1e-9)
        # the official drawing keeps the corner of the canvas where the points were scaled for a larger one
        on_canvas = Keypoints(keypoints.points, keypoints.visible, Frame(height, width), keypoints.skeleton)
        drawing = draw_pose(on_canvas, height, width, stick_width=settings["stickwidth"])
        np.testing.assert_array_equal(drawing, picture(folder, f"syn133_{number}.png"))


DATASETS = {
    "FusionDataset": {
        "source_img": ("source", "crop", CLIP),
        "target_img": ("target", "crop", CLIP),
        "target_pose": ("pose", "squash", CLIP),
    },
    "FPDM_Dataset.test.readposeTrue": None,
    "FPDM_Dataset.test.readposeFalse": None,
}
FPDM_IMAGES = {
    "src_processed_s_img": ("source", "squash", DINO),
    "fusion_processed_s_img": ("source", "squash", CLIP),
    "fusion_processed_t_pose": ("pose", "squash", CLIP),
    "trans_t_img": ("target", "squash", SIGNED),
    "trans_t_pose": ("pose", "squash", RAW),
}


def input_specs(values, dataset, images):
    specs = {}
    for name, (origin, fit, _) in images.items():
        _, height, width = values[f"{dataset}.0.{name}"]["shape"]
        base = "src_processed_s_img" if name == "fusion_processed_s_img" else None
        detour = (256, 256) if name == "src_processed_s_img" else None  # training only: must change nothing here
        specs[name] = ImageSpec(origin, height, width, fit=fit, base=base, train_detour=detour)
    return specs


def training_canvas(meta):
    match = next(m for key in meta["tensors"] if (m := re.fullmatch(r"pose18\.\d+\.trans_(\d+)x(\d+)", key)))
    return int(match.group(1)), int(match.group(2))


@pytest.fixture
def root(meta, samples_root, tmp_path):
    """The samples with the fixture's own list of pairs."""
    for name in ("img", "pose", "pose_img"):
        (tmp_path / name).symlink_to(samples_root / "deepfashion" / name)
    (tmp_path / "test_pairs_data.json").write_text(json.dumps(meta["pairs"]))
    return tmp_path


@pytest.mark.parametrize("name", DATASETS)
def test_dataset_values(name, meta, tensors, root):
    """Both official ways to get the test pose: the shipped drawing (readpose), and drawn as in training."""
    values, images = meta["dataset_values"], DATASETS[name] or FPDM_IMAGES
    dataset = DeepFashion(root, "test", pose="keypoints" if name.endswith("readposeFalse") else "drawn")
    dataset.setup()
    transform = PairTransform(input_specs(values, name, images), train=False, pose_canvas=training_canvas(meta))
    assert len(dataset) == len(meta["pairs"])
    for number, pair in enumerate(dataset.pairs):
        fitted = transform(dataset.load(number))
        for key, (_, _, (mean, std)) in images.items():
            zero_one = fitted[key] / 2 + 0.5
            ours = (zero_one - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
            official = values[f"{name}.{number}.{key}"]
            assert list(ours.shape) == official["shape"]
            close(strided(ours, meta), tensors[f"{name}.{number}.{key}.strided"], "statistic", key, rtol=0)
            assert ours.double().mean().item() == pytest.approx(official["mean"], abs=TOLERANCES["statistic"])
            assert ours.double().abs().sum().item() == pytest.approx(official["abs_sum"], rel=1e-6)
        assert str(pair.source).endswith(meta["pairs"][number]["source_image"].removeprefix("./"))


def test_official_test_pose_is_not_the_training_pose(meta, root):
    """The shipped drawing has the 4-pixel stick at the picture's own size, so its limbs end up thinner."""
    size = meta["dataset_values"]["FPDM_Dataset.test.readposeTrue.0.trans_t_pose"]["shape"][1:]
    painted = {}
    for pose in ("drawn", "keypoints"):
        dataset = DeepFashion(root, "test", pose=pose)
        dataset.setup()
        image = PairTransform({"pose": ImageSpec("pose", *size)}, train=False)(dataset.load(0))["pose"]
        painted[pose] = (image.amax(dim=0) > -0.8).float().mean().item()
    assert 1.5 * painted["drawn"] < painted["keypoints"]
