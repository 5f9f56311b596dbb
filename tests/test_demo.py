"""``make demo`` from the shipped weights, less of it: every picture is there, and better than the source."""

import re
import sys
from types import SimpleNamespace

import pytest

import demo
from pgpis.preprocess import run as preparing

PEOPLE, POSES = 2, 2


@pytest.mark.slow
@pytest.mark.usefixtures("drawing_here", "fast_inpainting")
def test_the_demo_makes_its_page(tmp_path, monkeypatch, capsys):
    """In this process: those that draw and that look at photographs have tests of their own."""
    out = tmp_path / "demo"
    started_here = SimpleNamespace(run=lambda words, **_: SimpleNamespace(returncode=demo.pgpis(words[3:])))
    monkeypatch.setattr(demo, "subprocess", started_here)
    monkeypatch.setattr(preparing, "run_local", preparing.run_here)
    monkeypatch.setattr(demo, "VIEWS", 1 + POSES)
    monkeypatch.setattr("sys.argv", ["demo.py", "--out", str(out), "--people", str(PEOPLE)])
    assert demo.main() == 0
    text = capsys.readouterr().out
    assert f"Open {out}/index.html" in text
    page = (out / "index.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img alt="" src="([^"]+)">', page)
    of_photographs = 1 + PEOPLE + 2 * len(demo.PHOTOGRAPHS) * PEOPLE + 2 * len(demo.PHOTOGRAPHS)
    assert len(pictures) == PEOPLE * (1 + 4 * POSES) + PEOPLE * 6 + of_photographs
    assert not [name for name in pictures if not (out / name).is_file()]
    assert all((out / name).is_file() for name in ("sheet.jpg", "photographs.jpg"))
    first = text[text.index(f"{PEOPLE * POSES} pairs:") :].splitlines()[1:5]
    psnr = {line.rsplit(maxsplit=6)[0].strip(): float(line.rsplit(maxsplit=6)[2]) for line in first}
    assert min(psnr["FPDM"], psnr["MCLD"]) > psnr["the source as it is"] + 2
    for edit in ("identity", "clothes"):
        lines = text[text.index(f"Another one's {edit}: {PEOPLE} edits") :].splitlines()[1:4]
        assert [line.rsplit(maxsplit=6)[0].strip() for line in lines][1:] == [
            "MCLD without the edit",
            "MCLD with the edit",
        ]


def demo_in(out, monkeypatch):
    """Run the demo as far as its first command, which fails."""
    monkeypatch.setattr(demo, "run", lambda *_, **__: sys.exit(5))
    monkeypatch.setattr("sys.argv", ["demo.py", "--out", str(out)])
    try:
        return demo.main()
    except SystemExit as stopped:
        return stopped.code


@pytest.mark.parametrize("name", ["thesis.tex", "index.html", "data/job.json"])
def test_a_folder_that_no_demo_has_made_is_left_alone(name, tmp_path, monkeypatch, capsys):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    assert demo_in(tmp_path, monkeypatch) == 2
    assert f"--out {tmp_path} is neither" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / "file").write_text("mine")
    assert demo_in(tmp_path / "file", monkeypatch) == 2
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_of_a_demo_is_made_anew(tmp_path, monkeypatch):
    """An empty one, one that a demo has begun, and one that an earlier version has made."""
    out = tmp_path / "new/demo"
    for _ in range(2):
        assert demo_in(out, monkeypatch) == 5
        assert [path.name for path in out.iterdir()] == [demo.MARK]
        (out / "fpdm").mkdir()
    old = tmp_path / "old"
    (old / "data").mkdir(parents=True)
    for name in ("index.html", "data/job.json", "sheet.jpg"):
        (old / name).touch()
    assert demo_in(old, monkeypatch) == 5
    assert [path.name for path in old.iterdir()] == [demo.MARK]
