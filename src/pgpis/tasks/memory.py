"""Pictures with less memory: smaller batches, and weights that are lent to the GPU."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from diffusers import AutoencoderDC

from pgpis.devices import gpu_to_lend_to
from pgpis.errors import PgpisError
from pgpis.models.autoencoder import Autoencoder, scale_factor
from pgpis.pictures.decoding import warn_once
from pgpis.pipelines.base import SamplingPipeline

log = logging.getLogger(__name__)

LEAST_TILE = 256
"""Least side of a tile in pixels: what a net that was trained on whole pictures sees of one must not be too little."""
OVERLAP = 0.25
"""How much of a tile its neighbour shows too; there, one is blended into the other."""
NO_MEMORY = re.compile(r"out of memory|not enough memory|(can't|Cannot) allocate memory|ALLOC(ATION)?_FAILED")
"""What the allocators of PyTorch and the libraries of a GPU's maker say, in errors of many kinds."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, on a GPU or on the CPU, perhaps within another error."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or NO_MEMORY.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def halved(pairs: int, reason: str) -> int:
    """Return half as many pairs for a batch, and free what PyTorch keeps for later.

    Args:
        pairs: How many did not fit into memory.
        reason: What PyTorch said.

    Raises:
        PgpisError: It was one.
    """
    if pairs == 1:
        message = f"memory is not enough for one pair: {reason}"
        raise PgpisError(message, hint="--dtype bf16, --vae-tiling, --offload model or fewer --images-per-pair")
    log.warning("memory is not enough for %d pairs at once, going on with %d: %s", pairs, pairs // 2, reason)
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
    return pairs // 2


@contextmanager
def tiled(vae: Autoencoder, size: Sequence[int] | None) -> Iterator[None]:
    """Let an autoencoder decode and encode in overlapping tiles while the block runs; after it, it is as it was.

    A tile is square: of half the picture's longer side and at least :data:`LEAST_TILE` pixels, or a little more,
    whatever the autoencoder's configuration says of the sizes that it was trained at.

    Args:
        vae: The autoencoder.
        size: Height and width of the pictures in pixels; None: it works on whole pictures.
    """
    if size is None:
        yield
        return
    before = {name: value for name, value in vars(vae).items() if name.startswith("tile_") or name == "use_tiling"}
    factor = scale_factor(vae)
    side = _tile_side(size, factor)
    if max(size) <= side:
        warn_once(
            f"sampling.vae_tiling: pictures of {size[0]}x{size[1]} are no larger than a tile of {side} pixels, and are "
            "decoded as a whole"
        )
    if isinstance(vae, AutoencoderDC):
        vae.enable_tiling(side, side, _stride(side), _stride(side))
    else:
        vae.enable_tiling()
        vae.tile_sample_min_size, vae.tile_latent_min_size = side, side // factor
        vae.tile_overlap_factor = OVERLAP
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(vae, name, value)


def _tile_side(size: Sequence[int], factor: int) -> int:
    """Return the side of tiles in pixels, such that none at the right or lower edge is a mere strip."""
    step = factor * round(1 / OVERLAP)  # the overlap is of whole latents
    least = step * math.ceil(max(LEAST_TILE, max(size) / 2) / step)
    sides = range(least, max(least, *size) + step, step)
    return next((side for side in sides if not any(0 < extent % _stride(side) < side / 8 for extent in size)), least)


def _stride(side: int) -> int:
    return int(side * (1 - OVERLAP))


def refuse_lending(offload: str) -> None:
    """Refuse to lend parts that are being trained.

    Raises:
        PgpisError: ``offload`` is not ``none``.
    """
    if offload != "none":
        message = f"sampling.offload is {offload}, but training needs its weights where they are"
        raise PgpisError(message, hint="--model.init_args.sampling.offload none; it is for predict and test")


def lend_parts(pipeline: SamplingPipeline, offload: Literal["model", "group"]) -> None:
    """Keep a pipeline's weights in the CPU's memory, and lend the GPU what is computing.

    Args:
        pipeline: Its parts are hooked, for good.
        offload: ``model`` lends a part at a time, ``group`` a layer at a time.

    Raises:
        PgpisError: There is no GPU.
    """
    device = torch.device(gpu_to_lend_to())
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_group_offload(device, offload_type="leaf_level", use_stream=device.type == "cuda")
