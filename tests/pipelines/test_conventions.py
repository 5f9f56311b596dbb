"""diffusers' conventions, held by both pipelines: the lines of the table in docs/models/pipelines.md."""

import copy
import json
from pathlib import Path

import accelerate
import numpy as np
import pytest
import torch
from accelerate.hooks import CpuOffload
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from PIL import Image

from pgpis.errors import PgpisError
from pgpis.methods.fpdm import FPDMPipeline
from pgpis.methods.mcld import MCLDPipeline
from tiny_fpdm import HEIGHT, WIDTH, tiny_pipeline
from tiny_mcld import tiny_mcld

KINDS = {"fpdm": FPDMPipeline, "mcld": MCLDPipeline}
OPTIONAL = {"fpdm": "fusion_embedder", "mcld": "reference_net"}
CPU = torch.device("cpu", 0)
MISFIT = r"the components do not fit together|the unet has"


@pytest.fixture(params=KINDS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def built():
    return {"fpdm": tiny_pipeline(), "mcld": tiny_mcld()}


@pytest.fixture
def pipeline(built, name):
    """A copy to change: it takes a third of the time that building does."""
    return KINDS[name](**{part: copy.deepcopy(value) for part, value in built[name].components.items()})


@pytest.fixture(scope="module")
def folders(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    for name, pipeline in built.items():
        pipeline.save_pretrained(folder / name)
    return folder


@pytest.fixture
def folder(folders, name):
    return folders / name


def picture(seed, parts=255):
    return Image.fromarray(np.random.default_rng(seed).integers(0, parts + 1, (30, 26, 3), dtype=np.uint8))


def call(pipeline, **change):
    """Call a pipeline rightly but for what is changed; it gives latents, which nothing clips."""
    pipeline.set_progress_bar_config(disable=True)
    inputs = {"source": picture(0)}
    if isinstance(pipeline, FPDMPipeline):
        inputs["pose"] = picture(1)
    else:
        face = np.random.default_rng(3).normal(size=512)
        inputs |= {"iuv": picture(1, parts=24), "texture": picture(2), "face": face}
    options = {"height": HEIGHT, "width": WIDTH, "num_inference_steps": 2, "output_type": "latent"}
    seed = {} if "generator" in change else {"generator": seeded(0)}
    return pipeline(**{**inputs, **options, **seed, **change})


def latents(pipeline, **change):
    return call(pipeline, **change).images


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def modules(pipeline):
    return {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}


def weights(pipeline):
    return {
        f"{name}.{key}": value for name, part in modules(pipeline).items() for key, value in part.state_dict().items()
    }


def assert_same(loaded, saved):
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(value, loaded[key]) for key, value in saved.items())


def assert_close(result, expected, tolerance=1e-5):
    torch.testing.assert_close(result, expected, atol=tolerance, rtol=0)


def test_components_make_the_same_pipeline_again(pipeline, name):
    again = KINDS[name](**pipeline.components)
    assert all(again.components[part] is value for part, value in pipeline.components.items())
    assert_close(latents(again), latents(pipeline), 0)


def test_from_pipe_shares_the_weights_and_keeps_the_defaults(pipeline, name):
    defaults = {"height": HEIGHT, "width": WIDTH, "guidance_scale": 1.5, "num_inference_steps": 3}
    first = KINDS[name](**pipeline.components, **defaults)
    second = KINDS[name].from_pipe(first, guidance_scale=1.25)
    assert all(second.components[part] is value for part, value in first.components.items())
    assert {key: second.config[key] for key in defaults} == {**defaults, "guidance_scale": 1.25}
    assert_close(latents(second, guidance_scale=1.5), latents(first), 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_to_changes_the_numbers_of_every_part(pipeline, dtype):
    expected = latents(pipeline)
    assert pipeline.to(dtype) is pipeline
    dtypes = {name: part.dtype for name, part in modules(pipeline).items()}
    # nothing bounds the hidden states of the ReferenceNet: float16 is too narrow for them
    wide = {"reference_net": torch.float32} if dtype == torch.float16 and "reference_net" in dtypes else {}
    assert dtypes == {**dict.fromkeys(dtypes, dtype), **wide}
    result = latents(pipeline)
    assert result.dtype == torch.float32, "the scheduler's arithmetic stays in float32"
    assert_close(result, expected, 0.2)
    assert {name: part.dtype for name, part in modules(pipeline).items()} == dtypes, (
        "a call leaves the parts as they are"
    )
    assert call(pipeline, output_type="pt").images.dtype == torch.float32


def test_to_a_device_moves_every_part(pipeline):
    assert pipeline.to("meta").device == torch.device("meta")
    assert {value.device.type for value in weights(pipeline).values()} == {"meta"}


def test_numbers_by_part(folder, name):
    loaded = KINDS[name].from_pretrained(folder, dtype={"unet": torch.bfloat16, "default": torch.float32})
    assert (loaded.unet.dtype, loaded.vae.dtype) == (torch.bfloat16, torch.float32)
    assert latents(loaded).isfinite().all()


def test_model_offload_loads_each_part_in_its_turn(pipeline, monkeypatch):
    expected = latents(pipeline)
    pipeline.enable_model_cpu_offload(device="cpu")
    assert pipeline._execution_device == CPU
    present = [part for part in pipeline.model_cpu_offload_seq.split("->") if pipeline.components[part] is not None]
    assert set(present) == set(modules(pipeline))
    assert len(pipeline._all_hooks) == len(present)
    used = []

    def record(hook, module, *args, **kwargs):
        used.append(module)
        return args, kwargs

    monkeypatch.setattr(CpuOffload, "pre_forward", record)
    assert_close(call(pipeline, output_type="pt").images, call(pipeline.to("cpu"), output_type="pt").images, 0)
    names = {part: name for name, part in modules(pipeline).items()}
    order = list(dict.fromkeys(names[module] for module in used if module in names))
    assert set(order) == set(present), "no part computes without its hook"
    hooks = pipeline._all_hooks
    pipeline.maybe_free_model_hooks()
    assert len(pipeline._all_hooks) == len(hooks)
    assert all(new is not old for new, old in zip(pipeline._all_hooks, hooks, strict=True)), "installed anew"
    monkeypatch.undo()
    pipeline.remove_all_hooks()
    assert_close(latents(pipeline), expected, 0)


def test_sequential_offload_gives_the_same(pipeline, monkeypatch):
    """Weights are on no device but while their own layer computes."""
    expected = call(pipeline, output_type="pt").images
    offload = accelerate.cpu_offload
    # diffusers numbers the device, which makes accelerate copy what it puts on a CPU
    monkeypatch.setattr(accelerate, "cpu_offload", lambda model, _, **options: offload(model, "cpu", **options))
    pipeline.enable_sequential_cpu_offload(device="cpu")
    assert pipeline._execution_device == torch.device("cpu")
    assert {value.device.type for value in pipeline.unet.parameters()} == {"meta"}
    assert_close(call(pipeline, output_type="pt").images, expected)


@pytest.mark.parametrize("kind", ["block_level", "leaf_level"])
def test_group_offload_gives_the_same(pipeline, kind):
    expected = call(pipeline, output_type="pt").images
    pipeline.enable_group_offload(torch.device("cpu"), offload_type=kind, num_blocks_per_group=1)
    assert_close(call(pipeline, output_type="pt").images, expected)


def test_a_callback_reads_and_replaces_what_it_asks_for(pipeline):
    seen = []

    def double(_pipeline, step, timestep, tensors):
        seen.append((step, timestep, sorted(tensors)))
        return {key: value * 2 for key, value in tensors.items()}

    replaced = latents(pipeline, callback_on_step_end=double, callback_on_step_end_tensor_inputs=["latents"])
    assert [(step, names) for step, _, names in seen] == [(0, ["latents"]), (1, ["latents"])]
    assert seen[0][1] > seen[1][1]
    expected = latents(pipeline)
    assert not torch.allclose(replaced, expected)
    named = latents(pipeline, callback_on_step_end=double, callback_on_step_end_tensor_inputs="latents")
    assert_close(named, replaced, 0)
    for none in ([], None):
        seen.clear()
        unread = latents(pipeline, callback_on_step_end=double, callback_on_step_end_tensor_inputs=none)
        assert [names for _, _, names in seen] == [[], []]
        assert_close(unread, expected, 0)
    with pytest.raises(PgpisError, match=r"callback_on_step_end_tensor_inputs: .*'prompt_embeds', expected"):
        latents(pipeline, callback_on_step_end=double, callback_on_step_end_tensor_inputs=["prompt_embeds"])


def test_interrupt_ends_the_denoising(pipeline):
    steps = []

    def stop(pipeline, step, _timestep, tensors):
        steps.append(step)
        pipeline._interrupt = True
        return tensors

    stopped = latents(pipeline, num_inference_steps=5, callback_on_step_end=stop)
    assert steps == [0]
    assert pipeline.interrupt
    assert not torch.equal(stopped, latents(pipeline, num_inference_steps=5))
    assert not pipeline.interrupt


def test_a_variant_is_saved_and_loaded(pipeline, name, tmp_path):
    pipeline.to(torch.float16).save_pretrained(tmp_path, variant="fp16")
    files = [path.name for path in tmp_path.rglob("*") if path.suffix not in {"", ".json"}]
    assert len(files) == len(modules(pipeline))
    assert all(file.endswith(".fp16.safetensors") for file in files)
    loaded = KINDS[name].from_pretrained(tmp_path, variant="fp16", dtype=torch.float16)
    assert_same(weights(loaded), weights(pipeline))
    assert_close(latents(loaded), latents(pipeline), 0)


def test_weights_are_safetensors(pipeline, name, folder, tmp_path):
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".json", ".safetensors"}
    pipeline.save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(PgpisError, match=r"holds no \.safetensors weights"):
        KINDS[name].from_pretrained(tmp_path)


def test_a_round_trip_changes_nothing(name, folder, tmp_path):
    first, second = (KINDS[name].from_pretrained(folder) for _ in range(2))
    assert_close(latents(first), latents(second), 0)
    first.save_pretrained(tmp_path)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for file in files:
        if file.suffix == ".safetensors":
            assert (folder / file).read_bytes() == (tmp_path / file).read_bytes(), file
        else:
            before, after = (json.loads((root / file).read_text()) for root in (folder, tmp_path))
            assert {**before, "_name_or_path": None} == {**after, "_name_or_path": None}, file


def without_option(name):
    return tiny_pipeline(prior=False) if name == "fpdm" else tiny_mcld(use_texture=False)


def test_an_optional_part_may_be_absent(name, tmp_path):
    pipeline = without_option(name)
    pipeline.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())[OPTIONAL[name]] == [None, None]
    loaded = KINDS[name].from_pretrained(tmp_path)
    assert loaded.components[OPTIONAL[name]] is None
    textureless = {"texture": None} if name == "mcld" else {}
    assert_close(latents(loaded, **textureless), latents(pipeline, **textureless))
    parts = {part: value for part, value in loaded.components.items() if value is not None}
    assert_close(latents(KINDS[name](**parts), **textureless), latents(loaded, **textureless))


def test_an_optional_part_that_is_needed_is_missed(pipeline, name, folder):
    parts = {part: value for part, value in pipeline.components.items() if part != OPTIONAL[name]}
    with pytest.raises(PgpisError, match=MISFIT):
        KINDS[name](**parts)
    with pytest.raises(PgpisError, match=MISFIT):
        KINDS[name].from_pretrained(folder, **{OPTIONAL[name]: None})


def test_a_tuple_in_the_place_of_an_output(pipeline):
    result = call(pipeline, return_dict=False)
    assert isinstance(result, tuple)
    assert_close(result[0], call(pipeline).images, 0)


def test_results_per_pair_are_those_of_single_calls(pipeline):
    """A generator for each result: it depends on its own alone; for each pair: its results follow one another."""
    sources = [picture(0), picture(5)]
    by_result = latents(pipeline, source=sources, num_images_per_pair=2, generator=[seeded(n) for n in range(4)])
    for row in range(4):
        single = latents(pipeline, source=sources[row % 2], generator=seeded(row))
        assert_close(by_result[row], single[0])
    by_pair = [seeded(7), seeded(8)]
    both = latents(pipeline, source=sources, num_images_per_pair=2, generator=by_pair)
    assert_close(both[2], latents(pipeline, source=sources[0], num_images_per_pair=2, generator=[seeded(7)])[1])
    again = latents(pipeline, source=sources, num_images_per_pair=2, generator=[seeded(7), seeded(8)])
    assert torch.equal(both, again)


def test_the_progress_bar_is_configured(pipeline, capsys):
    call(pipeline)
    assert not capsys.readouterr().err
    pipeline.set_progress_bar_config(desc="denoising", ncols=60)
    pipeline.set_progress_bar_config, configure = (lambda **_: None), pipeline.set_progress_bar_config
    call(pipeline)
    pipeline.set_progress_bar_config = configure
    assert "denoising: 100%" in capsys.readouterr().err


def test_the_default_attention_is_what_the_class_was_built_with(pipeline):
    """Stock processors do not know the conditions; the default ones are put back with their weights."""
    expected, before = latents(pipeline), weights(pipeline)
    processors = pipeline.unet.attn_processors
    pipeline.unet.set_attn_processor(AttnProcessor2_0())
    pipeline.unet.set_default_attn_processor()
    restored = pipeline.unet.attn_processors
    assert {key: type(value) for key, value in restored.items()} == {key: type(v) for key, v in processors.items()}
    assert_close(latents(pipeline), expected, 0)
    assert weights(pipeline).keys() == before.keys()


@pytest.mark.parametrize("backend", ["native", "_native_math"])
def test_attention_backends(pipeline, backend):
    expected = latents(pipeline)
    for part in modules(pipeline).values():
        if hasattr(part, "set_attention_backend"):
            part.set_attention_backend(backend)
    assert_close(latents(pipeline), expected)
    pipeline.unet.reset_attention_backend()


def test_attention_slicing_is_taken_or_refused(pipeline, name):
    for layer in (layer for part in modules(pipeline).values() for layer in part.modules()):
        if isinstance(layer, Attention):
            layer.heads = layer.sliceable_head_dim = 1  # which cannot be halved
            layer.scale = layer.inner_dim**-0.5
    expected = latents(pipeline)
    pipeline.enable_attention_slicing()
    if name == "fpdm":
        assert_close(latents(pipeline), expected)
    else:
        with pytest.raises(PgpisError, match="keys and values") as error:
            latents(pipeline)
        assert "set_default_attn_processor" in error.value.hint
        pipeline.unet.set_default_attn_processor()
        assert_close(latents(pipeline), expected)
        pipeline.enable_attention_slicing()
    pipeline.disable_attention_slicing()
    assert_close(latents(pipeline), expected, 0)


def test_the_autoencoder_decodes_in_slices_and_tiles(pipeline):
    two = {"source": [picture(0), picture(5)], "output_type": "pt"}
    expected = call(pipeline, **two).images
    pipeline.vae.enable_slicing()
    pipeline.vae.enable_tiling()
    assert_close(call(pipeline, **two).images, expected)
    pipeline.vae.disable_slicing()
    pipeline.vae.disable_tiling()


def test_every_line_of_the_table_names_its_test():
    page = (Path(__file__).parents[2] / "docs/models/pipelines.md").read_text()
    tests = {name for name, value in globals().items() if name.startswith("test_") and callable(value)}
    named = {word for word in page.split("`") if word.startswith("test_")}
    assert named == tests - {"test_every_line_of_the_table_names_its_test"}
