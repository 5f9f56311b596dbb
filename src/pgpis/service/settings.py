"""How the service runs, and what it accepts. Loads neither torch nor a web server: ``--help`` reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pgpis.errors import PgpisError, check_range

INSTALL = 'pip install "pgpis[serve]"'
KEY_VARIABLE = "PGPIS_API_KEY"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may ask for, and how many may wait."""

    max_bytes: int = 16_000_000
    """Bytes of a request, all files together."""
    max_pixels: int = 40_000_000
    """Pixels of an uploaded picture."""
    max_steps: int = 100
    """Denoising steps, up to 200."""
    max_pictures: int = 4
    """Pictures of a request, up to 8."""
    max_waiting: int = 32
    """Requests that may be under way at once; the next ones are told to come back later (503)."""
    timeout: float = 300.0
    """Seconds after which a request is given up (504)."""


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """Where the service listens, and with which models."""

    pipeline: Annotated[tuple[str, ...], {"metavar": "NAME=PIPELINE"}] = ("synth-fpdm", "synth-mcld")
    """Model: a pipeline folder, hub id, bundle or a model that ships with pgpis, and before it the name that requests
    have for it; may be given again, and the first is the usual one."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every network of this machine."""
    port: int = 8000
    """Port; 0 takes a free one."""
    workers: int | None = None
    """Processes that draw, each with its own copy of the models [one for each GPU, else one]."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where they draw; auto takes the GPUs if there are any."""
    max_batch: int = 4
    """Waiting requests of equal settings that are drawn at once; 1 draws each alone."""
    batch_timeout: float = 0.05
    """Seconds for which a worker waits for more of them."""
    lazy: bool = False
    """Load a model when it is first asked for, not when a worker starts."""
    no_mark: bool = False
    """Leave out what marks pictures as made by a model, and what makes them again."""
    api_key: Annotated[str | None, {"metavar": "KEY"}] = None
    """Key that clients must send; others see an option in the list of processes, so better set $PGPIS_API_KEY."""
    limits: Annotated[Limits, {"group": "limits of a request"}] = Limits()

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            PgpisError: Names the option.
        """
        limits = self.limits
        check_range("--port", self.port, 0, 65535, whole=True)
        check_range("--workers", self.workers, 1, 256, whole=True, optional=True)
        check_range("--max-batch", self.max_batch, 1, 256, whole=True)
        check_range("--max-bytes", limits.max_bytes, 10_000, 2**30, whole=True)
        check_range("--max-pixels", limits.max_pixels, 64 * 64, 120_000_000, whole=True)
        check_range("--max-steps", limits.max_steps, 1, 200, whole=True)
        check_range("--max-pictures", limits.max_pictures, 1, 8, whole=True)
        check_range("--max-waiting", limits.max_waiting, 1, 10_000, whole=True)
        check_range("--timeout", limits.timeout, 1, 86_400)
        check_range("--batch-timeout", self.batch_timeout, 0, limits.timeout)
        if self.api_key is not None and (
            not self.api_key.isascii() or not self.api_key.isprintable() or not self.api_key
        ):
            raise PgpisError("the API key must be of printable ASCII characters", hint="openssl rand -hex 32")
        self.models()

    def models(self) -> Mapping[str, str]:
        """Return pipelines by the names that requests have for them.

        Raises:
            PgpisError: A name cannot be one, or is given twice.
        """
        models: dict[str, str] = {}
        for word in self.pipeline:
            name, equals, pipeline = word.partition("=")
            if not equals:
                name, pipeline = Path(word).name.removesuffix(".safetensors"), word
            if not _NAME.fullmatch(name) or not pipeline:
                hint = "--pipeline NAME=PIPELINE; NAME is of letters, digits, '.', '_' and '-'"
                raise PgpisError(f"--pipeline '{word}' names no model", hint=hint)
            if name in models:
                raise PgpisError(f"--pipeline: two models are called '{name}'", hint="--pipeline NAME=PIPELINE")
            models[name] = pipeline
        return models
