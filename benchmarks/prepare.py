"""Time each stage of ``pgpis prepare`` on one core, and say what a whole data set costs.

The nets have their official size and random weights where pgpis builds them (DensePose). Those that come as ONNX files
are timed when ``--weights`` names a folder that holds them.

    python benchmarks/prepare.py [--pictures 2] [--weights FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from pgpis.errors import PgpisError
from pgpis.pictures.uv_texture import TextureMapper
from pgpis.preprocess.densepose import DensePoseConfig, DensePoseRCNN, iuv_image, surface_of
from pgpis.preprocess.densepose.detector import choose_people, pool_boxes
from pgpis.preprocess.densepose.model import normalise, resize_input
from pgpis.preprocess.face import face_encoder
from pgpis.preprocess.pose import pose_estimator
from pgpis.preprocess.settings import PrepareSettings
from pgpis.synth.scene.render import draw
from pgpis.synth.scene.sampling import views_of

DEEPFASHION = 52_712
H200_SPEEDUP = 60.0
"""Guess: float32 convolutions of one H200 against one of these cores; not measured, no GPU was at hand."""


def timed(seconds: dict[str, float], name: str, call: Callable[[], Any]) -> Any:
    """Run a step and add its time."""
    start = time.perf_counter()
    result = call()
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
    return result


@torch.inference_mode()
def densepose_steps(net: DensePoseRCNN, picture: Image.Image, boxes: int, seconds: dict[str, float]) -> None:
    """Do what the net's ``forward`` does, step by step.

    Args:
        net: The net.
        picture: Input.
        boxes: People that go through the DensePose branch: 1 as here, 100 as many detections as detectron2 may keep.
        seconds: Times are added here.
    """
    pixels = timed(seconds, "resize", lambda: resize_input(picture, net.config))
    size = pixels.shape[:2]
    features = timed(seconds, "backbone", lambda: net.features(normalise([pixels], net.device)))
    proposals, _ = timed(seconds, "proposals", lambda: net.proposal_generator(features, [size]))[0]
    heads = net.roi_heads
    pooled = timed(seconds, "boxes", lambda: heads.box_head(pool_boxes(features, proposals, 0)))
    people, _ = timed(seconds, "boxes", lambda: choose_people(proposals, *heads.box_predictor(pooled), size))
    if not len(people):  # random weights may find nobody
        people = proposals[:1]
    chosen = people[:1].expand(boxes, 4)
    decoded = timed(seconds, "decoder", lambda: heads.decoder(features))
    hidden = timed(seconds, "DensePose head", lambda: heads.densepose_head(net.pool_regions(decoded, chosen)))
    maps = timed(seconds, "DensePose predictor", lambda: heads.densepose_predictor(hidden))
    first = {name: map_[:1] for name, map_ in maps.items()}
    scale = torch.tensor([picture.width / size[1], picture.height / size[0]] * 2)
    box = people[0] * scale
    labels, uv = timed(seconds, "surface", lambda: surface_of(first, box))
    timed(seconds, "surface", lambda: iuv_image(labels, uv, box, (picture.height, picture.width)))


def report(title: str, seconds: dict[str, float], pictures: int) -> float:
    """Print the parts of a stage; return seconds a picture."""
    total = sum(seconds.values()) / pictures
    print(f"{title}: {total:.2f} s a picture, {1 / total:.2f} pictures/s")
    for name, value in seconds.items():
        print(f"  {name:<20} {value / pictures:7.3f} s  {100 * value / pictures / total:4.0f} %")
    return total


def optional(name: str, build: Callable[[], Callable[[Image.Image], Any]], pictures: Sequence[Image.Image]) -> float:
    """Time a stage whose weights come from others, if they are there."""
    try:
        stage = build()
    except PgpisError as error:
        print(f"{name}: not timed: {error.message}")
        return 0.0
    seconds: dict[str, float] = {}
    for picture in pictures:
        timed(seconds, name, lambda picture=picture: stage(picture))
    return report(name, seconds, len(pictures))


def main() -> int:
    """Time all stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2)
    parser.add_argument("--people", type=int, default=10, help="boxes of the comparison with all detections")
    parser.add_argument("--weights", type=Path, help="folder of ONNX weights")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    scenes = [view for person in range(arguments.pictures) for view in views_of(0, person, 1, aspect=750 / 1101)]
    drawn = [draw(scene, 1101, 750) for scene in scenes]
    pictures = [Image.fromarray(rendering.rgb) for rendering in drawn]
    torch.manual_seed(0)
    net = DensePoseRCNN(DensePoseConfig(depth=101, head="deeplab"))
    densepose_steps(net, pictures[0], 1, {})  # warm up
    best: dict[str, float] = {}
    for picture in pictures:
        densepose_steps(net, picture, 1, best)
    densepose = report("densepose, R101 DL, best box", best, len(pictures))
    everybody: dict[str, float] = {}
    densepose_steps(net, pictures[0], arguments.people, everybody)
    everyone = report(f"densepose, R101 DL, {arguments.people} boxes", everybody, 1)
    print(f"best box only: {everyone / densepose:.2f} times as fast as {arguments.people} boxes")
    mapper = TextureMapper()
    texture_seconds: dict[str, float] = {}
    for rendering in drawn:
        image, iuv = np.asarray(rendering.rgb), np.asarray(rendering.iuv)
        timed(texture_seconds, "texture", lambda image=image, iuv=iuv: mapper(image, iuv))
    texture = report("texture", texture_seconds, len(drawn))
    settings = PrepareSettings(weights=arguments.weights)
    pose = optional("pose", lambda: pose_estimator(settings), pictures)
    face = optional("face", lambda: face_encoder(settings), pictures)
    total = densepose + texture + pose + face
    hours = total * DEEPFASHION / 3600
    on_gpu = max(texture / 16, (densepose + pose + face) / H200_SPEEDUP) * DEEPFASHION / 3600
    print(f"\n{DEEPFASHION} pictures (stages above that were timed), computed from these times, not run:")
    print(f"  1 CPU core        {hours:7.1f} h")
    print(f"  16 cores          {hours / 16:7.1f} h")
    print(f"  N nodes of 16     {hours / 16:7.1f} h / N; pictures do not depend on each other")
    guess = f"if a GPU does these nets {H200_SPEEDUP:.0f} times as fast as a core (a guess)"
    print(f"  1 GPU + 16 cores  {on_gpu:7.1f} h {guess}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
