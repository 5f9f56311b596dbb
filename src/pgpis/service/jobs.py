"""What goes to a worker, what comes back, and why a request is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pgpis.errors import PgpisError
from pgpis.studio.request import Drawing, PictureRequest

CLOTHES = "clothes_"


class RefusedError(PgpisError):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        message: Names the field or file, and says what was expected.
        hint: What mends it.
        headers: Of the answer.
    """

    def __init__(
        self, status: int, message: str, *, hint: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Upload:
    """A file of a request; what the client calls it is left behind."""

    content: bytes
    suffix: str
    """Chosen by the content."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A request whose form is right, on its way to a worker."""

    model: str
    drawing: Drawing
    files: Mapping[str, Upload]
    """By form field: ``source``, ``pose`` or ``driving``, ``identity``, ``clothes_GROUP``."""
    further: tuple[Upload, ...] = ()
    """Other pictures of the person."""
    retarget: bool = False
    as_json: bool = False
    wants_seen: bool = False

    def lay_out(self, folder: Path) -> PictureRequest:
        """Write the files to a folder under constant names, so that equal bytes give equal pictures."""
        paths = {}
        for number, (name, upload) in enumerate(self.files.items()):
            stem = f"clothes{number}" if name.startswith(CLOTHES) else name
            paths[name] = folder / f"{stem}{upload.suffix}"
            paths[name].write_bytes(upload.content)
        further = [folder / f"source_{number}{upload.suffix}" for number, upload in enumerate(self.further, 2)]
        for path, upload in zip(further, self.further, strict=True):
            path.write_bytes(upload.content)
        clothes = tuple((name[len(CLOTHES) :], path) for name, path in paths.items() if name.startswith(CLOTHES))
        return PictureRequest(
            source=paths["source"],
            further=tuple(further),
            pose=paths["driving"] if "driving" in paths else paths["pose"],
            driving="driving" in paths,
            retarget=self.retarget,
            identity=paths.get("identity"),
            clothes=clothes,
            drawing=self.drawing,
        )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a worker made of a job."""

    status: int
    body: bytes
    media_type: str = "application/json"
    model: str = ""
    drawn_together: int = 0
    """Requests in the drawing; told once, by the first of them, and 0 in the others."""
    seconds: float = 0.0
    """That the drawing took, likewise."""
    headers: Mapping[str, str] = field(default_factory=dict)


def error_body(message: str, hint: str | None) -> bytes:
    """Return the JSON of an error."""
    return json.dumps({"error": {"message": message, "hint": hint}}).encode()
