"""The benchmark on photographs: who is shown twice, what is scored, and the whole way."""

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pgpis.cli import main
from pgpis.data import Aim, Pair, Person
from pgpis.errors import PgpisError
from pgpis.evaluate import photo_scores
from pgpis.evaluate.photo_benchmark import list_pairs, people_of
from pgpis.evaluate.photo_scores import PhotoScores, clothes_colours, mean_product
from pgpis.pictures.images import save_image
from pgpis.pictures.iuv import iuv_pixels
from pgpis.pictures.kinds import all_kinds
from pgpis.preprocess.settings import NothingFoundError
from pgpis.synth import people as drawn_people  # makes kinds known that photographs do not have

BACK, FRONT, LEFT_THIGH, HEAD = 1, 2, 8, 23
SIZE = (64, 44)


def pictures_in(folder, *names):
    for name in names:
        save_image(Image.new("RGB", (8, 8)), folder / name)
    return folder


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("anna_front.png", "anna_back.png", "eva_maria_1.png", "eva_maria_2.png", "eva_3.png"), 4),
        (("anna/1.png", "anna/2.png", "anna/3.png", "eva/1.png"), 6),
        (("anna/day1/1.png", "anna/day2/1.png", "eva/day1/1.png"), 2),
        (("WOMEN/Tees/id_00000001/01_1_front.jpg", "WOMEN/Tees/id_00000001/02_1_front.jpg"), 0),
        (("WOMEN/Tees/id_00000001/01_1_front.jpg", "WOMEN/Tees/id_00000001/01_2_side.jpg"), 2),
    ],
)
def test_pairs_are_all_ordered_ones_of_a_person(tmp_path, names, pairs):
    folder = pictures_in(tmp_path, *names)
    if not pairs:
        with pytest.raises(PgpisError, match="nobody is shown twice"):
            list_pairs(folder)
        return
    listed = list_pairs(folder)
    assert len(listed) == len(set(listed)) == pairs
    assert all((target, source) in listed and source != target for source, target in listed)
    assert len({source.split("_")[0] for pair in listed if "eva_3.png" in pair for source in pair}) == 0


def test_people_whose_folders_are_links_are_paired(tmp_path):
    pictures_in(tmp_path / "all", "x/1.png", "x/2.png", "eva/1.png", "eva/2.png")
    (tmp_path / "some").mkdir()
    (tmp_path / "some/anna").symlink_to(tmp_path / "all/x")
    (tmp_path / "some/anna/everybody").symlink_to(tmp_path / "some")
    assert list_pairs(tmp_path / "some") == [("anna/1.png", "anna/2.png"), ("anna/2.png", "anna/1.png")]


def test_results_among_the_photographs_are_no_people(tmp_path):
    folder = pictures_in(tmp_path, "anna_1.png", "anna_2.png", "bench/FPDM/a.png", "bench/FPDM/b.png", "bench2/c_1.png")
    assert list_pairs(folder, folder / "FPDM/../bench") == [("anna_1.png", "anna_2.png"), ("anna_2.png", "anna_1.png")]
    with pytest.raises(PgpisError, match="is the folder of photographs"):
        list_pairs(folder, folder)


def people_in(*pairs):
    """Return the people of pairs, each as the set of their pictures."""
    root = Path("photographs")
    pairs = [Pair(f"{a}_2_{b}", Person(root / a), Aim(target=root / b)) for a, b in (pair.split(">") for pair in pairs)]
    people = {}
    for picture, person in people_of(pairs, root).items():
        people.setdefault(person, set()).add(picture.relative_to(root).as_posix())
    return sorted(map(sorted, people.values()))


def test_what_pairs_connect_is_one_person():
    assert people_in("a>b", "b>c", "x>y") == [["a", "b", "c"], ["x", "y"]]


def test_pairs_that_are_not_connected_are_of_one_person_by_their_names():
    assert people_in("anna/1>anna/2", "anna/3>anna/4", "bob/1>bob/2") == [
        ["anna/1", "anna/2", "anna/3", "anna/4"],
        ["bob/1", "bob/2"],
    ]


def test_names_tell_persons_however_their_folder_is_spelt(tmp_path, monkeypatch):
    (tmp_path / "photographs").mkdir()
    (tmp_path / "link").symlink_to("photographs")
    monkeypatch.chdir(tmp_path)
    roots = [Path("photographs"), tmp_path / "link", Path("link/../photographs")]
    ends = [("anna_1", "anna_2"), ("anna_3", "anna_4"), ("bob_1", "bob_2")]
    pairs = [
        Pair(f"{a}_2_{b}", Person(root / f"{a}.jpg"), Aim(target=root / f"{b}.jpg"))
        for (a, b), root in zip(ends, roots, strict=True)
    ]
    for root in roots:
        assert len(set(people_of(pairs, root).values())) == 2, root


def test_names_that_tell_no_persons_are_not_asked():
    assert people_in("IMG_1>IMG_2", "IMG_3>IMG_4") == [["IMG_1", "IMG_2"], ["IMG_3", "IMG_4"]]
    assert people_in("monday/a>tuesday/a", "monday/b>tuesday/b") == [
        ["monday/a", "tuesday/a"],
        ["monday/b", "tuesday/b"],
    ]


@pytest.fixture
def scores(tmp_path, monkeypatch):
    """Four people before grey walls, in one colour each; their maps are a square of one part."""
    person = np.zeros(SIZE, bool)
    person[16:48, 12:32] = True
    monkeypatch.setattr(photo_scores, "see", lambda _: SimpleNamespace(silhouette=person.astype(float)))
    maps, people = {}, {}
    for number, (colour, part) in enumerate([(200, FRONT), (150, BACK), (60, FRONT), (0, LEFT_THIGH)]):
        picture, iuv = np.full((*SIZE, 3), 128, np.uint8), np.zeros((*SIZE, 3), np.uint8)
        picture[person] = colour
        iuv[person] = part, 100, 100
        path = tmp_path / f"{number}.png"
        save_image(Image.fromarray(picture), path)
        maps[path], people[path] = tmp_path / f"map{number}.png", number
        save_image(Image.fromarray(iuv_pixels(iuv)), maps[path])
    return PhotoScores(maps, people, clothes_colours(maps), SIZE, candidates=4), person


def of_colour(person, colour, background=128):
    return Image.fromarray(np.where(person[..., None], colour, background).astype(np.uint8).repeat(3, axis=-1))


def test_an_outfit_is_recognised_by_its_colours(scores):
    judge, person = scores
    target = next(iter(judge.maps))
    pictures = [of_colour(person, colour) for colour in (200, 180, 170, 60)]
    # the back of the second person stands for the front that is not shown; the thigh has nothing in common
    recognised = [scored["outfit_recognised"] for scored in judge(target, pictures)]
    assert recognised == [1.0, 1.0, 0.0, 0.0]


def test_an_outfit_is_recognised_among_all_choices_of_other_people(scores):
    judge, person = scores
    first, second, third, _ = judge.maps
    picture = [of_colour(person, 170)]  # 30 from the truth, 20 from the second person, 110 from the third

    def recognised(**changes):
        [scored] = replace(judge, **changes)(first, picture)
        return scored["outfit_recognised"]

    assert recognised(candidates=2) == 0.5, "one of two people is farther away"
    assert recognised(candidates=3) == 0
    assert recognised(candidates=2, people=judge.people | {third: judge.people[second]}) == 0.5, "one of two pictures"
    names = dict(reversed(judge.people.items()))
    assert recognised(candidates=2, people=names) == 0.5, "whatever their order"


@pytest.mark.parametrize("chosen", [1, 2, 4, 5])
def test_the_mean_over_all_choices_is_that_of_trying_them_all(chosen):
    shares = [0.0, 1.0, 0.25, 0.7, 0.5]
    tried = [np.prod(each) for each in combinations(shares, chosen)]
    assert mean_product(shares, chosen) == pytest.approx(np.mean(tried))


def test_an_outfit_that_nobody_can_see_is_not_missed(scores):
    judge, person = scores
    first, second, _, fourth = judge.maps
    pictures = [of_colour(person, 200)]
    assert np.isnan(judge(fourth, pictures)[0]["outfit_recognised"]), "nobody else shows a thigh"
    iuv = np.zeros((*SIZE, 3), np.uint8)
    iuv[person] = HEAD, 100, 100
    save_image(Image.fromarray(iuv_pixels(iuv)), judge.maps[first])
    judge = replace(judge, worn=clothes_colours(judge.maps))
    assert np.isnan(judge(first, pictures)[0]["outfit_recognised"]), "the truth shows a head alone"
    assert judge(second, [of_colour(person, 150)])[0]["outfit_recognised"] == 1, "of those who show clothes"


def test_the_background_is_what_lies_beside_the_person(scores):
    judge, person = scores
    target = next(iter(judge.maps))
    pictures = [of_colour(person, colour, background) for colour, background in ((200, 128), (0, 128), (200, 138))]
    errors = [scored["background_error"] for scored in judge(target, pictures)]
    assert errors == [0, 0, 10]


def test_a_truth_in_which_nobody_is_found_has_no_background(scores, monkeypatch):
    def nobody(_):
        raise NothingFoundError("nobody")

    judge, person = scores
    monkeypatch.setattr(photo_scores, "see", nobody)
    [scored] = judge(next(iter(judge.maps)), [of_colour(person, 200)])
    assert np.isnan(scored["background_error"])
    assert scored["outfit_recognised"] == 1


@pytest.fixture(scope="module")
def people(draw_people, tmp_path_factory):
    """Two drawn people in two views, as photographs, and one that shows nobody."""
    root, folder = (tmp_path_factory.mktemp(name) for name in ("drawn", "photographs"))
    draw_people(root, people=2, views=2, seed=3, share=0.5)
    pictures = sorted((root / "img").rglob("*.jpg"))
    assert len(pictures) == 4
    for number, picture in enumerate(pictures):
        save_image(Image.open(picture), folder / f"person{number // 2}_{number % 2}.png")
    save_image(Image.new("RGB", (176, 256), "white"), folder / "person0_2.png")
    return folder


@pytest.mark.slow
def test_the_benchmark_scores_models_on_photographs(people, scored_here, tmp_path, capsys):
    assert {"points", "silhouette"} <= {kind.name for kind in all_kinds()}, drawn_people
    words = ["bench", "pairs", "--root", people, "--out", tmp_path, "--candidates", 2, "--models", "MCLD=synth-mcld"]
    assert main([*map(str, words), "--differences", "MCLD-truth"]) == 0
    text = capsys.readouterr().out
    assert (tmp_path / "benchmark.md").read_text() == text
    rows = json.loads((tmp_path / "benchmark.json").read_text())
    assert list(rows) == ["copy of the source", "source painted onto the pose", "truth", "MCLD"]
    assert rows["truth"]["outfit_recognised"] == rows["truth"]["ssim"] == 1
    assert rows["truth"]["background_error"] == 0
    assert rows["MCLD"]["ssim"] > rows["copy of the source"]["ssim"]
    low, high = rows["MCLD"]["intervals"]["ssim"]
    assert low < rows["MCLD"]["ssim"] < high
    page = (tmp_path / "benchmark.html").read_text()
    assert len((tmp_path / "pairs.csv").read_text().splitlines()) == 1 + 6 + 2
    assert page.count("<img") == 4 * 4  # those that show nobody are left out
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert main([*map(str, words)]) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == kept


def test_too_few_people_are_an_error_before_anything_is_made(tmp_path, capsys):
    folder = pictures_in(tmp_path / "photographs", "anna_1.png", "anna_2.png")
    assert main(["bench", "pairs", "--root", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert "1 of the 5 people who are needed" in capsys.readouterr().err
    assert not (tmp_path / "out/conditions").exists()
