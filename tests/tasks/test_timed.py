"""A learning rate that comes to zero when the time is up."""

import pytest
import torch

from pgpis.errors import PgpisError
from pgpis.tasks import timed
from pgpis.tasks.timed import CosineUntil


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(timed.time, "monotonic", lambda: now[0])
    return now


def rates(seconds, warmup, clock, moments):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = CosineUntil(optimizer, seconds, warmup)
    for moment in moments:
        clock[0] = 100.0 + moment
        optimizer.step()
        schedule.step()
        yield optimizer.param_groups[0]["lr"]


def test_half_a_cosine_over_the_time_from_the_first_step(clock):
    assert list(rates(10, 0, clock, (50, 55, 60, 70))) == pytest.approx([2.0, 1.0, 0.0, 0.0])


def test_a_warm_up_of_steps(clock):
    assert list(rates(1000, 3, clock, (0, 0, 0, 0))) == pytest.approx([1.0, 1.5, 2.0, 2.0])


def test_no_negative_time():
    with pytest.raises(PgpisError, match="seconds"):
        CosineUntil(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0), -1)
