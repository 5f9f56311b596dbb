"""Recipes and words of earlier versions mean what they meant; what can no longer be set is refused."""

import pytest
import yaml

from pgpis.cli.renamed import with_current_options
from pgpis.errors import PgpisError
from pgpis.methods import load_methods

EARLIER = """
model:
  class_path: pgpis.tasks.fpdm.FPDMTask
  init_args:
    height: 96
    sampling: {width: 64}
    unet: &net {norm_num_groups: 4}
    drop_pose: 0.1
    drop_whole_batch: true
    warmup_epochs: 1e-1
    projection_dropout: 0.0
    save_test_images: true
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 1e-3}}
    vae: *net
data: {pin_memory: true, batch_size: 4}
trainer:
  callbacks: [{class_path: pgpis.callbacks.SampleGrid, init_args: {pairs: 2}}]
"""
CURRENT = """
model:
  class_path: pgpis.methods.fpdm.task.FPDMTask
  init_args:
    sampling: {width: 64, height: 96}
    unet: {norm_num_groups: 4}
    dropping: {pose: 0.1, whole_batch: true}
    schedule: {warmup_epochs: 1e-1}
    conditioner: {dropout: 0.0}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 1e-3}}
    vae: {norm_num_groups: 4}
data: {batch_size: 4}
trainer:
  callbacks: [{class_path: pgpis.tasks.callbacks.SampleGrid, init_args: {pairs: 2}}]
"""
MCLD = (
    "model:\n  class_path: MCLDTask\n  init_args:\n    resampler: {face_tokens: 4}\n    conditioner: {use_face: true}\n"
)


@pytest.fixture(autouse=True)
def _methods():
    load_methods()


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return f"--config={path}"

    return write


def content(word):
    return yaml.safe_load(word.removeprefix("--config="))


def test_a_recipe_of_an_earlier_version(recipe, caplog):
    with caplog.at_level("INFO", logger="pgpis"):
        (word,) = with_current_options([recipe(EARLIER)])
    assert content(word) == yaml.safe_load(CURRENT)
    assert [record.getMessage().count("height -> sampling.height") for record in caplog.records] == [1]


def test_mappings_that_were_joined(recipe):
    (word,) = with_current_options([recipe(MCLD)])
    assert content(word)["model"]["init_args"] == {"conditioner": {"use_face": True, "face_tokens": 4}}


@pytest.mark.parametrize(
    ("task", "options", "names"),
    [
        ("FPDMTask", "{height: 96, sampling: {height: 64}}", "height, of an earlier version, and sampling.height"),
        ("FPDMTask", "{sampling: {width: 64}, drop_pose: 0.1, dropping: {pose: 0}}", "drop_pose, .* and dropping.pose"),
        ("MCLDTask", "{resampler: {face_tokens: 4}, conditioner: {face_tokens: 8}}",
         "resampler.face_tokens, .* and conditioner.face_tokens"),
    ],
)  # fmt: skip
def test_an_option_by_both_its_names_is_refused(recipe, task, options, names):
    word = recipe(f"model: {{class_path: {task}, init_args: {options}}}")
    with pytest.raises(PgpisError, match=f"mine.yaml sets one option by two names: {names}"):
        with_current_options([word])


def test_a_recipe_of_today_is_passed_on_as_it_is(recipe, caplog):
    words = [recipe(CURRENT), "--model.init_args.sampling.height=96", "--trainer.max_steps", "3"]
    assert with_current_options(words) == words
    assert not caplog.records


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--model.init_args.height=64"], ["--model.init_args.sampling.height=64"]),
        (["--model.height", "64"], ["--model.init_args.sampling.height", "64"]),
        (["--model.init_args.decay_epochs+=3"], ["--model.init_args.schedule.decay_epochs+=3"]),
        (["--model.init_args.lr_scheduler.init_args.T_max=4"],
         ["--model.init_args.schedule.lr_scheduler.init_args.T_max=4"]),
        (["--model.init_args.save_test_images", "true", "--data.pin_memory=false"], []),
        (["--data.pin_memory", "--trainer.max_steps", "3"], ["--trainer.max_steps", "3"]),
        (["--model.init_args.unet.height=64"], ["--model.init_args.unet.height=64"]),
        (["--model.init_args.clip_noise=0"], ["--model.init_args.clip_noise=0"]),  # MCLD's, and this is FPDM
    ],
)  # fmt: skip
def test_words_of_an_earlier_version(words, expected):
    assert with_current_options(["--model=FPDMTask", *words]) == ["--model=FPDMTask", *expected]


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("AutoencoderTask", ["--model.init_args.height=64", "--model.init_args.width=64"]),
        ("nowhere.Task", ["--model.init_args.height=64"]),
        ("NoSuchTask", ["--model.init_args.height=64"]),
    ],
)
def test_other_tasks_have_their_own_names(task, words):
    assert with_current_options([f"--model={task}", *words]) == [f"--model={task}", *words]


def test_the_task_that_is_named_last_counts(recipe):
    words = [recipe(EARLIER), "--model", "AutoencoderTask", "--model.init_args.height=64"]
    assert with_current_options(words)[-1] == "--model.init_args.height=64"


@pytest.mark.parametrize(
    ("task", "option", "value", "reason"),
    [
        ("AutoencoderTask", "kl_weight", "1e-3", "the weight of the KL divergence is 1e-6"),
        ("FPDMTask", "save_test_images", "false", "test writes its pictures"),
    ],
)
def test_what_can_no_longer_be_set_is_refused(recipe, task, option, value, reason):
    text = f"model: {{class_path: {task}, init_args: {{{option}: {value}}}}}"
    for words in ([f"--model={task}", f"--model.init_args.{option}={value}"], [recipe(text)]):
        with pytest.raises(PgpisError, match=f"{option} is {value}.*{reason}"):
            with_current_options(words)
    same = {"kl_weight": "1.0e-6", "save_test_images": "True"}[option]
    assert with_current_options([f"--model={task}", f"--model.init_args.{option}={same}"]) == [f"--model={task}"]
