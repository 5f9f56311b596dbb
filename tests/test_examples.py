"""The examples run as they are, on little data, and stay short."""

import runpy
from pathlib import Path

import pytest
from PIL import Image

from pgpis.methods.fpdm import FPDMPipeline
from pgpis.pipelines.bundle import load_bundle
from pgpis.pipelines.shipped import SHIPPED

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_read_in_a_minute(path):
    assert len(path.read_text().splitlines()) < 60


def test_predicting(toy_root, tmp_path):
    load_bundle(FPDMPipeline, SHIPPED["synth-fpdm"].path).save_pretrained(tmp_path / "pipeline")
    folder = min((toy_root / "img").glob("*/*/*"))
    poses = toy_root / "pose" / folder.relative_to(toy_root / "img")
    words = {"pipeline": tmp_path / "pipeline", "sources": folder, "poses": poses, "out": tmp_path / "pictures"}
    main = runpy.run_path(str(EXAMPLES / "predict.py"))["main"]
    main([f"--{name}={value}" for name, value in words.items()])
    pictures = sorted((tmp_path / "pictures").glob("*.png"))
    assert len(pictures) == 3 * 3
    assert {Image.open(path).size for path in pictures} == {(176, 256)}


@pytest.mark.parametrize(("method", "people"), [("fpdm", "toy_root"), ("mcld", "textured_root")])
def test_training(method, people, request, tmp_path, capsys):
    words = ["--method", method, "--pipeline", f"synth-{method}", "--root", request.getfixturevalue(people)]
    main = runpy.run_path(str(EXAMPLES / "train.py"))["main"]
    main([*map(str, words), "--out", str(tmp_path), "--steps", "2", "--size", "64", "64"])
    assert "step 1: loss" in capsys.readouterr().out
    assert (tmp_path / "pipeline/model_index.json").is_file()
