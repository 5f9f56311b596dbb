import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image
from torch.utils.data import DataLoader

from pgpis.batch import ImageSpec, VectorSpec
from pgpis.cli import main, own_words
from pgpis.data import DeepFashion, FolderPairs, OnMissing, Packed, PoseTransferDataModule, ResumableSampler, check_root
from pgpis.data.packs import write
from pgpis.data.packs.packed import keypoints_from, keypoints_to_json
from pgpis.data.packs.stores import StoreError
from pgpis.data.pair import Edit, Person, Source
from pgpis.data.pairs import PairDataset
from pgpis.data.samples import PairSamples
from pgpis.errors import PgpisError
from pgpis.pictures.keypoints import Frame, Keypoints

SMALL = "--shard-size=0.02"
CONDITIONS = {
    "target_image": ImageSpec("target", 32, 24),
    "iuv": ImageSpec("iuv", 32, 24),
    "texture": ImageSpec("texture", 32, 32),
    "face": VectorSpec("face", 512),
}


pytestmark = pytest.mark.usefixtures("packing_here")


def epochs(dataset, specs, count=2, num_workers=0):
    """Return what training sees in some epochs."""
    data = PoseTransferDataModule(
        train=dataset, batch_size=5, num_workers=num_workers, input_specs=specs, pose_canvas=(64, 44), seed=3
    )
    data.setup("fit")
    loader = data.train_dataloader()
    for epoch in range(count):
        loader.sampler.set_epoch(epoch)
        yield from loader


def same(one, other):
    """Whether batches have the same pairs and tensors, and how many there are."""
    batches = list(zip(one, other, strict=True))
    for left, right in batches:
        assert left["pair_id"] == right["pair_id"]
        assert left["noise_name"] == right["noise_name"]
        for key, value in left.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, right[key]), key
    return len(batches)


def files(folder):
    return {
        path.name: path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.suffix in (".bin", ".json")
    }


def test_batches_are_those_of_the_folder(toy_root, toy_pack, specs):
    assert len(list((toy_pack / "train").glob("*.bin"))) > 2
    folder, pack = DeepFashion(toy_root, self_pair_probability=0.5), Packed(toy_pack, self_pair_probability=0.5)
    assert same(epochs(folder, specs), epochs(pack, specs)) == 10
    packed = Packed(toy_pack)
    packed.setup()
    assert packed.self_pair_probability == DeepFashion(toy_root).self_pair_probability


def test_conditions_come_along(textured_root, tmp_path):
    assert main(["data", "pack", str(textured_root), "--out", str(tmp_path / "pack"), "--splits", "train"]) == 0
    options = {"on_missing": OnMissing(face="drop"), "self_pair_probability": 0.5}
    datasets = DeepFashion(textured_root, **options), Packed(tmp_path / "pack", **options)
    assert same(*(epochs(dataset, CONDITIONS, 1) for dataset in datasets)) > 1
    kinds = json.loads((tmp_path / "pack/train/pack.json").read_bytes())["kinds"]
    assert {"pose", "iuv", "texture"} <= set(kinds)


def test_validation_reads_the_test_pairs_where_no_others_are_packed(toy_root, toy_pack):
    pack, folder = Packed(toy_pack, "val"), DeepFashion(toy_root, "val")
    for dataset in (pack, folder):
        dataset.setup()
    assert [pair.pair_id for pair in pack.pairs] == [pair.pair_id for pair in folder.pairs]


def test_shards_hold_the_bytes_of_the_files_as_litdata_reads_them(toy_root, toy_pack):
    from litdata import StreamingDataset

    names = json.loads((toy_pack / "train/list.json").read_bytes())["files"]
    stream = StreamingDataset(str(toy_pack / "train"), shuffle=False)
    assert len(stream) == len(names)
    pictures = [place for place, name in enumerate(names) if name.endswith(".jpg")]
    own = {hashlib.sha256(path.read_bytes()).digest() for path in toy_root.rglob("*.jpg")}
    assert {hashlib.sha256(stream[place]).digest() for place in (pictures[0], pictures[-1])} <= own


def test_the_same_pairs_make_the_same_bytes(toy_root, toy_pack, tmp_path):
    copy = shutil.copytree(toy_root, tmp_path / "elsewhere/toy")
    assert main(["data", "pack", str(copy), "--out", str(tmp_path / "pack"), SMALL]) == 0
    records = {f"chunk-0-{number}.json" for number in range(1000)}  # they know when the files were changed
    one, other = (files(folder / "train") for folder in (toy_pack, tmp_path / "pack"))
    said, of_copy = (json.loads(content.pop("pack.json")) for content in (one, other))
    assert said.pop("source") != of_copy.pop("source")
    assert said == of_copy
    assert {name: value for name, value in one.items() if name not in records} == {
        name: value for name, value in other.items() if name not in records
    }


def test_an_interrupted_pack_is_refused_and_goes_on(toy_root, toy_pack, tmp_path, monkeypatch, capsys):
    def interrupted(units, work, workers, doing):
        for unit in units[:2]:
            work(unit)
        raise KeyboardInterrupt

    usual = write.run_units
    monkeypatch.setattr(write, "run_units", interrupted)
    command = ["data", "pack", str(toy_root), "--out", str(tmp_path), SMALL, "--splits", "train"]
    with pytest.raises(KeyboardInterrupt):
        main(command)
    with pytest.raises(PgpisError, match="not complete"):
        Packed(tmp_path).setup()
    assert check_root(tmp_path).problems
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "train").glob("*.bin")}
    assert len(before) == 2
    monkeypatch.setattr(write, "run_units", usual)
    assert main(command) == 0
    assert {name: (tmp_path / "train" / name).stat().st_mtime_ns for name in before} == before
    assert {n: v for n, v in files(tmp_path / "train").items() if n.endswith(".bin")} == {
        n: v for n, v in files(toy_pack / "train").items() if n.endswith(".bin")
    }


def test_a_pack_goes_on_however_the_root_is_spelt(toy_root, tmp_path, monkeypatch):
    out, link = tmp_path / "pack", tmp_path / "link"
    link.symlink_to(toy_root, target_is_directory=True)
    assert main(["data", "pack", str(toy_root), "--out", str(out), SMALL]) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("chunk-*")}
    monkeypatch.chdir(toy_root.parent)
    for root in (toy_root.name, f"../{toy_root.parent.name}/{toy_root.name}", str(link)):
        assert main(["data", "pack", root, "--out", str(out), SMALL]) == 0
        assert {path: path.stat().st_mtime_ns for path in out.rglob("chunk-*")} == before, root


def test_bad_pairs_are_left_out_and_listed(toy_root, tmp_path, capsys):
    root = shutil.copytree(toy_root, tmp_path / "toy")
    folder = DeepFashion(root)
    folder.setup()
    broken, gone = folder.pairs[0].source, folder.pairs[-1].pose
    broken.write_bytes(b"no picture")
    gone.unlink()
    assert main(["data", "pack", str(root), "--out", str(tmp_path / "pack"), SMALL]) == 1
    said = capsys.readouterr().out
    assert str(broken) in said
    assert str(gone) in said
    pack = Packed(tmp_path / "pack")
    pack.setup()
    good = [p for p in folder.pairs if broken not in (p.source, p.target) and p.pose != gone]
    assert [pair.pair_id for pair in pack.pairs] == [pair.pair_id for pair in good]
    assert 0 < len(good) < len(folder) - 1
    for index, pair in enumerate(good):
        assert np.array_equal(pack.load(index).target, Image.open(pair.target))
    shutil.copy(folder.pairs[2].source, broken)
    shutil.copy(folder.pairs[0].pose, gone)
    assert main(["data", "pack", str(root), "--out", str(tmp_path / "pack"), SMALL]) == 0
    mended = Packed(tmp_path / "pack")
    mended.setup()
    assert len(mended) == len(folder)


def test_a_kind_that_was_not_packed_is_named(textured_root, tmp_path):
    command = [
        "data",
        "pack",
        str(textured_root),
        "--out",
        str(tmp_path),
        "--splits",
        "train",
        "--kinds",
        "pose",
        "iuv",
    ]
    assert main(command) == 0
    pack = Packed(tmp_path)
    pack.setup()
    pack.require({"source", "target", "pose", "iuv"})
    with pytest.raises(PgpisError, match=r"not packed: texture, face[\s\S]*--kinds pose iuv texture face"):
        pack.require({"source", "texture", "face"})
    assert main([*command[:-1], "textur"]) == 2


def test_what_a_recipe_says_of_poses_and_lists_holds_for_a_pack_in_its_place(toy_root, tmp_path):
    """jsonargparse drops without a word what the class that comes in place of another does not take."""
    dataset = DeepFashion(toy_root, "test", pose="drawn")
    dataset.setup()
    write.pack_pairs(dataset, write.Store(str(tmp_path / "test")), (), 1e6, 1)
    parser = ArgumentParser()
    parser.add_argument("--test", type=PairDataset)

    def replaced(*words):
        words = ["--test=DeepFashion", "--test.split=test", *words, "--test=Packed", f"--test.root={tmp_path}"]
        pack = parser.instantiate_classes(parser.parse_args(words)).test
        assert type(pack) is Packed
        pack.setup()
        return pack

    assert replaced("--test.pose=drawn", "--test.layout=fpdm").load(0, {"pose"}).pose_image
    assert replaced().load(0, {"pose"}).pose_image
    with pytest.raises(PgpisError, match=r"test has drawn poses, and pose is 'keypoints'") as told:
        replaced("--test.pose=keypoints")
    assert told.value.hint == f"pgpis data pack --config RECIPE --out {tmp_path} --splits test"
    with pytest.raises(PgpisError, match=r"has the list of layout 'fpdm', and layout is 'patn'"):
        replaced("--test.layout=patn")
    with pytest.raises(PgpisError, match="packs hold one source of a pair, and most_sources is 2"):
        replaced("--test.most_sources=2")


def test_key_points_are_no_drawn_poses(toy_pack):
    assert Packed(toy_pack, "test", pose="keypoints").setup() is None
    with pytest.raises(PgpisError, match=r"has key points, which are drawn as in training, and pose is 'drawn'"):
        Packed(toy_pack, "test", pose="drawn").setup()


def test_a_list_that_is_gone_is_told(toy_root, tmp_path, capsys):
    """A pack that still has it would be read in place of the test pairs."""
    root, out = shutil.copytree(toy_root, tmp_path / "toy"), tmp_path / "pack"
    [listed] = root.glob("test_pairs*.json")
    own = shutil.copy(listed, listed.with_name(listed.name.replace("test", "val")))
    command = ["data", "pack", str(root), "--out", str(out)]
    assert main(command) == 0
    before = files(out)
    Path(own).unlink()
    capsys.readouterr()
    assert main(command) == 2
    said = capsys.readouterr().err
    assert f"{out}/val has pairs of {root}, which has no list of them any more" in said
    assert f"remove {out}/val, or keep it: --splits train test" in said
    assert files(out) == before
    assert main([*command, "--splits", "train"]) == 0
    assert (out / "val").is_dir()
    shutil.rmtree(out / "val")
    assert main(command) == 0


def test_poses_of_which_none_can_be_read_are_told(toy_root, tmp_path, capsys):
    """Only a data set that has none is packed without."""
    root, out = shutil.copytree(toy_root, tmp_path / "toy"), tmp_path / "pack"
    dataset = DeepFashion(root)
    dataset.setup()
    for path in {pair.pose for pair in dataset.pairs}:
        path.write_text("broken")
    command = ["data", "pack", str(root), "--out", str(out), "--splits", "train"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert f"no pair can be packed; the first one: {dataset.pairs[0].pair_id}" in said
    assert str(dataset.pairs[0].pose) in said
    assert not out.exists()
    for path in {pair.pose for pair in dataset.pairs}:
        path.unlink()
    assert main(command) == 0
    assert "pose" not in json.loads((out / "train/pack.json").read_bytes())["kinds"]


@pytest.mark.parametrize("damage", ["missing", "short", "flipped"])
def test_damage_is_found_and_mended(toy_root, toy_pack, tmp_path, damage):
    pack = shutil.copytree(toy_pack, tmp_path / "pack")
    assert check_root(pack).problems == []
    shard = pack / "train/chunk-0-1.bin"
    content = shard.read_bytes()
    if damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(content[:-9] if damage == "short" else content[:-9] + bytes(9))
    assert [problem for problem in check_root(pack).problems if "train/chunk-0-1.bin" in problem]
    if damage != "flipped":
        dataset = Packed(pack)
        dataset.setup()
        with pytest.raises(StoreError, match=r"chunk-0-1\.bin"):
            [dataset.load(index) for index in range(len(dataset))]
    shard.unlink(missing_ok=True)
    assert main(["data", "pack", str(toy_root), "--out", str(pack), SMALL]) == 0
    assert shard.read_bytes() == content


def test_training_ends_where_a_shard_is_missing(toy_pack, tmp_path, specs):
    """Another pair in its place would be another training."""
    pack = shutil.copytree(toy_pack, tmp_path / "pack")
    (pack / "train/chunk-0-0.bin").unlink()
    with pytest.raises(StoreError, match=r"chunk-0-0\.bin") as told:
        list(epochs(Packed(pack), specs, num_workers=1))
    assert own_words(told.value).startswith(f"cannot read {pack}/train/chunk-0-0.bin: [Errno 2]")


@pytest.mark.slow
def test_pairs_of_a_recipe_are_packed(toy_root, toy_pack, tmp_path):
    roots = [f"--data.{split}.init_args.root={toy_root}" for split in ("train", "val", "test")]
    command = ["data", "pack", "--config", "smoke/fpdm.yaml", "--out", str(tmp_path), SMALL, "--splits", "test"]
    assert main([*command, *roots, "--data.test.init_args.pose=keypoints"]) == 0
    assert (tmp_path / "test/chunk-0-0.bin").read_bytes() == (toy_pack / "test/chunk-0-0.bin").read_bytes()


@pytest.mark.slow
def test_folders_of_your_own_are_packed(toy_root, tmp_path):
    toy = DeepFashion(toy_root)
    toy.setup()
    pairs = FolderPairs(toy.pairs[0].source.parent, toy.pairs[0].pose.parent)
    pairs.setup()
    report = write.pack_pairs(pairs, write.Store(str(tmp_path / "predict")), (), 1e4, 1)
    assert report.failures == []
    pack = Packed(tmp_path, "predict")
    pack.setup()
    one, other = pairs.load(1), pack.load(1)
    assert one.pair.pair_id == other.pair.pair_id
    assert np.array_equal(one.source, other.source)
    assert np.array_equal(one.keypoints.points, other.keypoints.points)
    assert one.keypoints.frame == other.keypoints.frame
    assert pack.fingerprint(0, {"source", "pose"}) != pack.fingerprint(1, {"source", "pose"})


@pytest.mark.parametrize(
    ("options", "changes", "reason"),
    [
        ({}, {"pair_id": "anna/walk"}, "calls a pair 'anna/walk'"),
        ({"most_sources": 2}, {}, "has several sources"),
        ({}, {"person": Person(Path("one.jpg"), further=(Source(Path("other.jpg")),))}, "has several sources"),
        ({}, {"edit": Edit(identity={})}, "has an edit"),
    ],
)
def test_what_a_pack_cannot_hold_is_refused(toy_root, tmp_path, options, changes, reason):
    dataset = DeepFashion(toy_root, **options)
    dataset.setup()
    changed = dataset.with_pairs(replace(pair, **changes) for pair in dataset.pairs)
    with pytest.raises(PgpisError, match=reason):
        write.pack_pairs(changed, write.Store(str(tmp_path)), (), 1e4, 1)
    assert not list(tmp_path.iterdir())


def own_photos(toy_root, folder):
    """A photograph, and poses of a drawn skeleton and of key points."""
    toy = DeepFashion(toy_root)
    toy.setup()
    for name in ("sources", "poses"):
        (folder / name).mkdir(parents=True)
    shutil.copy(toy.pairs[0].source, folder / "sources/anna.jpg")
    shutil.copy(toy.pairs[0].pose, folder / "poses/walk.txt")
    Image.open(next((toy_root / "pose_img").rglob("*.jpg"))).save(folder / "poses/drawn.png")
    pairs = FolderPairs(folder / "sources", folder / "poses")
    pairs.setup()
    return pairs


def packed_photos(pairs, folder):
    report = write.pack_pairs(pairs, write.Store(str(folder / "predict")), (), 1e6, 1)
    assert report.failures == []
    pack = Packed(folder, "predict")
    pack.setup()
    return pack


def test_drawn_poses_are_packed_beside_key_points(toy_root, tmp_path):
    """A picture of a skeleton lies where a DensePose map could lie, and is none."""
    pairs = own_photos(toy_root, tmp_path)
    pack = packed_photos(pairs, tmp_path / "pack")
    assert pack.kinds == ["pose"]
    assert [pair.pair_id for pair in pack.pairs] == ["anna_2_drawn", "anna_2_walk"]
    assert pack.read_pose(pack.pairs[0]).tobytes() == pairs.read_pose(pairs.pairs[0]).tobytes()
    assert np.array_equal(pack.read_pose(pack.pairs[1]).points, pairs.read_pose(pairs.pairs[1]).points)


def test_the_pack_of_another_data_set_stays(toy_root, tmp_path):
    pairs, others = own_photos(toy_root, tmp_path / "one"), own_photos(toy_root, tmp_path / "other")
    store = write.Store(str(tmp_path / "pack/predict"))
    names = [pair.pair_id for pair in packed_photos(pairs, tmp_path / "pack").pairs]
    before = files(tmp_path / "pack")
    with pytest.raises(PgpisError, match=r"the pack of another data set[\s\S]*choose another --out"):
        write.pack_pairs(others, store, (), 1e6, 1)
    own = pairs.pairs[0].source
    content = own.read_bytes()
    own.write_bytes(b"no picture")
    with pytest.raises(PgpisError, match=r"no pair can be packed.*anna_2_drawn.*anna\.jpg"):
        write.pack_pairs(pairs, store, (), 1e6, 1)
    assert files(tmp_path / "pack") == before
    own.write_bytes(content)
    said = json.loads(before["pack.json"])
    del said["source"]  # as earlier versions wrote it
    (tmp_path / "pack/predict/pack.json").write_text(json.dumps(said))
    assert [pair.pair_id for pair in packed_photos(others, tmp_path / "pack").pairs] == names


def test_a_pack_gets_a_folder_of_its_own(toy_root, own_toy_root, toy_pack, tmp_path, capsys):
    recipe = [f"--data.train.init_args.root={own_toy_root}", "--config", "smoke/fpdm.yaml", "--splits", "train"]
    for words in ([str(own_toy_root), "--out", f"{own_toy_root}/pose/.."], [*recipe, "--out", str(own_toy_root)]):
        assert main(["data", "pack", *words]) == 2
        assert "is the folder of the pairs themselves" in capsys.readouterr().err
    assert not list(own_toy_root.rglob("pack.json"))
    shutil.copytree(toy_pack, own_toy_root, dirs_exist_ok=True)  # as earlier versions let it be
    next((own_toy_root / "pose").rglob("*.txt")).unlink()
    report = check_root(own_toy_root)
    assert report.layout.startswith("pack (shards of litdata) and FPDM")
    assert [problem for problem in report.problems if "key points missing" in problem]


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "..", "", "a\\b", "a\0b", 7])
@pytest.mark.parametrize("what", ["pair", "video"])
def test_names_of_a_forged_pack_lead_nowhere(toy_pack, tmp_path, what, name):
    """Pictures and videos are called by them."""
    pack = shutil.copytree(toy_pack, tmp_path / "pack") / "train"
    content = json.loads((pack / "list.json").read_text())
    content["videos"] = [None] * len(content["pairs"])
    if what == "pair":
        content["pairs"][1][0] = name
    else:
        content["videos"][1] = name
    (pack / "list.json").write_text(json.dumps(content))
    said = json.loads((pack / "pack.json").read_text())
    said["list_sha256"] = hashlib.sha256((pack / "list.json").read_bytes()).hexdigest()
    (pack / "pack.json").write_text(json.dumps(said))
    with pytest.raises(PgpisError, match=rf"calls a {what} .*expected the name of a file"):
        Packed(tmp_path / "pack").setup()


def test_key_points_survive_exactly():
    rng = np.random.default_rng(0)
    points, visible = rng.normal(100, 50, (133, 2)), rng.random((133, 2)) > 0.2
    one = Keypoints.from_visible(points, visible, Frame(260, 210, left=1 / 3, name="x"), "wholebody133")
    other = keypoints_from(keypoints_to_json(one))
    assert np.array_equal(one.points, other.points)
    assert np.array_equal(one.visible, other.visible)
    assert (one.frame, one.skeleton) == (other.frame, other.skeleton)


def test_another_number_of_processes_shares_the_rest_of_the_epoch(toy_pack, specs):
    """Each pair once, of 24: ten that one process has seen, and the rest, which two read with workers of their own."""
    data = PoseTransferDataModule(train=Packed(toy_pack), batch_size=2, input_specs=specs, seed=3, num_workers=0)
    data.setup("fit")
    seen = ResumableSampler(range(24), shuffle=True, seed=3).order(0)[:10]
    rest = []
    for rank in range(2):
        sampler = ResumableSampler(
            range(24), shuffle=True, seed=3, rank=rank, world_size=2, start_epoch=0, start_sample=10
        )
        samples = PairSamples(data.train, data._transform(specs, train=True), 3)
        loader = DataLoader(
            samples, sampler=sampler, num_workers=1, batch_size=None, collate_fn=lambda item: item.index
        )
        rest.append(list(loader))
    assert len(rest[0]) == len(rest[1]) == 7
    assert sorted(seen + rest[0] + rest[1]) == list(range(24))


def test_packing_needs_litdata(toy_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "litdata", None)
    assert main(["data", "pack", str(toy_root), "--out", str(tmp_path)]) == 2
    assert 'pip install "pgpis[scale]"' in capsys.readouterr().err
