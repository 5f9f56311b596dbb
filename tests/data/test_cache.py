"""Cached features: training from them is training without, and a stale cache is refused with its reason."""

import os
import shutil
from types import SimpleNamespace

import pytest
import torch

from forked import command
from pgpis.batch import FrozenFeature
from pgpis.cli import cache as cache_command
from pgpis.cli import main
from pgpis.data import DeepFashion
from pgpis.data import cache as cache_module
from pgpis.data import cache_writer as writer_module
from pgpis.data.cache import CacheFolder, files_of
from pgpis.data.cache_writer import CacheWriter, ShardMaker, make_here, missing_of
from pgpis.data.features import FeatureCache, feature_key, variants_of
from pgpis.data.picture_store import read_picture
from pgpis.data.transforms import FPDM_AUGMENTATION
from pgpis.errors import PgpisError
from pgpis.files import locked
from ports import free_port


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


QUICK = ["--data.val=null", "--trainer.callbacks=[]"]  # nothing is validated, drawn or exported
LOG = ["--trainer.log_every_n_steps=1", "--trainer.max_steps=8", *QUICK]


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


@pytest.mark.slow
def test_encoders_are_not_run_and_pictures_not_read(words, tmp_path, monkeypatch):
    from pgpis.tasks import diffusion

    assert main(cache(words, tmp_path / "cache")) == 0

    def fail(*_):
        raise AssertionError("the encoder was run")

    monkeypatch.setattr(diffusion, "encode_moments", fail)
    assert main(words("fit", f"--data.cache={tmp_path}/cache", *QUICK)) == 0
    flow = "--model.init_args.step.flow_loss.weight=0.1"  # this loss reads pictures beside their features
    assert main(words("fit", f"--data.cache={tmp_path}/cache", flow, *QUICK, out="flow")) == 0


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


@pytest.fixture
def means(own_toy_root, specs, tmp_path):
    """A cache of mean colours, which needs no model: its folder, its files, what writes it and what opens it."""
    dataset = DeepFashion(own_toy_root, "train")
    dataset.setup()
    key, variants = feature_key("target_image", specs, "mean"), variants_of("target_image", specs, FPDM_AUGMENTATION)
    files, folder = files_of(dataset, "target"), tmp_path / "cache"
    feature = FrozenFeature("target_image", "mean", torch.nn.Identity(), lambda _, pictures: pictures.mean((2, 3)))

    def write():
        shards = CacheWriter(folder).begin("means", key, files, variants)
        return make_here(ShardMaker(feature, specs), missing_of(shards), lambda _: None)

    return SimpleNamespace(
        folder=folder / "means",
        files=files,
        write=write,
        open=lambda: FeatureCache(CacheFolder(folder), {"means": key}, {"means": variants}),
    )


def test_what_has_changed_or_is_damaged_is_named(means):
    assert means.write() == []
    first = means.files[0]
    mirrored = means.open().read("means", first, flip=True, detour=False)
    plain = means.open().read("means", first, flip=False, detour=False)
    torch.testing.assert_close(mirrored, plain, atol=0.01, rtol=0)

    stat = first.stat()
    os.utime(first, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    with pytest.raises(PgpisError, match=f"{first} has changed"):
        means.open()
    with pytest.raises(PgpisError, match="its pictures have changed"):
        means.write()
    os.utime(first, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    shard = next(means.folder.rglob("*.safetensors"))
    content = shard.read_bytes()
    shard.rename(shard.with_name(".pgpis-killed.safetensors"))  # as a killed job leaves it
    with pytest.raises(PgpisError, match=f"not complete: no {shard}"):
        means.open()
    shard.write_bytes(content[:-1])
    with pytest.raises(PgpisError, match=f"{shard} is damaged"):
        means.open()

    index = means.folder / "cache.json"
    texts = index.read_text()[:-20], "[" * 5000, '{"key": {}, "dtype": "float32", "variants": [], "files": [7]}'
    for text in (*texts, '{"key": {}, "dtype": 3, "variants": [], "files": []}'):
        index.write_text(text)
        for use in (means.open, means.write):
            with pytest.raises(PgpisError, match=f"{index} is damaged"):
                use()


def test_a_picture_that_could_not_be_read_is_mended(means, monkeypatch):
    monkeypatch.setattr(cache_module, "SHARD", 2)
    good, other = means.files[0].read_bytes(), means.files[1].stat()
    means.files[0].write_bytes(b"no picture")
    assert {path for path, _ in means.write()} == {str(means.files[0])}
    with pytest.raises(PgpisError, match="could not be read when the cache was made") as error:
        means.open().read("means", means.files[0], flip=False, detour=False)
    assert error.value.hint.startswith("repair it and run the same 'pgpis cache' again, or leave it out: pgpis cache")
    times = {path: path.stat().st_mtime_ns for path in means.folder.rglob("*.safetensors")}

    means.files[0].write_bytes(good)
    with pytest.raises(PgpisError, match=f"{means.files[0]} has changed") as error:
        means.open()
    assert error.value.hint == "run the same 'pgpis cache' again: it goes on"
    os.utime(means.files[1], ns=(other.st_atime_ns, other.st_mtime_ns + 10**9))  # of which there is a feature
    with pytest.raises(PgpisError, match="its pictures have changed"):
        means.write()
    os.utime(means.files[1], ns=(other.st_atime_ns, other.st_mtime_ns))
    assert means.write() == []
    for flip in (False, True):
        values = means.open().read("means", means.files[0], flip=flip, detour=False)
        assert values.isfinite().all()
    made = {path.name for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert made == {"00000.safetensors"}
    assert means.write() == []

    means.files[0].write_bytes(b"again none")
    with pytest.raises(PgpisError, match="its pictures have changed"):
        means.write()


def test_a_folder_has_one_writer(tiny_mcld_words, tmp_path, capsys):
    with locked(tmp_path / "cache"):
        assert main(cache(tiny_mcld_words, tmp_path / "cache")) == 2
        assert "another run is writing" in capsys.readouterr().err


def test_another_augmentation_is_refused(tiny, tmp_path, capsys):
    still = "--data.augmentation.flip_probability=0"
    assert main(cache(tiny, tmp_path / "cache", still)) == 0
    assert main(tiny("fit", f"--data.cache={tmp_path}/cache", still, "--trainer.max_steps=1", *QUICK)) == 0
    assert main(tiny("fit", f"--data.cache={tmp_path}/cache")) == 2
    assert "another augmentation" in capsys.readouterr().err


def test_who_makes_shards_is_said_once(tiny, tmp_path, monkeypatch, capsys):
    assert main(cache(tiny, tmp_path / "cache", "--workers", "2")) == 2
    assert "--workers goes with --runner ray" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(cache(tiny, tmp_path / "cache", "--runner", "ray")) == 2
    assert "leave torchrun out" in capsys.readouterr().err


def test_an_empty_folder_is_named(tiny, tmp_path, capsys):
    assert main(tiny("fit", f"--data.cache={tmp_path}/nothing")) == 2
    assert "pgpis cache" in capsys.readouterr().err
    assert main(cache(tiny, tmp_path / "cache", "--features", "tokens")) == 2
    assert "it has: target_moments, source_tokens" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.enable_socket
@pytest.mark.allow_hosts(["127.0.0.1", "localhost"])
def test_torchrun_needs_no_more_than_ranks(tiny_mcld_words, tmp_path, monkeypatch):
    """A process as torchrun starts it, and this one as the other."""
    words = cache(tiny_mcld_words, tmp_path / "cache", "--features", "source_embedding")
    log = tmp_path / "log.txt"
    torchrun = {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    torchrun |= {"WORLD_SIZE": "2"}
    other = command(*words, log=log, RANK="1", **torchrun)
    for name, value in {"RANK": "0", **torchrun}.items():
        monkeypatch.setenv(name, value)
    assert main([*words, "--trainer.strategy=auto"]) == 0
    other.join(240)
    assert other.exitcode == 0, log.read_text()
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1


def test_torchrun_lets_all_work_though_one_cannot_read_a_picture(
    tiny_mcld_words, textured_root, tmp_path, monkeypatch, capsys
):
    """It ends all as soon as one ends with another code than 0."""
    monkeypatch.setattr(cache_module, "SHARD", 4)
    meeting, root = torch.distributed.HashStore(), tmp_path / "data"
    monkeypatch.setattr(cache_command, "_meeting", lambda: meeting)
    shutil.copytree(textured_root, root)
    max((root / "train_texture").glob("*.png")).write_bytes(b"no picture")
    words = [f"--data.train.init_args.root={root}", "--features=texture_moments", "--trainer.strategy=auto"]
    for rank in (1, 0):  # the former's picture
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert main(cache(tiny_mcld_words, tmp_path / "cache", *words)) == 1 - rank
        said = capsys.readouterr().err
        assert said.count("left out") == 1 - rank
    assert max((root / "train_texture").glob("*.png")).name in said


@pytest.mark.slow
def test_a_picture_that_could_not_be_read_is_not_trained_on(
    tiny_mcld_words, textured_root, tmp_path, capsys, monkeypatch
):
    """Its feature is no number, and a training pair that needs it is replaced, as without a cache."""
    root = tmp_path / "data"
    shutil.copytree(textured_root, root)
    words = [f"--data.train.init_args.root={root}", *QUICK]
    broken = min((root / "train_texture").glob("*.png"))
    broken.write_bytes(b"no picture")
    other = max((root / "train_texture").glob("*.png"))
    monkeypatch.setattr(writer_module, "read_picture", lambda path: 1 / 0 if path == other else read_picture(path))
    assert main(cache(tiny_mcld_words, tmp_path / "cache", *words)) == 1
    said = capsys.readouterr().err
    assert broken.name in said
    assert f"{other}: ZeroDivisionError" in said
    assert main(tiny_mcld_words("fit", *words, *LOG[:2], f"--data.cache={tmp_path}/cache")) == 0
    said = capsys.readouterr().err
    assert f"training goes on with another pair: {broken}" in said
    assert all(torch.isfinite(torch.tensor(losses(tmp_path / "run"))))
    # the next run tries again: what was wrong may have passed
    monkeypatch.setattr(writer_module, "read_picture", read_picture)
    assert main(cache(tiny_mcld_words, tmp_path / "cache", *words)) == 1
    said = capsys.readouterr().err
    assert broken.name in said
    assert other.name not in said


def test_missing_textures_do_not_go_with_a_cache(tiny_mcld_words, tmp_path, capsys):
    drop = "--data.train.init_args.on_missing.texture=drop"
    assert main(tiny_mcld_words("fit", f"--data.cache={tmp_path}/cache", drop)) == 2
    assert "on_missing.texture is 'drop'" in capsys.readouterr().err
