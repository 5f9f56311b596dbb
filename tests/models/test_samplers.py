"""Which schedulers can take part in the sampling loop, and with how many steps."""

import re

import diffusers
import pytest
from diffusers import CogVideoXDPMScheduler

from pgpis.errors import PgpisError
from pgpis.models.factory import build_sampler, build_scheduler
from pgpis.models.samplers import check_steps
from pgpis.pictures.decoding import warn_once
from tiny_fpdm import tiny_pipeline

LEADING = {"timestep_spacing": "leading", "steps_offset": 1}


@pytest.mark.parametrize("build", [build_scheduler, lambda spec: build_sampler(build_scheduler(), spec)])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("CogVideoXDPMScheduler", "its step() asks for old_pred_original_sample"),
        ("DDIMInverseScheduler", "it leads from pictures to noise"),
        ("FlowMatchEulerDiscreteScheduler", "it has no scale_model_input()"),
    ],
)
def test_samplers_that_the_loop_cannot_run_are_refused(build, name, reason):
    with pytest.raises(PgpisError, match=re.escape(f"scheduler: {name} cannot draw pictures here: {reason}")):
        build({"_class_name": name})


def test_a_pipeline_refuses_such_a_sampler_before_the_first_batch():
    pipeline = tiny_pipeline()
    parts = pipeline.components | {"scheduler": CogVideoXDPMScheduler()}
    with pytest.raises(PgpisError, match="CogVideoXDPMScheduler cannot draw pictures here"):
        type(pipeline)(**parts)
    parts["scheduler"] = build_scheduler({"_class_name": "LCMScheduler"})
    with pytest.raises(PgpisError, match="num_inference_steps is 60, with which LCMScheduler does not go"):
        type(pipeline)(**parts, num_inference_steps=60)


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler", "EulerDiscreteScheduler"])
@pytest.mark.parametrize("steps", [10, 20, 50, 100, 125, 250, 500])
def test_steps_of_published_results_are_taken(name, steps, caplog):
    check_steps(build_scheduler({"_class_name": name, **LEADING}), steps)
    assert not caplog.text


@pytest.mark.parametrize(
    ("spec", "steps", "message"),
    [
        (LEADING, 334, "begins at noise level 667 of 0 to 999"),
        (LEADING, 400, "begins at noise level 799 of 0 to 999"),
        (LEADING, 600, "begins at noise level 600 of 0 to 999"),
        (LEADING, 1000, "begins at noise level 1000 of 0 to 999"),
        ({"_class_name": "LCMScheduler"}, 60, "with which LCMScheduler does not go"),
        ({"_class_name": "PNDMScheduler"}, 1, "with which PNDMScheduler does not go"),
    ],
)
def test_steps_that_do_not_begin_near_pure_noise_are_refused(spec, steps, message):
    sampler = build_scheduler(spec)
    with pytest.raises(PgpisError, match=message) as refusal:
        check_steps(sampler, steps)
    assert "--steps" in refusal.value.hint
    assert sampler.num_inference_steps is None, "it stays as it is"


def test_the_hint_names_the_next_number_of_steps_that_goes():
    sampler = build_scheduler({"_class_name": "UniPCMultistepScheduler", **LEADING})
    with pytest.raises(PgpisError, match="200") as refusal:
        check_steps(sampler, 200)
    assert refusal.value.hint == "--steps 199, or sampling.scheduler: {timestep_spacing: trailing}"
    check_steps(sampler, 199)
    check_steps(build_scheduler({"timestep_spacing": "trailing"}), 1000)


def test_few_leading_steps_are_warned_of_once(caplog):
    warn_once.cache_clear()
    for _ in range(2):
        check_steps(build_scheduler(LEADING), 5)
    assert caplog.text.count("begins at noise level 801 of 0 to 999") == 1


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("name", ["IPNDMScheduler", "EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"])
def test_samplers_whose_time_steps_are_no_noise_levels_are_refused_with_any_number_of_steps(name, steps):
    with pytest.raises(PgpisError, match=f"with which {name} begins at noise level") as refusal:
        check_steps(getattr(diffusers, name)(), steps)
    assert refusal.value.hint == "another sampling.scheduler"


def test_values_that_a_scheduler_does_not_have_are_named():
    with pytest.raises(PgpisError, match=r"the configuration of UnCLIPScheduler describes no model: .*squaredcos_cap"):
        build_scheduler({"_class_name": "UnCLIPScheduler"})
    with pytest.raises(PgpisError, match="scheduler: the configuration of DDPMScheduler describes no model: wobbly"):
        build_scheduler({"beta_schedule": "wobbly"})
