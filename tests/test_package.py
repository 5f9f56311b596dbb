"""What a plain ``pip install`` gives: the wheel, taken apart and run from an empty directory."""

import json
import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pgpis.pipelines.shipped import SHIPPED
from pgpis.preprocess.settings import INSTALL

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


COMMANDS = """
import contextlib, io, json, socket, sys

def offline(*_):
    raise OSError("this machine was never online")

socket.getaddrinfo = socket.create_connection = socket.socket.connect = offline
sys.path.insert(0, sys.argv[1])
from pgpis.cli import main
for line in sys.stdin:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            code = main(json.loads(line))
        except SystemExit as stop:
            code = stop.code or 0
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


@pytest.fixture(scope="module")
def pgpis(installed):
    """Run commands of the wheel offline, with an empty home that is the working directory as well.

    All of them run in one process that has imported torch.
    """
    empty = installed.parent / "empty"
    empty.mkdir()
    command, pipes = [sys.executable, "-c", COMMANDS, installed], {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    home = os.environ | {"HOME": str(empty), "XDG_CACHE_HOME": str(empty / "cache")}
    with subprocess.Popen(command, cwd=empty, text=True, env=home, **pipes) as process:

        def run(*words):
            print(json.dumps(list(map(str, words))), file=process.stdin, flush=True)
            code, out, err = json.loads(process.stdout.readline())
            return SimpleNamespace(returncode=code, stdout=out, stderr=err)

        yield run
        process.stdin.close()


def test_the_wheel_carries_every_recipe(installed):
    shipped = {path.relative_to(installed / "pgpis/configs") for path in (installed / "pgpis/configs").rglob("*.yaml")}
    assert shipped == {path.relative_to(REPOSITORY / "configs") for path in (REPOSITORY / "configs").rglob("*.yaml")}
    assert (installed / "pgpis/py.typed").is_file()
    weights = {path.relative_to(installed / "pgpis/bundles").as_posix() for path in installed.rglob("*.safetensors")}
    lifter = "surface_lifter/diffusion_pytorch_model.safetensors"
    assert weights == {lifter, *(shipped.file for shipped in SHIPPED.values())}
    assert len(list(installed.rglob("*.tflite"))) == 4
    assert not list(installed.rglob("*.ckpt"))


def test_the_wheel_carries_licence_and_notice(installed):
    (folder,) = installed.glob("pgpis-*.dist-info/licenses")
    for name in ("LICENSE", "NOTICE"):
        assert (folder / name).read_bytes() == (REPOSITORY / name).read_bytes()


def test_the_wheel_is_small(installed):
    (wheel,) = installed.parent.glob("*.whl")
    assert wheel.stat().st_size < 90e6
    weights = [path for suffix in ("safetensors", "tflite") for path in installed.rglob(f"*.{suffix}")]
    assert sum(path.stat().st_size for path in weights) <= 60e6


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["fit", "test"])
def test_recipes_are_found_from_an_empty_directory(pgpis, installed, verb):
    result = pgpis(verb, "--config", "fpdm.yaml", "--print_config")
    assert result.returncode == 0, result.stderr
    assert str(installed / "pgpis/configs/fpdm.yaml") in result.stderr
    assert "class_path: pgpis.methods.fpdm.FPDMTask" in result.stdout


@pytest.mark.slow
def test_predict_from_an_empty_directory_names_what_is_missing(pgpis, tmp_path):
    words = ["--config", "fpdm.yaml", "--pipeline", "./p", "--sources", tmp_path, "--poses", tmp_path, "--out", "o"]
    result = pgpis("predict", *words)
    assert result.returncode == 2
    assert "'./p'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def people(draw_people, tmp_path_factory):
    """Two people whom the shipped models have not seen."""
    root = tmp_path_factory.mktemp("people")
    draw_people(root, people=2, views=2, seed=99, textures="seen", share=0.5, inpaint="fast")
    return root


def psnr(picture, truth):
    pixels = [np.asarray(Image.open(path).convert("RGB"), np.float64) for path in (picture, truth)]
    return 10 * np.log10(255**2 / np.square(pixels[0] - pixels[1]).mean())


@pytest.mark.slow
@pytest.mark.parametrize("model", ["fpdm", "mcld"])
def test_the_wheel_alone_makes_pictures_of_new_people(pgpis, installed, people, tmp_path, model):
    source, target = sorted((people / "test").glob("*.jpg"))
    pose = {
        "fpdm": next(path for path in (people / "pose").rglob("*.txt") if flat(path) == target.stem),
        "mcld": people / "test_densepose" / f"{target.stem}.png",
    }[model]
    words = [] if model == "fpdm" else ["--pipeline", "synth-mcld", "--missing-face", "drop"]
    result = pgpis("predict", "--sources", source, "--poses", pose, "--out", tmp_path / "out", *words)
    assert result.returncode == 0, result.stderr
    assert str(installed / f"pgpis/configs/synth/{model}.yaml") in result.stderr
    (made,) = (tmp_path / "out").glob("*_2_*.png")
    assert Image.open(made).size == (176, 256)
    assert psnr(made, target) > psnr(source, target) + 2


@pytest.mark.slow
@pytest.mark.parametrize("model", ["synth-fpdm", "synth-mcld"])
def test_the_wheel_alone_puts_a_photograph_into_the_pose_of_another(pgpis, people, tmp_path, model):
    """Eileen Collins, whose suit is orange."""
    source = Path(find_spec("skimage").origin).parent / "data/astronaut.png"
    driving = min((people / "test").glob("*.jpg"))
    words = ["--pipeline", model, "--missing-face", "drop"] if model == "synth-mcld" else ["--pipeline", model]
    result = pgpis("predict", "--sources", source, "--driving", driving, "--out", tmp_path / "out", *words)
    assert result.returncode == 0, result.stderr
    assert "which ships with pgpis" in result.stderr
    (made,) = (tmp_path / "out").glob("astronaut_2_*.png")
    assert redness(made) > redness(driving) + 40


def redness(path):
    """By how much a person's chest is more red than blue."""
    red, _, blue = np.asarray(Image.open(path).convert("RGB"), np.float64)[72:104, 74:102].mean((0, 1))
    return red - blue


def flat(path):
    """Name of a picture in MCLD's layout: ``WOMEN/Shorts/id_00000001/01_1_front`` has no separators."""
    group, kind, person, name = path.with_suffix("").parts[-4:]
    number, view = name.split("_", 1)
    return f"fashion{group}{kind}{person.replace('_', '')}{number}_{view.replace('_', '')}"


def test_nothing_is_installed_from_an_index_where_pgpis_is_not():
    """A stranger could take the name there."""
    texts = [*REPOSITORY.glob("src/**/*.py"), *REPOSITORY.glob("docs/**/*.md"), REPOSITORY / "README.md"]
    assert not [path for path in texts if re.search(r"pip install '?pgpis", path.read_text(encoding="utf-8"))]
    extra = re.search(r"^prepare = (\[.*\])$", (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    assert "pip install " + " ".join(f"'{package}'" for package in json.loads(extra[1])) == INSTALL


def test_only_one_opencv_is_installed():
    names = {distribution.metadata["Name"] for distribution in distributions()}
    found = {name for name in names if name and name.lower().replace("_", "-").startswith("opencv")}
    assert found == {"opencv-python-headless"}
