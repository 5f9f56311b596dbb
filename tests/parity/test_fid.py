"""Fréchet distance, the legacy Inception transform and features, face distances: both official repositories."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torchvision.models import inception_v3

from parity_files import TOLERANCES, Recorded, close, metric_pictures, recipe_tensor, with_number
from pgpis.data import Aim, Pair, Person
from pgpis.evaluate.people import FaceScores
from pgpis.metrics import L1, MAE, PSNR, SSIM
from pgpis.metrics.frechet import FeatureStatistics, frechet_distance
from pgpis.metrics.inception import InceptionFeatures, legacy_input
from pgpis.weight_files import CATALOGUE

pytestmark = pytest.mark.parity


def load(parity_root, name):
    folder = parity_root / "metrics"
    return Recorded(folder / f"{name}.json"), Recorded(folder / f"{name}.safetensors")


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
    distance = frechet_distance(*statistics(*one.split(len(one) // 3 + 1)), *statistics(other))
    assert distance == pytest.approx(meta[entry], rel=1e-6)
    assert frechet_distance(*statistics(one), *statistics(one)) == pytest.approx(0, abs=1e-8)


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


# features that are recorded: their name, and of which pictures they are, in order
FEATURES = {
    "fpdm": {"gt": "inception_feat"},
    "mcld": {"pred": "pred_feat_#", "gt": "real_feat_#"},
}


def test_legacy_input_and_features(inception):
    name, meta, tensors, features = inception
    expected, stride = with_number(tensors, "inception_input_s#")
    targets = metric_pictures("gt")
    values = torch.cat([legacy_input(picture.float() / 255) for picture in targets[: len(expected)]])
    close(values[:, :, ::stride, ::stride], expected, "picture", rtol=0)
    assert float(values.mean()) == pytest.approx(meta["inception_input"]["mean"], abs=TOLERANCES["statistic"])
    for kind, entry in FEATURES[name].items():
        recorded = with_number(tensors, entry)[0] if "#" in entry else tensors[entry]
        ours = torch.cat([features(picture) for picture in metric_pictures(kind)[: len(recorded)]])
        close(ours, recorded, "features", rtol=1e-4)


def test_mcld_scores_of_pairs(parity_root):
    _, tensors = load(parity_root, "mcld")
    # the official order is that of the names as text: 0, 1, 10, 2
    pairs = list(zip(metric_pictures("pred"), metric_pictures("gt"), strict=True))
    pairs = [pairs[number] for number in sorted(range(len(pairs)), key=str)]
    for name, metric in (("psnr", PSNR()), ("ssim", SSIM()), ("ssim_256", SSIM("gaussian"))):
        for pair, expected in zip(pairs, tensors[name], strict=True):
            metric.update(*pair)
            close(metric.last_values, expected.double()[None], "score", name, rtol=1e-6)


def test_absolute_differences(parity_root):
    meta, _ = load(parity_root, "fpdm")
    singles = {key: entry for key, entry in meta["reconstruction"].items() if "." in key}
    assert singles
    for key, entry in singles.items():
        size, number = key.split(".")
        width, height = map(int, size.split("x"))
        pair = [metric_pictures(kind, (height, width))[int(number)] for kind in ("pred", "gt")]
        for name, metric in (("mae", MAE()), ("l1", L1())):
            metric.update(*pair)
            assert metric.result() == pytest.approx(entry[name][0], abs=TOLERANCES["statistic"])


def test_face_distances(parity_root):
    meta, tensors = load(parity_root, "mcld")
    faces = iter(tensors[name].numpy() for name in ("face_a", "face_b", "face_b"))  # of result, source and target
    picture = torch.zeros(3, 8, 8, dtype=torch.uint8)
    score = FaceScores(lambda _: [SimpleNamespace(embedding=next(faces))], lambda _: picture)
    values = score(Pair("x", Person(Path("x.png")), Aim()), picture, picture)
    for other in ("source", "target"):
        assert values[f"face_cosine_{other}"] == pytest.approx(meta["face_cosine"], abs=TOLERANCES["statistic"])
        assert values[f"face_euclidean_{other}"] == pytest.approx(meta["face_euclid"], rel=1e-6)
