"""Where published weights are found, and that a download is complete, right and safe before it gets its name."""

import hashlib
import io
import json
import subprocess
import sys
import urllib.error
import zipfile
from email.message import Message
from http.client import IncompleteRead
from pathlib import Path

import pytest

from pgpis.app import examples
from pgpis.cli import main
from pgpis.errors import PgpisError
from pgpis.evaluate.features import default_cache
from pgpis.weight_files import (
    CATALOGUE,
    WeightFile,
    archive,
    catalogue,
    download,
    expected_file,
    fetch,
    find,
    locate,
    require,
    states,
    verify,
    weights_folder,
)
from pgpis.weight_files.places import places

ROOT = Path(__file__).parents[1]
BODY = bytes(range(256)) * 40
SHA = hashlib.sha256(BODY).hexdigest()
URL = "https://example.org/toy/net.pth"


class Answer(io.BytesIO):
    """What ``urlopen`` returns."""

    def __init__(self, body, status=200, url=URL, **headers):
        super().__init__(body)
        self.status, self.url, self.headers = status, url, Message()
        for name, value in headers.items():
            self.headers[name.replace("_", "-")] = str(value)


class Server:
    """Serves bytes; ``ranges`` False: it knows no Range; ``if_range`` False: no If-Range. Remembers what was asked."""

    def __init__(self, body=BODY, ranges=True, cut=None, if_range=True, **headers):
        self.body, self.ranges, self.cut, self.headers, self.asked = body, ranges, cut, headers, []
        self.if_range = if_range

    def __call__(self, request, timeout=None):
        assert timeout is not None
        asked = request.get_header("Range")
        self.asked.append(asked)
        total = len(self.body)
        version = request.get_header("If-range")
        is_other = self.if_range and version not in (None, self.headers.get("ETag"), self.headers.get("Last_Modified"))
        if asked is None or not self.ranges or is_other:
            return Answer(self.body[: self.cut], Content_Length=total, **self.headers)
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= total:
            headers = Message()
            headers["Content-Range"] = f"bytes */{total}"
            raise urllib.error.HTTPError(request.full_url, 416, "Range Not Satisfiable", headers, io.BytesIO())
        span = f"bytes {start}-{total - 1}/{total}"
        return Answer(self.body[start:], 206, Content_Length=total - start, Content_Range=span, **self.headers)


def no_network(request, timeout=None):
    raise urllib.error.URLError("Name or service not known")


def must_not_open(request, timeout=None):
    raise AssertionError("the network was asked")


def always(answer):
    def opener(request, timeout=None):
        return answer

    return opener


def zip_of(members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def place(path, content=b"net"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty home, and none of the variables that move caches."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("PGPIS_WEIGHTS", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def toy(monkeypatch):
    """Put an entry into the catalogue: ``toy(sha256=...)``."""

    def add(name="toy", url=URL, files=("toy/net.pth",), commercial=True, **more):
        entry = WeightFile(name, files, url, "CC BY 4.0", commercial, "tests", **more)
        monkeypatch.setattr(catalogue, "CATALOGUE", {**CATALOGUE, name: entry})
        return name

    return add


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# the catalogue


def test_catalogue_names_one_place_for_each_file():
    files = [file for entry in CATALOGUE.values() for file in entry.files]
    assert len(set(files)) == len(files)
    bare = [file.rpartition("/")[2] for file in files]
    assert len(set(bare)) == len(bare), "found without their subfolder, two files would be taken for each other"
    assert all(name == entry.name for name, entry in CATALOGUE.items())
    assert all(entry.url.startswith("https://") for entry in CATALOGUE.values())


@pytest.mark.parametrize("name", ["inception-legacy", "inception-standard", "lpips-alexnet"])
def test_weights_of_metrics_lie_where_their_readers_look(name, tmp_path):
    """Directly in the folder; their names carry the first digits of a sha256, one of them another file's."""
    [file] = CATALOGUE[name].files
    (tmp_path / file).write_bytes(b"")
    assert expected_file(name, tmp_path) == tmp_path / file
    digits = None if name == "inception-standard" else file.rpartition("-")[2].removesuffix(".pth")
    assert CATALOGUE[name].sha256 == digits


def test_page_names_every_entry():
    page = (ROOT / "docs/weights.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    for entry in CATALOGUE.values():
        [row] = [row for row in rows if f"`{entry.name}`" in row]
        assert entry.licence in row


def test_import_loads_no_torch():
    code = "import sys, pgpis.weight_files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# finding


def test_own_folder_is_named_by_the_environment(home, tmp_path, monkeypatch):
    assert weights_folder() == home / ".cache/pgpis/weights"
    monkeypatch.setenv("PGPIS_WEIGHTS", str(tmp_path / "elsewhere"))
    assert weights_folder() == tmp_path / "elsewhere"
    monkeypatch.setenv("PGPIS_WEIGHTS", "~/mine")
    assert weights_folder() == home / "mine"


POSE = "rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0_20230504.onnx"
ALEXNET = "alexnet-owt-7be5be79.pth"


@pytest.mark.parametrize(
    ("name", "files", "variable"),
    [
        ("densepose-r101-dl", ["home/.cache/pgpis/weights/densepose/model_final_844d15.pkl"], None),
        ("densepose-r101-dl", ["home/.cache/pgpis/weights/model_final_844d15.pkl"], None),
        ("densepose-r101-dl", ["w/densepose/model_final_844d15.pkl"], "PGPIS_WEIGHTS=w"),
        ("densepose-r101-dl", ["home/.cache/pgpis/weights/densepose/model_final_844d15.pkl"], "PGPIS_WEIGHTS=w"),
        ("face-buffalo_l", [f"home/.insightface/models/buffalo_l/{n}.onnx" for n in ("det_10g", "w600k_r50")], None),
        (
            "face-antelopev2",
            [f"home/.insightface/models/antelopev2/{n}.onnx" for n in ("scrfd_10g_bnkps", "glintr100")],
            None,
        ),
        (
            "face-antelopev2",
            [f"home/.insightface/models/antelopev2/antelopev2/{n}.onnx" for n in ("scrfd_10g_bnkps", "glintr100")],
            None,
        ),
        ("pose-body17", [f"home/.cache/rtmlib/hub/checkpoints/{POSE}"], None),
        ("pose-body17", [f"t/hub/checkpoints/{POSE}"], "TORCH_HOME=t"),
        ("pose-body17", [f"x/rtmlib/hub/checkpoints/{POSE}"], "XDG_CACHE_HOME=x"),
        ("lpips-alexnet", [f"home/.cache/torch/hub/checkpoints/{ALEXNET}"], None),
        ("lpips-alexnet", [f"t/hub/checkpoints/{ALEXNET}"], "TORCH_HOME=t"),
        ("lpips-alexnet", [f"x/torch/hub/checkpoints/{ALEXNET}"], "XDG_CACHE_HOME=x"),
    ],
)
def test_found_in_own_folders_and_caches_of_libraries(name, files, variable, tmp_path, monkeypatch):
    if variable is not None:
        key, value = variable.split("=")
        monkeypatch.setenv(key, str(tmp_path / value))
    placed = [place(tmp_path / file) for file in files]
    assert find(name) == placed


def test_found_in_an_installed_package(tmp_path, monkeypatch):
    place(tmp_path / "site/facexlib/__init__.py", b"")
    file = place(tmp_path / "site/facexlib/weights/parsing_bisenet.pth")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "facexlib", raising=False)
    assert find("facexlib-parsing") == [file]


def test_found_in_the_cache_of_the_hub(toy, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    toy(url="https://huggingface.co/someone/nets/resolve/main/sub/net.pth", files=("net.pth",))
    with pytest.raises(PgpisError, match="not found"):
        find("toy")
    repository = tmp_path / "hub/models--someone--nets"
    place(repository / "refs/main", b"abc")
    file = place(repository / "snapshots/abc/sub/net.pth")
    assert find("toy") == [file]


@pytest.fixture
def homeless(monkeypatch):
    """A user without ``$HOME`` and without an entry among the system's users."""

    def no_home(self):
        if str(self).startswith("~"):
            raise RuntimeError("Could not determine home directory.")
        return self

    monkeypatch.setattr(Path, "expanduser", no_home)
    for variable in ("PGPIS_WEIGHTS", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_is_told_what_says_where(tmp_path, monkeypatch, capsys):
    assert main(["weights", "list"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("pgpis: error: ~/.cache/pgpis/weights: this user has no home folder")
    assert "set $HOME, or $PGPIS_WEIGHTS, to a folder" in message
    assert set(locate("lpips-alexnet").values()) == {None}, "and nothing lies there"
    monkeypatch.setenv("PGPIS_WEIGHTS", str(tmp_path))
    assert places("lpips-alexnet")[0] == tmp_path
    assert main(["weights", "list"]) == 0
    with pytest.raises(PgpisError, match="--cache"):
        default_cache()


@pytest.mark.usefixtures("homeless")
def test_examples_of_the_page_need_no_home(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "SIZE", (64, 44))
    pictures = examples.example_pictures(tmp_path)
    assert len(pictures) == len(examples.PEOPLE)
    assert all(path.is_file() and path.is_relative_to(tmp_path) for path in pictures)


def test_given_folder_is_the_only_place(home, tmp_path):
    place(home / f".cache/torch/hub/checkpoints/{ALEXNET}")
    with pytest.raises(PgpisError) as told:
        find("lpips-alexnet", tmp_path / "my weights")
    assert str(tmp_path / "my weights") in told.value.message
    assert ".cache" not in told.value.message
    assert told.value.hint == f"pgpis weights fetch lpips-alexnet --folder '{tmp_path / 'my weights'}'"


def test_own_folder_comes_before_the_caches(home):
    place(home / f".cache/torch/hub/checkpoints/{ALEXNET}")
    own = place(home / f".cache/pgpis/weights/{ALEXNET}")
    assert find("lpips-alexnet") == [own]


def test_missing_files_and_places_are_named(home):
    place(home / ".insightface/models/antelopev2/glintr100.onnx")
    with pytest.raises(PgpisError) as told:
        find("face-antelopev2")
    assert "antelopev2/scrfd_10g_bnkps.onnx" in told.value.message
    assert "glintr100" not in told.value.message
    assert str(home / ".cache/pgpis/weights") in told.value.message
    assert str(home / ".insightface/models") in told.value.message
    licence = f"face-antelopev2: {CATALOGUE['face-antelopev2'].licence}"
    command = "pgpis weights fetch face-antelopev2 --accept-licence"
    assert told.value.hint == f"if you keep to the licence ({licence}): {command}"


def test_all_that_is_missing_is_fetched_by_one_command(home, tmp_path):
    place(home / f".cache/torch/hub/checkpoints/{ALEXNET}")
    require(["lpips-alexnet"])
    with pytest.raises(PgpisError) as told:
        require(["pose-detector", "lpips-alexnet", "densepose-r50", "pose-detector"])
    assert told.value.hint == "pgpis weights fetch pose-detector densepose-r50"
    assert all(file in told.value.message for name in ("pose-detector", "densepose-r50") for file in locate(name))
    with pytest.raises(PgpisError) as told:
        require(["pose-detector", "face-antelopev2"], tmp_path)
    command = f"pgpis weights fetch pose-detector face-antelopev2 --folder {tmp_path} --accept-licence"
    assert told.value.hint.endswith(f": {command}")
    assert told.value.hint.startswith("if you keep to the licence (face-antelopev2: ")


def test_unknown_name_names_the_nearest():
    with pytest.raises(PgpisError, match="did you mean 'densepose-r101-dl'"):
        find("densepose-r101dl")


# downloading


def test_file_arrives_and_is_recorded(toy, tmp_path):
    server = Server()
    [path] = fetch(toy(sha256=SHA[:8], size=len(BODY)), tmp_path, opener=server)
    assert path == tmp_path / "toy/net.pth"
    assert path.read_bytes() == BODY
    assert names(tmp_path) == ["checksums.json", "toy/net.pth"]
    assert json.loads((tmp_path / "checksums.json").read_text()) == {"toy/net.pth": {"bytes": len(BODY), "sha256": SHA}}
    assert verify("toy", tmp_path) is None
    assert fetch("toy", tmp_path, opener=must_not_open) == [path]


def test_weights_go_to_the_own_folder_by_default(toy, home):
    assert fetch(toy(), opener=Server()) == [home / ".cache/pgpis/weights/toy/net.pth"]


def test_weights_in_a_cache_are_not_downloaded_again(home):
    files = [place(home / f".insightface/models/buffalo_s/{n}.onnx") for n in ("det_500m", "w600k_mbf")]
    assert fetch("face-buffalo_s", opener=must_not_open) == files


@pytest.mark.parametrize("ranges", [True, False])
def test_broken_off_download_goes_on(ranges, toy, tmp_path):
    start = BODY[:1000] if ranges else b"x" * 1000
    place(tmp_path / "toy/net.pth.part", start)
    server = Server(ranges=ranges)
    [path] = fetch(toy(sha256=SHA), tmp_path, opener=server)
    assert server.asked == ["bytes=1000-"]
    assert path.read_bytes() == BODY


@pytest.mark.parametrize(("have", "asked"), [(len(BODY), 1), (len(BODY) + 5, 2)])
def test_complete_or_too_long_part(have, asked, toy, tmp_path):
    place(tmp_path / "toy/net.pth.part", (BODY + b"12345")[:have])
    server = Server()
    [path] = fetch(toy(sha256=SHA), tmp_path, opener=server)
    assert path.read_bytes() == BODY
    assert len(server.asked) == asked


def test_other_bytes_than_asked_start_over(toy, tmp_path):
    place(tmp_path / "toy/net.pth.part", BODY[:1000])
    honest = Server()

    def opener(request, timeout):
        if request.get_header("Range"):
            return Answer(BODY[500:], 206, Content_Range=f"bytes 500-{len(BODY) - 1}/{len(BODY)}")
        return honest(request, timeout)

    [path] = fetch(toy(sha256=SHA), tmp_path, opener=opener)
    assert path.read_bytes() == BODY


def test_wrong_checksum_is_refused(toy, tmp_path):
    with pytest.raises(PgpisError, match=r"not what was published.*expected deadbeef"):
        fetch(toy(sha256="deadbeef"), tmp_path, opener=Server())
    assert names(tmp_path) == []


def test_wrong_size_is_refused(toy, tmp_path):
    with pytest.raises(PgpisError, match=f"gave {len(BODY)} bytes, expected 5"):
        fetch(toy(size=5), tmp_path, opener=Server())
    assert names(tmp_path) == []


PARTS = ["toy/net.pth.part", "toy/net.pth.part.json"]
FIRST, SECOND = b"1" * 5000, b"2" * 5000
VERSIONS = [{"ETag": '"one"'}, {"Last_Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}]
OTHERS = [{"ETag": '"two"'}, {"Last_Modified": "Tue, 02 Jan 2024 00:00:00 GMT"}]


@pytest.mark.parametrize("version", VERSIONS)
def test_truncated_download_is_kept_for_the_next_time(version, toy, tmp_path):
    toy()
    with pytest.raises(PgpisError, match=f"broke off after 1000 of {len(BODY)} bytes") as told:
        fetch("toy", tmp_path, opener=Server(cut=1000, **version))
    assert told.value.hint.endswith("goes on from there")
    assert names(tmp_path) == PARTS
    server = Server(**version)
    [path] = fetch("toy", tmp_path, opener=server)
    assert server.asked == ["bytes=1000-"]
    assert path.read_bytes() == BODY
    assert names(tmp_path) == ["checksums.json", "toy/net.pth"]


@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize("versions", zip(VERSIONS, OTHERS, strict=True))
def test_two_versions_are_not_glued_together(versions, if_range, toy, tmp_path):
    toy()
    earlier, later = versions
    with pytest.raises(PgpisError, match="broke off"):
        fetch("toy", tmp_path, opener=Server(FIRST, cut=1000, **earlier))
    [path] = fetch("toy", tmp_path, opener=Server(SECOND, if_range=if_range, **later))
    assert path.read_bytes() == SECOND
    assert names(tmp_path) == ["checksums.json", "toy/net.pth"]


@pytest.mark.parametrize(
    "origin", [None, b"\xff", b"[]", b'{"url": 1}', b'{"url": "%s", "validator": 3}' % URL.encode()]
)
@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}, {"ETag": '"one\n two"'}])
def test_a_part_of_unknown_version_begins_anew(headers, origin, toy, tmp_path):
    toy()
    with pytest.raises(PgpisError, match="broke off") as told:
        fetch("toy", tmp_path, opener=Server(FIRST, cut=1000, **headers))
    assert told.value.hint.endswith("begins anew")
    if origin is not None:
        (tmp_path / PARTS[1]).write_bytes(origin)
    server = Server(SECOND)
    [path] = fetch("toy", tmp_path, opener=server)
    assert server.asked == [None]
    assert path.read_bytes() == SECOND


def test_a_part_from_another_address_begins_anew(toy, tmp_path):
    toy(url="https://example.org/former.pth")
    with pytest.raises(PgpisError, match="broke off"):
        fetch("toy", tmp_path, opener=Server(FIRST, cut=1000, ETag='"one"'))
    toy(sha256=hashlib.sha256(SECOND).hexdigest())
    server = Server(SECOND, ETag='"one"')
    [path] = fetch("toy", tmp_path, opener=server)
    assert server.asked == [None]
    assert path.read_bytes() == SECOND


@pytest.mark.parametrize("error", [TimeoutError("timed out"), ConnectionResetError("reset"), IncompleteRead(b"")])
def test_connection_lost_while_reading(error, toy, tmp_path):
    class Lost(Answer):
        def read(self, size=-1):
            if self.tell():
                raise error
            return super().read(1000)

    with pytest.raises(PgpisError, match="broke off") as told:
        fetch(toy(), tmp_path, opener=always(Lost(BODY, Content_Length=len(BODY))))
    assert "pgpis weights fetch toy" in told.value.hint
    assert names(tmp_path) == PARTS
    assert (tmp_path / "toy/net.pth.part").read_bytes() == BODY[:1000]


def test_without_network_the_user_is_told_what_to_do(toy, tmp_path):
    with pytest.raises(PgpisError, match="Name or service not known") as told:
        fetch(toy(), tmp_path, opener=no_network)
    assert URL in told.value.hint
    assert f"as {tmp_path / 'toy/net.pth'}" in told.value.hint
    assert f"pgpis weights fetch toy --folder {tmp_path}" in told.value.hint
    assert names(tmp_path) == []
    with pytest.raises(PgpisError) as told:
        fetch("face-antelopev2", tmp_path, accept_licence=True, opener=no_network)
    assert f"as {tmp_path / 'antelopev2.zip'}" in told.value.hint
    assert told.value.hint.endswith("--accept-licence'")


def test_other_answers_are_refused(toy, tmp_path):
    toy()

    def gone(request, timeout):
        raise urllib.error.HTTPError(request.full_url, 404, "Not Found", Message(), io.BytesIO())

    with pytest.raises(PgpisError, match="answered 404"):
        fetch("toy", tmp_path, opener=gone)
    with pytest.raises(PgpisError, match="a web page"):
        fetch("toy", tmp_path, opener=Server(b"<html>log in</html>", Content_Type="text/html; charset=utf-8"))
    with pytest.raises(PgpisError, match=r"sends on to http://example\.org"):
        fetch("toy", tmp_path, opener=always(Answer(BODY, url="http://example.org/net.pth")))
    with pytest.raises(PgpisError, match="not an http or https address"):
        fetch(toy(url="file:///etc/net.pth"), tmp_path, opener=must_not_open)
    assert names(tmp_path) == []


def test_licence_must_be_accepted(toy, tmp_path):
    toy(commercial=False)
    with pytest.raises(PgpisError, match=r"CC BY 4\.0") as told:
        fetch("toy", tmp_path, opener=must_not_open)
    assert "--accept-licence" in told.value.hint
    assert fetch("toy", tmp_path, accept_licence=True, opener=Server()) == [tmp_path / "toy/net.pth"]


def test_one_process_at_a_time(toy, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with place(tmp_path / "toy/net.pth.part", BODY[:10]).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(PgpisError, match="another process"):
            fetch(toy(), tmp_path, opener=must_not_open)
    assert (tmp_path / "toy/net.pth.part").read_bytes() == BODY[:10]


def test_folder_that_cannot_be_written(toy, tmp_path):
    place(tmp_path / "toy", b"a file, no folder")
    with pytest.raises(PgpisError, match=str(tmp_path / "toy")):
        fetch(toy(), tmp_path, opener=Server())


# zips

ANTELOPE = {"antelopev2/scrfd_10g_bnkps.onnx": b"finds", "antelopev2/glintr100.onnx": b"embeds"}


@pytest.mark.parametrize(
    ("name", "members", "expected"),
    [
        ("face-antelopev2", {"antelopev2/": b"", **ANTELOPE, "antelopev2/genderage.onnx": b"unused"}, ANTELOPE),
        (
            "face-buffalo_l",
            {"det_10g.onnx": b"finds", "w600k_r50.onnx": b"embeds", "1k3d68.onnx": b"unused"},
            {"buffalo_l/det_10g.onnx": b"finds", "buffalo_l/w600k_r50.onnx": b"embeds"},
        ),
        (
            "pose-body17",
            {"20230831/rtmpose_onnx/pipeline.json": b"{}", "20230831/rtmpose_onnx/end2end.onnx": b"poses"},
            {f"rtmpose/{POSE}": b"poses"},
        ),
    ],
)
def test_zip_becomes_the_catalogued_files(name, members, expected, tmp_path):
    paths = fetch(name, tmp_path, accept_licence=True, opener=Server(zip_of(members)))
    assert paths == [tmp_path / file for file in expected]
    assert {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in paths} == expected
    assert names(tmp_path) == sorted(["checksums.json", *expected])
    assert [state.state for state in states(name, tmp_path)] == ["ok"] * len(expected)


def link():
    info = zipfile.ZipInfo("antelopev2/glintr100.onnx")
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize(
    "members",
    [
        {**ANTELOPE, "../evil": b"x"},
        {**ANTELOPE, "a/../../evil": b"x"},
        {**ANTELOPE, "/etc/evil": b"x"},
        {**ANTELOPE, "..\\evil": b"x"},
        {**ANTELOPE, "C:/evil": b"x"},
        {"antelopev2/scrfd_10g_bnkps.onnx": b"finds", link(): b"/etc/passwd"},
        {"antelopev2/scrfd_10g_bnkps.onnx": b"finds"},
        {**ANTELOPE, "again/glintr100.onnx": b"which one"},
    ],
    ids=["up", "hidden up", "absolute", "backslash", "drive", "link", "file is missing", "file is there twice"],
)
def test_bad_zip_is_refused_whole(members, tmp_path):
    folder = tmp_path / "deep" / "weights"
    with pytest.raises(PgpisError):
        fetch("face-antelopev2", folder, accept_licence=True, opener=Server(zip_of(members)))
    assert names(tmp_path) == []


def test_damaged_zip_is_refused(tmp_path):
    packed = bytearray(zip_of(ANTELOPE))
    packed[packed.index(b"embeds")] ^= 1
    for body in (bytes(packed), b"no zip at all"):
        with pytest.raises(PgpisError, match="damaged zip"):
            fetch("face-antelopev2", tmp_path, accept_licence=True, opener=Server(body))
        assert names(tmp_path) == []


def test_zip_whose_entries_begin_before_it_is_damaged(tmp_path):
    packed = zip_of(ANTELOPE)
    end = packed.rindex(b"PK\x05\x06")
    position = int.from_bytes(packed[end + 16 : end + 20], "little") + 10_000
    body = packed[: end + 16] + position.to_bytes(4, "little") + packed[end + 20 :]
    with pytest.raises(PgpisError, match="damaged zip"):
        fetch("face-antelopev2", tmp_path, accept_licence=True, opener=Server(body))
    assert names(tmp_path) == []


def test_zip_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST_FILE", 3 << 20)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in ANTELOPE:
            bomb.writestr(name, bytes(5 << 20))
    assert len(packed.getvalue()) < 1 << 20
    with pytest.raises(PgpisError, match="has more than 3145728 bytes"):
        fetch("face-antelopev2", tmp_path, accept_licence=True, opener=Server(packed.getvalue()))
    assert names(tmp_path) == []


def test_a_download_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "LARGEST", 1000)
    with pytest.raises(PgpisError, match="gave more than 1000 bytes"):
        fetch("lpips-alexnet", tmp_path, opener=Server(bytes(2000)))
    assert names(tmp_path) == [], "it would be gone on with the next time"


def test_zip_put_there_by_hand_is_unpacked_without_network(tmp_path):
    place(tmp_path / "antelopev2.zip", zip_of(ANTELOPE))
    fetch("face-antelopev2", tmp_path, accept_licence=True, opener=must_not_open)
    assert names(tmp_path) == sorted(["antelopev2.zip", "checksums.json", *ANTELOPE])


def test_what_a_killed_process_had_unpacked_is_removed(tmp_path):
    """One process at a time unpacks a zip, and begins anew."""
    fcntl = pytest.importorskip("fcntl")
    by_hand = place(tmp_path / "antelopev2.zip", zip_of(ANTELOPE))
    place(tmp_path / ".pgpis-face-antelopev2/0", b"fin")
    with by_hand.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(PgpisError, match="another process is downloading or unpacking"):
            fetch("face-antelopev2", tmp_path, accept_licence=True, opener=must_not_open)
    assert (tmp_path / ".pgpis-face-antelopev2/0").read_bytes() == b"fin"
    fetch("face-antelopev2", tmp_path, accept_licence=True, opener=must_not_open)
    assert names(tmp_path) == sorted(["antelopev2.zip", "checksums.json", *ANTELOPE])


# checking


def test_flipped_byte_is_found_and_mended(toy, tmp_path):
    toy()
    [path] = fetch("toy", tmp_path, opener=Server())
    path.write_bytes(BODY[:500] + bytes([BODY[500] ^ 1]) + BODY[501:])
    reason = verify("toy", tmp_path)
    assert str(path) in reason
    assert "sha256" in reason
    path.write_bytes(BODY[:-1])
    assert f"{len(BODY) - 1} bytes, expected {len(BODY)}" in verify("toy", tmp_path)
    fetch("toy", tmp_path, opener=Server())
    assert verify("toy", tmp_path) is None
    assert path.read_bytes() == BODY


def test_files_put_there_by_hand(toy, tmp_path):
    toy(files=("toy/net.pth",))
    path = place(tmp_path / "net.pth", BODY)
    assert [state.state for state in states("toy", tmp_path)] == ["unknown checksum"]
    assert verify("toy", tmp_path) is None
    assert fetch("toy", tmp_path, opener=must_not_open) == [path]
    path.write_bytes(b"x" * len(BODY))
    assert "damaged" in verify("toy", tmp_path)


def test_published_checksum_needs_no_record(home):
    place(home / f".cache/torch/hub/checkpoints/{ALEXNET}", b"no AlexNet")
    assert "expected 7be5be79" in verify("lpips-alexnet")


def test_missing_file_is_a_reason(tmp_path):
    assert verify("lpips-alexnet", tmp_path) == f"{ALEXNET} is missing"


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": {"sha256": 1, "bytes": 2}}'])
def test_damaged_record_is_told(text, toy, tmp_path):
    toy()
    place(tmp_path / "toy/net.pth")
    (tmp_path / "checksums.json").write_text(text)
    with pytest.raises(PgpisError, match=r"checksums\.json is damaged"):
        verify("toy", tmp_path)


def test_progress_is_logged(toy, tmp_path, caplog):
    caplog.set_level("INFO", logger="pgpis")
    fetch(toy(), tmp_path, opener=Server())
    assert "CC BY 4.0" in caplog.text
    assert "toy: 10.2 kB" in caplog.text
