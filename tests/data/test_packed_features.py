"""Features in packs: the batches and losses of folder and cache, and refused for the same reasons."""

import json
import os
import shutil
from types import SimpleNamespace

import pytest
from packed_features import SELF_PAIRS, assert_same, batches, encode, frozen, module, pack, packed, write_cache

from pgpis.batch import ImageSpec
from pgpis.cli import main
from pgpis.data import DeepFashion, Packed, check_root
from pgpis.data.cache import files_of
from pgpis.data.packs.stores import Store
from pgpis.data.packs.write import pack_pairs
from pgpis.data.transforms import Augmentation
from pgpis.errors import PgpisError

pytestmark = pytest.mark.usefixtures("packing_here")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_batches_are_those_of_folder_and_cache(toy_root, cached, feature_pack, num_workers):
    """With flips, detours and self-pairs; no picture is read that features replace."""
    folder = DeepFashion(toy_root, self_pair_probability=SELF_PAIRS)
    options = {"num_workers": num_workers}
    assert_same(batches(folder, cached, **options), batches(packed(feature_pack), f"{feature_pack}/", **options))


def test_pictures_of_the_pack_are_still_there(toy_root, toy_pack, feature_pack):
    for shard in (toy_pack / "train").glob("*.bin"):
        assert (feature_pack / "train" / shard.name).read_bytes() == shard.read_bytes()
    dataset = Packed(feature_pack, "val")
    dataset.setup()
    assert dataset.load(0).target is not None


def test_a_check_counts_them_and_finds_damage(feature_pack, tmp_path):
    report = check_root(feature_pack)
    assert report.problems == []
    assert "train/ holds rows of 12 files in 4 variants of bfloat16" in report.notes
    assert "train/ holds columns of 12 files in 2 variants of float32" in report.notes
    copy = shutil.copytree(feature_pack, tmp_path / "pack")
    shard = max((copy / "train").glob("*.bin"), key=lambda path: int(path.stem.split("-")[-1]))
    shard.write_bytes(shard.read_bytes()[:-3] + bytes(3))
    assert [problem for problem in check_root(copy).problems if shard.name in problem]
    shard.unlink()
    with pytest.raises(PgpisError, match=shard.name):
        list(batches(packed(copy), copy))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"frozen_features": frozen("of another")}, r"rows in .*pack is stale: .* the encoder's weights"),
        ({"augmentation": Augmentation(flip_probability=0)}, None),
        ({"frozen_features": lambda: {"depth": frozen()()["rows"]}}, r"no features in .*pack .*\(depth\)"),
        ({"frozen_features": None}, "needs the model"),
    ],
)
def test_features_of_another_model_are_refused(feature_pack, options, reason):
    data = module(packed(feature_pack), feature_pack, **options)
    if reason is None:  # it asks for fewer variants than there are
        data.train_dataloader()
        return
    with pytest.raises(PgpisError, match=reason):
        data.train_dataloader()


def test_a_pack_has_features_of_its_own(toy_pack, feature_pack, cached):
    with pytest.raises(PgpisError, match=r"data.cache is .*rows[\s\S]*pgpis data pack ROOT --out .* --cache"):
        module(packed(feature_pack), cached).train_dataloader()
    with pytest.raises(PgpisError, match=r"no features in .*toy-pack[\s\S]*--cache"):
        module(packed(toy_pack), toy_pack).train_dataloader()
    dataset = packed(feature_pack)
    dataset.setup()
    with pytest.raises(PgpisError, match="Packed has no files of its own"):
        files_of(dataset, "source")


@pytest.fixture
def own(own_toy_root, tmp_path):
    """A cache of two people's pictures, which a test may change."""
    write_cache(tmp_path / "cache", own_toy_root)
    words = ["--cache", tmp_path / "cache", "--splits", "train"]
    return SimpleNamespace(root=own_toy_root, cache=tmp_path / "cache", out=tmp_path / "pack", words=words)


def test_a_stale_cache_is_not_packed(own, capsys):
    dataset = DeepFashion(own.root)
    dataset.setup()
    picture = dataset.pairs[0].source
    stat = picture.stat()
    os.utime(picture, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    assert pack(own.root, own.out, *own.words) == 2
    assert f"columns in {own.cache} is stale: {picture} has changed" in capsys.readouterr().err
    os.utime(picture, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    next(own.cache.rglob("*.safetensors")).unlink()
    assert pack(own.root, own.out, *own.words) == 2
    assert "is not complete" in capsys.readouterr().err


def test_a_cache_of_other_pairs_is_not_packed(own, toy_root, tmp_path, capsys):
    def refused(*words):
        assert pack(*words) == 2
        return capsys.readouterr().err

    assert "lacks 12 of 12 files that are packed" in refused(toy_root, own.out, *own.words)
    assert "those are not packed" in refused(own.root, own.out, *own.words[:2], "--splits", "test")
    assert f"no features in {tmp_path / 'none'}" in refused(own.root, own.out, "--cache", tmp_path / "none")
    assert not (own.out / "train/pack.json").exists()


@pytest.mark.parametrize("earlier", [False, True])
def test_origins_are_read_from_no_words_about_specs(own, monkeypatch, earlier):
    """An earlier version's cache names them nowhere else; it is gone on with, packed, and trained from."""
    if earlier:
        for path in own.cache.glob("*/cache.json"):
            index = json.loads(path.read_text())
            del index["key"]["origin"], index["folder"]
            path.write_text(json.dumps(index))
        content = {path: path.read_bytes() for path in own.cache.rglob("*.*")}
        write_cache(own.cache, own.root)
        assert content == {path: path.read_bytes() for path in own.cache.rglob("*.*")}
    else:
        shutil.rmtree(own.cache)
        monkeypatch.setattr(ImageSpec, "__repr__", lambda spec: f"{spec.width} by {spec.height}")
        write_cache(own.cache, own.root)
    assert pack(own.root, own.out, *own.words) == 0
    folder = DeepFashion(own.root, self_pair_probability=SELF_PAIRS)
    assert_same(batches(folder, own.cache), batches(packed(own.out), own.out))


SPELLINGS = ("toy", "elsewhere/../toy/", "link", "elsewhere/link", "{}/toy", "{}/elsewhere/../link")
"""Of one root, from the folder that it lies in."""


@pytest.mark.parametrize("made", SPELLINGS)
def test_features_are_found_however_the_root_is_spelt(own, tmp_path, monkeypatch, made):
    """In training, where a cache is gone on with, and in packing; also from another working directory."""
    assert own.root == tmp_path / "toy"
    (tmp_path / "elsewhere").mkdir()
    for link in ("link", "elsewhere/link"):
        (tmp_path / link).symlink_to(own.root)
    monkeypatch.chdir(tmp_path)
    expected = list(batches(DeepFashion(own.root, self_pair_probability=SELF_PAIRS), own.cache))
    cache = tmp_path / "spelt"
    write_cache(cache, made.format(tmp_path))
    content = {path: path.read_bytes() for path in cache.rglob("*.*")}
    for number, used in enumerate(SPELLINGS):
        folder = DeepFashion(used.format(tmp_path), self_pair_probability=SELF_PAIRS)
        assert_same(batches(folder, cache), expected)
        write_cache(cache, used.format(tmp_path))
        assert content == {path: path.read_bytes() for path in cache.rglob("*.*")}
        assert pack(used.format(tmp_path), tmp_path / f"pack-{number}", "--cache", cache, "--splits", "train") == 0
    assert_same(batches(packed(tmp_path / "pack-0"), tmp_path / "pack-0"), expected)
    monkeypatch.chdir("elsewhere")
    assert_same(batches(DeepFashion("link", self_pair_probability=SELF_PAIRS), "../spelt"), expected)


def test_self_pairs_that_have_no_features_are_told(own, tmp_path):
    """A pack without self-pairs has no features of targets as sources."""
    dataset = DeepFashion(own.root, max_pairs=1, self_pair_probability=0)
    dataset.setup()
    pack_pairs(dataset, Store(str(own.out / "train")), (), 1e4, 1, own.cache)
    module(Packed(own.out), own.out).train_dataloader()
    with pytest.raises(PgpisError, match="has no rows of 1 of 2 files"):
        module(packed(own.out), own.out).train_dataloader()


def test_a_feature_that_is_no_number_is_not_trained_on(own):
    """A picture of which the encoder made none: as from a cache's folder, its pairs are not trained on."""
    shutil.rmtree(own.cache)
    write_cache(own.cache, own.root, encode=lambda pictures: encode(pictures) / (pictures * 0).mean(3))
    assert pack(own.root, own.out, *own.words) == 0
    with pytest.raises(PgpisError, match="gave numbers that are not finite"):
        next(batches(packed(own.out), own.out))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["fpdm", "mcld"])
def test_the_losses_are_those_of_folder_and_cache(model, request, tmp_path):
    """Of both models, by the command line."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = request.getfixturevalue("tiny" if model == "fpdm" else "tiny_mcld_words")
    root = request.getfixturevalue("toy_root" if model == "fpdm" else "textured_root")
    quick = ["--data.val=null", "--trainer.callbacks=[]", "--trainer.log_every_n_steps=1", "--trainer.max_steps=6"]
    assert main(["cache", "--out", str(tmp_path / "cache"), "--device", "cpu", *words("fit", *quick[:2])[1:]]) == 0
    assert pack(root, tmp_path / "pack", "--cache", tmp_path / "cache", "--splits", "train") == 0
    from_pack = ["--data.train=Packed", f"--data.train.init_args.root={tmp_path}/pack", f"--data.cache={tmp_path}/pack"]
    assert main(words("fit", *quick, f"--data.cache={tmp_path}/cache", out="folder")) == 0
    assert main(words("fit", *quick, *from_pack, out="packed")) == 0
    losses = []
    for run in ("folder", "packed"):
        log = EventAccumulator(str(next((tmp_path / run / "lightning_logs").iterdir())))
        log.Reload()
        losses.append([event.value for event in log.Scalars("train/loss")])
    assert len(losses[0]) == 6
    assert losses[0] == losses[1]
