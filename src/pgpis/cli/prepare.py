"""``pgpis prepare``: make the conditions of a model from pictures."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from pgpis.cli.verbs import parse
from pgpis.errors import PgpisError


def parser() -> ArgumentParser:
    """Return the parser of ``pgpis prepare``."""
    root = ArgumentParser(exit_on_error=False, prog="pgpis prepare", description="Make conditions from pictures.")
    texture = ArgumentParser(
        exit_on_error=False,
        description="Texture maps from pictures and DensePose's maps, for MCLD. Run again, it makes what is missing.",
    )
    texture.add_argument("--images", type=Path, required=True, help="folder of pictures")
    texture.add_argument("--iuv", type=Path, default=None, help="folder of DensePose's maps [IMAGES_densepose]")
    texture.add_argument("--out", type=Path, default=None, help="folder to write to [IMAGES_texture]")
    texture.add_argument("--mask", type=Path, default=None, help="MCLD's texture_bg_200.png [our own chart mask]")
    texture.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes [all cores]")
    root.add_subcommands().add_subcommand("texture", texture, help="texture maps from pictures and DensePose's maps")
    return root


def run(_verb: str, words: Sequence[str]) -> int:
    """Run ``pgpis prepare``; 1 if a picture failed."""
    from pgpis.jobs import render_failures
    from pgpis.preprocess.texture import TextureJob, make_textures

    options = parse(parser(), words)
    if options.workers < 1:
        raise PgpisError(f"--workers is {options.workers}, expected at least 1")
    images = options.images.resolve()
    job = TextureJob(
        options.images,
        options.iuv or images.with_name(f"{images.name}_densepose"),
        options.out or images.with_name(f"{images.name}_texture"),
        options.mask,
    )
    result = make_textures(job, options.workers)
    sys.stdout.write(f"{job.out}: {result.made} textures made, {result.already} there already\n")
    sys.stdout.write(render_failures(result.failures))
    return 1 if result.failures else 0
