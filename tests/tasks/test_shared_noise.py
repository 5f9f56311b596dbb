"""Frames of a video that share noise, and look at the first one."""

from dataclasses import replace

import pytest
import torch

from pgpis.errors import PgpisError
from pgpis.speed.batches import random_batch
from pgpis.tasks.options import Video
from pgpis.tasks.videos import anchored
from tiny_tasks import tiny_fpdm_task, tiny_mcld_task

FRAMES = 4


class FirstFrames:
    """A task's data, which knows the first frame."""

    pose_canvas, stick_width, pose_skeleton = (64, 56), None, None

    def __init__(self, film):
        self.film = film

    def first_frame(self, video):
        return rows(self.film, 0, 1)


def rows(batch, start, stop):
    return {key: value[start:stop] for key, value in batch.items() if key != "failures"} | {"failures": []}


@pytest.fixture(params=[tiny_fpdm_task, tiny_mcld_task], ids=["fpdm", "mcld"])
def task(request):
    task = request.param()
    task.sampling = replace(task.sampling, num_inference_steps=2, guidance_scale=1.5)
    for parameter in task.parameters():  # zero-initialised layers would hide what is fed to them
        if not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.1)
    return task.eval()


@pytest.fixture
def film(task):
    wanted = {key: spec for key, spec in task.input_specs.items() if spec.origin != "target"}
    batch = random_batch(wanted, FRAMES, torch.device("cpu"))
    names = [f"anna_2_{row}" for row in range(FRAMES)]
    return batch | {"pair_id": names, "noise_name": names, "video": ["anna"] * FRAMES}


def drawn(task, film, size=FRAMES, pictures=1, **video):
    """Draw the film in batches, ``(pictures, frames, ...)``."""
    task.sampling, task.data = replace(task.sampling, video=Video(**video)), FirstFrames(film)
    parts = [task.sample(rows(film, start, start + size), pictures) for start in range(0, FRAMES, size)]
    return torch.cat([part.unflatten(0, (pictures, -1)) for part in parts], dim=1)


def test_frames_do_not_depend_on_the_batches_that_they_are_drawn_in(task, film):
    whole = drawn(task, film, anchor=True, pictures=2)
    for size in (1, 3):
        torch.testing.assert_close(drawn(task, film, size, anchor=True, pictures=2), whole, atol=1e-4, rtol=0)
    alone = drawn(task, film, pictures=2)
    torch.testing.assert_close(whole[:, 0], alone[:, 0], atol=1e-4, rtol=0, msg="the first reads itself")
    assert (whole[:, 1:] - alone[:, 1:]).abs().amax(dim=(0, 2, 3, 4)).min() > 1e-3


def test_frames_share_their_noise(task, film):
    """Frames of one pose are then equal, and only then; a name of the noise that was asked for stays."""
    film = film | {key: value[:1].expand_as(value) for key, value in film.items() if isinstance(value, torch.Tensor)}
    apart, shared = drawn(task, film)[0], drawn(task, film, shared_noise=True)[0]
    assert (apart[1:] - apart[0]).abs().amax() > 1e-3
    torch.testing.assert_close(shared[1:], shared[:1].expand_as(shared[1:]), atol=1e-4, rtol=0)
    named = film | {"noise_name": ["anna", "anna", "bert", "bert"]}
    torch.testing.assert_close(drawn(task, named, shared_noise=True), drawn(task, named))


def test_first_frames_come_last_and_once():
    def batch(*names):
        return {
            "pair_id": list(names),
            "video": [name[:-1] if name[:-1] != "-" else "" for name in names],
            "pose_image": torch.tensor([float(name[-1]) for name in names])[:, None, None, None],
        }

    whole, anchors = anchored(batch("a1", "a2", "-5", "b7", "b8"), lambda video: batch(f"{video}1"))
    assert whole["pair_id"] == ["a1", "a2", "-5", "b7", "b8", "b1"]
    assert whole["pose_image"].flatten().tolist() == [1, 2, 5, 7, 8, 1]
    assert anchors.tolist() == [[0], [0], [2], [5], [5], [5]]


def test_settings_say_only_what_is_on():
    assert Video().settings == {}
    assert Video(anchor=True).settings == {"anchor": True}


def test_a_task_without_data_says_so(task, film):
    task.sampling = replace(task.sampling, video=Video(anchor=True))
    with pytest.raises(PgpisError, match="does not know its data: it reads first frames"):
        task.sample(film)
