"""DISTS from a file: torchmetrics' own numbers, and a readable error."""

import pytest
import torch
from torch import nn
from torchmetrics.functional.image import dists as torchmetrics_dists
from torchvision.models.vgg import cfgs, make_layers

from pgpis.errors import PgpisError
from pgpis.metrics import DISTS
from pgpis.weight_files import CATALOGUE

FILE = CATALOGUE["dists-vgg16"].files[0]


def test_it_gives_torchmetrics_numbers(tmp_path, monkeypatch):
    torch.manual_seed(0)
    vgg = nn.Module()
    vgg.features = make_layers(cfgs["D"])
    torch.save({**vgg.state_dict(), "classifier.0.weight": torch.zeros(1)}, tmp_path / FILE)
    monkeypatch.setattr(torchmetrics_dists, "vgg16", lambda **_: vgg)
    official = torchmetrics_dists.DISTSNetwork()
    ours, theirs = torch.randint(0, 256, (2, 3, 3, 48, 32), dtype=torch.uint8)
    metric = DISTS(tmp_path)
    values = metric.pair_values(ours, theirs)
    torch.testing.assert_close(values, official(ours / 255, theirs / 255).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(metric.pair_values(ours[:1], theirs[:1]), values[:1], atol=1e-6, rtol=0)
    same = metric.pair_values(ours, ours)
    assert same.min() >= 0
    assert same.max() < 1e-6
    assert not metric.state_dict()


def test_missing_and_wrong_files_are_named(tmp_path):
    metric = DISTS(tmp_path)
    assert metric.not_computed == (
        f"not computed: missing {tmp_path / FILE}, get it with: pgpis weights fetch dists-vgg16 --folder {tmp_path}"
    )
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / FILE)
    with pytest.raises(PgpisError, match="is not torchvision's VGG-16"):
        DISTS(tmp_path)
