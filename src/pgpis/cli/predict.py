"""``pgpis predict``: short options for folders of sources and poses on top of the config system."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from pgpis.cli.exported import words_of_pipeline
from pgpis.cli.prepare import add_settings, settings_of
from pgpis.cli.verbs import OneLineParser, Text
from pgpis.errors import PgpisError, check_range
from pgpis.pipelines.shipped import SHIPPED
from pgpis.preprocess.settings import PrepareSettings

FOLDER_OPTIONS = (
    "pairs",
    "pairing",
    "textures",
    "faces",
    "missing_face",
    "identity",
    "clothes",
    "prepare",
    "retarget",
    "save_conditions",
    "every",
)
PREFIX = "prepare-"
MODEL_WORDS = ("-c", "--ckpt_path", "--model", "--model.class_path", "--model.init_args.pipeline")
"""Words of the config system that say which model is meant."""
MCLD_OPTIONS = ("textures", "faces", "missing_face", "identity", "clothes")

log = logging.getLogger(__name__)


def parser() -> OneLineParser:
    """Return the parser of the short options; what it does not know goes to the config system."""
    short = OneLineParser(
        prog="pgpis predict",
        description="Make a picture for every pair of a source picture and a target pose.",
        epilog="All other options are keys of the recipe: 'pgpis predict --out . --print_config' shows them.",
        allow_abbrev=False,
    )
    short.add_argument(
        "--config", action="append", default=[], help="recipe, may be repeated [as the pipeline was exported]"
    )
    short.add_argument(
        "--pipeline",
        help=f"pipeline folder, hub id or bundle, or a model that ships with pgpis: {', '.join(SHIPPED)}; "
        "without it and --config, one of these",
    )
    short.add_argument("--sources", help="folder (or one file) of source pictures")
    short.add_argument(
        "--poses",
        help="folder (or one file) of poses: 18-point txt, OpenPose JSON, 133-point txt/npy, drawn skeleton; "
        "for MCLD DensePose's maps as png",
    )
    short.add_argument("--driving", help="for --poses: photographs to take the poses from, a folder, a file or a video")
    short.add_argument("--every", type=int, metavar="N", help="of a driving video take each Nth frame [1]")
    short.add_argument("--out", required=True, help="folder to write to; a second run continues there")
    short.add_argument("--pairs", help="CSV with columns source,pose[,target][,identity][,clothes]")
    short.add_argument(
        "--pairing", choices=["stem", "product"], help="same stem, or every source with every pose [product]"
    )
    short.add_argument("--textures", help="MCLD: folder (or one file) of texture maps [SOURCES_texture]")
    short.add_argument("--faces", help="MCLD: folder (or one file) of face embeddings [SOURCES_face]")
    short.add_argument(
        "--missing-face", choices=["error", "drop", "skip"], help="MCLD: what happens without a face embedding [error]"
    )
    short.add_argument("--identity", metavar="PICTURE", help="MCLD: whose face and head all results take")
    short.add_argument(
        "--clothes",
        metavar="GROUP=PICTURE",
        action="append",
        default=[],
        help="MCLD: take upper, lower, feet, head, ... from another picture; may be repeated",
    )
    short.add_argument(
        "--prepare", action="store_true", help="make missing textures and faces of the sources; --driving does too"
    )
    short.add_argument("--retarget", action="store_true", help="give driving poses the limb lengths of the source")
    short.add_argument("--save-conditions", metavar="FOLDER", help="keep what is made of photographs, and use it again")
    short.add_argument("--images-per-pair", type=int, help="pictures per pair [1]")
    short.add_argument("--steps", type=int, help="denoising steps [as in the recipe]")
    short.add_argument("--guidance-scale", type=float, help="classifier-free guidance [as in the recipe]")
    short.add_argument("--seed", type=int, help="seed of all noise [0]")
    short.add_argument("--batch-size", type=int, help="pairs per batch")
    add_settings(short.add_argument_group("tools of --prepare and --driving, as in 'pgpis prepare'"), PREFIX)
    return short


def to_config_words(options: argparse.Namespace) -> list[str]:
    """Spell the short options as keys of the config system."""
    words = [f"--config={name}" for name in options.config]
    if not words:
        words = ["--config=fpdm.yaml"] if options.pipeline is None else words_of_pipeline(options.pipeline)
    out = f"./{options.out}" if options.out.startswith("~") else options.out  # the shell has read its own ~ already
    texts = {"--model.init_args.pipeline": options.pipeline, "--trainer.default_root_dir": out}
    long_forms = {
        "--model.init_args.sampling.images_per_pair": options.images_per_pair,
        "--model.init_args.sampling.num_inference_steps": options.steps,
        "--model.init_args.sampling.guidance_scale": options.guidance_scale,
        "--seed_everything": options.seed,
        "--data.eval_batch_size": options.batch_size,
        "--trainer.logger": "false",
        "--return_predictions": "false",
    }
    if options.poses and options.driving:
        raise PgpisError("--poses and --driving exclude each other", hint="--driving is for photographs")
    poses = options.poses or options.driving
    if options.sources or poses:
        if not (options.sources and poses):
            raise PgpisError("--sources and --poses go together", hint="--sources FOLDER --poses FOLDER")
        photos = bool(options.driving or options.prepare)
        words.append(f"--data.predict={'pgpis.preprocess.photos.PhotoPairs' if photos else 'FolderPairs'}")
        long_forms |= _photo_options(options) if photos else {}
        if not photos and (options.retarget or options.save_conditions):
            raise PgpisError("--retarget and --save-conditions go with --driving or --prepare")
        if options.every is not None and not options.driving:
            raise PgpisError("--every goes with a video", hint="--driving clip.mp4")
        texts |= {
            "--data.predict.init_args.sources": options.sources,
            "--data.predict.init_args.poses": poses,
            "--data.predict.init_args.pairs_csv": options.pairs,
            "--data.predict.init_args.textures": options.textures,
            "--data.predict.init_args.faces": options.faces,
            "--data.predict.init_args.identity": options.identity,
            "--data.predict.init_args.clothes": options.clothes or None,
        }
        texts |= {"--data.predict.init_args.save_conditions": options.save_conditions} if photos else {}
        long_forms |= {
            "--data.predict.init_args.pairing": options.pairing,
            "--data.predict.init_args.on_missing.face": options.missing_face,
            "--data.predict.init_args.on_missing.face_space": face_space(options),
        }
    elif any(getattr(options, name) for name in FOLDER_OPTIONS):
        raise PgpisError(
            f"{', '.join('--' + name.replace('_', '-') for name in FOLDER_OPTIONS)} need --sources and --poses"
        )
    words += [Text(key, value) for key, value in texts.items() if value is not None]
    return words + [f"{key}={value}" for key, value in long_forms.items() if value is not None]


def _photo_options(options: argparse.Namespace) -> dict[str, str | None]:
    """Spell what is made of photographs, and how."""
    settings, usual = settings_of(options, PREFIX), PrepareSettings()
    changed = {
        name: str(getattr(settings, name))
        for name in PrepareSettings.__dataclass_fields__
        if getattr(settings, name) != getattr(usual, name)
    }
    return {
        "--data.predict.init_args.driving": str(bool(options.driving)).lower(),
        "--data.predict.init_args.retarget": str(options.retarget).lower(),
        "--data.predict.init_args.every": None if options.every is None else str(options.every),
        **{f"--data.predict.init_args.settings.{name}": value for name, value in changed.items()},
    }


def face_space(options: argparse.Namespace) -> str | None:
    """Return whose face embeddings a shipped model reads, or one that was trained by its recipe; None: any model's."""
    for name, shipped in SHIPPED.items():
        if options.pipeline == name or shipped.recipe in options.config:
            return shipped.face_space
    return None


def shipped_model(options: argparse.Namespace) -> str:
    """Choose the shipped model that the options ask for: MCLD's are MCLD's."""
    return "synth-mcld" if any(getattr(options, name) for name in MCLD_OPTIONS) else "synth-fpdm"


def check_numbers(options: argparse.Namespace) -> None:
    """Refuse numbers that no prediction can have, before anything is loaded.

    Raises:
        PgpisError: Names the option.
    """
    from pgpis.pipelines.base import MOST_IMAGES  # these load torch
    from pgpis.tasks.base import LARGEST_SEED

    check_range("--images-per-pair", options.images_per_pair, 1, MOST_IMAGES, whole=True, optional=True)
    check_range("--steps", options.steps, 1, whole=True, optional=True)
    check_range("--guidance-scale", options.guidance_scale, 0, optional=True)
    check_range("--seed", options.seed, 0, LARGEST_SEED, whole=True, optional=True)
    check_range("--batch-size", options.batch_size, 1, whole=True, optional=True)


def run(verb: str, words: Sequence[str]) -> int:
    """Run ``pgpis predict``; 1 if a pair failed."""
    options, rest = parser().parse_known_args(list(words))
    check_numbers(options)
    if options.pipeline is None and not options.config:
        key = "--model.init_args.pipeline="
        options.pipeline = next((word.removeprefix(key) for word in rest if word.startswith(key)), None)
    told = bool(options.pipeline or options.config) or any(word.split("=")[0] in MODEL_WORDS for word in rest)
    if not told:
        options.pipeline = shipped_model(options)
        log.info("no --config: %s, which ships with pgpis and knows drawn people only", options.pipeline)
    from pgpis.cli import lightning  # loads torch

    return lightning.run(verb, [*to_config_words(options), *rest])
