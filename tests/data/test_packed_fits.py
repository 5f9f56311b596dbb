"""Training from packs: killed in the middle of an epoch, on other numbers of ranks, and from packed features."""

import shutil

import pytest
import torch

from fits import fit, seen

PAIRS = 24


def last(folder):
    paths = (folder / "checkpoints").glob("last*.ckpt")
    return torch.load(max(paths, key=lambda path: path.stat().st_mtime_ns), weights_only=True)


@pytest.fixture
def packed_words(tiny, toy_pack):
    """Words that train from the pack in ``folder``, noting what is seen, with a checkpoint every few steps."""

    def words(folder, *more, every=8):
        packed = ["--data.train=Packed", f"--data.train.init_args.root={toy_pack}", "--data.num_workers=1"]
        quick = ["--data.val=null", "--trainer.logger=false"]
        checkpoints = f"{{class_path: ModelCheckpoint, init_args: {{every_n_train_steps: {every}, save_last: true}}}}"
        callbacks = f"--trainer.callbacks=[{checkpoints}, {{class_path: fits.Seen}}]"
        return tiny("fit", *packed, *quick, callbacks, *more, out=folder)

    return words


@pytest.fixture
def killed_fit(packed_words, made_once):
    """Returns the folder of a fit on one or two ranks, killed in the middle of its first epoch."""

    def killed(ranks):
        def make(folder):
            fit(packed_words(folder, every=1), folder, ranks, kill_after=3)

        return made_once(f"killed-{ranks}", make)

    return killed


@pytest.mark.slow
def test_a_killed_fit_equals_the_undisturbed_one(packed_words, killed_fit, tmp_path):
    """Two ranks, with a worker each, over the end of the epoch."""
    steps = "--trainer.max_steps=8"
    fit(packed_words(tmp_path / "whole", steps), tmp_path / "whole", ranks=2)
    folder = shutil.copytree(killed_fit(2), tmp_path / "killed")
    fit(packed_words(folder, steps, "--ckpt_path=last"), folder, ranks=2)
    whole, killed = last(tmp_path / "whole"), last(folder)
    assert whole["global_step"] == killed["global_step"] == 8
    assert whole["state_dict"].keys() == killed["state_dict"].keys()
    assert all(torch.equal(value, killed["state_dict"][name]) for name, value in whole["state_dict"].items())


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_each_pair_is_seen_once_on_another_number_of_ranks(packed_words, killed_fit, tmp_path, before, after):
    """Over the epoch in which a fit was killed, and over the next one."""
    start = last(killed_fit(before))["global_step"]
    first = seen(killed_fit(before), 0, last=start)
    assert len(first) == start * 2 * before < PAIRS
    folder = tmp_path / "run"
    shutil.copytree(killed_fit(before), folder, ignore=shutil.ignore_patterns("seen-*"))
    fit(packed_words(folder, "--trainer.max_steps=-1", "--trainer.max_epochs=2", "--ckpt_path=last"), folder, after)
    assert sorted(first + seen(folder, 0)) == [*range(PAIRS)]
    assert sorted(seen(folder, 1)) == [*range(PAIRS)]
