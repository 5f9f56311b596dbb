"""Official MCLD weights to a pipeline folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pgpis.convert import architecture
from pgpis.convert.conversion import ConversionReport, begin, finish, plain_config
from pgpis.convert.filling import as_float32, fill_module, shapes_of
from pgpis.convert.rules import KeyReport
from pgpis.convert.state_dicts import read_state_dict
from pgpis.denoiser import ConditionedUNet
from pgpis.errors import PgpisError, check_range
from pgpis.methods.mcld.conditioner import MCLDConditioner
from pgpis.methods.mcld.pipeline import MCLDPipeline
from pgpis.methods.mcld.reference import ReferenceNet
from pgpis.methods.mcld.resampler import renamed_resampler
from pgpis.methods.mcld.sizes import HEADS, IMAGE_ENCODER, NORM_GROUPS, RESAMPLER_HEAD_DIM
from pgpis.models.factory import build_scheduler, build_vae, build_vision_encoder

SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_schedule": "linear",  # the released test; training used scaled_linear
    "clip_sample": False,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "steps_offset": 1,
    "timestep_spacing": "trailing",
}
SIZES_HINT = "if the model is not of the published size, say --heads, --resampler-head-dim and --norm-groups"
CONFIGURED = ("unet", "conditioner", "vae", "scheduler")
TAIL = "follows the last norm1 of the ReferenceNet: nothing reads it"


def convert_mcld(
    denoising: str | Path,
    reference: str | Path,
    pose_guider: str | Path,
    image_proj: str | Path,
    out: str | Path,
    base: str,
    image_encoder: str = IMAGE_ENCODER,
    heads: int = HEADS,
    resampler_head_dim: int = RESAMPLER_HEAD_DIM,
    norm_groups: int = NORM_GROUPS,
) -> ConversionReport:
    """Turn the four official files into a pipeline folder and a report; arguments as those of ``pgpis convert mcld``.

    ``out`` must not exist or be empty; nothing is left of it if the conversion fails. The autoencoder of ``base`` and
    ``image_encoder``, CLIP, are in no file.

    Raises:
        PgpisError: A file cannot be read, a tensor is missing, left over or has another shape, or ``out`` is not empty.
    """
    for name, value in (("heads", heads), ("resampler-head-dim", resampler_head_dim), ("norm-groups", norm_groups)):
        check_range(f"--{name}", value, 1, whole=True)
    report = begin(out)
    config = {"attention_head_dim": heads, "norm_num_groups": norm_groups, "upcast_attention": False, "sample_size": 64}
    weights = _read(denoising, report, "unet")
    unet_config = architecture.unet_config(shapes_of(weights), config)
    with torch.device("meta"):
        unet, reference_net = ConditionedUNet(**unet_config, extra_tokens=True), ReferenceNet(**unet_config)
    fill_module("denoising_unet", unet, weights, hint=SIZES_HINT)
    fill_module("reference_unet", reference_net, _read_reference(reference, reference_net, report), hint=SIZES_HINT)
    faces, poses = _read(image_proj, report, "conditioner"), _read(pose_guider, report, "conditioner")
    with torch.device("meta"):
        conditioner = MCLDConditioner(**_conditioner_config(faces, poses, resampler_head_dim))
    fill_module("image_proj_model", conditioner.face_resampler, renamed_resampler(faces), hint=SIZES_HINT)
    fill_module("pose_guider", conditioner.pose_encoder, poses, hint=SIZES_HINT)
    vae, encoder = build_vae(base), build_vision_encoder(image_encoder)
    report.added |= {f"vae/{name}": base for name in vae.state_dict()}
    report.added |= {f"image_encoder/{name}": image_encoder for name in encoder.state_dict()}
    pipeline = MCLDPipeline(
        vae=vae,
        unet=unet,
        reference_net=reference_net,
        scheduler=build_scheduler(SCHEDULER),
        image_encoder=encoder,
        conditioner=conditioner.eval(),
        output_size=[512, 352],
    )
    report.configs = {name: plain_config(pipeline.components[name]) for name in CONFIGURED}
    finish(report, pipeline)
    return report


def _read(path: str | Path, report: ConversionReport, component: str) -> dict[str, torch.Tensor]:
    tensors = read_state_dict(path).tensors
    report.files[str(path)] = KeyReport({name: f"{component}/{name}" for name in tensors})
    return as_float32(tensors)


def _read_reference(path: str | Path, reference_net: ReferenceNet, report: ConversionReport) -> dict[str, torch.Tensor]:
    """Leave out what comes after the last ``norm1``, and say so in the report."""
    weights, keys = _read(path, report, "reference_net"), report.files[str(path)]
    tail = reference_net.tail()
    for name in [name for name in weights if name.startswith(tail)]:
        del keys.renamed[name], weights[name]
        keys.dropped[name] = TAIL
    return weights


def _conditioner_config(
    faces: Mapping[str, torch.Tensor], poses: Mapping[str, torch.Tensor], head_dim: int
) -> dict[str, Any]:
    try:
        dim, face_dim = faces["proj_in.weight"].shape
        blocks = sum(name.startswith("blocks.") and name.endswith("bias") for name in poses)
        layers = ["conv_in", *(f"blocks.{stage}" for stage in range(1, blocks, 2))]
        return {
            "token_dim": faces["proj_out.weight"].shape[0],
            "face_dim": face_dim,
            "resampler_dim": dim,
            "resampler_depth": len({name.split(".")[1] for name in faces if name.startswith("layers.")}),
            "resampler_heads": faces["layers.0.0.to_q.weight"].shape[0] // head_dim,
            "resampler_head_dim": head_dim,
            "face_tokens": faces["latents"].shape[1],
            "pose_hidden_channels": tuple(poses[f"{layer}.weight"].shape[0] for layer in layers),
            "pose_channels": poses["conv_out.weight"].shape[0],
            "iuv_filter": "bicubic",  # the official loader mixes labels
        }
    except KeyError as error:
        raise PgpisError(
            f"a tensor is missing: {error}",
            hint="--image-proj is image_proj_model.pth, --pose-guider is pose_guider.pth",
        ) from error
