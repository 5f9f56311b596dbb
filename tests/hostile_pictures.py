"""Small files that are large, odd or damaged inside; shared by tests."""

import io
import struct
import zlib

from PIL import Image

PRIMARIES = {
    "adobe": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    "p3": ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407)),
}
"""XYZ of red, green and blue, adapted to D50."""


def encoded(image, file_format, **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, *, depth=8, colour=0, extra=b"", content=b""):
    """A PNG whose header may promise more than it holds; ``extra`` are further chunks."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), extra, chunk(b"IDAT", zlib.compress(content)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def compressed_bmp(width, height):
    """A BMP of run-length code, 255 pixels in two bytes."""
    runs = b"\xff\x05" * 400 + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + header + b"\0" * 1024 + runs


def many_scans(count):
    """A progressive JPEG of 4000 x 4000 pixels by its header, whose last scan comes again and again."""
    jpeg = bytearray(encoded(Image.new("RGB", (16, 16)), "JPEG", progressive=True))
    header = jpeg.find(b"\xff\xc2\x00")
    jpeg[header + 5 : header + 9] = struct.pack(">HH", 4000, 4000)
    scan = jpeg[jpeg.rfind(b"\xff\xda") : -2]
    return bytes(jpeg[:-2]) + bytes(scan) * count + b"\xff\xd9"


def exif(*entries, gps=()):
    """EXIF from ``(tag, type, count, bytes)``; nothing is checked."""

    def directory(rows, start):
        table, data, offset = struct.pack("<H", len(rows)), b"", start + 2 + 12 * len(rows) + 4
        for tag, kind, count, value in rows:
            short = len(value) <= 4
            field = value.ljust(4, b"\0") if short else struct.pack("<I", offset + len(data))
            data += b"" if short else value
            table += struct.pack("<HHI", tag, kind, count) + field
        return table + struct.pack("<I", 0) + data

    rows = list(entries)
    if gps:
        end = 8 + len(directory([*rows, (0x8825, 4, 1, b"")], 8))
        rows.append((0x8825, 4, 1, struct.pack("<I", end)))
    first = directory(rows, 8)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + (directory(gps, 8 + len(first)) if gps else b"")


def with_exif(jpeg, content):
    """A JPEG with this EXIF first, and without the JFIF header that names a resolution."""
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[20:]


def profile(name, gamma=2.2):
    """An ICC profile: of wide primaries, or ``grey``."""

    def number(value):
        return struct.pack(">i", round(value * 65536))

    def xyz(values):
        return b"XYZ \0\0\0\0" + b"".join(map(number, values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    white = (0.9642, 1, 0.8249)
    tags = [(b"desc", b"desc\0\0\0\0" + struct.pack(">I", 5) + b"wide\0" + b"\0" * 78), (b"wtpt", xyz(white))]
    if name == "grey":
        tags.append((b"kTRC", curve))
    else:
        tags += [(tag, xyz(values)) for tag, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), PRIMARIES[name], strict=True)]
        tags += [(tag, curve) for tag in (b"rTRC", b"gTRC", b"bTRC")]
    offset, table, data = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for tag, value in tags:
        padded = value + b"\0" * (-len(value) % 4)
        table += tag + struct.pack(">II", offset + len(data), len(padded))
        data += padded
    space = b"GRAY" if name == "grey" else b"RGB "
    size = 128 + len(table) + len(data)
    date = (2024, 1, 1, 0, 0, 0)
    head = struct.pack(">I4sI4s4s4s6H4s", size, b"lcms", 0x02100000, b"mntr", space, b"XYZ ", *date, b"acsp")
    return head.ljust(68, b"\0") + b"".join(map(number, white)) + b"\0" * 48 + table + data
