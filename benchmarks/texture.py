"""Time a texture: the published procedure, written down plainly, against ours; one core, same result.

Published: the conversion's tables are read for every picture, each part is visited pixel by pixel, every part is
inpainted. Ours: index tables once, all pixels at once, only parts that are seen. Beside it the same with
``inpaint="fast"``: its ratio to ours, and how far its colours are from ours where both fill holes.

    python benchmarks/texture.py [--people 2] [--minimum 2] [--minimum-fast 10]
"""

from __future__ import annotations

import argparse
import sys
import time

import cv2
import numpy as np

from pgpis.pictures.inpainting import INPAINT_RADIUS, REACH
from pgpis.pictures.iuv import PARTS
from pgpis.pictures.uv_texture import CHART_SIZE, TEXTURE_SIZE, Bytes, TextureMapper, _converter, scatter
from pgpis.synth.scene.render import draw
from pgpis.synth.scene.sampling import views_of


def published(image: Bytes, iuv: Bytes, masks: np.ndarray) -> Bytes:
    """Make a texture as the released code's description reads."""
    _converter.cache_clear()
    converter = _converter(CHART_SIZE, TEXTURE_SIZE)
    last = CHART_SIZE - 1
    charts = np.zeros((PARTS, CHART_SIZE, CHART_SIZE, 3), np.uint8)
    for part in range(1, PARTS + 1):
        chart, mask = charts[part - 1], masks[part - 1]
        for y, x in zip(*np.nonzero(iuv[..., 0] == part), strict=True):
            u, v = float(iuv[y, x, 1]), float(iuv[y, x, 2])
            chart[int((255 - v) * last / 255), int(u * last / 255)] = image[y, x]
        low, high = float(chart.min()), float(chart.max())
        span = high - low or 1.0
        seen = chart.any(axis=-1)
        stretched = ((chart - low) / span * 255).astype(np.uint8)
        filled = cv2.inpaint(stretched, (mask & ~seen).astype(np.uint8), INPAINT_RADIUS, cv2.INPAINT_TELEA)
        filled = (filled / 255 * span + low).astype(np.uint8)
        kept = seen | (mask & (cv2.dilate(seen.astype(np.uint8), REACH) > 0))
        chart[:] = np.where(kept[..., None], filled, 0)
    texture = converter.convert(charts.transpose(0, 2, 1, 3).astype(np.float64))
    return np.rint(np.clip(texture, 0, 1) * 255).astype(np.uint8)


def main() -> int:
    """Time both on the same pictures, print the ratio; return 1 if textures differ or the ratio is too small."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=2, help="people, in two views each")
    parser.add_argument("--height", type=int, default=1101, help="rows of a picture")
    parser.add_argument("--width", type=int, default=750, help="columns of a picture")
    parser.add_argument("--minimum", type=float, default=2.0, help="fail below this ratio")
    parser.add_argument("--minimum-fast", type=float, default=10.0, help="fail below this ratio of exact to fast")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    aspect = arguments.width / arguments.height
    scenes = [scene for person in range(arguments.people) for scene in views_of(0, person, 2, aspect=aspect)]
    pictures = [draw(scene, arguments.height, arguments.width) for scene in scenes]
    mapper, fast_mapper = TextureMapper(), TextureMapper(inpaint="fast")
    seconds = {"published": 0.0, "ours": 0.0, "fast": 0.0}
    differences, in_holes, elsewhere = [], [], 0
    for picture in pictures:
        start = time.perf_counter()
        expected = published(picture.rgb, picture.iuv, mapper.masks)
        middle = time.perf_counter()
        texture = mapper(picture.rgb, picture.iuv)
        seconds["published"] += middle - start
        end = time.perf_counter()
        fast = fast_mapper(picture.rgb, picture.iuv)
        seconds["ours"] += end - middle
        seconds["fast"] += time.perf_counter() - end
        differences.append(np.abs(expected.astype(int) - texture))
        seen = mapper.texture(scatter(picture.rgb, picture.iuv)[0]).any(axis=-1)
        elsewhere += int((fast[seen] != texture[seen]).sum())
        in_holes.append(fast.astype(float)[fast.any(axis=-1) & ~seen] - texture[fast.any(axis=-1) & ~seen])
    for name, total in seconds.items():
        print(f"{name:10s} {total / len(pictures):.2f} s a picture")
    start = time.perf_counter()
    for picture in pictures:
        charts = mapper.atlas(picture.rgb, picture.iuv)
    print(f"of ours, scattering and OpenCV's inpainting {(time.perf_counter() - start) / len(pictures):.2f} s")
    assert charts.any()
    different = np.mean([difference.any(axis=-1).mean() for difference in differences])
    ratio = seconds["published"] / seconds["ours"]
    print(f"texels that differ {100 * different:.3f} %, at most by {max(d.max() for d in differences)} of 255")
    print(f"ratio {ratio:.2f}")
    fast_ratio, holes = seconds["ours"] / seconds["fast"], np.concatenate(in_holes)
    psnr = 10 * np.log10(255**2 / np.square(holes).mean())
    print(f"ratio of ours to fast {fast_ratio:.1f}; holes differ by {np.abs(holes).mean():.1f} of 255, {psnr:.1f} dB")
    is_near = different <= 0.02 and max(d.max() for d in differences) <= 1 and not elsewhere
    return int(not is_near or ratio < arguments.minimum or fast_ratio < arguments.minimum_fast)


if __name__ == "__main__":
    sys.exit(main())
