"""Folders, bundles and checkpoints that the first version wrote, whose modules have moved since, are read as they were.

``fixtures/earlier/save.py`` says how they were made.
"""

import gzip
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from pgpis.aliases import MOVED, current_class
from pgpis.cli import main
from pgpis.methods.fpdm import FPDMPipeline
from pgpis.methods.mcld import MCLDPipeline
from pgpis.models.foreign import read_json
from pgpis.pipelines.bundle import load_bundle, pack

EARLIER = Path(__file__).parents[1] / "fixtures/earlier"
PIPELINES = {"fpdm": FPDMPipeline, "mcld": MCLDPipeline}
TOLERANCE = 1e-4
"""Of pictures in [0, 1]: other processors add numbers in another order."""
SCALES = {"fpdm": {"guidance_scale": 2.0, "pose_guidance_scale": 1.5}, "mcld": {"guidance_scale": 2.0}}


@pytest.fixture(params=PIPELINES)
def name(request):
    return request.param


def pictures(pipeline, name):
    """What the pipeline makes of the inputs of ``save.py``, and what it made of them then."""
    with np.load(EARLIER / f"{name}.npz") as stored:
        inputs = {key: list(stored[key]) for key in stored.files if key != "images"}
        expected = stored["images"]
    pipeline.set_progress_bar_config(disable=True)
    options = {"height": 24, "width": 20, "num_inference_steps": 3, **SCALES[name]}
    generator = torch.Generator().manual_seed(0)
    return pipeline(**inputs, **options, generator=generator, output_type="np").images, expected


def test_an_earlier_folder_gives_the_same_pictures(name):
    pipeline = PIPELINES[name].from_pretrained(EARLIER / name)
    images, expected = pictures(pipeline, name)
    np.testing.assert_allclose(images, expected, atol=TOLERANCE)


def test_an_earlier_folder_is_written_anew_under_the_names_of_today(name, tmp_path):
    pipeline = PIPELINES[name].from_pretrained(EARLIER / name)
    pipeline.save_pretrained(tmp_path)
    index = read_json(tmp_path / "model_index.json")
    named = {tuple(value) for value in index.values() if isinstance(value, list) and isinstance(value[0], str)}
    assert all(current_class(*value) == value for value in named)
    images, expected = pictures(PIPELINES[name].from_pretrained(tmp_path), name)
    np.testing.assert_allclose(images, expected, atol=TOLERANCE)


def test_an_earlier_folder_is_a_bundle(name, tmp_path):
    """As the bundles that ship with pgpis, whose files name the earlier modules too."""
    pack(EARLIER / name, tmp_path / "model.safetensors", {})
    images, _ = pictures(load_bundle(PIPELINES[name], tmp_path / "model.safetensors"), name)
    rounded = PIPELINES[name].from_pretrained(EARLIER / name)
    for part in rounded.components.values():
        if isinstance(part, torch.nn.Module):
            for value in part.state_dict().values():
                value.copy_(value.half() if value.is_floating_point() else value)
    expected, _ = pictures(rounded, name)
    np.testing.assert_array_equal(images, expected)


def test_an_earlier_part_is_read_alone(name):
    pipeline = PIPELINES[name].from_pretrained(EARLIER / name)
    unet = type(pipeline.unet).from_pretrained(EARLIER / name, subfolder="unet").state_dict()
    assert all(torch.equal(value, unet[key]) for key, value in pipeline.unet.state_dict().items())


def words(verb, name, root, tmp_path):
    """Make the words for ``main`` that go on from an earlier checkpoint."""
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(gzip.decompress((EARLIER / f"{name}.ckpt.gz").read_bytes()))
    return [
        verb,
        f"--config=smoke/{name}.yaml",
        *(f"--data.{split}.init_args.root={root}" for split in ("train", "val", "test")),
        f"--model.init_args.pipeline={EARLIER / name}",
        "--model.init_args.height=32",
        "--model.init_args.width=24",
        "--model.init_args.optimizer={class_path: torch.optim.SGD, init_args: {lr: 0.01}}",
        "--data.batch_size=2",
        f"--trainer.default_root_dir={tmp_path / 'run'}",
        f"--ckpt_path={checkpoint}",
    ]


FIT = (
    "--trainer.max_steps=3",
    "--trainer.limit_val_batches=0",
    "--trainer.callbacks=[{class_path: ModelCheckpoint, init_args: {save_last: true}}]",
)


@pytest.mark.slow
def test_training_goes_on_from_an_earlier_checkpoint(textured_root, tmp_path):
    assert main([*words("fit", "fpdm", textured_root, tmp_path), *FIT]) == 0
    before, after = (
        torch.load(path, weights_only=True) for path in (tmp_path / "last.ckpt", tmp_path / "run/checkpoints/last.ckpt")
    )
    assert (before["global_step"], after["global_step"]) == (2, 3)
    # the optimiser's state goes by the order of the weights
    assert list(before["state_dict"]) == list(after["state_dict"])
    assert any(not torch.equal(value, after["state_dict"][key]) for key, value in before["state_dict"].items())


@pytest.mark.slow
def test_an_earlier_checkpoint_of_mcld_is_evaluated_and_not_trained_on(textured_root, tmp_path, capsys):
    """Its face resampler had fewer, larger weights: they are cut, the optimiser's state cannot be."""
    assert main([*words("validate", "mcld", textured_root, tmp_path), "--trainer.limit_val_batches=1"]) == 0
    assert main([*words("fit", "mcld", textured_root, tmp_path), *FIT]) == 2
    said = capsys.readouterr().err
    assert "of an earlier version: its weights fit, but the optimiser's state does not" in said
    assert "start_from=FOLDER/pipeline" in said


def test_every_earlier_name_leads_to_what_is_there():
    for target in MOVED.values():
        home, _, name = target.rpartition(".")
        assert hasattr(importlib.import_module(home), name) or importlib.import_module(target)
        assert target not in MOVED, "the chain is resolved in one step"


@pytest.mark.parametrize("name", [name for name in MOVED if name.rpartition(".")[2].islower()])
def test_an_earlier_module_is_todays(name):
    module = importlib.import_module(name)
    assert module is importlib.import_module(MOVED[name])
    assert module.__spec__.name == module.__name__ == MOVED[name]
