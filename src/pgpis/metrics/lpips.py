"""Learned perceptual distance, with AlexNet weights that are already on disk; nothing is ever downloaded."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from pgpis.errors import PgpisError
from pgpis.metrics.image import PairMetric, unit_range
from pgpis.metrics.weights import read_state_dict
from pgpis.weight_files import expected_file, fetch_command

ALEXNET_NAME = "torchvision's AlexNet, which LPIPS needs"
ALEXNET = "lpips-alexnet"
"""torchvision's AlexNet weights in the catalogue of :mod:`pgpis.weight_files`."""

_LOGGER = logging.getLogger(__name__)


def alexnet_path(weights: str | Path | None = None) -> Path:
    """Return where the AlexNet weights are expected.

    Args:
        weights: The file itself or the folder that holds it; None: the places of :mod:`pgpis.weight_files`.
    """
    if weights is not None and Path(weights).suffix == ".pth":
        return Path(weights).expanduser()
    return expected_file(ALEXNET, weights)


class LPIPS(PairMetric):
    """LPIPS 0.1 with AlexNet.

    Where the weights are absent nothing is measured: ``not_computed`` and ``result()`` say which file is missing and
    how to get it, and ``compute()`` raises. The network is not a submodule: it never enters a task's checkpoint.

    Args:
        weights: The weights file or its folder; None: the places of :mod:`pgpis.weight_files`.
        normalize: Bring pictures from [0, 1] to the [-1, 1] that the network was made for (protocols fpdm, cfld).
            False feeds [0, 1] as it is (protocol pcdm): comparable with that paper only.

    Raises:
        PgpisError: The file is damaged or holds other weights.

    Source: Zhang et al. 2018; the linear weights come with the package ``lpips``.
    """

    higher_is_better = False

    def __init__(self, weights: str | Path | None = None, *, normalize: bool = True) -> None:
        super().__init__()
        self.normalize = normalize
        self.weights_path = alexnet_path(weights)
        self.command = fetch_command(ALEXNET, None if weights is None else self.weights_path.parent)
        # in a tuple, because torch registers modules that are attributes
        self._network: tuple[Any, ...] = (
            (_build(self.weights_path, self.command),) if self.weights_path.is_file() else ()
        )
        if not self._network:
            _LOGGER.warning("LPIPS is %s", self.not_computed)

    @property
    def not_computed(self) -> str | None:
        """Which file is missing and the command that gets it, or None."""
        if self._network:
            return None
        path = self.weights_path
        return f"not computed: missing {path}, get it with: {self.command}"

    def pair_values(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the distance of each pair; see :meth:`PairMetric.pair_values`.

        Raises:
            PgpisError: The weights are missing.
        """
        if self.not_computed is not None:
            raise PgpisError(f"LPIPS: {self.not_computed}")
        ours, reference = unit_range(generated, target)
        network = self._network[0].to(ours.device)
        with torch.no_grad(), torch.autocast(ours.device.type, enabled=False):
            distances: torch.Tensor = network(ours.float(), reference.float(), normalize=self.normalize)
        return distances.flatten().to(torch.float64)


def _build(path: Path, command: str) -> Any:
    import lpips

    with warnings.catch_warnings():
        # the package still calls torchvision's constructor with its old arguments
        warnings.simplefilter("ignore", UserWarning)
        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    weights = read_state_dict(path, ALEXNET_NAME, command)
    trunk = network.net.state_dict()
    # lpips cuts AlexNet's ``features`` into slices but keeps the number of each layer
    features = {name: name.split(".", 1)[1] for name in trunk}
    expected = {f"features.{feature}": tuple(trunk[name].shape) for name, feature in features.items()}
    for name, shape in expected.items():
        if name not in weights or tuple(weights[name].shape) != shape:
            actual = tuple(weights[name].shape) if name in weights else "nothing"
            raise PgpisError(f"{path} is not {ALEXNET_NAME}: '{name}' should be {shape}, found {actual}", hint=command)
    network.net.load_state_dict({name: weights[f"features.{feature}"] for name, feature in features.items()})
    return network.requires_grad_(False).eval()
