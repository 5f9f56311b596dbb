"""A checkpoint is whole or is not there; what is damaged or foreign is named, and nothing of it is run."""

import os
import re
import resource
import zipfile
from pathlib import Path

import pytest
import torch

from pgpis.errors import PgpisError
from pgpis.methods.fpdm.prior_task import FusionPriorTask
from pgpis.methods.fpdm.refiner_task import SourceRefinerTask
from pgpis.methods.fpdm.task import FPDMTask
from pgpis.tasks import checkpoints
from pgpis.tasks.checkpoints import SAVED, WholeCheckpoints, check_checkpoint, last_checkpoint, lineage, misfit
from pgpis.tasks.frozen import refuse_other_frozen, refuse_other_optimizer, refuse_other_weights

CHECKPOINT = {
    "pytorch-lightning_version": "2.6.0",
    "state_dict": {"weight": torch.arange(4000.0)},
    "loops": {},
    "optimizer_states": [],
    "lr_schedulers": [],
    "global_step": 7,
}


@pytest.fixture
def path(tmp_path):
    WholeCheckpoints().save_checkpoint(CHECKPOINT, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_what_is_written_is_read(path):
    assert check_checkpoint(path, FPDMTask, training=True) == 7
    stored = WholeCheckpoints().load_checkpoint(path, weights_only=False)
    assert torch.equal(stored["state_dict"]["weight"], CHECKPOINT["state_dict"]["weight"])
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_checkpoint_of_another_task_is_named(path):
    assert lineage(SourceRefinerTask) == ["SourceRefinerTask", "FPDMTask"]
    for task, noted in ((FPDMTask, SourceRefinerTask), (SourceRefinerTask, FPDMTask), (FPDMTask, FPDMTask)):
        WholeCheckpoints().save_checkpoint(CHECKPOINT | {"task": lineage(noted)}, path)
        assert check_checkpoint(path, task, training=True) == 7
    WholeCheckpoints().save_checkpoint(CHECKPOINT | {"task": lineage(FusionPriorTask)}, path)
    with pytest.raises(PgpisError, match=r"last\.ckpt is a checkpoint of FusionPriorTask, not of FPDMTask"):
        check_checkpoint(path, FPDMTask, training=True)


@pytest.mark.parametrize(
    ("recorded", "present", "expected"),
    [
        ({"vae": "1" * 64}, {"vae": "2" * 64}, r"another 'vae' \(sha256 1{12}, here 2{12}\)\n.*--model.init_args.vae"),
        ({}, {"vae": "2" * 64}, r"no frozen 'vae', and this model has one \(sha256 2{12}\)\n.*--config"),
        ({"vae": "1" * 64}, {}, r"a frozen 'vae' \(sha256 1{12}\), and this model has none\n.*--config"),
    ],
)
def test_other_frozen_parts_are_named(recorded, present, expected):
    refuse_other_frozen(present, present)
    with pytest.raises(PgpisError, match=expected):
        refuse_other_frozen(recorded, present)


def test_other_weights_are_named():
    own = {"a": torch.ones(2, 3), "number": torch.zeros(1, dtype=torch.int64)}
    refuse_other_weights({name: value.clone() for name, value in own.items()}, own)
    for change, expected in (
        ({"a": torch.ones(3, 2)}, r"'a' is \[3, 2\] there and \[2, 3\] here"),
        ({"a": torch.ones(2, 3, dtype=torch.int32)}, r"'a' is \[2, 3\] of integers there and \[2, 3\] here"),
        ({"a": "x"}, r"'a' is none there and \[2, 3\] here"),
        ({"b": torch.ones(1)}, r"'b' is \[1\] there and none here"),
    ):
        with pytest.raises(PgpisError, match=f"another model's: {expected}"):
            refuse_other_weights(own | change, own)


def optimizer_state(kind=torch.optim.AdamW, shapes=((2, 3), (4,)), **options):
    """The weights, and the state of an optimiser over them after a step."""
    weights = {f"w{number}": torch.ones(shape, requires_grad=True) for number, shape in enumerate(shapes)}
    optimizer = kind(weights.values(), lr=0.1, **options)
    sum(value.sum() for value in weights.values()).backward()
    optimizer.step()
    return weights, [optimizer.state_dict()]


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adafactor, torch.optim.Adadelta, torch.optim.SGD])
def test_the_state_of_an_optimiser_fits_its_own_weights(kind):
    weights, states = optimizer_state(kind)
    refuse_other_optimizer(states, kind(weights.values(), lr=0.1), weights)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (optimizer_state(shapes=((3, 2), (4,)))[1], r"exp_avg of 'w0' is \[3, 2\] there and \[2, 3\] here"),
        (optimizer_state(shapes=((2, 3),))[1], "size of optimizer's group"),
        (optimizer_state(torch.optim.SGD, momentum=0.9)[1], "another optimiser than AdamW: no betas"),
        ([], "not enough values"),
        ([{"state": {}}], "param_groups"),
        ([7], "does not fit"),
    ],
)
def test_the_state_of_another_optimiser_is_named(states, expected):
    weights, _ = optimizer_state()
    with pytest.raises(PgpisError, match=expected) as error:
        refuse_other_optimizer(states, torch.optim.AdamW(weights.values(), lr=0.1), weights)
    assert error.value.hint == checkpoints.OTHER_RECIPE


def test_a_write_that_is_cut_leaves_the_old_one(path, monkeypatch):
    def save(_checkpoint, file):
        file.write(b"half")
        raise KeyboardInterrupt

    before = path.read_bytes()
    monkeypatch.setattr(checkpoints.torch, "save", save)
    with pytest.raises(KeyboardInterrupt):
        WholeCheckpoints().save_checkpoint(CHECKPOINT, path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_disk_that_is_full_is_told(path):
    before = path.read_bytes()
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, usual[1]))
    try:
        with pytest.raises(PgpisError, match=f"cannot write {re.escape(str(path))}: File too large"):
            WholeCheckpoints().save_checkpoint(CHECKPOINT, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert path.read_bytes() == before


def damaged(content):
    yield from (content[: len(content) * part // 23] for part in range(23))
    middle = len(content) // 2
    yield content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    yield b"no checkpoint"


def test_whatever_is_damaged_is_named_and_the_newest_whole_one_offered(path):
    older, newer = path.with_name("epoch=0.ckpt"), path.with_name("epoch=1.ckpt")
    for number, other in enumerate((older, newer)):
        other.write_bytes(path.read_bytes())
        os.utime(other, (number, number))
    path.with_name("epoch=2.ckpt").write_bytes(b"cut")
    torch.save({"state_dict": {}}, path.with_name("weights.ckpt"))
    WholeCheckpoints().save_checkpoint(CHECKPOINT | {"task": lineage(FusionPriorTask)}, path.with_name("prior.ckpt"))
    for content in damaged(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(PgpisError, match=r"last\.ckpt is damaged or is not a checkpoint") as error:
            check_checkpoint(path, FPDMTask, training=True)
        assert error.value.hint == f"--ckpt_path {newer}, which is whole"


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({**CHECKPOINT, "callbacks": Attack()}, r"it names posix.system, and nothing of a checkpoint is run"),
        ([1], r"holds a list"),
        *(({k: v for k, v in CHECKPOINT.items() if k != name}, f"no {name} in it") for name in list(CHECKPOINT)[:5]),
        (CHECKPOINT | {"state_dict": [1]}, r"no state_dict in it"),
    ],
)
def test_what_is_no_checkpoint_is_named(content, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(PgpisError, match=rf"x\.ckpt .*{expected}"):
        check_checkpoint(tmp_path / "x.ckpt", FPDMTask, training=True)
    assert not (tmp_path / "attacked").exists()


def test_weights_alone_are_enough_where_nothing_is_trained(tmp_path):
    torch.save({name: CHECKPOINT[name] for name in ("state_dict", "pytorch-lightning_version")}, tmp_path / "x.ckpt")
    assert check_checkpoint(tmp_path / "x.ckpt", FPDMTask, training=False) == 0


def test_folders_and_bombs_are_named(path, tmp_path):
    with pytest.raises(PgpisError, match="is a folder, expected a checkpoint file"):
        check_checkpoint(tmp_path, FPDMTask, training=True)
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(PgpisError, match="is a pipeline") as error:
        check_checkpoint(tmp_path, FPDMTask, training=True)
    assert error.value.hint == f"--model.init_args.pipeline={tmp_path}"
    with zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    with pytest.raises(PgpisError, match=r"bomb\.ckpt is damaged"):
        check_checkpoint(tmp_path / "bomb.ckpt", FPDMTask, training=True)


def test_only_checkpoints_are_removed(path, tmp_path):
    """ModelCheckpoint takes the names of what it removes from the checkpoint that it goes on from."""
    keep = tmp_path / "pictures"
    keep.mkdir()
    (keep / "x.ckpt").touch()
    (tmp_path / "precious.txt").touch()
    for name in ("pictures", "precious.txt", "run/../pictures/x.ckpt"):
        WholeCheckpoints().remove_checkpoint(tmp_path / name)
    assert (keep / "x.ckpt").exists()
    assert (tmp_path / "precious.txt").exists()
    WholeCheckpoints().remove_checkpoint(path)
    assert not path.exists()


def test_counters_must_be_like_ones_own():
    own = {"a": {"ready": 1, "is_last": False}, "b": 2}
    assert misfit({"a": {"ready": 5, "is_last": True}, "b": 0, "c": "more"}, own) is None
    assert misfit({"a": {"ready": -5, "is_last": True}, "b": 0}, own) == "a.ready"
    assert misfit({"a": {"ready": 5, "is_last": 1}, "b": 0}, own) == "a.is_last"
    assert misfit({"a": []}, own) == "a"
    assert misfit({"a": {"ready": True, "is_last": True}}, own) == "a.ready"


def test_the_last_one_is_that_which_was_saved_last(tmp_path):
    """A copy's files have times of their own; a resumed run writes the older name anew."""
    for age, (name, saved) in enumerate({"last": 300.5, "last-v1": 100.0, "last-v2": 200.0}.items()):
        torch.save(CHECKPOINT | {SAVED: saved}, tmp_path / f"{name}.ckpt")
        os.utime(tmp_path / f"{name}.ckpt", (age, age))
    assert last_checkpoint([tmp_path], training=False) == tmp_path / "last.ckpt"


def test_the_last_one_of_earlier_versions_goes_by_times_and_numbers(tmp_path):
    """``last-v10`` comes after ``last-v9``; what is damaged is told where it is taken."""
    for name in ("last", "last-v9", "last-v10"):
        torch.save(CHECKPOINT, tmp_path / f"{name}.ckpt")
        os.utime(tmp_path / f"{name}.ckpt", (5, 5))
    assert last_checkpoint([tmp_path], training=True) == tmp_path / "last-v10.ckpt"
    (tmp_path / "last-v2.ckpt").write_bytes(b"cut")
    assert last_checkpoint([tmp_path], training=True) == tmp_path / "last-v2.ckpt"


def test_training_passes_over_weights_alone(tmp_path):
    for name, saved, parts in (("last", 2.0, CHECKPOINT), ("last-v1", 3.0, {"state_dict": CHECKPOINT["state_dict"]})):
        torch.save(parts | {SAVED: saved}, tmp_path / f"{name}.ckpt")
    assert last_checkpoint([tmp_path], training=True) == tmp_path / "last.ckpt"
    assert last_checkpoint([tmp_path], training=False) == tmp_path / "last-v1.ckpt"


def test_the_last_one_is_no_link_that_leads_nowhere(tmp_path):
    (tmp_path / "last-v1.ckpt").symlink_to("moved.ckpt")
    with pytest.raises(PgpisError, match=r"last-v1\.ckpt is not a file"):
        last_checkpoint([tmp_path], training=True)
    torch.save(CHECKPOINT, tmp_path / "last.ckpt")
    assert last_checkpoint([tmp_path], training=True) == tmp_path / "last.ckpt"


@pytest.mark.parametrize(("training", "hint"), [(True, "to start anew"), (False, "--ckpt_path FILE")])
def test_what_mends_a_missing_one_depends_on_the_verb(training, hint, tmp_path):
    with pytest.raises(PgpisError, match=r"no last\.ckpt") as error:
        last_checkpoint([tmp_path], training=training)
    assert hint in error.value.hint
    with pytest.raises(PgpisError, match="checkpoint not found: best") as error:
        check_checkpoint(Path("best"), FPDMTask, training=training)
    assert hint in error.value.hint
