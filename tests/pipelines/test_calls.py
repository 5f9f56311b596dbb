"""What a call of any pipeline takes, refuses and returns: the same in all of them."""

import json
import math

import numpy as np
import pytest
import torch
from diffusers.callbacks import SDCFGCutoffCallback
from PIL import Image

from pgpis.batch import ImageSpec
from pgpis.errors import NotFiniteError, PgpisError
from pgpis.methods.fpdm import FPDMPipeline
from pgpis.methods.mcld import MCLDPipeline
from tiny_fpdm import HEIGHT, WIDTH, tiny_pipeline
from tiny_mcld import tiny_mcld


def picture(seed, size=(26, 30), parts=255):
    return Image.fromarray(np.random.default_rng(seed).integers(0, parts + 1, (*size[::-1], 3), dtype=np.uint8))


class Calls:
    """A pipeline, and a call of it that is right."""

    def __init__(self, name):
        self.pipeline = tiny_pipeline() if name == "fpdm" else tiny_mcld()
        self.pose = "pose" if name == "fpdm" else "iuv"
        rest = {} if name == "fpdm" else {"texture": picture(1), "face": None}
        self.inputs = {"source": picture(0), self.pose: picture(2, parts=24), **rest}

    def __call__(self, **change):
        seed = {} if "generator" in change else {"generator": torch.Generator().manual_seed(0)}
        sizes = {"height": HEIGHT, "width": WIDTH, "num_inference_steps": 2}
        return self.pipeline(**{**self.inputs, **sizes, **seed, **change})


@pytest.fixture(scope="module", params=["fpdm", "mcld"])
def call(request):
    return Calls(request.param)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps is 0, expected a whole number from 1 to 1000"),
        ({"num_inference_steps": -1}, "num_inference_steps is -1"),
        ({"num_inference_steps": 2.5}, r"num_inference_steps is 2\.5"),
        ({"num_inference_steps": True}, "num_inference_steps is True"),
        ({"num_inference_steps": 1001}, "num_inference_steps is 1001"),
        ({"num_images_per_pair": 0}, "num_images_per_pair is 0"),
        ({"num_images_per_pair": "2"}, "num_images_per_pair is '2'"),
        ({"guidance_scale": math.nan}, "guidance_scale is nan, expected a number of at least 0"),
        ({"guidance_scale": math.inf}, "guidance_scale is inf"),
        ({"guidance_scale": -1.0}, r"guidance_scale is -1\.0"),
        ({"callback_on_step_end": 3}, "callback_on_step_end is int, expected a function or None"),
        ({"callback_on_step_end_tensor_inputs": "latent"}, "a callback gets no 'latent', expected one of 'latents'"),
        ({"callback_on_step_end_tensor_inputs": 3}, "a callback gets no 3, expected one of 'latents'"),
        ({"callback_on_step_end": SDCFGCutoffCallback()}, "a callback gets no 'prompt_embeds'"),
        ({"foo": 1}, r"^(FPDM|MCLD)Pipeline takes no argument 'foo'$"),
        ({"num_inference_step": 1}, "takes no argument 'num_inference_step'; did you mean 'num_inference_steps'"),
        ({"guidance_band": (0.5, 1.5)}, r"guidance_band is 1\.5"),
        ({"guidance_band": (0.7, 0.3)}, r"guidance_band is \(0\.7, 0\.3\), expected the lower noise level first"),
        ({"guidance_band": 0.5}, r"guidance_band is 0\.5, expected a lowest and a highest"),
        ({"guidance_band": (0.5, math.nan)}, "guidance_band is nan"),
        ({"deep_cache": 0}, "deep_cache is 0, expected a whole number of at least 1"),
        ({"deep_cache": 1.5}, r"deep_cache is 1\.5"),
        ({"anchors": torch.zeros(2, 1, dtype=torch.int64)}, r"anchors .* expected an int64 tensor \(1, K\)"),
        ({"anchors": torch.zeros(1, 1)}, "anchors are not whole numbers of pairs"),
        ({"anchors": torch.ones(1, 1, dtype=torch.int64)}, "anchors name pairs up to 1, expected 0 to 0"),
        ({"height": 0}, "height is 0, expected a whole number from 1 to 4096"),
        ({"width": -8}, "width is -8"),
        ({"height": 24.0}, r"height is 24\.0"),
        ({"height": HEIGHT + 1}, "expected multiples of 2"),
        ({"output_type": "PIL"}, "output_type is 'PIL', expected one of .*did you mean 'pil'"),
        ({"output_type": None}, "output_type is None"),
        ({"generator": [torch.Generator()] * 3}, "got 3 generators"),
        ({"generator": 7}, "generator is int, expected a torch.Generator"),
        ({"latents": torch.zeros(1, 4, 3, 3)}, r"latents have shape \(1, 4, 3, 3\)"),
        ({"latents": torch.zeros(1, 4, HEIGHT // 2, WIDTH // 2, dtype=torch.int64)}, "latents are torch.int64"),
        ({"latents": torch.full((1, 4, HEIGHT // 2, WIDTH // 2), math.nan)}, "latents hold numbers"),
        ({"latents": np.zeros((1, 4, HEIGHT // 2, WIDTH // 2))}, "latents are float64"),
        ({"source": None}, "source: got None, but this model was trained with it"),
        ({"source": []}, "source: got an empty list"),
        ({"source": "photo.jpg"}, "source: got str"),
        ({"source": torch.zeros(3, 8, 8)}, "source: got Tensor"),
        ({"source": np.zeros((8, 8, 3), np.float32)}, r"source: got float32 array \(8, 8, 3\)"),
        ({"source": np.zeros((0, 8, 3), np.uint8)}, r"source: got uint8 array \(0, 8, 3\)"),
        ({"source": Image.new("RGB", (0, 8))}, "source: got an empty picture"),
    ],
)
def test_wrong_arguments_are_named(call, change, message):
    with pytest.raises(PgpisError, match=message):
        call(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value[:1], r"different numbers of pairs, or of none: .*(source|face)\w* 1"),
        (lambda value: value[:0], "different numbers of pairs, or of none"),
        (lambda value: value.to(torch.uint8), r"is torch.uint8 \(2, .*, expected floating point"),
        (lambda value: torch.cat([value, value], dim=1), r"is torch.float32 \(2, .*, expected floating point .* \(B, "),
        (lambda value: value[0], r"is torch.float32 .*expected floating point numbers \(B, "),
        (lambda value: value.numpy(), "is ndarray, expected floating point"),
    ],
)
def test_a_prepared_batch_holds_every_entry_of_every_pair(call, change, message):
    """Of the entry of one row, that of the first pair would be taken for all."""
    generator = torch.Generator().manual_seed(0)
    batch = {}
    for key, spec in call.pipeline.input_specs(HEIGHT, WIDTH).items():
        shape = (3, spec.height, spec.width) if isinstance(spec, ImageSpec) else (spec.size,)
        batch[key] = torch.rand(2, *shape, generator=generator)
    key = "face" if "face" in batch else "source_image"
    assert len(call.pipeline.generate(batch, num_inference_steps=1, output_type="latent").images) == 2
    with pytest.raises(PgpisError, match=message):
        call.pipeline.generate({**batch, key: change(batch[key])}, num_inference_steps=1)
    with pytest.raises(PgpisError, match="of none"):
        call.pipeline.generate({key: value[:0] for key, value in batch.items()}, num_inference_steps=1)
    with pytest.raises(PgpisError, match="source_count 1"):
        call.pipeline.generate({**batch, "source_count": torch.ones(1, dtype=torch.int64)}, num_inference_steps=1)


def test_output_types_show_one_picture(call):
    results = {kind: call(output_type=kind).images for kind in ("pil", "np", "pt", "latent")}
    assert results["latent"].shape == (1, 4, HEIGHT // 2, WIDTH // 2)
    array = results["np"]
    assert (array.dtype, array.shape) == (np.float32, (1, HEIGHT, WIDTH, 3))
    assert 0 <= array.min() < array.max() <= 1
    np.testing.assert_allclose(array, (results["pt"] / 2 + 0.5).permute(0, 2, 3, 1).numpy(), atol=1e-6)
    assert np.abs(np.asarray(results["pil"][0]) / 255 - array[0]).max() < 0.51 / 255
    (images,) = call(output_type="np", return_dict=False)
    np.testing.assert_array_equal(images, array)


def test_a_callback_interrupts(call):
    steps = []

    def stop(pipeline, step, _timestep, tensors):
        steps.append(step)
        pipeline._interrupt = step == 1
        return tensors

    options = {"num_inference_steps": 5, "output_type": "latent"}
    stopped = call(callback_on_step_end=stop, **options).images
    assert steps == [0, 1]
    assert call.pipeline.interrupt
    assert not torch.equal(stopped, call(**options).images), "the next call is not interrupted"


def test_a_callback_that_returns_nothing_changes_nothing(call):
    options = {"output_type": "latent"}
    expected = call(**options).images
    for nothing in (None, {}):
        assert torch.equal(call(callback_on_step_end=lambda *_, back=nothing: back, **options).images, expected)
    for returned, message in (
        (torch.zeros(1), "returned Tensor"),
        ({"latents": torch.zeros(1)}, r"latents that are torch.float32 of shape \(1,\)"),
        ({"latents": torch.zeros(1, 4, HEIGHT // 2, WIDTH // 2, dtype=torch.int64)}, "latents that are torch.int64"),
        ({"latents": None}, "latents that are NoneType"),
        ({"latent": torch.zeros(1)}, "returned 'latent'"),
        (3, "int"),
    ):
        with pytest.raises(PgpisError, match=f"callback_on_step_end .*{message}.*, expected None or "):
            call(callback_on_step_end=lambda *_, back=returned: back, **options)


def test_guidance_may_be_left_to_a_band_of_noise_levels(call):
    options = {"num_inference_steps": 5, "output_type": "latent", "guidance_scale": 3.0}
    rows = []
    hook = call.pipeline.unet.register_forward_pre_hook(lambda _unet, inputs: rows.append(len(inputs[0])))
    everywhere = call(**options).images
    assert rows == [2] * 5
    assert torch.equal(call(guidance_band=(0, 1), **options).images, everywhere)
    nowhere = call(guidance_band=(1, 1), **options).images
    assert torch.equal(nowhere, call(**{**options, "guidance_scale": 1.0}).images)
    rows.clear()
    within = call(guidance_band=[0.3, 0.7], **options).images
    hook.remove()
    levels = [float(step) / 1000 for step in call.pipeline.scheduler.timesteps]
    assert rows == [2 if 0.3 <= level <= 0.7 else 1 for level in levels]
    assert {1, 2} == set(rows)
    assert not torch.equal(within, everywhere)
    assert not torch.equal(within, nowhere)


@pytest.mark.parametrize("extra", [{}, {"guidance_scale": 3.0, "num_images_per_pair": 2}])
def test_deep_blocks_may_rest_between_whole_steps(call, extra):
    options = {"num_inference_steps": 5, "output_type": "latent", **extra}
    unet, runs = call.pipeline.unet, {"deep": 0, "outer": 0}

    def count(name):
        def note(*_):
            runs[name] += 1

        return note

    blocks = {"deep": unet.up_blocks[0].resnets[0], "outer": unet.up_blocks[-1].resnets[0]}
    hooks = [block.register_forward_hook(count(name)) for name, block in blocks.items()]
    exact = call(**options).images
    assert runs == {"deep": 5, "outer": 5}
    assert torch.equal(call(deep_cache=1, **options).images, exact)
    runs |= {"deep": 0, "outer": 0}
    quick = call(deep_cache=2, **options).images
    assert runs == {"deep": 3, "outer": 5}
    for hook in hooks:
        hook.remove()
    assert not torch.equal(quick, exact)
    assert torch.equal(call(**options).images, exact), "nothing is left of it"
    assert torch.equal(call(deep_cache=2, **options).images, quick)


def test_whole_steps_where_the_number_of_branches_changes(call):
    options = {"num_inference_steps": 5, "output_type": "latent", "guidance_scale": 3.0}
    images = call(deep_cache=5, guidance_band=(0.3, 0.7), **options).images
    assert images.isfinite().all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_results_that_are_not_finite_name_their_rows(call, bad):
    def spoil(_pipeline, _step, _timestep, tensors):
        tensors["latents"][1] = bad
        return tensors

    pairs = {"source": [picture(0), picture(1), picture(2)]}
    expected = call(output_type="pt", **pairs).images
    for kind in ("pil", "np", "pt", "latent"):
        with pytest.raises(NotFiniteError, match=r"of the results 1 \(of 0 to 2\) are not finite in float32") as caught:
            call(callback_on_step_end=spoil, output_type=kind, **pairs)
        assert caught.value.rows == [1]
        if kind == "pt":
            torch.testing.assert_close(caught.value.images[[0, 2]], expected[[0, 2]], atol=1e-5, rtol=0)


def test_weights_that_are_not_finite_are_blamed(call):
    weight = call.pipeline.unet.conv_in.weight
    value = weight[0, 0, 0, 0].item()
    with torch.no_grad():
        weight[0, 0, 0, 0] = math.nan
        try:
            with pytest.raises(NotFiniteError, match=r"not finite, 'conv_in\.weight' of the unet is the first"):
                call()
        finally:
            weight[0, 0, 0, 0] = value


def test_a_drawn_pose_of_another_shape_is_centred_on_black(call):
    """As the data sets do for the command; transparency of a drawing is black, and a photograph's white."""
    wide = picture(5, size=(60, 30), parts=24)
    centred = Image.new("RGB", (60, 88))  # the shape of 550 x 375
    centred.paste(wide, (0, 29))
    options = {"output_type": "latent"}
    expected = call(**{call.pose: centred}, **options).images
    torch.testing.assert_close(call(**{call.pose: wide}, **options).images, expected, atol=1e-5, rtol=0)
    clear = wide.convert("RGBA")
    half = (0, 0, 30, 30)
    clear.paste((*wide.getpixel((0, 0)), 0), half)
    black, white = wide.copy(), wide.copy()
    black.paste("black", half)
    white.paste("white", half)
    drawn, none = (call(**{call.pose: pose}, **options).images for pose in (clear, black))
    torch.testing.assert_close(drawn, none, atol=1e-5, rtol=0)
    photo, white = (call(source=source, **options).images for source in (clear, white))
    torch.testing.assert_close(photo, white, atol=1e-5, rtol=0)


def test_a_photo_is_turned_upright(call, tmp_path):
    sideways, exif = picture(7), Image.Exif()
    exif[0x0112] = 6
    sideways.save(tmp_path / "a.png", exif=exif)
    upright = sideways.transpose(Image.Transpose.ROTATE_270)
    with Image.open(tmp_path / "a.png") as photo:
        found = call(source=photo, output_type="latent").images
    torch.testing.assert_close(found, call(source=upright, output_type="latent").images, atol=1e-5, rtol=0)


def test_a_pipeline_keeps_its_defaults(call, tmp_path):
    """A call that says nothing takes what the pipeline was saved with."""
    kind = type(call.pipeline)
    own = {"height": HEIGHT, "width": WIDTH, "num_inference_steps": 2, "guidance_scale": 1.5, "pose_canvas": (40, 40)}
    kind(**call.pipeline.components, **own).save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert {name: index[name] for name in own} == {**own, "pose_canvas": [40, 40]}
    loaded = kind.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert (loaded.config.height, loaded.config.guidance_scale) == (HEIGHT, 1.5)
    square = {**call.inputs, call.pose: picture(2, size=(30, 30), parts=24)}
    found = loaded(**square, generator=torch.Generator().manual_seed(0), output_type="pt").images
    asked = call(**{call.pose: square[call.pose]}, guidance_scale=1.5, output_type="pt").images
    assert found.shape == asked.shape
    assert not torch.allclose(found, asked, atol=1e-3), "the canvas is the pipeline's own"
    del index["height"], index["width"], index["pose_canvas"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))  # as before there were defaults
    official = {FPDMPipeline: (512, 352), MCLDPipeline: (512, 512)}[kind]
    assert (kind.from_pretrained(tmp_path).config.height, kind.from_pretrained(tmp_path).config.width) == official


@pytest.mark.parametrize("change", [{"height": 25}, {"guidance_scale": math.nan}, {"output_size": (256,)}])
def test_wrong_defaults_are_refused(call, change):
    with pytest.raises(PgpisError, match="expected"):
        type(call.pipeline)(**call.pipeline.components, **{"height": HEIGHT, "width": WIDTH, **change})
