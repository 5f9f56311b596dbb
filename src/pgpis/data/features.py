"""Features of frozen encoders, which training takes in place of pictures, unless they belong to something else."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from pgpis.batch import ImageSpec, InputSpecs
from pgpis.data.transforms import Augmentation, may_flip
from pgpis.errors import PgpisError


class Variant(NamedTuple):
    """How the picture was varied before it was encoded."""

    flip: bool
    detour: bool

    @property
    def name(self) -> str:
        """Name of the variant's folder."""
        return f"flip{int(self.flip)}-detour{int(self.detour)}"


class FeatureKey(NamedTuple):
    """What a feature depends on beside the picture; a cache with another key is stale."""

    picture: str
    """Batch key of the picture it is made from."""
    weights: str
    """Hash of the encoder's weights."""
    spec: str
    """How the picture is prepared."""
    origin: str
    """What it is made from: ``source``, ``texture``, ..."""

    def difference(self, index: Mapping[str, Any]) -> str | None:
        """Say in what the key of an index differs; None: in nothing."""
        what = {"weights": "the encoder's weights", "spec": "how pictures are prepared", "picture": "the picture"}
        for field, text in what.items():
            stored, now = index["key"].get(field), getattr(self, field)
            if stored != now:
                return f"it was made with another value of {text} ({stored}, now {now})"
        return None


def feature_key(picture: str, specs: InputSpecs, weights: str) -> FeatureKey:
    """Return the key of a feature."""
    chain = image_chain(picture, specs)
    return FeatureKey(picture, weights, " from ".join(map(repr, chain.values())), chain[picture].origin)


EARLIER_SPEC = re.compile(r"ImageSpec\(origin='(\w+)'")
"""How ``spec`` begins where ``origin`` is not beside it: in caches and packs of earlier versions."""


def origin_of(index: Mapping[str, Any]) -> str | None:
    """Return the origin of the pictures of an index; None: it says none."""
    key = index["key"]
    if isinstance(key.get("origin"), str):
        return str(key["origin"])
    spec = EARLIER_SPEC.match(str(key.get("spec")))
    return spec and spec[1]


def image_chain(picture: str, specs: InputSpecs) -> dict[str, ImageSpec]:
    """Return the entries that a picture is made from, its own first."""
    chain: dict[str, ImageSpec] = {}
    key: str | None = picture
    while key is not None:
        spec = specs[key]
        assert isinstance(spec, ImageSpec)
        chain[key] = spec
        key = spec.base
    return chain


def variants_of(picture: str, specs: InputSpecs, augmentation: Augmentation) -> list[Variant]:
    """Return the variants of a picture that training may ask for."""
    has_detour = any(spec.train_detour is not None for spec in image_chain(picture, specs).values())
    flips = (False, True) if augmentation.flip_probability and may_flip(specs) else (False,)
    detours = (False, True) if augmentation.detour_probability and has_detour else (False,)
    return [Variant(flip, detour) for flip in flips for detour in detours]


class FeatureFiles(Protocol):
    """Where features are kept; ``str`` names the place."""

    @property
    def hint(self) -> str:
        """How features are made that belong to a model."""

    def index(self, name: str) -> Mapping[str, Any] | None:
        """Return what is said of a feature, at least its ``key`` and ``variants``; None: it is not there.

        Raises:
            PgpisError: It is damaged.
        """

    def check(self, name: str) -> None:
        """Refuse a feature that is there, but not whole, or not that of the pictures.

        Raises:
            PgpisError: Says which picture or shard it is.
        """

    def read(self, name: str, path: Path | None, variant: Variant) -> torch.Tensor | None:
        """Return a picture's feature as it is stored; None: it has none."""


class FeatureCache:
    """Reads what ``pgpis cache`` made.

    Args:
        files: Where it is.
        keys: Features that the task can take, by name; those that are not there are computed in training.
        variants: What the augmentation may ask for, by name.
        kept: Batch keys of pictures that are read beside their features.

    Raises:
        PgpisError: A feature is stale or not complete.
    """

    def __init__(
        self,
        files: FeatureFiles,
        keys: Mapping[str, FeatureKey],
        variants: Mapping[str, Sequence[Variant]],
        kept: Collection[str] = (),
    ) -> None:
        self.files = files
        self.kept = kept
        self.variants: dict[str, set[Variant]] = {}
        self.pictures: dict[str, str] = {}
        for name, key in keys.items():
            index = files.index(name)
            if index is not None:
                self._accept(name, key, index, variants[name])
        if not self.pictures:
            message = f"no features in {files} that this model can take ({', '.join(keys) or 'it takes none'})"
            raise PgpisError(message, hint=files.hint)

    def _accept(self, name: str, key: FeatureKey, index: Mapping[str, Any], required: Sequence[Variant]) -> None:
        reason = key.difference(index)
        if reason is not None:
            raise PgpisError(f"{name} in {self.files} is stale: {reason}", hint=self.files.hint)
        self.variants[name] = {Variant(**variant) for variant in index["variants"]}
        for variant in required:
            if variant not in self.variants[name]:
                message = f"{name} in {self.files} was made with another augmentation: no {variant.name}"
                raise PgpisError(message, hint=self.files.hint)
        self.files.check(name)
        self.pictures[name] = key.picture

    def read(self, name: str, path: Path | None, *, flip: bool, detour: bool) -> torch.Tensor:
        """Return a picture's feature in float32; one that is not there or not finite is refused."""
        asked = Variant(flip, detour)
        variant = asked if asked in self.variants[name] else Variant(flip, detour=False)
        values = self.files.read(name, path, variant)
        if values is None:
            raise PgpisError(f"{self.files} has no {name} of {path}", hint=f"the list has changed: {self.files.hint}")
        if not values.isfinite().all():
            message = f"{path} could not be read when the cache was made, or gave numbers that are not finite"
            hint = f"repair it and run the same 'pgpis cache' again, or leave it out: {self.files.hint}"
            raise PgpisError(message, hint=hint)
        return values.float()
