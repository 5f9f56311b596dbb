"""From the files of a pair to the tensors a model asked for, with FPDM's training augmentation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from pgpis.batch import ImageSpec, InputSpecs, VectorSpec
from pgpis.data.pair import LoadedPair
from pgpis.errors import PgpisError, check_range
from pgpis.pictures.drawing import CANVAS, centre_on_canvas, draw_pose, other_aspect
from pgpis.pictures.images import fit_images
from pgpis.pictures.keypoints import Frame, Keypoints
from pgpis.pictures.kinds import conditions, kind_of


@dataclass(frozen=True)
class Augmentation:
    """What varies from one training epoch to the next.

    Source: the official training; see docs/data/deepfashion.md.
    """

    jitter: float = 1.0
    """Standard deviation of the noise on the key points, in pixels of the canvas on which the pose is drawn."""
    flip_probability: float = 0.5
    """Probability of mirroring source, target and key points together."""
    detour_probability: float = 0.5
    """Probability that the source goes through the low resolution that the model declares (``train_detour``)."""

    def __post_init__(self) -> None:
        check_range("data.augmentation.jitter", self.jitter, 0)
        check_range("data.augmentation.flip_probability", self.flip_probability, 0, 1)
        check_range("data.augmentation.detour_probability", self.detour_probability, 0, 1)


FPDM_AUGMENTATION = Augmentation()


def sample_generator(*parts: int) -> torch.Generator:
    """Return the generator of one sample; its state depends on nothing but (seed, epoch, index)."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class PairTransform:
    """Draws the pose and fits all pictures of a pair.

    Args:
        specs: What the model declared.
        train: Apply ``augmentation``.
        pose_canvas: (height, width) on which key points are drawn before they are resized; it decides how thick the
            limbs are. A pose whose frame has another aspect ratio is centred on it instead of squashed.
        stick_width: Half the thickness of a limb on that canvas; the skeleton's own by default.
        augmentation: What varies in training.
        cache: Features that take the place of pictures.
    """

    def __init__(
        self,
        specs: InputSpecs,
        *,
        train: bool,
        pose_canvas: tuple[int, int] = CANVAS,
        stick_width: int | None = None,
        augmentation: Augmentation = FPDM_AUGMENTATION,
        cache: Features | None = None,
    ) -> None:
        self.images = {key: spec for key, spec in specs.items() if isinstance(spec, ImageSpec)}
        self.vectors = {key: spec for key, spec in specs.items() if isinstance(spec, VectorSpec)}
        self.may_flip = may_flip(specs)
        self.cache = cache
        self.cached: dict[str, str] = {}
        if cache is not None:
            self.cached = {name: self.images[picture].origin for name, picture in cache.pictures.items()}
            self.images = without(self.images, set(cache.pictures.values()))
        entries: list[ImageSpec | VectorSpec] = [*self.images.values(), *self.vectors.values()]
        self.origins = frozenset(entry.origin for entry in entries)
        self.train = train
        self.pose_canvas = pose_canvas
        self.stick_width = stick_width
        self.augmentation = augmentation

    def __call__(self, loaded: LoadedPair, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """Make the tensors of one pair.

        Args:
            loaded: Content of its files.
            generator: Source of all random draws; needed in training.

        Returns:
            By batch key: float32 RGB ``(3, H, W)`` in [-1, 1], and float32 ``(N,)``.

        Raises:
            PgpisError: Training without a generator, or an embedding of another size.
        """
        flip = detour = False
        keypoints = self._place(loaded.keypoints)
        if self.train:
            if generator is None:
                raise PgpisError("PairTransform(train=True) needs a generator for its random draws")
            flip_draw, detour_draw = torch.rand(2, generator=generator).tolist()
            flip = flip_draw < self.augmentation.flip_probability
            detour = detour_draw < self.augmentation.detour_probability
            if keypoints is not None:
                noise = torch.randn(keypoints.points.shape, generator=generator, dtype=torch.float64)
                keypoints = augment(keypoints, self.augmentation.jitter * noise.numpy(), flip=flip)
            elif loaded.pose_image is not None:
                flip = False  # mirroring a drawing would exchange the colours of left and right
            flip = flip and self.may_flip
        pictures = {"source": loaded.source, "target": loaded.target}
        fitted = {
            name: mirror(picture) if flip else picture for name, picture in pictures.items() if picture is not None
        }
        if keypoints is not None:
            height, width = self.pose_canvas
            fitted["pose"] = Image.fromarray(draw_pose(keypoints, height, width, stick_width=self.stick_width))
        elif loaded.pose_image is not None:
            fitted["pose"] = centre_on_canvas(loaded.pose_image, self.pose_canvas)
        for name, content in loaded.conditions.items():
            if isinstance(content, Image.Image):
                of_pose = kind_of(name).of == "target"
                fitted[name] = centre_on_canvas(content, self.pose_canvas) if of_pose else content
        fitted |= {origin: Image.new("RGB", (1, 1)) for origin in loaded.dropped if origin != "face"}
        tensors = fit_images(fitted, self.images, detour=detour) | self._vectors(loaded)
        return tensors | self._features(loaded, flip=flip, detour=detour)

    def _features(self, loaded: LoadedPair, *, flip: bool, detour: bool) -> dict[str, torch.Tensor]:
        """Look up the features that take the place of pictures."""
        if self.cache is None:
            return {}
        return {
            name: self.cache.read(name, loaded.pair.file(origin), flip=flip, detour=detour)
            for name, origin in self.cached.items()
        }

    def _vectors(self, loaded: LoadedPair) -> dict[str, torch.Tensor]:
        """Make the embeddings; what was dropped is zero."""
        vectors = {}
        for key, spec in self.vectors.items():
            values = loaded.conditions.get(spec.origin)
            values = np.zeros(spec.size, np.float32) if values is None else values
            if values.shape != (spec.size,):
                raise PgpisError(
                    f"{loaded.pair.file(spec.origin)} holds {len(values)} numbers, the model reads {spec.size}"
                )
            vectors[key] = torch.from_numpy(values)
        return vectors

    def _place(self, keypoints: Keypoints | None) -> Keypoints | None:
        """Move key points to the canvas."""
        if keypoints is None:
            return None
        height, width = self.pose_canvas
        if keypoints.skeleton == "coco17":
            keypoints = keypoints.to_body18()
        frame = keypoints.frame
        if other_aspect(frame.height, frame.width, self.pose_canvas):
            frame = frame.padded(width / height)
            keypoints = Keypoints(keypoints.points, keypoints.visible, frame, keypoints.skeleton)
        return keypoints.to(Frame(height, width))


class Features(Protocol):
    """Features that were computed beforehand; see ``pgpis.data.cache``."""

    pictures: dict[str, str]
    """Batch key of the picture that each feature stands for."""

    def read(self, name: str, path: Path | None, *, flip: bool, detour: bool) -> torch.Tensor:
        """Return the feature of a picture."""


def may_flip(specs: InputSpecs) -> bool:
    """Whether a pair may be mirrored: body parts are left or right, and a mirrored person has another texture."""
    pictures = [spec.origin for spec in specs.values() if isinstance(spec, ImageSpec)]
    return not conditions(pictures)


def without(images: Mapping[str, ImageSpec], covered: set[str]) -> dict[str, ImageSpec]:
    """Leave out the entries that a cache covers, except those from which others are made."""
    left = {key: spec for key, spec in images.items() if key not in covered}
    bases = {spec.base for spec in left.values()}
    return {key: spec for key, spec in images.items() if key in left or key in bases}


def augment(keypoints: Keypoints, noise: np.ndarray[tuple[int, ...], np.dtype[np.float64]], *, flip: bool) -> Keypoints:
    """Move key points by ``noise``, then mirror them.

    Args:
        keypoints: In the frame of the canvas.
        noise: float64 ``(N, 2)`` in pixels of the canvas.
        flip: Mirror them, as the pictures are.

    Source: official training augmentation; fixtures ``preprocess`` ``aug.*``.
    """
    moved = keypoints.jitter(noise)
    return moved.flip() if flip else moved


def mirror(picture: Image.Image) -> Image.Image:
    """Return the picture with left and right exchanged."""
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
