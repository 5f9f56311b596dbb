"""What the command answers before any heavy import, and how it tells errors."""

import contextlib
import errno
import importlib
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pgpis
from pgpis.cli import GROUPS, VERBS, main
from pgpis.cli.options import options_of
from pgpis.cli.synonyms import SYNONYMS


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_verb(words, capsys):
    assert main(words) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {verb} " in text for verb in VERBS)


@pytest.mark.parametrize(
    ("words", "same"),
    [
        ("help synth", "synth --help"),
        ("synth help", "synth --help"),
        ("help synth edit", "synth edit --help"),
        ("synth help edit", "synth edit --help"),
        ("data help", "data --help"),
        ("help fit", "fit --help"),
    ],
)
def test_help_of_a_verb_has_two_spellings(words, same, capsys):
    said = []
    for command in (words, same):
        with contextlib.suppress(SystemExit):
            main(command.split())
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != ""


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pgpis {pgpis.__version__}\n"


def test_recipes_have_a_short_name_in_every_verb():
    takers = []
    for verb, (place, _) in VERBS.items():
        module, _, name = place.partition(":")
        for option in options_of(getattr(importlib.import_module(module), name)):
            if option.flag == "--config" and option.hint == tuple[str, ...]:
                assert option.more.get("short") == ("-c",), verb
                takers.append(verb)
    assert {"predict", "cache", "bench model", "bench data", "data pack"} <= set(takers), takers


def test_mistyped_verb_names_the_nearest_one(capsys):
    assert main(["predcit"]) == 2
    assert capsys.readouterr().err.startswith("pgpis: error: unknown verb 'predcit'; did you mean 'predict'?")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["train", "--config", "fpdm.yaml"], "fit"),
        (["generate"], "predict"),
        (["Eval"], "evaluate"),
        (["download", "lpips-alexnet"], "weights fetch"),
        (["weights", "download"], "fetch"),
        (["check", "data"], "data check"),
        (["configs", "print"], None),
    ],
)
def test_words_of_other_programs_are_understood(words, meant, capsys):
    assert main(words) == 2
    assert meant is None or f"; did you mean '{meant}'?" in capsys.readouterr().err


def test_synonyms_name_what_there_is():
    assert set(SYNONYMS.values()) <= {*VERBS, *GROUPS}
    assert not SYNONYMS.keys() & VERBS.keys()


def test_every_verb_of_the_table_exists_and_says_what_its_options_are():
    for target, _ in VERBS.values():
        module, _, name = target.partition(":")
        function = getattr(importlib.import_module(module), name)
        assert all(option.text for option in options_of(function)), target


def answers(unwanted, *commands):
    """Run commands one after the other in a fresh process; refuse one that imports what it need not."""
    code = (
        "import sys; from pgpis.cli import main\n"
        "for command in sys.argv[1:]:\n"
        "    try: main(command.split())\n"
        "    except SystemExit: pass\n"
        f"    if heavy := {unwanted} & set(sys.modules): sys.exit(f'{{command}}: {{heavy}}')\n"
    )
    return subprocess.run([sys.executable, "-c", code, *commands], check=False, capture_output=True, text=True)


def test_quick_answers_import_nothing_heavy():
    answer = answers({"torch", "jsonargparse", "lightning", "numpy"}, "--help", "--version", "fti")
    assert answer.returncode == 0, answer.stderr


def test_help_is_quick():
    """Torch and OpenCV take seconds to import."""
    verbs = list(VERBS)
    unwanted = {"torch", "lightning", "jsonargparse", "numpy", "cv2", "PIL", "gradio"}
    answer = answers(unwanted, *(f"{verb} --help" for verb in verbs))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert [verb for verb in verbs if f"usage: pgpis {verb} " not in answer.stdout] == []


WRONG = {
    "fit": "--config is missing",
    "fit --config fdpm.yaml": "did you mean 'fpdm.yaml'?",
    "test --confg fpdm.yaml": "no such key 'confg'; did you mean 'config'?",
    "fit --config fpdm.yaml stray": "no such key 'stray'",
    "predict --out o --source a --poses b": "--source; did you mean '--sources'?",
    "predict --out o --trainer.devices 1 stray": "unrecognized arguments: stray",
    "predict --out o --sources . --poses . --steps -3": "--steps is -3",
    "predict --out o --sources . --poses . --guidance-scale nan": "--guidance-scale is nan",
    "predict --out o --sources nope.jpg --poses .": "--sources: file or folder not found: nope.jpg",
    "predict --out o --sources . --driving nope.mp4 --every 2": "--driving: file or folder not found: nope.mp4",
    "predict --out o --like nope.png": "--like needs --sources",
    "predict --out o --config nope.yaml": "config not found: nope.yaml",
    "predict --out o --pipeline synth-mdcl": "did you mean 'synth-mcld'?",
    "serve --pipeline synth-mdcl": "did you mean 'synth-mcld'?",
    "app --pipeline synth-mdcl": "did you mean 'synth-mcld'?",
    "bench synth --root . --out o --models A=synth-mdcl": "--models: 'synth-mdcl' is neither a folder or file",
    "bench model --pipeline synth-mdcl": "did you mean 'synth-mcld'?",
    "bench model --config nope.yaml": "config not found: nope.yaml",
    "bench memory --config nope.yaml": "config not found: nope.yaml",
    "bench model --config fpdm.yaml --runn 3": "--runn; did you mean '--runs'?",
    "cache --out o --config nope.yaml": "config not found: nope.yaml",
    "data pack --out o --config nope.yaml": "config not found: nope.yaml",
    "data check nope": "folder not found: nope",
    "prepare nope": "folder not found: nope",
    "convert fpdm --out o --diffusion page.md": "page.md is not a checkpoint",
}


def test_what_is_wrong_by_itself_is_told_before_torch_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("page.md").write_text("a page")
    answer = answers({"torch", "lightning", "jsonargparse", "diffusers"}, *WRONG)
    assert answer.returncode == 0, answer.stderr
    told = answer.stderr.split("pgpis: error: ")[1:]
    assert [command for command, text in zip(WRONG, told, strict=True) if WRONG[command] not in text] == []
    assert [path.name for path in tmp_path.iterdir()] == ["page.md"]


@pytest.mark.slow
def test_a_process_that_loads_a_model_says_nothing_of_seeds_devices_and_torchao():
    code = "from pgpis.cli.models import load_task; load_task('synth-fpdm')"
    answer = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_missing_recipe_names_the_nearest_one(capsys):
    assert main(["fit", "--config", "fdpm.yaml"]) == 2
    message = capsys.readouterr().err
    assert "config not found: fdpm.yaml; did you mean 'fpdm.yaml'?" in message
    assert "Traceback" not in message


def test_configs_lists_and_prints(capsys):
    assert main(["configs"]) == 0
    listing = capsys.readouterr().out
    assert all(len(line.split(maxsplit=1)) == 2 for line in listing.splitlines())
    assert main(["configs", "show", "smoke/fpdm.yaml"]) == 0
    assert "class_path: FPDMTask" in capsys.readouterr().out


def test_working_directory_comes_first(tmp_path, monkeypatch, capsys):
    (tmp_path / "fpdm.yaml").write_text("# mine\n")
    monkeypatch.chdir(tmp_path)
    assert main(["configs", "show", "fpdm.yaml"]) == 0
    assert capsys.readouterr().out == "# mine\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["data", "chek", "x"], ["chek", "did you mean 'check'"]),
        (["data", "check"], ["root", "pgpis data"]),
        (["data"], ["check or link", "pgpis data --help"]),
        (["weights", "fetch", "x", "--foldr=f"], ["--foldr=f", "did you mean '--folder'"]),
        (["synth", "edt"], ["edt", "did you mean 'edit'"]),
        (["evaluate", "--generated=a", "--reference=b", "--protocol=fdpm"], ["fdpm", "did you mean 'fpdm'"]),
        (["data", "check", "nowhere"], ["folder not found: nowhere"]),
        (["convert", "fpdm", "--out", "o"], ["diffusion"]),
        (["convert", "fpdm", "--out", "o", "--diffusion", "missing.ckpt"], ["missing.ckpt"]),
        (["predict", "--config", "fpdm.yaml"], ["--out"]),
        (["configs", "shwo"], ["shwo"]),
    ],
)
def test_wrong_words_of_a_plain_verb_are_one_message(words, expected, capsys):
    assert main(words) == 2
    message = capsys.readouterr().err
    assert message.startswith("pgpis: error:")
    assert message.count("\n") <= 2
    assert all(part in message for part in expected), message


def test_data_check_lists_what_is_missing(toy_root, tmp_path, monkeypatch, capsys):
    root = tmp_path / "data"
    shutil.copytree(toy_root, root)
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", str(root)]) == 0
    lost = min((root / "pose").rglob("*.txt"))
    lost.unlink()
    assert main(["data", "check", str(root)]) == 1
    assert lost.name in (tmp_path / "data-problems.txt").read_text()
    assert lost.stem in capsys.readouterr().out
    shutil.copy(toy_root / lost.relative_to(root), lost)
    (tmp_path / "told.txt").write_text("an earlier check's")
    assert main(["data", "check", str(root), "--report", str(tmp_path / "told.txt")]) == 0
    assert (tmp_path / "told.txt").read_text() == ""
    assert (tmp_path / "data-problems.txt").exists()
    assert main(["data", "check", str(root)]) == 0
    assert not (tmp_path / "data-problems.txt").exists()


def test_data_check_needs_no_place_for_its_listing(toy_root, tmp_path, monkeypatch, capsys, caplog):
    """The working directory may be one that cannot be written to."""
    root = tmp_path / "data"
    shutil.copytree(toy_root, root)
    (tmp_path / "data-problems.txt").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", str(root)]) == 0
    min((root / "pose").rglob("*.txt")).unlink()
    assert main(["data", "check", str(root)]) == 1
    assert "key points missing" in capsys.readouterr().out
    assert caplog.text.count("cannot write data-problems.txt: Is a directory; --report FILE") == 2
    (tmp_path / "data-problems.txt").rmdir()

    def refused(path, **_):
        raise OSError(errno.EROFS, "from below", str(path))

    monkeypatch.setattr(Path, "unlink", refused)
    assert main(["data", "check", str(toy_root)]) == 0
    assert "Read-only" not in capsys.readouterr().err


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["configs", "--help", "--version", "configs show fpdm.yaml", "synth --help"])
def test_output_that_nobody_reads_is_a_quiet_end_and_a_full_disk_one_message(words, unbuffered):
    command = [sys.executable, "-m", "pgpis", *words.split()]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as unread, Path("/dev/full").open("wb") as full:  # noqa: PTH123
        answers = [
            subprocess.run(command, check=False, stdout=out, stderr=subprocess.PIPE, env=environment, text=True)
            for out in (unread, full)
        ]
    assert (answers[0].returncode, answers[0].stderr) == (141, "")
    assert answers[1].returncode == 2
    assert answers[1].stderr.startswith("pgpis: error: cannot write the output")
    assert answers[1].stderr.count("\n") == 2


def test_a_broken_pipe_of_something_else_is_told(monkeypatch, capsys):
    def fail():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("pgpis.cli.recipes.configs", fail)
    assert main(["configs"]) == 1
    assert "BrokenPipeError" in capsys.readouterr().err


def test_a_recipe_that_cannot_be_read_is_named(tmp_path, capsys):
    (tmp_path / "bad.yaml").write_bytes(b"model: \xff\n")
    assert main(["configs", "show", str(tmp_path / "bad.yaml")]) == 2
    assert "bad.yaml: line 1 is not UTF-8" in capsys.readouterr().err
    for words in (["configs", "show", "a" * 300], ["fit", "--config", "a" * 300]):
        assert main(words) == 2
        assert f"cannot use {'a' * 300}: File name too long" in capsys.readouterr().err


@pytest.mark.parametrize("code", [errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.ENOSPC])
def test_an_error_of_the_file_system_is_one_message_with_the_file(code, monkeypatch, capsys):
    def fail():
        raise OSError(code, os.strerror(code), "out/a.png")

    monkeypatch.setattr("pgpis.cli.recipes.configs", fail)
    assert main(["configs"]) == 2
    message = capsys.readouterr().err
    done = "write" if code == errno.ENOSPC else "use"  # who may not read a folder has not tried to write
    assert f"cannot {done} out/a.png: {os.strerror(code)}" in message
    assert "hint:" in message


def test_debug_shows_details_of_this_run_alone(monkeypatch, capsys):
    levels = []
    monkeypatch.setattr("pgpis.cli.recipes.configs", lambda: levels.append(logging.getLogger("pgpis").level))
    for words in (["configs", "--debug"], ["configs"]):
        main(words)
        levels.append(logging.getLogger("pgpis").level)
    assert levels == [logging.DEBUG, logging.INFO, logging.INFO, logging.INFO]
