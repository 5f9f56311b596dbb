"""What lies in a folder of predictions decides what is made again; no model makes the pictures here."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pgpis.errors import PgpisError
from pgpis.pictures.videos import read_frames
from pgpis.predictions import DONE, Prediction, PredictionFolder, PredictionRecord, write_videos
from pgpis.predictions.records import read_records, write_table

FILES = {"anna_2_walk": "files of anna", "bert_2_walk": "files of bert"}


@pytest.fixture
def predict(tmp_path, monkeypatch):
    """Write what an earlier run has not, in a working directory of its own; return the pairs that were written."""
    monkeypatch.chdir(tmp_path)
    Path("sources").mkdir()
    Image.new("RGB", (8, 8)).save("sources/bert.jpg")

    def run(files=FILES, settings=(), weights=("unet",)):
        folder = PredictionFolder("out", {"images_per_pair": 1, **dict(settings)})
        finished = folder.begin(dict.fromkeys(weights, "a hash"), files.get)
        pairs = [pair for pair in files if pair not in finished]
        items = [
            Prediction(
                PredictionRecord(
                    pair, f"{pair}.png", f"sources/{pair[:4]}.jpg", "poses/walk.txt", 1, DONE, 0.5, files[pair]
                ),
                Image.new("RGB", (8, 8)),
            )
            if files[pair]
            else Prediction(PredictionRecord.failed(pair, "picture not found"), None)
            for pair in pairs
        ]
        batch = {"pair_id": pairs, "pose_image": torch.zeros(len(pairs), 3, 8, 8)}
        folder.add(folder.write(items, batch))
        folder.close()
        assert folder.summarise() == all(files.values())
        return set(pairs)

    return run


def statuses():
    records, damaged = read_records(Path("out"))
    assert not damaged
    return {record.pair_id: record.status for record in records}


def test_what_is_there_is_not_written_again(predict):
    assert predict() == set(FILES)
    assert predict() == set()
    assert predict(FILES | {"anna_2_walk": "other files"}) == {"anna_2_walk"}
    assert statuses() == dict.fromkeys(FILES, DONE)
    assert not Path("out/.parts").exists()


def test_a_picture_whose_files_cannot_be_read_now_stays(predict):
    """The pair fails as long as they are away, however often it is tried, and is done when they are back."""
    predict()
    picture, table = Path("out/anna_2_walk.png"), Path("out/predictions.csv")
    made, listed = picture.stat().st_mtime_ns, table.read_bytes()
    for _ in range(2):
        assert predict(FILES | {"anna_2_walk": ""}) == {"anna_2_walk"}
        records = read_records(Path("out"))[0]
        assert [record.status for record in records if record.pair_id == "anna_2_walk"] == ["picture not found", DONE]
    assert predict() == set()
    assert (picture.stat().st_mtime_ns, table.read_bytes()) == (made, listed)
    predict(FILES | {"anna_2_walk": ""})
    assert predict(FILES | {"anna_2_walk": "other files"}) == {"anna_2_walk"}
    assert statuses() == dict.fromkeys(FILES, DONE)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"settings": {"deep_cache": 3}}, {}, "deep_cache=3, now deep_cache not set"),
        ({"settings": {"refine": False}}, {}, "refine=False, now refine not set"),
        ({}, {"settings": {"refine": False}}, "refine not set, now refine=False"),
        ({"weights": ("refiner", "unet")}, {}, "weights of refiner=a hash, now weights of refiner not set"),
    ],
)
def test_what_is_switched_off_is_told_as_what_is_switched_on(predict, before, now, told):
    """Options that are off are not in ``settings.json``; the pictures of an earlier run stay as they are."""
    predict(**before)
    files = {path: path.read_bytes() for path in Path("out").iterdir() if path.is_file()}
    with pytest.raises(PgpisError, match=re.escape(f"out holds pictures made with {told}")):
        predict({"anna_2_walk": FILES["anna_2_walk"]}, **now)
    assert {path: path.read_bytes() for path in Path("out").iterdir() if path.is_file()} == files
    assert predict(**before) == set()


@pytest.mark.parametrize(
    ("name", "content", "again"),
    [
        ("predictions.csv", b"\xff\xfe\0", set(FILES)),
        ("predictions.csv", b"a,b\n1,2\n", set(FILES)),
        ("predictions.csv", "half", {"anna_2_walk"}),
        ("settings.json", b"[", set()),
        ("settings.json", b"[]", set()),
        ("settings.json", b"\0\xff", set()),
        (".parts/rank0.csv", b"a,b\n\xff,2\n3,4\n", set()),
    ],
)
def test_damaged_tables_are_set_aside(predict, name, content, again, caplog):
    predict()
    path = Path("out", name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(path.read_bytes().replace(b"anna", b"ann\xe1") if content == "half" else content)
    assert predict() == again
    assert f"{name} is damaged" in caplog.text
    assert path.with_name(f"{path.name}.damaged").is_file()
    assert statuses() == dict.fromkeys(FILES, DONE)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "gone", "other"])
def test_a_picture_that_is_not_whole_is_made_again(predict, damage):
    predict()
    picture = Path("out/anna_2_walk.png")
    content = picture.read_bytes()
    middle = content.index(b"IDAT") + 6
    contents = {"cut": content[:-12], "flipped": content[:middle] + b"\xff" + content[middle + 1 :], "empty": b""}
    contents["other"] = content.replace(b"IDAT", b"IDAS")
    picture.unlink() if damage == "gone" else picture.write_bytes(contents[damage])
    assert predict() == {"anna_2_walk"}
    assert picture.read_bytes() == content


def test_the_later_line_of_a_picture_counts(predict):
    """Lines beside the table replace all of a pair's in it, later ones of a picture the earlier."""
    predict()
    head, anna, bert = Path("out/predictions.csv").read_text().splitlines(keepends=True)
    second = anna.replace("anna_2_walk.png", "anna_2_walk_1.png")
    Path("out/predictions.csv").write_text(head + anna + second + bert + "\n")
    Path("out/.parts").mkdir()
    Path("out/.parts/rank0.csv").write_text(head + bert.replace(",0.5,", ",1.5,") + bert.replace(",0.5,", ",2.5,"))
    records, damaged = read_records(Path("out"))
    assert not damaged
    assert [(record.image, record.seconds) for record in records] == [
        ("anna_2_walk.png", 0.5),
        ("anna_2_walk_1.png", 0.5),
        ("bert_2_walk.png", 2.5),
    ]
    again = Path("again.csv")
    write_table(again, reversed(records))
    assert again.read_text() == (head + anna + second + bert.replace(",0.5,", ",2.5,"))


def test_a_hostile_table_removes_nothing_elsewhere(predict):
    predict()
    table = Path("out/predictions.csv")
    hostile = table.read_text().replace("anna_2_walk,anna_2_walk.png", "anna_2_walk,../sources/bert.jpg")
    assert hostile != table.read_text()
    table.write_text(hostile)
    assert predict() == {"anna_2_walk"}
    assert Path("sources/bert.jpg").is_file()


def test_a_record_that_was_cut_short_costs_no_other_record(predict, caplog):
    predict()
    table = Path("out/predictions.csv")
    head, first, second = table.read_text().splitlines(keepends=True)
    Path("out/.parts").mkdir()
    Path("out/.parts/rank0.csv").write_text(head + first + second[:20])
    table.write_text(head)
    assert predict() == {"bert_2_walk"}
    assert statuses() == dict.fromkeys(FILES, DONE)
    assert "damaged" not in caplog.text


def test_what_failed_and_is_no_longer_asked_for_is_forgotten(predict):
    """A failure of what is still asked for stays until it is made, as do pictures that nobody asks for."""
    predict()
    table = Path("out/predictions.csv")
    head, anna, bert = table.read_text().splitlines(keepends=True)
    gone = ",".join(["carl_2_walk", "", "", "", "", "cannot be read", "0.0", ""]) + "\n"
    table.write_text(head + anna + bert + gone)
    assert predict({"bert_2_walk": FILES["bert_2_walk"]}) == set()
    assert statuses() == dict.fromkeys(FILES, DONE)


def test_pairs_that_failed_are_counted_and_not_their_pictures(tmp_path, caplog):
    folder = PredictionFolder(tmp_path, {"images_per_pair": 2})
    whole = [numbered("bert", number) for number in (0, 1)]
    folder.add([*whole, numbered("anna", 0), PredictionRecord.failed("anna", "not finite")])
    folder.close()
    assert not folder.summarise()
    assert "1 of 2 pairs failed" in caplog.text


def numbered(pair, number):
    return PredictionRecord(pair, f"{pair}_{number}.png", "source.png", "", number, DONE, 0.5, "")


def test_a_film_keeps_its_time_where_frames_failed(tmp_path, caplog):
    """They repeat the one before, and what comes before the first picture that one; nothing is made up at the end."""
    caplog.set_level("INFO", logger="pgpis")
    folder = PredictionFolder(tmp_path / "out", {"images_per_pair": 1})
    (folder.out / "poses").mkdir(parents=True)
    for pair, colour in (("b", 40), ("d", 200)):
        Image.new("RGB", (16, 16)).save(folder.pose_picture(pair))
        Image.new("RGB", (16, 16), (colour,) * 3).save(folder.out / f"{pair}_0.png")
    Image.new("RGB", (16, 16)).save(tmp_path / "source.png")
    records = [numbered(pair, 0) for pair in "abcde"]
    folder.add([each if each.pair_id in "bd" else replace(each, image="", status="nobody") for each in records])
    folder.close()
    assert write_videos(folder, {"film": [(pair, tmp_path / "source.png", None) for pair in "abcdef"]}, 25)
    frames = read_frames(folder.out / "videos/film.mp4")
    shown = [int(np.asarray(frame[1].convert("L"))[8, 40]) for frame in frames]
    assert np.abs(np.subtract(shown, [40, 40, 40, 200, 200])).max() < 10
    assert "film.mp4: 2 of 5 frames, the others repeat the one before" in caplog.text


def test_a_film_shows_all_pictures_of_a_pair_in_order(tmp_path):
    count = 11
    source = tmp_path / "source.png"
    Image.new("RGB", (16, 16)).save(source)
    folder = PredictionFolder(tmp_path / "out", {"images_per_pair": count})
    (folder.out / "poses").mkdir(parents=True)
    for pair in ("whole", "half"):
        Image.new("RGB", (16, 16)).save(folder.pose_picture(pair))
        records = [numbered(pair, number) for number in range(count if pair == "whole" else 3)]
        for record in records:
            Image.new("RGB", (16, 16), (20 * record.seed,) * 3).save(folder.out / record.image)
        folder.add(records)
    folder.close()
    assert write_videos(folder, {"film": [(pair, source, None) for pair in ("whole", "half")]}, 25)
    [frame] = read_frames(folder.out / "videos/film.mp4")
    shown = np.asarray(frame[1].convert("L"), int)[8, 8::16]
    assert np.abs(shown - [0, 0, *range(0, 20 * count, 20)]).max() < 10
