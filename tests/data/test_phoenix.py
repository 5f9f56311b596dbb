"""Phoenix: the synthetic release read back, a pickle that is never run, videos of predictions."""

import csv
import errno
import os
import pickle
import random
import re
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pgpis.cli import main
from pgpis.data import Packed, Phoenix14T, check_root
from pgpis.data.mska import KeypointFile, read_mska
from pgpis.data.packs.stores import Store
from pgpis.data.packs.write import pack_pairs
from pgpis.data.phoenix import draw_pairs
from pgpis.errors import PgpisError
from pgpis.pictures.kinds import kind_of
from pgpis.synth.files.phoenix import DENSEPOSE, RELEASE

FRAMES = 5


@pytest.fixture(scope="module")
def release(draw_people, made_once):
    """Three signers, one in each split."""
    options = {"layout": "phoenix", "frames": FRAMES, "seed": 1, "share": 0.2, "textures": "exact"}
    return made_once("phoenix", lambda root: draw_people(root, people=3, views=2, **options))


@pytest.fixture(scope="module")
def release_pack(release, made_once):
    """The test pairs in shards."""

    def make(folder):
        pack_pairs(dataset(release, "test"), Store(f"{folder}/test"), (), 1e5, 1)

    return made_once("phoenix-pack", make)


def dataset(root, *args, **options):
    made = Phoenix14T(root, *args, **options)
    made.setup()
    return made


def test_test_pairs_go_from_the_first_frame_to_every_frame(release):
    made = dataset(release, "test")
    assert len(made) == FRAMES
    first = made.load(0)
    assert first.source.size == first.target.size == (210, 260)
    assert {pair.source.name for pair in made.pairs} == {"images0001.png"}
    assert [pair.target.name for pair in made.pairs] == [f"images{n:04d}.png" for n in range(1, FRAMES + 1)]
    (name,) = made.sequences()
    assert {pair.video for pair in made.pairs} == {name}
    truth = np.load(release / f"labels/phoenix/test/{name}.npy")
    for index in range(FRAMES):
        points = made.load(index).keypoints
        assert (points.skeleton, points.frame.width) == ("wholebody133", 210)
        seen = truth[index, :, 2] > 0
        np.testing.assert_allclose(points.points[seen], truth[index, seen, :2], atol=1e-4)
        assert np.array_equal(points.visible[:, 0], seen)


def test_maps_of_the_generator_are_found(release):
    made = dataset(release, "test")
    loaded = made.load(2, {"iuv"})
    assert loaded.pair.file("iuv").is_file()
    assert DENSEPOSE.split("/")[-1] in str(loaded.pair.file("iuv"))
    assert loaded.conditions["iuv"].size == (210, 260)
    with pytest.raises(PgpisError, match="no face embedding"):
        made.require({"face"})


def test_training_pairs_are_drawn_once_within_videos(release, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(release, root)
    made = dataset(root, "train", train_pairs=500)
    assert len(made) == 500
    assert all(pair.source.parent == pair.target.parent and pair.source != pair.target for pair in made.pairs)
    assert len({(pair.source.name, pair.target.name) for pair in made.pairs}) == FRAMES * (FRAMES - 1)
    (stored,) = root.glob("pgpis-pairs-train-500-0-*.csv")
    before = stored.read_text()
    again = dataset(root, "train", train_pairs=500)
    assert [pair.pair_id for pair in again.pairs] == [pair.pair_id for pair in made.pairs]
    assert stored.read_text() == before
    assert dataset(root, "train", train_pairs=500, pairs_seed=1).pairs != made.pairs
    stored.write_text("name,source,target\nother,1,2\n")
    with pytest.raises(PgpisError, match="no such frames"):
        dataset(root, "train", train_pairs=500)


def test_a_disk_that_cannot_be_written_to(release, tmp_path, monkeypatch, caplog):
    root = tmp_path / "data"
    shutil.copytree(release, root, ignore=shutil.ignore_patterns("*.safetensors", "pgpis-pairs*"))
    before = sorted(root.rglob("*"))
    make = tempfile.mkstemp

    def refused(**options):
        if root in [options["dir"], *options["dir"].parents]:
            raise OSError(errno.EROFS, "from below")
        return make(**options)

    monkeypatch.setattr("pgpis.files.tempfile.mkstemp", refused)
    made = dataset(root, "train", train_pairs=50)
    assert [pair.pair_id for pair in made.pairs] == [p.pair_id for p in dataset(release, "train", train_pairs=50).pairs]
    assert made.load(0, {"pose"}).keypoints.visible.any()
    assert sorted(root.rglob("*")) == before
    assert caplog.text.count("Read-only file system; it is made for this run alone") == 2


@pytest.mark.parametrize("place", ["PHOENIX-2014-T-release-v3", RELEASE])
def test_the_releases_own_folder_will_do(release, place):
    assert len(dataset(release / place, "test")) == FRAMES


def test_the_pickle_becomes_safetensors_once(release, tmp_path):
    shutil.copy(release / "Phoenix-2014T.test", tmp_path)
    file = KeypointFile(tmp_path / "Phoenix-2014T.test")
    (tmp_path / "Phoenix-2014T.test").unlink()
    again = KeypointFile(tmp_path / "Phoenix-2014T.test")
    (name,) = file.lengths
    assert file.lengths == again.lengths == {name: FRAMES}
    np.testing.assert_array_equal(file.read(name), read_mska(release / "Phoenix-2014T.test")[name].numpy())


def write_pickle(path, **videos):
    path.write_bytes(pickle.dumps({name: {"keypoint": points} for name, points in videos.items()}))


def test_another_pickle_is_converted_again(tmp_path):
    path, made = tmp_path / "points", tmp_path / "points.safetensors"
    write_pickle(path, a=torch.zeros(2, 133, 3))
    assert KeypointFile(path).read("a").shape == (2, 133, 3)
    written = made.stat().st_mtime_ns
    os.utime(path, ns=(written + 10**12,) * 2)  # a copy of the same
    KeypointFile(path)
    assert made.stat().st_mtime_ns == written
    write_pickle(path, a=torch.ones(3, 133, 3), b=torch.ones(1, 133, 3))
    os.utime(path, ns=(written - 10**12,) * 2)  # unpacked with the time of its making
    again = KeypointFile(path)
    assert again.lengths == {"a": 3, "b": 1}
    assert again.read("a").min() == 1
    write_pickle(path, a=torch.full((3, 133, 3), 2.0), b=torch.ones(1, 133, 3))  # of the same size
    assert KeypointFile(path).read("a").min() == 2
    path.unlink()
    assert KeypointFile(path).lengths == {"a": 3, "b": 1}


@pytest.mark.parametrize(("age", "length"), [(-1, 1), (1, 2)])
def test_safetensors_of_earlier_versions_are_as_old_as_they_say(tmp_path, age, length):
    path, made = tmp_path / "points", tmp_path / "points.safetensors"
    save_file({"a": torch.zeros(1, 133, 3)}, made)
    write_pickle(path, a=torch.zeros(2, 133, 3))
    os.utime(path, ns=(made.stat().st_mtime_ns + age * 10**9,) * 2)
    assert KeypointFile(path).lengths == {"a": length}


def test_the_check_reads_a_newer_pickle_and_writes_nothing(release, tmp_path):
    shutil.copytree(release, tmp_path / "data")
    path, made = tmp_path / "data/Phoenix-2014T.test", tmp_path / "data/Phoenix-2014T.test.safetensors"
    save_file({"other": torch.zeros(1, 133, 3)}, made)
    os.utime(made, ns=(path.stat().st_mtime_ns - 10**9,) * 2)
    before = made.read_bytes()
    assert not check_root(tmp_path / "data").problems
    assert made.read_bytes() == before


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.tensor(1.0), r"\(\), expected \(T, 133, 3\)"),
        (torch.zeros(2, 18, 3), r"\(2, 18, 3\), expected"),
        (torch.full((1, 133, 3), torch.nan), "not finite"),
        (torch.zeros(1, 133, 3, dtype=torch.int32), "does not hold float32"),
        (torch.zeros(1, 133, 3, dtype=torch.float8_e4m3fn), "does not hold float32"),
    ],
)
def test_kept_key_points_are_checked_like_the_pickle(tmp_path, points, message):
    save_file({"a": points}, tmp_path / "points.safetensors")
    with pytest.raises(PgpisError, match=message):
        KeypointFile(tmp_path / "points").read("a")


def test_plain_torch_pickles_are_read(tmp_path):
    """As MSKA writes them: keys with or without a folder, views of larger tensors, float64."""
    whole = torch.randn(10, 133, 3)
    videos = {"train/a": {"keypoint": whole[2:5], "name": "a"}, "b": {"keypoint": whole.double(), "num_frames": 10}}
    (tmp_path / "points").write_bytes(pickle.dumps(videos))
    read = read_mska(tmp_path / "points")
    assert torch.equal(read["a"], whole[2:5])
    assert torch.equal(read["b"], whole)


class Evil:
    """Leaves a file in the working directory if it is run."""

    def __reduce__(self):
        return (eval, ("__import__('pathlib').Path('was-run').touch()",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": Evil()}, r"names builtins\.eval"),
        ([1, 2], "expected a dict"),
        ({}, "expected a dict"),
        ({"a": 3}, "no tensor 'keypoint'"),
        ({"a": {"keypoint": torch.zeros(3, 18, 3)}}, r"\(3, 18, 3\), expected"),
        ({"a": {"keypoint": torch.full((1, 133, 3), torch.nan)}}, "not finite"),
        ({"a": {"keypoint": torch.full((1, 133, 3), 1e300, dtype=torch.float64)}}, "not finite in float32"),
        (
            {f"{split}/a": {"keypoint": torch.zeros(1, 133, 3)} for split in ("train", "dev")},
            "several videos are called 'a'",
        ),
    ],
)
def test_other_pickles_are_refused(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "points").write_bytes(pickle.dumps(content))
    with pytest.raises(PgpisError, match=message):
        read_mska(tmp_path / "points")
    assert not (tmp_path / "was-run").exists()


def test_damaged_pickles_are_errors_and_run_nothing(release, tmp_path):
    """500 mutations: the same points, other numbers, or an error."""
    data = (release / "Phoenix-2014T.test").read_bytes()
    head = len(data) - FRAMES * 133 * 3 * 4
    rng = random.Random(0)
    errors = 0
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(head)] = rng.randrange(256)
        if rng.random() < 0.2:
            del damaged[rng.randrange(len(damaged)) :]
        (tmp_path / "points").write_bytes(damaged)
        try:
            read_mska(tmp_path / "points")
        except PgpisError:
            errors += 1
    assert errors > 250


def copy_of(release, tmp_path):
    """The release, whose key points may be changed."""
    shutil.copytree(release, tmp_path, dirs_exist_ok=True)
    return read_mska(tmp_path / "Phoenix-2014T.test")


def test_a_frame_without_a_person_fails_alone(release, tmp_path):
    videos = copy_of(release, tmp_path)
    name = min(videos)
    videos[name][0, :, 2] = 0
    videos[name][1, :, :2] += 5000
    save_file(videos, tmp_path / "Phoenix-2014T.test.safetensors")
    pairs = Phoenix14T(tmp_path, "test", videos=(name,))
    pairs.setup()
    for number, message in enumerate(["all are missing", "0 of 123 key points lie in the picture"]):
        with pytest.raises(PgpisError, match=rf"{name}, frame {number + 1}: .*{message}"):
            pairs.read_pose(pairs.pairs[number])
    assert pairs.read_pose(pairs.pairs[2]).visible.any()


def test_other_shapes_in_safetensors_are_named(release, tmp_path):
    copy_of(release, tmp_path)
    save_file({"a": torch.zeros(3, 18, 3)}, tmp_path / "Phoenix-2014T.test.safetensors")
    with pytest.raises(PgpisError, match=r"'a' is \(3, 18, 3\), expected \(T, 133, 3\)"):
        Phoenix14T(tmp_path, "test").setup()


@pytest.mark.parametrize("content", [b"name,source,target\n\xe9,1,2\n", b"name,source,target\n" + b"a" * 200_000])
def test_a_damaged_draw_of_pairs_is_named(release, tmp_path, content):
    copy_of(release, tmp_path)
    dataset(tmp_path, "train", train_pairs=5)
    (stored,) = tmp_path.glob("pgpis-pairs-train-5-0-*.csv")
    stored.write_bytes(content)
    with pytest.raises(PgpisError, match=re.escape(stored.name)):
        Phoenix14T(tmp_path, "train", train_pairs=5).setup()


@pytest.fixture
def two_videos(release, tmp_path):
    """A release whose training list has one video more than the generator drew: the same frames, one less."""
    root = tmp_path / "two"
    shutil.copytree(release, root)
    table = root / RELEASE / "annotations/manual/PHOENIX-2014-T.train.corpus.csv"
    header, line = table.read_text().splitlines()
    table.write_text(f"{header}\n{line}\nmore|more|1\n")
    (points,) = read_mska(root / "Phoenix-2014T.train").values()
    one = line.split("|")[0]
    save_file({one: points, "more": points[:-1].clone()}, root / "Phoenix-2014T.train.safetensors")
    return root, table, one


def videos_of(made):
    return {pair.target.parent.name for pair in made.pairs}


def test_a_draw_from_some_videos_is_not_that_of_all(two_videos):
    root, _, one = two_videos
    some = dataset(root, "train", train_pairs=50, videos=(one,))
    assert (len(some), videos_of(some)) == (50, {one})
    whole = dataset(root, "train", train_pairs=50)
    assert (len(whole), videos_of(whole)) == (50, {one, "more"})
    drawn = csv.DictReader(draw_pairs({one: FRAMES, "more": FRAMES - 1}, 50, 0).splitlines())
    expected = [f"{row['name']}_{int(row['source']):04d}_2_{int(row['target']):04d}" for row in drawn]
    assert [pair.pair_id for pair in whole.pairs] == expected
    assert len(dataset(root, "train", train_pairs=50, videos=("more",))) == 50


def test_a_draw_from_fewer_videos_is_not_that_of_those_that_came_later(two_videos):
    root, table, one = two_videos
    both = table.read_text()
    table.write_text("\n".join(both.splitlines()[:2]))
    assert videos_of(dataset(root, "train", train_pairs=50)) == {one}
    table.write_text(both)
    assert videos_of(dataset(root, "train", train_pairs=50)) == {one, "more"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video|start\n", "the first line must begin"),
        ("name|video\n", "names no videos"),
        ("name|video\n../a|x\n", "not the name of a video"),
        ("name|video\nother|x\n", "no key points of the video 'other'"),
    ],
)
def test_bad_tables_of_videos_are_named(release, tmp_path, text, message):
    folder = tmp_path / RELEASE / "annotations/manual"
    folder.mkdir(parents=True)
    (folder / "PHOENIX-2014-T.test.corpus.csv").write_text(text)
    shutil.copy(release / "Phoenix-2014T.test", tmp_path)
    with pytest.raises(PgpisError, match=message) as caught:
        dataset(tmp_path, "test")
    if "other" in text:
        assert f"Phoenix-2014T.test of this release; pgpis data check {tmp_path}" in caught.value.hint


def test_missing_parts_are_named(tmp_path, release):
    with pytest.raises(PgpisError, match="no release"):
        dataset(tmp_path, "test")
    shutil.copytree(release / RELEASE / "annotations", tmp_path / RELEASE / "annotations")
    with pytest.raises(PgpisError, match=r"Phoenix-2014T\.test"):
        dataset(tmp_path, "test")
    with pytest.raises(PgpisError, match="video not found"):
        dataset(release, "test", videos=("nobody",))


@pytest.mark.slow
def test_fpdm_on_phoenix_writes_a_video(release, release_pack, tmp_path):
    """Train, test at 260 x 210, predict the first frames of a video, and the same from a pack."""
    tiny = ["--config=smoke/fpdm.yaml", f"--config={__file__.rsplit('/tests/', 1)[0]}/tests/configs/tiny.yaml"]
    sets = [
        f"--data.{split}={{class_path: Phoenix14T, init_args: {{root: {release}, split: {split}, max_pairs: 2}}}}"
        for split in ("train", "val", "test")
    ]
    shape = [
        "--data.pose_canvas=[260, 210]",
        "--data.pose_skeleton=wholebody133",
        "--model.init_args.sampling.output_size=[65, 52]",
    ]
    words = [*tiny, *sets, *shape]
    assert main(["fit", *words, f"--trainer.default_root_dir={tmp_path}/run", "--trainer.max_steps=1"]) == 0
    use = f"--model.init_args.pipeline={tmp_path}/run/pipeline"
    assert main(["test", *words, use, f"--trainer.default_root_dir={tmp_path}/scored"]) == 0
    with (tmp_path / "scored/test/pairs.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    predict = [f"--data.predict={{class_path: Phoenix14T, init_args: {{root: {release}, split: test, max_pairs: 3}}}}"]
    out = tmp_path / "out"
    assert main(["predict", *tiny, *shape, *predict, f"--pipeline={tmp_path}/run/pipeline", f"--out={out}"]) == 0
    (video,) = (out / "videos").glob("*.mp4")
    capture = cv2.VideoCapture(str(video))
    frames = 0
    while True:
        good, frame = capture.read()
        if not good:
            break
        frames += 1
        assert frame.shape == (66, 208, 3)
    assert frames == 3
    options = f"{{root: {release_pack}, split: test, max_pairs: 3}}"
    packed = ["--data.predict={class_path: Packed, init_args: " + options + "}", f"--out={tmp_path}/packed"]
    assert main(["predict", *tiny, *shape, *packed, f"--pipeline={tmp_path}/run/pipeline"]) == 0
    for name in ("contact_sheet.jpg", f"videos/{video.name}"):
        assert (tmp_path / "packed" / name).read_bytes() == (out / name).read_bytes()


def test_a_pack_keeps_the_videos_of_its_frames(release, release_pack):
    folder, pack = dataset(release, "test"), Packed(release_pack, "test", max_pairs=3)
    pack.setup()
    ((name, frames),) = folder.sequences().items()
    assert {video: [pair.pair_id for pair in pairs] for video, pairs in pack.sequences().items()} == {
        name: [pair.pair_id for pair in frames[:3]]
    }
    assert pack.frames_per_second == folder.frames_per_second
    with pytest.raises(PgpisError, match=r"elsewhere\.png is not in the pack"):
        pack.read_file(kind_of("picture"), Path("elsewhere.png"))


def test_the_check_knows_the_release(release, tmp_path, capsys):
    words = ["data", "check", str(release), f"--report={tmp_path / 'problems.txt'}"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "layout Phoenix" in told
    for line in ("videos in PHOENIX-2014-T.train.corpus.csv", "pictures in", "with key points in Phoenix-2014T.test"):
        assert line in told
    assert "the release has 7,096 videos" in told


def test_the_check_names_what_the_release_lacks(release, tmp_path, capsys, monkeypatch):
    root = tmp_path / "phoenix"
    shutil.copytree(release, root)
    frames = sorted((root / RELEASE / "features/fullFrame-210x260px/test").rglob("*.png"))
    frames[2].unlink()
    frames[3].write_bytes(b"no picture")
    table = root / RELEASE / "annotations/manual/PHOENIX-2014-T.dev.corpus.csv"
    table.write_text(table.read_text() + "gone|gone|1\n")
    (root / "Phoenix-2014T.train").write_bytes(b"no pickle")
    (root / "Phoenix-2014T.train.safetensors").unlink(missing_ok=True)
    assert main(["data", "check", str(root), f"--report={tmp_path / 'problems.txt'}"]) == 1
    problems = (tmp_path / "problems.txt").read_text()
    assert f"{frames[2].relative_to(root)}: picture missing" in problems
    assert f"{frames[3].relative_to(root)}: cannot read picture" in problems
    assert "gone: no key points in Phoenix-2014T.dev" in problems
    assert "cannot read the key points" in problems
