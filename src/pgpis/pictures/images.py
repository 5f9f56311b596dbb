"""Reading, fitting and writing pictures: the same arithmetic for training, testing and a user's own photos."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image

from pgpis.batch import ImageSpecs
from pgpis.errors import NotFiniteError, PgpisError
from pgpis.files import replacing
from pgpis.pictures.colour_profiles import to_srgb
from pgpis.pictures.decoding import FORMATS, check_size, decode, errors_named, read_bytes, warn_once
from pgpis.pictures.plausibility import check_drawn_pose

IMAGE_SUFFIXES = tuple(FORMATS)
_BAND = 2**20
"""Pixels that are converted at once where that needs memory."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation."""
_SIDEWAYS = {_TURNS[5], _TURNS[6], _TURNS[7], _TURNS[8]}
_BACKWARDS = {_TURNS[3], _TURNS[4], _TURNS[6], _TURNS[7]}
"""Turns that make rows columns, and those after which the first row is the last."""


def read_image(path: str | os.PathLike[str], background: str = "white") -> Image.Image:
    """Read a picture as 8-bit sRGB, upright; see :func:`upright_rgb`.

    Args:
        path: A JPEG, PNG, WebP or BMP file.
        background: Colour on which transparency is laid; ``black`` for drawn poses.

    Raises:
        PgpisError: The file is missing, damaged, not such a picture, or exceeds a limit of ``decoding``.
    """
    return upright_rgb(decode(read_bytes(path), path), path, background)


def read_drawn_pose(path: str | os.PathLike[str]) -> Image.Image:
    """Read a picture of a skeleton.

    Raises:
        PgpisError: The file is missing or not such a picture.
    """
    drawing = read_image(path, background="black")
    check_drawn_pose(drawing, str(path))
    return drawing


def upright_rgb(image: Image.Image, name: object = "picture", background: str = "white") -> Image.Image:
    """Bring any picture of Pillow to what models read: 8-bit sRGB, upright, opaque, without metadata.

    EXIF orientation and embedded profiles are applied, transparency is laid on ``background``, 16-bit grey is scaled.
    Metadata that cannot be parsed costs the orientation only. What takes memory is done band by band, so that a large
    picture is there twice at most.

    Args:
        image: It may be opened and not yet decoded.
        name: What messages call it.
        background: Colour on which transparency is laid.

    Raises:
        PgpisError: It exceeds a limit of ``decoding`` or cannot be decoded.
    """
    check_size(image.size, name)
    with errors_named(name):
        image.load()
        return _to_rgb(image, background, _turn(image, name), to_srgb(image, name))


def _to_rgb(
    image: Image.Image,
    background: str,
    turn: Image.Transpose | None,
    colours: Callable[[Image.Image], Image.Image] | None,
) -> Image.Image:
    if colours is None and turn is None and not image.has_transparency_data and image.mode[0] not in "IF":
        rgb = image.convert("RGB")
        rgb.info.clear()
        return rgb
    width, height = image.size
    rows = max(1, _BAND // max(1, width))
    rgb = Image.new("RGB", (height, width) if turn in _SIDEWAYS else (width, height))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        band = _band_to_rgb(image.crop((0, top, width, bottom)), colours, background)
        start = height - bottom if turn in _BACKWARDS else top
        rgb.paste(band if turn is None else band.transpose(turn), (start, 0) if turn in _SIDEWAYS else (0, start))
    return rgb


def _band_to_rgb(
    band: Image.Image, colours: Callable[[Image.Image], Image.Image] | None, background: str
) -> Image.Image:
    alone = band.info.get("transparency")
    opacity = None
    if band.mode.startswith(("I", "F")):
        values = np.asarray(band, dtype=np.float64)
        band = Image.fromarray((values / 257.0).round().clip(0, 255).astype(np.uint8))
        if isinstance(alone, int):  # one of 65,536 values, not of those that are left
            opacity = Image.fromarray(np.where(values == alone, 0, 255).astype(np.uint8))
    opaque = band.convert("RGB") if colours is None else colours(band)
    if opacity is not None:
        band = Image.merge("LA", (band, opacity))
    if not band.has_transparency_data:
        return opaque
    layer = band.convert("RGBA")
    if colours is not None:
        alpha = layer.getchannel("A")
        layer = opaque.convert("RGBA")
        layer.putalpha(alpha)
    return Image.alpha_composite(Image.new("RGBA", layer.size, background), layer).convert("RGB")


def _turn(image: Image.Image, name: object) -> Image.Transpose | None:
    """Read the orientation alone: what else cameras note may be damaged or odd."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception as error:  # noqa: BLE001  EXIF is a stranger's binary tree, and its parsers raise anything
        warn_once(f"{name}: its EXIF cannot be read, so it is taken as upright ({type(error).__name__}: {error})")
        return None


def resize(image: Image.Image, height: int, width: int, *, nearest: bool = False) -> Image.Image:
    """Resize with PIL's bicubic filter, columns first and rows second; or take the nearest pixel.

    Pillow up to 10.3, which made the official numbers, always filtered in this order; newer versions choose the order
    by cost, and the 8-bit rounding between the two passes then gives other pixels (up to 5 of 255 on a 750x1101
    picture). Two explicit passes give the official result with every Pillow.
    """
    resampling = Image.Resampling.NEAREST if nearest else Image.Resampling.BICUBIC
    return image.resize((width, image.height), resampling).resize((width, height), resampling)


def crop_to_fit(image: Image.Image, height: int, width: int) -> Image.Image:
    """Scale until the short edge fits, then crop the centre, as ``CLIPImageProcessor`` does for square sizes."""
    if height * image.width >= width * image.height:
        rows, columns = height, image.width * height // image.height
    else:
        rows, columns = image.height * width // image.width, width
    top, left = (rows - height) // 2, (columns - width) // 2
    return resize(image, rows, columns).crop((left, top, left + width, top + height))


def fit_images(
    pictures: Mapping[str, Image.Image], specs: ImageSpecs, *, detour: bool = False
) -> dict[str, torch.Tensor]:
    """Make every declared entry of a batch from the pictures of one pair.

    Args:
        pictures: By origin, ``source``, ``pose`` and so on.
        specs: What the model declared. Entries whose origin is not in ``pictures`` are left out.
        detour: Take each entry's ``train_detour``; drawn once per sample by the training transform.

    Returns:
        Tensors ``(3, H, W)`` in [-1, 1] by batch key.

    Raises:
        PgpisError: A picture exceeds a limit of ``decoding``.
    """
    fitted: dict[str, Image.Image] = {}
    for key, spec in sorted(specs.items(), key=lambda item: item[1].base is not None):
        if spec.origin not in pictures:
            continue
        picture = pictures[spec.origin] if spec.base is None else fitted[spec.base]
        check_size(picture.size, spec.origin)
        if detour and spec.train_detour is not None:
            picture = resize(picture, *spec.train_detour)
        if spec.fit == "crop":
            fitted[key] = crop_to_fit(picture, spec.height, spec.width)
        else:
            fitted[key] = resize(picture, spec.height, spec.width, nearest=spec.filter == "nearest")
    return {key: image_to_tensor(image) for key, image in fitted.items()}


def image_to_tensor(image: Image.Image) -> torch.Tensor:
    """Convert 8-bit RGB to float32 ``(3, H, W)`` in [-1, 1]."""
    array = np.array(image, dtype=np.uint8)
    return torch.from_numpy(array).permute(2, 0, 1).contiguous().to(torch.float32).div(255).mul(2).sub(1)


def rows_not_finite(images: torch.Tensor) -> list[int]:
    """Return which rows of ``(R, ...)`` hold a number that is not finite."""
    return (~images.flatten(1).isfinite().all(dim=1)).nonzero().flatten().tolist()


def tensor_to_images(images: torch.Tensor) -> list[Image.Image]:
    """Convert ``(B, 3, H, W)`` in [-1, 1] to 8-bit RGB pictures, rounded as the official FPDM code does.

    Raises:
        NotFiniteError: A picture holds numbers that are not finite.
    """
    if rows := rows_not_finite(images):
        raise NotFiniteError(rows, images, str(images.dtype).removeprefix("torch."), "an earlier step produced them")
    array = (images.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(picture) for picture in (array * 255).round().astype(np.uint8)]


def save_image(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture so that no reader ever sees half of it; the suffix chooses the format.

    Raises:
        PgpisError: The suffix names no format that pgpis writes, or the file cannot be written.
    """
    file_format = FORMATS.get(Path(path).suffix.lower())
    if file_format is None:
        raise PgpisError(f"cannot write {path}: a picture's name ends in {', '.join(IMAGE_SUFFIXES)}")
    with replacing(path) as temporary:
        image.save(temporary, format=file_format)
