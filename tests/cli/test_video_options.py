"""``pgpis predict`` with what the frames of a video share."""

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pgpis.cli import main
from pgpis.predictions import read_mark


@pytest.fixture
def inputs(toy_root, tmp_path):
    """A source, and three poses that are frames."""
    for name in ("sources", "walk"):
        (tmp_path / name).mkdir()
    shutil.copy(min((toy_root / "img").rglob("*.jpg")), tmp_path / "sources/anna.jpg")
    for number, pose in enumerate(sorted((toy_root / "pose").rglob("*.txt"))[:3]):
        shutil.copy(pose, tmp_path / f"walk/{number}.txt")
    return tmp_path


QUICK = ("--data.num_workers=0", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu")
FRAMES = "--data.predict.init_args.frames=true"
ANCHOR = "--model.init_args.sampling.video.anchor=true"
SHARED = "--model.init_args.sampling.video.shared_noise=true"


def predict(folder, out, *more):
    words = ["--pipeline=synth-fpdm", f"--sources={folder}/sources", f"--poses={folder}/walk", "--steps=2"]
    return main(["predict", *words, f"--out={folder / out}", *more, *QUICK])


def pictures(folder):
    return np.stack([np.asarray(Image.open(path), np.int16) for path in sorted(folder.glob("anna_2_*.png"))])


@pytest.mark.slow
def test_frames_look_at_the_first_one_in_any_batch(inputs, capsys):
    assert predict(inputs, "plain") == 0
    assert predict(inputs, "anchored", FRAMES, ANCHOR) == 0
    assert not (inputs / "plain/videos").exists()
    with av.open(str(inputs / "anchored/videos/anna_2_walk.mp4")) as film:
        assert film.streams.video[0].frames == 3
    plain, anchored = pictures(inputs / "plain"), pictures(inputs / "anchored")
    assert np.abs(plain[0] - anchored[0]).max() <= 1
    assert np.abs(plain[1:] - anchored[1:]).max() > 1
    assert json.loads((inputs / "anchored/settings.json").read_text())["anchor"] is True
    # a frame that is made later, and alone, is the same
    second = inputs / "anchored/anna_2_1.png"
    second.unlink()
    assert predict(inputs, "anchored", FRAMES, ANCHOR, "--batch-size=1") == 0
    assert np.abs(pictures(inputs / "anchored") - anchored).max() <= 1
    # another first frame makes another film
    shutil.copy(inputs / "walk/2.txt", inputs / "walk/0.txt")
    assert predict(inputs, "anchored", FRAMES, ANCHOR) == 0
    assert "the files of 3 pairs have changed since" in capsys.readouterr().err
    assert np.abs(pictures(inputs / "anchored")[1] - anchored[1]).max() > 1


def test_a_frame_cannot_be_made_again_alone(inputs, capsys):
    assert predict(inputs, "anchored", FRAMES, ANCHOR) == 0
    frame = inputs / "anchored/anna_2_1.png"
    assert read_mark(frame).settings["anchor"] is True
    assert main(["predict", f"--like={frame}", f"--sources={inputs}/sources", f"--out={inputs}/again"]) == 2
    said = capsys.readouterr().err
    assert "is a frame of a video that was drawn beside the first frame, and cannot be made alone" in said
    assert not Path(inputs / "again").exists()


@pytest.mark.slow
def test_shared_noise_alone_is_in_the_mark(inputs, capsys):
    """It has the name of the noise; a video's noise is one anyway where poses lie in a folder."""
    assert predict(inputs, "shared", FRAMES, SHARED) == 0
    frame = inputs / "shared/anna_2_1.png"
    assert "shared_noise" not in read_mark(frame).settings
    assert main(["predict", f"--like={frame}", f"--sources={inputs}/sources", f"--out={inputs}/again", *QUICK]) == 0
    assert "again, byte for byte" in capsys.readouterr().err


def test_pairs_without_a_video_are_refused(inputs, capsys):
    assert predict(inputs, "out", ANCHOR) == 2
    assert "sampling.video: no pair is a frame of a video" in capsys.readouterr().err


def test_actors_have_no_first_frame(inputs, capsys):
    assert predict(inputs, "out", FRAMES, ANCHOR, "--runner=ray") == 2
    assert "sampling.video.anchor draws the first frame along" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["devices=2", "strategy=ddp", "limit_predict_batches=1", "num_nodes=2"])
def test_actors_have_no_trainer(option, inputs, capsys):
    assert predict(inputs, "out", f"--trainer.{option}", "--runner=ray") == 2
    assert f"--trainer.{option.replace('=', ' ')} would do nothing" in capsys.readouterr().err.replace("1.0", "1")
