"""Seeds and pictures that something else sets are not dropped in silence."""

import pytest

from pgpis.cli import main
from pgpis.cli.linked import without_linked
from pgpis.errors import PgpisError

SAVED = "seed_everything: 3\nmodel: {init_args: {seed: 3}}\ndata: {seed: 3, input_specs: null}\n"


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("--model.init_args.seed=9", "model.init_args.seed"),
        ("--model.seed=9", "model.init_args.seed"),
        ("--data.seed=9", "data.seed"),
    ],
)
def test_every_verb_refuses_another_seed(verb, word, key, tiny, toy_root, tmp_path, capsys):
    photos = [f"--sources={toy_root}/img", f"--poses={toy_root}/pose", f"--out={tmp_path}/out", "--ckpt_path=last"]
    assert main(tiny(verb, word, *(photos if verb == "predict" else []))) == 2
    told = capsys.readouterr().err
    assert f"{key} is 9, and is set by seed_everything, which is 0" in told
    assert "--seed_everything 9" in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {init_args: {seed: 3}}", "model.init_args.seed is 3"),
        ("model.init_args.seed: 3", "model.init_args.seed is 3"),
        ("data: {seed: 3}", "data.seed is 3"),
        ("data: {input_specs: {image: {}}, loss_specs: {a: 1}}", "data.loss_specs.a is set by the model"),
    ],
)
def test_a_recipe_is_refused_by_name_also_where_it_is_extended(text, message, tmp_path):
    (tmp_path / "base.yaml").write_text(text)
    (tmp_path / "over.yaml").write_text("extends: base.yaml\n")
    for name in ("base", "over"):
        with pytest.raises(PgpisError, match=f"{name}.yaml: {message}"):
            without_linked([f"--config={tmp_path}/{name}.yaml"])


@pytest.mark.parametrize("words", [["--data.seed", "9"], ["--data={seed: 9}"], ["--model={init_args: {seed: 9}}"]])
def test_words_of_other_forms_are_refused(words):
    with pytest.raises(PgpisError, match="seed is 9, and is set by seed_everything, which is 1"):
        without_linked(["--seed_everything", "1", *words])


def test_what_an_earlier_run_saved_may_be_laid_under_another_seed(tmp_path):
    (tmp_path / "saved.yaml").write_text(SAVED)
    words = [f"--config={tmp_path}/saved.yaml"]
    for more in ([], ["--seed_everything=5"]):
        assert without_linked([*words, *more]) == [*words, *more]


def test_words_that_agree_are_left_out():
    words = ["--model.init_args.seed=1", "--data.seed", "1", "--model.init_args.seeds=2", "--seed_everything=1"]
    assert without_linked(words) == words[3:]
