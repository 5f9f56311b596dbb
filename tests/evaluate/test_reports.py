"""Names of folders and reasons of failures inside reports: text, never markup."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgpis.data import Aim, Pair, Person
from pgpis.errors import PgpisError
from pgpis.evaluate import compare
from pgpis.evaluate.benchmark import RowScores
from pgpis.evaluate.benchmark_report import _means, table
from pgpis.evaluate.columns import shown
from pgpis.evaluate.features import too_few
from pgpis.evaluate.methods import Methods, noted, to_latex, write_table
from pgpis.evaluate.naming import Matches
from pgpis.evaluate.page import Figure, ImageCell, Section, Table, histogram, render_page
from pgpis.evaluate.published import PUBLISHED
from pgpis.evaluate.results import _ranked, to_html, to_json, to_markdown
from pgpis.evaluate.score import NO_VALUES, Scores
from pgpis.metrics import MetricReport

HOSTILE = "a|b`c`<img src=x>[d](e)\\input{f}\n| g | h_i"


DIFFERENT = "Distances of sets do not compare: A and B are of different pairs"


def scores():
    values = {"ssim": np.array([0.5, 0.7]), "psnr": np.array([20.0, 30.0])}
    sets = {"fid": f"not computed: {HOSTILE}"}
    return Scores("fpdm", (512, 352), ("x", "y"), values, sets, {}, (), {"real": HOSTILE})


def test_a_folder_cannot_add_to_the_tables():
    text = to_markdown(scores(), HOSTILE)
    plain = to_markdown(scores(), "plain")
    assert len(text.splitlines()) == len(plain.splitlines())
    assert "<img" not in text
    assert "\\|b\\`c\\`&lt;img src=x&gt;\\[d\\](e)\\\\input{f} \\| g \\| h_i (measured here) |" in text
    assert "<img" not in MetricReport("fpdm", 1, {"a": HOSTILE}, details={"b": HOSTILE}).to_markdown()


def test_a_note_cannot_add_to_the_tables():
    own = replace(scores(), not_comparable=HOSTILE)
    assert "Without published rows: a\\|b\\`c\\`&lt;img src=x&gt;" in to_markdown(own, "ours")


def test_every_form_of_the_table_says_what_numbers_do_not_compare_with_and_of_what_each_row_is(tmp_path):
    details = {"real_train": 1, "real_targets": 3}
    first = replace(scores(), sets={"fid": 3.0}, values={"psnr": np.array([20.0, np.inf])}, details=details)
    second = replace(first, pair_ids=tuple("abc"), values={"psnr": np.full(3, 20.0)})
    write_table(tmp_path, Methods([("one", first), ("two", second)]), [])
    (tmp_path / "metrics.tex").write_text(to_latex(Methods([("one", first)])))
    for name in ("table.md", "table.tex", "table.html", "metrics.tex"):
        text = (tmp_path / name).read_text().replace("\\_", "_").replace("`", "")
        assert "FID of 2 pictures against 3 is too high: it compares with FID of as many only." in text
        assert "psnr is infinite for 1 of 2 pairs, which its mean leaves out." in text
        assert "one: protocol fpdm, 2 pairs" in text
        assert "two: protocol fpdm, 3 pairs" in text or name == "metrics.tex"


def test_a_name_that_is_not_utf8_reads_alike_in_every_form_of_the_table(tmp_path):
    write_table(tmp_path, Methods([("caf\udce9", scores())]), [])
    for form in ("md", "tex", "csv", "html"):
        text = (tmp_path / f"table.{form}").read_text()
        assert ("caf\\%E9" if form == "tex" else "caf%E9") in text
        assert "udce9" not in text


def test_nothing_is_less_than_nothing():
    assert (shown("dists", -4e-7), shown("dists", -6e-5), shown("kid", -0.0)) == ("0.0000", "-0.0001", "0.000")
    own = replace(scores(), values={"ssim": np.array([-1e-9, -1e-9])})
    assert "-0.0000" not in compare.to_markdown(compare.compare(own, own), ((Path("A"), own), (Path("B"), own)))
    assert "-0.0000" not in MetricReport("fpdm", 1, {"a": -1e-9}).to_markdown()


def test_a_folder_cannot_run_latex():
    text = to_latex(Methods([(HOSTILE, scores())]))
    assert len(text.splitlines()) == len(to_latex(Methods([("plain", scores())])).splitlines())
    assert r"\input" not in text
    assert r"\textbackslash{}input\{f\}" in text


def test_a_name_is_text_on_a_page():
    name = f"""'"{HOSTILE}"""
    section = Section(name, name, [Table([name], [[name, ImageCell(name)]])], [Figure(name, [name])], [name])
    images, texts = [], []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: images.append(dict(attributes)["src"]) if tag == "img" else None
    parser.handle_data = texts.append
    parser.feed(render_page(name, [section]))
    assert images == [name, name]
    assert texts.count(name) == 8


@pytest.mark.parametrize("name", ["[ours]", "*mine"])
def test_no_row_is_an_argument_of_the_one_above(name):
    lines = to_latex(Methods([(name, scores())])).splitlines()
    [row] = [line for line in lines if "measured here" in line]
    assert row.startswith("{}" + name)


def test_equal_pictures_are_left_out_of_the_mean_and_counted():
    some = replace(scores(), pair_ids=tuple("abcd"), values={"psnr": np.array([20.0, 21.0, 22.0, np.inf])})
    assert some.summary()["psnr"] == 21
    low, high = some.interval("psnr")
    assert low <= 21 <= high
    assert "psnr is infinite for 1 of 4 pairs, which its mean leaves out." in to_markdown(some, "ours")
    every = replace(some, values={"psnr": np.full(4, np.inf)})
    assert every.summary()["psnr"] == np.inf
    assert json.loads(to_json(every, Matches((), (), (), ()), Path()))["results"]["psnr"]["value"] == "inf"


def test_a_picture_that_fails_twice_is_listed_with_both_reasons_and_doubles_are_listed_too():
    some = replace(scores(), failures=(("x", "no face"), ("y", "nobody"), ("x", "no hand")))
    matches = Matches((), (), (), (Path("x again.png"),))
    assert json.loads(to_json(some, matches, Path()))["failures"] == {"x": "no face; no hand", "y": "nobody"}
    assert "Further pictures of a pair that has one: 1" in to_html(replace(some, values={}), matches, "ours")


@pytest.mark.parametrize(("generated", "real", "few"), [(2, 3000, True), (3000, 2, True), (3000, 3000, False)])
def test_a_distance_of_few_pictures_is_told_where_there_is_one(generated, real, few):
    details = {"real_train": 1, "real_targets": real}
    none = Scores("fpdm", (512, 352), ("x",) * generated, {}, {"fid": "not computed"}, {}, (), details)
    note = f"FID of {generated} pictures against {real} is too high: it compares with FID of as many only."
    assert noted(none) == []
    assert noted(replace(none, sets={"fid": 3.0})) == [note] * few


def test_a_row_stands_below_published_ones_of_the_same_kind():
    """FPDM's own numbers make FPDM's own row, whose first FID is against the training pictures."""
    published = PUBLISHED["fpdm"][256, 176]["FPDM (B6)"]
    sets = {"fid": published["fid_gt"], "fid_gt": published["fid_gt"], "fid_train": published["fid_train"]}
    values = {name: np.full(2, published[name]) for name in ("lpips", "ssim", "psnr")}
    details = {"real_train": 48674, "real_targets": 2100}
    own = Scores("fpdm", (256, 176), ("x", "y"), values, sets, {}, (), details)
    head, rows = Methods([("ours", own)]).table(str, intervals=False)
    assert head == ["", "fid_train", "fid_gt", "lpips", "ssim", "psnr", "paper"]
    cells = {name: cells for name, *cells, _ in rows}
    assert cells["ours (measured here)"] == cells["FPDM (B6)"] == ["7.318", "5.459", "0.1445", "0.7417", "18.832"]
    other = replace(own, protocol="cfld", sets={**sets, "fid": sets["fid_train"]})
    assert Methods([("ours", other)]).table(str, intervals=False)[1][-1][1:3] == ["7.318", "5.459"]
    notes = [
        f"FID of 2 pictures against {real} is too high: it compares with FID of as many only." for real in (2100, 48674)
    ]
    assert noted(own) == notes
    assert noted(other) == notes[::-1]


def test_only_weights_that_one_can_get_make_a_result_incomplete():
    whole = replace(scores(), sets={"fid": too_few(0, 7)}, not_computed={"hand_ssim": NO_VALUES})
    assert whole.complete
    assert not replace(whole, sets={"fid": "not computed: x.pth is missing: pgpis weights fetch x"}).complete


def test_the_file_of_a_benchmark_is_json():
    rows = {"truth": RowScores({"psnr": np.full(3, np.inf), "print_sharpness": np.array([0.5, np.nan, 0.7])}, None)}
    means = json.loads(json.dumps(_means(rows), allow_nan=False))
    assert means["truth"]["psnr"] is None
    assert means["truth"]["print_sharpness"] == pytest.approx(0.6)


def test_a_benchmark_says_which_means_leave_out_equal_pictures():
    copy = RowScores({"psnr": np.array([np.inf, np.inf, 9.0, 10.0])}, None)
    ours = RowScores({"psnr": np.array([30.0, np.inf, 12.0, np.inf])}, None)
    truth = RowScores({"psnr": np.full(4, np.inf)}, None)
    text = table({"copy": copy, "truth": truth, "ours - copy": ours - copy, "ours - truth": ours - truth})
    note = "psnr is infinite for {} of 4 pictures, which mean and interval leave out."
    assert text.count("is infinite") == 2
    assert f"\ncopy: {note.format(2)}\n" in text
    assert f"\nours - copy: {note.format(3)}\n" in text
    assert "| ours - copy | 3.00 |" in text
    means = _means({"copy": copy, "truth": truth})
    assert means["copy"]["left_out"] == {"psnr": 2}
    assert "left_out" not in means["truth"]
    runs = RowScores({"psnr": np.stack([ours.values["psnr"], np.full(4, 9.0)])}, None)
    assert "infinite for 2 of 8 pictures" in table({"runs": runs})


@pytest.fixture
def matched(tmp_path):
    """Pictures of eight pairs."""
    picture = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(picture)
    pairs = [Pair(name, Person(picture), Aim(picture, picture)) for name in "abcdefgh"]
    return Matches(tuple((pair, picture) for pair in pairs), (), (), ())


def of_pairs(values, **more):
    pair_ids = tuple("abcdefgh"[: len(values)])
    return Scores("fpdm", (512, 352), pair_ids, {"lpips": -np.array(values)}, {}, {}, (), {"real_targets": 3}, **more)


def test_pairs_without_a_value_have_no_rank(matched):
    best, _, worst = _ranked(of_pairs([5.0, np.nan, 1.0, 2.0, 3.0, np.nan, np.nan, 4.0]), compare.pairs_by_id(matched))
    assert [figure.caption[0] for figure in best.figures] == list("ahedc")
    assert [figure.caption[0] for figure in worst.figures] == list("cdeha")


def test_a_folder_is_ahead_only_where_it_is(matched, tmp_path):
    ours, theirs = of_pairs([1.0, np.nan, 3.0, 4.0]), of_pairs([2.0, 2.0, np.nan, 4.5])
    sides = ((Path("A"), ours), (Path("B"), theirs))
    page = compare.write_comparison(tmp_path / "out", compare.compare(ours, theirs), sides, (matched, matched))
    text = page.read_text()
    assert (
        text.index("B is ahead by lpips")
        < text.index("a: A -1.0000, B -2.0000")
        < text.index("d: A -4.0000, B -4.5000")
    )
    assert "A is ahead" not in text
    assert "nan" not in text
    for suffix in ("md", "tex", "html"):
        assert "lpips: A, B and their difference are of 2 of 4 pairs" in page.with_suffix(f".{suffix}").read_text()
    assert json.loads(page.with_suffix(".json").read_text())["metrics"]["lpips"]["pairs"] == 2


def test_a_comparison_says_what_it_is_of_and_what_it_lacks(matched, tmp_path):
    ours = of_pairs([1.0, 2.0], set_intervals={})
    ours = replace(ours, sets={"fid": 3.0, "kid": np.inf}, not_computed={"dists": "not computed: alexnet is missing"})
    theirs = replace(of_pairs([2.0, 3.0, 4.0]), sets={"fid": 5.0, "kid": 1.0}, not_computed=ours.not_computed)
    sides = ((Path("runs/first"), ours), (Path("runs/second"), theirs))
    compare.write_comparison(tmp_path, compare.compare(ours, theirs), sides, (matched, matched))
    assert (tmp_path / "comparison.md").read_text().count("FID of 2 pictures against 3 is too high") == 1
    for suffix in ("md", "tex", "html"):
        text = (tmp_path / f"comparison.{suffix}").read_text()
        for word in ("alexnet is missing", "runs/first", "runs/second", "512x352", "2 pairs that both have"):
            assert word in text
        assert DIFFERENT in text
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert content["sets"] == {"fid": {"a": 3.0, "b": 5.0}, "kid": {"a": "inf", "b": 1.0}}
    assert content["not_computed"]["dists"]["b"] == "not computed: alexnet is missing"
    assert (content["protocol"], content["a"]["samples"], content["b"]["generated"]) == ("fpdm", 2, "runs/second")


@pytest.mark.parametrize(
    "values",
    [
        [48.1308036086791, 48.13080360867911, 48.1308036086791],
        [1.0, np.nextafter(1.0, 2)],
        [0.0, 5e-324],
        [1e300, 1e300],
        [-3.0, -3.0],
        [2.0, np.nan, np.inf],
        [1.0, 4.0, 2.5],
        [0.001, 0.002],
    ],
)
def test_every_finite_value_is_in_the_histogram(values):
    """Those too that are equal but for rounding, as PSNR of pictures that differ by one everywhere."""
    bins = histogram(np.array(values))
    finite = [value for value in values if np.isfinite(value)]
    assert sum(count for *_, count in bins) == len(finite)
    assert bins[0][0] <= min(finite) <= max(finite) <= bins[-1][1]
    assert all(low < high for low, high, _ in bins)


def test_what_is_so_of_both_sides_is_said_once():
    side = Path("A"), replace(of_pairs([1.0, 2.0]), sets={"fid": 3.0})
    text = compare.to_markdown(compare.compare(side[1], side[1]), (side, side))
    assert text.count("is too high") == text.count("- A and B: FID of 2 pictures") == 1
    assert "their difference are of" not in text, "as all pairs have a value"


def test_sets_of_other_pairs_do_not_compare_though_they_are_as_many():
    ours = replace(scores(), sets={"fid": 3.0}, details={"real_targets": 3})
    ours = replace(ours, pair_ids=tuple("xyz"), values={"ssim": np.array([0.5, 0.7, 0.9]), "l1": np.array([9.0, 1, 2])})
    theirs = replace(ours, pair_ids=tuple("zwy"), values={"ssim": np.array([0.9, 0.1, 0.7]), "l1": np.full(3, np.inf)})
    for other, differ in ((theirs, True), (replace(ours, pair_ids=tuple("zxy")), False)):
        text = compare.to_markdown(compare.compare(ours, other), ((Path("A"), ours), (Path("B"), other)))
        assert (DIFFERENT in text) == differ
    both = compare.compare(ours, theirs)
    assert both.pair_ids == tuple("yz")
    assert (both.differences["ssim"].first, both.differences["ssim"].second) == (0.8, 0.8)
    assert both.not_computed["l1"] == (1.5, np.inf), "means are of these pairs too"


def of_people(values):
    names = [f"WOMENTeesid{person:08d}01_1_front.jpg_2_WOMENTeesid{person:08d}01_2_side.jpg" for person in (1, 1, 1, 2)]
    some = replace(scores(), pair_ids=tuple(names), values={"ssim": np.array(values)}, sets={"fid": 1.0})
    return replace(some, details={"real_targets": 4}, set_intervals={"fid": (0.0, 2.0)})


def test_intervals_may_be_over_people():
    ours, theirs = of_people([0.1, 0.1, 0.1, 0.5]), of_people([0.2, 0.2, 0.2, 0.9])
    assert ours.interval("fid") == (0.0, 2.0)
    both = [each.over_people() for each in (ours, theirs)]
    assert "intervals_over_people 2" in to_markdown(both[0], "ours").replace("\\", "")
    assert both[0].interval("ssim") == pytest.approx((0.1, 0.5))
    assert both[0].interval("fid") is None
    low, high = compare.compare(*both).differences["ssim"].interval
    assert (low, high) == pytest.approx((0.1, 0.4))
    with pytest.raises(PgpisError, match="--intervals people: pair x does not tell whom it shows"):
        scores().over_people()
