"""Files that the official code wrote: where they lie, how exactly they are met, what to say where one is missing."""

from __future__ import annotations

import json
import os
import re
import zlib
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pgpis.pictures.images import read_image, resize

REPOSITORY = Path(__file__).parents[1]

TOLERANCES = {
    "network": 1e-5,  # encoders, projections, one pass of a denoiser
    "gradient": 2e-5,
    "sampled": 1e-4,  # latents after each denoising step of FPDM
    "vae": 1e-4,  # whatever went through an autoencoder's encoder: processors differ by 3e-5
    "vae input": 1e-3,  # sampled latents divided by the scaling factor
    "clip": 1e-4,  # embeddings of pictures that were resized first
    "mcld": 1e-4,  # MCLD's training step, on average
    "mcld rounded": 2e-3,  # its worst value: officially the bank is rounded to float16, and a last bit may flip
    "mcld sampled": 2e-4,  # latents after each step, and the picture in [0, 1]
    "picture": 3e-6,  # resized pictures in [0, 1] or normalised for an encoder
    "statistic": 1e-6,  # losses' parts, scores of a picture, means
    "features": 2e-4,  # Inception's
    "score": 2e-5,  # of a pair, computed in float32 by the official code
}
"""Largest absolute difference from the official value by stage, at values of about 1; 8-bit pictures may differ by 1,
drawings and textures not at all."""


def parity_root() -> Path:
    """Folder with the outputs of the official code."""
    return Path(os.environ.get("PGPIS_PARITY", REPOSITORY / "../shared/parity")).resolve()


def require_parity_root() -> Path:
    """Return the folder; where nobody named one and the usual one is absent, the test is skipped."""
    root = parity_root()
    if not root.is_dir():
        if "PGPIS_PARITY" in os.environ:
            pytest.fail(f"PGPIS_PARITY names {root}, which is not a folder", pytrace=False)
        pytest.skip(f"PARITY NOT CHECKED: {root} is absent; set PGPIS_PARITY to the folder with the official outputs")
    return root


def names(pattern: str) -> list[str]:
    """Return the stems of the files that match below the folder; without any, a case that reports the lack."""
    return sorted(path.stem for path in parity_root().glob(pattern)) or ["(any)"]


def incomplete(what: str) -> NoReturn:
    """End the test because a fixture lacks something."""
    pytest.fail(f"PARITY FIXTURE INCOMPLETE: {what}", pytrace=False)


class Recorded(dict[str, Any]):
    """Tensors or a JSON object of one file; says which file lacks a name."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            incomplete(f"{path} is missing")
        super().__init__(load_file(path) if path.suffix == ".safetensors" else json.loads(path.read_text()))
        self.path = path

    def __missing__(self, name: str) -> NoReturn:
        incomplete(f"{self.path} lacks {name!r}")


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read weights, which are stored in float16, as float32."""
    return {key: value.float() for key, value in Recorded(path).items()}


def recipe_tensor(key: str, shape: tuple[int, ...] | list[int], seed: int) -> torch.Tensor:
    """Make the procedural weight that the fixtures document: it depends on name, shape and seed only."""
    stream = np.random.RandomState((zlib.crc32(key.encode()) + 1_000_003 * seed) % 2**32)
    values = stream.standard_normal(int(np.prod(shape))).reshape(shape)
    if len(shape) > 1:
        values = values / np.sqrt(float(np.prod(shape[1:])))
    elif key.endswith((".weight", "lambda1")):
        values = 1 + 0.1 * values
    else:
        values = 0.05 * values
    return torch.from_numpy(values).float().half().float()


def close(
    ours: torch.Tensor, official: torch.Tensor, stage: str = "network", name: str = "", rtol: float = 1e-5
) -> None:
    """Compare with the tolerance of a stage, whatever the official tensor's dimensions of size 1."""
    torch.testing.assert_close(
        ours.reshape(official.shape), official, atol=TOLERANCES[stage], rtol=rtol, msg=lambda text: f"{name} {text}"
    )


def with_number(tensors: dict[str, torch.Tensor], pattern: str) -> tuple[torch.Tensor, int]:
    """Return the only tensor whose name is ``pattern``, where ``#`` stands for a number, and the number."""
    matches = [
        (value, int(match[1]))
        for name, value in tensors.items()
        if (match := re.fullmatch(re.escape(pattern).replace(r"\#", r"(\d+)"), name))
    ]
    if len(matches) != 1:
        incomplete(f"{getattr(tensors, 'path', '')} has {len(matches)} tensors called {pattern!r} instead of 1")
    return matches[0]


def enlarged(tensors: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """Return pictures stored as ``{name}_div8`` at their full size, uint8 ``(B, H, W, 3)``."""
    stored, factor = with_number(tensors, f"{name}_div#")
    return stored.repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def signed(pictures: torch.Tensor) -> torch.Tensor:
    """Bring uint8 ``(B, H, W, 3)`` to ``(B, 3, H, W)`` in [-1, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / 255 * 2 - 1


def metric_pictures(kind: str, size: tuple[int, int] | None = None) -> list[torch.Tensor]:
    """Return ``gt`` or ``pred`` of the metrics' pairs, uint8 ``(1, 3, H, W)`` each, by number; resized if asked to."""
    paths = {
        int(match[1]): path
        for path in (parity_root() / "metrics/png").glob(f"{kind}*.png")
        if (match := re.fullmatch(rf"{kind}(\d+)", path.stem))
    }
    if not paths:
        incomplete(f"{parity_root() / 'metrics/png'} has no {kind}*.png")
    images = [read_image(paths[number]) for number in sorted(paths)]
    arrays = [np.array(image if size is None else resize(image, *size)) for image in images]
    return [torch.from_numpy(array).permute(2, 0, 1)[None] for array in arrays]


def strided(values: torch.Tensor, meta: Recorded) -> torch.Tensor:
    """Take of ``(3, H, W)`` what the fixtures keep as ``*.strided``; their notes say what that is."""
    match = re.search(r"\.strided = full\[:, (\d+)::(\d+), (\d+)::(\d+)\]", " ".join(meta["notes"]))
    if match is None:
        incomplete(f"the notes of {meta.path} do not say what 'strided' is")
    top, down, left, right = map(int, match.groups())
    return values[:, top::down, left::right]
