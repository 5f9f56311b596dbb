"""Official MCLD weights to a pipeline folder."""

from __future__ import annotations

from pathlib import Path

import torch

from pgpis.convert import architecture
from pgpis.convert.architecture import Component, Config, Shapes
from pgpis.convert.conversion import ConversionReport, begin, finish, plain_config
from pgpis.convert.filling import as_float32, build_empty, fill_module, shapes_of
from pgpis.convert.rules import KeyReport
from pgpis.convert.state_dicts import read_state_dict
from pgpis.denoiser import build_unet
from pgpis.errors import PgpisError, check_range
from pgpis.methods.mcld.conditioner import MCLDConditioner
from pgpis.methods.mcld.pipeline import MCLDPipeline
from pgpis.methods.mcld.reference import ReferenceNet, build_reference_net
from pgpis.methods.mcld.resampler import renamed_resampler, resampler_names
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
UNETS_HINT = "--denoising is denoising_unet.pth, --reference is reference_unet.pth"
CONFIGURED = ("unet", "conditioner", "vae", "scheduler")
FACES = "conditioner/face_resampler."
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
    weights = _read(denoising, report, "unet/")
    unet_config = architecture.unet_config(shapes_of(weights), config, "denoising_unet", UNETS_HINT)
    unet = build_empty("denoising_unet", lambda: build_unet(unet_config, fusion=False, extra_tokens=True), SIZES_HINT)
    reference_net = build_empty("reference_unet", lambda: build_reference_net(unet_config), SIZES_HINT)
    fill_module("denoising_unet", unet, weights, hint=SIZES_HINT)
    weights = _read_reference(reference, reference_net, report)
    fill_module("reference_unet", reference_net, weights, hint=f"{UNETS_HINT}; {SIZES_HINT}")
    faces, poses = _read(image_proj, report, FACES), _read(pose_guider, report, "conditioner/pose_encoder.")
    for name in faces:
        report.files[str(image_proj)].renamed[name] = " and ".join(FACES + own for own in resampler_names(name))
    ports = _conditioner_config(shapes_of(faces), shapes_of(poses), resampler_head_dim)
    conditioner = build_empty("conditioner", lambda: MCLDConditioner(**ports), SIZES_HINT)
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


def _read(path: str | Path, report: ConversionReport, prefix: str) -> dict[str, torch.Tensor]:
    tensors = read_state_dict(path).tensors
    report.files[str(path)] = KeyReport({name: f"{prefix}{name}" for name in tensors})
    return as_float32(tensors)


def _read_reference(path: str | Path, reference_net: ReferenceNet, report: ConversionReport) -> dict[str, torch.Tensor]:
    """Leave out what comes after the last ``norm1``, and say so in the report."""
    weights, keys = _read(path, report, "reference_net/"), report.files[str(path)]
    tail = reference_net.tail()
    for name in [name for name in weights if name.startswith(tail)]:
        del keys.renamed[name], weights[name]
        keys.dropped[name] = TAIL
    return weights


def _conditioner_config(face_shapes: Shapes, pose_shapes: Shapes, head_dim: int) -> Config:
    hint = "--image-proj is image_proj_model.pth, --pose-guider is pose_guider.pth"
    faces = Component("image_proj_model", face_shapes, hint=hint)
    poses = Component("pose_guider", pose_shapes, hint=hint)
    dim, face_dim = faces.shape("proj_in.weight", 2)
    width = faces.shape("layers.0.0.to_q.weight", 2)[0]
    if width % head_dim:
        raise PgpisError(f"--resampler-head-dim is {head_dim}, expected a divisor of {width}, the width of all heads")
    return {
        "token_dim": faces.shape("proj_out.weight", 2)[0],
        "face_dim": face_dim,
        "resampler_dim": dim,
        "resampler_depth": len(faces.numbers(r"layers\.(\d+)\.")),
        "resampler_heads": width // head_dim,
        "resampler_head_dim": head_dim,
        "face_tokens": faces.shape("latents", 3)[1],
        **poses.pose_encoder(),
        "iuv_filter": "bicubic",  # the official loader mixes labels
    }
