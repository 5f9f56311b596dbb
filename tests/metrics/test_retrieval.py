"""Retrieval metrics against a slow search and closed-form values."""

import pytest
import torch
import torch.nn.functional as F

from pgpis.errors import PgpisError
from pgpis.metrics import RetrievalMetrics


def slow_ranks(queries, keys, gallery):
    """Sort the gallery for each query and look the key up."""
    ranks = []
    for query, key in zip(queries, keys, strict=True):
        order = sorted(gallery, key=lambda name: -F.cosine_similarity(query, gallery[name], dim=0).item())
        ranks.append(1 + order.index(key))
    return ranks


def test_equals_a_slow_search_over_distinct_targets():
    generator = torch.Generator().manual_seed(0)
    gallery = {f"target{index}": torch.randn(6, generator=generator) for index in range(9)}
    keys = [f"target{int(index)}" for index in torch.randint(0, 9, (40,), generator=generator)]
    targets = torch.stack([gallery[key] for key in keys])
    queries = targets + 1.5 * torch.randn(40, 6, generator=generator)
    expected = slow_ranks(queries, keys, {key: gallery[key] for key in keys})
    metric = RetrievalMetrics(6, recall_at=(1, 3, 5, 7))
    for start in range(0, 40, 7):
        part = slice(start, start + 7)
        metric.update(queries[part] * 3, targets[part] * 0.1, keys[part])
    assert metric.ranks().tolist() == expected
    result = metric.compute()
    assert result["average_rank"].item() == pytest.approx(sum(expected) / 40)
    for limit in (1, 3, 5, 7):
        assert result[f"recall_at_{limit}"].item() == pytest.approx(sum(rank <= limit for rank in expected) / 40)


def test_perfect_and_worst_queries():
    targets = torch.eye(6)
    names = list("abcdef")
    metric = RetrievalMetrics(6)
    metric.update(targets, targets, names)
    assert {name: value.item() for name, value in metric.compute().items()} == {
        "recall_at_1": 1.0,
        "recall_at_3": 1.0,
        "recall_at_5": 1.0,
        "average_rank": 1.0,
    }
    metric.reset()
    metric.update(-targets, targets, names)
    assert metric.compute()["average_rank"].item() == 6.0
    assert metric.compute()["recall_at_5"].item() == 0.0


def test_a_pair_that_comes_twice_counts_once():
    queries, targets = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(2))
    keys, pairs = list("aabc"), ["x_2_a", "y_2_a", "x_2_b", "x_2_c"]
    once, twice = RetrievalMetrics(5), RetrievalMetrics(5)
    once.update(queries, targets, keys, pairs)
    twice.update(queries, targets, keys, pairs)
    twice.update(queries[:1], targets[:1], keys[:1], pairs[:1])
    assert sorted(once.ranks().tolist()) == sorted(twice.ranks().tolist())


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_no_pairs_is_not_a_number():
    assert RetrievalMetrics(4).compute()["average_rank"].isnan()


@pytest.mark.parametrize(
    ("fused", "targets", "keys", "pairs", "message"),
    [
        (torch.zeros(2, 4), torch.zeros(2, 5), ["a", "b"], None, "expected"),
        (torch.zeros(2, 4), torch.zeros(2, 4), ["a"], None, "1 target keys"),
        (torch.zeros(2, 4), torch.zeros(2, 4), ["a", "b"], ["p"], "1 pair keys"),
        (torch.full((2, 4), torch.nan), torch.zeros(2, 4), ["a", "b"], None, "NaN"),
    ],
)
def test_wrong_input_is_named(fused, targets, keys, pairs, message):
    with pytest.raises(PgpisError, match=message):
        RetrievalMetrics(4).update(fused, targets, keys, pairs)
