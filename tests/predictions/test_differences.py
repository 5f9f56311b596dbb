"""How the settings of two predictions differ."""

import pytest

from pgpis.predictions.differences import told_differences

BEFORE = {
    "pipeline": "synth-fpdm",
    "seed": 0,
    "inputs": {"pose_image": {"height": 256}},
    "scheduler_config": {"steps": 1, "beta": {"start": 0.1, "end": 0.2}},
    "weights of unet": "a" * 64,
}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ({"seed": 5}, "pictures made with seed=0, now seed=5"),
        (
            {"seed": 5, "scheduler_config": {"steps": 1, "beta": {"start": 0.1, "end": 0.3}}},
            "pictures made with scheduler_config.beta.end=0.2, now scheduler_config.beta.end=0.3; seed=0, now seed=5",
        ),
        ({"weights of unet": "b" * 64}, "pictures made with other weights of unet"),
        ({"weights of refiner": "b"}, "pictures made with weights of refiner not set, now weights of refiner=b"),
        ({"pipeline": "copy", "seed": 5}, "pictures made with seed=0, now seed=5"),
        ({"pipeline": "copy", "weights of unet": "b" * 64}, "pictures of synth-fpdm, now copy"),
        ({"pipeline": "synth-mcld", "inputs": {}, "seed": 5}, "pictures of synth-fpdm, now synth-mcld"),
        ({"pipeline": None, "ckpt_path": "last.ckpt", "inputs": {}}, "pictures of synth-fpdm, now last.ckpt"),
    ],
)
def test_differences_are_told_in_few_words(now, expected):
    settings = BEFORE | now
    changed = [key for key in settings if key not in ("pipeline", "ckpt_path") and settings[key] != BEFORE.get(key)]
    assert told_differences(BEFORE, settings, changed) == expected
