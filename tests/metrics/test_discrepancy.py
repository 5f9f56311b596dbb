"""Maximum mean discrepancies against slow, obvious versions and closed forms."""

import numpy as np
import pytest
import torch

from pgpis.metrics import discrepancy
from pgpis.metrics.discrepancy import KERNELS, gaussian, polynomial, squared_mmd


def slow(ours, others, kernel, *, unbiased):
    def mean(first, second, *, skip):
        pairs = [(i, j) for i in range(len(first)) for j in range(len(second)) if not (skip and i == j)]
        return np.mean([float(kernel(first[i : i + 1], second[j : j + 1])) for i, j in pairs])

    within = sum(mean(each, each, skip=unbiased) for each in (ours, others))
    return within - 2 * mean(ours, others, skip=False)


@pytest.mark.parametrize("name", KERNELS)
def test_samples_are_those_of_the_list_written_out(name, monkeypatch):
    monkeypatch.setattr(discrepancy, "ROWS", 3)
    kernel, unbiased = KERNELS[name]
    generator = torch.Generator().manual_seed(0)
    ours, others = (torch.randn(size, 4, generator=generator).double() for size in (7, 5))
    counts = torch.tensor([[1] * 7, [3, 0, 0, 2, 1, 0, 1]])
    values = squared_mmd(ours, others, counts, kernel, unbiased=unbiased)
    for row, value in zip(counts, values, strict=True):
        sample = ours.repeat_interleave(row, dim=0)
        assert float(value) == pytest.approx(slow(sample, others, kernel, unbiased=unbiased))


def test_the_kernels_in_closed_form():
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0]])
    assert float(polynomial(x, y)) == pytest.approx((3 / 2 + 1) ** 3)
    assert float(gaussian(x, y)) == pytest.approx(np.exp(-8 / 200))


def test_equal_sets_are_at_distance_zero_by_the_published_estimate():
    generator = torch.Generator().manual_seed(0)
    for _ in range(16):  # rounding would leave some of them below 0
        features = torch.randn(9, 8, generator=generator).double()
        shuffled = features[torch.randperm(9, generator=generator)]
        assert 0 <= float(squared_mmd(features, shuffled, torch.ones(1, 9), gaussian, unbiased=False)) < 1e-12


def test_it_is_torch_fidelitys_kid():
    metric = pytest.importorskip("torch_fidelity.metric_kid")
    ours, others = torch.rand(40, 16), torch.rand(40, 16) + 0.2
    theirs = metric.kernel_mmd(ours.double().numpy(), others.double().numpy(), kid_kernel="poly")
    kernel, unbiased = KERNELS["kid"]
    assert float(squared_mmd(ours, others, torch.ones(1, 40), kernel, unbiased=unbiased)) == pytest.approx(theirs)
