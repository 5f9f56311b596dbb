"""Metrics of picture pairs against the official evaluation scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from parity_files import TOLERANCES, Recorded, close, metric_pictures, recipe_tensor
from pgpis.metrics import LPIPS, PSNR, SSIM
from pgpis.weight_files import CATALOGUE

pytestmark = pytest.mark.parity

METRICS = {"psnr": PSNR, "ssim": SSIM, "ssim_256": lambda: SSIM("gaussian")}


@pytest.fixture(scope="module")
def official(parity_root: Path) -> dict[str, Any]:
    return Recorded(parity_root / "metrics" / "fpdm.json")


def score(metric, size: tuple[int, int] | None = None) -> torch.Tensor:
    """Give all pairs to a metric; returns the value of each."""
    values = []
    for pair in zip(metric_pictures("pred", size), metric_pictures("gt", size), strict=True):
        metric.update(*pair)
        values.append(metric.last_values)
    return torch.cat(values)


@pytest.mark.parametrize("name", METRICS)
def test_reconstruction(official, name):
    reconstruction = official["reconstruction"]
    sizes = [key for key in reconstruction if "." not in key]
    assert sizes
    for key in sizes:
        width, height = map(int, key.split("x"))
        metric = METRICS[name]()
        values = score(metric, (height, width))
        assert metric.result() == pytest.approx(reconstruction[key][name][0], abs=TOLERANCES["statistic"])
        singles = {
            int(single.rsplit(".", 1)[1]): entry[name][0]
            for single, entry in reconstruction.items()
            if single.startswith(f"{key}.")
        }
        assert singles
        for index, value in singles.items():
            assert values[index].item() == pytest.approx(value, abs=TOLERANCES["statistic"])


@pytest.fixture(scope="module")
def lpips_weights(official, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alexnet")
    weights = {
        "features." + name.split(".", 1)[1]: recipe_tensor(f"lpips.net.{name}", shape, official["seed"])
        for name, shape in official["lpips_net_param_shapes"].items()
    }
    torch.save(weights, folder / CATALOGUE["lpips-alexnet"].files[0])
    return folder


# "false": the official script itself brings pictures to [-1, 1] and does not ask the package to
@pytest.mark.parametrize("entry", ["lpips_normalize_true", "lpips_normalize_false"])
def test_lpips(parity_root, official, lpips_weights, entry):
    metric = LPIPS(lpips_weights)
    close(score(metric).float(), Recorded(parity_root / "metrics" / "fpdm.safetensors")[entry])
    assert metric.result() == pytest.approx(official["lpips_mean_all"], abs=TOLERANCES["network"])
