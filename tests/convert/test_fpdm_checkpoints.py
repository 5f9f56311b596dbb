"""Converting a tiny FPDM: what comes out equals what went in, and what does not fit is named."""

import json

import pytest
import torch
from official_files import CONFIG, official_state, save_lightning
from safetensors.torch import save_file

from pgpis.cli import main
from pgpis.errors import PgpisError
from pgpis.methods.fpdm import FPDMPipeline, convert_fpdm
from pgpis.methods.fpdm.convert import map_official_keys
from pgpis.models import build_vae
from tiny_fpdm import CLIP, UNET, VAE, random_batch, tiny_pipeline


def load(folder) -> FPDMPipeline:
    pipeline = FPDMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def assert_same_weights(ours, expected) -> None:
    for name in ("unet", "vae", "source_encoder", "conditioner", "fusion_embedder"):
        part, original = getattr(ours, name), getattr(expected, name)
        assert (part is None) == (original is None), name
        if part is not None:
            state, other = part.state_dict(), original.state_dict()
            assert state.keys() == other.keys()
            assert all(torch.equal(state[key], other[key]) for key in other), name


def sample(pipeline, batch) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return pipeline.generate(batch, num_inference_steps=2, generator=generator, output_type="latent").images


@pytest.mark.parametrize("with_fusion", [True, False])
def test_converted_pipeline_equals_the_original(official, tmp_path, with_fusion):
    fusion = official.fusion if with_fusion else None
    report = convert_fpdm(fusion, official.diffusion, tmp_path / "out", config=official.config)
    converted = load(tmp_path / "out")
    assert_same_weights(converted, official.pipeline)
    assert converted.conditioner.config.position_interpolation == "scale_factor"
    batch = random_batch(converted, 2)
    reference = tiny_pipeline()
    reference.conditioner.register_to_config(position_interpolation="scale_factor")
    reference = FPDMPipeline(**reference.components)
    reference.set_progress_bar_config(disable=True)
    torch.testing.assert_close(sample(converted, batch), sample(reference, batch), atol=1e-5, rtol=0)
    assert report.render().endswith(f"{tmp_path / 'out' / 'conversion.json'}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_report_lists_every_tensor(official, tmp_path):
    convert_fpdm(official.fusion, official.diffusion, tmp_path / "out", config=official.config)
    report = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert report["added"] == {}
    for path, state in ((official.fusion, official.prior_state), (official.diffusion, official.state)):
        entry = report["files"][str(path)]
        assert entry["info"]["global_step"] == 123
        assert entry["renamed"].keys() | entry["dropped"].keys() == state.keys()
        assert not entry["renamed"].keys() & entry["dropped"].keys()
        assert len(set(entry["renamed"].values())) == len(entry["renamed"])
    assert all(".pose_encoder." in name or name.startswith("sd_model.unet.") for name in entry["dropped"])


def test_checkpoint_holds_the_trained_weights_and_the_hashes_of_the_frozen_ones(official, tmp_path):
    from pgpis.models.weights import weights_hash

    convert_fpdm(None, official.diffusion, tmp_path / "out", config=official.config)
    pipeline = load(tmp_path / "out")
    checkpoint = torch.load(tmp_path / "out" / "checkpoint.ckpt", weights_only=True)
    names = set(checkpoint["state_dict"])
    for name, value in checkpoint["state_dict"].items():
        component, key = name.split(".", 1)
        assert torch.equal(value, getattr(pipeline, component).state_dict()[key])
    trained = {f"{part}.{key}" for part in ("unet", "conditioner") for key in getattr(pipeline, part).state_dict()}
    assert names == trained
    frozen = checkpoint["frozen"]
    assert frozen == {part: weights_hash(getattr(pipeline, part)) for part in frozen}
    assert sorted(frozen) == ["fusion_embedder", "source_encoder", "vae"]
    assert checkpoint["position_interpolation"] == "scale_factor"


@pytest.mark.slow
def test_checkpoint_is_taken_by_ckpt_path(official, tmp_path, toy_root):
    convert_fpdm(None, official.diffusion, tmp_path / "out", config=official.config)
    words = ["test", "--config=smoke/fpdm.yaml", f"--model.init_args.pipeline={tmp_path / 'out'}"]
    words += [
        "--model.init_args.sampling.height=64",
        "--model.init_args.sampling.width=64",
        "--model.init_args.sampling.num_inference_steps=1",
    ]
    words += [f"--data.test.init_args.root={toy_root}", "--data.test.init_args.max_pairs=1"]
    words += [f"--trainer.default_root_dir={tmp_path / 'run'}", f"--ckpt_path={tmp_path / 'out' / 'checkpoint.ckpt'}"]
    assert main(words) == 0
    assert json.loads((tmp_path / "run/test/metrics.json").read_text())["samples"] == 1


def test_half_precision_safetensors(official, tmp_path):
    save_file({name: value.half() for name, value in official.state.items()}, tmp_path / "weights.safetensors")
    convert_fpdm(None, tmp_path / "weights.safetensors", tmp_path / "out", config=official.config)
    converted = load(tmp_path / "out")
    assert converted.unet.dtype == torch.float32
    key = "unet.conv_in.weight"
    assert torch.equal(converted.unet.conv_in.weight, official.state[key].half().float())


@pytest.mark.parametrize("source", [None, CLIP], ids=["B2-B3", "B1"])
def test_models_without_a_prior(tmp_path, source):
    original = tiny_pipeline(prior=False, source=source)
    path = save_lightning(tmp_path / "last.ckpt", official_state(original, tmp_path / "original"))
    config = {name: CONFIG[name] for name in ("unet", "vae", "source_encoder")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    convert_fpdm(None, path, tmp_path / "out", config=tmp_path / "config.json")
    converted = load(tmp_path / "out")
    assert_same_weights(converted, original)
    assert converted.conditioner.config.source_size == (512 if source is None else CLIP["image_size"])


@pytest.fixture
def base(tmp_path):
    """A Stable Diffusion folder."""
    folder = tmp_path / "sd"
    pipeline = tiny_pipeline()
    for name in ("unet", "vae", "scheduler"):
        getattr(pipeline, name).save_pretrained(folder / name)
    return folder


def test_base_gives_configurations_and_the_missing_autoencoder(official, base, tmp_path):
    state = {name: value for name, value in official.state.items() if not name.startswith("vae.")}
    path = save_lightning(tmp_path / "last.ckpt", state)
    config = {name: CONFIG[name] for name in ("source_encoder", "fusion_encoder", "conditioner")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(PgpisError, match="--base"):
        convert_fpdm(None, path, tmp_path / "out", config=official.config)
    report = convert_fpdm(None, path, tmp_path / "out", config=tmp_path / "config.json", base=str(base))
    converted = load(tmp_path / "out")
    assert_same_weights(converted, official.pipeline)
    assert report.added == {f"vae/{name}": str(base) for name in build_vae(VAE).state_dict()}
    assert f"tensors of vae added from {base}" in report.render()
    assert tuple(converted.unet.config.attention_head_dim) == UNET["attention_head_dim"]


def test_fields_of_the_scheduler(official, base, tmp_path):
    config = {**CONFIG, "scheduler": {"timestep_spacing": "trailing"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for folder, given in (("with", str(base)), ("without", None)):
        convert_fpdm(None, official.diffusion, tmp_path / folder, config=tmp_path / "config.json", base=given)
        scheduler = load(tmp_path / folder).scheduler
        assert scheduler.config.timestep_spacing == "trailing"
        assert scheduler.config.prediction_type == "v_prediction"


def altered(state, remove=(), **changes):
    return {name: value for name, value in {**state, **changes}.items() if name not in remove}


def other_prior(state):
    return altered(state, **{"combiner.output_layer.bias": torch.full_like(state["combiner.output_layer.bias"], 3.0)})


ALIASED = ["unet.conv_out.bias", "sd_model.unet.conv_out.bias"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: altered(state, **{"sd_model.new_layer.weight": torch.ones(2)}), "sd_model.new_layer.weight"),
        (lambda state: altered(state, remove=ALIASED), "unet: the checkpoint lacks 'conv_out.bias'"),
        (lambda state: altered(state, **dict.fromkeys(ALIASED, torch.ones(9))), "as \\(9,\\) instead of \\(4,\\)"),
        (lambda state: altered(state, **{"sd_model.unet.conv_out.bias": torch.ones(4)}), "should equal"),
        (lambda state: altered(state, **{"vae.extra": torch.ones(4)}), "vae: .* a tensor too many, 'extra'"),
        (lambda state: altered(state, remove=["src_image_encoder.layernorm.bias"]), "missing keys: layernorm.bias"),
        (
            lambda state: altered(state, remove=["fusion_model.combiner.output_layer.bias"]),
            "fusion_embedder: the checkpoint lacks 'fusion_head.output_layer.bias'",
        ),
        (lambda state: {k: v for k, v in state.items() if not k.startswith("src_image")}, "no tensor of the source"),
        (lambda state: {k: v for k, v in state.items() if "unet." not in k}, "no unet"),
    ],
    ids=["unknown", "missing", "shape", "duplicate", "extra", "encoder", "combiner", "no-encoder", "no-unet"],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(official, tmp_path, change, message):
    path = save_lightning(tmp_path / "last.ckpt", change(official.state))
    with pytest.raises(PgpisError, match=message):
        convert_fpdm(None, path, tmp_path / "out", config=official.config)
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def test_the_priors_must_be_the_same(official, tmp_path):
    path = save_lightning(tmp_path / "fusion.ckpt", other_prior(official.prior_state))
    with pytest.raises(PgpisError, match=r"'fusion_head.output_layer.bias' differs\n  hint: leave --fusion out"):
        convert_fpdm(path, official.diffusion, tmp_path / "out", config=official.config)


def test_swapped_checkpoints(official, tmp_path):
    with pytest.raises(PgpisError, match="holds fusion_embedder, but no unet"):
        convert_fpdm(official.diffusion, official.fusion, tmp_path / "out", config=official.config)
    with pytest.raises(PgpisError, match="not a checkpoint of the prior"):
        convert_fpdm(official.diffusion, official.diffusion, tmp_path / "out", config=official.config)


def test_folders_with_content_are_left_alone(official, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    with pytest.raises(PgpisError, match="not empty"):
        convert_fpdm(None, official.diffusion, tmp_path / "out", config=official.config)
    assert (tmp_path / "out" / "mine.txt").read_text() == "precious"
    (tmp_path / "empty").mkdir()
    convert_fpdm(None, official.diffusion, tmp_path / "empty", config=official.config)
    assert_same_weights(load(tmp_path / "empty"), official.pipeline)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "mapping per component"),
        ('{"unet": 8}', "mapping per component"),
        ('{"unett": {}}', "did you mean 'unet'"),
        (json.dumps({**CONFIG, "unet": {**CONFIG["unet"], "norm_num_group": 4}}), "did you mean 'norm_num_groups'"),
        (json.dumps({**CONFIG, "conditioner": {"source_sizes": 4}}), "did you mean 'source_size'"),
        (json.dumps({**CONFIG, "unet": {"norm_num_groups": 4}}), "unet: cannot tell the number of attention heads"),
        (json.dumps({**CONFIG, "vae": {}}), "vae: cannot tell the number of norm groups"),
        (json.dumps({**CONFIG, "source_encoder": {}}), "source_encoder: cannot tell the number of attention heads"),
        (json.dumps({**CONFIG, "unet": {**CONFIG["unet"], "norm_num_groups": 7}}), "unet: .* divisible(.|\n)*--config"),
        (json.dumps({**CONFIG, "unet": {**CONFIG["unet"], "attention_head_dim": "x"}}), "unet: .*(.|\n)*--config"),
        (json.dumps({**CONFIG, "conditioner": {"dropout": 2}}), "conditioner: .*(.|\n)*--config"),
        (json.dumps({**CONFIG, "scheduler": {"beta_schedule": "x"}}), "scheduler: .*(.|\n)*--config"),
        (json.dumps({**CONFIG, "source_encoder": {"num_attention_heads": 0}}), "source_encoder: .*(.|\n)*--config"),
    ],
)
def test_configurations_are_checked(official, tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(PgpisError, match=message):
        convert_fpdm(None, official.diffusion, tmp_path / "out", config=tmp_path / "config.json")
    assert not (tmp_path / "out").exists()


def test_a_configuration_of_what_the_checkpoint_does_not_hold_is_refused(base, tmp_path):
    """It would change nothing."""
    original = tiny_pipeline(prior=False)
    state = official_state(original, tmp_path / "original")
    state = {name: value for name, value in state.items() if not name.startswith("vae.")}
    path = save_lightning(tmp_path / "last.ckpt", state)
    for part in ("vae", "fusion_encoder"):
        config = {name: CONFIG[name] for name in ("source_encoder", "conditioner", part)}
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(PgpisError, match=f"--config names '{part}', of which the checkpoint holds no tensor"):
            convert_fpdm(None, path, tmp_path / "out", config=tmp_path / "config.json", base=str(base))
    assert not (tmp_path / "out").exists()


def test_missing_configuration(official, tmp_path):
    with pytest.raises(PgpisError, match="cannot read --config"):
        convert_fpdm(None, official.diffusion, tmp_path / "out", config=tmp_path / "nowhere.json")


def test_components_of_a_state_dict(official):
    parts, report = map_official_keys(official.state)
    assert sorted(parts) == ["conditioner", "fusion_embedder", "source_encoder", "unet", "vae"]
    assert parts["unet"].keys() == official.pipeline.unet.state_dict().keys()
    assert parts["conditioner"].keys() == official.pipeline.conditioner.state_dict().keys()
    assert len(report.renamed) + len(report.dropped) == len(official.state)
