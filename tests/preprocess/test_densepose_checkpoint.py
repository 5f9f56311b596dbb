"""DensePose's published weights: read strictly, and never run."""

import pickle
import random
import struct
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch

from pgpis.errors import PgpisError
from pgpis.preprocess.densepose import load_densepose, read_arrays
from pgpis.weight_files import CATALOGUE
from tiny_models import TINY, densepose_state, write_densepose

NORM = "backbone.bottom_up.res2.0.conv1.norm."
SEED = 11


@pytest.fixture(scope="module")
def state():
    return densepose_state()


@pytest.fixture
def load(tmp_path):
    """Write a state and load it."""

    def load(state, protocol=2):
        return load_densepose(write_densepose(tmp_path / "net.pkl", state, protocol))

    return load


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_the_net_is_what_was_written(protocol, state, load):
    net = load(state, protocol)
    loaded = net.state_dict()
    assert loaded.keys() == state.keys()
    for name, value in loaded.items():
        assert value.dtype == torch.float32
        np.testing.assert_array_equal(value.numpy(), state[name], err_msg=name)
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert not net.training
    # sizes are read from the tensors, the input's size is the official one
    assert net.config == replace(TINY, min_size=800, max_size=1333, pool_size=28)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_other_types_and_orders_are_converted(protocol, state, load):
    name = "roi_heads.box_predictor.bbox_pred.weight"
    for values in (
        state[name].astype(np.float64),
        state[name].astype(">f4"),
        np.asfortranarray(state[name]),
        state[name].astype(np.float16),
    ):
        loaded = load({**state, name: values}, protocol).state_dict()[name]
        assert loaded.dtype == torch.float32
        np.testing.assert_array_equal(loaded.numpy(), values.astype(np.float32))


def test_constants_of_detectron2_are_ignored(state, load):
    more = {
        "pixel_mean": np.zeros((3, 1, 1), np.float32),
        "pixel_std": np.ones((3, 1, 1), np.float32),
        "proposal_generator.anchor_generator.cell_anchors.0": np.zeros((3, 4), np.float32),
        f"{NORM}num_batches_tracked": np.array(7),
    }
    assert load({**state, **more}).state_dict().keys() == state.keys()


def test_absent_statistics_are_0_and_1(state, load):
    less = {name: value for name, value in state.items() if not name.startswith(f"{NORM}running")}
    assert len(less) == len(state) - 2
    loaded = load(less).state_dict()
    assert (loaded[f"{NORM}running_mean"] == 0).all()
    assert (loaded[f"{NORM}running_var"] == 1).all()


@pytest.mark.parametrize(
    "name",
    [
        "backbone.bottom_up.stem.conv1.weight",
        "backbone.fpn_output3.bias",
        "roi_heads.densepose_predictor.v_lowres.weight",
        f"{NORM}weight",
    ],
)
def test_a_missing_tensor_is_named(name, state, load):
    with pytest.raises(PgpisError, match=rf"net\.pkl: .*{name} is missing"):
        load({key: value for key, value in state.items() if key != name})


def test_an_unexpected_tensor_is_named(state, load):
    with pytest.raises(PgpisError, match=r"net\.pkl: the tensor roi_heads\.mask\.weight was not expected"):
        load({**state, "roi_heads.mask.weight": np.zeros(3, np.float32)})


def test_a_misshapen_tensor_is_named(state, load):
    name = "backbone.fpn_output3.bias"
    with pytest.raises(PgpisError, match=rf"tensor {name} has shape \(33,\), expected \(32,\)"):
        load({**state, name: np.zeros(33, np.float32)})


@pytest.mark.parametrize("dtype", ["int32", "bool", "uint8"])
def test_a_tensor_of_other_numbers_is_named(dtype, state, load):
    name = "backbone.fpn_output3.bias"
    with pytest.raises(PgpisError, match=f"tensor {name} holds {dtype}, expected floating-point"):
        load({**state, name: np.zeros(32, dtype)})


def test_another_net_is_refused(state, load):
    with pytest.raises(PgpisError, match="5 blocks in res4, expected 6 or 23"):
        load({name: value for name, value in state.items() if ".res4.5." not in name})
    with pytest.raises(PgpisError, match="non-local block"):
        load({**state, "roi_heads.densepose_head.NLBlock.g.weight": np.zeros(3, np.float32)})


def test_sizes_are_compared_before_memory_is_taken(state, load):
    """A few bytes may claim a net of petabytes."""
    name = "roi_heads.box_head.fc1.weight"
    with pytest.raises(PgpisError):
        load({**state, name: np.zeros((2**40, 0), np.float32)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}}, "has no 'model'"),
        ([1, 2], "has no 'model'"),
        ({"model": [1]}, "has no 'model'"),
        ({"model": {"a": "text"}}, "'a' is not an array of numbers"),
        ({"model": {3: np.zeros(2, np.float32)}}, "'3' is not an array of numbers"),
        ({"model": {"a": np.array(["text"])}}, "numbers of type"),
        ({"model": {"a": np.zeros(2, "c8")}}, "numbers of type"),
        ({"model": {"a": np.zeros(2, [("b", "f4")])}}, "numbers of type"),
        ({"model": {"a": np.array([None])}}, "numbers of type"),
    ],
)
def test_other_content_is_refused(content, message, tmp_path):
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(PgpisError, match=message):
        read_arrays(tmp_path / "net.pkl")


def test_a_missing_file_names_the_command(tmp_path):
    with pytest.raises(PgpisError, match="weights not found") as caught:
        read_arrays(tmp_path / CATALOGUE["densepose-r101-dl"].files[0])
    assert caught.value.hint == "pgpis weights fetch densepose-r101-dl"


CALLS = [
    ("os", "system", "touch marker"),
    ("posix", "system", "touch marker"),
    ("subprocess", "getoutput", "touch marker"),
    ("builtins", "eval", "open('marker', 'w')"),
    ("builtins", "exec", "open('marker', 'w')"),
    ("__builtin__", "eval", "open('marker', 'w')"),
    ("builtins", "__import__", "hostile"),
    ("importlib", "import_module", "hostile"),
    ("numpy", "load", "hostile.npy"),
    ("numpy", "fromfile", "hostile.npy"),
    ("numpy.core.multiarray", "fromfile", "hostile.npy"),
    ("numpy", "dtype.__init__", "f4"),
    ("torch", "load", "hostile.npy"),
    ("collections", "OrderedDict.fromkeys", "marker"),
    ("pgpis.pictures.images", "write_text", "marker"),
]


@pytest.mark.parametrize("protocol", [0, 4])
@pytest.mark.parametrize(("module", "name", "argument"), CALLS)
def test_nothing_is_called(protocol, module, name, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostile.py").write_text("open('marker', 'w')")
    if protocol == 0:
        content = f"c{module}\n{name}\n(V{argument}\ntR.".encode()
    else:
        texts = [b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name, argument)]
        content = b"\x80\x04" + texts[0] + texts[1] + b"\x93" + texts[2] + b"\x85R."
    (tmp_path / "net.pkl").write_bytes(content)
    with pytest.raises(PgpisError, match=f"it names {module}.{name}, which has no place in weights"):
        read_arrays(tmp_path / "net.pkl")
    assert {path.name for path in tmp_path.iterdir()} == {"net.pkl", "hostile.py"}


def test_a_file_does_not_change_how_the_next_one_is_read(tmp_path):
    values = np.arange(300, dtype=np.uint8)  # protocol 2 spells them as text, which one function turns into bytes
    hostile = b"c_codecs\nencode\n(N}(V__defaults__\n(VUTF-8\ntVhostile\nI1\nutb0}(Vmodel\n}us."
    (tmp_path / "net.pkl").write_bytes(hostile)
    with pytest.raises(PgpisError):
        read_arrays(tmp_path / "net.pkl")
    (tmp_path / "net.pkl").write_bytes(pickle.dumps({"model": {"a": values}}, 2))
    np.testing.assert_array_equal(read_arrays(tmp_path / "net.pkl")["a"], values)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02",
        b"no pickle",
        b"\x80\x02r\xff\xff\xff\x7f.",  # a memo of gigabytes
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",  # a byte array of a terabyte
        b"\x80\x02U\x04name\x82\x01.",
        b"\x80\x02V1\nQ.",  # a persistent object
        b"(" * 100_000 + b"t" * 100_000 + b".",
    ],
)
def test_malformed_pickles(content, tmp_path):
    (tmp_path / "net.pkl").write_bytes(content)
    with pytest.raises(PgpisError, match=r"net\.pkl"):
        read_arrays(tmp_path / "net.pkl")


def mutated(data, rng):
    """Flip bits, cut, insert bytes, swap pieces."""
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not damaged:
            break
        place = rng.randrange(len(damaged))
        match rng.randrange(5):
            case 0:
                damaged[place] ^= 1 << rng.randrange(8)
            case 1:
                del damaged[place:]
            case 2:
                damaged[place:place] = rng.randbytes(rng.randint(1, 8))
            case 3:
                damaged[place] = rng.choice(b"cRbos.()]}0\x81\x82\x85\x93\x94\x95\x96Q\xff")
            case 4:
                length, other = rng.randint(1, 30), rng.randrange(len(damaged))
                first, second = damaged[place : place + length], damaged[other : other + length]
                damaged[place : place + length], damaged[other : other + length] = second, first
    return bytes(damaged)


def outcome(read, path):
    """Read a file; None where it is refused with its name. Any other exception goes through."""
    try:
        return read(path)
    except PgpisError as error:
        if path.name not in error.message:
            raise
        return None


@pytest.mark.slow
def test_fuzz(state, tmp_path, monkeypatch):
    """1,800 damaged small files in three protocols and 60 damaged files of a whole net; nothing but PgpisError."""
    monkeypatch.chdir(tmp_path)
    rng = random.Random(SEED)
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.float64(3),
        "c": np.asfortranarray(np.arange(8.0).reshape(4, 2)),
        "d": np.array(5),
    }
    small = {"model": OrderedDict(arrays), "__author__": "tests"}
    errors = good = 0
    for protocol in (2, 4, 5):
        content = pickle.dumps(small, protocol)
        for _ in range(600):
            (tmp_path / "net.pkl").write_bytes(mutated(content, rng))
            found = outcome(read_arrays, tmp_path / "net.pkl")
            if found is None:
                errors += 1
                continue
            for name, values in found.items():
                assert isinstance(name, str)
                assert isinstance(values, np.ndarray)
                assert values.dtype.kind in "fiub"
                assert values.nbytes <= 2 * len(content)
            good += 1
    assert errors > 500
    assert good > 50
    content = write_densepose(tmp_path / "net.pkl", state).read_bytes()
    expected = {name: value.shape for name, value in state.items()}
    for _ in range(60):
        (tmp_path / "net.pkl").write_bytes(mutated(content, rng))
        net = outcome(load_densepose, tmp_path / "net.pkl")
        if net is None:
            continue
        assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == expected
        assert not any(value.is_meta for value in net.state_dict().values())
    assert [path.name for path in tmp_path.iterdir()] == ["net.pkl"]
