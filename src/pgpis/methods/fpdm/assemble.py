"""Building FPDM's components around converted weights, strictly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import torch
from diffusers import AutoencoderKL, DDPMScheduler

from pgpis.convert import architecture
from pgpis.convert.architecture import Component, Config
from pgpis.convert.conversion import ConversionReport, plain_config
from pgpis.convert.filling import as_float32, build_empty, building_part, fill_module, shapes_of
from pgpis.denoiser import ConditionedUNet, build_unet
from pgpis.errors import PgpisError
from pgpis.methods.fpdm.conditioner import INTERPOLATION, FPDMConditioner
from pgpis.methods.fpdm.pipeline import FPDMPipeline
from pgpis.methods.fpdm.prior import FusionEmbedder
from pgpis.models.encoders import VisionEncoder, position_interpolation_of
from pgpis.models.factory import build_scheduler, build_vae, load_vision_encoder, vision_encoder_config
from pgpis.models.loading import LoadErrors, check_keys, init_keys, public_fields, stored_config, subfolder_of
from pgpis.models.weights import weights_hash

Parts: TypeAlias = dict[str, dict[str, torch.Tensor]]
"""State dict of each component."""
Overrides: TypeAlias = dict[str, dict[str, object]]
"""Fields of each component's configuration that replace what is inferred."""

LAYOUT_VERSION = "2.6.0"
"""Version of Lightning whose checkpoint layout is written."""


def assemble(parts: Parts, overrides: Overrides, base: str | None, report: ConversionReport) -> FPDMPipeline:
    """Build the pipeline around the weights, in float32.

    The report gets the configurations, and the names of tensors that come from ``base``, a Stable Diffusion folder or
    hub id.

    Raises:
        PgpisError: A component or tensor is missing, left over or has another shape.
    """
    for part in ("source_encoder", "conditioner"):
        if part not in parts:
            raise PgpisError(f"the diffusion checkpoint holds no tensor of the {part.replace('_', ' ')}")
    parts = {name: as_float32(tensors) for name, tensors in parts.items()}
    has_prior = "fusion_embedder" in parts
    components: dict[str, Any] = {
        "unet": _build_unet(parts["unet"], overrides.get("unet", {}), base, fusion=has_prior),
        "vae": _build_vae(parts.get("vae"), overrides.get("vae", {}), base, report),
    }
    with building_part("scheduler"):
        components["scheduler"] = _build_scheduler(overrides.get("scheduler", {}), base)
    source, known = parts["source_encoder"], overrides.get("source_encoder", {})
    source_config = architecture.vision_config(shapes_of(source), known, "source_encoder")
    encoder = components["source_encoder"] = _load_encoder("source_encoder", source_config, source)
    components["conditioner"] = _build_conditioner(
        parts["conditioner"], overrides.get("conditioner", {}), source_config
    )
    if not has_prior:
        _refuse_unused("fusion_encoder", overrides.get("fusion_encoder", {}))
    else:
        components["fusion_embedder"] = _build_prior(parts["fusion_embedder"], overrides.get("fusion_encoder", {}))
    report.configs = {name: plain_config(part) for name, part in components.items() if part is not encoder}
    report.configs["source_encoder"] = vision_encoder_config(encoder)
    return FPDMPipeline(**components)


def _refuse_unused(part: str, known: Config) -> None:
    if known:
        raise PgpisError(
            f"--config names '{part}', of which the checkpoint holds no tensor", hint="leave it out of that file"
        )


def _filled(part: str, weights: dict[str, torch.Tensor], build: Callable[[], Any]) -> Any:
    module = build_empty(part, build)
    fill_module(part, module, weights)
    return module


def _load_encoder(part: str, config: Config, weights: dict[str, torch.Tensor]) -> VisionEncoder:
    with building_part(part):
        return load_vision_encoder(config, weights, part)


def _build_unet(weights: dict[str, torch.Tensor], known: Config, base: str | None, *, fusion: bool) -> ConditionedUNet:
    config = _base_config(ConditionedUNet, "unet", base, known) or architecture.unet_config(shapes_of(weights), known)
    return _filled("unet", weights, lambda: build_unet(config, fusion=fusion))


def _build_vae(
    weights: dict[str, torch.Tensor] | None, known: Config, base: str | None, report: ConversionReport
) -> AutoencoderKL:
    if weights is None:
        if base is None:
            raise PgpisError(
                "the diffusion checkpoint holds no autoencoder",
                hint="take it from --base, a Stable Diffusion 2.1 folder or hub id",
            )
        _refuse_unused("vae", known)
        vae = build_vae(base)
        report.added |= {f"vae/{name}": base for name in vae.state_dict()}
        return vae
    config = _base_config(AutoencoderKL, "vae", base, known) or architecture.vae_config(shapes_of(weights), known)
    return _filled("vae", weights, lambda: build_vae(config))


def _build_conditioner(weights: dict[str, torch.Tensor], known: Config, source_config: Config) -> FPDMConditioner:
    check_keys("conditioner", known, init_keys(FPDMConditioner))
    config = _conditioner_config(Component("conditioner", shapes_of(weights), known))
    if source_config["model_type"] != "dinov2" and "source_size" not in known:
        config["source_size"] = source_config["image_size"]  # CLIP takes no other size
    return _filled("conditioner", weights, lambda: FPDMConditioner.from_config(config))


def _conditioner_config(part: Component) -> Config:
    """Return the configuration of an ``FPDMConditioner``.

    Source: The official code sees sources of 512 pixels and, with transformers 4.40, interpolates positions by scale.
    """
    config: Config = {
        "source_dim": part.shape("source_projection.net.0.weight", 2)[1],
        "token_hidden_dim": part.shape("source_projection.net.0.weight", 2)[0],
        "token_dim": part.shape("source_projection.net.4.weight", 2)[0],
        **part.pose_encoder("pose_encoder."),
        "fusion_dim": None,
        "position_interpolation": "scale_factor",
        "source_size": 512,
    }
    if part.has("fusion_projection."):
        config["fusion_hidden_dim"], config["fusion_dim"] = part.shape("fusion_projection.net.0.weight", 2)
        config["time_embed_dim"] = part.shape("fusion_projection.net.3.weight", 2)[0]
    return {**config, **part.known}


def _build_prior(weights: dict[str, torch.Tensor], known: Config) -> FusionEmbedder:
    prefix = "encoder."
    encoder_weights = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    encoder_config = architecture.vision_config(shapes_of(encoder_weights), known, "fusion_encoder")
    encoder = _load_encoder("fusion_encoder", encoder_config, encoder_weights)
    whole = Component("fusion_embedder", shapes_of(weights))
    config = {
        "encoder_config": vision_encoder_config(encoder),
        "projection_dim": whole.shape("fusion_head.pose_projection.weight", 2)[0],
        "hidden_dim": whole.shape("fusion_head.hidden_layer.weight", 2)[0],
    }
    prior = build_empty("fusion_embedder", lambda: FusionEmbedder(**config))
    prior.encoder = encoder
    head = {name: value for name, value in weights.items() if not name.startswith(prefix)}
    loaded = {f"{prefix}{name}": value for name, value in encoder.state_dict().items()}
    fill_module("fusion_embedder", prior, {**loaded, **head})
    return prior


def _build_scheduler(known: Config, base: str | None) -> DDPMScheduler:
    if base is None:
        return build_scheduler(known)
    stored = build_scheduler(base)
    inherited = {key: value for key, value in stored.config.items() if key in init_keys(type(stored))}
    return build_scheduler({**inherited, **known})


def _base_config(model_class: type[Any], part: str, base: str | None, known: Config) -> Config | None:
    if base is None:
        return None
    with LoadErrors(part, base):
        config = stored_config(model_class, base, subfolder_of(base, part))
    return {**public_fields(config), **known}


def write_trained(pipeline: FPDMPipeline, path: Path) -> None:
    """Write a checkpoint that ``--ckpt_path`` takes: the trained weights, and the hashes of the frozen parts.

    It has no state of optimiser and loops: ``validate``, ``test`` and ``predict`` load it, ``fit`` starts from the
    pipeline folder instead.
    """
    trained = {
        f"{name}.{key}": value.contiguous()
        for name in ("unet", "conditioner")
        for key, value in getattr(pipeline, name).state_dict().items()
    }
    frozen = {
        name: weights_hash(component)
        for name in ("fusion_embedder", "source_encoder", "vae")
        if (component := getattr(pipeline, name)) is not None
    }
    progress = {"epoch": 0, "global_step": 0, "pytorch-lightning_version": LAYOUT_VERSION}
    rule = position_interpolation_of(pipeline.source_encoder)
    torch.save({"state_dict": trained, "frozen": frozen, INTERPOLATION: rule, **progress}, path)
