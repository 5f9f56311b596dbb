"""Ports for servers of tests."""

import random
import socket
from pathlib import Path

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port():
    """A port that nobody has, and that nobody is given by the system before the server is there.

    One that is asked for with port 0 is of those that outgoing connections get: another test's may have it in between.
    """
    first = int(RANGE.read_text().split()[0]) if RANGE.exists() else 32_768
    for port in random.SystemRandom().sample(range(10_000, first) if first > 11_000 else range(2_000, 10_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
