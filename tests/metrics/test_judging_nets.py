"""Files of the nets that judge pictures are data: whichever library builds the net, nothing in them runs."""

import os
from functools import partial

import pytest
import torch

from pgpis.errors import PgpisError
from pgpis.metrics import LPIPS, InceptionFeatures
from pgpis.metrics.dists import DISTS
from pgpis.metrics.vision import VisionFeatures
from pgpis.weight_files import CATALOGUE


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("inception-legacy", partial(InceptionFeatures, "legacy")),
        ("inception-standard", partial(InceptionFeatures, "standard")),
        ("lpips-alexnet", LPIPS),
        ("dists-vgg16", DISTS),
        ("dinov2-large", partial(VisionFeatures, "dinov2")),
        ("clip-large-336", partial(VisionFeatures, "clip")),
    ],
)
def test_nothing_in_a_file_of_weights_runs(name, build, tmp_path, monkeypatch):
    if name == "inception-standard":
        pytest.importorskip("torch_fidelity")
    monkeypatch.chdir(tmp_path)
    file = tmp_path / CATALOGUE[name].files[0]
    file.parent.mkdir(exist_ok=True)
    torch.save({"weight": torch.zeros(1), "other": Attack()}, file)
    with pytest.raises(PgpisError, match="cannot read the weights") as told:
        build(tmp_path)
    assert str(file) in told.value.message
    assert not (tmp_path / "attacked").exists()
