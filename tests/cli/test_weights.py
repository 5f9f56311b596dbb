"""``pgpis weights``: the table, several downloads of which one fails, damaged files; exit codes."""

import io
import urllib.error
from email.message import Message

import pytest

from pgpis.cli import main, weights
from pgpis.weight_files import CATALOGUE, WeightFile, catalogue, fetch

ALEXNET = "alexnet-owt-7be5be79.pth"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty home, two toy entries and a server that has the first only."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("PGPIS_WEIGHTS", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    toys = {
        name: WeightFile(name, (f"{name}.pth",), f"https://example.org/{name}.pth", "CC0", commercial, "tests")
        for name, commercial in (("one", True), ("gone", None), ("bound", False))
    }
    for module in (catalogue, weights):
        monkeypatch.setattr(module, "CATALOGUE", {**CATALOGUE, **toys})

    def opener(request, timeout):
        if "gone" in request.full_url:
            raise urllib.error.URLError("no route to host")
        answer = io.BytesIO(b"a net")
        answer.status, answer.url, answer.headers = 200, request.full_url, Message()
        answer.headers["Content-Length"] = "5"
        return answer

    monkeypatch.setitem(fetch.__kwdefaults__, "opener", opener)
    return tmp_path / "home"


def table(text):
    return {line.split()[0]: line for line in text.splitlines() if line.strip()}


def test_list_says_licence_use_and_place(home, capsys):
    for file in ("det_500m.onnx", "w600k_mbf.onnx"):
        path = home / ".insightface/models/buffalo_s" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (home / ".insightface/models/buffalo_l").mkdir()
    (home / ".insightface/models/buffalo_l/det_10g.onnx").touch()
    assert main(["weights", "list"]) == 0
    rows = table(capsys.readouterr().out)
    assert rows.keys() >= CATALOGUE.keys()
    assert rows["densepose-r50"].split()[-1] == "missing"
    assert "CC BY-SA 3.0" in rows["densepose-r50"]
    assert " yes " in rows["densepose-r50"]
    assert " not stated " in rows["facexlib-parsing"]
    assert " no " in rows["face-buffalo_s"]
    assert rows["face-buffalo_s"].endswith(str(home / ".insightface/models/buffalo_s"))
    assert rows["face-buffalo_l"].endswith("incomplete, missing buffalo_l/w600k_r50.onnx")


def test_one_failure_does_not_stop_the_others(tmp_path, capsys):
    folder = tmp_path / "weights"
    assert main(["weights", "fetch", "gone", "bound", "one", "--folder", str(folder)]) == 1
    text = capsys.readouterr().out
    assert f"one: {folder / 'one.pth'}" in text
    assert (folder / "one.pth").read_bytes() == b"a net"
    failures = text.partition("2 failed:")[2]
    assert "no route to host" in failures
    assert "https://example.org/gone.pth" in failures
    assert "--accept-licence" in failures


def test_fetch_with_the_licence_accepted(home, capsys):
    assert main(["weights", "fetch", "bound", "--accept-licence"]) == 0
    assert capsys.readouterr().out == f"bound: {home / '.cache/pgpis/weights/bound.pth'}\n"


@pytest.mark.parametrize("verb", ["fetch", "verify"])
def test_unknown_name_names_the_nearest(verb, home, capsys):
    assert main(["weights", verb, "one", "lpips-alexnt"]) == 2
    assert "unknown weights 'lpips-alexnt'; did you mean 'lpips-alexnet'" in capsys.readouterr().err
    assert not home.exists(), "a mistyped name is told before anything is downloaded"


def test_verify_tells_every_state(tmp_path, capsys):
    folder = tmp_path / "weights"
    main(["weights", "fetch", "one", "--folder", str(folder)])
    (folder / "gone.pth").write_bytes(b"put there by hand")
    capsys.readouterr()
    assert main(["weights", "verify", "--folder", str(folder)]) == 0, "what is not there is not damaged"
    rows = table(capsys.readouterr().out)
    assert "  ok  " in rows["one"]
    assert "  unknown checksum  " in rows["gone"]
    assert "  missing  " in rows["lpips-alexnet"]
    (folder / "one.pth").write_bytes(b"b net")
    assert main(["weights", "verify", "--folder", str(folder)]) == 1
    assert "  damaged  " in table(capsys.readouterr().out)["one"]


@pytest.mark.parametrize(("name", "code"), [("one", 0), ("lpips-alexnet", 1)])
def test_verify_fails_where_a_named_one_is_missing(name, code, home, capsys):
    main(["weights", "fetch", "one"])
    assert main(["weights", "verify", name]) == code


def test_fetch_needs_a_name(capsys):
    assert main(["weights", "fetch"]) == 2
    assert "names" in capsys.readouterr().err
