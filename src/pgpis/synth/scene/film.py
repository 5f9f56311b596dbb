"""What camera and file do to a picture: exposure, colours, noise, sharpness, JPEG."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from pgpis.synth.figure.description import triple
from pgpis.synth.figure.mesh import Float, UInt8
from pgpis.synth.scene.scene import Film

QUALITIES = (60, 96)
DARK_NOISE = 0.3  # of that at white
RADIUS = 1.0  # of sharpening, pixels of a picture of 256 rows


def sample_film(rng: np.random.Generator) -> Film:
    """Draw the camera of a person's pictures, which :func:`next_film` varies a little."""
    warm, green = rng.normal(0, 0.03), rng.normal(0, 0.012)
    return Film(
        exposure=float(np.clip(rng.normal(1.06, 0.08), 0.85, 1.3)),
        balance=triple((1 + warm, 1 + green, 1 - warm)),
        contrast=float(rng.uniform(0.85, 1.35)),
        slope=(float(rng.normal(0, 0.07)), float(rng.normal(0, 0.05))),
        noise=float(np.exp(rng.uniform(np.log(0.8), np.log(7)))),
        blur=float(rng.uniform(-0.6, 0.7)),
        quality=int(rng.integers(*QUALITIES)),
        seed=0,
    )


def next_film(rng: np.random.Generator, film: Film) -> Film:
    """Return the film of a further picture."""
    return dataclasses.replace(
        film,
        exposure=film.exposure * float(1 + rng.normal(0, 0.015)),
        slope=(film.slope[0] + float(rng.normal(0, 0.015)), film.slope[1]),
        blur=film.blur + float(rng.normal(0, 0.06)),
        quality=int(np.clip(film.quality + rng.integers(-3, 4), QUALITIES[0], QUALITIES[1] - 1)),
        seed=int(rng.integers(2**31)),
    )


def develop(light: Float, film: Film) -> UInt8:
    """Return the photograph of a lit picture ``(H, W, 3)`` RGB, 0..255, as it comes out of its JPEG."""
    height, width = light.shape[:2]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None] * np.float32(film.slope[0])
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None] * np.float32(film.slope[1])
    values = light * (np.float32(film.exposure / 255) * np.array(film.balance, np.float32)) * (1 + x + y)
    values = np.clip(values, 0, 1)
    # a curve that keeps black and white and has this slope in the middle
    values = values - np.float32((film.contrast - 1) / (2 * np.pi)) * np.sin(np.float32(2 * np.pi) * values)
    spread = np.float32(film.noise / 255) * np.sqrt(np.float32(DARK_NOISE**2) + values)
    values = values + spread * np.random.default_rng(film.seed).standard_normal(values.shape, np.float32)
    zoom = height / 256
    if film.blur > 0:
        values = cv2.GaussianBlur(values, (0, 0), film.blur * zoom)
    else:
        values = values - np.float32(film.blur) * (values - cv2.GaussianBlur(values, (0, 0), RADIUS * zoom))
    pixels = np.clip(np.round(values * 255), 0, 255).astype(np.uint8)
    encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, film.quality])[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])
