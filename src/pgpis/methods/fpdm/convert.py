"""Official FPDM checkpoints to a pipeline folder and a pgpis checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from pgpis.convert.conversion import ConversionReport, begin, finish
from pgpis.convert.rules import Duplicate, KeyReport, Rename, apply_rules
from pgpis.convert.state_dicts import read_state_dict
from pgpis.errors import PgpisError, nearest
from pgpis.methods.fpdm.assemble import Overrides, Parts, assemble, write_trained

CHECKPOINT_NAME = "checkpoint.ckpt"
"""The trained weights alone, under the names of ``FPDMTask``."""
PARTS = ("unet", "vae", "scheduler", "source_encoder", "fusion_encoder", "conditioner")
"""What ``config`` may name."""


def _prior_rules(prefix: str) -> tuple[Rename | Duplicate, ...]:
    names = {
        "kpt_projection_layer": "pose_projection",
        "image_projection_layer": "source_projection",
        "combiner_layer": "hidden_layer",
        "output_layer": "output_layer",
        "dynamic_scalar": "gate",
    }
    return (
        Rename(f"{prefix}img_encoder.", "fusion_embedder", "encoder."),
        Duplicate(f"{prefix}pose_encoder.", f"{prefix}img_encoder."),
        *(
            Rename(f"{prefix}combiner.{official}.", "fusion_embedder", f"fusion_head.{ours}.")
            for official, ours in names.items()
        ),
    )


RULES: tuple[Rename | Duplicate, ...] = (
    *_prior_rules(""),
    *_prior_rules("fusion_model."),
    Rename("unet.", "unet"),
    Rename("unet.class_embedding.", "conditioner", "fusion_projection."),
    Duplicate("sd_model.unet.", "unet."),
    Rename("sd_model.srcimage_proj_model.", "conditioner", "source_projection."),
    Rename("sd_model.pose_t_proj.", "conditioner", "pose_encoder."),
    Rename("vae.", "vae"),
    Rename("src_image_encoder.", "source_encoder"),
)
"""Names of both official checkpoints: the prior alone, and the diffusion model with the prior inside."""


def map_official_keys(
    state_dict: Mapping[str, torch.Tensor], *, source: str = "the state dict"
) -> tuple[Parts, KeyReport]:
    """Sort the tensors of an official FPDM checkpoint, of either stage, into components of ``FPDMPipeline``.

    The ``source_encoder`` has the names of transformers 4; see :func:`pgpis.convert.rules.apply_rules`.
    """
    return apply_rules(state_dict, RULES, source=source)


def convert_fpdm(
    fusion: str | Path | None,
    diffusion: str | Path,
    out: str | Path,
    config: str | Path | None = None,
    base: str | None = None,
) -> ConversionReport:
    """Turn official FPDM checkpoints into a pipeline folder, a pgpis checkpoint and a report.

    Args:
        fusion: Checkpoint of the prior (stage 1). None takes the copy inside ``diffusion``; if both are there, they
            must be equal.
        diffusion: Checkpoint of the diffusion model (stage 2).
        out: Folder to write; must not exist or be empty. Nothing is left of it if the conversion fails.
        config: JSON file with what tensor shapes cannot tell, by component (:data:`PARTS`), where it differs from
            Stable Diffusion 2.1, CLIP-L and DINOv2-L.
        base: Stable Diffusion folder or hub id, for the configurations of its parts, and for the autoencoder if the
            checkpoint lacks it.

    Raises:
        PgpisError: A file cannot be read, a tensor has no known name, is missing or has another shape than the
            configuration says, or ``out`` is not empty.
    """
    report = begin(out)
    overrides = read_config(config)
    parts = _read_parts(Path(diffusion), report)
    if "unet" not in parts:
        raise PgpisError(
            f"{diffusion} is not a checkpoint of the diffusion model: it holds {_names(parts)}, but no unet",
            hint="--diffusion is the stage 2 checkpoint, --fusion the one of the prior",
        )
    if fusion is not None:
        _merge_prior(parts, _read_parts(Path(fusion), report), Path(fusion))
    pipeline = assemble(parts, overrides, base, report)
    finish(report, pipeline, lambda folder: write_trained(pipeline, folder / CHECKPOINT_NAME))
    return report


def read_config(path: str | Path | None) -> Overrides:
    """Read the JSON file of ``convert_fpdm``'s ``config``.

    Raises:
        PgpisError: Missing, not JSON, or other than known components with a mapping each.
    """
    if path is None:
        return {}
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise PgpisError(f"cannot read --config {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise PgpisError(f"--config {path} is not JSON: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(value, dict) for value in content.values()):
        raise PgpisError(f'{path} must hold a mapping per component, as {{"unet": {{"norm_num_groups": 8}}}}')
    for name in content:
        if name not in PARTS:
            raise PgpisError(f"{path}: no component '{name}'{nearest(name, PARTS)}; there are {', '.join(PARTS)}")
    return content


def _read_parts(path: Path, report: ConversionReport) -> Parts:
    checkpoint = read_state_dict(path)
    parts, report.files[str(path)] = map_official_keys(checkpoint.tensors, source=str(path))
    report.info[str(path)] = checkpoint.info
    return parts


def _merge_prior(parts: Parts, prior: Parts, path: Path) -> None:
    """Put the prior of its own checkpoint in, or check that the one in place is the same."""
    if set(prior) != {"fusion_embedder"}:
        raise PgpisError(
            f"{path} is not a checkpoint of the prior: it holds {_names(prior)}",
            hint="--fusion is the stage 1 checkpoint, --diffusion the one of stage 2",
        )
    alone, inside = prior["fusion_embedder"], parts.setdefault("fusion_embedder", prior["fusion_embedder"])
    for name in sorted(alone.keys() | inside.keys()):
        if name not in alone or name not in inside or not torch.equal(alone[name], inside[name]):
            raise PgpisError(
                f"{path} is not the prior with which the diffusion model was trained: '{name}' differs",
                hint="leave --fusion out to take the prior inside the diffusion checkpoint",
            )


def _names(parts: Parts) -> str:
    return ", ".join(sorted(parts)) or "nothing"
