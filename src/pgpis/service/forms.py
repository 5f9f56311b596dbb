"""The multipart form of a request: read within limits, checked before anybody waits for it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.datastructures import FormData, UploadFile

from pgpis.errors import PgpisError, check_range, nearest
from pgpis.pictures.keypoint_files import MOST_BYTES
from pgpis.pictures.uv_texture import PART_GROUPS, parts_of
from pgpis.service.body import read_form
from pgpis.service.jobs import CLOTHES, Job, RefusedError, Upload
from pgpis.service.settings import Limits
from pgpis.studio.request import (
    LEAST_SIDE,
    MOST_GUIDANCE,
    MOST_PHOTOS,
    MOST_SEED,
    MOST_SIDE,
    SIDE_STEP,
    Drawing,
    check_photos,
)
from pgpis.studio.uploads import OtherKindError, TooManyPixelsError, picture_suffix

SOURCE = "source"
"""The one field that may be given again: for other pictures of the same person."""
PICTURES = (SOURCE, "driving", "identity")


class PictureForm(BaseModel):
    """The fields of a request that are not files; what is left out is as the model's pipeline says."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str | None, Field(description="Name of the model; the first one if it is left out.")] = None
    steps: Annotated[int | None, Field(ge=1, description="Denoising steps.")] = None
    guidance_scale: Annotated[
        float | None, Field(ge=0, le=MOST_GUIDANCE, allow_inf_nan=False, description="Classifier-free guidance.")
    ] = None
    seed: Annotated[int, Field(ge=0, le=MOST_SEED, description="Seed of the noise.")] = 0
    pictures: Annotated[int, Field(ge=1, description="How many pictures, of different noise.")] = 1
    height: Annotated[
        int | None, Field(ge=LEAST_SIDE, le=MOST_SIDE, multiple_of=SIDE_STEP, description="In pixels, with width.")
    ] = None
    width: Annotated[
        int | None, Field(ge=LEAST_SIDE, le=MOST_SIDE, multiple_of=SIDE_STEP, description="In pixels, with height.")
    ] = None
    retarget: Annotated[
        bool,
        Field(description="Give the driving pose the limb lengths of the source; for models that read key points."),
    ] = False
    format: Annotated[
        Literal["png", "json"] | None,
        Field(
            description="png: the picture; json: pictures in base64, and what was asked for. Several are always JSON."
        ),
    ] = None
    seen: Annotated[bool, Field(description="Add what the model saw; the answer is JSON then.")] = False

    @model_validator(mode="after")
    def _check_size(self) -> PictureForm:
        if (self.height is None) != (self.width is None):
            raise ValueError("height and width go together")
        return self


async def read_job(request: Request, models: Mapping[str, str], limits: Limits) -> Job:
    """Read a request.

    Raises:
        RefusedError: Something about it is wrong.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise RefusedError(
            415, "the request is not a form with files", hint="multipart/form-data, as curl -F source=@me.jpg sends it"
        )
    for name in request.query_params:
        hint = "curl -F sends fields of the form"
        raise RefusedError(422, f"'{_shown(name)}' is in the address, expected in the form", hint=hint)
    form = await read_form(request, limits.max_bytes)
    try:
        _refuse_repeated(form)
        uploads = [(name, await value.read()) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    finally:
        await form.close()
    texts = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    # headers of pictures are a stranger's, and parsing one must not hold up the others
    return await asyncio.to_thread(_job, texts, uploads, models, limits)


def _refuse_repeated(form: FormData) -> None:
    names = [name for name, _ in form.multi_items()]
    for name in names:
        if names.count(name) > 1 and name != SOURCE:
            raise RefusedError(422, f"'{_shown(name)}' is given twice")
    try:
        check_photos(names.count(SOURCE))
    except PgpisError as error:
        raise RefusedError(422, f"{SOURCE}: {error.message}") from error


def _job(
    texts: Mapping[str, str], uploads: Sequence[tuple[str, bytes]], models: Mapping[str, str], limits: Limits
) -> Job:
    """Check a form, its texts first."""
    further = [content for name, content in uploads if name == SOURCE][1:]
    files: dict[str, bytes] = {}
    for name, content in uploads:
        files.setdefault(name, content)
    form = _read_texts(texts, files)
    model = next(iter(models)) if form.model is None else form.model
    if model not in models:
        raise RefusedError(
            422, f"there is no model '{_shown(model)}'{nearest(model, models)}", hint=f"one of {', '.join(models)}"
        )
    try:
        check_range("steps", form.steps, 1, limits.max_steps, whole=True, optional=True)
        check_range("pictures", form.pictures, 1, limits.max_pictures, whole=True)
        size = None if form.height is None or form.width is None else (form.height, form.width)
        drawing = Drawing(
            steps=form.steps,
            guidance_scale=form.guidance_scale,
            size=size,
            seed=form.seed,
            pictures=form.pictures,
        )
    except PgpisError as error:
        raise RefusedError(422, error.message, hint=error.hint) from error
    if form.format == "png" and (form.pictures > 1 or form.seen):
        raise RefusedError(422, "several pictures, and what the model saw, do not fit into one PNG", hint="format=json")
    return Job(
        model=model,
        drawing=drawing,
        files=_read_files(files, limits, retarget=form.retarget),
        further=tuple(_picture(content, f"{SOURCE} {number}", limits) for number, content in enumerate(further, 2)),
        retarget=form.retarget,
        as_json=form.format == "json" or form.pictures > 1 or form.seen,
        wants_seen=form.seen,
    )


def _read_texts(texts: Mapping[str, str], files: Mapping[str, bytes]) -> PictureForm:
    for name in files:
        if name in PictureForm.model_fields:
            raise RefusedError(422, f"{name} is a file, expected a value", hint=f"curl -F {name}=...")
    for name in texts:
        if name in (*PICTURES, "pose") or name.startswith(CLOTHES):
            raise RefusedError(422, f"{_shown(name)} is a text, expected a file", hint=f"curl -F {_shown(name)}=@FILE")
        if name not in PictureForm.model_fields:
            known = (*PictureForm.model_fields, *PICTURES, "pose")
            raise RefusedError(
                422, f"there is no field '{_shown(name)}'{nearest(name, known)}", hint="/docs lists them"
            )
    try:
        return PictureForm.model_validate({name: text for name, text in texts.items() if text})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise RefusedError(422, reason) from error
        name = str(first["loc"][0])
        raise RefusedError(422, f"{name} is '{_shown(texts[name])}': {reason[0].lower()}{reason[1:]}") from error


def _read_files(files: Mapping[str, bytes], limits: Limits, *, retarget: bool) -> dict[str, Upload]:
    """Check which files there are, and look at the first bytes of each."""
    for name in files:
        if name.startswith(CLOTHES):
            try:
                parts_of(name[len(CLOTHES) :])
            except (PgpisError, ValueError) as error:
                hint = f"{CLOTHES}GROUP; GROUP is one of {', '.join(PART_GROUPS)}"
                raise RefusedError(422, f"'{_shown(name)}' names no group of body parts", hint=hint) from error
        elif name not in (*PICTURES, "pose"):
            known = (*PICTURES, "pose", *(f"{CLOTHES}{group}" for group in PART_GROUPS))
            raise RefusedError(422, f"there is no file '{_shown(name)}'{nearest(name, known)}", hint="/docs lists them")
    if "source" not in files:
        raise RefusedError(422, "source is missing, the picture of the person", hint="curl -F source=@me.jpg")
    if ("pose" in files) == ("driving" in files):
        given = "both are given" if "pose" in files else "both are missing"
        hint = "pose is a file of key points or a drawn skeleton, driving a photograph of somebody in the pose"
        raise RefusedError(422, f"expected one of pose and driving, {given}", hint=hint)
    if retarget and "pose" in files:
        raise RefusedError(422, "retarget goes with driving, not with pose", hint="leave retarget out")
    return {
        name: _pose(content, limits) if name == "pose" else _picture(content, name, limits)
        for name, content in files.items()
    }


def _picture(content: bytes, name: str, limits: Limits) -> Upload:
    """Accept a picture of an advertised kind and size; a worker decodes it."""
    if not content:
        raise RefusedError(422, f"{name} is empty")
    try:
        return Upload(content, picture_suffix(io.BytesIO(content), name, limits.max_pixels))
    except OtherKindError as error:
        raise RefusedError(415, error.message) from error
    except PgpisError as error:
        raise RefusedError(
            413 if isinstance(error, TooManyPixelsError) else 422, error.message, hint=error.hint
        ) from error


def _pose(content: bytes, limits: Limits) -> Upload:
    """Tell key points from a drawn skeleton."""
    start = content[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    is_json = start[:1] in (b"{", b"[")
    if not is_json and not (start and all(byte in b"0123456789+-.eE \t\r\n" for byte in start)):
        try:
            _picture(content, "pose", limits)
            return Upload(content, ".png")  # as which models that read maps look for one; all are read by their content
        except RefusedError as refusal:
            if refusal.status != 415:
                raise
            expected = "a PNG, JPEG or WebP picture of a skeleton, OpenPose's JSON, or 18 lines 'x y'"
            raise RefusedError(415, f"pose is not {expected}") from refusal
    if len(content) > MOST_BYTES:
        raise RefusedError(413, f"pose has {len(content):,} bytes, expected the key points of one person")
    return Upload(content, ".json" if is_json else ".txt")


def _shown(text: str) -> str:
    """Shorten what a client sent, for a message."""
    return "".join(character if character.isprintable() else "?" for character in text[:60])


def form_schema(models: Mapping[str, str], limits: Limits) -> dict[str, Any]:
    """Return the JSON schema of the form, for OpenAPI."""
    schema = PictureForm.model_json_schema()
    properties: dict[str, Any] = {
        SOURCE: "Picture of the person: PNG, JPEG or WebP; given again, other pictures of the same person.",
        "pose": "Key points (OpenPose's JSON, or 18 lines 'x y'), or a drawn skeleton or map; this or driving.",
        "driving": "Photograph of somebody in the pose; this or pose.",
        "identity": "Photograph whose face and head the result takes; for models that read textures and faces.",
        **{
            f"{CLOTHES}{group}": f"Photograph whose clothes the result takes: {group}; likewise."
            for group in PART_GROUPS
        },
    }
    file = {"type": "string", "format": "binary"}
    several = {"type": "array", "items": file, "minItems": 1, "maxItems": MOST_PHOTOS}
    properties = {
        name: {**(several if name == SOURCE else file), "description": text} for name, text in properties.items()
    }
    for name, field in schema["properties"].items():
        (kind,) = [each for each in field.pop("anyOf", [{}]) if each.get("type") != "null"]
        properties[name] = kind | {key: value for key, value in field.items() if key != "title" and value is not None}
    properties["model"]["enum"] = list(models)
    properties["steps"]["maximum"] = limits.max_steps
    properties["pictures"]["maximum"] = limits.max_pictures
    return {"type": "object", "required": ["source"], "properties": properties, "additionalProperties": False}
