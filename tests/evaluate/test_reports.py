"""Names of folders and reasons of failures inside reports: text, never markup."""

from html.parser import HTMLParser

import numpy as np

from pgpis.evaluate.methods import Methods, to_latex
from pgpis.evaluate.page import Figure, ImageCell, Section, Table, render_page
from pgpis.evaluate.results import to_markdown
from pgpis.evaluate.score import Scores
from pgpis.metrics import MetricReport

HOSTILE = "a|b`c`<img src=x>[d](e)\\input{f}\n| g | h_i"


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
