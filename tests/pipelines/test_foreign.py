"""Pipelines of other people: nothing of theirs runs, nothing that they name is imported, and the refusal says why."""

import json
import re
import shutil
import sys
import types

import pytest
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, SchedulerMixin
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModelWithProjection

from pgpis.denoiser import build_unet
from pgpis.errors import PgpisError
from pgpis.methods.fpdm import FPDMPipeline
from pgpis.methods.fpdm.prior import load_fusion_embedder
from pgpis.methods.fpdm.refiner import SourceRefiner
from pgpis.models import build_vae, build_vision_encoder
from pgpis.pipelines.bundle import load_bundle, pack
from pgpis.tasks.diffusion import load_pipeline
from tiny_fpdm import tiny_pipeline


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "pipeline"
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path, monkeypatch):
    """A copy to change; code that anybody might import lies on the path and leaves a file if it is run."""
    code = f"open({str(tmp_path / 'was-run')!r}, 'w').close()\nclass Evil: pass\n"
    (tmp_path / "on_the_path.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    shutil.copytree(saved, tmp_path / "pipeline")
    for name in ("pipeline.py", "scheduler/evil.py"):
        (tmp_path / "pipeline" / name).write_text(code)
    yield tmp_path / "pipeline"
    assert not (tmp_path / "was-run").exists()
    assert "on_the_path" not in sys.modules


def change(path, **entries):
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def as_bundle(folder):
    """Pack as it is, without what a bundle cannot hold."""
    for path in folder.rglob("*.py"):
        path.unlink()
    pack(folder, folder.parent / "model.safetensors", {})
    return folder.parent / "model.safetensors"


WAYS = {
    "from_pretrained": FPDMPipeline.from_pretrained,
    "load_pipeline": lambda folder: load_pipeline(FPDMPipeline, str(folder), "pgpis convert fpdm"),
    "bundle": lambda folder: load_bundle(FPDMPipeline, as_bundle(folder)),
}

INDEXES = {
    "code in the folder": (
        {"scheduler": ["evil", "Evil"]},
        "is evil.Evil, which FPDMPipeline does not load",
    ),
    "os": ({"scheduler": ["os", "system"]}, r"'scheduler' is os\.system"),
    "subprocess": ({"unet": ["subprocess", "Popen"]}, r"'unet' is subprocess\.Popen"),
    "a module on the path": ({"unet": ["on_the_path", "Evil"]}, r"'unet' is on_the_path\.Evil"),
    "a pipeline in a pipeline": ({"unet": ["diffusers", "DiffusionPipeline"]}, "does not load"),
    "a class that chooses": ({"source_encoder": ["transformers", "AutoModel"]}, "does not load"),
    "a module of a library": ({"source_encoder": ["transformers", "pipelines"]}, "does not load"),
    "a function of a library": ({"unet": ["diffusers.utils", "get_class_from_dynamic_module"]}, "does not load"),
    "another kind of part": ({"vae": ["pgpis.denoiser.unet", "ConditionedUNet"]}, "does not load"),
    "a private name": ({"unet": ["pgpis.denoiser.unet", "__builtins__"]}, "does not load"),
    "three words": ({"unet": ["a", "b", "c"]}, "expected a library and a class"),
    "one word": ({"unet": "ab"}, "expected a library and a class"),
    "a mapping": ({"unet": {"diffusers": "UNet2DConditionModel"}}, "expected a library and a class"),
    "lists": ({"unet": [["diffusers"], "UNet2DConditionModel"]}, "expected a library and a class"),
    "half of nothing": ({"unet": [None, "Evil"]}, "expected a library and a class"),
    "a folder above": ({"../outside": ["diffusers", "DDPMScheduler"]}, r"has no component '\.\./outside'"),
    "a folder elsewhere": ({"/etc": ["diffusers", "DDPMScheduler"]}, "has no component '/etc'"),
    "a pipeline of its own": ({"_class_name": ["pipeline", "Evil"]}, "expected a FPDMPipeline"),
    "no pipeline": ({"_class_name": None}, "is a None, expected a FPDMPipeline"),
    "another pipeline": ({"_class_name": "MCLDPipeline"}, "is a MCLDPipeline, expected a FPDMPipeline"),
    "custom pipelines": ({"custom_pipelines": {"a": "b"}}, "'custom_pipelines' asks for code"),
    "a large number": ({"steps": 10**400}, "'steps' is implausible"),
    "depth": ({"x": json.loads("[" * 200 + "]" * 200)}, "nested too deeply"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", INDEXES)
def test_what_an_index_may_not_name(case, way, folder):
    entries, message = INDEXES[case]
    change(folder / "model_index.json", **entries)
    with pytest.raises(PgpisError, match=message):
        WAYS[way](folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "holds a list, expected a mapping"),
        ("3", "holds a int, expected a mapping"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"a": 1' + "0" * 5000 + "}", "is not JSON"),
        ("\udcff", "cannot read"),
        ("{}" + " " * 2**23, "more than"),
    ],
)
@pytest.mark.parametrize("way", ["from_pretrained", "load_pipeline"])
def test_malformed_indexes(text, message, way, folder):
    (folder / "model_index.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(PgpisError, match=message):
        WAYS[way](folder)


def test_code_that_is_called_like_the_library_is_refused(folder):
    (folder / "scheduler/evil.py").rename(folder / "scheduler/diffusers.py")
    with pytest.raises(PgpisError, match=r"scheduler/diffusers\.py: a pipeline folder may not hold code"):
        FPDMPipeline.from_pretrained(folder)


CONFIGS = {
    "code": ("source_encoder", {"auto_map": {"AutoModel": "on_the_path.Evil"}}, "'auto_map' asks for code"),
    "code deeper down": ("fusion_embedder", {"encoder_config": {"auto_map": {"a": "b"}}}, "'auto_map' asks for code"),
    "another file": ("source_encoder", {"configuration_files": ["config.4.json"]}, "asks for code"),
    "other weights": ("source_encoder", {"transformers_weights": "other.safetensors"}, "asks for code, files"),
    "a library": ("unet", {"quantization_config": {"quant_method": "evil"}}, "'quantization_config' asks"),
    "attention of a hub id": ("source_encoder", {"attn_implementation": "evil/attention"}, "asks for code"),
    "a hidden one": ("source_encoder", {"_attn_implementation": "evil/attention:x"}, "asks for code"),
    "layers": ("unet", {"layers_per_block": 10**6}, "'layers_per_block' is implausible"),
    "blocks": ("vae", {"down_block_types": ["DownEncoderBlock2D"] * 1000}, "'down_block_types' is implausible"),
    "terabytes": ("unet", {"block_out_channels": [2**20, 2**20]}, "describes [0-9]+ numbers, its files hold"),
    "terabytes of words": ("source_encoder", {"hidden_size": 2**20}, "describes"),
    "nonsense": ("unet", {"down_block_types": ["Evil", 3]}, "describes no ConditionedUNet"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_what_a_part_may_not_ask_for(case, folder):
    part, entries, message = CONFIGS[case]
    change(folder / part / "config.json", **entries)
    build = {"unet": build_unet, "vae": build_vae, "source_encoder": build_vision_encoder}.get(
        part, load_fusion_embedder
    )
    for load in (FPDMPipeline.from_pretrained, lambda folder: build(str(folder / part))):
        with pytest.raises(PgpisError, match=message):
            load(folder)


def test_steps_of_a_scheduler_are_bounded(folder):
    change(folder / "scheduler/scheduler_config.json", num_train_timesteps=10**11)
    with pytest.raises(PgpisError, match="'num_train_timesteps' is implausible"):
        FPDMPipeline.from_pretrained(folder)


@pytest.mark.parametrize("name", ["../../x.safetensors", "/etc/x.safetensors", "evil.bin", 3, None])
def test_shards_lie_beside_their_list(name, folder):
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    index = {"metadata": {}, "weight_map": {"conv_in.weight": name}}
    weights.with_name(f"{weights.name}.index.json").write_text(json.dumps(index))
    for load in (FPDMPipeline.from_pretrained, lambda folder: build_unet(str(folder / "unet"))):
        with pytest.raises(PgpisError, match="expected the names of"):
            load(folder)


def change_weights(folder, part, change):
    """Change the weights of a part in their file."""
    path = next((folder / part).glob("*.safetensors"))
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


WEIGHTS = {
    "unet": "conv_in.bias",
    "vae": "decoder.conv_in.bias",
    "conditioner": "pose_encoder.conv_in.bias",
    "fusion_embedder": "encoder.visual_projection.weight",
    "source_encoder": "layernorm.bias",
}
FAULTS = {
    "one is missing": (lambda weights, name: weights.pop(name), "missing keys: {name}"),
    "most are missing": (
        lambda weights, _: [weights.pop(other) for other in [*weights][1:]],
        "missing keys: .* and [0-9]+ more",
    ),
    "left over": (lambda weights, _: weights.update(zz=torch.ones(1)), "unexpected keys: zz"),
    "a shape": (lambda weights, name: weights.update({name: torch.ones(3, 1, 1)}), "mismatched keys: .*{name}"),
    "integers": (lambda weights, name: weights.update({name: weights[name].int()}), "'{name}' is stored as integers"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("part", WEIGHTS)
def test_weights_that_do_not_fit_are_named(part, fault, folder):
    change, expected = FAULTS[fault]
    name = WEIGHTS[part]
    change_weights(folder, part, lambda weights: change(weights, name))
    expected = expected.format(name=re.escape(name))
    with pytest.raises(PgpisError, match=f"^{re.escape(str(folder))}: {part}: ({expected})"):
        FPDMPipeline.from_pretrained(folder)


def test_weights_that_do_not_fit_are_refused_however_they_are_loaded(folder):
    change_weights(folder, "unet", lambda weights: weights.pop("conv_in.bias"))
    unet = tiny_pipeline().unet
    assert FPDMPipeline.from_pretrained(folder, unet=unet).unet is unet
    with pytest.raises(PgpisError, match=rf"^pipeline: {re.escape(str(folder))}: unet: missing keys: conv_in\.bias"):
        WAYS["load_pipeline"](folder)
    with pytest.raises(PgpisError, match=r"^\S+model\.safetensors: unet: missing keys: conv_in\.bias"):
        WAYS["bundle"](folder)


def test_integers_stay_where_the_model_has_them(folder):
    """Files of earlier versions of transformers hold positions, as integers."""
    positions = {"encoder.vision_model.embeddings.position_ids": torch.arange(5)[None]}
    config = FPDMPipeline.from_pretrained(folder).fusion_embedder.encoder.config
    encoder = CLIPVisionModelWithProjection(config)
    encoder.save_pretrained(folder.parent / "clip")
    names = {name.removeprefix("encoder."): value for name, value in positions.items()}
    change_weights(folder.parent, "clip", lambda weights: weights.update(names))
    loaded = build_vision_encoder(str(folder.parent / "clip"))
    assert torch.equal(loaded.state_dict()["visual_projection.weight"], encoder.visual_projection.weight)
    change_weights(folder.parent, "clip", lambda weights: weights.update(zz=torch.arange(3)))
    with pytest.raises(PgpisError, match="'zz' is stored as integers"):
        build_vision_encoder(str(folder.parent / "clip"))


@pytest.mark.parametrize("part", ["unet", "source_encoder"])
def test_weights_in_several_files_are_checked_too(part, folder):
    pipeline = FPDMPipeline.from_pretrained(folder)
    for path in (folder / part).glob("*.safetensors"):
        path.unlink()
    getattr(pipeline, part).save_pretrained(folder / part, max_shard_size="20KB")
    again = FPDMPipeline.from_pretrained(folder)
    for name, value in getattr(pipeline, part).state_dict().items():
        assert torch.equal(getattr(again, part).state_dict()[name], value)
    change_weights(folder, part, lambda weights: weights.pop(min(weights)))
    with pytest.raises(PgpisError, match=f"{part}: missing keys"):
        FPDMPipeline.from_pretrained(folder)
    next((folder / part).glob("*.safetensors")).unlink()
    with pytest.raises(PgpisError, match="cannot be read"):
        FPDMPipeline.from_pretrained(folder)


def test_weights_of_a_variant_are_checked_where_they_are_read(folder):
    FPDMPipeline.from_pretrained(folder).to(torch.float16).save_pretrained(folder, variant="fp16")
    (folder / "vae/diffusion_pytorch_model.fp16.safetensors").unlink()  # read without
    (folder / "unet/diffusion_pytorch_model.safetensors").write_bytes(
        (folder / "vae/diffusion_pytorch_model.safetensors").read_bytes()
    )
    FPDMPipeline.from_pretrained(folder, variant="fp16")
    with pytest.raises(PgpisError, match=r"unet: missing keys: conv_in\.bias"):
        FPDMPipeline.from_pretrained(folder)


@pytest.mark.parametrize("spoil", [shutil.rmtree, lambda part: (part / "config.json").write_text("{")])
def test_folders_of_parts_that_are_passed_are_not_looked_at(spoil, saved, tmp_path):
    pipeline = FPDMPipeline.from_pretrained(saved, refiner=SourceRefiner((8, 8, 16), (8, 8, 8), head_dim=8))
    pipeline.save_pretrained(tmp_path)
    for part in ("unet", "source_encoder", "scheduler", "refiner"):
        spoil(tmp_path / part)
        with pytest.raises((PgpisError, OSError)):
            FPDMPipeline.from_pretrained(tmp_path)
    parts = {part: pipeline.components[part] for part in ("unet", "source_encoder", "scheduler")}
    loaded = FPDMPipeline.from_pretrained(tmp_path, **parts, refiner=None)
    assert {part: loaded.components[part] for part in parts} == parts
    assert loaded.refiner is None


@pytest.mark.parametrize(("part", "weights"), [("unet", "diffusion_pytorch_model"), ("source_encoder", "model")])
def test_pickled_weights_are_not_read(part, weights, folder):
    (folder / part / f"{weights}.safetensors").unlink()
    torch.save({"a": torch.ones(1)}, folder / part / f"{'pytorch_model' if weights == 'model' else weights}.bin")
    with pytest.raises(PgpisError, match=r"holds no \.safetensors weights"):
        FPDMPipeline.from_pretrained(folder)


def test_adapters_are_not_read(folder):
    (folder / "source_encoder/adapter_config.json").write_text("{}")
    with pytest.raises(PgpisError, match="adapters are not loaded"):
        FPDMPipeline.from_pretrained(folder)


@pytest.mark.parametrize("option", ["custom_pipeline", "trust_remote_code"])
def test_code_is_not_run_even_if_asked(option, folder):
    with pytest.raises(PgpisError, match=option):
        FPDMPipeline.from_pretrained(folder, **{option: str(folder)})


def test_the_index_of_a_hub_id_is_checked_before_anything_is_downloaded(monkeypatch):
    index = {"_class_name": "FPDMPipeline", "unet": ["os", "system"]}
    monkeypatch.setattr(FPDMPipeline, "load_config", lambda *_, **__: (index, None))
    monkeypatch.setattr("pgpis.models.hub.snapshot_download", lambda *_, **__: pytest.fail("downloaded"))
    with pytest.raises(PgpisError, match=r"'somebody/model': component 'unet' is os\.system"):
        FPDMPipeline.from_pretrained("somebody/model")


def test_other_schedulers_and_autoencoders_are_loaded(folder):
    pipeline = FPDMPipeline.from_pretrained(folder)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.vae = AutoencoderTiny(
        encoder_block_out_channels=(4, 4), decoder_block_out_channels=(4, 4), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )  # fmt: skip
    pipeline.save_pretrained(folder.parent / "other")
    loaded = FPDMPipeline.from_pretrained(folder.parent / "other", torch_dtype=torch.bfloat16)
    assert type(loaded.scheduler) is DDIMScheduler
    assert type(loaded.vae) is AutoencoderTiny
    assert loaded.unet.dtype == torch.bfloat16


def test_a_class_of_the_users_is_loaded_where_it_is_imported(folder, monkeypatch):
    scheduler = type("OwnScheduler", (DDIMScheduler,), {"__module__": "own_module"})
    pipeline = FPDMPipeline.from_pretrained(folder)
    module = types.ModuleType("own_module")
    module.OwnScheduler, module.SchedulerMixin = scheduler, SchedulerMixin  # diffusers looks for its kind there
    monkeypatch.setitem(sys.modules, "own_module", module)
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    pipeline.save_pretrained(folder.parent / "own")
    assert type(FPDMPipeline.from_pretrained(folder.parent / "own").scheduler) is scheduler
    monkeypatch.delitem(sys.modules, "own_module")
    with pytest.raises(PgpisError, match=r"'scheduler' is own_module\.OwnScheduler") as caught:
        FPDMPipeline.from_pretrained(folder.parent / "own")
    assert "import the module first" in caught.value.hint
    own = DDIMScheduler()
    assert FPDMPipeline.from_pretrained(folder, scheduler=own).scheduler is own


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"files": "[1]"}, "expected JSON files by name"),
        ({"files": '{"model_index.json": 3}'}, "expected JSON files by name"),
        ({"files": "[" * 100_000}, "is not JSON"),
        ({}, "is not JSON"),
        ({"files": "{}"}, "model_index.json is not JSON"),
    ],
)
def test_bundles_with_other_metadata(metadata, message, tmp_path):
    save_file({}, tmp_path / "model.safetensors", metadata={"pgpis_bundle": "1", **metadata})
    with pytest.raises(PgpisError, match=message):
        load_pipeline(FPDMPipeline, str(tmp_path / "model.safetensors"), "pgpis convert fpdm")
