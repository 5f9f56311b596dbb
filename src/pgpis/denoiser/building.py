"""Building the denoiser from a hub id, a local folder or a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import UNet2DConditionModel

from pgpis.denoiser.multifocal import MultiFocalUNet
from pgpis.denoiser.unet import PoseUNet
from pgpis.models.factory import ModelSpec
from pgpis.models.loading import check_keys, init_keys, load_diffusers, public_fields, stored_config, subfolder_of


def build_unet(spec: ModelSpec, *, fusion: bool = True) -> PoseUNet:
    """Build the denoiser.

    Args:
        spec: Hub id or folder of a Stable Diffusion pipeline (its ``unet`` subfolder is taken) or of a UNet alone; or
            a configuration of ``UNet2DConditionModel``.
        fusion: Whether an embedding is added to the time embedding; this adds no weights.

    Raises:
        PgpisError: Not found, a key that the configuration does not have, or weights that do not fit exactly.
    """
    port: dict[str, Any] = {"class_embed_type": "identity" if fusion else None}
    if isinstance(spec, Mapping):
        check_keys("unet", spec, init_keys(PoseUNet))
        unet: PoseUNet = PoseUNet.from_config({**public_fields(spec), **port})
    else:
        unet = load_diffusers(PoseUNet, "unet", spec, subfolder="unet", **port)
    return unet


def build_focal_unet(spec: ModelSpec) -> MultiFocalUNet:
    """Build MCLD's denoiser; ``spec`` as in :func:`build_unet`.

    A stock UNet has no weights for the face tokens: these start as copies of the layer's own, as IP-Adapter's do.
    """
    if isinstance(spec, Mapping):
        check_keys("unet", spec, init_keys(MultiFocalUNet))
        unet: MultiFocalUNet = MultiFocalUNet.from_config(public_fields(spec))
        return unet
    loaded: MultiFocalUNet = load_diffusers(
        MultiFocalUNet, "unet", spec, subfolder="unet", may_lack=(".to_k_ip.weight", ".to_v_ip.weight")
    )
    if not has_face_weights(spec):
        loaded.start_face_attention()
    return loaded


def has_face_weights(spec: str) -> bool:
    """Whether a local folder says that its denoiser is MCLD's; what comes from the hub is stock."""
    config = Path(spec, subfolder_of(spec, "unet") or "", "config.json")
    return (
        config.is_file()
        and stored_config(UNet2DConditionModel, str(config.parent)).get("_class_name") == "MultiFocalUNet"
    )
