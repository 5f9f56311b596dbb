"""Learned perceptual distance, with AlexNet weights that are already on disk."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from pgpis.metrics.image import check_window
from pgpis.metrics.weights import NetFile, NetMetric
from pgpis.weight_files import expected_file, fetch_command

ALEXNET = "lpips-alexnet"
"""torchvision's AlexNet weights in the catalogue of :mod:`pgpis.weight_files`."""
SMALLEST = 31
"""Side in pixels of the smallest picture of which AlexNet's last layers see anything."""

_LOGGER = logging.getLogger(__name__)


class LPIPS(NetMetric):
    """LPIPS 0.1 with AlexNet.

    Where the weights are absent nothing is measured: ``not_computed`` and ``result()`` say which file is missing and
    how to get it, and ``compute()`` raises. The network is not a submodule: it never enters a task's checkpoint.

    Args:
        weights: The weights file or its folder; None: the places of :mod:`pgpis.weight_files`.
        normalize: Bring pictures from [0, 1] to the [-1, 1] that the network was made for (protocols fpdm, cfld).
            False feeds [0, 1] as it is (protocol pcdm): comparable with that paper only.

    Raises:
        PgpisError: The file is damaged or holds other weights, or (in ``update``) pictures are below 31 pixels a side.

    Source: Zhang et al. 2018; the linear weights come with the package ``lpips``.
    """

    higher_is_better = False

    def __init__(self, weights: str | Path | None = None, *, normalize: bool = True) -> None:
        named = weights is not None and Path(weights).suffix == ".pth"
        path = Path(weights).expanduser() if weights and named else expected_file(ALEXNET, weights)
        command = fetch_command(ALEXNET, None if weights is None else path.parent)
        super().__init__(NetFile("torchvision's AlexNet, which LPIPS needs", path, command), _build)
        self.normalize = normalize
        if not self._network:
            _LOGGER.warning("LPIPS is %s", self.not_computed)

    def _values(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        check_window(generated, SMALLEST, "LPIPS")
        network = self._network[0].to(generated.device)
        with torch.no_grad(), torch.autocast(generated.device.type, enabled=False):
            distances: torch.Tensor = network(generated.float(), target.float(), normalize=self.normalize)
        return distances.flatten().to(torch.float64)


def _build(file: NetFile) -> Any:
    import lpips

    with warnings.catch_warnings():
        # the package still calls torchvision's constructor with its old arguments
        warnings.simplefilter("ignore", UserWarning)
        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    weights, trunk = file.read(), {}
    for name, value in network.net.state_dict().items():
        # lpips cuts AlexNet's ``features`` into slices but keeps the number of each layer
        official = f"features.{name.split('.', 1)[1]}"
        shape = tuple(weights[official].shape) if official in weights else "nothing"
        if shape != tuple(value.shape):
            raise file.misfit(f"'{official}' should be {tuple(value.shape)}, found {shape}")
        trunk[name] = weights[official]
    network.net.load_state_dict(trunk)
    return network.requires_grad_(False).eval()
