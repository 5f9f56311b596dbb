"""Several sources of a pair: who they are, what is read of them, and what a batch holds."""

import json
import shutil
from collections import defaultdict
from itertools import permutations, product

import numpy as np
import pytest
import torch
from PIL import Image

from pgpis.batch import ImageSpec, VectorSpec
from pgpis.cli import main
from pgpis.data import DeepFashion, FolderPairs, PairTransform
from pgpis.data.datamodule import PoseTransferDataModule
from pgpis.data.pair import distinct_files
from pgpis.data.samples import PairCollator, PairSamples
from pgpis.data.transforms import sample_generator
from pgpis.data.user_files import people_in
from pgpis.errors import PgpisError
from pgpis.pictures.uv_texture import part_table
from pgpis.preprocess import photos
from pgpis.preprocess.listing import find_pictures
from pgpis.preprocess.photos import PhotoPairs
from pgpis.preprocess.run import PrepareResult

READS = {"source", "iuv", "texture", "face"}
SPECS = {
    "source_clip": ImageSpec("source", 8, 8),
    "texture_image": ImageSpec("texture", 16, 16),
    "pose_image": ImageSpec("iuv", 16, 16),
    "face": VectorSpec("face", 512),
}
SHOWN = {"1": 2, "2": 1, "3": 23}
"""Which part of the body a picture shows."""


@pytest.fixture
def people(tmp_path):
    """Anna in three pictures, the second without a face, and Ben in one; what was made of them, and a pose."""
    for person, names in (("anna", "123"), ("ben", "1")):
        for kind in ("", "_texture", "_face", "_densepose"):
            (tmp_path / f"people{kind}" / person).mkdir(parents=True)
        for name in names:
            place, grey = f"{person}/{name}", 60 * int(name)
            Image.new("RGB", (20, 30), (grey,) * 3).save(tmp_path / f"people/{place}.png")
            texture = np.where(part_table()[..., None] == SHOWN[name], np.uint8(grey), np.uint8(0)).repeat(3, axis=2)
            Image.fromarray(texture).save(tmp_path / f"people_texture/{place}.png")
            rows, columns = np.mgrid[0:30, 0:20].astype(np.uint8) * 8
            iuv = np.stack([rows, columns, np.full_like(rows, SHOWN[name])], axis=2)
            Image.fromarray(iuv).save(tmp_path / f"people_densepose/{place}.png")
            if name != "2":
                np.save(tmp_path / f"people_face/{place}.npy", np.full(512, grey, np.float32))
    (tmp_path / "poses").mkdir()
    Image.new("RGB", (20, 30), (10, 20, 3)).save(tmp_path / "poses/walk.png")
    return tmp_path


def pairs(folder, sources="people", **options):
    dataset = FolderPairs(folder / sources, folder / "poses", **{"sources_by": "person", **options})
    dataset.setup()
    dataset.require(READS)
    return dataset


def test_what_was_made_of_a_person_is_no_person(people, caplog):
    before = [pair.pair_id for pair in pairs(people).pairs]
    for kind in ("texture", "densepose", "preview"):
        (people / f"people/anna_{kind}").mkdir()
        Image.new("RGB", (20, 30)).save(people / f"people/anna_{kind}/1.png")
    (people / "people/eve_texture").mkdir()  # nobody else is called eve
    Image.new("RGB", (20, 30)).save(people / "people/eve_texture/1.png")
    caplog.clear()
    listed = people_in(people / "people")
    assert [path.name for path in listed] == ["anna", "ben", "eve_texture"]
    told = "3 folders are left out, as made of those beside them: anna_densepose, anna_preview, anna_texture"
    assert caplog.text.count(told) == 1
    shutil.rmtree(people / "people/eve_texture")
    assert [pair.pair_id for pair in pairs(people).pairs] == before
    names = {file.name for file in find_pictures(people / "people", ["pose"])}
    assert names == {"anna/1.png", "anna/2.png", "anna/3.png", "ben/1.png"}
    assert caplog.text.count(told) == 3


def batch_of(dataset, specs=SPECS):
    samples = PairSamples(dataset, PairTransform(specs, train=False), 0)
    return PairCollator(specs)([samples[0, index] for index in range(len(dataset))])


def test_a_folder_is_a_person(people):
    dataset = pairs(people)
    assert [pair.pair_id for pair in dataset.pairs] == ["anna_2_walk", "ben_2_walk"]
    assert [pair.noise_name for pair in dataset.pairs] == ["anna", "ben"]
    anna, ben = dataset.pairs
    assert [source.picture.name for source in anna.further] == ["2.png", "3.png"]
    assert ben.further == ()
    assert people / "people_texture/anna/3.png" in distinct_files([anna])
    texture = np.asarray(dataset.load(0, READS).conditions["texture"])
    assert {part: int(texture[part_table() == part].max()) for part in SHOWN.values()} == {2: 60, 1: 120, 23: 180}


def test_a_person_is_called_as_their_folder_whole(people):
    for name in ("j.smith", "j.doe"):
        shutil.copytree(people / "people/ben", people / f"people/{name}")
        shutil.copy(people / "poses/walk.png", people / f"poses/{name}.png")
    dataset = FolderPairs(people / "people", people / "poses", sources_by="person", pairing="stem")
    dataset.setup()
    assert [pair.pair_id for pair in dataset.pairs] == ["j.doe_2_j.doe", "j.smith_2_j.smith"]


@pytest.mark.parametrize("identity", [None, "anna/3.png"])
def test_what_nobody_reads_is_not_made(people, monkeypatch, identity):
    """A backdrop is that of the first source; a face that is exchanged is nobody's."""
    made = defaultdict(list)

    def noted(files, conditions, *_):
        for condition, each in product(conditions, files):
            made[condition].append(each.name.removeprefix(f"{people}/people/"))
            each.path(condition).parent.mkdir(parents=True, exist_ok=True)
            each.path(condition).touch()
        return PrepareResult()

    monkeypatch.setattr(photos, "prepare", noted)
    monkeypatch.setattr(photos, "require_weights", lambda *_: None)
    dataset = PhotoPairs(people / "people", people / "poses", sources_by="person", driving=False, identity=identity,
                         faces=people / "none", save_conditions=people / "kept")  # fmt: skip
    dataset.setup()
    dataset.require(READS | {"surface", "backdrop"})
    every = ["anna/1.png", "anna/2.png", "anna/3.png", "ben/1.png"]
    assert made["surface"] == every
    assert made["backdrop"] == ["anna/1.png", "ben/1.png"]
    assert made["face"] == (every if identity is None else ["anna/3.png"])


def test_names_pair_people_with_poses(people):
    (people / "poses/walk.png").rename(people / "poses/ben.png")
    assert [pair.pair_id for pair in pairs(people, pairing="stem").pairs] == ["ben_2_ben"]


def test_a_table_names_further_sources(people):
    table = people / "pairs.csv"
    table.write_text("source,source_2,pose\nanna/3.png,anna/1.png,walk.png\nanna/3.png,,walk.png\n")
    several, single = pairs(people, sources_by="picture", pairs_csv=table).pairs
    assert [source.picture.name for source in several.further] == ["1.png"]
    assert single.further == ()
    assert single.noise_name == several.noise_name
    assert single.pair_id != several.pair_id
    # where pgpis prepare puts what it makes of people/anna/3.png
    assert single.file("texture") == people / "people_texture/anna/3.png"
    (people / "people/anna_texture").mkdir()
    (people / "people_texture/anna/3.png").rename(people / "people/anna_texture/3.png")
    single = pairs(people, sources_by="picture", pairs_csv=table).pairs[1]
    assert single.file("texture") == people / "people/anna_texture/3.png"


def test_a_picture_is_one_source_of_a_pair(people):
    table = people / "pairs.csv"
    lines = (
        "source,source_2,source_3,pose",
        "anna/3.png,anna/1.png,,walk.png",
        "anna/3.png,anna/1.png,anna/3.png,walk.png",
    )
    table.write_text("\n".join(lines))
    with pytest.raises(PgpisError, match=r"line 3: '3\.png' is two sources of one pair"):
        pairs(people, sources_by="picture", pairs_csv=table)


def test_a_table_says_by_itself_who_is_who(people, capsys):
    with pytest.raises(PgpisError, match="sources_by 'person' would do nothing"):
        FolderPairs(people, people, people / "pairs.csv", sources_by="person")
    for option in (("--sources-by", "person"), ("--pairing", "stem")):
        words = ["--sources", str(people), "--poses", str(people), "--pairs", "pairs.csv", "--out", str(people / "out")]
        assert main(["predict", "--pipeline", "synth-mcld", *words, *option]) == 2
        assert f"{' '.join(option)} would do nothing" in capsys.readouterr().err


def test_a_batch_holds_all_sources(people):
    batch = batch_of(pairs(people))
    assert batch["source_count"].tolist() == [3, 1]
    assert batch["further_source_clip"].shape == (2, 2, 3, 8, 8)
    assert batch["further_source_clip"][0, 1, 0, 0, 0].item() == pytest.approx(180 / 127.5 - 1)
    assert not batch["further_source_clip"][1].any()
    # a picture from behind shows no face, which is no mistake
    assert batch["further_face"][0, :, 0].tolist() == [0, 180]
    assert "further_texture_image" not in batch


def test_one_source_is_what_it_was(people):
    single = pairs(people, "people/anna", sources_by="picture", folders={"texture": str(people / "people_texture/anna"),
                   "face": str(people / "people_face/anna")}, on_missing=dropping())  # fmt: skip
    alone = batch_of(single)
    assert not [key for key in alone if key.startswith(("further", "source_count"))]
    (people / "people/anna/2.png").unlink()
    (people / "people/anna/3.png").unlink()
    by_person = batch_of(pairs(people))
    assert set(by_person) == set(alone)
    for key in SPECS:
        torch.testing.assert_close(by_person[key][:1], alone[key][:1], rtol=0, atol=0)


def dropping():
    from pgpis.data import OnMissing

    return OnMissing(face="drop")


def test_a_further_source_decides_what_is_made_anew(people):
    before = pairs(people).fingerprint(0, READS)
    assert before == pairs(people).fingerprint(0, READS) != ""
    Image.new("RGB", (20, 30), "red").save(people / "people/anna/3.png")
    assert pairs(people).fingerprint(0, READS) not in ("", before)
    dataset = pairs(people)
    files = dataset.provenance(dataset.load(0, READS), READS)["files"]
    assert {"source_3", "texture_2", "iuv_1", "iuv_3", "face_3"} <= set(files)
    assert all(files.values())


def test_a_missing_map_is_named(people):
    (people / "people_densepose/anna/2.png").unlink()
    failed = batch_of(pairs(people))["failures"]
    assert [failure.pair_id for failure in failed] == ["anna_2_walk"]
    assert "people_densepose/anna/2.png" in failed[0].reason


def test_a_missing_texture_is_named(people):
    (people / "people_texture/anna/3.png").unlink()
    assert "people_texture/anna/3.png" in batch_of(pairs(people))["failures"][0].reason


def test_more_than_four_are_left_out(people, caplog):
    for name in "456":
        Image.new("RGB", (20, 30)).save(people / f"people/anna/{name}.png")
    dataset = FolderPairs(people / "people", people / "poses", sources_by="person")
    dataset.setup()
    assert len(dataset.pairs[0].further) == 3
    assert "first 4 of 6" in caplog.text


def test_folders_without_pictures_are_left_out(people, caplog):
    (people / "people/carl").mkdir()
    (people / "people/dora").mkdir()
    (people / "people/dora/notes.txt").touch()
    assert [pair.pair_id for pair in pairs(people).pairs] == ["anna_2_walk", "ben_2_walk"]
    assert caplog.text.count("2 folders hold no picture that can be read, left out: carl, dora") == 1
    for person in ("anna", "ben"):
        shutil.rmtree(people / f"people/{person}")
    with pytest.raises(PgpisError, match=r"nothing to read in .*carl: it is empty"):
        pairs(people)


def test_without_folders_of_people(people):
    with pytest.raises(PgpisError, match="holds no folders"):
        pairs(people, "people/anna")


@pytest.fixture
def garments(toy_root):
    """Three views of each garment: of a pair, one is neither source nor target."""
    dataset = DeepFashion(toy_root, "train", most_sources=3, self_pair_probability=0.0)
    dataset.setup()
    return dataset


def test_other_pictures_of_a_garment(garments):
    for pair in garments.pairs:
        others = garments.others_of(pair)
        assert len(others) == 1
        assert others[0].parent == pair.source.parent
        assert others[0] not in (pair.source, pair.target)


def test_training_draws_from_the_pairs_own_generator(garments):
    def drawn(seed):
        return [
            tuple(
                source.picture
                for source in garments.load(index, {"source"}, sample_generator(seed, index)).pair.further
            )
            for index in range(len(garments))
        ]

    assert drawn(1) == drawn(1) != drawn(2)
    assert {len(further) for further in drawn(1)} == {0, 1}


def test_one_source_draws_what_it_drew(toy_root):
    states = []
    for options in ({}, {"most_sources": 1}):
        dataset = DeepFashion(toy_root, "train", **options)
        dataset.setup()
        generator = sample_generator(7)
        assert dataset.load(3, generator=generator).further == ()
        states.append(generator.get_state())
    one_draw = sample_generator(7)
    torch.rand((), generator=one_draw)
    assert states[0].equal(states[1])
    assert states[0].equal(one_draw.get_state())


def test_a_test_takes_the_first_others(toy_root):
    dataset = DeepFashion(toy_root, "test", most_sources=2)
    dataset.setup()
    assert [len(pair.further) for pair in dataset.pairs] == [1] * len(dataset)
    assert dataset.load(0).further == dataset.load(0).further != ()


@pytest.mark.parametrize(("folder", "shown"), [("anna/", 1), ("anna-{}/", 0), ("", 0)])
def test_pictures_of_ones_own_show_one_person_in_one_folder(tmp_path, caplog, folder, shown):
    keys = [f"{folder.format(view)}{view}.jpg" for view in range(3)]
    for key in keys:
        (tmp_path / "img" / key).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (44, 64)).save(tmp_path / "img" / key)
    listed = [{"source_image": f"./img/{a}", "target_image": f"./img/{b}"} for a, b in permutations(keys, 2)]
    (tmp_path / "train_pairs_data.json").write_text(json.dumps(listed))
    dataset = DeepFashion(tmp_path, "train", most_sources=3)
    dataset.setup()
    assert [len(dataset.others_of(pair)) for pair in dataset.pairs] == [shown] * 6
    assert ("names no further picture of a source" in caplog.text) == (not shown)


@pytest.mark.parametrize("option", [{"resident": True}, {"cache": "features"}])
def test_what_keeps_one_source_is_refused(garments, specs, option):
    from pgpis.data.transforms import Augmentation

    still = Augmentation(flip_probability=0, detour_probability=0)
    data = PoseTransferDataModule(
        train=garments, input_specs=specs, frozen_features=dict, num_workers=0, augmentation=still, **option
    )
    with pytest.raises(PgpisError, match="one source of a pair"):
        data.train_dataloader()


def test_numbers_of_sources(toy_root):
    with pytest.raises(PgpisError, match="most_sources"):
        DeepFashion(toy_root, "train", most_sources=5)
