"""Reading foreign files: tensors come through unchanged, nothing is executed, damage is told."""

import builtins
import io
import os
import pickle
import random
import zipfile

import pytest
import torch
from official_files import save_lightning
from safetensors.torch import save_file

from mutation import mutate
from pgpis.convert import read_state_dict
from pgpis.errors import PgpisError

DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    whole = torch.randn(6, 4)
    return {
        **{f"dtype.{dtype}": (torch.randn(3, 2) * 5).to(dtype) for dtype in DTYPES},
        "whole": whole,
        "again": whole,
        "rows": whole[2:4],
        "transposed": whole.T,
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }


def assert_equal(read: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(read) == list(expected)
    for name, value in expected.items():
        assert read[name].dtype == value.dtype, name
        assert torch.equal(read[name], value), name


def write_archive(path, pickled: bytes, storages: dict[str, bytes] | None = None, *, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in (storages or {}).items():
            archive.writestr(f"archive/data/{name}", content)
    return path


def test_lightning_checkpoint_with_foreign_objects(tmp_path):
    checkpoint = read_state_dict(save_lightning(tmp_path / "last.ckpt", tensors()))
    assert_equal(checkpoint.tensors, tensors())
    assert checkpoint.info == {"epoch": 7, "global_step": 123, "pytorch-lightning_version": "2.2.1"}
    assert checkpoint.tensors["again"] is checkpoint.tensors["whole"]
    assert checkpoint.tensors["rows"].untyped_storage().nbytes() == checkpoint.tensors["rows"].nbytes


def test_plain_state_dict_and_module(tmp_path):
    torch.save(tensors(), tmp_path / "plain.pth")
    assert_equal(read_state_dict(tmp_path / "plain.pth").tensors, tensors())
    module = torch.nn.Linear(3, 2)  # its state dict is an OrderedDict with attributes
    torch.save(module.state_dict(), tmp_path / "module.pth")
    assert_equal(read_state_dict(tmp_path / "module.pth").tensors, dict(module.state_dict()))


def test_safetensors(tmp_path):
    expected = {"a": torch.randn(3, 2), "b": torch.arange(4)}
    save_file(expected, tmp_path / "weights.safetensors")
    read = read_state_dict(tmp_path / "weights.safetensors").tensors
    assert_equal(dict(sorted(read.items())), expected)


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "executed"


def attacks(marker):
    touch = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Call(os.system, f"touch {marker}"),
        "exec": Call(builtins.exec, touch),
        "eval": Call(builtins.eval, touch),
        "open": Call(builtins.open, str(marker), "w"),
        "torch.load": Call(torch.load, str(marker)),
        "nested": {"a": [Call(os.mkdir, str(marker)), (Call(os.system, f"touch {marker}"),)]},
    }


@pytest.mark.parametrize("attack", ["os.system", "exec", "eval", "open", "torch.load", "nested"])
def test_calls_in_a_checkpoint_are_not_made(tmp_path, marker, attack):
    torch.save({"state_dict": {"a": torch.ones(2)}, "callbacks": attacks(marker)[attack]}, tmp_path / "evil.ckpt")
    assert torch.equal(read_state_dict(tmp_path / "evil.ckpt").tensors["a"], torch.ones(2))
    assert not marker.exists()
    torch.save({"state_dict": {"a": attacks(marker)[attack], "b": torch.ones(2)}}, tmp_path / "evil.ckpt")
    with pytest.raises(PgpisError, match="'a' of the state dict is not a plain tensor"):
        read_state_dict(tmp_path / "evil.ckpt")
    assert not marker.exists()


def test_modules_named_in_a_checkpoint_are_not_imported(tmp_path, marker, monkeypatch):
    (tmp_path / "imported_by_pickle.py").write_text(f"open({str(marker)!r}, 'w').close()\nvalue = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    # protocol 0: look the name up, call it, fill it, keep it as the value of "state_dict"
    pickled = b"(S'state_dict'\ncimported_by_pickle\nvalue\n(tR(dS'x'\nI1\nsbd."
    with pytest.raises(PgpisError, match="holds no state dict"):
        read_state_dict(write_archive(tmp_path / "evil.ckpt", pickled))
    assert not marker.exists()


def test_changes_to_the_stand_ins_do_not_outlive_a_file(tmp_path):
    # BUILD sets attributes of whatever is on the stack, here of the functions and classes that were looked up
    for name in (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"ctorch\nFloatStorage\n"):
        pickled = b"\x80\x02" + name + b"N}X\x08\x00\x00\x00__call__K\x01s\x86b."
        with pytest.raises(PgpisError):
            read_state_dict(write_archive(tmp_path / "evil.ckpt", pickled))
    assert_equal(read_state_dict(save_lightning(tmp_path / "last.ckpt", tensors())).tensors, tensors())


class Storage:
    """Pickles as a reference to a storage of the archive."""

    def __init__(self, *pid):
        self.pid = pid


def hand_made(storage: tuple, *rebuild) -> bytes:
    """Pickle ``{"a": tensor}`` as torch would, with any numbers."""

    class Pickler(pickle._Pickler):
        def persistent_id(self, value):
            return value.pid if isinstance(value, Storage) else None

    stream = io.BytesIO()
    reference = Call(torch._utils._rebuild_tensor_v2, Storage(*storage), *rebuild)
    Pickler(stream, 2).dump({"a": reference})
    return stream.getvalue()


FOUR = ("storage", torch.FloatStorage, "0", "cpu", 4)


@pytest.mark.parametrize(
    ("storage", "rebuild"),
    [
        (FOUR, (0, (5,), (1,))),
        (FOUR, (1, (4,), (1,))),
        (FOUR, (0, (2, 2), (3, 1))),
        (FOUR, (0, (8,), (0,))),
        (FOUR, (0, (10**12,), (0,))),
        (FOUR, (-1, (2,), (1,))),
        (FOUR, (0, (2,), (-1,))),
        (FOUR, (0, (2, 2), (2,))),
        (FOUR, (0, (2.0,), (1,))),
        (("storage", torch.FloatStorage, "0", "cpu", 5), (0, (2,), (1,))),
        (("storage", torch.FloatStorage, "../0", "cpu", 4), (0, (2,), (1,))),
        (("storage", torch.FloatStorage, 0, "cpu", 4), (0, (2,), (1,))),
        (("module", torch.FloatStorage, "0", "cpu", 4), (0, (2,), (1,))),
        (("storage", "FloatStorage", "0", "cpu", 4), (0, (2,), (1,))),
    ],
)
def test_impossible_tensors_are_refused(tmp_path, storage, rebuild):
    path = write_archive(tmp_path / "last.ckpt", hand_made(storage, *rebuild, False, {}), {"0": bytes(16)})
    with pytest.raises(PgpisError) as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value)


def test_hand_made_tensor_is_read_otherwise(tmp_path):
    pickled = hand_made(FOUR, 1, (3,), (1,), False, {})
    path = write_archive(tmp_path / "last.ckpt", pickled, {"0": torch.arange(4.0).numpy().tobytes()})
    assert read_state_dict(path).tensors["a"].tolist() == [1, 2, 3]


def write_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def write_compressed(path):
    write_archive(path, hand_made(FOUR, 0, (4,), (1,)), {"0": bytes(16)}, compression=zipfile.ZIP_DEFLATED)


def write_other_byte_order(path):
    write_archive(path, hand_made(FOUR, 0, (4,), (1,)), {"0": bytes(16)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", "big")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.mkdir(), "is a folder, expected the file"),
        (lambda path: path.write_bytes(b""), "is not a checkpoint"),
        (lambda path: path.write_text("epoch,loss\n"), "is not a checkpoint"),
        (write_zip, "holds no data.pkl"),
        (lambda path: write_archive(path, b""), "cannot read checkpoint"),
        (lambda path: write_archive(path, b"\x80\x02r\xff\xff\xff\x7f."), "cannot read checkpoint"),
        (lambda path: torch.save([torch.ones(2)], path), "holds no state dict"),
        (lambda path: torch.save({"state_dict": {}}, path), "holds no state dict"),
        (lambda path: torch.save({"state_dict": {1: torch.ones(2)}}, path), "not a plain tensor"),
        (lambda path: torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False), "torch < 1.6"),
        (write_compressed, "is compressed"),
        (write_other_byte_order, "byte order"),
    ],
)
def test_other_files_are_told_apart(tmp_path, write, message):
    path = tmp_path / "last.ckpt"
    write(path)
    with pytest.raises(PgpisError, match=message) as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x00" * 20, b"\xff" * 100])
def test_damaged_safetensors(tmp_path, content):
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(PgpisError, match="cannot read checkpoint"):
        read_state_dict(tmp_path / "weights.safetensors")


def test_archives_of_several_disks_are_damaged(tmp_path):
    content = save_lightning(tmp_path / "last.ckpt", tensors()).read_bytes()
    locator = b"PK\x06\x07" + bytes(4) + bytes(8) + b"\x02\x00\x00\x00"
    end = content.rindex(b"PK\x05\x06")
    (tmp_path / "last.ckpt").write_bytes(content[:end] + locator + content[end:])
    with pytest.raises(PgpisError, match="cannot read checkpoint"):
        read_state_dict(tmp_path / "last.ckpt")


def test_truncated_anywhere(tmp_path):
    content = save_lightning(tmp_path / "last.ckpt", tensors()).read_bytes()
    for length in range(0, len(content), 97):
        (tmp_path / "cut.ckpt").write_bytes(content[:length])
        with pytest.raises(PgpisError):
            read_state_dict(tmp_path / "cut.ckpt")


def test_damaged_files_give_an_error_or_the_true_tensors(tmp_path):
    content = save_lightning(tmp_path / "last.ckpt", tensors()).read_bytes()
    refused = 0
    for seed in range(150):
        (tmp_path / "damaged.ckpt").write_bytes(mutate(content, random.Random(seed)))
        try:
            read = read_state_dict(tmp_path / "damaged.ckpt").tensors
        except PgpisError:
            refused += 1
            continue
        assert_equal(read, tensors())
    assert refused > 75


def test_damaged_pickles_give_an_error_or_tensors(tmp_path):
    with zipfile.ZipFile(save_lightning(tmp_path / "last.ckpt", tensors())) as archive:
        content = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    storages = {name.removeprefix("data/"): value for name, value in content.items() if name.startswith("data/")}
    for seed in range(400):
        path = write_archive(tmp_path / "damaged.ckpt", mutate(content["data.pkl"], random.Random(seed)), storages)
        try:
            read = read_state_dict(path).tensors
        except PgpisError:
            continue
        assert all(isinstance(value, torch.Tensor) for value in read.values())
