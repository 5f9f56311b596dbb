"""Building the denoiser from a hub id, a local folder or a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgpis.denoiser.unet import ConditionedUNet
from pgpis.models.factory import ModelSpec
from pgpis.models.loading import check_keys, init_keys, load_diffusers, public_fields


def build_unet(spec: ModelSpec, *, fusion: bool = True, extra_tokens: bool = False) -> ConditionedUNet:
    """Build the denoiser.

    Args:
        spec: Hub id or folder of a Stable Diffusion pipeline (its ``unet`` subfolder is taken) or of a UNet alone; or
            a configuration of ``UNet2DConditionModel``.
        fusion: Whether an embedding is added to the time embedding; this adds no weights.
        extra_tokens: See :class:`ConditionedUNet`.

    Raises:
        PgpisError: Not found, a key that the configuration does not have, or weights that do not fit exactly.
    """
    ports: dict[str, Any] = {"class_embed_type": "identity" if fusion else None, "extra_tokens": extra_tokens}
    if isinstance(spec, Mapping):
        check_keys("unet", spec, init_keys(ConditionedUNet))
        unet: ConditionedUNet = ConditionedUNet.from_config({**public_fields(spec), **ports})
    else:
        unet = load_diffusers(ConditionedUNet, "unet", spec, subfolder="unet", **ports)
    return unet
