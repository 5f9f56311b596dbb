"""Rows of the denoiser's batch: results tiled over pairs, guidance branches stacked, generators per row."""

from __future__ import annotations

from typing import TypeAlias

import torch

from pgpis.denoiser.diffusion import guide_three_branches, guide_two_branches
from pgpis.errors import PgpisError

Generators: TypeAlias = torch.Generator | list[torch.Generator] | None


def branch_rows(
    condition: torch.Tensor, absent: torch.Tensor, branches: int, num_images: int, present: tuple[bool, ...]
) -> torch.Tensor:
    """Tile a condition over results and stack the branches (u, s, c) that run, ``absent`` where it is not present."""
    selected = {1: present[2:], 2: present[::2], 3: present}[branches]
    return torch.cat([condition if is_present else absent for is_present in selected for _ in range(num_images)])


def guide(prediction: torch.Tensor, branches: int, fusion_scale: float, pose_scale: float) -> torch.Tensor:
    """Combine the predictions of the branches that ran, stacked as in :func:`branch_rows`."""
    if branches == 1:
        return prediction
    if branches == 2:
        unconditional, conditional = prediction.chunk(2)
        return guide_two_branches(unconditional, conditional, pose_scale)
    unconditional, pose, conditional = prediction.chunk(3)
    return guide_three_branches(unconditional, pose, conditional, pose_scale=pose_scale, fusion_scale=fusion_scale)


def per_row(generator: Generators, pairs: int, num_images: int) -> Generators:
    """Give each of the tiled results its generator; a pair's results draw from the pair's own one after another.

    Raises:
        PgpisError: A number of generators that is neither that of the pairs nor that of the results, or something
            that is not a generator.
    """
    if generator is None or isinstance(generator, torch.Generator):
        return generator
    if not isinstance(generator, list) or not all(isinstance(entry, torch.Generator) for entry in generator):
        raise PgpisError(f"generator is {type(generator).__name__}, expected a torch.Generator or a list of them")
    if len(generator) == pairs * num_images:
        return generator
    if len(generator) == pairs:
        return generator * num_images
    raise PgpisError(f"got {len(generator)} generators, expected one, {pairs} or {pairs * num_images}")
