"""What the service accepts and refuses before a worker hears of it; the worker is a stand-in."""

import asyncio
import io
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from hostile_pictures import encoded, png
from pgpis.errors import PgpisError
from pgpis.pictures.uv_texture import PART_GROUPS
from pgpis.pipelines.limits import LARGEST_SEED
from pgpis.pipelines.shipped import SHIPPED
from pgpis.service.app import create_app
from pgpis.service.jobs import Answer, RefusedError
from pgpis.service.settings import Limits, ServiceSettings
from pgpis.studio.request import MOST_SEED, Drawing
from pgpis.studio.uploads import is_local

PICTURE = encoded(Image.new("RGB", (64, 96), "grey"), "JPEG")
POINTS = b"1 2\n" * 18
LIMITS = Limits(max_bytes=300_000, max_pixels=100_000, max_steps=20, max_pictures=2, max_waiting=1)


class Service:
    """The application, and the jobs that reached the workers."""

    def __init__(self, *, error=None, workers=1, **settings):
        self.jobs = []
        self.error = error

        async def ask(job):
            self.jobs.append(pickle.loads(pickle.dumps(job)))
            if self.error:
                raise self.error
            return Answer(
                status=200, body=b"PNG", media_type="image/png", model=job.model, drawn_together=3, seconds=1.5
            )

        settings = ServiceSettings(limits=LIMITS, **settings)
        settings.check()
        self.app = create_app(settings, ask, lambda: workers, 1)
        self.client = TestClient(self.app, raise_server_exceptions=False)

    def post(self, files=None, headers=None, **fields):
        files = {"source": PICTURE, "pose": POINTS} if files is None else files
        named = {name: (f"../../{name}.exe", content) for name, content in files.items()}
        return self.client.post("/v1/pictures", files=named, data=fields, headers=headers)

    def metric(self, name):
        lines = self.client.get("/metrics").text.splitlines()
        return {line.rpartition(" ")[0]: float(line.split()[-1]) for line in lines if line.startswith(name)}


@pytest.fixture
def service():
    return Service()


def test_form_becomes_a_job(service, tmp_path):
    files = {"source": PICTURE, "driving": PICTURE, "identity": PICTURE, "clothes_upper": PICTURE}
    fields = {"steps": 3, "guidance_scale": "2.5", "seed": 7, "pictures": 2, "height": 128, "width": 96}
    answer = service.post(files, model="synth-mcld", retarget="true", seen="1", **fields)
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "image/png", b"PNG")
    (job,) = service.jobs
    assert job.model == "synth-mcld"
    assert job.drawing == Drawing(steps=3, guidance_scale=2.5, seed=7, pictures=2, size=(128, 96))
    assert job.retarget
    assert job.as_json
    assert job.wants_seen
    request = job.lay_out(tmp_path)
    assert request.driving
    assert request.source == tmp_path / "source.jpg"
    assert request.clothes == (("upper", tmp_path / "clothes3.jpg"),)
    assert {path.name for path in tmp_path.iterdir()} == {
        "source.jpg",
        "driving.jpg",
        "identity.jpg",
        "clothes3.jpg",
    }, "no name of a client is a name on disk"


def photos(*contents):
    """Files of a request about a person of several photographs."""
    return [*(("source", ("me.jpg", content)) for content in contents), ("pose", ("pose.txt", POINTS))]


def test_fields_in_the_address_are_not_passed_over(service):
    files = {"source": ("me.jpg", PICTURE), "pose": ("pose.txt", POINTS)}
    answer = service.client.post("/v1/pictures?steps=3", files=files)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == "'steps' is in the address, expected in the form"
    assert not service.jobs


def test_a_source_that_is_given_again_is_of_the_same_person(service, tmp_path):
    contents = PICTURE, encoded(Image.new("RGB", (64, 96), "red"), "PNG"), PICTURE, PICTURE
    assert service.client.post("/v1/pictures", files=photos(*contents)).status_code == 200
    request = service.jobs[0].lay_out(tmp_path)
    assert [path.name for path in (request.source, *request.further)] == [
        "source.jpg",
        "source_2.png",
        "source_3.jpg",
        "source_4.jpg",
    ]
    assert tuple(path.read_bytes() for path in (request.source, *request.further)) == contents


@pytest.mark.parametrize(
    ("contents", "status", "message"),
    [
        ([PICTURE] * 5, 422, "source: there are 5 pictures of the person, expected at most 4"),
        ([PICTURE, b""], 422, "source 2 is empty"),
        ([PICTURE, PICTURE, b"<svg/>"], 415, "source 3 is not a PNG, JPEG or WebP picture"),
        ([PICTURE, png(400, 400)], 413, "source 2 has 400 x 400 pixels, expected at most 100,000"),
        ([PICTURE, png(60_000, 60_000)], 413, "pixels"),
        ([PICTURE, b"\x89PNG\r\n\x1a\n" + bytes(300_000)], 413, "the request has more than 300,000 bytes"),
    ],
)
def test_further_photographs_are_refused_as_the_first(service, contents, status, message):
    answer = service.client.post("/v1/pictures", files=photos(*contents))
    assert (answer.status_code, message in answer.json()["error"]["message"]) == (status, True), answer.text
    assert not service.jobs


def test_what_is_left_out_is_as_the_pipeline_says(service):
    assert service.post(steps="", seed="").status_code == 200
    (job,) = service.jobs
    assert job.model == "synth-fpdm"
    assert job.drawing == Drawing()
    assert not job.as_json


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (POINTS, ".txt"),
        (b"\xef\xbb\xbf-1 -1\r\n", ".txt"),
        (b' {"people": []}', ".json"),
        (encoded(Image.new("RGB", (64, 96)), "PNG"), ".png"),
        (encoded(Image.new("RGB", (64, 96)), "WEBP"), ".png"),  # else no model would take it for a map
    ],
)
def test_kind_of_a_pose_is_told_by_its_content(service, content, suffix):
    assert service.post({"source": PICTURE, "pose": content}).status_code == 200
    assert service.jobs[0].files["pose"].suffix == suffix


FIELDS = [
    ({"steps": 0}, "steps"),
    ({"steps": 21}, "steps is 21, expected a whole number from 1 to 20"),
    ({"steps": "ten"}, "steps is 'ten'"),
    ({"steps": "1e9999"}, "steps"),
    ({"guidance_scale": "nan"}, "guidance_scale"),
    ({"guidance_scale": 31}, "guidance_scale"),
    ({"seed": -1}, "seed"),
    ({"seed": 2**32}, "seed"),
    ({"pictures": 3}, "pictures is 3"),
    ({"height": 100, "width": 96}, "height is '100'"),
    ({"height": 4096, "width": 96}, "height"),
    ({"height": 128}, "height and width go together"),
    ({"retarget": "maybe"}, "retarget"),
    ({"retarget": True}, "retarget goes with driving, not with pose"),
    ({"format": "svg"}, "format"),
    ({"format": "png", "pictures": 2}, "do not fit into one PNG"),
    ({"model": "synth-fdpm"}, "did you mean 'synth-fpdm'"),
    ({"model": "../../etc/passwd"}, "there is no model"),
    ({"stepz": 3}, "did you mean 'steps'"),
    ({"clothes_upper": "x"}, "expected a file"),
    ({"source": "x"}, "source is a text"),
    ({"<script>\0": "x"}, "there is no field"),
]


@pytest.mark.parametrize(("fields", "message"), FIELDS)
def test_wrong_fields_are_named(service, fields, message):
    files = {"pose": POINTS} if "source" in fields else None
    answer = service.post(files, **fields)
    assert answer.status_code == 422
    assert message in answer.json()["error"]["message"]
    assert not service.jobs


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
BOMB = png(60_000, 60_000)
FILES = [
    ({"pose": POINTS}, 422, "source is missing"),
    ({"source": PICTURE}, 422, "both are missing"),
    ({"source": PICTURE, "pose": POINTS, "driving": PICTURE}, 422, "both are given"),
    (
        {"source": PICTURE, "pose": POINTS, "source_2": PICTURE},
        422,
        "there is no file 'source_2'; did you mean 'source'",
    ),
    ({"source": PICTURE, "pose": POINTS, "hat": PICTURE}, 422, "there is no file 'hat'"),
    ({"source": PICTURE, "pose": POINTS, "steps": PICTURE}, 422, "steps is a file"),
    ({"source": PICTURE, "pose": POINTS, "clothes_../../x": PICTURE}, 422, "names no group"),
    ({"source": PICTURE, "pose": POINTS, "clothes_": PICTURE}, 422, "names no group"),
    ({"source": SVG, "pose": POINTS}, 415, "source is not a PNG, JPEG or WebP"),
    ({"source": encoded(Image.new("RGB", (64, 96)), "BMP"), "pose": POINTS}, 415, "source is not a PNG, JPEG or WebP"),
    ({"source": encoded(Image.new("RGB", (64, 96)), "GIF"), "pose": POINTS}, 415, "source is not a PNG, JPEG or WebP"),
    ({"source": b"%PDF-1.7", "pose": POINTS}, 415, "source is not a PNG, JPEG or WebP"),
    ({"source": b"", "pose": POINTS}, 422, "source is empty"),
    ({"source": PICTURE, "pose": SVG}, 415, "pose is not"),
    ({"source": PICTURE, "pose": b""}, 422, "pose is empty"),
    ({"source": PICTURE, "pose": b"\0" * 100}, 415, "pose is not"),
    ({"source": BOMB, "pose": POINTS}, 413, "pixels"),
    ({"source": png(400, 400), "pose": POINTS}, 413, "source has 400 x 400 pixels, expected at most 100,000"),
    ({"source": PICTURE, "pose": BOMB}, 413, "pixels"),
    ({"source": b"\x89PNG\r\n\x1a\n" + b"\xff" * 50, "pose": POINTS}, 415, "or its first bytes are damaged"),
    ({"source": PICTURE, "pose": b"[" * 400_000}, 413, "the request has more than 300,000 bytes"),
]


@pytest.mark.parametrize(("files", "status", "message"), FILES, ids=range(len(FILES)))
def test_wrong_files_are_named(service, files, status, message):
    answer = service.post(files)
    error = answer.json()["error"]
    assert (answer.status_code, message in error["message"]) == (status, True), error
    assert not service.jobs
    assert service.metric("pgpis_requests_total") == {f'pgpis_requests_total{{status="{status}"}}': 1}


def test_long_points_are_refused(monkeypatch):
    monkeypatch.setattr("pgpis.service.forms.MOST_BYTES", 1000)
    service = Service()
    answer = service.post({"source": PICTURE, "pose": b"[" * 1001})
    assert answer.status_code == 413
    assert "one person" in answer.json()["error"]["message"]


def test_other_bodies_are_refused(service):
    post = service.client.post
    assert post("/v1/pictures", json={"source": "x"}).status_code == 415
    assert post("/v1/pictures").status_code == 415
    assert post("/v1/pictures", data={"steps": 3}).status_code == 415
    headers = {"content-type": "multipart/form-data"}
    assert post("/v1/pictures", content=b"x", headers=headers).status_code == 400
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert post("/v1/pictures", content=b"garbage", headers=headers).status_code == 400
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nx\r\n--b--\r\n'
    for charset in ("undefined", "idna", "hex", "rot13", "unheard-of"):
        headers = {"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
        assert post("/v1/pictures", content=form, headers=headers).status_code in (400, 422), charset
    many = [("source", (f"{number}.jpg", PICTURE)) for number in range(100)]
    assert post("/v1/pictures", files=many).status_code == 400
    twice = [("source", ("a.jpg", PICTURE)), ("pose", ("p.txt", POINTS)), ("pose", ("q.txt", POINTS))]
    assert "given twice" in post("/v1/pictures", files=twice).json()["error"]["message"]
    assert post("/v1/pictures", files={"source": PICTURE}, data={"model": "m" * 2000}).status_code == 400
    assert not service.jobs


def test_body_without_a_length_is_cut_off(service):
    """A client may say nothing of the size, and go on for ever."""
    sent = 0

    def body():
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="source"; filename="a.jpg"\r\n\r\n'
        while sent < 5_000_000:
            sent += 50_000
            yield b"\0" * 50_000

    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = service.client.post("/v1/pictures", content=body(), headers=headers)
    assert answer.status_code == 413


def test_client_that_leaves_is_counted(service):
    """Nobody reads the answer, but the place in the queue is free again."""
    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    scope = {"type": "http", "method": "POST", "path": "/v1/pictures", "query_string": b"", "headers": headers}
    messages = iter([{"type": "http.request", "body": b"--b", "more_body": True}, {"type": "http.disconnect"}])
    sent = []

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    with ThreadPoolExecutor(1) as thread:  # this one may have a browser's event loop
        thread.submit(asyncio.run, service.app(scope, receive, send)).result()
    assert sent[0]["status"] == 499
    assert service.metric("pgpis_requests_total") == {'pgpis_requests_total{status="499"}': 1}
    assert service.app.state.metrics.open == 0


def test_client_that_leaves_waits_for_no_picture(service):
    request = httpx.Request("POST", "http://x/v1/pictures", files={"source": ("a", PICTURE), "pose": ("b", POINTS)})
    headers = [(name.lower(), value) for name, value in request.headers.raw]
    scope = {"type": "http", "method": "POST", "path": "/v1/pictures", "query_string": b"", "headers": headers}
    sent, ended = [], []

    async def ask(_job):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    app = create_app(ServiceSettings(limits=LIMITS), ask, lambda: 1, 1)

    async def leave():
        messages = iter([{"type": "http.request", "body": request.read()}, {"type": "http.disconnect"}])

        async def receive():
            return next(messages)

        async def send(message):
            sent.append(message)

        await asyncio.wait_for(app(scope, receive, send), 10)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, leave()).result()
    assert sent[0]["status"] == 499
    assert ended
    assert app.state.metrics.open == 0


def test_errors_of_addresses_are_json(service):
    for method, path, status in (("GET", "/nothing", 404), ("GET", "/v1/pictures", 405), ("GET", "/../x", 404)):
        answer = service.client.request(method, path)
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "hint"}


def test_key_is_asked_for_before_anything_is_read():
    service = Service(api_key="secret")
    for headers in ({}, {"X-API-Key": "wrong"}, {"X-API-Key": "sécret".encode()}, {"Authorization": "Bearer secre"}):
        answer = service.post(headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert service.client.get("/metrics", headers=headers).status_code == 401
    assert service.client.get("/health").status_code == 200
    assert service.post(headers={"X-API-Key": "secret"}).status_code == 200
    assert service.post(headers={"Authorization": "Bearer secret"}).status_code == 200
    assert len(service.jobs) == 2


def test_too_many_are_sent_away(service):
    with service.app.state.metrics.under_way(LIMITS.max_waiting):
        refused = service.post()
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert service.post().status_code == 200
    assert len(service.jobs) == 1


@pytest.mark.parametrize(
    ("error", "status"), [(RefusedError(504, "no picture"), 504), (ValueError("secret of the service"), 500)]
)
def test_failures_are_told_and_counted(error, status):
    service = Service(error=error)
    answer = service.post()
    assert answer.status_code == status
    assert "secret" not in answer.text
    assert service.metric("pgpis_requests_total") == {f'pgpis_requests_total{{status="{status}"}}': 1}
    assert service.metric("pgpis_requests_under_way") == {"pgpis_requests_under_way": 0}


def test_drawings_are_counted_by_model(service):
    service.post()
    service.post(model="synth-mcld")
    assert service.metric("pgpis_batch_size_sum") == {
        'pgpis_batch_size_sum{model="synth-fpdm"}': 3,
        'pgpis_batch_size_sum{model="synth-mcld"}': 3,
    }
    assert service.metric("pgpis_drawing_seconds_sum")['pgpis_drawing_seconds_sum{model="synth-fpdm"}'] == 1.5
    assert service.metric("pgpis_workers_ready") == {"pgpis_workers_ready": 1}


def test_health_tells_whether_somebody_can_draw():
    for workers, status in ((0, 503), (1, 200)):
        answer = Service(workers=workers).client.get("/health")
        assert answer.status_code == status
        assert answer.json()["workers"] == {"ready": workers, "all": 1}


def test_openapi_names_the_form(service):
    schema = service.client.get("/openapi.json").json()
    operation = schema["paths"]["/v1/pictures"]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    names = {"source", "pose", "driving", "identity", "model", "steps", "guidance_scale", "seed", "pictures", "height"}
    names |= {"width", "retarget", "format", "seen", *(f"clothes_{group}" for group in PART_GROUPS)}
    assert set(form["properties"]) == names
    assert all(field["description"] and field["type"] for field in form["properties"].values())
    assert form["properties"]["source"]["items"] == {"type": "string", "format": "binary"}
    assert form["properties"]["source"]["maxItems"] == 4
    assert form["properties"]["steps"]["maximum"] == 20
    assert form["properties"]["model"]["enum"] == ["synth-fpdm", "synth-mcld"]
    assert form["properties"]["format"]["enum"] == ["png", "json"]
    assert {"200", "401", "413", "415", "422", "503"} <= set(operation["responses"])
    json.dumps(schema)


def test_page_needs_nobody_else(service):
    for path in ("/docs", "/"):
        page = service.client.get(path, headers={"Host": "pictures.local:9000"})
        assert "http://pictures.local:9000/v1/pictures" in page.text
        assert page.headers["content-type"].startswith("text/html")
        assert "guidance_scale" in page.text
        assert "64 to 1024, multiples of 16" in page.text
        assert "<script" not in page.text
        assert "https://" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]


def test_answering_process_does_without_torch():
    """It starts in a second, and its memory is left to the workers."""
    code = "import sys, pgpis.cli.serve, pgpis.service.server; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_seeds_are_those_of_a_task():
    assert MOST_SEED == LARGEST_SEED


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pipeline": ("a=x", "a=y")}, "two models are called 'a'"),
        ({"pipeline": ("ä/ö=x",)}, "names no model"),
        ({"pipeline": ("a=",)}, "names no model"),
        ({"port": 70_000}, "--port"),
        ({"workers": 0}, "--workers"),
        ({"max_batch": 0}, "--max-batch"),
        ({"batch_timeout": 400}, "--batch-timeout"),
        ({"api_key": ""}, "API key"),
        ({"limits": Limits(max_steps=999)}, "--max-steps"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(PgpisError, match=message):
        ServiceSettings(**options).check()


def test_models_have_names():
    assert ServiceSettings().models() == {name: name for name in SHIPPED}
    settings = ServiceSettings(pipeline=("run/pipeline", "mine=run/other", "b.safetensors"))
    assert settings.models() == {"pipeline": "run/pipeline", "mine": "run/other", "b": "b.safetensors"}
    assert [is_local(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0")] == [
        True,
        True,
        True,
        False,
    ]


def test_random_bytes_never_fail_the_service(service):
    """Whatever is sent, the answer is a picture or a refusal."""
    random = np.random.default_rng(0)
    starts = (b"", PICTURE[:40], BOMB[:30], b"{", b"RIFF\0\0\0\0WEBPVP8 ", b"\x89PNG\r\n\x1a\n")
    for number in range(60):
        content = starts[number % len(starts)] + random.bytes(int(random.integers(1, 3000)))
        answer = service.post({"source": content, "pose": io.BytesIO(content).read()})
        assert answer.status_code in (200, 413, 415, 422)
