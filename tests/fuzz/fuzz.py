"""Hostile and damaged input of every kind: refused or read, never an internal error, a kill, a hang or a memory hog.

    python tests/fuzz/fuzz.py                          3,000 inputs over all kinds, some fifteen minutes
    python tests/fuzz/fuzz.py --share 0.02             a small run, as in CI
    python tests/fuzz/fuzz.py --kinds pictures --only 17   one input again, with its traceback

Each kind runs in a process of its own, which this one watches; an input is known by kind, seed and number.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

HANG_S = 10.0
MEMORY = 2 << 30
START_S = 240.0
HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run all kinds; 1 if any input did harm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="share of the inputs of each kind [1]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="", help="names joined by commas [all]")
    parser.add_argument("--only", type=int, help="number of one input")
    parser.add_argument("--worker", nargs=2, type=int, metavar=("FIRST", "END"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker or options.only is not None:
        first, end = options.worker or (options.only, options.only + 1)
        return work(options.kinds, options.seed, first, end)
    report = run(options.share, options.seed, [name for name in options.kinds.split(",") if name])
    print(json.dumps(report["counts"], indent=1))
    for failure in report["failures"]:
        print("HARM", json.dumps(failure))
    total = sum(counts["inputs"] for counts in report["counts"].values())
    print(f"{total} inputs, {len(report['failures'])} did harm")
    return 1 if report["failures"] else 0


def run(share: float, seed: int, names: list[str]) -> dict:
    """Feed every kind its inputs; return counts by kind, and what did harm."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    from fuzz_kinds import KINDS

    counts, failures = {}, []
    for name in names or KINDS:
        inputs = max(1, round(KINDS[name].inputs * share))
        counts[name] = {"inputs": inputs, "refused": 0, "read": 0, "slowest_s": 0.0, "most_mib": 0}
        number = 0
        while number < inputs:
            number = _watch(name, seed, number, inputs, counts[name], failures)
        print(f"{name}: {counts[name]}", file=sys.stderr, flush=True)
    return {"counts": counts, "failures": failures}


def _watch(name: str, seed: int, first: int, end: int, counts: dict, failures: list) -> int:
    """Watch one process until it ends or has to be ended; return the number of the next input."""
    words = [sys.executable, "-W", "ignore", str(HERE / "fuzz.py"), "--kinds", name, "--seed", str(seed)]
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [*words, "--worker", str(first), str(end)], stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        )
        number, patience = first, START_S
        try:
            while number < end:
                line, harm = _next_line(child, patience)
                if harm is not None:
                    if number == first and patience == START_S and "ended" in harm:
                        errors.seek(0)
                        raise RuntimeError(f"{name}: the worker did not start: {errors.read()[-2000:]}")
                    failures.append({"kind": name, "number": number, "seed": seed, "harm": harm})
                    return number + 1
                result = json.loads(line)
                if result["outcome"] == "ready":
                    patience = HANG_S
                    continue
                counts["slowest_s"] = max(counts["slowest_s"], round(result["seconds"], 2))
                counts["most_mib"] = max(counts["most_mib"], result["mib"])
                if result["outcome"] in ("read", "refused"):
                    counts[result["outcome"]] += 1
                else:
                    failures.append({"kind": name, "number": number, "seed": seed, "harm": result["outcome"]})
                number += 1
            return end
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            child.stdout.close()


def _next_line(child: subprocess.Popen, patience: float) -> tuple[str, str | None]:
    """Wait for a line of the child; or return what harm was done instead."""
    limit = time.monotonic() + patience
    while True:
        if select.select([child.stdout], [], [], 0.05)[0]:
            line = child.stdout.readline()
            return (line.decode(), None) if line else ("", f"the process ended: {child.wait()}")
        if _resident(child.pid) > MEMORY:
            return "", f"more than {MEMORY >> 20} MiB"
        if time.monotonic() > limit:
            return "", f"no answer in {patience:.0f} s"


def _resident(pid: int, field: str = "VmRSS") -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(field)), 0)


def work(name: str, seed: int, first: int, end: int) -> int:
    """Feed inputs one by one and print what became of each; the other side watches."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    os.environ["HF_HUB_OFFLINE"] = "1"
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the product prints does not mix with our lines
    from fuzz_kinds import KINDS

    with tempfile.TemporaryDirectory(prefix="pgpis-fuzz-") as temporary:
        os.chdir(temporary)
        state = KINDS[name].prepare(Path(temporary))
        channel.write(json.dumps({"outcome": "ready"}) + "\n")
        for number in range(first, end):
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak
            outcome, seconds = feed(name, seed, number, state)
            peak = _resident(os.getpid(), "VmHWM")
            if peak > MEMORY and outcome in ("read", "refused"):
                outcome = f"{peak >> 20} MiB"
            channel.write(json.dumps({"outcome": outcome, "seconds": seconds, "mib": peak >> 20}) + "\n")
    return 0


def feed(name: str, seed: int, number: int, state: object) -> tuple[str, float]:
    """Feed one input; return "read", "refused" or the harm that it did, and the seconds."""
    from fuzz_kinds import KINDS

    from pgpis.errors import PgpisError

    reader = KINDS[name].make(random.Random(f"{seed}/{name}/{number}"), state)
    start = time.monotonic()
    try:
        outcome = reader() or "read"
    except PgpisError as error:
        outcome = "refused" if error.message.strip() else "an empty message"
    except BaseException as error:  # the point of this program is to see all of them
        traceback.print_exc()
        outcome = f"{type(error).__name__}: {str(error)[:300]}"
    return outcome, time.monotonic() - start


if __name__ == "__main__":
    sys.exit(main())
