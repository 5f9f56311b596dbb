"""Every stage of DensePose R-CNN against detectron2's, and MCLD's map to the bit."""

import hashlib
import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from parity_files import Recorded, incomplete, names
from pgpis.errors import PgpisError
from pgpis.preprocess.densepose import DensePoseConfig, DensePoseRCNN, iuv_image, read_arrays, surface_of
from pgpis.preprocess.densepose.checkpoint import load_arrays
from pgpis.preprocess.densepose.detector import choose_people, pool_boxes, propose
from pgpis.preprocess.densepose.model import normalise, resize_input

pytestmark = pytest.mark.parity

VARIANTS = names("densepose/*.safetensors")
TINY = [variant for variant in VARIANTS if not variant.startswith("R_")]
# detectron2's options that no tensor's shape tells; a case lists what it changed
INPUT = {
    "INPUT.MIN_SIZE_TEST": "min_size",
    "INPUT.MAX_SIZE_TEST": "max_size",
    "MODEL.ROI_DENSEPOSE_HEAD.POOLER_RESOLUTION": "pool_size",
}
LOW = {"low_ann_index": "ann_index", "low_index_uv": "index_uv", "low_u": "u", "low_v": "v"}


@pytest.fixture(scope="module")
def folder(parity_root):
    return parity_root / "densepose"


@pytest.fixture(scope="module")
def recipe(folder):
    if not (folder / "weights_recipe.py").is_file():
        incomplete(f"{folder / 'weights_recipe.py'} is missing")
    spec = importlib.util.spec_from_file_location("weights_recipe", folder / "weights_recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def remembered(function):
    """Keep the last result: most tests of a case begin with the same seconds of work."""
    argument = result = None

    def call(given):
        nonlocal argument, result
        if not same(argument, given):
            argument, result = given, function(given)
        return result

    return call


def same(tensors, others):
    if not isinstance(others, dict):
        return tensors is not None and torch.equal(tensors, others)
    return tensors is not None and all(torch.equal(tensors[level], other) for level, other in others.items())


class Case:
    """One variant: the net, the official numbers, and our numbers for the same picture."""

    def __init__(self, folder, recipe, variant):
        path = folder / f"{variant}.safetensors"
        self.expected = Recorded(path)
        with safe_open(path, "pt") as file:
            self.metadata = file.metadata()
        self.strides = json.loads(self.metadata["strides"])
        shapes = Recorded(folder / f"names_{variant}.json")
        state = recipe.make_state({name: tuple(shape) for name, shape in shapes.items()})
        digest = hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in shapes)).hexdigest()
        assert digest == self.metadata["weights_sha256"]
        arrays = {name: value.numpy() for name, value in state.items()}
        config = DensePoseConfig.from_shapes({name: value.shape for name, value in arrays.items()})
        overrides = json.loads(self.metadata["overrides"])
        options = dict(zip(overrides[::2], overrides[1::2], strict=True))
        config = replace(config, **{ours: options[name] for name, ours in INPUT.items() if name in options})
        self.net = DensePoseRCNN(config)
        load_arrays(self.net, arrays)
        heads = self.net.roi_heads
        self.net.features = remembered(self.net.features)
        heads.decoder.forward = remembered(heads.decoder.forward)
        heads.densepose_head.forward = remembered(heads.densepose_head.forward)
        self.image = Image.fromarray(self.expected["image_bgr"].numpy()[..., ::-1].copy())
        self.resized = resize_input(self.image, config)
        with torch.inference_mode():
            self.features = self.net.features(normalise([self.resized], torch.device("cpu")))
        self.size = self.resized.shape[:2]

    def close(self, name, ours, tolerance=1e-3):
        """Compare with a stated relative tolerance; on the torch that made the fixtures they are equal."""
        expected = self.expected[name]
        assert ours.shape == expected.shape
        assert (ours - expected).abs().max() <= tolerance * max(float(expected.abs().max()), 1e-6), name


def marked(variant):
    return variant if variant in TINY else pytest.param(variant, marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=map(marked, VARIANTS))
def case(request, folder, recipe):
    return Case(folder, recipe, request.param)


def test_input(case):
    assert list(case.resized.shape) == json.loads(case.metadata["resized_shape"])
    assert hashlib.sha256(case.resized.tobytes()).hexdigest() == case.metadata["resized_sha256"]


def test_pyramid(case):
    channels, coarse = case.strides["channels"], case.strides["maps_p2_p3_decoder"]
    for level, map_ in case.features.items():
        step = coarse if level in ("p2", "p3") else 1
        case.close(f"{level}_sub", map_[:, ::channels, ::step, ::step])


@torch.inference_mode()
def test_proposals(case):
    logits, deltas = case.net.proposal_generator.rpn_head(case.features)
    for number, (level_logits, level_deltas) in enumerate(zip(logits, deltas, strict=True), 2):
        step = case.strides["maps_p2_p3_decoder"] if number in (2, 3) else 1
        case.close(f"rpn_logits_{number}_sub", level_logits[..., ::step, ::step])
        case.close(f"rpn_deltas_{number}_sub", level_deltas[..., ::step, ::step])
    boxes, scores = propose([map_[0] for map_ in logits], [map_[0] for map_ in deltas], case.size)
    # scores that differ in the last bit change places, and then another of two overlapping boxes survives
    nearest = torch.cdist(case.expected["proposals"], boxes, p=float("inf")).min(dim=1)
    matched = nearest.values <= 0.05
    assert len(boxes) == len(case.expected["proposals"])
    assert matched.float().mean() >= 0.99
    ours, expected = scores[nearest.indices[matched]], case.expected["proposal_logits"][matched]
    assert torch.allclose(ours, expected, rtol=1e-3, atol=1e-4)


@torch.inference_mode()
def test_people(case):
    boxes, heads = case.expected["proposals"], case.net.roi_heads
    regions = pool_boxes(case.features, boxes, 0)
    logits, deltas = heads.box_predictor(heads.box_head(regions))
    case.close("box_feat_sub", heads.box_head(regions)[:64, :: case.strides["channels"]])
    case.close("cls_logits", logits)
    case.close("box_deltas", deltas)
    people, _ = choose_people(boxes, logits, deltas, case.size)
    expected = case.expected["dp_boxes"]
    assert (people[: len(expected)] - expected).abs().max() <= 0.05
    found = case.net.detect(case.features, case.size, [(case.image.height, case.image.width)])[0]
    assert len(found) >= len(expected)  # the fixtures keep the best ones only
    for ours, box, score in zip(found[: len(expected)], case.expected["boxes"], case.expected["scores"], strict=True):
        assert (ours.box - box).abs().max() <= 0.05
        assert ours.score == pytest.approx(float(score), rel=1e-3)


@torch.inference_mode()
def test_surface_branch(case):
    heads, channels = case.net.roi_heads, case.strides["channels"]
    best = case.expected["dp_boxes"][:1]
    decoded = heads.decoder(case.features)
    step = case.strides["maps_p2_p3_decoder"]
    case.close("decoder_sub", decoded[:, ::channels, ::step, ::step])
    case.close("dp_pool_sub", case.net.pool_regions(decoded, best)[:, ::channels])
    hidden = case.net.surface_features(case.features, best)
    case.close("dp_head_sub", hidden[:, ::channels])
    for name, ours in LOW.items():
        case.close(name, heads.densepose_predictor.get_submodule(f"{ours}_lowres")(hidden))
    maps = heads.densepose_predictor(hidden)
    step = case.strides["charts"]
    for name, ours in {"coarse": "ann_index", "fine": "index_uv", "u": "u", "v": "v"}.items():
        case.close(f"{name}_sub", maps[ours][..., ::step, ::step])
    if case.net.config.confidence:
        case.close("sigma_2_sub", maps["sigma_2"][..., ::step, ::step])
    labels, uv = surface_of(maps, case.expected["boxes"][0])
    assert labels.shape == case.expected["labels"].shape
    assert (labels != case.expected["labels"]).float().mean() <= 0.01
    same = labels == case.expected["labels"]
    assert (uv - case.expected["uv"]).abs()[:, same].max() <= 1e-3


def test_the_map_that_mcld_saves(case):
    found = case.net([case.image], overflow="wrap")[0]
    assert found is not None
    expected = case.expected["iuv"].numpy()
    different = (found[0] != expected).any(axis=-1)
    foreground = expected[..., 0] > 0
    assert different.sum() <= 0.01 * foreground.sum()


@torch.inference_mode()
def test_overflow_is_cut_or_wrapped(case):
    maps = case.net.surface_maps(case.features, case.expected["dp_boxes"][:1])
    box = case.expected["boxes"][0]
    labels, uv = surface_of(maps, box)
    size = (case.image.height, case.image.width)
    cut, wrapped = (iuv_image(labels, uv, box, size, overflow) for overflow in ("clamp", "wrap"))
    inside = ((uv >= 0) & (uv < 256 / 255)).all(dim=0).numpy()
    x, y, width, height = box.long()[0], box.long()[1], labels.shape[1], labels.shape[0]
    region = np.s_[y : y + height, x : x + width]
    assert (cut[region] == wrapped[region]).all(axis=-1)[inside].all()
    assert cut[..., 1:].min() == 0


def test_pictures_of_one_size_are_computed_together(folder, recipe):
    case = Case(folder, recipe, TINY[0])
    mirrored = case.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    wide = case.image.resize((case.image.height + 12, case.image.width + 4))
    together = case.net([case.image, wide, mirrored])
    for picture, ours in zip((case.image, wide, mirrored), together, strict=True):
        alone = case.net([picture])[0]
        assert alone is not None
        assert ours is not None
        assert ours[0].shape == (picture.height, picture.width, 3)
        assert (ours[0] != alone[0]).any(axis=-1).mean() <= 0.01


@pytest.mark.parametrize("name", names("densepose/loader/numpy*.pkl"))
def test_official_pickles_are_read(folder, name):
    arrays = read_arrays(folder / "loader" / f"{name}.pkl")
    assert np.array_equal(arrays["a"], np.arange(6, dtype=np.float32).reshape(2, 3))
    assert arrays["b"].shape == ()
    assert arrays["b"] == 0
    assert np.array_equal(arrays["f"], np.arange(6, dtype=np.float64).reshape(2, 3))
    assert arrays["s"] == 3


def test_a_pickle_that_names_a_function_is_refused(folder):
    with pytest.raises(PgpisError, match=r"system, which has no place in weights"):
        read_arrays(folder / "loader" / "must_refuse.pkl")
