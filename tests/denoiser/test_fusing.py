"""Queries, keys and values by one product: the same pictures, and nothing of it in the weights."""

from collections import Counter

import pytest
import torch
from torch import nn

from pgpis.denoiser.fusing import FUSED
from pgpis.errors import PgpisError
from pgpis.methods.fpdm.options import FPDMStep
from pgpis.models.weights import weights_hash
from pgpis.speed.batches import random_batch
from tiny_fpdm import HEIGHT, WIDTH, tiny_pipeline
from tiny_mcld import tiny_mcld
from tiny_tasks import tiny_fpdm_task


@pytest.fixture(params=["fpdm", "mcld"])
def pipeline(request):
    """Self-attention of MCLD reads a reference, and its cross-attention extra tokens."""
    pipeline = tiny_pipeline() if request.param == "fpdm" else tiny_mcld()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline, **options):
    wanted = {key: spec for key, spec in pipeline.input_specs(HEIGHT, WIDTH).items() if spec.origin != "target"}
    batch = random_batch(wanted, 2, torch.device("cpu"))
    generators = [torch.Generator().manual_seed(row) for row in range(2)]
    more = {"guidance_scale": 2.0, "num_inference_steps": 2, "generator": generators, "output_type": "latent"}
    return pipeline.generate(batch, **more, **options).images


def products(pipeline, **options):
    """Return what is drawn, and how often layers project by the name of the projection."""
    counts = Counter()
    layers = [(name, part) for name, part in pipeline.unet.named_modules() if isinstance(part, nn.Linear)]
    hooks = [
        part.register_forward_hook(lambda *_, name=name: counts.update([name.split(".")[-1]])) for name, part in layers
    ]
    images = draw(pipeline, **options)
    for hook in hooks:
        hook.remove()
    return images, counts


@pytest.mark.parametrize("options", [{}, {"anchors": torch.zeros(2, 1, dtype=torch.int64)}], ids=["", "anchors"])
def test_fused_projections_draw_the_same(pipeline, options):
    expected, separate = products(pipeline, **options)
    pipeline.unet.fuse_qkv_projections()
    assert pipeline.unet.supports_cache
    images, fused = products(pipeline, **options)
    torch.testing.assert_close(images, expected, atol=1e-5, rtol=1e-5)
    assert fused["to_qkv"] + fused["to_q"] == separate["to_q"]
    assert fused["to_kv"] + fused["to_qkv"] + fused["to_k"] == separate["to_k"]
    pipeline.unet.unfuse_qkv_projections()
    assert products(pipeline, **options)[1] == separate
    assert torch.equal(draw(pipeline, **options), expected)


def test_keys_and_values_that_are_not_kept_are_fused_too():
    pipeline = tiny_pipeline()
    expected = draw(pipeline, cache_keys_values=False)
    pipeline.unet.fuse_qkv_projections()
    torch.testing.assert_close(draw(pipeline, cache_keys_values=False), expected, atol=1e-5, rtol=1e-5)


def test_weights_are_those_without(pipeline, tmp_path):
    unet = pipeline.unet
    names, digest = list(unet.state_dict()), weights_hash(unet)
    unet.fuse_qkv_projections()
    assert any(name.split(".")[-2] in FUSED for name, _ in unet.named_parameters())
    assert (list(unet.state_dict()), weights_hash(unet)) == (names, digest)
    unet.save_pretrained(tmp_path)
    assert weights_hash(type(unet).from_pretrained(tmp_path)) == digest


def test_weights_that_are_loaded_later_count():
    """``--ckpt_path`` loads into a task that is built."""
    fused, other = tiny_fpdm_task(step=FPDMStep(fuse_qkv=True)), tiny_fpdm_task()
    for value in other.unet.parameters():
        nn.init.normal_(value, std=0.1)
    fused.load_state_dict(other.state_dict())
    torch.testing.assert_close(draw(fused.build_pipeline()), draw(other.build_pipeline()), atol=1e-4, rtol=1e-4)
    assert any(name.split(".")[-2] in FUSED for name, _ in fused.unet.named_parameters())


def test_training_has_nothing_to_fuse():
    task = tiny_fpdm_task(step=FPDMStep(fuse_qkv=True))
    with pytest.raises(PgpisError, match=r"step\.fuse_qkv draws with copies of weights"):
        task.setup("fit")
    task.setup("predict")


def test_projections_of_lora_are_refused():
    class LoRA(nn.Linear):
        """Adds something to a projection."""

    unet = tiny_pipeline().unet
    attn = unet.mid_block.attentions[0].transformer_blocks[0].attn1
    attn.to_q = LoRA(attn.to_q.in_features, attn.to_q.out_features, bias=False)
    with pytest.raises(PgpisError, match="not plain ones cannot be fused"):
        unet.fuse_qkv_projections()
