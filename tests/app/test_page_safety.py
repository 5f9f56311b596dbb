"""What strangers may send to the page, and what stays closed to them."""

import asyncio
import errno
import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from starlette.formparsers import MultiPartException

from pgpis.app.bodies import MOST_JSON, UploadBody
from pgpis.app.desk import Desk
from pgpis.app.folder import PHOTOS, _lay_out
from pgpis.app.guard import ASKED
from pgpis.app.inputs import drawing_of
from pgpis.app.offers import Offer
from pgpis.app.poses import named_poses
from pgpis.app.predicting import Batches, check_at_once
from pgpis.app.results import shown
from pgpis.app.sessions import SECONDS_KEPT, SECONDS_TO_UPLOAD, Visitors
from pgpis.app.work import News
from pgpis.cli import main
from pgpis.cli.app import offers_of
from pgpis.errors import PgpisError
from pgpis.pictures.images import save_image
from pgpis.pictures.videos import FrameFiles, frame_count, write_video
from pgpis.studio.request import Drawing
from ports import free_port

pytestmark = [pytest.mark.enable_socket, pytest.mark.allow_hosts(["127.0.0.1", "localhost"])]
NAMED = next(iter(named_poses()))


def bomb():
    """PNG that says 60,000 x 60,000 pixels, and whose first 64 MB are there."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(2**20)) for _ in range(64)) + packer.flush()
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


HOSTILE = {
    "bomb.png": bomb(),
    "broken.jpg": None,  # the beginning of a picture
    "empty.png": b"",
    "drawing.svg.png": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "page.png": b"<!doctype html><script>alert(1)</script>",
    "film.gif.png": b"GIF89a" + bytes(200),
    "text.png": b"\x89PNG\r\n\x1a\n" + b"not a chunk" * 100,
    "pickle.png": b"\x80\x04\x95" + bytes(100),
    "program.exe": b"MZ" + bytes(100),
    "..%2f..%2fup.png": b"up",
    "<script>alert(1)<script>.png": b"<script>",
}


@pytest.fixture
def client(page):
    return Client(page, verbose=False)


def words(photo, **changes):
    """Return what ``/make`` is given."""
    pose = {"pose_from": "a named pose", "named": NAMED, "pose_photo": None, "skeleton": None, "fit_limbs": False}
    numbers = {"steps": 1, "guidance": None, "seed": 0, "pictures": 1, "height": 128, "width": 96}
    return list(({"photo": photo} | pose | {"model": "synth-fpdm"} | numbers | changes).values())


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pictures_get_a_message(client, people, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(HOSTILE[name] if HOSTILE[name] is not None else people[0].read_bytes()[:700])
    with pytest.raises(AppError) as caught:
        client.predict(*words(handle_file(str(path))), api_name="/make")
    message = str(caught.value)
    assert "Photo" in message or "photo" in message
    assert str(tmp_path) not in message
    assert "/tmp" not in message


def test_hostile_pictures_cost_no_memory(client, tmp_path):
    """A picture of 3.6 GB would be decoded within this process."""
    (tmp_path / "bomb.png").write_bytes(HOSTILE["bomb.png"])
    before = peak_memory()
    for _ in range(3):
        with pytest.raises(AppError, match="million"):
            client.predict(*words(handle_file(str(tmp_path / "bomb.png"))), api_name="/make")
    assert peak_memory() - before < 200 * 2**20


def peak_memory():
    text = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1])


@pytest.mark.parametrize(
    "skeleton",
    [
        {"points": [[0, 0, 1]] * 10**5, "width": 10, "height": 10},
        {"points": [[1e300, 0, 1]] * 18, "width": 10, "height": 10},
        {"width": -1, "height": 10, "points": []},
        "<script>",
        [[[[[]]]]],
        None,
        7,
    ],
    ids=lambda value: str(value)[:20],
)
def test_hostile_skeletons_get_a_message(client, people, skeleton):
    with pytest.raises(AppError, match=r"[Ss]keleton"):
        client.predict(*words(handle_file(str(people[0])), pose_from="a skeleton", skeleton=skeleton), api_name="/make")


def status_of(address, body=None, headers=None):
    request = urllib.request.Request(address, data=body, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "//etc/passwd", "../../../../etc/passwd", "%2e%2e/%2e%2e/%2e%2e/etc/passwd", "pyproject.toml"),
        *("http://example.com/", "https:/example.com", "file:///etc/passwd", "/proc/self/environ", "C:\\boot.ini"),
    ],
)
def test_no_other_file_can_be_read(page, path):
    code, content = status_of(f"{page}gradio_api/file={path}")
    assert code in (403, 404)
    assert b"root:" not in content


@pytest.mark.parametrize(
    "path",
    [
        *("file/http://{}/x", "file/https://{}/x", "file=http://{}/x", "proxy=http://{}/x", "FILE/http://{}/x"),
        *("%66ile/http:%2f%2f{}/x", "file%2fhttp://{}/x", "file=http%3a//{}/x", "file=http%253a%252f%252f{}/x"),
        *("file=//{}/x", "file=\\\\{}/x", "file=/http://{}/x", "/file/http://{}/x", "file//http://{}/x"),
        *("file/ftp://{}/x", "file=file://{}/x", "file/etc/passwd"),
    ],
)
def test_no_address_is_fetched_for_anybody(page, path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.2)
        code, content = status_of(f"{page}gradio_api/{path.format(f'127.0.0.1:{other.getsockname()[1]}')}")
        assert (code, content) == (403, b"Addresses are not fetched.")
        with pytest.raises(TimeoutError):
            other.accept()


def test_what_was_uploaded_can_be_seen(page, people):
    kind, path = {"content-type": "multipart/form-data; boundary=B"}, people[0]
    code, content = status_of(f"{page}gradio_api/upload", form(file_part(path.read_bytes())), kind)
    assert code == 200
    assert status_of(f"{page}gradio_api/file={json.loads(content)[0]}") == (200, path.read_bytes())


def file_part(content, name="files", filename="a.png"):
    return f'Content-Disposition: form-data; name="{name}"; filename="{filename}"'.encode(), content


def form(*parts, end=b"--B--\r\n"):
    return b"".join(b"--B\r\n" + header + b"\r\n\r\n" + content + b"\r\n" for header, content in parts) + end


TEXT = b'Content-Disposition: form-data; name="files"'


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (form((TEXT, bytes(10**5))), "boundary=B", 400),  # Gradio would keep it in memory
        (form(file_part(b"x"), file_part(b"x", name="other")), "boundary=B", 400),
        (form(file_part(b"x"), file_part(b"x", filename="..")), "boundary=B", 400),
        (form(file_part(b"x"), end=b""), "boundary=B", 400),
        (form(file_part(b"x"))[:-12], "boundary=B", 400),
        (form(*[file_part(b"x")] * 501), "boundary=B", 413),
        (form(file_part(bytes(2**23 + 1))), "boundary=B", 413),
        (form(file_part(b"x")), "boundary=B; charset=utf-16", 415),
        (form(file_part(b"x")), "", 415),
        (b"", "boundary=B", 400),
        (b"no form", "boundary=B", 400),
    ],
    ids=["text", "field", "name", "end", "cut", "many", "large", "charset", "boundary", "empty", "garbage"],
)
def test_uploads_are_whole_files_and_leave_nothing_else(page, body, kind, code):
    home = Path(os.environ["GRADIO_TEMP_DIR"])
    before = {*home.rglob("*")}
    kind = {"content-type": f"multipart/form-data; {kind}".rstrip("; ")}
    assert status_of(f"{page}gradio_api/upload", body, kind)[0] == code
    assert {*home.rglob("*")} <= before  # visitors of other tests may be leaving


def test_all_files_of_an_upload_have_a_limit_together():
    async def upload(most):
        chunks = [form(file_part(bytes(1000)))] * 2
        messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        messages[-1]["more_body"] = False
        receive = UploadBody(lambda: asyncio.sleep(0, messages.pop(0)), "multipart/form-data; boundary=B", 9, most)
        return [await receive(), await receive()]

    # a thread of its own: those that drive a browser leave a loop running in this one
    with ThreadPoolExecutor(1) as thread, pytest.raises(MultiPartException, match="maximum allowed size of 1500 bytes"):
        thread.submit(asyncio.run, upload(1500)).result()


def test_a_client_that_leaves_an_upload_leaves_nothing(page):
    home = Path(os.environ["GRADIO_TEMP_DIR"])
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n"
    with socket.create_connection(("127.0.0.1", int(page.rsplit(":", 1)[1].strip("/")))) as client:
        client.sendall(
            head + b"Content-Type: multipart/form-data; boundary=B\r\n\r\n" + form(file_part(b"x" * 99), end=b"")
        )
        wait_for(lambda: list(home.glob("tmp*")))
    wait_for(lambda: not list(home.glob("tmp*")))


def wait_for(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("route", ["run/upload", "api/upload/", "upload/upload", "call/upload"])
def test_no_other_route_may_send_as_much_as_an_upload(page, route):
    kind = {"content-type": "application/json"}
    code, _ = status_of(f"{page}gradio_api/{route}", b'{"fn_index": 0, "data": ["' + b"a" * MOST_JSON + b'"]}', kind)
    assert code == 413
    body = json.dumps({"fn_index": 0, "data": [{"path": "http://127.0.0.1/a.png"}]}).encode()
    assert status_of(f"{page}gradio_api/{route}", body, kind)[0] == 403


def call(page, photo):
    return answer_of(page, "make", [*words(photo), None])


def answer_of(page, endpoint, data):
    body = json.dumps({"data": data}).encode()
    code, content = status_of(f"{page}gradio_api/call/{endpoint}", body, {"content-type": "application/json"})
    if code != 200:
        return f"{code} {content}"
    event = json.loads(content)["event_id"]
    return status_of(f"{page}gradio_api/call/{endpoint}/{event}")[1].decode()


@pytest.fixture(scope="module")
def uploaded(page, people, tmp_path_factory):
    """A photo and a video as the server keeps them."""
    clip = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(clip, [FrameFiles((people[0],))] * 501)
    kind, files = {"content-type": "multipart/form-data; boundary=B"}, ((people[0], "a.png"), (clip, "clip.mp4"))
    body = form(*(file_part(path.read_bytes(), filename=name) for path, name in files))
    paths = json.loads(status_of(f"{page}gradio_api/upload", body, kind)[1])
    return [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]


def changed(usual, place, value):
    return [value if number == place else each for number, each in enumerate(usual)]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        *((4, value, "steps is") for value in (201, 0, "1", [], True, 1e9)),
        *((5, value, "guidance_scale is") for value in (31, -1, "1")),
        *((6, value, "seed is") for value in (-1, 2**32)),
        *((7, value, "pictures is") for value in (9, 0, None, "1")),
        *((0, value, "no photo of a person is chosen") for value in (None, [])),
        *((1, value, "no pose is chosen") for value in (None, [])),
        *((2, value, "there is no kind of poses") for value in (None, "anything", [])),
        *((3, value, "there is no model") for value in (None, [], {}, "other")),
        (1, 501, "501 pictures are more than the 500"),
    ],
)
def test_folder_takes_what_the_page_sends(page, uploaded, place, value, message):
    usual = [[uploaded[0]], [uploaded[0]], PHOTOS, "synth-fpdm", 1, None, 0, 1]
    value = [uploaded[0]] * value if value == 501 else value
    assert message in answer_of(page, "folder", changed(usual, place, value))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        *((2, value, "every is") for value in (0, 26, None, "5", 1.5)),
        (2, 1, "501 pictures are more than the 500"),
        *((4, value, "steps is") for value in (201, "1")),
        (5, 31, "guidance_scale is"),
        (6, -1, "seed is"),
    ],
)
def test_film_takes_what_the_page_sends(page, uploaded, place, value, message):
    usual = [uploaded[0], uploaded[1], 5, "synth-fpdm", 1, None, 0, None]
    assert message in answer_of(page, "film", changed(usual, place, value))


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["synth-fpdm"] * 2, "chosen twice"),
        *((value, "no model is chosen") for value in (None, [], 7, "synth-fpdm")),
        *(([value], "there is no model") for value in (None, [], "other")),
    ],
)
def test_compare_takes_each_model_once(page, uploaded, models, message):
    words = [uploaded[0], "a named pose", NAMED, None, None, False, models, 0, None]
    assert message in answer_of(page, "compare", words)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (1, None, "there is no pose from"),
        (1, [], "there is no pose from"),
        (2, None, "there is no pose"),
        (2, [], "pose"),
    ],
)
def test_poses_may_be_called_anything(page, uploaded, place, value, message):
    assert message in answer_of(page, "make", changed([*words(uploaded[0]), None], place, value))


@pytest.mark.parametrize(
    ("parts", "message"), [(7, "group"), (["upper"] * 2, "twice"), ([[]], "no group"), (None, "identity")]
)
def test_edit_takes_each_part_once(page, uploaded, parts, message):
    numbers = [1, None, 0, 1, 128, 96, None]
    words = [uploaded[0], uploaded[0], parts, "the photo", NAMED, "synth-mcld", *numbers]
    assert message in answer_of(page, "edit", words)


@pytest.mark.parametrize(
    "photo",
    [
        {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"path": "/etc/passwd"},
        {"path": "http://example.com/a.png", "meta": {"_type": "gradio.FileData"}},
        {"path": None, "url": "data:image/png;base64,AAAA", "meta": {"_type": "gradio.FileData"}},
        {"path": str(Path(__file__).parents[2] / "docs/images/demo.jpg"), "meta": {"_type": "gradio.FileData"}},
        "/etc/passwd",
        7,
    ],
)
def test_only_what_was_uploaded_is_taken(page, photo):
    answer = call(page, photo)
    assert "complete" not in answer
    assert "root:" not in answer


def test_large_and_deep_requests_are_refused(page):
    kind = {"content-type": "application/json"}
    code, _ = status_of(f"{page}gradio_api/call/make", b'{"data": ["'.ljust(3 * MOST_JSON, b"a"), kind)
    assert code == 413  # and not a closed connection
    code, _ = status_of(f"{page}gradio_api/call/make", b"[" * 10**6, kind)
    assert code in (400, 403, 422)
    assert status_of(page)[0] == 200


def test_browsers_are_told_to_ask_nobody_else(page):
    with urllib.request.urlopen(page, timeout=20) as answer:
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        text = answer.read().decode()
    assert '"analytics_enabled":false' in text.replace(" ", "")


def test_a_visitor_leaves_nothing_behind(tmp_path):
    visitors = Visitors(tmp_path)
    upload = tmp_path / ("a" * 64) / "anna at the beach.png"
    upload.parent.mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(upload)
    first, second = visitors.of("one"), visitors.of("two")
    assert visitors.of("one") is first
    for visitor in (first, second):
        copy = visitor.picture({"path": str(upload)}, "Photo")
        assert copy.read_bytes() == upload.read_bytes()
        assert "anna" not in str(copy)
    stop = first.begin()[1]
    visitors.leave("one")
    assert stop.is_set()
    assert not first.folder.exists()
    assert upload.exists(), "the other visitor has the same picture"
    visitors.leave("two")
    assert not upload.exists()


def test_a_visitor_who_leaves_takes_nothing_that_another_has_just_uploaded(tmp_path):
    """The server keeps equal files once; the second visitor has not asked for anything yet."""
    visitors, upload = Visitors(tmp_path), tmp_path / ("b" * 64) / "photo.jpg"
    upload.parent.mkdir()
    for session in ("first", "second"):
        Image.new("RGB", (8, 8)).save(upload)
        os.utime(upload, ns=(time.time_ns(), time.time_ns()))
        if session == "first":
            visitors.of(session).picture({"path": str(upload)}, "Photo")
    visitors.leave("first")
    assert visitors.of("second").picture({"path": str(upload)}, "Photo").is_file()
    visitors.leave("second")
    assert not upload.exists()


def test_a_visitor_who_leaves_takes_no_example(tmp_path):
    """The server keeps the copy of an example that Gradio made once for all visitors."""
    visitors, example = Visitors(tmp_path), tmp_path / "example-1.jpg"
    cached = tmp_path / ("c" * 64) / example.name
    Image.new("RGB", (8, 8)).save(example)
    cached.parent.mkdir()
    cached.write_bytes(example.read_bytes())
    assert visitors.of("one").lend(example).read_bytes() == example.read_bytes()
    visitors.of("two").picture({"path": str(cached)}, "Photo")
    visitors.leave("two")
    assert cached.is_file()


def test_a_visitor_who_leaves_takes_no_picture_of_the_page(tmp_path):
    """The named poses lie in the page's own folder, and everybody sees them."""
    visitors, pose = Visitors(tmp_path), tmp_path / "poses/Standing.png"
    pose.parent.mkdir()
    Image.new("RGB", (8, 8)).save(pose)
    visitors.of("one").picture({"path": str(pose)}, "Photo")
    visitors.leave("one")
    assert pose.is_file()


def test_half_a_copy_is_not_kept(tmp_path, monkeypatch):
    """The next attempt, with space on the disk, makes it whole."""
    visitor, photo = Visitors(tmp_path).of("one"), tmp_path / "photo.jpg"
    photo.write_bytes(b"a whole picture")

    def full(source, copy):
        Path(copy).write_bytes(source.read_bytes()[:5])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfile", full)
        with pytest.raises(PgpisError, match="free some space"):
            visitor.keep(photo, "photo.jpg")
    assert [path for path in visitor.folder.rglob("*") if path.is_file()] == []
    assert visitor.keep(photo, "photo.jpg").read_bytes() == b"a whole picture"


def test_what_failed_uploads_leave_is_removed(tmp_path):
    visitors, old, new = Visitors(tmp_path), tmp_path / "tmpold", tmp_path / "tmpnew"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, time.time() - SECONDS_TO_UPLOAD - 1))
    visitors.of("one")
    assert not old.exists()
    assert new.exists(), "it is still arriving"


def test_a_visitor_who_waits_for_long_is_there(tmp_path):
    visitors = Visitors(tmp_path)
    visitor = visitors.of("one")
    with visitor.at_work():
        folder, stop = visitor.begin()
        visitor.seen -= SECONDS_KEPT + 1
        visitors.of("two")
        assert folder.is_dir()
        assert not stop.is_set()
    visitors.of("two")
    assert folder.is_dir(), "there is an hour to look at the result"
    visitor.seen -= SECONDS_KEPT + 1
    visitors.of("two")
    assert stop.is_set()
    assert not visitor.folder.exists()


@pytest.mark.parametrize("how", ["program", "browser", "stopped before", "stopped in the queue"])
def test_what_ends_early_says_why(tmp_path, how):
    visitor = Visitors(tmp_path).of("one")
    request = SimpleNamespace(
        headers={"origin": "http://127.0.0.1"} if how == "browser" else {},
        state=SimpleNamespace(**{ASKED: time.monotonic()}),
    )
    if how == "stopped in the queue":
        visitor.end()

    def job(_folder, tell):
        while True:
            tell(News("busy"))
            time.sleep(0.01)

    news = shown(visitor, request, job, 2)
    if how != "stopped in the queue":
        assert "busy" in next(news)[0]
    if how == "stopped before":
        visitor.end()
    if how != "stopped in the queue":
        visitor.begin()
    if how == "program":
        with pytest.raises(gr.Error, match="another request of the same client took its place"):
            list(news)
    else:
        assert list(news)[-1] == ["<p>Stopped</p>", None]


def test_what_is_made_for_a_visitor_who_has_left_is_removed(tmp_path):
    visitors = Visitors(tmp_path)
    visitor = visitors.of("one")
    with visitor.at_work(), visitor.at_work():
        with visitor.at_work():
            visitors.leave("one")
            assert not visitor.folder.exists()
            save_image(Image.new("RGB", (8, 8)), visitor.conditions / "texture/photo.png")  # the thread is not through
        assert not visitor.folder.exists()
        save_image(Image.new("RGB", (8, 8)), visitor.conditions / "texture/photo.png")
    assert not visitor.folder.exists()
    assert not list((tmp_path / "visitors").iterdir())


def test_what_is_made_of_a_visitors_photos_stays_in_their_folder():
    """``pgpis predict`` may be killed, and would leave a folder of its own behind."""
    desk = Desk(
        Future(), Visitors(Path()), {"FPDM": Offer("synth-fpdm", 5, 1.0, 256, 176)}, Future(), Batches(), Path()
    )
    words = desk.words("FPDM", Drawing())
    assert Path(words[words.index("--save-conditions") + 1]).parts == ("conditions",)


def test_an_empty_side_is_the_pipelines_own():
    offer = Offer("synth-fpdm", 5, 1.0, 256, 176)
    for height, width, size in ((None, None, None), (256, 176, None), (512, None, (512, 176)), (None, 96, (256, 96))):
        assert drawing_of(offer, None, None, 0, 1, height, width).size == size
    with pytest.raises(PgpisError, match="height is 0"):
        drawing_of(offer, None, None, 0, 1, 0, None)
    with pytest.raises(PgpisError, match="go together"):
        drawing_of(Offer("hub/id"), None, None, 0, 1, 512, None)


def test_models_have_names_of_their_own_without_folders(tmp_path):
    """Every export ends in ``/pipeline``, and no name may lead out of a visitor's folder."""
    for folder in ("a/pipeline", "b/pipeline", "c/b/pipeline", "one"):
        (tmp_path / folder).mkdir(parents=True)
    given = [f"{tmp_path}/{name}" for name in ("a/pipeline", "b/pipeline", "c/b/pipeline", "one", "one/", "a/pipeline")]
    offers = offers_of((*given, "synth-fpdm", "synth-fpdm", "hub/pipeline"))
    names = ["pipeline (a)", "pipeline (b)", "pipeline (b) 2", "one", "synth-fpdm", "pipeline (hub)"]
    assert list(offers) == names
    assert [offer.pipeline for offer in offers.values()] == [*given[:4], "synth-fpdm", "hub/pipeline"]


def test_files_of_a_folder_keep_their_own_names(tmp_path):
    visitor, uploads = Visitors(tmp_path).of("one"), []
    for number, name in enumerate(("x-3.jpg", "x.jpg", "x!.jpg", "x.png")):
        path = tmp_path / f"{number:064x}" / name
        path.parent.mkdir()
        Image.new("RGB", (8, 8), (60 * number, 0, 0)).save(path)
        uploads.append({"path": str(path)})
    _lay_out(visitor, uploads, tmp_path / "laid", [".jpg", ".png"])
    assert len({path.read_bytes() for path in (tmp_path / "laid").iterdir()}) == 4


def test_more_than_the_page_makes_at_once_is_refused(tmp_path):
    check_at_once(500)
    with pytest.raises(PgpisError, match="501 pictures are more than the 500"):
        check_at_once(501)
    save_image(Image.new("RGB", (16, 16)), tmp_path / "frame.png")
    write_video(tmp_path / "clip.mp4", [FrameFiles((tmp_path / "frame.png",))] * 7)
    assert frame_count(tmp_path / "clip.mp4") == 7


def test_results_of_a_visitor_do_not_pile_up(tmp_path):
    visitor = Visitors(tmp_path).of("one")
    folders = [visitor.begin()[0] for _ in range(20)]
    assert folders[-1].exists()
    assert sum(folder.exists() for folder in folders) < 10


def test_wrong_options_are_told(capsys, monkeypatch):
    for option, message in (
        ("--auth=anna", "USER:PASSWORD"),
        ("--port=0", "--port"),
        ("--max-upload=0", "--max-upload"),
    ):
        assert main(["app", option]) == 2
        assert message in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["app"]) == 2
    assert 'pip install "pgpis[app]"' in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_serves_without_torch_until_it_is_told_to_stop(tmp_path):
    """The page is there before torch is loaded."""
    code = (
        "import sys, pgpis.app.server, pgpis.app.page; from pgpis.cli import console\n"
        "sys.exit('torch is loaded') if 'torch' in sys.modules else console()"
    )
    port = free_port()
    environment = os.environ | {"TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    environment.pop("GRADIO_TEMP_DIR", None)
    command = [sys.executable, "-c", code, "app", "--port", str(port), "--auth", "anna:horse"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        assert f"http://127.0.0.1:{port}" in line
        assert status_of(f"http://127.0.0.1:{port}/config")[0] == 401
        time.sleep(0.5)
        process.terminate()
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 143
    assert "Traceback" not in rest
    assert not list(tmp_path.glob("pgpis-app-*")), "files are left behind"
