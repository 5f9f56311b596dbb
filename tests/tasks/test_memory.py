"""Pictures with less memory: batches that are halved, weights that are lent, tiles."""

import errno
import json
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from pgpis.cli import main
from pgpis.cli.drawing import DrawingSettings
from pgpis.errors import PgpisError
from pgpis.methods.fpdm.options import FPDMSampling
from pgpis.methods.fpdm.pipeline import FPDMPipeline
from pgpis.models.autoencoder import mean_latents
from pgpis.models.factory import build_vae
from pgpis.pictures.decoding import warn_once
from pgpis.pipelines.bundle import load_bundle
from pgpis.pipelines.shipped import SHIPPED
from pgpis.speed.batches import random_batch
from pgpis.tasks.memory import is_out_of_memory, tiled
from tiny_fpdm import HEIGHT, VAE, WIDTH
from tiny_tasks import tiny_fpdm_task

PAIRS, PICTURES = 5, 2


@pytest.fixture
def task():
    task = tiny_fpdm_task()
    task.sampling = replace(task.sampling, num_inference_steps=2)
    return task.eval()


@pytest.fixture
def batch(task):
    wanted = {key: spec for key, spec in task.input_specs.items() if spec.origin != "target"}
    batch = random_batch(wanted, PAIRS, torch.device("cpu"))
    return batch | {name: [f"pair{row}" for row in range(PAIRS)] for name in ("pair_id", "noise_name")}


def wrapped(error):
    """Put an error into another one, as a compiler does."""
    outer = RuntimeError("the compiled graph failed")
    outer.__cause__ = error
    return outer


NO_MEMORY = [
    torch.OutOfMemoryError("no more"),
    torch.AcceleratorError("CUDA error: out of memory"),
    MemoryError(),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
    OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    wrapped(torch.OutOfMemoryError("no more")),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=repr)
def test_knows_when_memory_ran_out(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), PgpisError("no face"), OSError(5, "I/O")])
def test_knows_when_memory_did_not_run_out(error):
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(("fits", "sizes"), [(5, [5]), (2, [5, 2, 2, 1]), (1, [5, 2, 1, 1, 1, 1, 1])])
@pytest.mark.parametrize("error", [NO_MEMORY[0], NO_MEMORY[1], MemoryError()], ids=repr)
def test_batches_are_halved_until_they_fit(task, batch, monkeypatch, fits, sizes, error):
    whole, _ = task._sample_finite(batch, PICTURES)
    sample, drawn = task.sample, []

    def within_memory(rows, images_per_pair=1):
        drawn.append(len(rows["pair_id"]))
        if drawn[-1] > fits:
            raise error
        return sample(rows, images_per_pair)

    monkeypatch.setattr(task, "sample", within_memory)
    images, unfit = task._sample_finite(batch, PICTURES)
    assert drawn == sizes
    assert not unfit
    torch.testing.assert_close(images, whole, atol=1e-5, rtol=1e-5)
    assert task.most_pairs == (None if fits == PAIRS else fits)
    task._sample_finite(batch)
    assert max(drawn[len(sizes) :]) <= fits  # it is not tried again


def test_rows_that_are_not_finite_keep_their_place(task, batch, monkeypatch):
    whole, _ = task._sample_finite(batch, PICTURES)
    sample = task.sample

    def broken(rows, images_per_pair=1):
        images = sample(rows, images_per_pair)
        if "pair3" in rows["pair_id"]:
            images[len(rows["pair_id"]) + rows["pair_id"].index("pair3")] = torch.nan  # its second picture
        return images

    monkeypatch.setattr(task, "sample", broken)
    task.most_pairs = 2
    images, unfit = task._sample_finite(batch, PICTURES)
    assert list(unfit) == [PAIRS + 3]
    fine = [row for row in range(PAIRS * PICTURES) if row != PAIRS + 3]
    torch.testing.assert_close(images[fine], whole[fine], atol=1e-5, rtol=1e-5)


def test_one_pair_that_does_not_fit_says_what_helps(task, batch, monkeypatch):
    def sample(rows, images_per_pair=1):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand more")

    monkeypatch.setattr(task, "sample", sample)
    with pytest.raises(PgpisError, match=r"one pair: CUDA out of memory. Tried to allocate 2 GiB\n.*--offload model"):
        task._sample_finite(batch)


def test_other_errors_are_not_taken_for_memory(task, batch, monkeypatch):
    def sample(rows, images_per_pair=1):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(task, "sample", sample)
    with pytest.raises(RuntimeError, match="shapes"):
        task._sample_finite(batch)


@pytest.mark.parametrize("offload", ["model", "group"])
def test_lent_parts_draw_the_same(task, batch, monkeypatch, offload):
    whole = task.sample(batch)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cpu"))
    task.sampling = replace(task.sampling, offload=offload)
    for _ in range(2):  # the second batch finds its parts hooked
        torch.testing.assert_close(task.sample(batch), whole, atol=1e-5, rtol=1e-5)


def test_without_a_gpu_nothing_is_lent(task, batch):
    assert torch.accelerator.current_accelerator(check_available=True) is None
    task.sampling = replace(task.sampling, offload="model")
    with pytest.raises(PgpisError, match=r"finds none on this machine\n.*--offload none"):
        task.sample(batch)


def test_tiles_are_noted_beside_the_pictures(task, batch):
    assert "vae_tiling" not in task.prediction_settings()
    task.sampling = replace(task.sampling, vae_tiling=True)
    assert task.prediction_settings()["vae_tiling"]


def test_settings_of_whole_numbers_are_those_of_recipes(task):
    task.sampling = replace(task.sampling, guidance_scale=2)
    assert json.dumps(task.prediction_settings()["guidance_scale"]) == "2.0"


FLAGS = "--batch-size auto --dtype bf16 --offload group --vae-tiling --compile --deep-cache 3 --guidance-band 0.2 0.8"
RECIPE = {
    "model": {
        "init_args": {
            "sampling": {"guidance_band": [0.2, 0.8], "deep_cache": 3, "vae_tiling": True, "offload": "group"},
            "step": {"compile_unet": True},
        }
    },
    "data": {"eval_batch_size": 16},
    "trainer": {"precision": "bf16-true", "accelerator": "cpu"},
}


@pytest.mark.parametrize("words", [["predict", "--out", "o"], ["test"]], ids=lambda words: words[0])
def test_flags_become_keys_of_the_recipe(words, monkeypatch):
    """They lie over the recipes that are named, and keys of the command line over them."""
    runs = []
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cpu"))
    monkeypatch.setattr("pgpis.cli.lightning.run", lambda *run: runs.append(run) or SimpleNamespace(exit_code=0))
    key = "--trainer.precision=32-true"
    assert main([words[0], "--config", "fpdm.yaml", *words[1:], key, *FLAGS.split()]) == 0
    ((verb, rest, recipes),) = runs
    assert (verb, list(rest)) == (words[0], [key])
    assert str(recipes[0]).endswith("fpdm.yaml")
    assert recipes[1] == RECIPE


def test_without_flags_a_recipe_stays_as_it_is():
    assert DrawingSettings().recipe() == {}


@pytest.mark.parametrize(
    "words",
    [
        ["--batch-size", "many"],
        ["--batch-size", "0"],
        ["--guidance-band", "0.5"],
        ["--guidance-band", "0.8", "0.2"],
        ["--deep-cache", "0"],
        ["--offload", "model"],  # without a GPU
    ],
)
@pytest.mark.parametrize(
    "verb", [["predict", "--out", "o"], ["test", "--config", "fpdm.yaml"]], ids=lambda verb: verb[0]
)
def test_wrong_flags_are_named(monkeypatch, capsys, words, verb):
    monkeypatch.setattr("pgpis.cli.lightning.run", lambda *_: pytest.fail("models were loaded"))
    assert main([*verb, *words]) == 2
    assert words[0] in capsys.readouterr().err


def test_tiles_end_with_the_pictures(task, batch):
    """The autoencoder is the one that is trained on: its latents must stay as they were."""
    task.sampling = replace(task.sampling, vae_tiling=True)
    during = []
    task.on_denoising_step = lambda *_: during.append(task.vae.use_tiling)
    task.sample(batch)
    assert all(during)
    assert during
    assert not task.vae.use_tiling


def encoded_in_tiles(vae, size):
    """Return whole and tiled decodings of a smooth picture, and the sizes in latents that the decoder saw."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, size[0] // 16, size[1] // 16, generator=generator) * 2 - 1
    latents = mean_latents(vae, F.interpolate(coarse, size, mode="bicubic"))
    whole, seen = vae.decode(latents).sample, []
    hook = vae.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[-2:])))
    with tiled(vae, size):
        in_tiles = vae.decode(latents).sample
    hook.remove()
    return whole, in_tiles, seen


TILES = {
    (256, 176): [(32, 22)],
    (512, 352): [(32, 32), (32, 20), (32, 32), (32, 20), (16, 32), (16, 20)],
    (400, 304): [(36, 36), (36, 11), (23, 36), (23, 11)],
}


@pytest.mark.parametrize("size", TILES, ids=str)
@pytest.mark.parametrize("trained_at", [32, 512, 768])
@torch.no_grad()
def test_tiles_fit_the_picture_and_not_the_configuration(size, trained_at):
    """Published autoencoders were trained at 512 or 768, and 32 is what a configuration without a size means."""
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    vae = build_vae({"block_out_channels": [4] * 4, "norm_num_groups": 2, "sample_size": trained_at, **blocks})
    before = dict(vars(vae))
    whole, in_tiles, seen = encoded_in_tiles(vae, size)
    assert seen == TILES[size]
    assert in_tiles.shape == whole.shape
    assert vars(vae) == before


@torch.no_grad()
def test_tiles_of_a_trained_autoencoder_fit_together():
    vae = load_bundle(FPDMPipeline, SHIPPED["synth-fpdm"].path).vae
    before = dict(vars(vae))
    whole, in_tiles, seen = encoded_in_tiles(vae, (512, 352))
    assert seen == TILES[512, 352]
    assert 0 < (whole - in_tiles).abs().mean() < 1e-3
    assert vars(vae) == before


@torch.no_grad()
def test_pictures_no_larger_than_a_tile_are_named(caplog):
    warn_once.cache_clear()
    with tiled(build_vae(VAE), (256, 176)):
        pass
    assert "256x176 are no larger than a tile of 256 pixels" in caplog.text


def test_training_lends_nothing(task):
    task.sampling = replace(task.sampling, offload="model")
    with pytest.raises(PgpisError, match=r"sampling\.offload is model, but training"):
        task.setup("fit")


@pytest.mark.parametrize("sampler", [{"_class_name": "DDIMScheduler"}, {"_class_name": "EulerDiscreteScheduler"}])
def test_another_sampler_starts_where_training_ended(sampler):
    """A model of noise without any rest of the picture is asked from pure noise on."""
    trained = {"_class_name": "DDPMScheduler", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    task = tiny_fpdm_task(
        scheduler={**trained, "steps_offset": 0}, sampling=FPDMSampling(HEIGHT, WIDTH, scheduler=sampler)
    )
    task.scheduler.set_timesteps(5)
    assert task.scheduler.timesteps[0] == 999


def test_an_empty_configuration_is_one():
    """It is Stable Diffusion's schedule, which needs no hub."""
    assert tiny_fpdm_task(scheduler={}).scheduler.config.beta_end == 0.012
