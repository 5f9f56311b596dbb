"""Tiny weights, synthetic people, and the whole job in this process."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from pgpis.preprocess.settings import PrepareSettings
from tiny_models import write_all

ALL = ("pose", "densepose", "texture", "face")


@pytest.fixture(autouse=True)
def one_thread():
    """As in a worker process, so that files can be compared byte for byte."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def small_input(small_densepose):
    """No test of this folder needs the official size in this process."""


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A folder of tiny weights as ``pgpis weights fetch`` leaves it."""
    return write_all(tmp_path_factory.mktemp("weights"), pose=("body17", "body26", "wholebody133"))


@pytest.fixture(scope="session")
def settings(weights):
    return PrepareSettings(weights=weights)


@pytest.fixture(scope="session")
def people(draw_people, made_once):
    """Two people in two views with all conditions, textures as the published procedure makes them."""
    options = {"people": 2, "views": 2, "seed": 5, "size": (128, 88), "textures": "seen", "share": 0.5}
    return made_once("people", lambda root: draw_people(root, **options))


@pytest.fixture(scope="session")
def pictures(people):
    """The four pictures at 48 x 64."""
    return [Image.open(path).resize((48, 64)) for path in sorted(people.glob("img/**/*.jpg"))]


@pytest.fixture
def run(settings):
    """Prepare a folder in this process: ``run(root, "pose", "face", layout="fpdm", again=True, person=1)``."""
    from pgpis.preprocess.listing import find_pictures
    from pgpis.preprocess.record import NAME, Record
    from pgpis.preprocess.run import prepare, run_here

    def run(root, *conditions, layout="auto", again=False, **changes):
        files = find_pictures(root, conditions or ALL, layout)
        record = Record(root / NAME)
        used = replace(settings, **changes)
        result = prepare(files, conditions or ALL, used, record, run_here, again=again)
        lines = [json.loads(line) for line in (root / NAME).read_text().splitlines()]
        outcomes = {(line["name"], line["condition"]): line for line in lines}
        return SimpleNamespace(
            made=dict(result.made),
            already=dict(result.already),
            failures=result.failures,
            doubtful=result.doubtful,
            lines=lines,
            of=outcomes,
        )

    return run
