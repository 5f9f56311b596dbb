"""Load ``pgpis serve`` from several clients, and compare batching off and on.

Each client asks again and again for the picture of its own person; each answer is compared with the picture that the
service makes of the same request when nobody else asks. The two services run side by side, and turns alternate.

    python benchmarks/service.py [--requests 200] [--clients 8] [--max-batch 8] [--size 256x176] [--steps 5]
"""

from __future__ import annotations

import argparse
import io
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from pgpis.cli.options import size
from pgpis.synth.files.dataset import make_dataset
from pgpis.synth.files.options import DatasetOptions

SECONDS_TO_START = 300
TURNS = 5


class Running:
    """A service that runs: its address, and its process."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.process = process
        self.client = httpx.Client(base_url=url, timeout=600)

    def picture(self, files: dict[str, bytes], **fields: Any) -> np.ndarray:
        """Ask for a picture, ``(height, width, 3)``."""
        answer = self.client.post("/v1/pictures", files=files, data=fields)
        assert answer.status_code == 200, answer.text
        return np.asarray(Image.open(io.BytesIO(answer.content))).astype(int)

    def batches(self) -> tuple[float, float]:
        """Return how many drawings there were, and of how many requests."""
        lines = self.client.get("/metrics").text.splitlines()
        values = [
            [float(line.split()[-1]) for line in lines if line.startswith(f"pgpis_batch_size_{name}{{")]
            for name in ("count", "sum")
        ]
        return sum(values[0]), sum(values[1])


@contextmanager
def running_service(log: Path, *words: str) -> Iterator[Running]:
    """Start ``pgpis serve`` on a free port, and end it as Ctrl-C does."""
    command = [sys.executable, "-m", "pgpis", "serve", "--port", "0", *words]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        yield Running(_address(process, log), process)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until a service says where it listens."""
    for _ in range(SECONDS_TO_START * 10):
        text = log.read_text()
        if match := re.search(r"listening on (http://[\w.:]+\d)", text):
            return match[1]
        assert process.poll() is None, text
        time.sleep(0.1)
    raise AssertionError(f"the service did not start in {SECONDS_TO_START} s")


def requests_of(folder: Path, clients: int) -> list[dict[str, bytes]]:
    """Draw somebody for each client, to be put into another's pose."""
    make_dataset(folder, DatasetOptions((clients + 1) // 2, 2, (256, 176), seed=1, textures="none"))
    sources = sorted((folder / "img").rglob("*.jpg"))[:clients]
    poses = sorted((folder / "pose").rglob("*.txt"))
    return [
        {"source": source.read_bytes(), "pose": poses[number - 1].read_bytes()} for number, source in enumerate(sources)
    ]


def load(
    service: Running, requests: Sequence[dict[str, bytes]], expected: Sequence[Any], each: int, **fields: Any
) -> float:
    """Let every client ask so many times, one picture after another; return the seconds that it took all of them.

    Raises:
        AssertionError: A request was lost, or answered with another's picture.
    """

    def ask(number: int) -> None:
        for _ in range(each):
            picture = service.picture(requests[number], **fields)
            # rounding differs by one in a batch of another size
            assert np.abs(picture - expected[number]).max() <= 1, f"client {number} got another picture"

    start = time.perf_counter()
    with ThreadPoolExecutor(len(requests)) as pool:
        list(pool.map(ask, range(len(requests))))
    return time.perf_counter() - start


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200, help="to each of the two services")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--max-batch", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--size", type=size, default=(256, 176))
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    fields = {"steps": options.steps, "height": options.size[0], "width": options.size[1]}
    words = ("--pipeline", "synth-fpdm", "--workers", str(options.workers), "--max-batch")
    each = max(1, options.requests // (options.clients * TURNS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        requests = requests_of(folder / "people", options.clients)
        with (
            running_service(folder / "off.log", *words, "1") as off,
            running_service(folder / "on.log", *words, str(options.max_batch)) as on,
        ):
            expected = [off.picture(request, **fields) for request in requests]
            apart = min(np.abs(one - two).max() for one in expected for two in expected if one is not two)
            assert apart > 1, "the clients' pictures cannot be told apart"
            on.picture(requests[0], **fields)
            seconds = {"off": 0.0, "on": 0.0}
            before = on.batches()
            for _ in range(TURNS):
                seconds["off"] += load(off, requests, expected, each, **fields)
                seconds["on"] += load(on, requests, expected, each, **fields)
            drawings, drawn = (after - first for after, first in zip(on.batches(), before, strict=True))
    count = each * TURNS * options.clients
    assert drawn == count
    for what, taken in seconds.items():
        print(f"batching {what:3}  {count} requests, none lost or mixed  {count / taken:6.2f} requests/s")
    print(f"ratio {seconds['off'] / seconds['on']:.2f}, {drawn / drawings:.1f} requests in a drawing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
