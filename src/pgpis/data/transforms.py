"""From the files of a pair to the tensors a model asked for, with FPDM's training augmentation."""

from __future__ import annotations

import hashlib
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps

from pgpis.batch import FURTHER, ImageSpec, InputSpecs, VectorSpec
from pgpis.data.further import PER_SOURCE
from pgpis.data.pair import LoadedPair
from pgpis.errors import PgpisError, check_range
from pgpis.pictures.decoding import warn_once
from pgpis.pictures.drawing import CANVAS, PoseSkeleton, centre_on_canvas, draw_pose, other_aspect
from pgpis.pictures.framing import reframed
from pgpis.pictures.images import fit_images
from pgpis.pictures.keypoints import Frame, Keypoints
from pgpis.pictures.kinds import conditions, kind_of
from pgpis.pictures.plausibility import tell_once

if TYPE_CHECKING:  # it imports this module
    from pgpis.data.features import FeatureCache


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
    reference_zoom: tuple[float, float] = (1.0, 1.0)
    """Range of the factor by which the source is enlarged about its middle; below 1 it is made smaller."""
    reference_cut: tuple[float, float] = (0.0, 0.0)
    """Range of the share of the source's height that is cut from below, with the same share of its width."""

    def __post_init__(self) -> None:
        check_range("data.augmentation.jitter", self.jitter, 0)
        check_range("data.augmentation.flip_probability", self.flip_probability, 0, 1)
        check_range("data.augmentation.detour_probability", self.detour_probability, 0, 1)
        for name, least, most in (("reference_zoom", 0.25, 4), ("reference_cut", 0, 0.8)):
            low, high = getattr(self, name)
            check_range(f"data.augmentation.{name}", high, least, most)
            check_range(f"data.augmentation.{name}", low, least, high)

    @property
    def reframes(self) -> bool:
        """Whether sources are framed anew."""
        return (self.reference_zoom, self.reference_cut) != ((1, 1), (0, 0))

    def reframe(self, source: Image.Image, generator: torch.Generator) -> Image.Image:
        """Frame a source anew, by two draws."""
        draws = torch.rand(2, generator=generator).tolist()
        ranges = (self.reference_zoom, self.reference_cut)
        zoom, cut = (low + (high - low) * draw for (low, high), draw in zip(ranges, draws, strict=True))
        return reframed(source, zoom, cut)


FPDM_AUGMENTATION = Augmentation()


def sample_generator(*parts: int) -> torch.Generator:
    """Return the generator of one sample; its state depends on nothing but (seed, epoch, index)."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(eq=False)
class PairTransform:
    """Draws the pose and fits all pictures of a pair."""

    specs: InputSpecs
    """What the model declared."""
    _: KW_ONLY
    train: bool
    """Apply ``augmentation``."""
    pose_canvas: tuple[int, int] = CANVAS
    """(height, width) on which key points are drawn before they are resized; it decides how thick the limbs are. A pose
    or map of another aspect ratio is centred on it; but where a pair has a target, it is squashed as the target is, on
    which it must lie."""
    stick_width: int | None = None
    """Half the thickness of a limb on that canvas; the skeleton's own by default."""
    pose_skeleton: PoseSkeleton | None = None
    """Key points that the model was trained on; None: nobody says."""
    augmentation: Augmentation = FPDM_AUGMENTATION
    """What varies in training."""
    cache: FeatureCache | None = None
    """Features that take the place of pictures."""

    def __post_init__(self) -> None:
        self.images = {key: spec for key, spec in self.specs.items() if isinstance(spec, ImageSpec)}
        self.vectors = {key: spec for key, spec in self.specs.items() if isinstance(spec, VectorSpec)}
        self.may_flip = may_flip(self.specs)
        self.cached: dict[str, str] = {}
        if self.cache is not None:
            self.cached = {name: self.images[picture].origin for name, picture in self.cache.pictures.items()}
            # what the cache covers is left out, except those from which others are made, or that the loss reads
            replaced = set(self.cache.pictures.values()).difference(self.cache.kept)
            left = {key: spec for key, spec in self.images.items() if key not in replaced}
            bases = {spec.base for spec in left.values()}
            self.images = {key: spec for key, spec in self.images.items() if key in left or key in bases}
        entries: list[ImageSpec | VectorSpec] = [*self.images.values(), *self.vectors.values()]
        self.origins = frozenset(entry.origin for entry in entries)
        if self.train and self.augmentation.reframes:
            self._refuse_other_frames()

    def _refuse_other_frames(self) -> None:
        """Refuse what was made of sources as they are, beside sources that are framed anew."""
        made = [kind.plural for kind in conditions(spec.origin for spec in self.specs.values()) if kind.of == "source"]
        made += [f"cached {name}" for name, origin in self.cached.items() if origin == "source"]
        if made:
            raise PgpisError(
                f"data.augmentation.reference_zoom and reference_cut frame sources anew, but not {', '.join(made)}",
                hint="pgpis synth --misaligned draws pairs of that kind with all their files",
            )

    def __call__(self, loaded: LoadedPair, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """Make the tensors of one pair.

        Args:
            loaded: Content of its files.
            generator: Source of all random draws; needed in training.

        Returns:
            By batch key: float32 RGB ``(3, H, W)`` in [-1, 1], and float32 ``(N,)``; of K further sources, together
            ``(K, 3, H, W)`` and ``(K, N)``.

        Raises:
            PgpisError: Training without a generator, an embedding of another size, or key points that the model does
                not know.
        """
        flip = detour = False
        for each in () if self.train else (loaded, *loaded.further):
            self._tell_squashed(each)
        has_target = loaded.pair.target is not None  # all that shows its pose is squashed as it is
        keypoints = None if loaded.keypoints is None else self._place(self._known(loaded), squash=has_target)
        if self.train:
            if generator is None:
                raise PgpisError("PairTransform(train=True) needs a generator for its random draws")
            flip_draw, detour_draw = torch.rand(2, generator=generator).tolist()
            flip = self.may_flip and flip_draw < self.augmentation.flip_probability
            detour = detour_draw < self.augmentation.detour_probability
            if keypoints is not None:
                noise = torch.randn(keypoints.points.shape, generator=generator, dtype=torch.float64)
                keypoints = keypoints.jitter(self.augmentation.jitter * noise.numpy())
                keypoints = keypoints.flip() if flip else keypoints
            elif loaded.pose_image is not None:
                flip = False  # mirroring a drawing would exchange the colours of left and right
        read = {"source": self._framed(loaded.source, generator), "target": loaded.target}
        pictures = {
            name: ImageOps.mirror(image) if flip else image for name, image in read.items() if image is not None
        }
        if keypoints is not None:
            height, width = self.pose_canvas
            pictures["pose"] = Image.fromarray(draw_pose(keypoints, height, width, stick_width=self.stick_width))
        elif loaded.pose_image is not None:
            drawing = loaded.pose_image
            pictures["pose"] = drawing if has_target else centre_on_canvas(drawing, self.pose_canvas)
        for name, content in loaded.conditions.items():
            if isinstance(content, Image.Image):
                is_centred = kind_of(name).of == "target" and not has_target
                pictures[name] = centre_on_canvas(content, self.pose_canvas) if is_centred else content
        pictures |= {origin: Image.new("RGB", (1, 1)) for origin in loaded.dropped if origin != "face"}
        tensors = fit_images(pictures, self.images, detour=detour) | self._vectors(loaded)
        tensors |= self._further(loaded, generator, flip=flip, detour=detour)
        if self.cache is not None:
            for name, origin in self.cached.items():
                tensors[name] = self.cache.read(name, loaded.pair.file(origin), flip=flip, detour=detour)
        return tensors

    def _tell_squashed(self, loaded: LoadedPair) -> None:
        """Warn once of a source that looks squashed to the model, which has seen none of that shape."""
        source, (height, width) = loaded.source, self.pose_canvas
        if source is not None and other_aspect(source.height, source.width, self.pose_canvas):
            text = f"{source.width}x{source.height} pixels are squashed to the shape of {width}x{height}"
            tell_once("squashed", str(loaded.pair.source), f"{text}; crop such sources to it")

    def _framed(self, source: Image.Image | None, generator: torch.Generator | None) -> Image.Image | None:
        """Frame a source anew where the augmentation says so."""
        if source is None or generator is None or not (self.train and self.augmentation.reframes):
            return source
        return self.augmentation.reframe(source, generator)

    def _further(
        self, loaded: LoadedPair, generator: torch.Generator | None, *, flip: bool, detour: bool
    ) -> dict[str, torch.Tensor]:
        """Make the entries of sources after the first, by the same rules and draws; each has a frame of its own."""
        images = {key: spec for key, spec in self.images.items() if spec.origin in PER_SOURCE}
        vectors = [key for key, spec in self.vectors.items() if spec.origin in PER_SOURCE]
        rows = []
        for other in loaded.further:
            source = self._framed(other.source, generator)
            pictures = {} if source is None else {"source": ImageOps.mirror(source) if flip else source}
            values = self._vectors(other)
            rows.append(fit_images(pictures, images, detour=detour) | {key: values[key] for key in vectors})
        return {f"{FURTHER}{key}": torch.stack([row[key] for row in rows]) for key in (rows[0] if rows else ())}

    def _vectors(self, loaded: LoadedPair) -> dict[str, torch.Tensor]:
        """Make the embeddings; what was dropped is zero."""
        vectors = {}
        for key, spec in self.vectors.items():
            values = loaded.conditions.get(spec.origin)
            values = np.zeros(spec.size, np.float32) if values is None else values
            if values.shape != (spec.size,):
                path = loaded.pair.file(spec.origin)
                raise PgpisError(f"{path} holds {len(values)} numbers, the model reads {spec.size}")
            vectors[key] = torch.from_numpy(values)
        return vectors

    def _known(self, loaded: LoadedPair) -> Keypoints:
        """Return a pair's key points as the model knows them: the 18 of the body, or all 133."""
        keypoints = loaded.keypoints
        assert keypoints is not None
        if keypoints.skeleton == "coco17":
            keypoints = keypoints.to_body18()
        count = len(keypoints.points)
        if self.pose_skeleton is None and count == 133 and not self.train:
            reason = "nothing says that the model was trained on poses of 133 points, and most know 18"
            warn_once(f"{reason}: --data.pose_skeleton says it, body18 or wholebody133")
        if self.pose_skeleton in (None, keypoints.skeleton):
            return keypoints
        if self.pose_skeleton == "wholebody133":
            message = f"{loaded.pair.pose} has {count} points, and data.pose_skeleton is {self.pose_skeleton}"
            mend = "--data.pose_skeleton body18" if self.train else "--driving with --prepare-skeleton wholebody133"
            raise PgpisError(message, hint=f"poses of 133 points, or {mend}")
        warn_once(f"poses of {count} points: the 18 of the body are drawn, as data.pose_skeleton is body18")
        return keypoints.to_body18()

    def _place(self, keypoints: Keypoints, *, squash: bool) -> Keypoints:
        """Move key points to the canvas."""
        height, width = self.pose_canvas
        frame = keypoints.frame
        if not squash and other_aspect(frame.height, frame.width, self.pose_canvas):
            frame = frame.padded(width / height)
            keypoints = Keypoints(keypoints.points, keypoints.visible, frame, keypoints.skeleton)
        return keypoints.to(Frame(height, width))


def may_flip(specs: InputSpecs) -> bool:
    """Whether a pair may be mirrored: body parts are left or right, and a mirrored person has another texture."""
    return not conditions(spec.origin for spec in specs.values() if isinstance(spec, ImageSpec))
