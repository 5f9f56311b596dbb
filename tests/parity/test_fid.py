"""Fréchet distance, the legacy Inception transform and features, face distances: both official repositories."""

import json
import zlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torchvision.models import inception_v3

from pgpis.images import read_image, resize
from pgpis.metrics import L1, MAE, PSNR, SSIM
from pgpis.metrics.face import cosine_similarity, euclidean_distance
from pgpis.metrics.frechet import FeatureStatistics, frechet_distance
from pgpis.metrics.inception import InceptionFeatures, legacy_input
from pgpis.weight_files import CATALOGUE

pytestmark = pytest.mark.parity


def load(parity_root, name):
    folder = parity_root / "metrics"
    return json.loads((folder / f"{name}.json").read_text()), load_file(folder / f"{name}.safetensors")


def statistics(*batches):
    metric = FeatureStatistics(batches[0].shape[1])
    for batch in batches:
        metric.update(batch)
    return metric.compute()


@pytest.mark.parametrize(
    ("name", "first", "second", "entry"),
    [
        ("fpdm", "fid_X", "fid_Y", "frechet_X_Y"),
        ("fpdm", "fid_X", "fid_Z_rank_deficient", "frechet_X_Z"),
        ("mcld", "fid_X_real", "fid_Y_pred", "fid_X_real_Y_pred"),
    ],
)
def test_frechet_distance(parity_root, name, first, second, entry):
    meta, tensors = load(parity_root, name)
    one, other = tensors[first], tensors[second]
    distance = frechet_distance(*statistics(one[:7], one[7:]), *statistics(other))
    assert distance == pytest.approx(meta[entry], rel=1e-6)
    assert frechet_distance(*statistics(one), *statistics(one)) == pytest.approx(0, abs=1e-8)


def recipe_tensor(key, shape, seed):
    """The procedural weight that the fixtures document."""
    stream = np.random.RandomState((zlib.crc32(key.encode()) + 1_000_003 * seed) % 2**32)
    values = stream.standard_normal(int(np.prod(shape))).reshape(shape)
    if len(shape) > 1:
        values = values / np.sqrt(float(np.prod(shape[1:])))
    else:
        values = 1 + 0.1 * values if key.endswith(".weight") else 0.05 * values
    return torch.from_numpy(values).float().half().float()


LAYERS = [
    ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1"],
    ["Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"],
    ["Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"],
    ["Mixed_7a", "Mixed_7b", "Mixed_7c", "avgpool"],
]
FLAT = [layer for block in LAYERS for layer in block]


def torchvision_name(official):
    """``blocks.2.1.branch…`` (FPDM) or ``8.branch…`` (MCLD) to torchvision's name."""
    if official.startswith("blocks."):
        _, block, place, rest = official.split(".", 3)
        return f"{LAYERS[int(block)][int(place)]}.{rest}"
    place, rest = official.split(".", 1)
    return f"{FLAT[int(place)]}.{rest}"


@pytest.fixture(params=["fpdm", "mcld"])
def inception(request, parity_root, tmp_path):
    meta, tensors = load(parity_root, request.param)
    prefix = {"fpdm": "fid.", "mcld": "mcld_inception."}[request.param]
    torch.manual_seed(0)
    weights = inception_v3(weights=None, init_weights=False).state_dict()
    for key, shape in meta["inception_param_shapes"].items():
        name = torchvision_name(key)
        assert weights[name].shape == tuple(shape), name
        weights[name] = recipe_tensor(prefix + key, shape, meta["seed"])
    for name, value in weights.items():
        if name.endswith("running_mean"):
            value.zero_()
        elif name.endswith("running_var"):
            value.fill_(1)
    torch.save(weights, tmp_path / CATALOGUE["inception-legacy"].files[0])
    return request.param, meta, tensors, InceptionFeatures("legacy", tmp_path)


def pictures(parity_root, kind, count):
    folder = parity_root / "metrics/png"
    arrays = [np.array(read_image(folder / f"{kind}{number}.png")) for number in range(count)]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


def test_legacy_input_and_features(parity_root, inception):
    name, meta, tensors, features = inception
    expected = tensors["inception_input_s16"]
    images = pictures(parity_root, "gt", 2)
    values = legacy_input(images.float() / 255)[: len(expected)]
    torch.testing.assert_close(values[:, :, ::16, ::16], expected, atol=3e-6, rtol=0)
    assert float(values.mean()) == pytest.approx(meta["inception_input"]["mean"], abs=1e-6)
    if name == "fpdm":
        torch.testing.assert_close(features(images), tensors["inception_feat"], atol=2e-4, rtol=1e-4)
    else:
        torch.testing.assert_close(
            features(pictures(parity_root, "pred", 2)), tensors["pred_feat_2"], atol=2e-4, rtol=1e-4
        )
        torch.testing.assert_close(
            features(pictures(parity_root, "gt", 2)), tensors["real_feat_2"], atol=2e-4, rtol=1e-4
        )


def test_mcld_scores_of_pairs(parity_root):
    _, tensors = load(parity_root, "mcld")
    generated, target = pictures(parity_root, "pred", 4), pictures(parity_root, "gt", 4)
    for name, metric in (("psnr", PSNR()), ("ssim", SSIM()), ("ssim_256", SSIM("gaussian"))):
        metric.update(generated, target)
        torch.testing.assert_close(metric.last_values, tensors[name].double(), atol=2e-5, rtol=1e-6)


def test_absolute_differences(parity_root):
    meta, _ = load(parity_root, "fpdm")
    folder = parity_root / "metrics/png"
    for number in range(4):
        pair = [
            torch.from_numpy(np.array(resize(read_image(folder / f"{kind}{number}.png"), 256, 176))).permute(2, 0, 1)[
                None
            ]
            for kind in ("pred", "gt")
        ]
        for name, metric in (("mae", MAE()), ("l1", L1())):
            metric.update(*pair)
            expected = meta["reconstruction"][f"176x256.{number}"][name][0]
            assert metric.result() == pytest.approx(expected, abs=1e-6)


def test_face_distances(parity_root):
    meta, tensors = load(parity_root, "mcld")
    a, b = tensors["face_a"][None], tensors["face_b"][None]
    assert float(cosine_similarity(a, b)) == pytest.approx(meta["face_cosine"], abs=1e-6)
    assert float(euclidean_distance(a, b)) == pytest.approx(meta["face_euclid"], rel=1e-6)
