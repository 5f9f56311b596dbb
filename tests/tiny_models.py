"""Tiny models in the real formats: DensePose's pickle, rtmlib's and insightface's ONNX, facexlib's PyTorch files.

Their answers depend on the picture, so that wrong input would show.
"""

import pickle
from collections import OrderedDict

import numpy as np
import torch
from torchvision.models import alexnet, inception_v3

from pgpis.preprocess.densepose import DensePoseConfig, DensePoseRCNN
from pgpis.weight_files import CATALOGUE

TINY = DensePoseConfig(
    stem_channels=8,
    width=8,
    stage_channels=16,
    fpn_channels=32,
    fc_channels=32,
    decoder_channels=32,
    head_channels=32,
    head_layers=2,
    min_size=160,
    max_size=266,
)


def densepose_state(config=TINY, seed=0, *, person=True):
    """Random weights that find a person in every picture, and parts of it; or, on demand, in none."""
    torch.manual_seed(seed)
    net = DensePoseRCNN(config)
    state = {}
    for name, value in net.state_dict().items():
        state[name] = value.clone()
        if value.ndim > 1:
            fan = value[0].numel() if "lowres" not in name else value.shape[0] * 4
            state[name] = torch.randn(value.shape) * (2 / fan) ** 0.5
        if name.endswith("conv3.norm.weight"):
            state[name] = torch.full_like(value, 0.2)
    heads = "roi_heads."
    # a person or background, whatever the features; boxes grow to a good part of the picture
    state[f"{heads}box_predictor.cls_score.weight"] *= 0.05 * person
    state[f"{heads}box_predictor.cls_score.bias"] = torch.tensor([6.0, 0.0] if person else [-9.0, 9.0])
    state[f"{heads}box_predictor.bbox_pred.weight"] *= 0.0002
    state[f"{heads}box_predictor.bbox_pred.bias"] = torch.tensor([0.0, 0.0, 10.0, 10.0])
    state["proposal_generator.rpn_head.anchor_deltas.weight"] *= 0.0002
    state[f"{heads}densepose_predictor.ann_index_lowres.bias"] = torch.tensor([0.0, 1.0])
    for name in ("u", "v"):
        state[f"{heads}densepose_predictor.{name}_lowres.weight"] *= 0.2
        state[f"{heads}densepose_predictor.{name}_lowres.bias"] += 0.5
    return {name: value.numpy() for name, value in state.items()}


def write_densepose(path, state, protocol=2):
    """Write weights as detectron2's zoo does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({"model": OrderedDict(state), "__author__": "tests"}, protocol=protocol))
    return path


def _save(path, nodes, inputs, outputs, constants=()):
    import onnx
    from onnx import helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def write_detector(path, boxes=((16, 16, 600, 620),), score=0.9):
    """A YOLOX that ends in suppression: these boxes, in pixels of its 640 x 640, in every picture."""
    from onnx import helper

    rows = np.array([[*box, score] for box in boxes], np.float32).reshape(1, -1, 5)
    mean = helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=1)
    nodes = [
        mean,
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "shape"], ["flat"]),
        helper.make_node("Add", ["rows", "flat"], ["boxes"]),
    ]
    constants = [("zero", np.float32(0)), ("shape", np.array([1, 1, 1])), ("rows", rows)]
    return _save(path, nodes, [("input", [1, 3, 640, 640])], [("boxes", list(rows.shape))], constants)


def write_pose(path, count=133, size=(64, 48)):
    """An RTMPose that sees point k in the k-th of ``count`` brightest columns and rows, more or less."""
    from onnx import helper

    height, width = size
    rng = np.random.default_rng(count)
    nodes, outputs, constants = [], [], []
    for name, axes, length in (("simcc_x", [1, 2], width), ("simcc_y", [1, 3], height)):
        weights = rng.normal(size=(length, count * 2 * length)).astype(np.float32)
        constants += [
            (f"{name}_w", weights),
            (f"{name}_s", np.array([1, count, 2 * length])),
            (f"{name}_k", np.float32(0.05)),
        ]
        nodes += [
            helper.make_node("ReduceMean", ["input"], [f"{name}_m"], axes=axes, keepdims=0),
            helper.make_node("MatMul", [f"{name}_m", f"{name}_w"], [f"{name}_f"]),
            helper.make_node("Mul", [f"{name}_f", f"{name}_k"], [f"{name}_g"]),
            helper.make_node("Reshape", [f"{name}_g", f"{name}_s"], [name]),
        ]
        outputs.append((name, [1, count, 2 * length]))
    return _save(path, nodes, [("input", [1, 3, height, width])], outputs, constants)


def write_insightface(folder, names, boxes=((2.0, 6.0),)):
    """A pack: SCRFD that sees faces at these (column, row[, reach]) of stride 32, and an ArcFace.

    A face reaches 1.5 strides to each side, so that it has 96 of the 640 pixels.
    """
    from onnx import helper

    nodes, outputs, constants = [], [], []
    for number, stride in enumerate((8, 16, 32)):
        anchors = (640 // stride) ** 2 * 2
        scores = np.zeros((anchors, 1), np.float32)
        reach = np.full((anchors, 1), 1.5, np.float32)
        if stride == 32:
            for number_of_box, (column, row, *rest) in enumerate(boxes):
                anchor = int(row * 20 + column) * 2
                scores[anchor] = 0.9 - 0.01 * number_of_box
                reach[anchor] = rest or 1.5
        kps = reach * np.array([[-0.4, -0.4, 0.4, -0.4, 0, 0, -0.33, 0.47, 0.33, 0.47]], np.float32)
        values = (("score", scores), ("bbox", np.repeat(reach, 4, axis=1)), ("kps", kps))
        for place, (kind, value) in enumerate(values):
            name = f"{kind}_{stride}"
            constants.append((f"{name}_c", value))
            nodes.append(helper.make_node("Identity", [f"{name}_c"], [name]))
            outputs.append((place * 3 + number, (name, list(value.shape))))
    detection = [output for _, output in sorted(outputs)]
    _save(folder / names[0], nodes, [("input.1", [1, 3, "h", "w"])], detection, constants)
    weights = np.random.default_rng(0).normal(size=(3 * 112, 512)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["data"], ["rows"], axes=[3], keepdims=0),
        helper.make_node("Flatten", ["rows"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["embedding"]),
    ]
    _save(folder / names[1], nodes, [("data", [1, 3, 112, 112])], [("embedding", [1, 512])], [("weights", weights)])
    return folder


def write_judges(folder):
    """What ``pgpis evaluate`` scores with: real classes with random weights."""
    folder.mkdir()
    torch.manual_seed(0)
    net = inception_v3(weights=None, init_weights=True)
    torch.save(net.state_dict(), folder / CATALOGUE["inception-legacy"].files[0])
    features = alexnet(weights=None, num_classes=1).features.state_dict()
    features = {f"features.{name}": value for name, value in features.items()}
    torch.save(features, folder / CATALOGUE["lpips-alexnet"].files[0])
    write_insightface(folder, CATALOGUE["face-buffalo_s"].files)
    write_detector(folder / CATALOGUE["pose-detector"].files[0])
    write_pose(folder / CATALOGUE["pose-wholebody133"].files[0])


def write_all(folder, pose=("wholebody133",), packs=("antelopev2",)):
    """Write a folder of weights as ``pgpis weights fetch`` leaves it."""
    write_densepose(folder / CATALOGUE["densepose-r101-dl"].files[0], densepose_state())
    write_detector(folder / CATALOGUE["pose-detector"].files[0])
    for name in pose:
        count = int(name.lstrip("abcdefghijklmnopqrstuvwxyz"))
        write_pose(folder / CATALOGUE[f"pose-{name}"].files[0], count)
    for pack in packs:
        files = CATALOGUE[f"face-{pack}"].files
        write_insightface(folder, files)
    return folder
