"""Flicker of drawn signing films, with and without what the frames of a video may share.

Films are drawn, so that their flow is exact. Each is driven by its own poses from its first frame, as on Phoenix. Warp
error is what :func:`pgpis.metrics.flicker.warp_error` says of neighbouring frames, on the person and behind them; hand
SSIM that of crops around the hands, of pictures at 260 x 210; hand points are BlazePose's (wrists and fingers) in the
result, their mean distance from those in the truth, in pixels of 256 rows, over the films that have any. Rows of a
model: "frames alone" has noise of its own for each frame.

    python benchmarks/video.py [--films 4] [--frames 16] [--models synth-fpdm synth-mcld] [--out outputs/video]
    python benchmarks/video.py --size 256x208 --points 133 --models outputs/fpdm_phoenix/pipeline
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pgpis.cli.bench import batches
from pgpis.cli.models import load_task
from pgpis.cli.options import size
from pgpis.data import OnMissing
from pgpis.data.folder import FolderPairs
from pgpis.files import write_text
from pgpis.metrics.flicker import warp_error
from pgpis.metrics.hands import KNUCKLES, hand_similarity
from pgpis.pictures.arrays import write_array
from pgpis.pictures.backdrop import backdrop_of
from pgpis.pictures.drawing import CANVAS, other_aspect
from pgpis.pictures.images import tensor_to_images
from pgpis.pictures.iuv import iuv_pixels
from pgpis.pictures.keypoint_files import write_keypoints
from pgpis.pictures.keypoints import MISSING, POINT_COUNTS, Frame, Keypoints
from pgpis.pictures.surface import surface_of
from pgpis.pictures.videos import FrameFiles, write_video
from pgpis.preprocess.blazepose.estimator import see
from pgpis.preprocess.settings import NothingFoundError
from pgpis.synth.figure.identity import face_code
from pgpis.synth.figure.person import dress
from pgpis.synth.files.deepfashion import openpose_keypoints, texture_mapper
from pgpis.synth.files.formats import write_image
from pgpis.synth.scene.camera import sample_studio
from pgpis.synth.scene.flow import exact_flow
from pgpis.synth.scene.motion import FPS, sign_sequence
from pgpis.synth.scene.render import Picture, draw
from pgpis.synth.scene.sampling import Setting, person_of, photograph
from pgpis.synth.scene.scene import Scene
from pgpis.tasks.options import Video

POINTS = (POINT_COUNTS["body18"], POINT_COUNTS["wholebody133"])
HANDS = (260, 210)
"""Size of the pictures that hands are cut out of."""
HAND_POINTS = slice(15, 23)
"""Wrists and fingers among BlazePose's points."""
ROWS = {
    "frames alone": Video(),
    "shared noise": Video(shared_noise=True),
    "anchor": Video(anchor=True),
    "shared noise, anchor": Video(shared_noise=True, anchor=True),
}
COLUMNS = ("warp error", "behind", "hand SSIM", "hand points", "PSNR", "s a frame")


@dataclass(frozen=True)
class DrawnFilm:
    """A film, and what is known of it."""

    name: str
    size: tuple[int, int]
    """(height, width)"""
    pictures: list[Picture]
    flows: list[NDArray[np.float32]]
    """From each frame to the next."""

    @classmethod
    def of(cls, seed: int, number: int, frames: int, size: tuple[int, int]) -> DrawnFilm:
        """Draw a dressed person who signs before a fixed camera."""
        rng = np.random.default_rng([seed, number])
        person = dress(*person_of(seed, number))
        poses = sign_sequence(rng, frames)
        first = photograph(person, poses[0], Setting(sample_studio(rng)), "signer", rng, size[1] / size[0])
        scenes: list[Scene] = [replace(first, pose=pose) for pose in poses]
        flows = [exact_flow(*pair, *size) for pair in itertools.pairwise(scenes)]
        return cls(f"signer{number}", size, [draw(scene, *size) for scene in scenes], flows)

    def write(self, root: Path, face: NDArray[np.float32], points: int) -> FolderPairs:
        """Write what a user has: the first frame with what is made of it, poses of 18 or 133 points, and maps."""
        first = self.pictures[0]
        made = {
            "": first.rgb,
            "_texture": texture_mapper(inpaint="fast")(first.rgb, first.iuv),
            "_surface": surface_of(first.rgb, first.iuv),
            "_backdrop": backdrop_of(first.rgb, first.layer >= 0),
        }
        for folder in (*(f"source{kind}" for kind in made), "source_face", self.name, f"{self.name}_densepose"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for kind, values in made.items():
            write_image(root / f"source{kind}/{self.name}.png", values)
        write_array(root / f"source_face/{self.name}.npy", face)
        for number, picture in enumerate(self.pictures):
            write_keypoints(root / self.name / f"{number:04d}.json", keypoints_of(picture, points))
            write_image(root / f"{self.name}_densepose/{number:04d}.png", iuv_pixels(picture.iuv))
        source = root / f"source/{self.name}.png"
        pairs = FolderPairs(source, root / self.name, on_missing=OnMissing(face_space="synth"), frames=True)
        pairs.setup()
        return pairs


def keypoints_of(picture: Picture, points: int) -> Keypoints:
    """Return the 18 or 133 points of a picture; of 133 all within the picture, as MSKA guesses those of Phoenix."""
    if points == POINTS[0]:
        return openpose_keypoints(picture, "limbs")
    seen = np.repeat(picture.whole133[:, 2:] > 0, 2, axis=1)
    places = np.where(seen, picture.whole133[:, :2], MISSING).astype(np.float64)
    return Keypoints(places, seen, Frame(*picture.rgb.shape[:2]), "wholebody133")


def fit_canvas(task: Any, size: tuple[int, int]) -> None:
    """Let a task draw poses on a canvas of a film's shape, so that they lie on its frames."""
    height, _ = canvas = task.drawing["pose_canvas"] or CANVAS
    if other_aspect(*size, canvas):
        task.drawing = {**task.drawing, "pose_canvas": (height, round(height * size[1] / size[0]))}


def draw_frames(task: Any, pairs: FolderPairs, video: Video) -> list[NDArray[np.uint8]]:
    """Draw all frames in batches."""
    rows: list[Any] = list(batches(pairs, task))
    first = {key: value[:1] for key, value in rows[0].items()}
    task.sampling = replace(task.sampling, video=video)
    task.data = SimpleNamespace(**task.drawing, first_frame=lambda _: first)
    frames = []
    for batch in rows:
        batch["noise_name"] = batch["pair_id"]  # as Phoenix's frames
        with torch.inference_mode():
            frames += [np.asarray(image) for image in tensor_to_images(task.sample(batch))]
    return frames


def score(frames: list[NDArray[np.uint8]], film: DrawnFilm) -> list[float]:
    """Return all columns but the last."""
    errors = [warp_error(*pair, flow) for *pair, flow in zip(frames, frames[1:], film.flows, strict=False)]
    people = [picture.layer >= 0 for picture in film.pictures]
    on, behind = (
        float(np.mean([np.nanmean(error[shown == side]) for error, shown in zip(errors, people, strict=False)]))
        for side in (True, False)
    )
    truth = [picture.rgb for picture in film.pictures]
    knuckles = np.stack([picture.whole133[list(KNUCKLES)] for picture in film.pictures])
    centers = np.where(
        knuckles[..., 2:] > 0, knuckles[..., :2] * [HANDS[1] / film.size[1], HANDS[0] / film.size[0]], np.nan
    )
    both = [
        torch.from_numpy(np.stack([cv2.resize(picture, HANDS[::-1]) for picture in pictures])).permute(0, 3, 1, 2)
        for pictures in (frames, truth)
    ]
    hands = float(np.nanmean(hand_similarity(both[0], both[1], torch.from_numpy(centers))))
    noise = np.mean(np.square(np.stack(frames).astype(np.float64) - np.stack(truth)))
    psnr = float(10 * np.log10(255**2 / max(noise, 1e-9)))
    return [on, behind, hands, hand_distance(frames, film), psnr]


def hand_distance(frames: list[NDArray[np.uint8]], film: DrawnFilm) -> float:
    """Return how far hands are from where they are found in the truth, in pixels of 256 rows; NaN without any."""
    distances = []
    for frame, picture in zip(frames, film.pictures, strict=True):
        try:
            found, true = (see(np.ascontiguousarray(each)) for each in (frame, picture.rgb))
        except NothingFoundError:
            continue
        seen = (found.seen & true.seen)[HAND_POINTS]
        apart = np.linalg.norm(found.body.points[HAND_POINTS, :2] - true.body.points[HAND_POINTS, :2], axis=1)
        distances += (apart[seen] * 256 / len(picture.rgb)).tolist()
    return float(np.mean(distances)) if distances else float("nan")


def over_films(scores: list[list[float]]) -> list[float]:
    """Return the mean of each column over the films that have a value."""
    columns = [[value for value in column if not np.isnan(value)] for column in zip(*scores, strict=True)]
    return [float(np.mean(column)) if column else float("nan") for column in columns]


def keep(frames: list[NDArray[np.uint8]], film: DrawnFilm, folder: Path) -> None:
    """Write frames, a strip of every other one below the truth, how neighbours differ, and an mp4 beside the truth."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, (frame, picture) in enumerate(zip(frames, film.pictures, strict=True)):
        pair = folder / f"truth_{number:04d}.png", folder / f"{number:04d}.png"
        for path, values in zip(pair, (picture.rgb, frame), strict=True):
            write_image(path, values)
        files.append(FrameFiles(pair))
    errors = [warp_error(*pair, flow) for *pair, flow in zip(frames, frames[1:], film.flows, strict=False)]
    maps = [np.repeat(np.clip(np.nan_to_num(error) * 4, 0, 255).astype(np.uint8)[..., None], 3, 2) for error in errors]
    rows = [[picture.rgb for picture in film.pictures][1::2], frames[1::2], maps[::2]]
    write_image(folder / "strip.png", np.concatenate([np.concatenate(row, axis=1) for row in rows]))
    write_video(folder / "film.mp4", files, FPS)


def line(name: str, values: list[float]) -> str:
    """Return a row of the table."""
    cells = "".join(f" {value:.{digits}f} |" for value, digits in zip(values, (2, 2, 4, 2, 2, 2), strict=False))
    return f"| {name} |{cells}"


def main() -> int:
    """Draw the films, run each model in each way, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=4, help="people who sign")
    parser.add_argument("--frames", type=int, default=16, help="of each film")
    parser.add_argument("--models", nargs="+", default=["synth-fpdm", "synth-mcld"], help="pipelines")
    parser.add_argument("--size", type=size, default=(256, 176), help="HEIGHTxWIDTH of films and results")
    parser.add_argument("--points", type=int, default=18, choices=POINTS, help="of a pose")
    parser.add_argument("--seed", type=int, default=4321, help="of the people")
    parser.add_argument("--out", type=Path, help="folder for frames, strips and films [none is kept]")
    arguments = parser.parse_args()
    people = range(arguments.films)
    films = [DrawnFilm.of(arguments.seed, number, arguments.frames, arguments.size) for number in people]
    table = [f"| | {' | '.join(COLUMNS)} |", "| --- |" + " --- |" * len(COLUMNS)]
    table.append(line("truth", over_films([score([p.rgb for p in film.pictures], film) for film in films])))
    with tempfile.TemporaryDirectory() as folder:
        make = partial(DrawnFilm.write, root=Path(folder))
        faces = [face_code(person_of(arguments.seed, number)[0]) for number in people]
        pairs = [make(film, face=face, points=arguments.points) for film, face in zip(films, faces, strict=True)]
        for model in arguments.models:
            task = load_task(model)
            height, width = arguments.size
            task.sampling = replace(task.sampling, height=height, width=width, output_size=None)
            fit_canvas(task, (height, width))
            for name, video in ROWS.items():
                start = time.perf_counter()
                drawn = [draw_frames(task, each, video) for each in pairs]
                seconds = (time.perf_counter() - start) / (arguments.films * arguments.frames)
                means = over_films([score(frames, film) for frames, film in zip(drawn, films, strict=True)])
                table.append(line(f"{model}, {name}", [*means, seconds]))
                sys.stderr.write(table[-1] + "\n")
                row = f"{model.strip('/').replace('/', '_')}/{name.replace(', ', '_').replace(' ', '_')}"
                for frames, film in zip(drawn, films, strict=True):
                    if arguments.out:
                        keep(frames, film, arguments.out / row / film.name)
    text = "\n".join(table) + "\n"
    sys.stdout.write(text)
    if arguments.out:
        write_text(arguments.out / "video.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
