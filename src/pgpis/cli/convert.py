"""``pgpis convert``: official checkpoints in, pgpis models out."""

from __future__ import annotations

import sys
from pathlib import Path

from pgpis.convert.formats import check_format
from pgpis.methods.mcld.sizes import HEADS, IMAGE_ENCODER, NORM_GROUPS, RESAMPLER_HEAD_DIM


def fpdm(
    *, diffusion: Path, out: Path, fusion: Path | None = None, config: Path | None = None, base: str | None = None
) -> None:
    """Turn official FPDM Lightning checkpoints into a pipeline folder.

    Args:
        diffusion: Stage 2: ``last.ckpt`` of the diffusion model.
        out: Folder to write the pipeline to.
        fusion: Stage 1: ``last.ckpt`` of the prior [the copy inside --diffusion].
        config: JSON with sizes that tensor shapes cannot tell.
        base: Stable Diffusion folder or hub id for parts that are missing.
    """
    for path in (diffusion, *([] if fusion is None else [fusion])):
        check_format(path)
    from pgpis.methods.fpdm import convert_fpdm  # loads torch

    sys.stdout.write(convert_fpdm(fusion, diffusion, out, config, base).render())


def mcld(
    *,
    denoising: Path,
    reference: Path,
    pose_guider: Path,
    image_proj: Path,
    out: Path,
    base: str,
    image_encoder: str = IMAGE_ENCODER,
    heads: int = HEADS,
    resampler_head_dim: int = RESAMPLER_HEAD_DIM,
    norm_groups: int = NORM_GROUPS,
) -> None:
    """Turn MCLD's four official files into a pipeline folder.

    Args:
        denoising: ``denoising_unet.pth``.
        reference: ``reference_unet.pth``.
        pose_guider: ``pose_guider.pth``.
        image_proj: ``image_proj_model.pth`` or ``image_projector.pth``.
        out: Folder to write the pipeline to.
        base: Stable Diffusion 1.5 folder or hub id: the autoencoder.
        image_encoder: CLIP folder or hub id.
        heads: Attention heads of the UNets.
        resampler_head_dim: Width of a head of the face resampler.
        norm_groups: Groups of the UNets' normalisation.
    """
    for path in (denoising, reference, pose_guider, image_proj):
        check_format(path)
    from pgpis.methods.mcld import convert_mcld  # loads torch

    report = convert_mcld(
        denoising, reference, pose_guider, image_proj, out, base, image_encoder, heads, resampler_head_dim, norm_groups
    )
    sys.stdout.write(report.render())
