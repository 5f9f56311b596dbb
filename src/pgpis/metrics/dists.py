"""Structure and texture of pairs of pictures (DISTS), with VGG weights that are already on disk."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torchmetrics.functional.image import dists as torchmetrics_dists
from torchvision.models.vgg import cfgs, make_layers

from pgpis.metrics.weights import NetFile, NetMetric
from pgpis.weight_files import expected_file, fetch_command

VGG16 = "dists-vgg16"
"""torchvision's VGG-16 weights in the catalogue of :mod:`pgpis.weight_files`."""
CUTS = (4, 9, 16, 23, 30)
"""Where VGG's layers end that are compared; DISTS puts a root of squares where VGG then takes a maximum."""
LEARNED = Path(torchmetrics_dists.__file__).with_name("dists_models") / "weights.pt"
"""How much each channel's structure and texture count."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DISTS(NetMetric):
    """Deep image structure and texture similarity: 0 for equal pictures, about 1 for unlike ones.

    Where the weights are absent nothing is measured, as with :class:`pgpis.metrics.LPIPS`.

    Args:
        weights: Folder of the weights file; None: the places of :mod:`pgpis.weight_files`.

    Raises:
        PgpisError: The file is damaged or holds other weights.

    Source: Ding et al. 2020; distance and its learned weights are torchmetrics'. Pictures keep their size, as there.
    """

    higher_is_better = False

    def __init__(self, weights: str | Path | None = None) -> None:
        file = NetFile("torchvision's VGG-16", expected_file(VGG16, weights), fetch_command(VGG16, weights))
        super().__init__(file, _Network)

    def _values(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        network = self._network[0].to(generated.device)
        with torch.autocast(generated.device.type, enabled=False):
            distances: torch.Tensor = network(generated.float(), target.float())
        # of equal pictures, rounding decides on which side of 0 it is
        return distances.reshape(len(generated)).to(torch.float64).clamp(min=0)


class _Network(torchmetrics_dists.DISTSNetwork):
    """torchmetrics' net with VGG from a file: its own constructor downloads it."""

    def __init__(self, file: NetFile) -> None:
        nn.Module.__init__(self)
        features, start = make_layers(cfgs["D"]), "features."
        weights = {name.removeprefix(start): value for name, value in file.read().items() if name.startswith(start)}
        try:
            features.load_state_dict(weights)
        except RuntimeError as error:
            raise file.misfit(error) from error
        self.chns = [3, 64, 128, 256, 512, 512]
        for number, (first, end) in enumerate(pairwise((0, *CUTS)), start=1):
            layers = list(features[first:end])
            if first:
                layers[0] = torchmetrics_dists.L2pooling(channels=self.chns[number - 1])
            self.add_module(f"stage{number}", nn.Sequential(*layers))
        learned = torch.load(LEARNED, map_location="cpu", weights_only=True)
        for name, values in (("mean", MEAN), ("std", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1))
        for name in ("alpha", "beta"):
            self.register_buffer(name, learned[name].detach())
        self.requires_grad_(False).eval()
