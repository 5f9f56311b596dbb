"""The mark of a generated picture: that a model made it, and what makes it again."""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, NoReturn

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pgpis import __version__
from pgpis.batch import Provenance
from pgpis.errors import PgpisError
from pgpis.files import printable, write_bytes
from pgpis.pictures.decoding import png_texts
from pgpis.pictures.keypoint_files import exact_openpose, parse_openpose
from pgpis.pictures.kinds import all_kinds

KEY = "pgpis"
"""Keyword of the text that holds the mark as JSON."""
FORMAT = 1
WEIGHTS = "weights of "
"""How the names of the weights begin in ``settings.json``."""
WITHOUT = ("pipeline", "ckpt_path", "inputs", "shared_noise")
"""Settings that are private paths, or follow from others."""
HINT = "a marked picture is a PNG as 'pgpis predict' writes it; most other programs save it without the mark"
XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
   Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
"""How pictures say that a trained model made them. Source: IPTC's Photo Metadata Standard, Digital Source Type."""

MOST_TEXT = 2**18
"""Characters of a mark; one with 133 points has 8,000."""
MOST_ENTRIES = 4096
"""Of a list or table, and characters of a name."""
MOST_PIXELS = 2**28
"""Of all pictures in the batch."""
RANGES = {
    "seed": (0, 2**32 - 1), "height": (1, 4096), "width": (1, 4096), "steps": (1, 10_000), "images_per_pair": (1, 1000)
}  # fmt: skip
"""What every mark holds among its settings: whole numbers."""
LABEL = re.compile(r"[\w-]{1,64}", re.ASCII)
WORD = re.compile(r"[\w .:+-]{0,256}", re.ASCII)
"""Of what keys and texts are; neither can be a path."""
PLAIN = re.compile(r"[\w.+-]{0,64}", re.ASCII)
"""Of the texts of a sampler, which a recipe takes up: no YAML, which could name a class."""
CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
"""By which a recipe names a class."""


@dataclass(frozen=True)
class Mark:
    """What makes a picture again; all of it is JSON, and nothing of it says where a file lies."""

    noise_name: str
    """What the noise depends on beside the seed: by default the source's file name, without its suffix."""
    number: int
    """Among the pictures of the pair, from 0."""
    batch: tuple[int, int]
    """Row of the pair in the batch that it was made in, and its number of pairs: the last bits depend on them."""
    provenance: Provenance
    """What it was made of."""
    sampler: Mapping[str, Any] | None = None
    """The scheduler that was asked for; None: the pipeline's."""
    pipeline: str | None = None
    """A model that ships with pgpis, or the last part of the pipeline's name."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Hash of each part that draws."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Seed, size, steps, guidance, and what else determines a picture beside its pair."""

    def filled(self, settings: Mapping[str, Any]) -> Mark:
        """Add what all pictures of a prediction have in common.

        Args:
            settings: As in ``settings.json``: of ``PictureTask.prediction_settings``, and the weights.
        """
        weights = {key.removeprefix(WEIGHTS): value for key, value in settings.items() if key.startswith(WEIGHTS)}
        others = {key: value for key, value in settings.items() if key not in WITHOUT and not key.startswith(WEIGHTS)}
        name = PurePath(str(settings.get("pipeline") or "")).name
        return replace(self, pipeline=printable(name) or None, weights=weights, settings=others)

    def text(self) -> str:
        """Return it as JSON; equal marks have equal texts."""
        content = {"format": FORMAT, **asdict(self)}
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def parse(cls, text: str, name: str) -> Mark:
        """Read JSON of unknown origin.

        Args:
            text: The JSON.
            name: What messages call the picture.

        Raises:
            PgpisError: It is not a mark, has another format, or asks for what no picture is made with.
        """
        try:
            content = json.loads(text, parse_constant=_refuse) if len(text) <= MOST_TEXT else None
        except (ValueError, RecursionError) as error:
            raise PgpisError(f"{name}: its mark is not JSON that can be read: {error}", hint=HINT) from error
        if not isinstance(content, dict):
            raise PgpisError(
                f"{name}: its mark is not one of pgpis, or has more than {MOST_TEXT} characters", hint=HINT
            )
        version = content.pop("format", None)
        if version != FORMAT or isinstance(version, bool):
            raise PgpisError(f"{name}: its mark has format {version!r:.20}, and this pgpis reads {FORMAT}")
        wrong = [key for key, holds in _CHECKS.items() if not holds(content.get(key))]
        if wrong or content.keys() != _CHECKS.keys():
            raise PgpisError(f"{name}: its mark is damaged at {', '.join(wrong) or 'its keys'}", hint=HINT)
        mark = cls(**content | {"batch": tuple(content["batch"]), "provenance": _provenance(content, name)})
        pixels = math.prod(mark.settings[key] for key in ("height", "width", "images_per_pair")) * mark.batch[1]
        if pixels > MOST_PIXELS:
            raise PgpisError(f"{name}: its mark asks for {pixels:,} pixels at once, expected at most {MOST_PIXELS:,}")
        return mark

    def differences(self, other: Mark) -> list[str]:
        """Say in what it differs from another mark."""
        said = [f"the {name} is another" for name in _changed(self._inputs(), other._inputs())]
        parts = _changed(self.weights, other.weights)
        said += [f"the weights are others ({', '.join(parts)})"] if parts else []
        own, others = _flat(self.settings), _flat(other.settings)
        return said + [f"{key} is {own.get(key)}, not {others.get(key)}" for key in _changed(own, others)]

    def _inputs(self) -> dict[str, Any]:
        """Return what it was made of, by the names that messages have for it."""
        labels = {kind.name: kind.label for kind in all_kinds()}
        files = {labels.get(origin, origin): digest for origin, digest in self.provenance["files"].items()}
        points, edit = self.provenance["pose"], self.provenance["edit"]
        return files | ({} if points is None else {"pose": points}) | ({"edit": edit} if edit else {})


def png_bytes(image: Image.Image, mark: Mark) -> bytes:
    """Return a picture as a PNG with its mark: the same bytes for the same pixels and mark.

    Args:
        image: Any; of what it carries beside its pixels, as EXIF or a profile, nothing is written.
        mark: See :class:`Mark`.
    """
    texts = PngInfo()
    texts.add_text("Software", f"pgpis {__version__}")
    texts.add_itxt("XML:com.adobe.xmp", XMP)
    texts.add_text(KEY, mark.text())
    file = io.BytesIO()
    bare = image.convert("RGB")
    bare.info.clear()
    bare.save(file, format="PNG", pnginfo=texts)
    return file.getvalue()


def save_marked(image: Image.Image, path: str | os.PathLike[str], mark: Mark) -> None:
    """Write :func:`png_bytes` so that no reader ever sees half of it.

    Raises:
        PgpisError: The file cannot be written.
    """
    write_bytes(path, png_bytes(image, mark))


def read_mark(path: str | os.PathLike[str]) -> Mark:
    """Read the mark of a picture of unknown origin; its pixels are not looked at.

    Raises:
        PgpisError: There is no such picture, it holds no mark, or one that :meth:`Mark.parse` refuses.
    """
    text = png_texts(path).get(KEY)
    if text is None:
        raise PgpisError(f"{path} is not marked: nothing in it says how pgpis made it", hint=HINT)
    return Mark.parse(text, str(path))


def _changed(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key)]


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with those of a scheduler beside the others."""
    own = {key: value for key, value in settings.items() if not isinstance(value, Mapping)}
    return own | {
        f"{key} {name}": entry for key, value in settings.items() if key not in own for name, entry in value.items()
    }


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _provenance(content: Mapping[str, Any], name: str) -> Provenance:
    """Return what a mark says of its inputs, its key points read as any others and spelt as we do."""
    provenance: Provenance = content["provenance"]
    if provenance["pose"] is None:
        return provenance
    try:
        return {**provenance, "pose": exact_openpose(parse_openpose(provenance["pose"], Path(name)))}
    except (ValueError, TypeError, OverflowError) as error:
        raise PgpisError(f"{name}: the key points in its mark cannot be read: {error}", hint=HINT) from error


def _is_whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_plain(value: Any) -> bool:
    """Whether it is null, true, false, a number, a word, or a list of these."""
    if isinstance(value, list):
        return len(value) <= MOST_ENTRIES and all(not isinstance(entry, list) and _is_plain(entry) for entry in value)
    is_number = type(value) in (int, float) and abs(value) <= 1e12
    return value is None or isinstance(value, bool) or is_number or _is_word(value)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and WORD.fullmatch(value) is not None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MOST_ENTRIES and printable(value) == value


def _is_table(value: Any, holds: Callable[[Any], bool] = _is_plain) -> bool:
    is_small = isinstance(value, dict) and len(value) <= MOST_ENTRIES
    return is_small and all(LABEL.fullmatch(key) and holds(entry) for key, entry in value.items())


def _is_batch(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and _is_whole(value[1], 1, 1024)
        and _is_whole(value[0], 0, value[1] - 1)
    )


def _are_settings(value: Any) -> bool:
    is_known = _is_table(value, lambda entry: _is_plain(entry) or _is_table(entry))
    return is_known and all(_is_whole(value.get(key), *limits) for key, limits in RANGES.items())


def _is_provenance(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == Provenance.__annotations__.keys()
        and _is_table(value["files"], _is_word)
        and isinstance(value["pose"], dict | None)
        and isinstance(value["dropped"], list) and _is_plain(value["dropped"])
        and isinstance(value["edit"], list) and all(_is_swap(entry) for entry in value["edit"])
        and _is_table(value["tools"])
        and isinstance(value["tools"].get("made", []), list)
    )  # fmt: skip


def _is_sampler(value: Any) -> bool:
    if not _is_table(value) or any(key in CLASS_KEYS for key in value):
        return False
    entries = [entry for each in value.values() for entry in (each if isinstance(each, list) else [each])]
    return all(PLAIN.fullmatch(entry) for entry in entries if isinstance(entry, str))


def _is_swap(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _is_plain(value[0]) and _is_table(value[1], _is_word)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "noise_name": _is_name,
    "number": lambda value: _is_whole(value, 0, 999),
    "batch": _is_batch,
    "provenance": _is_provenance,
    "sampler": lambda value: value is None or _is_sampler(value),
    "pipeline": lambda value: value is None or _is_name(value),
    "weights": lambda value: _is_table(value, _is_word),
    "settings": _are_settings,
}
"""Whether what a mark holds of each field can be."""
