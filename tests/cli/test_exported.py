"""``pgpis predict`` without a recipe: an exported pipeline says what it is, and how it samples."""

import json
import shutil

import pytest
import torch

from pgpis.cli import main
from pgpis.cli.models import load_task, recipe_of_pipeline, tasks_of_pipelines
from pgpis.cli.recipes import texts_of
from pgpis.errors import PgpisError
from pgpis.methods.fpdm import FPDMPipeline
from pgpis.methods.fpdm.options import FPDMSampling
from pgpis.methods.fpdm.task import FPDMTask
from pgpis.pipelines.bundle import pack
from pgpis.tasks import DiffusionTask
from tiny_fpdm import HEIGHT, WIDTH, tiny_pipeline
from tiny_mcld import tiny_mcld


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A pipeline with defaults of its own, as ``fit`` exports it."""
    folder = tmp_path_factory.mktemp("exported") / "pipeline"
    pipeline = tiny_pipeline()
    own = {"height": HEIGHT, "width": WIDTH, "num_inference_steps": 2, "guidance_scale": 1.5}
    type(pipeline)(**pipeline.components, **own).save_pretrained(folder)
    return folder


@pytest.fixture
def predict(toy_root, tmp_path):
    """Predict one picture; return the exit code."""
    inputs = [f"--sources={min(toy_root.glob('img/**/*.jpg'))}", f"--poses={min(toy_root.glob('pose/**/*.txt'))}"]

    def run(*words, out="out"):
        alone = ["--data.num_workers=0", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
        return main(["predict", *inputs, f"--out={tmp_path / out}", *alone, *map(str, words)])

    return run


def settings(folder):
    values = json.loads((folder / "settings.json").read_text())
    return [values[name] for name in ("height", "width", "steps", "guidance_scale")]


def test_fit_exports_how_it_samples(tiny, tmp_path):
    words = ["--trainer.max_steps=1", "--data.pose_canvas=[60,40]", "--data.stick_width=3"]
    assert main(tiny("fit", *words, "--model.init_args.pose_guidance_scale=2.0")) == 0
    assert recipe_of_pipeline(str(tmp_path / "run/pipeline")) == {
        "model": {
            "class_path": "pgpis.methods.fpdm.task.FPDMTask",
            "init_args": {
                "sampling": {
                    "height": 64,
                    "width": 56,
                    "num_inference_steps": 3,
                    "guidance_scale": 1.5,
                    "pose_guidance_scale": 2.0,
                }
            },
        },
        "data": {"pose_canvas": [60, 40], "stick_width": 3, "pose_skeleton": "body18"},
    }


@pytest.mark.slow
def test_predict_takes_what_was_exported(exported, predict, tmp_path, capsys):
    assert predict(f"--pipeline={exported}") == 0
    assert settings(tmp_path / "out") == [HEIGHT, WIDTH, 2, 1.5]
    assert ".yaml" not in capsys.readouterr().err
    pack(exported, tmp_path / "model.safetensors", {})
    assert predict(f"--pipeline={tmp_path / 'model.safetensors'}", "--steps", 1, out="bundle") == 0
    assert settings(tmp_path / "bundle") == [HEIGHT, WIDTH, 1, 1.5]
    long = f"--model.init_args.pipeline={exported}"
    assert predict(long, "--guidance-scale=1.25", "--model.init_args.sampling.height=28", out="long") == 0
    assert settings(tmp_path / "long") == [28, WIDTH, 2, 1.25]


def test_null_wins_over_what_was_exported(tmp_path):
    """Texts of recipes are put back, those of the last recipe that says anything."""
    pipeline = tiny_pipeline()
    own = {"height": HEIGHT, "width": WIDTH, "output_size": [16, 12], "pose_guidance_scale": 1.5}
    type(pipeline)(**pipeline.components, **own).save_pretrained(tmp_path / "null")
    sizes = [
        load_task(str(tmp_path / "null"), sampling).sampling.output_size for sampling in ({}, {"output_size": None})
    ]
    assert sizes == [(16, 12), None]
    under = {"data": {"pose_skeleton": "body18"}, "a": {"b": {"c": "x"}, "class_path": "C"}, "d": "null", "e": "y"}
    over = {"data": {"pose_skeleton": None}, "a": {"b": "z"}, "e": 1, "f": ["1e3"]}
    assert texts_of([under, over]) == {"a.b": "z", "d": "null", "f": ["1e3"]}


def test_the_class_picks_the_task(tmp_path):
    tiny_mcld().save_pretrained(tmp_path)
    recipe = recipe_of_pipeline(str(tmp_path))
    assert recipe["model"]["class_path"] == "pgpis.methods.mcld.task.MCLDTask"
    assert recipe["model"]["init_args"]["sampling"]["height"] == 512


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"_class_name": "OtherPipeline"},
            "is a OtherPipeline, and pgpis does not know its task.*\n.*--config RECIPE",
        ),
        ({"_class_name": None}, "cannot load"),
        ("{", "cannot load"),
        ("[]", "cannot load"),
    ],
)
def test_what_is_not_ours_is_named(exported, tmp_path, change, message):
    index = json.loads((exported / "model_index.json").read_text())
    text = change if isinstance(change, str) else json.dumps({k: v for k, v in (index | change).items() if v})
    (tmp_path / "model_index.json").write_text(text)
    with pytest.raises(PgpisError, match=message):
        recipe_of_pipeline(str(tmp_path))


def test_the_task_of_a_pipeline_is_the_one_that_names_it(tmp_path):
    """One that derives from FPDM's has a pipeline of its own; one that draws with FPDM's does not take its place."""

    class DeepPipeline(FPDMPipeline):
        pass

    class DeepTask(FPDMTask):
        pipeline_class = DeepPipeline

    class SameTask(DeepTask):  # what it draws with is DeepTask's
        pass

    class OtherTask(DiffusionTask):
        pipeline_class = FPDMPipeline

    tasks = tasks_of_pipelines()
    assert tasks["FPDMPipeline"] == "pgpis.methods.fpdm.task.FPDMTask"
    assert tasks["DeepPipeline"].endswith(".DeepTask")
    DeepPipeline(**tiny_pipeline().components).save_pretrained(tmp_path)
    assert (
        DeepTask(pipeline=str(tmp_path), sampling=FPDMSampling(HEIGHT, WIDTH)).build_pipeline().__class__
        is DeepPipeline
    )


def test_a_task_without_the_option_is_named(tmp_path, capsys, predict):
    assert predict("--config=smoke/autoencoder.yaml", "--pipeline=synth-fpdm") == 2
    error = capsys.readouterr().err
    assert "model: AutoencoderTask has no option 'pipeline', so that it cannot draw with what was exported" in error
    assert "--ckpt_path FILE" in error


def test_an_older_export_takes_its_models_recipe(exported, tmp_path, caplog):
    index = json.loads((exported / "model_index.json").read_text())
    del index["height"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert recipe_of_pipeline(str(tmp_path)) == "fpdm.yaml"
    assert "does not say how it samples" in caplog.text


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--steps", 0),
        ("--steps", -1),
        ("--seed", -1),
        ("--seed", 2**63),
        ("--guidance-scale", "nan"),
        ("--guidance-scale", "inf"),
        ("--guidance-scale", -2),
        ("--images-per-pair", 0),
        ("--images-per-pair", 10**9),
        ("--batch-size", 0),
    ],
)
def test_nonsense_is_refused_before_anything_is_loaded(predict, monkeypatch, capsys, option, value):
    monkeypatch.setattr("pgpis.cli.lightning.run", lambda *_: pytest.fail("went on"))
    assert predict("--pipeline=synth-fpdm", f"{option}={value}") == 2
    assert f"{option} is " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("model.init_args.sampling.num_inference_steps", 0),
        ("model.init_args.sampling.num_inference_steps", 1001),
        ("model.init_args.sampling.images_per_pair", 0),
        ("model.init_args.sampling.height", -64),
        ("model.init_args.sampling.width", 10**9),
        ("model.init_args.sampling.guidance_scale", ".nan"),
        ("model.init_args.dropping.pose", 1.5),
        ("model.init_args.step.noise_offset", -1),
        ("model.init_args.schedule.warmup_epochs", -1),
        ("seed_everything", -1),
        ("seed_everything", 2**32),
        ("data.batch_size", 0),
        ("data.num_workers", -1),
        ("data.stick_width", 0),
        ("data.augmentation.flip_probability", 2),
        ("data.train.init_args.self_pair_probability", -0.5),
        ("data.train.init_args.max_pairs", 0),
    ],
)
def test_nonsense_in_a_recipe_is_named(tiny, capsys, option, value):
    assert main(tiny("fit", f"--{option}={value}")) == 2
    assert f"{option.split('.')[-1]} is " in capsys.readouterr().err


def spoilt(exported, folder, part="unet", name="conv_in.weight"):
    """Copy a pipeline and put one NaN into its weights."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(exported, folder)
    path = next((folder / part).glob("*.safetensors"))
    weights = load_file(path)
    weights[name].view(-1)[0] = torch.nan
    save_file(weights, path, metadata={"format": "pt"})
    return folder


def test_weights_that_are_not_finite_are_refused_by_name(exported, predict, tmp_path, capsys):
    bad = spoilt(exported, tmp_path / "bad")
    assert predict(f"--pipeline={bad}") == 2
    assert f"pipeline: '{bad}': unet: 'conv_in.weight' holds numbers that are not finite" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*.png"))
