"""Cached features: training from them is training without, and a stale cache is refused with its reason."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pgpis.cli import main
from pgpis.data import cache as cache_module
from pgpis.data.picture_store import read_picture
from pgpis.files import locked


@pytest.fixture(params=["fpdm", "mcld"])
def words(request, tiny, tiny_mcld_words):
    """Words of both models, training on the same random draws."""
    make = tiny if request.param == "fpdm" else tiny_mcld_words
    make.model = request.param
    return make


def losses(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(next((folder / "lightning_logs").iterdir())))
    log.Reload()
    return [event.value for event in log.Scalars("train/loss")]


def cache(words, out, *more):
    return ["cache", "--out", str(out), "--device", "cpu", *words("fit")[1:], *map(str, more)]


LOG = ["--trainer.log_every_n_steps=1", "--trainer.max_steps=8"]


@pytest.mark.slow
def test_the_loss_is_the_same(words, tmp_path):
    """With flips, detours, dropped conditions and self-pairs."""
    assert main(words("fit", *LOG, out="without")) == 0
    without = losses(tmp_path / "without")
    assert len(without) == 8
    for dtype, tolerance in (("float32", 2e-4), ("bfloat16", 5e-2)):
        assert main(cache(words, tmp_path / dtype, "--dtype", dtype, "--batch-size", 3)) == 0
        assert main(words("fit", *LOG, f"--data.cache={tmp_path / dtype}", out=f"with {dtype}")) == 0
        assert losses(tmp_path / f"with {dtype}") == pytest.approx(without, rel=tolerance)


def test_encoders_are_not_run_and_pictures_not_read(words, tmp_path, monkeypatch):
    from pgpis.tasks import DiffusionTask

    assert main(cache(words, tmp_path / "cache")) == 0

    def fail(*_):
        raise AssertionError("the encoder was run")

    monkeypatch.setattr(DiffusionTask, "moments", fail)
    assert main(words("fit", "--data.val=null", f"--data.cache={tmp_path}/cache", "--trainer.callbacks=[]")) == 0


def test_it_goes_on_and_is_shared_by_processes(tiny_mcld_words, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "SHARD", 4)
    assert main(cache(tiny_mcld_words, tmp_path / "one")) == 0
    shards = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.safetensors"))
    assert len(shards) == 4 * 2
    times = {name: (tmp_path / "one" / name).stat().st_mtime_ns for name in shards}
    (tmp_path / "one" / shards[0]).unlink()
    (tmp_path / "one" / shards[1]).write_bytes(b"cut")
    assert main(cache(tiny_mcld_words, tmp_path / "one")) == 0
    kept = [name for name in shards if (tmp_path / "one" / name).stat().st_mtime_ns == times[name]]
    assert kept == shards[2:]
    for rank in (1, 0):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert main(cache(tiny_mcld_words, tmp_path / "two", "--trainer.strategy=auto")) == 0
    for name in shards:
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


@pytest.mark.slow
def test_a_stale_cache_is_refused(tiny_mcld_words, tmp_path, capsys):
    out = tmp_path / "cache"
    assert main(cache(tiny_mcld_words, out)) == 0
    use = f"--data.cache={out}"
    for more, reason in (
        (["--seed_everything=1"], "the encoder's weights"),
        (["--model.init_args.sampling.height=96"], "how pictures are prepared"),
    ):
        assert main(tiny_mcld_words("fit", use, *more)) == 2
        assert reason in capsys.readouterr().err
        assert main(cache(tiny_mcld_words, out, *more)) == 2
        assert reason in capsys.readouterr().err
    listed = json.loads((out / "target_moments/cache.json").read_text())["files"]
    path = listed[0][0]
    stat = Path(path).stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    assert main(tiny_mcld_words("fit", use)) == 2
    assert "has changed" in capsys.readouterr().err
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    shard = next(out.rglob("*.safetensors"))
    content = shard.read_bytes()
    shard.rename(shard.with_name(".pgpis-killed.safetensors"))  # as a killed job leaves it
    assert main(tiny_mcld_words("fit", use)) == 2
    assert f"not complete: no {shard}" in capsys.readouterr().err
    shard.write_bytes(content[:-1])
    assert main(tiny_mcld_words("fit", use)) == 2
    assert f"{shard} is damaged" in capsys.readouterr().err
    index = out / "target_moments/cache.json"
    for text in (index.read_text()[:-20], "[" * 5000, '{"key": {}, "dtype": "float32", "variants": [], "files": [7]}'):
        index.write_text(text)
        assert main(tiny_mcld_words("fit", use)) == 2
        assert f"{index} is damaged" in capsys.readouterr().err
        assert main(cache(tiny_mcld_words, out)) == 2
        assert f"{index} is damaged" in capsys.readouterr().err


def test_a_folder_has_one_writer(tiny_mcld_words, tmp_path, capsys):
    with locked(tmp_path / "cache"):
        assert main(cache(tiny_mcld_words, tmp_path / "cache")) == 2
        assert "another run is writing" in capsys.readouterr().err


def test_another_augmentation_is_refused(tiny, tmp_path, capsys):
    still = "--data.augmentation.flip_probability=0"
    assert main(cache(tiny, tmp_path / "cache", still)) == 0
    assert main(tiny("fit", f"--data.cache={tmp_path}/cache", still, "--trainer.max_steps=1")) == 0
    assert main(tiny("fit", f"--data.cache={tmp_path}/cache")) == 2
    assert "another augmentation" in capsys.readouterr().err


def test_an_empty_folder_is_named(tiny, tmp_path, capsys):
    assert main(tiny("fit", f"--data.cache={tmp_path}/nothing")) == 2
    assert "pgpis cache" in capsys.readouterr().err
    assert main(cache(tiny, tmp_path / "cache", "--features", "tokens")) == 2
    assert "it has: target_moments, source_tokens" in capsys.readouterr().err


@pytest.mark.slow
def test_torchrun_needs_no_more_than_ranks(tiny_mcld_words, tmp_path):
    """Two processes as torchrun starts them."""
    command = [
        sys.executable,
        "-m",
        "pgpis",
        *cache(tiny_mcld_words, tmp_path / "cache", "--features", "source_embedding"),
    ]
    runs = [
        subprocess.Popen(command, env=os.environ | {"RANK": str(rank), "WORLD_SIZE": "2"}, stderr=subprocess.PIPE)
        for rank in (0, 1)
    ]
    for run in runs:
        _, said = run.communicate(timeout=240)
        assert run.returncode == 0, said
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1


def test_a_picture_that_could_not_be_read_is_not_trained_on(
    tiny_mcld_words, textured_root, tmp_path, capsys, monkeypatch
):
    """Its feature is no number, and a training pair that needs it is replaced, as without a cache."""
    root = tmp_path / "data"
    shutil.copytree(textured_root, root)
    words = [f"--data.train.init_args.root={root}", "--data.val=null"]
    broken = min((root / "train_texture").glob("*.png"))
    broken.write_bytes(b"no picture")
    other = max((root / "train_texture").glob("*.png"))
    monkeypatch.setattr(cache_module, "read_picture", lambda path: 1 / 0 if path == other else read_picture(path))
    assert main(cache(tiny_mcld_words, tmp_path / "cache", *words)) == 1
    said = capsys.readouterr().err
    assert broken.name in said
    assert f"{other}: ZeroDivisionError" in said
    assert main(tiny_mcld_words("fit", *words, *LOG, f"--data.cache={tmp_path}/cache")) == 0
    said = capsys.readouterr().err
    assert f"training goes on with another pair: {broken}" in said
    assert all(torch.isfinite(torch.tensor(losses(tmp_path / "run"))))


def test_missing_textures_do_not_go_with_a_cache(tiny_mcld_words, tmp_path, capsys):
    assert main(cache(tiny_mcld_words, tmp_path / "cache")) == 0
    drop = "--data.train.init_args.on_missing.texture=drop"
    assert main(tiny_mcld_words("fit", f"--data.cache={tmp_path}/cache", drop)) == 2
    assert "on_missing.texture is 'drop'" in capsys.readouterr().err
