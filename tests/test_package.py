"""What a plain ``pip install`` gives: the wheel, taken apart and run from an empty directory."""

import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=REPOSITORY, check=True
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def pgpis(installed, *words):
    empty = installed.parent / "empty"
    empty.mkdir(exist_ok=True)
    code = f"import sys; sys.path.insert(0, {str(installed)!r}); from pgpis.cli import console; console()"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=empty, check=False, capture_output=True, text=True)


def test_the_wheel_carries_every_recipe(installed):
    shipped = {path.relative_to(installed / "pgpis/configs") for path in (installed / "pgpis/configs").rglob("*.yaml")}
    assert shipped == {path.relative_to(REPOSITORY / "configs") for path in (REPOSITORY / "configs").rglob("*.yaml")}
    assert (installed / "pgpis/py.typed").is_file()
    assert not list(installed.rglob("*.ckpt")) + list(installed.rglob("*.safetensors"))


@pytest.mark.parametrize("verb", ["fit", "test"])
def test_recipes_are_found_from_an_empty_directory(installed, verb):
    result = pgpis(installed, verb, "--config", "fpdm.yaml", "--print_config")
    assert result.returncode == 0, result.stderr
    assert str(installed / "pgpis/configs/fpdm.yaml") in result.stderr
    assert "class_path: pgpis.tasks.FPDMTask" in result.stdout


def test_predict_from_an_empty_directory_names_what_is_missing(installed):
    words = ["--config", "fpdm.yaml", "--pipeline", "./p", "--sources", "s", "--poses", "p", "--out", "o"]
    result = pgpis(installed, "predict", *words)
    assert result.returncode == 2
    assert "pipeline: cannot load './p'" in result.stderr
    assert "Traceback" not in result.stderr


def test_only_one_opencv_is_installed():
    names = {distribution.metadata["Name"] for distribution in distributions()}
    found = {name for name in names if name and name.lower().replace("_", "-").startswith("opencv")}
    assert found == {"opencv-python-headless"}
