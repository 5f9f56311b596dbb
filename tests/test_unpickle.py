"""Hostile pickles: each reader refuses or ignores them at once, in little memory, and calls nothing of theirs."""

import copy
import pickle
import pickletools
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from pgpis.convert import read_state_dict
from pgpis.data.mska import read_mska
from pgpis.errors import PgpisError
from pgpis.preprocess.densepose import checkpoint as densepose
from pgpis.unpickle import Budget, InertStub, Reader, TensorRecord, machine, storage_of, strided, torch_names

NESTED = b"K\x01" + b"q\x00h\x00\x86" * 60
"""((((1, 1), (1, 1)), ...), ...): 2 ** 60 values to who walks, compares or hashes it."""


def archive(path, pickled, storages=None, **entries):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        for name, content in (storages or {}).items():
            file.writestr(f"archive/data/{name}", content)
        for name, content in entries.items():
            file.writestr(f"archive/{name}", content, zipfile.ZIP_DEFLATED)
    return path


def read_torch(path, pickled):
    return read_state_dict(archive(path, pickled, {"0": bytes(16)}))


def read_pickle(reader):
    def read(path, pickled):
        path.write_bytes(pickled)
        return reader(path)

    return read


READERS = {
    "torch": read_torch,
    "mska": read_pickle(read_mska),
    "densepose": read_pickle(densepose.read_arrays),
}

HOSTILE = {
    "a key": b"\x80\x02}" + NESTED + b"N\x73.",
    "keys of a dict": b"\x80\x02(" + NESTED + b"Nd.",
    "a key of an ordered dict": b"\x80\x02ccollections\nOrderedDict\n(](" + NESTED + b"N\x86etR.",
    "an element of a set": b"\x80\x04\x8f(" + NESTED + b"\x90.",
    "an element of a frozen set": b"\x80\x04(" + NESTED + b"\x91.",
    "the content": b"\x80\x02" + NESTED + b".",
    "a shape": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
    b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x04tQK\x00" + NESTED + b"(K\x01ttR.",
    "a storage's name": b"\x80\x02(U\x07storagectorch\nFloatStorage\n" + NESTED + b"U\x03cpuK\x04tQ.",
    "an array's shape": b"\x80\x02cnumpy.core.numeric\n_frombuffer\n(U\x04aaaacnumpy\ndtype\nU\x02f4\x85R"
    + NESTED
    + b"U\x01CtR.",
    "a memo of gigabytes": b"\x80\x02Nr\xff\xff\xff\xff.",
    "a whole number of gigabytes": b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
    "text of terabytes": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"a.",
    "a frame of exabytes": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "many marks": b"(" * 100_000 + b".",
    "an extension": b"\x80\x02\x82\x01.",
    "a buffer outside": b"\x80\x05\x97.",
    "a list that holds itself": b"\x80\x02]q\x00h\x00a.",
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("attack", HOSTILE)
def test_a_few_bytes_cost_neither_time_nor_memory(attack, reader, tmp_path):
    start = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(PgpisError) as caught:
            READERS[reader](tmp_path / "file.pkl", HOSTILE[attack])
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()
    assert time.monotonic() - start < 10
    assert "file.pkl" in caught.value.message
    assert len(str(caught.value)) < 1000


def test_the_number_of_instructions_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "MOST_STEPS", 1000)
    for pickled in (
        b"N0" * 600 + b".",
        b"\x80\x02ccollections\nOrderedDict\nq\x00(]tq\x01" + b"h\x00h\x01R0" * 400 + b".",
    ):
        with pytest.raises(PgpisError, match="more than 1000 instructions"):
            READERS["densepose"](tmp_path / "net.pkl", pickled)


def views(count, rows):
    """Pickle tensors that each see nearly all of one storage."""
    storage = torch.zeros(rows)
    return {f"view {number}": storage[number:] for number in range(count)}


@pytest.mark.parametrize("reader", ["torch", "mska"])
def test_tensors_that_repeat_a_storage_are_refused_before_memory_is_taken(tmp_path, reader):
    path = tmp_path / "file"
    if reader == "torch":
        torch.save(views(400, 100_000), path)  # 0.4 MB that would become 160 MB
        read, expected = read_state_dict, r"far more bytes than the file has"
    else:
        points = torch.zeros(1, 133, 3).expand(1000, 133, 3)  # of stride 0
        path.write_bytes(pickle.dumps({"a": {"keypoint": points}}))
        read, expected = read_mska, r"beyond its storage"
    with pytest.raises(PgpisError, match=expected):
        read(path)


def test_views_that_do_not_overlap_are_read(tmp_path):
    flat = torch.randn(300_000)
    state = {f"part {number}": flat[number * 1000 : (number + 1) * 1000].view(10, 100) for number in range(300)}
    torch.save({**state, "all": flat, "tied": flat}, tmp_path / "file")
    read = read_state_dict(tmp_path / "file").tensors
    assert all(torch.equal(read[name], value) for name, value in state.items())
    assert read["all"] is read["tied"]


def test_repeated_arrays_are_refused(tmp_path):
    text = "\0" * 1_000_000
    pickled = pickle.dumps({"model": {"a": 1}, "text": text}, 2)[:-1]  # the text is in the memo
    index = max(place for code, place, _ in pickletools.genops(pickled + b".") if code.name == "BINPUT")
    repeated = b"c_codecs\nencode\nh" + bytes([index]) + b"U\x06latin1\x86R0"
    with pytest.raises(PgpisError, match="far more bytes than the file has"):
        READERS["densepose"](tmp_path / "net.pkl", pickled + repeated * 100 + b".")


def test_compressed_entries_are_not_unpacked(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "good")
    with zipfile.ZipFile(tmp_path / "good") as file:
        pickled = file.read("good/data.pkl")
    path = archive(tmp_path / "bomb", pickled, {"0": bytes(8)}, byteorder=b"l" * 2**24)
    with pytest.raises(PgpisError, match="'byteorder' is compressed"):
        read_state_dict(path)


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    """A directory may list the same 200 kB under many names."""
    tensor = (
        b"U\x02%02dctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x02%02dU\x03cpu"
        b"J\x50\xc3\x00\x00tQK\x00(J\x50\xc3\x00\x00t(K\x01ttR"
    )
    content = b"\x80\x02}(" + b"".join(tensor % (number, number) for number in range(20)) + b"u."
    path = archive(tmp_path / "file", content, {f"{number:02d}": bytes(200_000) for number in range(20)})
    assert len(read_state_dict(path).tensors) == 20
    with zipfile.ZipFile(tmp_path / "shared", "w") as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/data/00", bytes(200_000))
        first = file.getinfo("archive/data/00")
        for number in range(1, 20):
            entry = copy.copy(first)
            entry.filename = f"archive/data/{number:02d}"
            file.filelist.append(entry)
    with pytest.raises(PgpisError):
        read_state_dict(tmp_path / "shared")


def test_what_is_not_known_is_inert_where_other_things_are_expected():
    reader = Reader(torch_names(Budget(100)), Budget(100), storage_of)
    assert isinstance(reader.load(pickle.dumps(np.zeros(3))), InertStub)
    plain = {"a": [1, 2.5, None, True], "b": (1, "y"), 3: {}}
    assert reader.load(pickle.dumps(plain, 2)) == plain


def test_a_view_is_checked_against_its_storage():
    storage = torch.arange(6.0)
    record = TensorRecord(None, 1, (2, 2), (2, 1))
    assert strided(record, storage, Budget(0)).tolist() == [[1, 2], [3, 4]]
    for offset, shape, stride in ((5, (2,), (1,)), (0, (7,), (0,)), (0, (2, 4), (3, 1)), (6, (1,), (1,))):
        with pytest.raises(pickle.UnpicklingError, match="beyond its storage"):
            strided(TensorRecord(None, offset, shape, stride), storage, Budget(0))
