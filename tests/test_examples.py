"""The examples run as they are, on little data, and stay short."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_read_in_a_minute(path):
    assert len(path.read_text().splitlines()) < 60


def test_predicting(trained_fpdm, toy_root, tmp_path):
    folder = min((toy_root / "img").glob("*/*/*"))
    poses = toy_root / "pose" / folder.relative_to(toy_root / "img")
    paths = {"pipeline": trained_fpdm / "pipeline", "sources": folder, "poses": poses, "out": tmp_path / "pictures"}
    main = runpy.run_path(str(EXAMPLES / "predict.py"))["main"]
    main([f"--{name}={path}" for name, path in paths.items()])
    pictures = sorted((tmp_path / "pictures").glob("*.png"))
    assert len(pictures) == 3 * 3
    assert {Image.open(path).size for path in pictures} == {(56, 64)}


@pytest.mark.parametrize(("method", "people"), [("fpdm", "toy_root"), ("mcld", "textured_root")])
def test_training(method, people, request, tmp_path, capsys):
    words = ["--method", method, "--pipeline", f"synth-{method}", "--root", request.getfixturevalue(people)]
    main = runpy.run_path(str(EXAMPLES / "train.py"))["main"]
    main([*map(str, words), "--out", str(tmp_path), "--steps", "2", "--size", "64", "64"])
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines() if ": loss " in line]
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    assert (tmp_path / "pipeline/model_index.json").is_file()
