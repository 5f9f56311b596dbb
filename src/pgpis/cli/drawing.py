"""Options that ``pgpis predict`` and ``pgpis test`` share: how much memory and time pictures take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pgpis.cli.recipes import without_none
from pgpis.devices import gpu_to_lend_to
from pgpis.errors import PgpisError, check_range
from pgpis.pipelines.limits import check_band

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-true", "fp16": "16-true"}
"""Lightning's names for --dtype."""
LARGE_BATCH = 16
"""Pairs of --batch-size auto, before memory ends."""


@dataclass(frozen=True, kw_only=True)
class DrawingSettings:
    """How much memory and time pictures take."""

    batch_size: Annotated[str | None, {"metavar": "N|auto"}] = None
    """Pairs in a batch, or auto: 16. Changes no more than the last bits of pictures; where memory is not enough it is
    halved [as in the recipe]."""
    deep_cache: Annotated[int | None, {"metavar": "I"}] = None
    """Run the whole denoiser in every Ith step, else its outermost blocks alone: about twice as fast, slightly other
    pictures [1]."""
    guidance_band: Annotated[tuple[float, float] | None, {"metavar": ("LOW", "HIGH")}] = None
    """Noise levels from 0 to 1 within which there is guidance; outside, one branch runs [all]."""
    dtype: Literal["fp32", "bf16", "fp16"] | None = None
    """Numbers of the weights: half the memory, and faster on most GPUs [as in the recipe: fp32]."""
    offload: Literal["none", "model", "group"] | None = None
    """Keep weights in the CPU's memory and lend the GPU a part, or a layer, at a time [none]."""
    vae_tiling: bool = False
    """Decode pictures of more than 256 pixels in tiles."""
    compile: bool = False
    """Compile the denoiser: a minute's wait, then faster steps."""

    @property
    def pairs_at_once(self) -> int | None:
        """Pairs in a batch; None: as in the recipe.

        Raises:
            PgpisError: Neither a number nor ``auto``.
        """
        if self.batch_size is None:
            return None
        if self.batch_size == "auto":
            return LARGE_BATCH
        if not self.batch_size.isdecimal():
            raise PgpisError(f"--batch-size {self.batch_size}: expected a number or auto")
        return int(self.batch_size)

    @property
    def lends(self) -> bool:
        """Whether weights are lent to a GPU."""
        return self.offload in ("model", "group")

    def check(self) -> None:
        """Refuse what cannot be, before anything is loaded.

        Raises:
            PgpisError: Names the option.
        """
        check_range("--batch-size", self.pairs_at_once, 1, whole=True, optional=True)
        check_range("--deep-cache", self.deep_cache, 1, whole=True, optional=True)
        check_band("--guidance-band", self.guidance_band)

    def check_gpu(self) -> None:
        """Refuse to lend weights to a GPU that this machine does not have, before anything is loaded.

        Raises:
            PgpisError: There is none.
        """
        if self.lends:
            gpu_to_lend_to()

    def recipe(self) -> dict[str, Any]:
        """Return what is given as a recipe, which is laid over that of the model."""
        sampling = {
            "guidance_band": self.guidance_band,
            "deep_cache": self.deep_cache,
            "vae_tiling": self.vae_tiling or None,
            "offload": self.offload,
        }
        trainer = {
            "precision": None if self.dtype is None else PRECISIONS[self.dtype],
            # the task's parts stay where they are; the pipeline lends them to the GPU
            "accelerator": "cpu" if self.lends else None,
        }
        model = {"sampling": sampling, "step": {"compile_unet": self.compile or None}}
        recipe = {"model": {"init_args": model}, "data": {"eval_batch_size": self.pairs_at_once}, "trainer": trainer}
        return without_none(recipe)
