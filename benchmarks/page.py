"""Load on the page: visitors for as long as is asked, then hostile uploads; its memory is watched.

The page is a process of its own, with the models that ship. ``python benchmarks/page.py --minutes 30 --visitors 4``.
"""

import argparse
import json
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from pgpis.app.examples import example_pictures
from pgpis.app.poses import named_poses
from pgpis.app.skeleton import value_of

SMALL = {"steps": 1, "guidance": None, "seed": 0, "pictures": 1, "height": 128, "width": 96}


def words(photo: Path, name: str, skeleton: object = None) -> list[object]:
    """Return what ``/make`` is given."""
    kind = "a named pose" if skeleton is None else "a skeleton"
    return [handle_file(str(photo)), kind, name, None, skeleton, False, "synth-fpdm", *SMALL.values()]


def resident(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Return megabytes that a process has in memory, and had at most."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    now, most = (int(re.findall(rf"{field}:\s+(\d+)", status)[0]) / 1024 for field in ("VmRSS", "VmHWM"))
    return now, most


def wait_for(address: str) -> None:
    """Wait until the page answers."""
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310  our own page
                return
        except OSError:
            time.sleep(0.1)


def visit(address: str, photo: Path, until: float, counts: list[int]) -> None:
    """Ask for pictures, each in another pose, and now and then as a new visitor."""
    names = list(named_poses())
    while time.monotonic() < until:
        client = Client(address, verbose=False, httpx_kwargs={"timeout": 300})
        for number in range(20):
            if time.monotonic() > until:
                break
            client.predict(*words(photo, names[number % len(names)]), api_name="/make")
            counts.append(1)
        client.close()


def soak(address: str, process: subprocess.Popen[bytes], visitors: int, minutes: float) -> None:
    """Let visitors make pictures, and print the memory of the page once a minute."""
    photos, counts = example_pictures(), []
    until = time.monotonic() + 60 * minutes
    threads = [
        threading.Thread(target=visit, args=(address, photos[number % len(photos)], until, counts))
        for number in range(visitors)
    ]
    for thread in threads:
        thread.start()
    print("| minute | pictures | MB |\n| --- | --- | --- |")
    minute = 0
    while any(thread.is_alive() for thread in threads):
        time.sleep(min(60, max(1, until - time.monotonic())))
        minute += 1
        print(f"| {minute} | {len(counts)} | {resident(process)[0]:.0f} |", flush=True)


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Cut, exchange or repeat some bytes."""
    position = draw.randrange(1, len(content))
    return draw.choice([
        content[:position],
        content[:position] + draw.randbytes(draw.randrange(1, 200)) + content[position + 1 :],
        content[position:] + content[:position],
        draw.randbytes(len(content) // 10),
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"GIF89a" + content[:position],
        content[:24] + b"\x7f\xff\xff\xff" + content[28:],
    ])  # fmt: skip


def hostile(address: str, process: subprocess.Popen[bytes], count: int, folder: Path) -> None:
    """Send files and skeletons that nobody should send; then ask for a picture."""
    draw, photo = random.Random(0), example_pictures()[0]
    whole = photo.read_bytes()
    pose = next(iter(named_poses().items()))
    client, said, made = Client(address, verbose=False, httpx_kwargs={"timeout": 300}), list[str](), 0
    before = resident(process)[0]
    for number in range(count):
        path = folder / draw.choice(["a.png", "b.jpg", "..%2fc.png", "<b>d.webp", "e" * 120 + ".png", "f.svg.png"])
        skeleton = None
        path.write_bytes(whole)
        if number % 3:
            path.write_bytes(damaged(whole, draw))
        else:
            text = json.dumps(value_of(pose[1]))
            wrong = draw.choice(["1e999", "NaN", "[]", '"x"', "{}", "-1e30", "null", "[" * 50 + "]" * 50])
            skeleton = json.loads(re.sub(r"\d+\.\d+", wrong, text, count=draw.randrange(1, 40)))
            skeleton["points"] *= draw.choice([1, 1000])
        try:
            client.predict(*words(path, pose[0], skeleton), api_name="/make")
            made += 1
        except (AppError, ValueError) as error:
            said.append(str(error))
    wrong = [message for message in said if str(folder) in message or not 0 < len(message) < 2000]
    assert not wrong, wrong[0]
    now, most = resident(process)
    client.predict(*words(photo, pose[0]), api_name="/make")
    print(
        f"{count} hostile requests: {len(said)} messages, {made} could be read; "
        f"MB {before:.0f} to {now:.0f}, at most {most:.0f}"
    )


def main() -> None:
    """Serve the page, and load it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--visitors", type=int, default=4)
    parser.add_argument("--hostile", type=int, default=100)
    options = parser.parse_args()
    example_pictures()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "pgpis", "app", "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        wait_for(address)
        answered = time.monotonic() - start
        client = Client(address, verbose=False, httpx_kwargs={"timeout": 300})
        told = []
        for model in ("synth-fpdm", "synth-mcld"):
            for _ in range(2):
                begun = time.monotonic()
                asked = words(example_pictures()[0], next(iter(named_poses())))
                client.predict(*asked[:6], model, None, None, 0, 1, None, None, api_name="/make")
                told.append(f"{time.monotonic() - begun:.1f}")
        print(f"the page answers after {answered:.1f} s; pictures after {', '.join(told)} s (FPDM, FPDM, MCLD, MCLD)")
        soak(address, process, options.visitors, options.minutes)
        with tempfile.TemporaryDirectory() as folder:
            hostile(address, process, options.hostile, Path(folder))
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
