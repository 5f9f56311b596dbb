"""Metrics of picture pairs against the official evaluation scripts."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pgpis.images import read_image, resize
from pgpis.metrics import LPIPS, PSNR, SSIM
from pgpis.weight_files import CATALOGUE

pytestmark = pytest.mark.parity

METRICS = {"psnr": PSNR, "ssim": SSIM, "ssim_256": lambda: SSIM("gaussian")}


@pytest.fixture(scope="module")
def official(parity_root: Path) -> dict[str, Any]:
    return json.loads((parity_root / "metrics" / "fpdm.json").read_text())


def read_pictures(folder: Path, name: str, size: tuple[int, int] | None = None) -> torch.Tensor:
    """Return all pictures of one kind as uint8 ``(N, 3, H, W)``."""
    count = len(list(folder.glob(f"{name}*.png")))
    images = [read_image(folder / f"{name}{index}.png") for index in range(count)]
    arrays = [np.array(image if size is None else resize(image, *size)) for image in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("name", METRICS)
def test_reconstruction(parity_root, official, name):
    reconstruction = official["reconstruction"]
    sizes = [key for key in reconstruction if "." not in key]
    assert sizes
    for key in sizes:
        width, height = map(int, key.split("x"))
        folder = parity_root / "metrics" / "png"
        metric = METRICS[name]()
        metric.update(*(read_pictures(folder, kind, (height, width)) for kind in ("pred", "gt")))
        assert metric.result() == pytest.approx(reconstruction[key][name][0], abs=1e-6)
        singles = {
            int(single.rsplit(".", 1)[1]): entry[name][0]
            for single, entry in reconstruction.items()
            if single.startswith(f"{key}.")
        }
        assert singles
        for index, value in singles.items():
            assert metric.last_values[index].item() == pytest.approx(value, abs=1e-6)


def recipe_tensor(key: str, shape: list[int], seed: int) -> torch.Tensor:
    """Make the procedural weight that the fixtures document; AlexNet has only biases and convolutions."""
    stream = np.random.RandomState((zlib.crc32(key.encode()) + 1_000_003 * seed) % 2**32)
    values = stream.standard_normal(int(np.prod(shape))).reshape(shape)
    values = values / np.sqrt(float(np.prod(shape[1:]))) if len(shape) > 1 else 0.05 * values
    return torch.from_numpy(values).float().half().float()


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
    expected = load_file(parity_root / "metrics" / "fpdm.safetensors")[entry]
    folder = parity_root / "metrics" / "png"
    metric = LPIPS(lpips_weights)
    metric.update(read_pictures(folder, "pred"), read_pictures(folder, "gt"))
    torch.testing.assert_close(metric.last_values.float(), expected.flatten(), atol=1e-5, rtol=0)
    assert metric.result() == pytest.approx(official["lpips_mean_all"], abs=1e-5)
