import pytest

from pgpis.batch import ImageSpec

SPECS = {
    "source_image": ImageSpec("source", 32, 24),
    "target_image": ImageSpec("target", 32, 24),
    "pose_image": ImageSpec("pose", 32, 24),
}


@pytest.fixture(scope="session")
def toy_root(draw_people, tmp_path_factory):
    """Six people in three views: 24 training pairs of four people, 12 test pairs of two."""
    root = tmp_path_factory.mktemp("toy")
    draw_people(root, people=6, views=3, seed=0, size=(64, 44))
    return root


@pytest.fixture
def own_toy_root(draw_people, tmp_path):
    """A copy that a test may damage: 2 training pairs, 2 test pairs."""
    draw_people(tmp_path / "toy", people=2, views=2, seed=1, size=(64, 44))
    return tmp_path / "toy"


@pytest.fixture
def specs():
    return dict(SPECS)
