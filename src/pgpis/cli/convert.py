"""``pgpis convert``: official checkpoints in, pgpis models out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from pgpis.cli.verbs import parse
from pgpis.convert.fpdm import convert_fpdm


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
    root.add_subcommands().add_subcommand("fpdm", fpdm, help="convert FPDM")
    return root


def run(_verb: str, words: Sequence[str]) -> int:
    """Run ``pgpis convert fpdm``."""
    options = parse(parser(), words)
    report = convert_fpdm(
        fusion=options.fusion,
        diffusion=options.diffusion,
        out=options.out,
        config=options.config,
        base=options.base,
    )
    sys.stdout.write(report.render())
    return 0
