"""Damaged bytes, for every test that feeds them."""

import struct
from random import Random

TOKENS = (
    b"..", b"/", b"\0", b"nan", b"-1", b"1e999", b'"', b",", b"\r\n", b"{", b"[" * 2000, b"9" * 6000,
    b"\xff\xfe", b"}", b"null", b"true", b"\xc3", b"'", b"&a", b"*a", b"../../etc/passwd",
    b"!!python/object/apply:os.system ['touch harm']",
)  # fmt: skip


def mutate(data: bytes, rng: Random, tokens: tuple[bytes, ...] = TOKENS) -> bytes:
    """Flip, cut, double, overwrite or insert bytes."""
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(damaged) + 1)
        match rng.randrange(7):
            case 0 if place < len(damaged):
                damaged[place] = rng.randrange(256)
            case 1:
                del damaged[place : place + rng.randint(1, 60)]
            case 2:
                damaged[place:place] = damaged[place : place + rng.randint(1, 60)]
            case 3:
                damaged[place:place] = rng.choice(tokens)
            case 4:
                number = rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 65535])
                damaged[place : place + 4] = struct.pack(rng.choice("<>") + "I", number)
            case 5:
                damaged[place : place + 8] = struct.pack("<Q", rng.choice([2**63, 2**40, 2**64 - 1, 0]))
            case _ if rng.random() < 0.3:
                del damaged[place:]
    return bytes(damaged)
