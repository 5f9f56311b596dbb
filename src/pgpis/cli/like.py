"""``pgpis predict --like``: what the mark of a picture says, laid under the options that are given."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pgpis.cli.models import DRAWING, names_model
from pgpis.cli.options import given, with_more
from pgpis.cli.predict import PredictSettings
from pgpis.errors import PgpisError
from pgpis.files import file_name, resolved, write_text
from pgpis.models.foreign import check_config
from pgpis.pictures.kinds import all_kinds
from pgpis.pipelines.shipped import SHIPPED
from pgpis.predictions import MarkedPicture
from pgpis.preprocess.settings import PrepareSettings
from pgpis.tasks.options import Video

log = logging.getLogger(__name__)

POSES = "like"
"""Folder among the results for the key points that a mark holds."""
NOT_SAMPLING = ("seed", "precision", *DRAWING, "scheduler", "scheduler_config")
"""Settings of a mark whose place in a recipe is not ``sampling``, or that the pipeline has by itself."""
RENAMED = {"steps": "num_inference_steps"}


def laid_under(settings: PredictSettings, path: Path, words: Sequence[str]) -> tuple[PredictSettings, dict[str, Any]]:
    """Read the mark of a picture, and return :func:`settings_like` and :func:`recipe_like` it.

    Raises:
        PgpisError: Of any of these; or the picture is a frame whose first frame its mark does not hold.
    """
    picture = MarkedPicture.read(path)
    if picture.mark.settings.get("anchor"):
        raise PgpisError(
            f"--like: {path} is a frame of a video that was drawn beside the first frame, and cannot be made alone",
            hint="make the video again",
        )
    return settings_like(picture, settings, words), recipe_like(picture)


def settings_like(picture: MarkedPicture, settings: PredictSettings, words: Sequence[str]) -> PredictSettings:
    """Return settings with what a marked picture was made of and with; options that are given stay.

    Args:
        picture: The picture.
        settings: As they were given.
        words: Keys of the recipe, which may name the model.

    Raises:
        PgpisError: The model does not ship with pgpis and is not named, the mark holds no pose and none is given, or
            the results could take the picture's place.
    """
    mark = picture.mark
    if resolved(picture.path.parent) == resolved(settings.out):
        message = f"--like: {picture.path} lies in {settings.out}, where a result could take its place"
        raise PgpisError(message, hint="give another --out")
    tools = mark.provenance["tools"]
    has_model = settings.pipeline or settings.config or names_model(words)
    was_prepared = not settings.driving and {*tools.get("made", [])} - {"pose"} != set()
    like = replace(
        settings,
        pipeline=settings.pipeline if has_model else _shipped_pipeline(picture),
        poses=settings.poses if settings.poses or settings.driving else _pose_file(picture, settings.out),
        noise_name=settings.noise_name or mark.noise_name,
        missing_face=settings.missing_face or ("drop" if "face" in mark.provenance["dropped"] else None),
        prepare=settings.prepare or was_prepared,
        retarget=settings.retarget or bool(settings.driving and tools.get("retarget")),
    )
    like.check_tools()
    return replace(like, tools=_tools_like(tools, settings.tools))


def recipe_like(picture: MarkedPicture) -> dict[str, Any]:
    """Return the settings of a marked picture as a recipe, to be laid over that of the model.

    Raises:
        PgpisError: A setting is not a number.
    """
    mark = picture.mark
    sampling = {RENAMED.get(key, key): value for key, value in mark.settings.items() if key not in NOT_SAMPLING}
    # a recipe may name classes, and so could a stranger's text
    if texts := [key for key, value in sampling.items() if isinstance(value, str | dict) or "class" in key]:
        raise PgpisError(f"{picture.path}: its mark is damaged: {texts[0]} is not a number")
    usual = {"guidance_band": None, "deep_cache": None, "vae_tiling": False, "refine": True, "video": asdict(Video())}
    scheduler = mark.sampler and check_config(mark.sampler, str(picture.path))
    data = {key: mark.settings[key] for key in DRAWING if key in mark.settings}
    if mark.batch[1] > 1:
        log.info("%s was one of a batch of %d, and is made as one of as many", picture.path, mark.batch[1])
    return {
        "model": {"init_args": {"sampling": {**usual, **sampling, "scheduler": scheduler}}},
        "data": {**data, "eval_batch_size": 1},
        "trainer": {key: mark.settings[key] for key in ("precision",) if key in mark.settings},
        "seed_everything": mark.settings["seed"],
    }


def _shipped_pipeline(picture: MarkedPicture) -> str:
    name = picture.mark.pipeline
    if name in SHIPPED:
        return str(name)
    if name is None:
        reason, hint = "a recipe and a checkpoint", "--config RECIPE --ckpt_path FILE"
    else:
        reason, hint = f"the pipeline '{name}', which does not ship with pgpis", "--pipeline FOLDER: where it is"
    raise PgpisError(f"{picture.path} was made with {reason}", hint=hint)


def _pose_file(picture: MarkedPicture, out: Path) -> Path:
    """Write the key points of a mark among the results, as any pose, and return the file."""
    pose = picture.mark.provenance["pose"]
    if pose is None:
        raise PgpisError(
            f"--like: {picture.path} holds no key points: its pose was a map or a drawing",
            hint="--poses FILE or --driving PHOTOGRAPH, the one that it was made with",
        )
    # anna_2_walk_1.png is picture 1 of the pair anna_2_walk, and so may its like be called
    number = f"_{picture.mark.number}" if picture.mark.settings["images_per_pair"] > 1 else ""
    stem = picture.path.stem.removesuffix(number)
    path = out / POSES / file_name(stem.partition("_2_")[2] or stem, ".json")
    write_text(path, json.dumps(pose) + "\n")
    return path


def _tools_like(tools: dict[str, Any], chosen: PrepareSettings) -> PrepareSettings:
    """Take the tools of a mark where none is given; not their files, which are other people's paths."""
    hints = get_type_hints(PrepareSettings)
    deciding = {name for kind in all_kinds() for name in kind.settings or () if Path not in get_args(hints[name])}
    return with_more(chosen, **{name: tools[name] for name in sorted(deciding & tools.keys() - given(chosen))})
