"""Verbs that write a folder: a second run is refused, and what cannot be written is one line."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from pgpis import files, refusals
from pgpis.cli import main
from pgpis.files import locked, replacing_folder
from pgpis.refusals import UnwritableError
from pgpis.weight_files import locate


@pytest.fixture
def words(toy_root, tmp_path):
    """By verb, the words that write to ``out``."""
    photos = tmp_path / "out"
    photos.mkdir()
    Image.new("RGB", (8, 8)).save(photos / "anna.png")
    return {
        "synth": ["synth", "--people=2", "--textures=none", f"--out={photos}"],
        "synth edit": ["synth", "edit", f"--from={toy_root}", "--kind=paint", "--split=all", f"--out={photos}"],
        "data link": ["data", "link", str(toy_root), "--to=nted", f"--out={photos}"],
        "weights fetch": ["weights", "fetch", "pose-detector", f"--folder={photos}"],
        "prepare": ["prepare", str(photos), "--conditions=pose"],
        "bench synth": ["bench", "synth", f"--root={toy_root}", f"--out={photos}"],
        "bench pairs": ["bench", "pairs", f"--root={toy_root}", f"--out={photos}"],
    }


@pytest.mark.parametrize(
    "verb", ["synth", "synth edit", "data link", "weights fetch", "prepare", "bench synth", "bench pairs"]
)
def test_a_second_run_in_a_folder_is_refused(verb, words, tmp_path, capsys):
    with locked(tmp_path / "out"):
        assert main(words[verb]) == 2
    told = capsys.readouterr().err
    assert f"another run is writing to {tmp_path / 'out'}" in told
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".pgpis.lock", "anna.png"]


@pytest.mark.parametrize("verb", ["synth", "synth edit", "data link", "weights fetch", "bench synth"])
def test_a_file_in_the_place_of_the_folder_is_one_line(verb, words, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([word.replace(f"{tmp_path}/out", f"{tmp_path}/file/out") for word in words[verb]]) == 2
    told = capsys.readouterr().err
    assert f"cannot write {tmp_path}/file/out" in told
    assert len(told.strip().splitlines()) == 2


def test_what_fetch_would_record_is_locked_too(words, tmp_path, capsys):
    """Weights that were put there by hand: nothing is downloaded, but their checksums are written."""
    out = tmp_path / "out"
    for name in locate("pose-detector", out):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"net")
    with locked(out):
        assert main(words["weights fetch"]) == 2
    assert "another run is writing" in capsys.readouterr().err
    assert not (out / "checksums.json").exists()
    assert main(words["weights fetch"]) == 0
    with locked(out):  # nothing is left to write
        assert main(words["weights fetch"]) == 0


def test_links_on_a_full_disk(words, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("pathlib.Path.symlink_to", full)
    assert main(words["data link"]) == 2
    assert "No space left on device\n  hint: free some space" in capsys.readouterr().err


def test_links_to_what_has_been_moved_are_made_anew(toy_root, tmp_path, capsys):
    first, second, out = tmp_path / "first", tmp_path / "second", tmp_path / "out"
    shutil.copytree(toy_root, first)
    command = ["data", "link", str(first), "--to", "pcdm", "--out", str(out)]
    assert main(command) == 0
    links = [path for path in out.rglob("*") if path.is_symlink()]
    assert main(command) == 0
    assert f"0 links made, {len(links)} there already" in capsys.readouterr().out
    first.rename(second)
    assert not any(path.exists() for path in links)
    command[2] = str(second)
    assert main(command) == 0
    assert f"{len(links)} links made, 0 there already" in capsys.readouterr().out
    assert all(path.resolve().is_relative_to(second) for path in links)
    links[0].unlink()
    links[0].write_bytes(b"somebody's own")
    assert main(command) == 2
    assert f"{links[0]} is there already, and no link" in capsys.readouterr().err
    assert links[0].read_bytes() == b"somebody's own"


def test_a_name_that_cannot_be_linked_costs_itself(words, toy_root, monkeypatch, capsys):
    link = type(toy_root).symlink_to
    calls = []

    def odd(path, target):
        calls.append(path)
        if len(calls) == 1:
            raise ValueError("embedded null byte")
        link(path, target)

    monkeypatch.setattr("pathlib.Path.symlink_to", odd)
    assert main(words["data link"]) == 1
    assert "embedded null byte" in capsys.readouterr().out
    assert len(calls) > 1


def test_what_writes_by_itself_says_a_full_disk_in_words(tmp_path, monkeypatch):
    """safetensors has no error number, and PyTorch not even words."""
    with pytest.raises(UnwritableError, match="No space left"), files.replacing(tmp_path / "a.safetensors"):
        raise ValueError('Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: "No space" })')
    monkeypatch.setattr(refusals, "LEAST_SPACE", 1 << 60)
    with pytest.raises(UnwritableError, match="No space left"), files.replacing(tmp_path / "a.ckpt"):
        raise RuntimeError("unexpected pos 64 vs 0")
    assert not list(tmp_path.iterdir())


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    def write(name):
        with replacing_folder(tmp_path / name) as folder:
            np.save(folder / "a.npy", np.zeros(3))
            assert name == "whole" or not (tmp_path / name).exists()
            if name == "half":
                raise KeyError

    write("whole")
    with pytest.raises(KeyError):
        write("half")
    with pytest.raises(files.PgpisError, match=r"cannot write .*whole"):
        write("whole")
    assert [path.name for path in tmp_path.rglob("*")] == ["whole", "a.npy"]
