"""Rows of batches: a pair alone is sampled where it once was among others."""

import pytest
import torch

from pgpis.tasks.places import place_of, sample_in_place

PAIRS = {"pair_id": ["a"], "pose_image": torch.zeros(1, 3, 2, 2), "index": torch.tensor([4])}


def test_a_single_pair_gets_its_row_among_copies():
    seen = []

    def sample(batch):
        """Two pictures per pair, of which each holds its own number; the fourth and fifth are not finite."""
        seen.append({key: len(value) for key, value in batch.items()})
        return torch.arange(2 * len(batch["pair_id"])), {3: "x", 4: "y"}

    images, unfit = sample_in_place(sample, PAIRS, (1, 3))
    assert seen == [{"pair_id": 3, "pose_image": 3, "index": 3}]
    assert images.tolist() == [1, 4]
    assert unfit == {1: "y"}
    assert sample_in_place(sample, PAIRS, None)[0].tolist() == [0, 1]
    several = {key: [*value, *value] for key, value in PAIRS.items()}
    assert len(sample_in_place(sample, several, (1, 3))[0]) == 4, "pairs that are together already stay so"


@pytest.mark.parametrize(
    ("row", "pairs", "place", "most_pairs", "expected"),
    [
        (3, 5, None, None, (3, 5)),
        (3, 5, (1, 2), None, (3, 5)),
        (0, 1, (1, 2), None, (1, 2)),
        (3, 5, None, 8, (3, 5)),
        (3, 5, None, 2, (1, 2)),
        (4, 5, None, 2, (0, 1)),
        (0, 1, (4, 5), 3, (1, 2)),
    ],
)
def test_the_place_is_that_in_the_part_that_fitted_into_memory(row, pairs, place, most_pairs, expected):
    assert place_of(row, {"pair_id": ["a"] * pairs}, place, most_pairs) == expected
