"""``pgpis bench model``, ``bench train`` and ``bench data`` on the smallest models."""

import json
import math
from pathlib import Path

import pytest
import torch

from pgpis.cli import main
from pgpis.denoiser import ConditionedUNet, denoise
from pgpis.methods.fpdm.options import FPDMStep
from pgpis.pipelines.base import SamplingPipeline
from pgpis.speed.device import Clock, Device
from pgpis.speed.report import Report, Row
from pgpis.speed.sampling import SamplingBench
from pgpis.speed.settings import read_settings
from pgpis.speed.training import TrainingBench
from pgpis.tasks.diffusion import DiffusionTask
from tiny_tasks import tiny_fpdm_task

RECIPES = {"fpdm": "tiny.yaml", "mcld": "tiny_mcld.yaml"}


def bench(kind, method, out, *words):
    overlay = Path(__file__).parents[1] / "configs" / RECIPES[method]
    return main(["bench", kind, f"--config=smoke/{method}.yaml", f"--config={overlay}", f"--out={out}", *words])


def rows_of(out):
    return json.loads(out.read_text())["rows"]


@pytest.mark.slow
@pytest.mark.parametrize("method", RECIPES)
def test_times_how_a_model_draws(method, tmp_path, capsys):
    out = tmp_path / "speed.json"
    words = ["--compare=eager,channels-last", "--batch-sizes=1,2", "--runs=1", "--device=cpu"]
    assert bench("model", method, out, *words) == 0
    report = json.loads(out.read_text())
    assert [(row["setting"], row["batch_size"]) for row in report["rows"]] == [
        ("eager", 1),
        ("channels-last", 1),
        ("eager", 2),
        ("channels-last", 2),
    ]
    assert report["device"]["torch"] == torch.__version__
    assert report["subject"]["size"] == "64x56"
    for row in report["rows"]:
        assert (row["status"], row["dtype"]) == ("done", "fp32")
        assert min(row[name] for name in ("ms_per_step", "per_second", "peak_memory_gib", "first_run_s")) > 0
        speed = row["tflop_per_step"] / (row["ms_per_step"] / 1e3)
        assert row["share_of_peak"] == pytest.approx(speed / row["peak_tflops"])
        assert {"conditions", "conditioner", "decoding"} <= row["parts_ms"].keys()
        assert row["difference"] < 1e-4
    assert report["rows"][2]["tflop_per_step"] == pytest.approx(2 * report["rows"][0]["tflop_per_step"])
    assert "| channels-last | 2     | fp32" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["synth-fpdm", "synth-mcld"])
def test_says_what_ideas_cost(model, tmp_path):
    out = tmp_path / "speed.json"
    words = ["--compare=eager,no-refiner,two-sources", "--runs=1", "--steps=1", f"--out={out}"]
    assert main(["bench", "model", f"--pipeline={model}", "--device=cpu", *words]) == 0
    whole, without, sources = rows_of(out)
    assert {row["status"] for row in rows_of(out)} == {"done"}
    assert whole["parts_ms"]["refiner"] > 1
    assert whole["parts_ms"]["decoding"] > 1
    assert without["parts_ms"]["refiner"] == 0
    assert without["difference"] > 1e-3
    assert sources["difference"] > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("method", RECIPES)
def test_a_further_loss_and_source_are_in_the_step(method, tmp_path):
    out, words = tmp_path / "speed.json", ("--steps=1", "--device=cpu")
    assert bench("train", method, out, "--compare=eager,flow-loss,three-sources", "--batch-sizes=8", *words) == 0
    eager, flow, sources = rows_of(out)
    assert (flow["status"], sources["status"]) == ("done", "done")
    assert sources["tflop_per_step"] > eager["tflop_per_step"]
    assert (flow["tflop_per_step"], flow["share_of_peak"]) == (None, None), "it is of pairs with little noise"
    assert min(flow["difference"], sources["difference"]) > 0


@pytest.mark.parametrize("method", RECIPES)
def test_as_many_steps_are_timed_as_are_asked_for(method, tmp_path, monkeypatch):
    taken, run = [], SamplingBench._run

    def counted(self, *arguments):
        result = run(self, *arguments)
        taken.append(len(result[0]) - 2)  # the first one conditions, the last one decodes
        return result

    monkeypatch.setattr(SamplingBench, "_run", counted)
    assert bench("model", method, tmp_path / "speed.json", "--steps=5", "--runs=2", "--device=cpu") == 0
    assert taken == [2, 5, 5]


def test_shortened_steps_have_no_share_of_the_peak(tmp_path, monkeypatch):
    """FLOPs are of whole steps, and the mean is over all of them: the first is whole with deep_cache."""
    run = SamplingBench._run
    whole = [5.0, 30.0, 10.0, 10.0, 30.0, 7.0]

    def timed(self, task, batch, steps):
        _, images, parts = run(self, task, batch, steps)
        return whole if task.sampling.shortcuts else [5.0, *[30.0] * 4, 7.0], images, parts

    monkeypatch.setattr(SamplingBench, "_run", timed)
    out = tmp_path / "speed.json"
    words = ["--compare=eager,deep-cache,guidance-band", "--steps=4", "--runs=1", "--device=cpu"]
    assert bench("model", "fpdm", out, *words) == 0
    eager, *shortened = rows_of(out)
    assert eager["ms_per_step"] == 30
    assert eager["share_of_peak"] > 0
    for row in shortened:
        assert (row["ms_per_step"], row["parts_ms"]["conditions"]) == (20, 5)
        assert (row["tflop_per_step"], row["share_of_peak"]) == (None, None)
        assert row["difference"] > 0


def test_conditions_end_where_the_steps_begin(tmp_path, monkeypatch):
    marks, prepare = [], ConditionedUNet.prepare

    def prepared(self, *branches, **options):
        marks.append("prepare")
        return prepare(self, *branches, **options)

    def mark(clock):
        marks.append(clock)

    monkeypatch.setattr(ConditionedUNet, "prepare", prepared)
    monkeypatch.setattr(Clock, "mark", mark)
    monkeypatch.setattr(Clock, "milliseconds", lambda _: [1.0] * 4)
    bench("model", "fpdm", tmp_path / "speed.json", "--steps=2", "--runs=1", "--device=cpu")
    after = marks[len(marks) - marks[::-1].index("prepare") :]
    assert after.count(after[0]) == 4, "conditions, two steps, decoding"


@pytest.mark.slow
@pytest.mark.parametrize("method", RECIPES)
def test_times_training(method, tmp_path):
    out = tmp_path / "speed.json"
    words = ["--compare=eager,fused+checkpointing", "--batch-sizes=2", "--steps=2", "--device=cpu"]
    assert bench("train", method, out, *words) == 0
    eager, other = rows_of(out)
    assert eager["tflop_per_step"] == other["tflop_per_step"], "what is computed twice does not count twice"
    assert other["per_second"] == pytest.approx(2e3 / other["ms_per_step"])
    assert eager["difference"] == 0
    assert other["difference"] < 1e-4


def test_what_a_recipe_computes_twice_counts_once_and_what_a_word_adds_counts():
    def count(text, **step):
        task = tiny_fpdm_task(step=FPDMStep(**step))
        return TrainingBench(task, Device("cpu"), None).flops(read_settings(text, "train")[0].counted)

    eager = count("eager")
    assert count("eager", gradient_checkpointing=True) == count("bf16-mixed+compile+checkpointing") == eager > 0
    assert count("three-sources") > count("two-sources") > eager


def test_a_fast_setting_that_is_wrong_shows(tmp_path, monkeypatch):
    def blurred(unet, latents, timesteps, conditions):
        exact = denoise(unet, latents, timesteps, conditions)
        wrong = unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
        return exact + 0.1 if wrong else exact

    monkeypatch.setattr("pgpis.pipelines.base.denoise", blurred)
    out = tmp_path / "speed.json"
    bench("model", "fpdm", out, "--compare=eager,channels-last", "--runs=1", "--device=cpu")
    assert rows_of(out)[1]["difference"] > 1e-3


def test_goes_on_where_memory_runs_out(tmp_path, monkeypatch, capsys):
    whole = SamplingPipeline.sample

    def sample(self, batch, *args, **options):
        if len(batch["pose_image"]) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return whole(self, batch, *args, **options)

    monkeypatch.setattr(SamplingPipeline, "sample", sample)
    out = tmp_path / "speed.json"
    assert bench("model", "fpdm", out, "--batch-sizes=4,1", "--runs=1", "--device=cpu") == 0
    large, small = rows_of(out)
    assert (large["status"], large["ms_per_step"]) == ("out of memory", None)
    assert small["status"] == "done"
    assert "| out of memory |" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["model", "train"])
def test_without_the_first_setting_there_is_nothing_to_differ_from(kind, tmp_path, monkeypatch):
    bench_class = SamplingBench if kind == "model" else TrainingBench
    whole = bench_class.measure

    def measure(self, setting, batch_size, row):
        if (setting.name, batch_size) == ("eager", 2):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return whole(self, setting, batch_size, row)

    monkeypatch.setattr(bench_class, "measure", measure)
    out = tmp_path / "speed.json"
    words = ["--compare=eager,channels-last,bf16", "--batch-sizes=2,1", "--steps=1", "--device=cpu"]
    assert bench(kind, "fpdm", out, *words) == 0
    rows = rows_of(out)
    assert [row["status"] for row in rows] == ["out of memory", *["done"] * 5]
    assert [row["difference"] for row in rows[:4]] == [None, None, None, 0]
    assert min(row["difference"] for row in rows[4:]) >= 0


def test_goes_on_after_an_error_and_says_so(tmp_path, monkeypatch):
    def loss(*_args, **_options):
        raise RuntimeError("the compiler gave up")

    monkeypatch.setattr(DiffusionTask, "loss", loss)
    out = tmp_path / "speed.json"
    assert bench("train", "fpdm", out, "--compare=eager,fused", "--device=cpu") == 1
    assert [row["status"] for row in rows_of(out)] == ["RuntimeError: the compiler gave up"] * 2


def test_times_loading(toy_root, tmp_path, capsys):
    out = tmp_path / "speed.json"
    words = [f"--data.train.init_args.root={toy_root}", "--workers=0,1", "--pairs=4", "--cores=8"]
    words += ["--data.resident=true"]  # what is timed is the loading of files all the same
    assert bench("data", "fpdm", out, *words) == 0
    report = json.loads(out.read_text())
    assert list(report["stages_ms"]) == ["reading and decoding", "drawing and augmenting", "collating"]
    assert report["computed_pairs_per_second"] == pytest.approx(8e3 / sum(report["stages_ms"].values()))
    assert list(report["pairs_per_second"]) == ["0", "1"]
    assert min(report["pairs_per_second"].values()) > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model"], "--config or --pipeline is missing"),
        (["model", "--config=smoke/fusion.yaml"], "a FusionPriorTask draws no pictures"),
        (["model", "--pipeline=synth-mcld", "--compare=eager,guidance-band"], "'guidance-band' changes nothing"),
        (["train", "--config=smoke/fusion.yaml", "--compare=checkpointing"], "a FusionPriorTask has no denoiser"),
        (["train", "--config=smoke/fpdm.yaml", "--batch-sizes=2,x"], "--batch-sizes is 'x'"),
        (["data", "--config=smoke/fpdm.yaml", "--workers=-1"], "--workers is '-1'"),
    ],
)
def test_refuses_what_cannot_be_timed(words, message, capsys):
    assert main(["bench", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_clock_of_the_cpu_counts_milliseconds(monkeypatch):
    seconds = iter([1.0, 1.5, 1.75])
    monkeypatch.setattr("time.perf_counter", lambda: next(seconds))
    clock = Clock(Device("cpu"))
    for _ in range(3):
        clock.mark()
    assert clock.milliseconds() == [500.0, 250.0]


def test_a_card_is_known_by_its_name(monkeypatch):
    device = Device("cuda")
    monkeypatch.setattr(Device, "name", "NVIDIA H100 80GB HBM3")
    assert device.peak("bf16") == (989e12, "data sheet")
    monkeypatch.setattr(Device, "name", "NVIDIA H100 PCIe")
    assert device.peak("bf16") == (756e12, "data sheet")
    monkeypatch.setattr(Device, "_measure", lambda *_: 1e12)
    for name in (
        "H100 NVL",
        "H200 NVL",
        "H100 80GB HBM3 MIG 1g.10gb",
        "GeForce RTX 4090 Laptop GPU",
        "GeForce RTX 4090 D",
    ):
        monkeypatch.setattr(Device, "name", f"NVIDIA {name}")
        assert device.peak("bf16") == (1e12, "measured: a large matrix product")


def test_what_is_no_number_is_null():
    report = Report("model", {}, {}, [Row("fp16", 1, "fp16", difference=math.nan)])
    assert json.loads(report.to_json())["rows"][0]["difference"] is None
