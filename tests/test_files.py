"""Files that are written whole or not at all, and folders that one job has for itself."""

import contextlib
import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pgpis.errors import PgpisError
from pgpis.files import (
    append_bytes,
    file_name,
    files_below,
    locked,
    refuse_unwritable,
    remove_unfinished,
    replacing,
    replacing_folder,
    resolved,
    write_bytes,
    write_text,
)


def test_a_file_is_replaced_when_the_block_succeeds(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "first")
    with replacing(path) as temporary:
        temporary.write_text("second")
        assert path.read_text() == "first"
    assert path.read_text() == "second"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]


def test_folders_that_are_links_are_listed_once_a_link(tmp_path):
    """A link to a folder around it leads nowhere, one that leads nowhere is listed as the file that it may be."""
    for name in ("root/b/2", "root/a", "elsewhere/deep/1"):
        write_text(tmp_path / name, name)
    for link, target in {
        "root/anna": "../elsewhere",
        "root/berta": "../elsewhere/deep",
        "root/b/root": "..",
        "root/b/all": "../..",
        "root/c": "nowhere",
        "root/self": "self",
        "elsewhere/back": "../elsewhere",
    }.items():
        (tmp_path / link).symlink_to(target)
    listed = files_below(tmp_path / "root")
    assert listed == sorted(listed)
    names = [path.relative_to(tmp_path / "root").as_posix() for path in listed]
    assert names == ["a", "anna/deep/1", "b/2", "b/all/elsewhere/deep/1", "berta/1", "c", "self"]


def test_hidden_files_and_folders_are_left_out_where_asked_below_the_folder_alone(tmp_path):
    root = tmp_path / ".home"
    for name in ("a", ".b", ".Trash-1000/files/a", "c/.d/e", "c/f"):
        write_text(root / name, name)
    assert files_below(root, hidden=False) == [root / "a", root / "c/f"]
    assert len(files_below(root)) == 5


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file_or_of_the_one_that_is_replaced(mask, tmp_path):
    code = f"""
from pathlib import Path
from pgpis.files import replacing_folder, write_text
home = Path({str(tmp_path)!r})
write_text(home / "new", "")
(home / "old").touch(mode=0o640)
write_text(home / "old", "")
with replacing_folder(home / "folder"):
    pass
"""
    subprocess.run([sys.executable, "-c", code], check=True, umask=mask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"new": 0o666 & ~mask, "old": 0o640 & ~mask, "folder": 0o777 & ~mask}


def test_the_content_is_on_the_disk_before_the_name_changes(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    write_text(path, "first")
    seen = []
    monkeypatch.setattr(os, "fsync", lambda number: seen.append((os.fstat(number).st_size, path.read_text())))
    write_text(path, "the second")
    assert seen == [(len("the second"), "first")]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "first")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "first"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_no_more_is_named_with_the_way_on(tmp_path, code):
    path = tmp_path / "file.txt"
    with pytest.raises(PgpisError, match=r"cannot write .*file\.txt") as told, replacing(path):
        raise OSError(code, "from below")
    assert told.value.hint
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(PgpisError, match=r"cannot write .*out"):
        write_bytes(tmp_path / "out" / "picture.png", b"")


def test_a_name_of_the_longest_length_leaves_room_for_the_temporary_file(tmp_path):
    write_text(tmp_path / ("n" * 251 + ".txt"), "fits")
    with pytest.raises(PgpisError, match="too long"):
        write_text(tmp_path / ("n" * 252 + ".txt"), "does not")


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("mine", "nothing", "full"):
        with locked(tmp_path / name):
            if name == "full":
                write_text(tmp_path / name / "picture.png", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "mine"]
    assert (tmp_path / "full/picture.png").exists()


def test_a_refusal_leaves_no_lock_in_a_folder_of_the_users(tmp_path):
    (tmp_path / "walk.txt").write_text("")
    for _ in range(2):
        with pytest.raises(PgpisError, match="among"), locked(tmp_path):
            raise PgpisError("the output is among the inputs")
        assert [path.name for path in tmp_path.iterdir()] == ["walk.txt"]
    with locked(tmp_path):
        pass
    with pytest.raises(PgpisError, match="other settings"), locked(tmp_path):
        raise PgpisError("other settings")
    assert (tmp_path / ".pgpis.lock").exists()  # an earlier run's


def test_a_folder_is_locked_for_one_job(tmp_path):
    child = "import sys; from pathlib import Path; from pgpis.files import locked\nwith locked(Path(sys.argv[1])): pass"
    with locked(tmp_path / "out"):
        second = subprocess.run(
            [sys.executable, "-c", child, tmp_path / "out"], capture_output=True, text=True, check=False
        )
    assert "another run is writing to" in second.stderr
    assert subprocess.run([sys.executable, "-c", child, tmp_path / "out"], check=False).returncode == 0


def test_what_a_kill_left_is_removed(tmp_path):
    with replacing(tmp_path / "file.txt") as temporary:
        left = temporary.with_name(temporary.name + ".left")
        left.write_text("half")
    remove_unfinished(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("name", ["../../anna", "/anna", "..\\anna", "an\0na", ".."])
def test_names_lead_into_no_other_folder(tmp_path, name):
    path = tmp_path / file_name(name, ".png")
    path.touch()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["anna", "\u5fae" * 85, "\u5fae" * 84 + "ab", "x" * 300, "caf\udce9" * 60])
def test_names_fit_into_a_folder(tmp_path, name):
    names = {file_name(f"{name}{ending}", ".png") for ending in ("", "a", "b")}
    assert len({each.casefold() for each in names}) == 3
    for each in names:
        assert each.endswith(".png")
        (tmp_path / each).touch()


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for content in ("first", "second"):
        with replacing_folder(tmp_path / "model", overwrite=True) as folder:
            (folder / content).write_text(content)
    assert [file.name for file in (tmp_path / "model").iterdir()] == ["second"]
    with pytest.raises(PgpisError, match="cannot write"), replacing_folder(tmp_path / "model"):
        pass
    with pytest.raises(KeyError), replacing_folder(tmp_path / "model", overwrite=True):
        raise KeyError
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["model", "model/second"]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_link_to_a_folder_stays_and_its_folder_is_replaced(tmp_path, overwrite):
    place = tmp_path / "other-disk/models"
    place.mkdir(parents=True)
    if overwrite:
        (place / "old").touch()
    link = tmp_path / "pipeline"
    link.symlink_to("other-disk/models")
    with replacing_folder(link, overwrite=overwrite) as folder:
        assert folder.parent == place.parent
        (folder / "new").touch()
    assert link.readlink() == Path("other-disk/models")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "other-disk",
        "other-disk/models",
        "other-disk/models/new",
        "pipeline",
    ]


def test_a_link_to_a_file_is_replaced_and_its_file_stays(tmp_path):
    """What is prepared anew in a folder of ``pgpis data link`` is not written into the data set it was linked from."""
    (tmp_path / "map.png").write_bytes(b"of the data set")
    (tmp_path / "link.png").symlink_to("map.png")
    write_bytes(tmp_path / "link.png", b"own")
    assert not (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "map.png").read_bytes() == b"of the data set"


def test_a_folder_that_could_not_be_replaced_is_told_before_it_is_made(tmp_path, monkeypatch):
    refuse_unwritable(tmp_path / "deep/model")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("mounted")
    (tmp_path / "mounted").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path / "mounted")
    for name, reason in {"file/model": "a file is in the place", "link": "choose a folder below it"}.items():
        with pytest.raises(PgpisError, match=rf"cannot write [\s\S]*{reason}"):
            refuse_unwritable(tmp_path / name)
        with pytest.raises(PgpisError, match=reason), replacing_folder(tmp_path / name):
            pytest.fail("the work would be lost")


def test_links_in_a_circle_lead_to_themselves(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert resolved(tmp_path / "a").parent == tmp_path


def test_what_is_added_is_added_whole(tmp_path, monkeypatch):
    """A disk that is nearly full takes a part, and says it is full at the next."""
    path = tmp_path / "table.csv"
    usual = Path.open

    def slow(path, *arguments, **options):
        file = usual(path, *arguments, **options)
        return contextlib.closing(SimpleNamespace(write=lambda content: file.write(content[:3]), close=file.close))

    monkeypatch.setattr(Path, "open", slow)
    append_bytes(path, b"one line\n")
    append_bytes(path, b"another\n")
    monkeypatch.undo()
    assert path.read_bytes() == b"one line\nanother\n"
