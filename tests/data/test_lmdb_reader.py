"""The reader of LMDBs against LMDB itself, and on databases that would end the process if they were mapped."""

import random
import struct

import lmdb
import pytest

from pgpis.data.lmdb_reader import read_entry
from pgpis.data.picture_store import picture_exists, read_picture
from pgpis.errors import PgpisError


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    """A database of three levels with large and small entries, some of which came later; and what it holds."""
    draws, folder, content = random.Random(0), tmp_path_factory.mktemp("lmdb"), {}
    with lmdb.open(str(folder), map_size=2**27) as environment:
        with environment.begin(write=True) as transaction:
            for number in range(2500):
                key = f"{draws.getrandbits(32):08x}/{'n' * draws.randrange(60)}{number}.png".encode()
                content[key] = draws.randbytes(draws.choice([0, 10, 500, 3000, 9000]))
                transaction.put(key, content[key])
        with environment.begin(write=True) as transaction:
            for key in list(content)[::3]:
                transaction.delete(key)
                del content[key]
            for key in list(content)[::5]:
                content[key] = draws.randbytes(draws.choice([1, 5000]))
                transaction.put(key, content[key])
        assert environment.stat()["depth"] >= 3
    return folder / "data.mdb", content


def test_every_entry_is_what_was_put(entries):
    path, content = entries
    assert all(read_entry(path, key) == value for key, value in content.items())
    others = [b"", b"\0", b"\xff" * 600, b"z" * 9999, *(key + b"x" for key in content), *(key[:-1] for key in content)]
    assert all(read_entry(path, key) is None for key in others)


def test_an_empty_database(tmp_path):
    lmdb.open(str(tmp_path)).close()
    assert read_entry(tmp_path / "data.mdb", b"a") is None


@pytest.mark.parametrize("share", [0.999, 0.5, 0.1])
def test_a_truncated_one_says_so(entries, share, tmp_path):
    path = tmp_path / "data.mdb"
    data = entries[0].read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(PgpisError, match=rf"data\.mdb: it is cut short: \d+ bytes, its header says {len(data)}"):
        read_picture(path / "a.png")


@pytest.mark.parametrize("content", [b"", b"no database", b"\0" * 8192])
def test_something_else_is_named(content, tmp_path):
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(PgpisError, match=r"cannot read the LMDB .*data\.mdb"):
        picture_exists(tmp_path / "data.mdb/a.png")


def test_damage_is_an_error_or_harmless(entries, tmp_path):
    data, keys = entries[0].read_bytes(), list(entries[1])
    path, draws, errors = tmp_path / "data.mdb", random.Random(1), 0
    for _ in range(40):
        damaged = bytearray(data)
        for _ in range(2000):
            page = draws.randrange(2 if draws.random() < 0.001 else len(data) // 4096)
            damaged[page * 4096 + draws.randrange(64)] = draws.randrange(256)
        path.write_bytes(damaged)
        for key in draws.sample(keys, 10):
            errors += why_not(path, key) is not None
    assert errors > 20


def why_not(path, key):
    try:
        read_entry(path, key)
    except PgpisError as error:
        return error.message
    return None


def test_a_tree_that_goes_in_circles_ends(entries, tmp_path):
    data = bytearray(entries[0].read_bytes())
    newest = max((0, 4096), key=lambda start: struct.unpack_from("<Q", data, start + 144))
    root = struct.unpack_from("<Q", data, newest + 128)[0] * 4096
    lower = struct.unpack_from("<H", data, root + 12)[0]
    for offset in struct.unpack_from(f"<{(lower - 16) // 2}H", data, root + 16):
        struct.pack_into("<HHH", data, root + offset, root // 4096, 0, 0)
    (tmp_path / "data.mdb").write_bytes(data)
    with pytest.raises(PgpisError, match="its tree is damaged"):
        read_entry(tmp_path / "data.mdb", b"a")


def test_an_entry_that_is_not_a_picture(tmp_path):
    with lmdb.open(str(tmp_path)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"a.png", b"text")
    with pytest.raises(PgpisError, match=r"cannot read picture .*data\.mdb/a\.png"):
        read_picture(tmp_path / "data.mdb/a.png")
    with pytest.raises(PgpisError, match="picture not found"):
        read_picture(tmp_path / "data.mdb" / ("n" * 600 + ".png"))
