"""MCLD's projections: what parity with the official code does not cover."""

import pytest
import torch

from pgpis.denoiser import ConditionedUNet
from pgpis.errors import PgpisError
from pgpis.methods.mcld.conditioner import MCLDConditioner
from pgpis.methods.mcld.reference import build_reference_net

SIZES = {
    "token_dim": 8,
    "resampler_dim": 8,
    "resampler_depth": 1,
    "resampler_heads": 1,
    "resampler_head_dim": 8,
    "face_tokens": 2,
    "pose_hidden_channels": (4, 8),
    "pose_channels": 4,
}


def test_parts_are_spread_on_demand_and_nothing_else():
    torch.manual_seed(0)
    plain = MCLDConditioner(**SIZES)
    torch.nn.init.normal_(plain.pose_encoder.conv_out.weight)  # zero at the start: nothing would differ
    spread = MCLDConditioner(**SIZES, part_scale=10)
    spread.load_state_dict(plain.state_dict())
    parts = torch.randint(0, 25, (2, 1, 16, 16))
    iuv = torch.cat([torch.rand(2, 2, 16, 16) * 2 - 1, parts / 255 * 2 - 1], dim=1)
    tenfold = torch.cat([iuv[:, :2], parts * 10 / 255 * 2 - 1], dim=1)
    encoded = torch.randn(2, 8), torch.randn(2, 8), torch.randn(2, 512)
    before = iuv.clone()
    found = spread(*encoded, iuv).pose_features
    assert torch.allclose(found, plain(*encoded, tenfold).pose_features, atol=1e-6)
    assert not torch.allclose(found, plain(*encoded, iuv).pose_features, atol=1e-3)
    assert torch.equal(iuv, before)


def test_a_reference_net_ends_with_its_last_attention(tmp_path):
    """Blocks without attention after it lend nothing, and are not built; a stock net still loads, all else strictly."""
    torch.manual_seed(0)
    config = {
        "sample_size": 8,
        "block_out_channels": [8, 16],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "cross_attention_dim": 8,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    stock = ConditionedUNet.from_config(config)
    stock.save_pretrained(tmp_path / "stock")
    net = build_reference_net(str(tmp_path / "stock"))
    assert len(net.up_blocks) == 1
    assert net.up_blocks[0].upsamplers is None
    bank = net.bank(torch.randn(2, 4, 8, 8), torch.randn(2, 1, 8))
    attention = {
        name.removesuffix(".attn1.processor") for name in stock.attn_processors if name.endswith("attn1.processor")
    }
    assert set(bank) == attention
    sum(value.sum() for value in bank.values()).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    net.save_pretrained(tmp_path / "net")
    loaded = build_reference_net(str(tmp_path / "net"))
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in net.state_dict().items())
    with pytest.raises(PgpisError, match="one of up_block_types must have attention"):
        build_reference_net({**config, "up_block_types": ["UpBlock2D", "UpBlock2D"]})
