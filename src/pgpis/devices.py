"""Where nets run: the option ``--device`` of all commands, and the GPU of ``--offload``."""

from __future__ import annotations

import os
import re

from pgpis.errors import PgpisError


def usual_device() -> str:
    """Return ``cuda`` where there is a GPU, else ``cpu``."""
    import torch  # plain settings and ``--help`` do without

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device_name(device: str | None) -> None:
    """Refuse what is no device's name; None: it is chosen later.

    Raises:
        PgpisError: Says which names there are.
    """
    if device is not None and not re.fullmatch(r"cpu|(cuda|mps|xpu)(:\d{1,3})?", device, re.ASCII):
        raise PgpisError(f"--device is '{device}', expected cpu, cuda or, for one of several GPUs, cuda:0, cuda:1, ...")


def device_here(device: str | None) -> str:
    """Return the device of this machine that was asked for, or the usual one.

    Of several processes that one command started here, each gets a GPU of its own where no number is named.

    Raises:
        PgpisError: There is no such device.
    """
    check_device_name(device)
    device = device or usual_device()
    if device == "cpu":
        return device
    import torch

    kind, _, number = device.partition(":")
    known = torch.accelerator.current_accelerator(check_available=True)
    count = torch.accelerator.device_count() if known is not None and known.type == kind else 0
    if int(number or 0) >= count:
        has = f"{count} of its kind" if count else "none"
        raise PgpisError(f"--device {device}: PyTorch finds {has} on this machine", hint="--device cpu")
    local = os.environ.get("LOCAL_RANK", "")  # torchrun and Lightning number them
    return f"{kind}:{int(local) % count}" if local and not number else device


def gpu_to_lend_to() -> str:
    """Return the GPU of this machine, of several each process's own, that weights in the CPU's memory are lent to.

    Raises:
        PgpisError: There is none.
    """
    import torch

    gpu = torch.accelerator.current_accelerator(check_available=True)
    if gpu is None:
        message = "--offload, or sampling.offload, lends weights to a GPU, and PyTorch finds none on this machine"
        raise PgpisError(message, hint="--offload none")
    return device_here(gpu.type)
