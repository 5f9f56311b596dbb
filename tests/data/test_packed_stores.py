"""Packs in S3, by moto's server on loopback, and in the memory of fsspec."""

import errno
import logging
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
from botocore.exceptions import ClientError
from filelock import FileLock
from moto.server import ThreadedMotoServer
from packed_features import assert_same, batches, packed
from PIL import Image, ImageOps
from requests import HTTPError

from pgpis.cli import main
from pgpis.data import DeepFashion, Packed, check_root
from pgpis.data.packs import stores
from pgpis.data.packs.stores import Store, StoreError
from pgpis.errors import PgpisError
from ports import free_port

pytestmark = [
    pytest.mark.usefixtures("packing_here"),
    pytest.mark.enable_socket,
    pytest.mark.allow_hosts(["127.0.0.1", "localhost"]),
]


def stop(server):
    server.stop()
    server._server.server_close()  # else connections wait instead of being refused


@pytest.fixture(scope="module")
def server():
    server = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    server.start()
    yield server
    stop(server)


@pytest.fixture
def bucket(server, monkeypatch):
    """The URL of a bucket, which the environment says how to reach."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server._port}",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stores, "PAUSES", (0.01, 0.01))
    stores._client_of.cache_clear()
    boto3.client("s3").create_bucket(Bucket="people")
    return "s3://people/toy"


@pytest.fixture
def uploaded(bucket, toy_pack):
    store = Store(f"{bucket}/train")
    for path in (toy_pack / "train").iterdir():
        if path.suffix in (".bin", ".json"):
            store.put(path, path.name)
    return bucket


def pictures(dataset):
    dataset.setup()
    return [dataset.load(index, {"source", "target", "pose"}).source.tobytes() for index in range(len(dataset))]


@pytest.fixture(scope="module")
def expected(toy_pack):
    return pictures(Packed(toy_pack))


def bytes_in(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("megabytes", [0, 0.05, 1000])
def test_s3_is_read_through_a_bounded_cache(uploaded, toy_pack, expected, tmp_path, megabytes):
    pack = Packed(uploaded, cache_dir=tmp_path / "cache", cache_size=megabytes / 1000)
    assert pictures(pack) == expected
    shards = list((tmp_path / "cache").rglob("*.bin"))
    assert bytes_in(tmp_path / "cache") <= megabytes * 1e6
    assert bool(shards) == bool(megabytes)
    assert (len(shards) == len(list((toy_pack / "train").glob("*.bin")))) == (megabytes == 1000)


def test_features_in_s3_are_cached_before_pictures(bucket, toy_root, toy_pack, cached, feature_pack, tmp_path):
    command = ["data", "pack", str(toy_root), "--out", bucket, "--shard-size=0.02", "--cache", str(cached)]
    assert main([*command, "--splits", "train"]) == 0
    shards = {path.name: path.stat().st_size for path in (feature_pack / "train").glob("*.bin")}
    for name in shards:
        assert Store(f"{bucket}/train").read(name) == (feature_pack / "train" / name).read_bytes()
    features = shards.keys() - {path.name for path in (toy_pack / "train").glob("*.bin")}
    size = sum(shards[name] for name in features) / 1e9
    pack = packed(bucket, cache_dir=tmp_path, cache_size=size)
    assert_same(batches(pack, bucket), batches(packed(feature_pack), feature_pack))
    assert {path.name for path in tmp_path.rglob("*.bin")} == features


def test_packing_to_s3_makes_the_bytes_of_the_folder_and_goes_on(bucket, toy_root, toy_pack, monkeypatch):
    command = ["data", "pack", str(toy_root), "--out", f"{bucket}-own", "--shard-size=0.02", "--splits", "train"]
    assert main(command) == 0
    store, puts = Store(f"{bucket}-own/train"), []
    for path in (toy_pack / "train").glob("*.bin"):
        assert store.read(path.name) == path.read_bytes()
    monkeypatch.setattr(stores._S3, "put_file", lambda *arguments: puts.append(arguments[-1]))
    assert main(command) == 0
    assert not [name for name in puts if name.endswith(".bin")]
    assert check_root(f"{bucket}-own").problems == []


def test_damage_in_s3_is_found(uploaded, tmp_path):
    store = Store(f"{uploaded}/train")
    shard = store.read("chunk-0-1.bin")
    boto3.client("s3").delete_object(Bucket="people", Key="toy/train/chunk-0-0.bin")
    store.write("chunk-0-1.bin", shard[:-5] + bytes(5))
    problems = check_root(uploaded).problems
    assert len(problems) == 2
    assert "chunk-0-0.bin" in problems[0]
    assert "damaged" in problems[1]
    with pytest.raises(StoreError, match=r"chunk-0-0\.bin"):
        pictures(Packed(uploaded, cache_dir=tmp_path))


def test_a_lost_connection_is_waited_for(server, uploaded, expected, tmp_path, monkeypatch, caplog):
    pack = Packed(uploaded, cache_dir=tmp_path, cache_size=0)
    pack.setup()
    monkeypatch.setattr(stores, "PAUSES", (0.2,) * 40)
    stop(server)
    starting = threading.Timer(0.5, server.start)
    starting.start()
    with caplog.at_level(logging.WARNING, logger="pgpis"):
        assert pictures(pack) == expected
    starting.join()
    assert "trying again" in caplog.text


def test_a_server_that_stays_away_ends_training_by_the_name_of_the_shard(server, uploaded, tmp_path):
    pack = Packed(uploaded, cache_dir=tmp_path)
    pack.setup()
    stop(server)
    try:
        with pytest.raises(StoreError, match=r"cannot read s3://people/toy/train/chunk-0-\d+\.bin"):
            pack.load(0)
    finally:
        server.start()
    assert not list(tmp_path.rglob("*.bin"))


def test_a_full_cache_disk_costs_the_cache_alone(uploaded, expected, tmp_path, monkeypatch, caplog):
    def full(self, name, path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stores._S3, "get_file", full)
    with caplog.at_level(logging.WARNING, logger="pgpis"):
        assert pictures(Packed(uploaded, cache_dir=tmp_path)) == expected
    assert caplog.text.count("No space left on device") == 1
    assert not list(tmp_path.rglob("*.bin"))


def test_what_is_in_the_cache_is_read_there_though_its_disk_is_full(uploaded, expected, tmp_path, monkeypatch):
    fetched, reads, fetch, read = [], [], stores._S3.get_file, Store.read

    def full(self, name, path):
        if fetched:
            raise OSError(errno.ENOSPC, "No space left on device")
        fetched.append(name)
        fetch(self, name, path)

    monkeypatch.setattr(stores._S3, "get_file", full)
    monkeypatch.setattr(Store, "read", lambda self, *where: reads.append((self.folder, where[0])) or read(self, *where))
    assert pictures(Packed(uploaded, cache_dir=tmp_path)) == expected
    assert (None, fetched[0]) not in reads
    assert any(folder is None for folder, _ in reads)


def test_a_full_disk_ends_packing_and_is_named(toy_root, tmp_path, monkeypatch, capsys):
    from litdata.streaming.writer import BinaryWriter

    def full(self, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(BinaryWriter, "write_chunk_to_file", full)
    assert main(["data", "pack", str(toy_root), "--out", str(tmp_path / "out")]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("chunk*"))


def test_wrong_credentials_are_told_at_once(uploaded, monkeypatch, tmp_path):
    def refuse(self, name, begin, end):
        error = {"Error": {"Message": "Access Denied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
        raise ClientError(error, "GetObject")

    monkeypatch.setattr(stores, "PAUSES", (1000.0,))
    monkeypatch.setattr(stores._S3, "cat_file", refuse)
    with pytest.raises(StoreError, match="Access Denied"):
        Packed(uploaded, cache_dir=tmp_path).setup()


@pytest.mark.parametrize(
    ("error", "is_asked_again"),
    [
        (HTTPError("unavailable", response=SimpleNamespace(status_code=503)), True),
        (HTTPError("too many", response=SimpleNamespace(status_code=429)), True),
        (HTTPError("forbidden", response=SimpleNamespace(status_code=403)), False),
        (HTTPError("gone", response=SimpleNamespace(status_code=404)), False),
        (HTTPError("no answer", response=None), True),
        (ClientError({"ResponseMetadata": {"HTTPStatusCode": 503}}, "get"), True),
        (ClientError({"ResponseMetadata": {"HTTPStatusCode": 403}}, "get"), False),
        (ClientError({}, "get"), True),
    ],
)
def test_what_a_server_may_answer_later_is_asked_again(monkeypatch, error, is_asked_again):
    """Responses are dictionaries of botocore, objects of requests, httpx and azure, or None."""
    answers = [error, b"content"]

    def cat_file(*_):
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return answer

    monkeypatch.setattr(stores, "PAUSES", (0.0,))
    monkeypatch.setattr(stores, "_client_of", lambda *_: SimpleNamespace(cat_file=cat_file))
    store = Store("hf://people/toy")
    if is_asked_again:
        assert store.read("pack.json") == b"content"
    elif "gone" in str(error):
        assert store.read_if_there("pack.json") is None
    else:
        with pytest.raises(StoreError, match=r"cannot read hf://people/toy/pack\.json"):
            store.read("pack.json")


def test_what_a_bucket_refuses_on_writing_is_told_at_once(bucket, monkeypatch):
    """Errors of uploads hold no answer themselves; the one of the server is what they came of."""
    monkeypatch.setattr(stores, "PAUSES", (1000.0,))
    with pytest.raises(StoreError, match=r"cannot write s3://nobodys/toy/a\.json.*NoSuchBucket") as error:
        Store("s3://nobodys/toy").write("a.json", b"{}")
    assert error.value.hint == "is there such a bucket or folder, and may this machine write to it?"

    def refuse(*_):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(stores, "_client_of", lambda *_: SimpleNamespace(put_file=refuse))
    with pytest.raises(StoreError, match="Access Denied"):
        Store("abfs://people/toy").write("a.json", b"{}")


@pytest.mark.parametrize("place", ["s3:", "s3://", "s3:///people", "s3:/bucket/people", "gs://", "hf:/people"])
def test_a_url_that_lacks_its_bucket_is_no_folder(place, toy_root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "pack", str(toy_root), "--out", place]) == 2
    assert f"'{place}' names no place" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    with pytest.raises(PgpisError, match="names no place"):
        Packed(place)


@pytest.mark.parametrize("end", ["mine#2", "mine?x=1", "/double", "a//b", "a\n"])
def test_a_url_of_which_stores_drop_something_is_refused(end, bucket, toy_root, monkeypatch, capsys):
    """All files went to one object, over what was there, or to where they are not looked for."""
    place, client = f"s3://people/{end}", boto3.client("s3")
    client.put_object(Bucket="people", Key="mine", Body=b"theirs")
    for words in (["data", "pack", str(toy_root), "--out", place], ["data", "check", place]):
        assert main(words) == 2
        assert f"{place!r}: stores drop" in capsys.readouterr().err
    assert client.get_object(Bucket="people", Key="mine")["Body"].read() == b"theirs"
    with pytest.raises(PgpisError, match="stores drop"):
        Packed(place)


@pytest.mark.parametrize(
    "place",
    ["C:/people", "C:\\people", "c:", "a:b/c", "file:///people", "a#b?", "s3://b", "s3://b/a b/", "memory://a:/b"],
)
def test_drives_and_urls_are_places(place):
    assert str(Store(place).below("train")) == f"{place.rstrip('/')}/train"


@pytest.mark.parametrize("same_length", [True, False])
def test_what_is_packed_anew_is_read_anew(same_length, toy_root, tmp_path, monkeypatch):
    root, store = tmp_path / "data", f"file://{tmp_path}/pack"
    shutil.copytree(toy_root, root)
    command = ["data", "pack", str(root), "--out", store, "--shard-size=0.02", "--splits", "train"]
    assert main(command) == 0
    before = pictures(Packed(store, cache_dir=tmp_path / "cache"))
    [folder] = (tmp_path / "cache").iterdir()
    shards = len(list(folder.rglob("*.bin")))
    kept = next(folder.rglob("*.bin"))
    kept.rename(kept.parent / ".pgpis-killed.bin")
    dataset = DeepFashion(root, "train")
    dataset.setup()
    picture = dataset.pairs[0].source
    content = picture.read_bytes()
    with Image.open(picture) as image:
        ImageOps.mirror(image).save(picture, quality=50)
    changed = picture.read_bytes()
    if same_length:
        assert len(changed) < len(content)
        picture.write_bytes(changed + bytes(len(content) - len(changed)))
    assert main(command) == 0
    after = pictures(Packed(store, cache_dir=tmp_path / "cache"))
    direct = Packed(tmp_path / "pack")
    assert after == pictures(direct) != before
    assert len(list(folder.rglob("*.bin"))) == shards, "the former ones are gone"
    assert check_root(store).problems == []


@pytest.fixture
def elsewhere(toy_pack):
    """The pack as a store that is not a folder, and the sizes of its shards."""
    return f"file://{toy_pack}", [path.stat().st_size for path in sorted((toy_pack / "train").glob("*.bin"))]


def test_shards_that_are_kept_no_more_leave_the_cache(elsewhere, expected, tmp_path):
    store, sizes = elsewhere
    most = 2 * max(sizes)
    for first in (0, 10_000):  # as of features, which training reads in place of pictures
        pack = Packed(store, cache_dir=tmp_path, cache_size=most / 1e9)
        pack.setup()
        pack._shards.keep_from(min(first, len(pack._files) - 1))
        assert pictures(pack) == expected
        assert 0 < bytes_in(tmp_path) <= most
    [own] = tmp_path.iterdir()
    held = own / "0123456789abcdef"
    held.mkdir()
    (held / "chunk.bin").write_bytes(b"of another process, which fetches it now")
    with FileLock(f"{held}.lock"):
        assert pictures(Packed(store, cache_dir=tmp_path, cache_size=0)) == expected
        assert [path.parent for path in tmp_path.rglob("*.bin")] == [held]
    assert pictures(Packed(store, cache_dir=tmp_path, cache_size=0)) == expected
    assert not list(tmp_path.rglob("*.bin"))


def test_shards_that_another_process_removes_are_read_in_the_store(elsewhere, expected, tmp_path, monkeypatch):
    fetched, fetch = [], Store.fetch
    monkeypatch.setattr(Store, "fetch", lambda self, name, *more: fetched.append(name) or fetch(self, name, *more))
    pack = Packed(elsewhere[0], cache_dir=tmp_path)
    for _ in range(3):
        assert pictures(pack) == expected
        shutil.rmtree(tmp_path, ignore_errors=True)
    assert sorted(fetched) == sorted({*fetched}), "each is fetched once"


@pytest.mark.parametrize("damage", ["short", "head", "offsets", "content"])
def test_a_damaged_copy_is_fetched_anew(elsewhere, toy_pack, expected, tmp_path, damage, caplog):
    store, _ = elsewhere
    assert pictures(Packed(store, cache_dir=tmp_path)) == expected
    for path in tmp_path.rglob("*.bin"):
        content = path.read_bytes()
        count = 4 * (int.from_bytes(content[:4], "little") + 2)
        broken = {
            "short": content[:-9],
            "head": bytes(4) + content[4:],
            "offsets": content[:8] + bytes(4) + content[12:],
            "content": content[:count] + bytes(len(content) - count),
        }[damage]
        path.write_bytes(broken)
    with caplog.at_level(logging.WARNING, logger="pgpis"):
        assert pictures(Packed(store, cache_dir=tmp_path)) == expected
    copies = list(tmp_path.rglob("*.bin"))
    assert copies
    assert all(path.read_bytes() == (toy_pack / "train" / path.name).read_bytes() for path in copies)
    assert caplog.text.count(f"it is read from {store}/train") == len(copies)


def test_a_shard_that_is_damaged_in_the_store_never_has_its_name_in_the_cache(toy_pack, tmp_path, monkeypatch):
    pack, renamed, replace = shutil.copytree(toy_pack, tmp_path / "pack"), [], Path.replace
    for path in (pack / "train").glob("*.bin"):
        path.write_bytes(path.read_bytes()[:-5] + bytes(5))
    monkeypatch.setattr(Path, "replace", lambda self, target: renamed.append(target) or replace(self, target))
    with pytest.raises(StoreError, match=r"chunk-0-\d+\.bin is damaged") as error:
        pictures(Packed(f"file://{pack}", cache_dir=tmp_path / "cache"))
    assert error.value.hint == f"pgpis data check file://{pack}/train"
    assert not renamed
    assert not list((tmp_path / "cache").rglob("*.bin"))


def test_other_stores_are_those_of_fsspec(toy_root, expected, tmp_path):
    command = ["data", "pack", str(toy_root), "--out", "memory://toy", "--shard-size=0.02", "--splits", "train"]
    assert main(command) == 0
    assert pictures(Packed("memory://toy", cache_dir=tmp_path, cache_size=0.00005)) == expected
    assert list(tmp_path.rglob("*.bin"))
    with pytest.raises(PgpisError, match="nowhere"):
        Packed("nowhere://toy").setup()
