"""What makes these tests quick: nobody is dressed twice, and processes start only where they are tested."""

from functools import lru_cache

import pytest

from pgpis.synth.figure import person
from pgpis.synth.files import resuming


@pytest.fixture(scope="session", autouse=True)
def _dressed_once():
    """Keep everybody who was dressed; the command keeps the last four, since it draws one person after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(person, "_dress", lru_cache(maxsize=64)(person._dress.__wrapped__))
        yield


@pytest.fixture
def _without_workers(monkeypatch):
    """Draw in this process."""

    def in_turn(units, work, _workers):
        return [failure for unit in units for failure in work(unit) or []]

    monkeypatch.setattr(resuming, "run_units", in_turn)
