"""The toy method of docs/adding-a-model.md: one folder and one recipe, in any place, and every verb works with it."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

import pgpis.methods
from pgpis.cli import main
from pgpis.cli.models import load_task
from pgpis.pictures.images import read_image

PAGE = Path(__file__).parents[1] / "docs/adding-a-model.md"
FILES = ("toy/conditioner.py", "toy/pipeline.py", "toy/task.py", "toy.yaml")


@pytest.fixture
def toy(tmp_path, toy_root, monkeypatch):
    """A folder with the page's files, which is on the path of modules."""
    text = PAGE.read_text()
    lines = 0
    for name in FILES:
        content = re.search(rf'```\w+ title="{re.escape(name)}"\n(.*?)```', text, re.DOTALL).group(1)
        lines += len(content.splitlines()) if name.endswith(".py") else 0
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(
            content.replace("outputs/demo/data", str(toy_root)).replace("outputs/toy", str(tmp_path / "run"))
        )
    assert lines < 100
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [
        name for name in sys.modules if name.partition(".")[0] == "toy" or name.startswith("pgpis.methods.toy")
    ]:
        del sys.modules[name]


@pytest.mark.slow
def test_a_third_model_needs_no_other_file(toy, toy_root, recwarn):
    recipe = f"--config={toy / 'toy.yaml'}"
    assert main(["fit", recipe]) == 0
    assert (toy / "run/pipeline/model_index.json").is_file()
    trained = "--ckpt_path=last"
    assert main(["test", recipe, trained]) == 0
    assert json.loads((toy / "run/test/metrics.json").read_text())["samples"] == 6
    picture = min(toy_root.glob("img/**/*.jpg"))
    pose = min(toy_root.glob("pose/**/*.txt"))
    words = [recipe, f"--sources={picture}", f"--poses={pose}"]
    assert main(["predict", trained, *words, f"--out={toy / 'predicted'}"]) == 0
    assert "dirpath" not in "".join(str(warning.message) for warning in recwarn)
    (drawn,) = (toy / "predicted").glob("*_2_*.png")
    pipeline = str(toy / "run/pipeline")
    assert main(["predict", f"--pipeline={pipeline}", *words, f"--out={toy / 'again'}"]) == 0
    assert read_image(toy / "again" / drawn.name).tobytes() == read_image(drawn).tobytes()  # marks name the model
    task = load_task(pipeline)  # the module of its task is imported
    assert (type(task).__name__, task.sampling.height, task.pipeline_name) == ("ToyTask", 64, pipeline)


class Entry:
    name, value = "toy", "toy.task"

    def load(self):
        return importlib.import_module(self.value)


class BrokenEntry(Entry):
    name, value = "broken", "toy.nothing"


@pytest.mark.parametrize("place", ["package", "methods"])
def test_its_short_name_is_known(place, toy, monkeypatch, capsys):
    """As an installed package says, or as a folder beside the other methods."""
    name, home = "ToyTask", "toy"
    if place == "package":
        monkeypatch.setattr(pgpis.methods, "entry_points", lambda **_: [BrokenEntry(), Entry()])
    else:
        name, home = (
            "FolderTask",
            "pgpis.methods.toy",
        )  # classes of other tests live on, and a short name is one class's
        task = (toy / "toy/task.py").read_text().replace("from toy.", "from pgpis.methods.toy.")
        (toy / "toy/task.py").write_text(task.replace("class ToyTask", f"class {name}"))
        (toy / "toy/__init__.py").touch()
        monkeypatch.setattr(pgpis.methods, "__path__", [*pgpis.methods.__path__, str(toy)])
    recipe = (toy / "toy.yaml").read_text().replace("toy.task.ToyTask", name)
    (toy / "toy.yaml").write_text(recipe)
    with pytest.raises(SystemExit) as stop:
        main(["fit", f"--config={toy / 'toy.yaml'}", "--print_config"])
    assert stop.value.code == 0
    captured = capsys.readouterr()
    assert f"class_path: {home}.task.{name}" in captured.out
    assert ("the method 'broken' of toy.nothing cannot be imported" in captured.err) == (place == "package")
