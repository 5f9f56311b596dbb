"""One bad pair never ends a job, whatever a library raises on it."""

import struct

import pytest
import torch

from pgpis.batch import PairFailure
from pgpis.data import FolderPairs
from pgpis.data.pair import Aim, Pair, Person, with_names_of_their_own
from pgpis.data.sampler import NOTHING
from pgpis.data.samples import PairCollator, PairSamples, Sample
from pgpis.data.transforms import PairTransform
from pgpis.errors import PgpisError

ERRORS = [
    RecursionError("deep"),
    struct.error("exif"),
    MemoryError(),
    KeyError("x"),
    PermissionError(13, "no"),
    TypeError(),
]


class Pairs(FolderPairs):
    """Pairs of which the first raises; the others have nothing to read."""

    error: Exception

    def read_pairs(self):
        return [Pair(f"pair{number}", Person(self.sources / f"{number}.jpg"), Aim()) for number in range(3)]

    def load(self, index, origins=(), generator=None):
        if index == 0:
            raise self.error
        return super().load(index, (), generator)


@pytest.fixture
def dataset(tmp_path):
    pairs = Pairs(tmp_path, tmp_path)
    pairs.setup()
    return pairs


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_pair_fails_with_its_reason_and_file(dataset, error):
    dataset.error = error
    failure = PairSamples(dataset, PairTransform({}, train=False), 0)[0, 0]
    assert isinstance(failure, PairFailure)
    assert type(error).__name__ in failure.reason
    assert "0.jpg" in failure.reason


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_training_goes_on_with_the_next_pair(dataset, error, caplog):
    dataset.error = error
    sample = PairSamples(dataset, PairTransform({}, train=True), 0)[0, 0]
    assert isinstance(sample, Sample)
    assert sample.index == 1
    assert "0.jpg" in caplog.text


def test_why_no_pair_can_be_read_is_told(dataset, monkeypatch):
    monkeypatch.setattr(Pairs, "load", lambda *_, **__: 1 / 0)
    with pytest.raises(PgpisError, match="ZeroDivisionError"):
        PairSamples(dataset, PairTransform({}, train=True), 0)[0, 0]


def test_a_process_without_pairs_gets_an_empty_batch(dataset):
    batch = PairCollator({})([PairSamples(dataset, PairTransform({}, train=False), 0)[0, NOTHING]])
    assert torch.equal(batch["index"], torch.zeros(0, dtype=torch.int64))
    assert batch["failures"] == []


def test_each_pair_has_a_name_of_its_own(tmp_path):
    def pair(name, source):
        return Pair(name, Person(tmp_path / source), Aim())

    twice = pair("p112_2_x", "p1/12")
    pairs = [
        twice,
        pair("p112_2_x", "p11/2"),
        pair("P112_2_X", "c"),
        pair("p112_2_x~2", "d"),
        twice,
        pair("caf\udce9", "e"),
    ]
    names = [each.pair_id for each in with_names_of_their_own(pairs)]
    assert names == ["p112_2_x", "p112_2_x~2", "P112_2_X~3", "p112_2_x~2~2", "p112_2_x", "caf%E9"]
