"""A run that goes on adds to its own curves, whatever else was run in its folder."""

import csv
from pathlib import Path

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from pgpis.tasks.curves import go_on_logging, log_apart


@pytest.fixture
def log(tmp_path):
    """Log some steps as a run does, and return the folders of TensorBoard's and the CSV logger."""

    def steps(verb, *numbers, going_on=None, cut=False, **options):
        loggers = [TensorBoardLogger(tmp_path, "tb", **options), CSVLogger(tmp_path, "csv", **options)]
        trainer = Trainer(logger=loggers, accelerator="cpu")
        log_apart(trainer, verb)
        if going_on is not None:
            go_on_logging(trainer, going_on)
        for logger in loggers:
            for number in numbers:
                logger.log_metrics({f"{verb}/loss": 1.5, **({"val/loss": 2.0} if number > 2 else {})}, number)
            logger.save()
            logger.finalize("success")
        if cut:
            with (tmp_path / "csv" / loggers[1].log_dir / "metrics.csv").open("a") as file:
                file.write("1.5")
        return [logger.log_dir for logger in loggers]

    return steps


def points(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [point.step for point in events.Scalars("fit/loss")]


@pytest.mark.parametrize("options", [{}, {"version": 0}], ids=["numbered", "fixed"])
def test_a_run_goes_on_with_its_curves(options, log, recwarn):
    folders = log("fit", 0, 1, 2, 3, cut=True, **options)
    others = [log(verb, 9) for verb in ("validate", "test", "test")]
    assert [[folder.rsplit("/", 1)[1] for folder in both] for both in others] == [
        [name, name] for name in ("validate_0", "test_0", "test_1")
    ]
    assert log("fit", 2, 3, 4, going_on=1, **options) == folders
    assert points(folders[0]) == [0, 1, 2, 3, 4]
    rows = [*csv.DictReader(Path(folders[1], "metrics.csv").read_text().splitlines())]
    assert [int(row["step"]) for row in rows] == [0, 1, 2, 3, 4]
    assert [row["val/loss"] for row in rows] == ["", "", "", "2.0", "2.0"]
    assert not [each for each in recwarn if "will be deleted" in str(each.message)]


def test_a_run_whose_curves_are_gone_begins_new_ones(log):
    assert all(folder.endswith("version_0") for folder in log("fit", 5, going_on=4))
