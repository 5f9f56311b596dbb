"""The toy model of docs/adding-a-model.md: under 80 lines, no other file, and every verb works with it."""

import json
import re
import sys
from pathlib import Path

import pytest

from pgpis.cli import main

PAGE = Path(__file__).parents[1] / "docs/adding-a-model.md"


@pytest.fixture
def toy(tmp_path, toy_root, monkeypatch):
    """A folder with the page's module and its recipe."""
    text = PAGE.read_text()
    code, recipe = (
        re.search(rf'```{language} title="{name}"\n(.*?)```', text, re.DOTALL).group(1)
        for language, name in (("python", "toy_model.py"), ("yaml", "toy.yaml"))
    )
    assert len(code.splitlines()) < 80
    (tmp_path / "toy_model.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_model", raising=False)
    assert recipe.count("outputs/demo/data") == 2
    (tmp_path / "toy.yaml").write_text(recipe.replace("outputs/demo/data", str(toy_root)))
    return tmp_path


def test_a_third_model_needs_no_other_file(toy, toy_root):
    recipe = f"--config={toy / 'toy.yaml'}"
    out = f"--trainer.default_root_dir={toy / 'run'}"
    assert main(["fit", recipe, out]) == 0
    assert (toy / "run/pipeline/model_index.json").is_file()
    trained = f"--ckpt_path={toy / 'run/checkpoints/last.ckpt'}"
    assert main(["test", recipe, out, trained]) == 0
    assert json.loads((toy / "run/test/metrics.json").read_text())["samples"] == 6
    picture = min(toy_root.glob("img/**/*.jpg"))
    pose = min(toy_root.glob("pose/**/*.txt"))
    words = [f"--sources={picture}", f"--poses={pose}", f"--out={toy / 'predicted'}"]
    assert main(["predict", recipe, trained, *words]) == 0
    assert len(list((toy / "predicted").glob("*_2_*.png"))) == 1
