"""Published archives name their pictures in many ways; each must find its pair."""

import os
from pathlib import Path
from unicodedata import normalize

import pytest

from pgpis.data import Aim, Pair, Person
from pgpis.data.names import flat_to_tree, pair_name, tree_to_flat, tree_to_result
from pgpis.errors import PgpisError
from pgpis.evaluate.naming import identities, list_pictures, match_pictures

TREES = [
    "WOMEN/Blouses_Shirts/id_00003372/03_3_back.jpg",
    "WOMEN/Blouses_Shirts/id_00003372/03_2_side.jpg",
    "MEN/Tees_Tanks/id_00007301/04_7_additional.jpg",
    "MEN/Tees_Tanks/id_00007301/04_1_front.jpg",
]


def pair(source, target):
    return Pair(pair_name(source, target), Person(Path(source)), Aim(target=Path(target)))


PAIRS = [pair(TREES[0], TREES[1]), pair(TREES[1], TREES[0]), pair(TREES[2], TREES[3])]


def flat(name):
    return tree_to_flat(name).removesuffix(".jpg")


def joined(name):
    return tree_to_result(name).removesuffix(".jpg")


SPELLINGS = {
    "FPDM, pgpis": lambda s, t: f"{tree_to_result(s)}_2_{tree_to_result(t)}.png",
    "PATN, GFLA, DPTN": lambda s, t: f"{flat(s)}.jpg___{flat(t)}.jpg_vis.jpg",
    "GFLA, NTED": lambda s, t: f"{flat(s)}_2_{flat(t)}_vis.jpg",
    "CFLD, MCLD": lambda s, t: f"{flat(s)}.jpg_to_{flat(t)}.jpg.png",
    "PIDM": lambda s, t: f"{joined(s)}_2_{joined(t)}_vis.png",
    "PCDMs": lambda s, t: f"{flat(s)}_to_{flat(t)}.png",
    "underscores for folders": lambda s, t: f"{s.replace('/', '_')[:-4]}_2_{t.replace('/', '_')[:-4]}.png",
    "numbered": lambda s, t: f"00012_{flat(s)}_{flat(t)}.png",
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_finds_its_pair(name):
    spell = SPELLINGS[name]
    files = [Path("results") / spell(str(p.source), str(p.target)) for p in PAIRS]
    found = match_pictures(files, PAIRS)
    assert [(p.pair_id, path) for p, path in found.files] == [
        (p.pair_id, path) for p, path in zip(PAIRS, files, strict=True)
    ]
    assert found.unmapped == found.missing == found.doubled == ()


def test_all_published_names_are_recognised():
    """All 52,712 pictures, in three spellings."""
    samples = Path(os.environ.get("PGPIS_SAMPLES", Path(__file__).parents[3] / "shared/samples"))
    if not samples.is_dir():
        pytest.skip(f"NOT CHECKED: {samples} is absent; set PGPIS_SAMPLES")
    lists = [(samples / f"lists/{split}.lst").read_text().split() for split in ("train", "test")]
    assert list(map(len, lists)) == [48_674, 4_038]
    seen = set()
    for name in lists[0] + lists[1]:
        tree = flat_to_tree(name)
        assert tree_to_flat(tree) == name
        (identity,) = identities(name)
        assert identities(tree) == identities(tree_to_result(tree)) == [identity]
        seen.add(identity)
    assert len(seen) == 52_712


def test_published_result_pictures_are_recognised():
    samples = Path(os.environ.get("PGPIS_SAMPLES", Path(__file__).parents[3] / "shared/samples"))
    if not samples.is_dir():
        pytest.skip(f"NOT CHECKED: {samples} is absent; set PGPIS_SAMPLES")
    files = list_pictures(samples / "result_pictures")
    assert all(len(identities(path.name)) == 2 for path in files)


def test_what_fits_nothing_is_listed():
    other = Path("x/fashionMENTees_Tanksid0000730104_1front_2_fashionMENTees_Tanksid0000730104_2side.png")
    first = Path("x") / SPELLINGS["PCDMs"](str(PAIRS[0].source), str(PAIRS[0].target))
    second = Path("y") / first.name
    found = match_pictures([other, Path("x/photo.png"), first, second], PAIRS)
    assert found.unmapped == (other, Path("x/photo.png"))
    assert found.doubled == (second,)
    assert found.missing == (PAIRS[1].pair_id, PAIRS[2].pair_id)


def test_own_pairs_match_by_their_name():
    own = Pair("anna_2_walk", Person(Path("anna.jpg")), Aim())
    assert match_pictures([Path("out/anna_2_walk.png")], [own]).files == ((own, Path("out/anna_2_walk.png")),)


def test_accents_of_generated_pictures_may_be_one_character_or_two():
    own = Pair(normalize("NFC", "josé_2_walk"), Person(Path("josé.jpg")), Aim())
    path = Path("out") / normalize("NFD", "josé_2_walk.png")
    assert match_pictures([path], [own]).files == ((own, path),)


def test_pictures_in_linked_folders_are_listed(tmp_path):
    for folder in ("results", "elsewhere"):
        (tmp_path / folder).mkdir()
    (tmp_path / "elsewhere/a.png").touch()
    (tmp_path / "results/contact_sheet.jpg").touch()
    (tmp_path / "results/part").symlink_to("../elsewhere")
    assert list_pictures(tmp_path / "results") == [tmp_path / "results/part/a.png"]


def test_pictures_in_hidden_folders_take_no_place(tmp_path):
    for name in ("a.png", ".Trash-1000/files/a.png", "part/.thumbnails/b.png", "._a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list_pictures(tmp_path) == [tmp_path / "a.png"]


def test_the_poses_beside_results_are_left_out(tmp_path):
    """But not a folder that is called so itself."""
    for name in ("poses/a.png", "poses/poses/a.png", "poses/b/poses/a.png", "poses/b/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = [path.relative_to(tmp_path).as_posix() for path in list_pictures(tmp_path / "poses")]
    assert names == ["poses/a.png", "poses/b/c.png"]


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(PgpisError, match="no pictures"):
        list_pictures(tmp_path)
    with pytest.raises(PgpisError, match="not found"):
        list_pictures(tmp_path / "nowhere")
