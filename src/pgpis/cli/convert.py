"""``pgpis convert``: official checkpoints in, pgpis models out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from pgpis.cli.verbs import parse
from pgpis.methods.mcld.sizes import HEADS, IMAGE_ENCODER, NORM_GROUPS, RESAMPLER_HEAD_DIM


def parser() -> ArgumentParser:
    """Return the parser of ``pgpis convert``."""
    root = ArgumentParser(
        exit_on_error=False, prog="pgpis convert", description="Turn official checkpoints into pgpis models."
    )
    fpdm = ArgumentParser(exit_on_error=False, description="Official FPDM Lightning checkpoints to a pipeline folder.")
    fpdm.add_argument("--diffusion", type=Path, required=True, help="stage 2: last.ckpt of the diffusion model")
    fpdm.add_argument("--fusion", type=Path, default=None, help="stage 1: last.ckpt of the prior")
    fpdm.add_argument("--out", type=Path, required=True, help="folder to write the pipeline to")
    fpdm.add_argument("--config", type=Path, default=None, help="JSON with sizes that tensor shapes cannot tell")
    fpdm.add_argument(
        "--base", type=str, default=None, help="Stable Diffusion folder or hub id for parts that are missing"
    )
    mcld = ArgumentParser(exit_on_error=False, description="MCLD's four official files to a pipeline folder.")
    mcld.add_argument("--denoising", type=Path, required=True, help="denoising_unet.pth")
    mcld.add_argument("--reference", type=Path, required=True, help="reference_unet.pth")
    mcld.add_argument("--pose-guider", type=Path, required=True, help="pose_guider.pth")
    mcld.add_argument("--image-proj", type=Path, required=True, help="image_proj_model.pth or image_projector.pth")
    mcld.add_argument("--out", type=Path, required=True, help="folder to write the pipeline to")
    mcld.add_argument("--base", type=str, required=True, help="Stable Diffusion 1.5 folder or hub id: the autoencoder")
    mcld.add_argument("--image-encoder", type=str, default=IMAGE_ENCODER, help="CLIP folder or hub id")
    mcld.add_argument("--heads", type=int, default=HEADS, help="attention heads of the UNets")
    mcld.add_argument("--resampler-head-dim", type=int, default=RESAMPLER_HEAD_DIM, help="width of a resampler head")
    mcld.add_argument("--norm-groups", type=int, default=NORM_GROUPS, help="groups of the UNets' normalisation")
    verbs = root.add_subcommands()
    verbs.add_subcommand("fpdm", fpdm, help="convert FPDM")
    verbs.add_subcommand("mcld", mcld, help="convert MCLD")
    return root


def run(_verb: str, words: Sequence[str]) -> int:
    """Run ``pgpis convert fpdm`` or ``pgpis convert mcld``."""
    options = parse(parser(), words)
    from pgpis.methods.fpdm import convert_fpdm
    from pgpis.methods.mcld import convert_mcld

    if words[0] == "mcld":
        report = convert_mcld(
            options.denoising,
            options.reference,
            options.pose_guider,
            options.image_proj,
            options.out,
            options.base,
            options.image_encoder,
            options.heads,
            options.resampler_head_dim,
            options.norm_groups,
        )
    else:
        report = convert_fpdm(options.fusion, options.diffusion, options.out, options.config, options.base)
    sys.stdout.write(report.render())
    return 0
