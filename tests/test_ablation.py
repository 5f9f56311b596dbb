"""The script that runs all ablations takes no result for that of other words."""

import argparse
import json

import pytest

import ablation


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Runs the script for A2 with stand-ins for its commands: ``started("--real")`` returns exit code and verbs."""
    monkeypatch.chdir(tmp_path)

    def start(*words):
        verbs = []

        def run(verb, *command):
            verbs.append(verb)
            (folder,) = (word.partition("=")[2] for word in command if str(word).startswith("--trainer.default_root"))
            results = tmp_path / folder / ("test/metrics.json" if verb == "test" else "vae/config.json")
            results.parent.mkdir(parents=True)
            results.write_text(json.dumps({"results": {"recall_at_1": 0.5}}))

        monkeypatch.setattr(ablation, "run", run)
        monkeypatch.setattr("sys.argv", ["ablation.py", "--out", "out", "--root", "data", "--only", "A2", *words])
        return ablation.main(), verbs

    return start


def test_what_is_done_is_not_run_again(started, tmp_path):
    assert started("--steps", "3") == (0, ["fit", "fit", "test"])
    assert started("--steps", "3", "--root", str(tmp_path / "data"), "--out", str(tmp_path / "out")) == (0, [])
    assert "smoke size" in (tmp_path / "out/ablation.md").read_text()


def test_the_test_is_of_this_runs_checkpoint_though_a_run_that_was_stopped_left_one(tmp_path, monkeypatch):
    commands = []

    def run(*words):
        commands.append(words)
        if words[0] == "test":
            (tmp_path / "a2/test").mkdir()
            (tmp_path / "a2/test/metrics.json").write_text('{"results": {}}')

    monkeypatch.setattr(ablation, "run", run)
    (tmp_path / "a2/checkpoints").mkdir(parents=True)
    (tmp_path / "a2/checkpoints/last.ckpt").write_bytes(b"of a run that was stopped")
    row = next(row for row in ablation.rows(tmp_path) if row.name == "A2")
    ablation.measure(row, argparse.Namespace(out=tmp_path, root=tmp_path / "data", real=False, steps=3))
    assert [words[0] for words in commands] == ["fit", "test"]
    assert commands[1][-2:] == ("--ckpt_path", "last")  # of several, that of the run that was last


@pytest.mark.parametrize("words", [["--real", "--steps", "3"], ["--steps", "4"], ["--steps", "3", "--root", "other"]])
def test_a_result_of_other_words_is_refused(started, tmp_path, capsys, words):
    started("--steps", "3")
    before = (tmp_path / "out/ablation.md").read_text()
    assert started(*words) == (2, [])
    said = capsys.readouterr().err
    assert "out/a2 was made with other words" in said
    assert "rm -r out/a2" in said
    assert (tmp_path / "out/ablation.md").read_text() == before


@pytest.mark.parametrize("steps", ["0", "-1"])
def test_numbers_of_steps_that_train_nothing_or_for_ever_are_refused(started, capsys, steps):
    assert started("--steps", steps) == (2, [])
    assert f"--steps is {steps}, expected" in capsys.readouterr().err


def test_a_result_of_unknown_words_is_refused(started, tmp_path, capsys):
    started()
    (tmp_path / "out/a2/words.json").unlink()
    assert started() == (2, [])
    assert "or by an earlier version" in capsys.readouterr().err


def test_the_autoencoder_is_of_these_words_as_well(started, capsys):
    started("--steps", "3")
    assert started("--steps", "4", "--only", "A3") == (2, [])
    assert "out/autoencoder was made with other words" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["a3/fusion_embedder", "autoencoder/vae"])
def test_a_result_of_weights_that_were_trained_anew_is_refused(started, tmp_path, capsys, part):
    weights = tmp_path / "out" / part / "model.safetensors"
    (tmp_path / "out/a3/fusion_embedder").mkdir(parents=True)
    assert started("--steps", "3", "--only", "B6") == (0, ["fit", "fit", "test"])
    assert started("--steps", "3", "--only", "B6") == (0, [])
    weights.write_bytes(b"others")
    assert started("--steps", "3", "--only", "B6") == (2, [])
    assert "out/b6 was made with other words" in capsys.readouterr().err


def test_a_row_that_there_is_not_is_refused(started, capsys):
    with pytest.raises(SystemExit, match="2"):
        started("--only", "B6", "B66")
    assert "no such row: B66; one of A1, A2" in capsys.readouterr().err
