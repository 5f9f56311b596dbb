"""A few of the hostile inputs of every kind; ``fuzz.py`` feeds thousands and watches time and memory too."""

import pytest
from fuzz_kinds import KINDS

from fuzz import feed

SHARE = 0.03


@pytest.mark.slow
@pytest.mark.usefixtures("drawing_here")
@pytest.mark.parametrize("name", KINDS)
def test_hostile_input_is_refused_or_read(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = KINDS[name].prepare(tmp_path)
    outcomes = [feed(name, 1, number, state)[0] for number in range(round(KINDS[name].inputs * SHARE))]
    assert set(outcomes) <= {"read", "refused"}
