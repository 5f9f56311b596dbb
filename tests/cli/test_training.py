"""Training that is resumed, stopped, attacked or diverges, from the command line."""

import inspect
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import CSVLogger

from pgpis.cli import main
from pgpis.cli.drawing import DrawingSettings
from pgpis.cli.options import documentation, options_of
from pgpis.cli.recipes import TOP_LEVEL
from pgpis.cli.renamed import subclasses
from pgpis.cli.training import data_options, tasks_of_recipes
from pgpis.data import PoseTransferDataModule
from pgpis.files import locked
from pgpis.methods import load_methods
from pgpis.methods.fpdm import FPDMTask
from pgpis.tasks.base import PersonImageTask

ONE = ["--trainer.max_steps=1", "--data.val=null"]
EVERY_STEP = "--trainer.callbacks=[{class_path: ModelCheckpoint, init_args: {every_n_train_steps: 1, save_last: true}}]"


@pytest.fixture
def trained(trained_fpdm):
    return trained_fpdm


def read(path):
    return torch.load(path, weights_only=True)


def steps_written(folder):
    return {read(path)["global_step"] for path in (folder / "checkpoints").glob("last*.ckpt")}


def change(trained, tmp_path, **entries):
    checkpoint = read(trained / "checkpoints/last.ckpt")
    torch.save(checkpoint | entries, tmp_path / "changed.ckpt")
    return f"--ckpt_path={tmp_path / 'changed.ckpt'}"


@pytest.mark.slow
def test_a_checkpoint_changes_no_option(trained, tiny, tmp_path, monkeypatch, capsys):
    """Lightning would import the module, and take the scale."""
    (tmp_path / "attack.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for hostile in ({"_class_path": "attack.Task"}, {"_class_path": "FPDMTask", "guidance_scale": 99.0}):
        path = change(trained, tmp_path, hyper_parameters=hostile, hparams_name="kwargs")
        assert main(tiny("test", path, "--trainer.limit_test_batches=1")) == 0
        assert "guidance_scale 99" not in (tmp_path / "run/test/metrics.md").read_text()


def test_weights_of_frozen_parts_are_refused(trained, tiny, tmp_path, capsys):
    weights = read(trained / "checkpoints/last.ckpt")["state_dict"]
    path = change(trained, tmp_path, state_dict=weights | {"vae.encoder.conv_in.bias": torch.full((4,), 9.0)})
    for verb in ("test", "fit"):
        assert main(tiny(verb, path)) == 2
        assert "'vae.encoder.conv_in.bias'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"state_dict": {"x": torch.ones(1)}}, "changed.ckpt: the checkpoint is another model's"),
        ({"loops": {"fit_loop": {}}}, "changed.ckpt: the checkpoint does not say where training stopped"),
        ({"optimizer_states": [{"state": {}, "param_groups": []}]}, "changed.ckpt: its optimiser's state does not fit"),
        ({"optimizer_states": []}, "changed.ckpt: its optimiser's state does not fit"),
        ({"lr_schedulers": [7]}, "cannot go on from this checkpoint"),
    ],
)
def test_what_does_not_fit_is_named(trained, tiny, tmp_path, capsys, entries, expected):
    assert main(tiny("fit", change(trained, tmp_path, **entries))) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "run/pipeline").exists()


@pytest.mark.parametrize("name", ["cut.ckpt", "pipeline"])
def test_the_checkpoint_is_looked_at_before_the_models_are_loaded(trained, tiny, tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr(FPDMTask, "__init__", lambda *_, **__: pytest.fail("the model was made"))
    (tmp_path / "cut.ckpt").write_bytes((trained / "checkpoints/last.ckpt").read_bytes()[:10000])
    path = {"cut.ckpt": tmp_path / "cut.ckpt", "pipeline": trained / "pipeline"}[name]
    assert main(tiny("fit", f"--ckpt_path={path}")) == 2
    said = capsys.readouterr().err
    assert str(path) in said
    assert ("is damaged or is not a checkpoint" if name == "cut.ckpt" else f"init_args.pipeline={path}") in said


class SignalAt(Callback):
    """Sends this process a signal at the end of a training or validation step."""

    def __init__(self, signum: int, step: int, validating: bool = False):
        self.signum, self.step, self.validating = signum, step, validating

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step and not self.validating:
            os.kill(os.getpid(), self.signum)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if trainer.global_step == self.step and self.validating:
            os.kill(os.getpid(), self.signum)


class Needy(Callback):
    """As Lightning's loggers and callbacks are whose package is missing."""

    def __init__(self, reason: str = "Requirement 'nothere>=1.0' not met. HINT: Try running `pip install nothere`"):
        raise ModuleNotFoundError(reason)


class Refusing(CSVLogger):
    """Takes no argument that it is given."""

    def __init__(self, rows: int = 1):
        raise TypeError(f"{rows} rows\nare too many")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("callbacks=test_training.Needy", "trainer.callbacks: Needy needs nothere\n  hint: pip install nothere\n"),
        (
            "callbacks=[Timer, {class_path: test_training.Needy, init_args: {reason: No module named 'a.b'}}]",
            "trainer.callbacks: Needy needs a\n  hint: pip install a\n",
        ),
        ("logger=test_training.Refusing", "trainer.logger: Refusing: 1 rows are too many\n  hint: "),
    ],
)
def test_an_object_of_the_trainer_that_cannot_be_made_is_named(word, expected, monkeypatch, capsys):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    assert main(["fit", "--config=smoke/fpdm.yaml", f"--trainer.{word}"]) == 2
    assert f"pgpis: error: {expected}" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "validating", "code"),
    [(signal.SIGTERM, False, 143), (signal.SIGINT, False, 130), (signal.SIGTERM, True, 143)],
)
def test_a_signal_saves_and_the_command_that_is_told_goes_on(
    signum, validating, code, tiny, tmp_path, monkeypatch, capsys
):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    arguments = f"{{signum: {int(signum)}, step: {1 + validating}, validating: {validating}}}"
    call = f"{{class_path: test_training.SignalAt, init_args: {arguments}}}"
    words = ["--trainer.max_steps=4", "--trainer.limit_train_batches=3", "--trainer.val_check_interval=2"]
    words += ["--trainer.limit_val_batches=2"]
    whole = [*words, EVERY_STEP]
    assert main(tiny("fit", *whole, out="whole")) == 0
    parts = [*words, f"--trainer.callbacks=[{{class_path: ModelCheckpoint}}, {{class_path: ExportModel}}, {call}]"]
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert main(tiny("fit", *parts, out="parts")) == code
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert not (tmp_path / "parts/pipeline").exists()
    assert steps_written(tmp_path / "parts") == {1 + validating}
    command = shlex.split(capsys.readouterr().err.splitlines()[-1].partition(" with it: ")[2])
    assert command[:2] == ["pgpis", "fit"]
    assert "--ckpt_path" in command
    stopped = [word for word in command[1:] if "test_training" not in word]
    assert main([*stopped, whole[-1]]) == 0
    assert len(list((tmp_path / "parts/lightning_logs").iterdir())) == 1  # its curves go on
    newest = [
        max((tmp_path / name / "checkpoints").glob("last*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
        for name in ("whole", "parts")
    ]
    first, second = map(read, newest)
    assert first["global_step"] == second["global_step"] == 4
    assert all(torch.equal(value, second["state_dict"][key]) for key, value in first["state_dict"].items())


def test_training_that_diverges_keeps_the_last_good_checkpoint(tiny, tmp_path, monkeypatch, capsys):
    usual = FPDMTask.loss

    def loss(task, batch, generator, *, train):
        losses = usual(task, batch, generator, train=train)
        return losses | {"loss": losses["loss"] * (torch.nan if train and task.trainer.global_step == 2 else 1)}

    monkeypatch.setattr(FPDMTask, "loss", loss)
    callbacks = EVERY_STEP[:-1] + ", {class_path: ExportModel}]"
    assert main(tiny("fit", callbacks, "--data.val=null")) == 1
    said = capsys.readouterr().err
    assert "the gradients are not finite after 2 steps (learning rate 0.001, precision 32" in said
    assert f"the last good checkpoint is {tmp_path}/run/checkpoints/last.ckpt" in said
    assert steps_written(tmp_path / "run") == {2}
    assert not (tmp_path / "run/pipeline").exists()


def test_weights_that_are_not_finite_are_neither_saved_nor_exported(tiny, tmp_path, monkeypatch, capsys):
    """As a last step far too large leaves them, whose gradients were finite."""
    usual = FPDMTask.loss
    monkeypatch.setattr("pgpis.tasks.base.gradients_are_finite", lambda _: True)
    monkeypatch.setattr(FPDMTask, "loss", lambda *a, **k: {"loss": usual(*a, **k)["loss"] * torch.nan})
    callbacks = EVERY_STEP[:-1] + ", {class_path: ExportModel}]"
    for words in (
        [callbacks],
        ["--trainer.callbacks=[{class_path: ExportModel}]", "--trainer.enable_checkpointing=false"],
    ):
        assert main(tiny("fit", *words, *ONE)) == 1
        assert "the weights are not finite" in capsys.readouterr().err
    assert not list((tmp_path / "run").rglob("*.ckpt"))
    assert not (tmp_path / "run/pipeline").exists()


def test_one_run_trains_in_a_folder(tiny, tmp_path, capsys):
    with locked(tmp_path / "run"):
        assert main(tiny("fit")) == 2
    assert "another run is writing" in capsys.readouterr().err


def test_a_learning_rate_of_today_counts_from_where_a_run_goes_on(trained, tiny, tmp_path, capsys):
    words = ["--trainer.max_steps=2", "--data.val=null", f"--ckpt_path={trained / 'checkpoints/last.ckpt'}"]
    assert main(tiny("fit", "--model.init_args.optimizer.init_args.lr=0.0625", *words)) == 0
    (state,) = read(tmp_path / "run/checkpoints/last.ckpt")["optimizer_states"]
    assert state["param_groups"][0]["lr"] == 0.0625
    assert "from step 1 on with today's lr 0.0625 (before: 0.001)" in capsys.readouterr().err
    assert main(tiny("fit", "--model.init_args.optimizer.class_path=torch.optim.Adam", *words)) == 2
    assert "last.ckpt: it was trained with another optimiser than Adam: AdamW" in capsys.readouterr().err


@pytest.mark.parametrize(
    "schedule",
    [
        "{class_path: CosineAnnealingLR, init_args: {T_max: 4}}",
        "{class_path: lightning.pytorch.cli.ReduceLROnPlateau, init_args: {monitor: train/loss}}",
    ],
)
def test_any_schedule_of_the_learning_rate(tiny, tmp_path, schedule):
    words = [f"--model.init_args.schedule.lr_scheduler={schedule}", "--trainer.max_steps=2", "--data.val=null"]
    assert main(tiny("fit", *words, "--trainer.limit_train_batches=1")) == 0
    (state,) = read(tmp_path / "run/checkpoints/last.ckpt")["lr_schedulers"]
    assert "T_max" in state if "Cosine" in schedule else "num_bad_epochs" in state


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, "toy_model cannot be imported: ModuleNotFoundError: No module named 'toy_model'"),
        ("import nothere", "toy_model cannot be imported: ModuleNotFoundError: No module named 'nothere'"),
        ("class ToyTasks:\n    pass", "toy_model has no class 'ToyTask'; did you mean 'ToyTasks'?"),
        ("class ToyTask:\n    pass", "is not a PersonImageTask"),
        ("def (", "toy_model cannot be imported: SyntaxError"),
        ("1 / 0", "toy_model cannot be imported: ZeroDivisionError"),
    ],
)
def test_a_model_that_cannot_be_imported_says_why(source, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "toy_model", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    if source is not None:
        (tmp_path / "toy_model.py").write_text(source + "\n")
    assert main(["fit", "--model=toy_model.ToyTask"]) == 2
    said = capsys.readouterr().err
    assert expected in said, said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["name a recipe: pgpis fit --config", "pgpis configs"]),
        (
            ["--config=smoke/fusion.yaml", "--model.lr=1e-4"],
            ["no option 'lr'", "pgpis fit --model.help FusionPriorTask"],
        ),
        (
            ["--config=smoke/fpdm.yaml", "--model.init_args.step.lr=1e-4"],
            ["FPDMTask has no option 'step.lr'; did you mean 'optimizer.init_args.lr'?"],
        ),
        (
            ["--config=smoke/fpdm.yaml", "--model.init_args.sampling.warmup_epochs=1"],
            ["FPDMTask has no option 'sampling.warmup_epochs'; did you mean 'schedule.warmup_epochs'?"],
        ),
        (
            ["--config=smoke/fpdm.yaml", "--model.init_args.step", "{noise: 1}"],
            ["FPDMTask has no option 'step.noise'; did you mean 'step.noise_offset'?"],
        ),
        (
            ["--config=smoke/fpdm.yaml", "--data.augmentation.flipp=1"],
            ["no such key 'data.augmentation.flipp'; did you mean 'augmentation.flip_probability'?"],
        ),
        (
            ["--config=smoke/fpdm.yaml", "--trainer.max_steps=-3"],
            ["error: trainer: `max_steps` must be a non-negative integer", "pgpis fit --help-all"],
        ),
        (["--config=smoke/fpdm.yaml", "--trainer.accelerator=foo"], ["error: trainer: ", "accelerator='foo'"]),
        (
            ["--config=smoke/fpdm.yaml", "--trainer.logger=CSVLogger"],
            ["save_dir", "--trainer.logger.init_args.save_dir="],
        ),
    ],
)
def test_errors_name_what_mends_them(words, expected, capsys):
    assert main(["fit", *words]) == 2
    said = capsys.readouterr().err
    assert all(part in said for part in expected), said


@pytest.mark.parametrize("verb", ["fit", "validate", "test"])
def test_help_is_one_page_and_names_where_the_rest_is(verb, capsys):
    assert main([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) < 60
    assert all(
        part in said for part in ("--model.help CLASS", "FPDMTask", "--data.batch_size", "--help-all", "train-your-own")
    )


def test_flags_of_test_lie_over_its_recipes(tiny, capsys):
    words = ["--dtype", "bf16", "--batch-size=3", "--deep-cache=2", "--guidance-band", "0.1", "0.9"]
    with pytest.raises(SystemExit):
        main(tiny("test", *words, "--model.init_args.sampling.deep_cache=4", "--print_config"))
    config = yaml.safe_load(capsys.readouterr().out)
    sampling = config["model"]["init_args"]["sampling"]
    assert (config["trainer"]["precision"], config["data"]["eval_batch_size"]) == ("bf16-true", 3)
    assert (sampling["guidance_band"], sampling["deep_cache"]) == ([0.1, 0.9], 4)  # keys of the recipe win


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--bach-size=2"], "no such key 'bach-size'; did you mean 'batch-size'?"),
        (["--ckptpath=last"], "no such key 'ckptpath'; did you mean 'ckpt_path'?"),
        (["--dtype=fp8"], "argument --dtype: invalid choice: 'fp8'"),
        (["--model=FPDMTask", "--deep-cache=3"], "name a recipe: pgpis test --config"),
        (["--config=smoke/fusion.yaml", "--deep-cache=3"], "FusionPriorTask has no option 'sampling.deep_cache'"),
    ],
)
def test_wrong_flags_of_test_are_named(words, expected, capsys):
    assert main(["test", *words]) == 2
    assert expected in capsys.readouterr().err


def test_the_help_of_test_names_its_flags(capsys):
    assert main(["test", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {option.flag}" in said for option in options_of(DrawingSettings))
    assert "--guidance-band LOW HIGH " in said


def test_the_help_names_every_task_and_every_option_of_the_data():
    load_methods()
    tasks = {task.__name__ for task in subclasses(PersonImageTask) if task.__module__.startswith("pgpis.")}
    abstract = {"PictureTask", "DiffusionTask", "RefinerTraining"}
    assert set(tasks_of_recipes()) == tasks - abstract
    assert data_options() == documentation(PoseTransferDataModule)
    assert set(data_options()) == set(inspect.signature(PoseTransferDataModule).parameters)


def test_words_that_stand_for_themselves_are_known():
    parser = LightningArgumentParser()
    for verb in ("fit", "validate", "test", "predict"):
        parser.add_method_arguments(Trainer, verb, skip={"model", "datamodule", "dataloaders", "train_dataloaders"})
        known = {action.dest for action in parser._actions} - {"help", "val_dataloaders"}
        assert known <= {*TOP_LEVEL}
        parser = LightningArgumentParser()


def test_training_without_a_logger(tiny, tmp_path):
    words = ["--trainer.logger=false", "--trainer.log_every_n_steps=0", "--trainer.max_steps=1", "--data.val=null"]
    assert main(tiny("fit", *words, out="run")) == 0
    assert (tmp_path / "run/pipeline").is_dir()
    assert not (tmp_path / "run/lightning_logs").exists()


def test_a_trial_of_a_few_batches_leaves_nothing_to_go_on_from(tiny, tmp_path, capsys):
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/checkpoints/best.ckpt").touch()
    assert main(tiny("fit", "--trainer.fast_dev_run=1", EVERY_STEP)) == 0
    assert {path.name for path in (tmp_path / "run").rglob("*.*")} == {".pgpis.lock", "best.ckpt"}
    assert "another run" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        (
            "LearningRateFinder",
            "LearningRateFinder: it sets 'lr' of a model, and a task's is its optimiser's\n  hint: leave",
        ),
        (
            "BackboneFinetuning",
            "BackboneFinetuning: it thaws the 'backbone' of a model, and FPDMTask has none\n  hint: l",
        ),
    ],
)
def test_callbacks_that_look_for_what_no_task_has_are_refused(callback, expected, tiny, capsys):
    assert main(tiny("fit", f"--trainer.callbacks=[{callback}]", *ONE)) == 2
    assert f"pgpis: error: trainer.callbacks: {expected}" in capsys.readouterr().err


def test_a_timer_ends_training(tiny, tmp_path):
    """Its options have members of enumerations among them, which are written to the settings of the run."""
    timer = "--trainer.callbacks=[{class_path: Timer, init_args: {duration: {seconds: 0}}}]"
    assert main(tiny("fit", timer, "--trainer.max_steps=99", "--data.val=null")) == 0
    (settings,) = (tmp_path / "run").rglob("config.yaml")
    (callback,) = yaml.safe_load(settings.read_text())["trainer"]["callbacks"]
    assert callback["init_args"]["interval"] == "step"


def test_every_logger_that_takes_pictures_gets_the_grid(tiny, tmp_path, capsys):
    loggers = ["CSVLogger", "TensorBoardLogger"]
    entries = ", ".join(
        f"{{class_path: {name}, init_args: {{save_dir: {tmp_path}, name: {name}}}}}" for name in loggers
    )
    words = ["--trainer.max_steps=-1", "--trainer.max_epochs=1", "--data.train.init_args.max_pairs=2"]
    words += ["--trainer.log_every_n_steps=1"]
    assert main(tiny("fit", f"--trainer.logger=[{entries}]", *words)) == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(tmp_path / "TensorBoardLogger/version_0"))
    log.Reload()
    assert log.Tags()["images"] == ["samples"]
    assert (tmp_path / "CSVLogger/version_0/metrics.csv").is_file()
    assert "SampleGrid: CSVLogger takes no pictures" in capsys.readouterr().err
