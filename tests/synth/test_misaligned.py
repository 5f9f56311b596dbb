"""``--misaligned``: pictures that another camera frames, with labels as exact as those of the others."""

import dataclasses

import numpy as np
import pytest

from pgpis.cli import main
from pgpis.errors import PgpisError
from pgpis.synth.figure.person import dress
from pgpis.synth.files.manifest import read_manifest
from pgpis.synth.files.options import DatasetOptions
from pgpis.synth.scene.camera import misaligned_frame
from pgpis.synth.scene.labels import stand
from pgpis.synth.scene.render import draw_labels
from pgpis.synth.scene.sampling import person_of, views_of

SIZE = (64, 44)


def test_a_share_of_the_views_has_another_camera_and_nothing_else_differs():
    usual, some, all_of_them = (views_of(3, 1, 8, misaligned=share) for share in (0.0, 0.5, 1.0))
    assert usual == views_of(3, 1, 8)
    others = [first.camera != second.camera for first, second in zip(usual, some, strict=True)]
    assert 0 < sum(others) < 8
    for first, second, third, other in zip(usual, some, all_of_them, others, strict=True):
        assert first.camera != third.camera
        assert second.camera == (third if other else first).camera
        assert dataclasses.replace(third, camera=first.camera) == first


def test_frames_are_nearer_farther_and_cut_and_never_without_the_person():
    scene = views_of(3, 1, 1)[0]
    person = dress(*person_of(3, 1))
    points = stand(person, scene.pose)[1]
    shares, scales, feet = [], [], []
    for number in range(24):
        camera = misaligned_frame(scene.camera, points, np.random.default_rng(number), SIZE[1] / SIZE[0])
        _, layer, (_, coco, _) = draw_labels(dataclasses.replace(scene, camera=camera), *SIZE)
        shares.append((layer >= 0).mean())
        scales.append(camera.focal / scene.camera.focal)
        feet.append((coco[15:, 2] > 0).all())
    assert min(shares) > 0.03
    assert min(scales) < 0.8
    assert max(scales) > 1.3
    assert 0 < sum(feet) < len(feet)


def test_the_command_draws_them_and_refuses_another_share(tmp_path, drawing_here, capsys):
    words = ["synth", f"--out={tmp_path}", "--people=2", "--views=2", "--textures=none", "--workers=1"]
    assert main([*words, "--misaligned=1"]) == 0
    scenes = [entry.scene for entry in read_manifest(tmp_path)]
    assert all(scene.camera != usual.camera for scene, usual in zip(scenes[:2], views_of(0, 0, 2), strict=True))
    assert main(words) == 2
    assert "begun with --misaligned 1.0, not 0.0" in capsys.readouterr().err
    with pytest.raises(PgpisError, match=r"--misaligned is 1\.5"):
        DatasetOptions(2, misaligned=1.5)
