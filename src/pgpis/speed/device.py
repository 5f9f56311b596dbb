"""The device that is timed: what it is called, what it can do at most, its clock and its memory."""

from __future__ import annotations

import functools
import gc
import importlib
import platform
import re
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from pgpis import __version__

PEAKS = {
    "H100 PCIe": {"bf16": 756.0, "fp16": 756.0, "tf32": 378.0, "fp32": 51.0},
    "H100": {"bf16": 989.0, "fp16": 989.0, "tf32": 494.0, "fp32": 67.0},
    "H200": {"bf16": 989.0, "fp16": 989.0, "tf32": 494.0, "fp32": 67.0},
    "A100": {"bf16": 312.0, "fp16": 312.0, "tf32": 156.0, "fp32": 19.5},
    "RTX 4090": {"bf16": 165.0, "fp16": 165.0, "tf32": 82.6, "fp32": 82.6},
}
"""Dense TFLOP/s by a part of the card's name, with float32 sums, from the makers' data sheets."""
OTHERS = re.compile(r"\b(NVL|MIG|Laptop|D)\b")
"""Words of a name that make it another card's, or a part of a card."""
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "tf32": torch.float32, "fp32": torch.float32}
VERSIONS = ("torch", "diffusers", "lightning", "transformers")
GIB = 2**30


class Device:
    """A CPU, or one GPU.

    Args:
        name: As PyTorch calls it: ``cpu``, ``cuda``, ``cuda:1``.
    """

    def __init__(self, name: str) -> None:
        self.torch = torch.device(name)
        self.is_gpu = self.torch.type == "cuda"

    @property
    def name(self) -> str:
        """Name of card or processor."""
        return torch.cuda.get_device_name(self.torch) if self.is_gpu else _processor()

    def describe(self) -> dict[str, str | int]:
        """Return what a reader of a figure must know: device, threads, versions."""
        versions = {name: str(importlib.import_module(name).__version__) for name in VERSIONS}
        own: dict[str, str | int] = {"name": self.name, "pgpis": __version__, "python": platform.python_version()}
        own |= versions
        if self.is_gpu:
            cudnn: Any = torch.backends.cudnn.version()  # type: ignore[no-untyped-call, unused-ignore]
            return own | {"cuda": str(torch.version.cuda), "cudnn": str(cudnn)}
        return own | {"threads": torch.get_num_threads()}

    def peak(self, dtype: str) -> tuple[float, str]:
        """Return the most FLOP/s in ``bf16``, ``fp16``, ``tf32`` or ``fp32``, and where that is from."""
        for part, peaks in PEAKS.items() if self.is_gpu else ():
            if part in self.name and not OTHERS.search(self.name):
                return peaks[dtype] * 1e12, "data sheet"
        kinds = {dtype} if self.is_gpu else {dtype, "fp32"}  # few processors multiply halves themselves
        return max(map(self._measure, kinds)), "measured: a large matrix product"

    @functools.cache  # noqa: B019  there is one
    def _measure(self, dtype: str) -> float:
        side = 8192 if self.is_gpu else 1024
        factor = torch.randn(side, side, device=self.torch, dtype=DTYPES[dtype])
        clock = Clock(self)
        for _ in range(6):
            clock.mark()
            torch.mm(factor, factor)
        clock.mark()
        return 2 * side**3 / (min(clock.milliseconds()[1:]) / 1e3)

    def begin(self) -> None:
        """Let go of what earlier runs left, and count the peak of memory from here."""
        gc.collect()
        if self.is_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.torch)
            return
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except OSError:  # the peak is then that of the whole process
            return

    def peak_memory(self) -> float:
        """Return the most memory since :meth:`begin` in GiB: the GPU's, or this process's."""
        if self.is_gpu:
            return torch.cuda.max_memory_allocated(self.torch) / GIB
        status = Path("/proc/self/status")
        for line in status.read_text(encoding="ascii").splitlines() if status.is_file() else ():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / GIB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


class Clock:
    """Marks on the device's own line of time, which a GPU's work does not wait for.

    Args:
        device: Whose.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._events: list[Any] = []
        self._seconds: list[float] = []

    def mark(self) -> None:
        """Set a mark after the work that was begun so far."""
        if self.device.is_gpu:
            event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call, unused-ignore]
            event.record(torch.cuda.current_stream(self.device.torch))
            self._events.append(event)
        else:
            self._seconds.append(time.perf_counter())

    def milliseconds(self) -> list[float]:
        """Return the times between the marks; waits for the last one."""
        if self.device.is_gpu:
            torch.cuda.synchronize(self.device.torch)
            return [first.elapsed_time(last) for first, last in zip(self._events, self._events[1:], strict=False)]
        return [1e3 * (last - first) for first, last in zip(self._seconds, self._seconds[1:], strict=False)]


def median(values: list[float]) -> float:
    """Return the middle one, or the mean of both; not a number where there is none."""
    return statistics.median(values) if values else float("nan")


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
