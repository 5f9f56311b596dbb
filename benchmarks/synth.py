"""How fast people are drawn on one core, and how much memory that takes.

``python benchmarks/synth.py [--people 12] [--views 5]`` draws people with all labels in this process on one thread and
prints pictures per second for both sizes, what the parts cost, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["NUMBA_NUM_THREADS"] = "1"

START = time.perf_counter()

import cv2  # noqa: E402

from pgpis.synth.figure.atlas import person_atlas  # noqa: E402
from pgpis.synth.figure.person import dress  # noqa: E402
from pgpis.synth.scene.render import draw  # noqa: E402
from pgpis.synth.scene.sampling import views_of  # noqa: E402

SIZES = ((256, 176), (512, 352))


def measure(people: int, views: int, height: int, width: int, first: int) -> tuple[float, float]:
    """Return seconds a picture for sampling and dressing, and for drawing with all labels."""
    sampling = drawing = 0.0
    for person in range(first, first + people):
        start = time.perf_counter()
        scenes = views_of(0, person, views)
        sampling += time.perf_counter() - start
        start = time.perf_counter()
        for scene in scenes:
            draw(scene, height, width)
        drawing += time.perf_counter() - start
    return sampling / (people * views), drawing / (people * views)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--views", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    draw(views_of(0, 0, 1)[0], 256, 176)
    print(f"first picture after {time.perf_counter() - START:.1f} s (imports and compilation included)")
    measure(1, options.views, 256, 176, first=1)
    for height, width in SIZES:
        sampling, drawing = measure(options.people, options.views, height, width, first=2)
        rate = 1 / (sampling + drawing)
        print(
            f"{height}x{width}: {rate:.1f} pictures/s a core "
            f"({1000 * sampling:.0f} ms person and pose, {1000 * drawing:.0f} ms picture and labels)"
        )
    identity_scene = views_of(0, 2, 1)[0]
    person = dress(identity_scene.identity, identity_scene.outfit)
    person_atlas(person)
    start = time.perf_counter()
    person_atlas(person)
    print(f"atlas of a person at 200 texels a chart: {1000 * (time.perf_counter() - start):.0f} ms")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:.0f} MiB")


if __name__ == "__main__":
    main()
