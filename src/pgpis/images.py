"""Reading, fitting and writing pictures: the same arithmetic for training, testing and a user's own photos."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from pgpis.batch import ImageSpec, ImageSpecs
from pgpis.errors import NotFiniteError, PgpisError
from pgpis.files import replacing

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def read_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read a picture as 8-bit RGB, upright.

    EXIF orientation is applied, transparency is laid on white, 16-bit grey is scaled to 8 bit.

    Raises:
        PgpisError: The file is missing, truncated or no picture.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            image.load()
    except FileNotFoundError:
        raise PgpisError(f"picture not found: {path}") from None
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise PgpisError(f"cannot read picture {path}: {error}") from error
    return to_rgb(image)


def to_rgb(image: Image.Image, background: str = "white") -> Image.Image:
    """Convert to 8-bit RGB: transparency is laid on ``background``, 16-bit grey is scaled to 8 bit."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((values / 257.0).round().clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, background), layer)
    return image.convert("RGB")


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
    resized = resize(image, rows, columns)
    top, left = (rows - height) // 2, (columns - width) // 2
    return resized.crop((left, top, left + width, top + height))


def fit_image(image: Image.Image, spec: ImageSpec) -> Image.Image:
    """Bring a picture to the size of ``spec`` in the way it asks for."""
    if spec.fit == "crop":
        return crop_to_fit(image, spec.height, spec.width)
    return resize(image, spec.height, spec.width, nearest=spec.filter == "nearest")


def fit_images(
    pictures: Mapping[str, Image.Image],
    specs: ImageSpecs,
    *,
    detour: bool = False,
) -> dict[str, torch.Tensor]:
    """Make every declared entry of a batch from the pictures of one pair.

    Args:
        pictures: By origin, ``source``, ``pose`` and so on.
        specs: What the model declared. Entries whose origin is not in ``pictures`` are left out.
        detour: Take each entry's ``train_detour``; drawn once per sample by the training transform.

    Returns:
        Tensors ``(3, H, W)`` in [-1, 1] by batch key.
    """
    fitted: dict[str, Image.Image] = {}
    for key, spec in sorted(specs.items(), key=lambda item: item[1].base is not None):
        if spec.origin not in pictures:
            continue
        picture = pictures[spec.origin] if spec.base is None else fitted[spec.base]
        if detour and spec.train_detour is not None:
            picture = resize(picture, *spec.train_detour)
        fitted[key] = fit_image(picture, spec)
    return {key: image_to_tensor(image) for key, image in fitted.items()}


def image_to_tensor(image: Image.Image) -> torch.Tensor:
    """Convert 8-bit RGB to float32 ``(3, H, W)`` in [-1, 1]."""
    array = np.array(image, dtype=np.uint8)
    return torch.from_numpy(array).permute(2, 0, 1).contiguous().to(torch.float32).div(255).mul(2).sub(1)


def rows_not_finite(images: torch.Tensor) -> list[int]:
    """Return which rows of ``(R, ...)`` hold a number that is not finite."""
    rows: list[int] = (~images.flatten(1).isfinite().all(dim=1)).nonzero().flatten().tolist()
    return rows


def tensor_to_images(images: torch.Tensor) -> list[Image.Image]:
    """Convert ``(B, 3, H, W)`` in [-1, 1] to 8-bit RGB pictures, rounded as the official FPDM code does.

    Raises:
        NotFiniteError: A picture holds numbers that are not finite.
    """
    if rows := rows_not_finite(images):
        raise NotFiniteError(rows, images, str(images.dtype).removeprefix("torch."), "they come from somewhere before")
    array = (images.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(picture) for picture in (array * 255).round().astype(np.uint8)]


def save_image(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture so that no reader ever sees half of it; the suffix chooses the format."""
    file_format = Image.registered_extensions()[Path(path).suffix.lower()]
    with replacing(path) as temporary:
        image.save(temporary, format=file_format)
