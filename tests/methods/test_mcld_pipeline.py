from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pgpis.denoiser import denoise
from pgpis.errors import PgpisError
from pgpis.methods.mcld import MCLDPipeline
from pgpis.methods.mcld.reference import LastBlock, ReferenceNet
from pgpis.pipelines.bundle import SHIPPED, load_bundle
from tiny_mcld import HEIGHT, WIDTH, tiny_mcld


def picture(seed, height=30, width=26, highest=255):
    return Image.fromarray(np.random.default_rng(seed).integers(0, highest + 1, (height, width, 3), dtype=np.uint8))


def iuv(seed):
    return picture(seed, highest=24)  # no part has a higher number


def face(seed):
    return np.random.default_rng(seed).normal(size=512).astype(np.float32)


@pytest.fixture(scope="module", params=[0.0, 8.0], ids=["official", "correspondence"])
def pipeline(request):
    return tiny_mcld(correspondence=request.param)


def make(pipeline, **options):
    arguments = {"source": picture(0), "texture": picture(1), "iuv": iuv(2), "face": face(3)} | options
    defaults = {"height": HEIGHT, "width": WIDTH, "num_inference_steps": 3, "output_type": "pt"}
    generator = {} if "latents" in options else {"generator": torch.Generator().manual_seed(0)}
    return pipeline(**defaults | generator | arguments).images


def test_pictures_have_the_asked_size(pipeline):
    images = make(pipeline, output_type="pil")
    assert [image.size for image in images] == [(WIDTH, HEIGHT)]
    assert torch.isfinite(make(pipeline)).all()


@pytest.mark.parametrize("changed", ["source", "texture", "iuv", "face"])
def test_every_condition_matters(pipeline, changed):
    other = {"source": picture(9), "texture": picture(9), "iuv": iuv(9), "face": face(9)}[changed]
    assert (make(pipeline) - make(pipeline, **{changed: other})).abs().max() > 1e-3


def test_a_pair_does_not_depend_on_its_neighbours(pipeline):
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    both = make(pipeline, source=[picture(0), picture(5)], face=[face(3), face(4)], generator=generators)
    alone = make(pipeline, source=picture(5), face=face(4), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-5)


def test_several_results_per_pair_are_tiled(pipeline):
    start = torch.randn(4, 4, HEIGHT // 2, WIDTH // 2, generator=torch.Generator().manual_seed(5))
    sources = [picture(0), picture(5)]
    together = make(pipeline, source=sources, num_images_per_pair=2, latents=start)
    second = make(pipeline, source=sources[1], latents=start[3:])
    torch.testing.assert_close(together[3:], second, atol=1e-5, rtol=1e-5)


def test_without_guidance_there_is_one_branch(pipeline, monkeypatch):
    rows = []
    forward = type(pipeline.unet).forward

    def count(self, sample, *args, **kwargs):
        rows.append(len(sample))
        return forward(self, sample, *args, **kwargs)

    monkeypatch.setattr(type(pipeline.unet), "forward", count)
    make(pipeline, guidance_scale=1.0)
    make(pipeline, guidance_scale=2.0)
    assert rows == [1] * 3 + [2] * 3


def test_the_reference_is_run_once_and_for_conditional_rows_only(pipeline, monkeypatch):
    rows = []
    bank = ReferenceNet.bank

    def count(self, latents, tokens):
        rows.append(len(latents))
        return bank(self, latents, tokens)

    monkeypatch.setattr(ReferenceNet, "bank", count)
    make(pipeline, num_images_per_pair=3)
    assert rows == [1]


def test_saved_and_loaded_it_makes_the_same_picture(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path)
    loaded = MCLDPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    torch.testing.assert_close(make(pipeline), make(loaded), atol=1e-5, rtol=1e-5)


def test_the_tail_of_the_reference_is_not_built(pipeline):
    names = pipeline.reference_net.state_dict().keys()
    assert not [name for name in names if name.startswith(("conv_out", "conv_norm_out"))]
    last = pipeline.reference_net.up_blocks[-1].attentions[-1]
    assert isinstance(last.transformer_blocks[-1], LastBlock)
    assert not list(last.proj_out.parameters())


def one_step(pipeline, dtype=torch.float32):
    torch.manual_seed(1)
    encoded = torch.randn(2, 12), torch.randn(2, 12), torch.randn(2, 512)
    ports = pipeline.conditioner(*encoded, torch.rand(2, 3, HEIGHT, WIDTH) * 2 - 1)
    latents = torch.randn(2, 4, HEIGHT // 2, WIDTH // 2, dtype=dtype)
    bank = pipeline.reference_net.bank(torch.randn_like(latents), encoded[0][:, None])
    conditions = pipeline.unet.prepare(replace(ports, reference=bank))
    return denoise(pipeline.unet, latents, torch.tensor([3, 500]), conditions)


def gradients(pipeline):
    modules = (pipeline.unet, pipeline.reference_net, pipeline.conditioner)
    for module in modules:
        module.zero_grad()
    one_step(pipeline).square().mean().backward()
    return {name: p.grad.clone() for module in modules for name, p in module.named_parameters() if p.grad is not None}


def test_gradient_checkpointing_changes_nothing():
    pipeline = tiny_mcld()
    plain = gradients(pipeline)
    for module in (pipeline.unet, pipeline.reference_net):
        module.enable_gradient_checkpointing()
        module.train()
    checkpointed = gradients(pipeline)
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_bfloat16_and_compilation_run():
    pipeline = tiny_mcld()
    with torch.no_grad():
        expected = one_step(pipeline)
        pipeline.unet.compile(backend="eager")
        torch.testing.assert_close(one_step(pipeline), expected, atol=1e-5, rtol=1e-4)
        half = tiny_mcld()
        for module in (half.unet, half.reference_net, half.conditioner):
            module.to(torch.bfloat16)
        rough = one_step(half, torch.bfloat16).float()
    assert (rough - expected).abs().mean() < 0.1 * expected.abs().mean() + 0.05


def halved(pipeline, how, folder):
    """Bring a pipeline to float16 in one of the ways there are; return what to sample in."""
    if how == "loaded":
        pipeline.save_pretrained(folder)
        pipeline = MCLDPipeline.from_pretrained(folder, torch_dtype=torch.float16)
        pipeline.set_progress_bar_config(disable=True)
    elif how == "moved":
        pipeline.to(torch.float16)
    return pipeline, torch.autocast("cpu", torch.float16, enabled=how == "autocast")


@pytest.mark.parametrize("how", ["moved", "loaded", "autocast"])
def test_float16_is_wide_enough_for_the_reference(how, tmp_path):
    pipeline = tiny_mcld()
    with torch.no_grad():  # trained nets reach millions there; what is read is normalised
        for resnet in pipeline.reference_net.up_blocks[-1].resnets:
            resnet.conv_shortcut.weight.mul_(1e6)
    expected = make(pipeline)
    pipeline, precision = halved(pipeline, how, tmp_path)
    with precision:
        found = make(pipeline)
    assert (found - expected).abs().mean() < 0.01
    if how != "autocast":
        dtypes = {name: pipeline.components[name].dtype for name in ("unet", "vae", "conditioner", "reference_net")}
        assert dtypes.pop("reference_net") == torch.float32
        assert set(dtypes.values()) == {torch.float16}
    assert pipeline.reference_net.to(torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.slow
def test_the_shipped_model_in_float16_resembles_float32():
    pipeline = load_bundle(MCLDPipeline, SHIPPED["synth-mcld"].path)
    pipeline.set_progress_bar_config(disable=True)
    seen = {"surface": picture(4, 512, 1024), "backdrop": picture(5)}
    options = {"height": 256, "width": 176, "num_inference_steps": 2, "face": None} | seen
    expected = make(pipeline, **options)
    assert (make(pipeline.to(torch.float16), **options) - expected).abs().mean() < 0.01


@pytest.mark.slow
def test_the_shipped_model_takes_the_published_call(caplog):
    """Surface and backdrop are ours: without them it draws by a guess, and says so."""
    pipeline = load_bundle(MCLDPipeline, SHIPPED["synth-mcld"].path)
    pipeline.set_progress_bar_config(disable=True)
    texture = picture(1, 512, 512)
    guess = Image.fromarray(np.concatenate([np.asarray(texture), np.full((512, 512, 3), 128, np.uint8)], axis=1))
    stand_ins = {"surface": guess, "backdrop": Image.new("RGB", (26, 30), "white")}
    options = {"height": 256, "width": 176, "num_inference_steps": 1, "face": None, "texture": texture}
    with caplog.at_level("WARNING"):
        expected = make(pipeline, **options | stand_ins)
        assert "not given" not in caplog.text
        pictures = make(pipeline, **options | {"source": [picture(0)] * 2})
    assert "surface and backdrop not given" in caplog.text
    torch.testing.assert_close(pictures[:1], expected, atol=0.02, rtol=0)
    assert (make(pipeline, **options | seen_elsewhere()) - expected).abs().mean() > 0.01
    with pytest.raises(PgpisError, match="texture: got None, but this model was trained with it"):
        make(pipeline, **options | {"texture": None})


def seen_elsewhere():
    return {"surface": picture(4, 512, 1024), "backdrop": picture(5)}


def test_ablations_close_their_port():
    for option, changed in (("use_face", "face"), ("use_texture", None)):
        pipeline = tiny_mcld(**{option: False})
        if changed:
            assert torch.equal(make(pipeline), make(pipeline, face=face(9)))
        assert torch.isfinite(make(pipeline)).all()
    conditioner = tiny_mcld(aggregation="all").conditioner
    ports = conditioner(torch.randn(1, 12), torch.randn(1, 12), torch.randn(1, 512), torch.zeros(1, 3, HEIGHT, WIDTH))
    assert {stage: tokens.shape[1] for stage, tokens in ports.tokens.items()} == {"down": 2, "mid": 2, "up": 2}


def test_bad_input_is_named(pipeline):
    with pytest.raises(PgpisError, match="texture"):
        make(pipeline, texture="picture.png")
    for name in ("surface", "backdrop"):
        for given in (picture(4), "hello"):
            with pytest.raises(PgpisError, match=f"{name}: this model was trained without it, expected None"):
                make(pipeline, **{name: given})
    with pytest.raises(PgpisError, match="multiples of 2"):
        make(pipeline, height=HEIGHT + 1)
    for face_embedding in (np.zeros(128, np.float32), np.full(512, np.nan)):
        with pytest.raises(PgpisError, match="face embeddings"):
            make(pipeline, face=face_embedding)
    with pytest.raises(PgpisError, match="face: got str"):
        make(pipeline, face="anna.npy")
    with pytest.raises(PgpisError, match="iuv: its third channel reaches 255"):
        make(pipeline, iuv=Image.new("RGB", (20, 30), "white"))
    with pytest.raises(PgpisError, match="expected 1 or 3"):
        make(pipeline, source=[picture(0)] * 2, iuv=[iuv(0)] * 3)
    ports = pipeline.conditioner(
        torch.zeros(1, 12), torch.zeros(1, 12), torch.zeros(1, 512), torch.zeros(1, 3, HEIGHT, WIDTH)
    )
    with pytest.raises(PgpisError, match="got 2 rows, but its conditions are for 1"):
        denoise(pipeline.unet, torch.zeros(2, 4, 12, 10), torch.tensor(0), pipeline.unet.prepare(ports))
    with pytest.raises(PgpisError, match="extra tokens, and needs the conditions"):
        pipeline.unet(torch.zeros(1, 4, 12, 10), 0, torch.zeros(1, 1, 12))
