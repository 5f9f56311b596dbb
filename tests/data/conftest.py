import pytest

from pgpis.batch import ImageSpec

SPECS = {
    "source_image": ImageSpec("source", 32, 24),
    "target_image": ImageSpec("target", 32, 24),
    "pose_image": ImageSpec("pose", 32, 24),
}


@pytest.fixture(scope="session")
def make_toy_data():
    from make_toy_data import make_toy_data

    return make_toy_data


@pytest.fixture(scope="session")
def toy_root(make_toy_data, tmp_path_factory):
    """Six people in three views: 24 training pairs of four people, 12 test pairs of two."""
    root = tmp_path_factory.mktemp("toy")
    make_toy_data(root, people=6, views=3, seed=0, size=(64, 44))
    return root


@pytest.fixture
def own_toy_root(make_toy_data, tmp_path):
    """A copy that a test may damage: 2 training pairs, 2 test pairs."""
    make_toy_data(tmp_path / "toy", people=2, views=2, seed=1, size=(64, 44))
    return tmp_path / "toy"


@pytest.fixture
def specs():
    return dict(SPECS)
