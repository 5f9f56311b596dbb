"""FPDM's training augmentation against the official code: same noise in, same points and pixels out."""

import re

import numpy as np
import pytest
from PIL import Image

from parity_files import Recorded
from pgpis.pictures.drawing import draw_pose
from pgpis.pictures.keypoints import Frame, Keypoints

pytestmark = pytest.mark.parity


def test_augmented_key_points(parity_root):
    folder = parity_root / "preprocess"
    meta, tensors = Recorded(folder / "fpdm.json"), Recorded(folder / "fpdm.safetensors")
    cases = sorted(int(match.group(1)) for key in meta if (match := re.fullmatch(r"aug\.(\d+)", key)))
    assert cases
    for number in cases:
        case = {name: tensors[f"aug.{number}.{name}"].numpy() for name in ("kp_in", "noise", "kp_out")}
        expected = np.asarray(Image.open(folder / "pose_png" / f"aug_{number}.png"))
        height, width = expected.shape[:2]
        keypoints = Keypoints.from_array(case["kp_in"], Frame(height, width), "body18")
        flip = meta[f"aug.{number}"]["flip"]
        assert flip == meta[f"aug.{number}"]["images_flipped"]
        augmented = keypoints.jitter(case["noise"])
        augmented = augmented.flip() if flip else augmented
        np.testing.assert_allclose(augmented.points, case["kp_out"], rtol=0, atol=1e-9)
        np.testing.assert_array_equal(augmented.visible, case["kp_out"] != -1)
        np.testing.assert_array_equal(draw_pose(augmented, height, width), expected)
