"""One conversion: where it goes, what it did tensor by tensor, and the pipeline's folder."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgpis.convert.rules import KeyReport
from pgpis.errors import PgpisError
from pgpis.files import refuse_unwritable, replacing_folder
from pgpis.models.weights import in_json

log = logging.getLogger(__name__)

FILE_NAME = "conversion.json"


@dataclass
class ConversionReport:
    """Where every tensor of the result came from, and what became of every tensor of the files."""

    out: Path
    """Folder of the pipeline."""
    files: dict[str, KeyReport] = field(default_factory=dict)
    """What became of each tensor, by file."""
    info: dict[str, dict[str, str | int]] = field(default_factory=dict)
    """Epoch, step and Lightning's version, by file, where the file says them."""
    added: dict[str, str] = field(default_factory=dict)
    """Where a tensor came from that no file holds, by ``component/name``."""
    configs: dict[str, Any] = field(default_factory=dict)
    """Configuration of each component."""

    def to_json(self) -> str:
        """Return everything as JSON."""
        entries = {
            "files": {
                name: {"info": self.info.get(name, {}), "renamed": keys.renamed, "dropped": keys.dropped}
                for name, keys in self.files.items()
            },
            "added": self.added,
            "configs": self.configs,
        }
        return json.dumps(entries, indent=1) + "\n"

    def render(self) -> str:
        """Return a summary for people; the full lists are in ``conversion.json``."""
        lines = []
        for name, keys in self.files.items():
            about = ", ".join(f"{key} {value}" for key, value in self.info.get(name, {}).items())
            lines.append(f"{name}" + (f" ({about})" if about else ""))
            counts = Counter(target.split("/", 1)[0] for target in keys.renamed.values())
            lines += [f"  {count:5d} tensors to {component}" for component, count in sorted(counts.items())]
            reasons = Counter(keys.dropped.values())
            lines += [f"  {count:5d} tensors dropped: {reason}" for reason, count in sorted(reasons.items())]
        origins = Counter((target.split("/", 1)[0], origin) for target, origin in self.added.items())
        lines += [f"  {count:5d} tensors of {part} added from {origin}" for (part, origin), count in origins.items()]
        lines.append(f"pipeline: {self.out}")
        lines.append(f"every tensor by name: {self.out / FILE_NAME}")
        return "\n".join(lines) + "\n"


def begin(out: str | Path) -> ConversionReport:
    """Return the report of a conversion that will write a folder.

    Raises:
        PgpisError: The folder exists and is not empty, or could not be written.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PgpisError(f"{out} exists already and is not empty", hint="choose another --out, or remove it")
    refuse_unwritable(out)
    return ConversionReport(out)


def finish(report: ConversionReport, pipeline: Any, add_files: Callable[[Path], None] = lambda _: None) -> None:
    """Write the pipeline, what ``add_files`` puts beside it and ``conversion.json``: all or nothing."""
    with replacing_folder(report.out) as folder:
        pipeline.save_pretrained(folder)
        add_files(folder)
        (folder / FILE_NAME).write_text(report.to_json(), encoding="utf-8")
    log.info("converted %s to %s", next(iter(report.files)), report.out)


def plain_config(component: Any) -> dict[str, Any]:
    """Return the configuration of a diffusers component as JSON has it."""
    return in_json({key: list(value) if isinstance(value, tuple) else value for key, value in component.config.items()})
