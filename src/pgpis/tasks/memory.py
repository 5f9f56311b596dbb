"""Pictures with less memory: smaller batches, and weights that are lent to the GPU."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from pgpis.devices import device_here
from pgpis.errors import PgpisError
from pgpis.models.autoencoder import Autoencoder
from pgpis.pipelines.base import SamplingPipeline

log = logging.getLogger(__name__)


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
def tiled(vae: Autoencoder, is_on: bool) -> Iterator[None]:
    """Let an autoencoder work in tiles while the block runs, if asked to: one that is trained on is as it was after."""
    if is_on:
        vae.enable_tiling()
    try:
        yield
    finally:
        if is_on:
            vae.disable_tiling()


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
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        raise PgpisError("sampling.offload lends weights to a GPU, and there is none", hint="--offload none")
    device = torch.device(device_here(device.type))
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_group_offload(device, offload_type="leaf_level", use_stream=device.type == "cuda")
